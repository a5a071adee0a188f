//! The time, as a machine is told it.

use std::fmt;
use std::time::Duration;

/// One reading of both clocks. Deadlines are counted on `mono`, which never jumps; `wall_ms` goes into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now {
    /// Since the node started.
    pub mono: Duration,
    /// Milliseconds since 1970, as in Kafka's timestamps; may go backwards.
    pub wall_ms: i64,
}

impl Now {
    pub const fn new(mono: Duration, wall_ms: i64) -> Now {
        Now { mono, wall_ms }
    }

    /// The deadline this long from now, on the monotonic clock.
    pub fn after(self, delay: Duration) -> Duration {
        self.mono.saturating_add(delay)
    }

    pub fn mono_ms(self) -> i64 {
        i64::try_from(self.mono.as_millis()).unwrap_or(i64::MAX)
    }

    /// What both clocks read this much later, where nobody sets the wall clock.
    pub fn advanced(self, by: Duration) -> Now {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Now { mono: self.after(by), wall_ms: self.wall_ms.saturating_add(by_ms) }
    }
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.mono.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_moves_both_clocks() {
        let now = Now::new(Duration::from_millis(5), 1_000).advanced(Duration::from_millis(7));
        assert_eq!((now.mono_ms(), now.wall_ms), (12, 1_007));
    }

    #[test]
    fn the_far_future_does_not_overflow() {
        let now = Now::new(Duration::from_millis(5), i64::MAX).advanced(Duration::MAX);
        assert_eq!((now.mono, now.mono_ms(), now.wall_ms), (Duration::MAX, i64::MAX, i64::MAX));
    }
}

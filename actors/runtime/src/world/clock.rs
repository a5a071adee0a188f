use std::time::Duration;

use model::Now;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// The two clocks of a node. Sleeping is tokio's: virtual in simulation, where each node's runtime is paused.
pub trait Clock: Send + Sync + 'static {
    /// Since the node started; never jumps.
    fn mono(&self) -> Duration;
    /// Unix milliseconds; may jump.
    fn wall_ms(&self) -> i64;

    /// Shows time since some moment in steps of [`tick`](Self::tick), for a fraction of what `mono` costs.
    fn coarse(&self) -> Duration {
        self.mono()
    }

    fn tick(&self) -> Duration {
        Duration::ZERO
    }

    /// Somebody is to be woken after this time: a simulated node at rest is run then.
    fn alarm(&self, _after: Duration) {}

    fn now(&self) -> Now {
        Now { mono: self.mono(), wall_ms: self.wall_ms() }
    }
}

/// The limit given to [`World::timeout`](crate::World::timeout) passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// The machine's clocks. The monotonic one is tokio's, so that it stands still with a test's paused runtime.
#[derive(Debug)]
pub struct RealClock {
    start: tokio::time::Instant,
    coarse_start: Duration,
    tick: Duration,
}

impl RealClock {
    pub fn new() -> RealClock {
        RealClock {
            start: tokio::time::Instant::now(),
            coarse_start: of(clock_gettime(ClockId::MonotonicCoarse)),
            tick: of(clock_getres(ClockId::MonotonicCoarse)),
        }
    }
}

fn of(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn mono(&self) -> Duration {
        self.start.elapsed()
    }

    fn coarse(&self) -> Duration {
        of(clock_gettime(ClockId::MonotonicCoarse)).saturating_sub(self.coarse_start)
    }

    fn tick(&self) -> Duration {
        self.tick
    }

    #[expect(clippy::disallowed_types, reason = "the real clock itself")]
    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }
}

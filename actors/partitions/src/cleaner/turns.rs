//! What the log cleaners of a node's directories share: so many passes at a time, each with its part of the memory, and their rate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Map, Publisher, Watch};

use super::Throttle;

/// A pass that does nothing for so long hangs, with its disk: others need not wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of all log cleaners of a node.
#[derive(Debug)]
pub struct CleanerTurns {
    pub(crate) throttle: Throttle,
    turns: Mutex<Turns>,
    freed: Publisher<()>,
}

#[derive(Debug, Default)]
struct Turns {
    next: u64,
    /// When each of those that are taken was last used.
    taken: Map<u64, Duration>,
    /// Directories, by their place in `log.dirs`, that asked in vain: since when, and when last.
    waiting: Map<usize, (Duration, Duration)>,
}

/// A pass may run until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<CleanerTurns>,
    number: u64,
}

impl Default for CleanerTurns {
    fn default() -> CleanerTurns {
        CleanerTurns {
            throttle: Throttle::new(f64::MAX),
            turns: Mutex::default(),
            freed: runtime::watch(()).0,
        }
    }
}

impl CleanerTurns {
    /// One of `most`, unless others that have waited for longer are to have what is free. Who gets none hears of
    /// [`freed`](CleanerTurns::freed).
    pub(crate) fn take(self: &Arc<Self>, dir: usize, most: usize, now: Duration) -> Option<Turn> {
        let mut turns = self.turns();
        let recent = |at: &Duration| now.saturating_sub(*at) < PATIENCE;
        let taken = turns.taken.values().filter(|used| recent(used)).count();
        let since = turns.waiting.get(&dir).map_or(now, |(since, _)| *since);
        let before_me = |(other, (theirs, last)): (&usize, &(Duration, Duration))| {
            *other != dir && recent(last) && (*theirs, *other) < (since, dir)
        };
        let ahead = turns.waiting.iter().filter(|waiting| before_me(*waiting)).count();
        if taken + ahead >= most {
            turns.waiting.insert(dir, (since, now));
            return None;
        }
        turns.waiting.remove(&dir);
        let number = turns.next;
        turns.next += 1;
        turns.taken.insert(number, now);
        Some(Turn { of: self.clone(), number })
    }

    /// It has nothing to do.
    pub(super) fn leave(&self, dir: usize) {
        if self.turns().waiting.remove(&dir).is_some() {
            self.freed.publish(());
        }
    }

    /// Tells when one that waits may ask again.
    pub(super) fn freed(&self) -> Watch<()> {
        self.freed.subscribe()
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(crate) fn throttle(&self) -> &Throttle {
        &self.of.throttle
    }

    /// It goes on.
    pub(crate) fn used(&self, now: Duration) {
        if let Some(used) = self.of.turns().taken.get_mut(&self.number) {
            *used = now;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.turns().taken.remove(&self.number);
        self.of.freed.publish(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_passes_run_and_who_waits_comes_before_who_had_one() {
        let turns = Arc::new(CleanerTurns::default());
        let first = turns.take(0, 2, at(1));
        let second = turns.take(0, 2, at(1));
        assert!(first.is_some() && second.is_some());
        assert!(turns.take(1, 2, at(2)).is_none(), "two have their turn");
        drop(first);
        assert!(turns.take(0, 2, at(3)).is_none(), "the other directory waits");
        let first = turns.take(1, 2, at(4));
        assert!(first.is_some());
        drop(second);
        assert!(turns.take(1, 2, at(5)).is_none(), "now this one");
        turns.leave(0);
        assert!(turns.take(1, 2, at(6)).is_some());
    }

    #[test]
    fn nobody_waits_for_a_directory_that_hangs() {
        let turns = Arc::new(CleanerTurns::default());
        let hangs = turns.take(0, 1, at(0)).expect("nobody has one");
        hangs.used(at(10));
        assert!(turns.take(1, 1, at(39)).is_none());
        let other = turns.take(1, 1, at(40)).expect("the first hangs");
        hangs.used(at(41));
        assert!(turns.take(2, 1, at(42)).is_none(), "and is there again");
        drop(other);
        drop(hangs);
        // The third is not heard of any more.
        assert!(turns.take(1, 1, at(71)).is_none());
        assert!(turns.take(1, 1, at(72)).is_some());
    }
}

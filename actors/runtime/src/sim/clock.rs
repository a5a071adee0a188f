//! A node's clocks: monotonic is its runtime's own, wall is that of the run with an offset that may jump.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::world::Clock;

/// A node's wall clock; outlives its lives.
#[derive(Debug, Clone)]
pub(super) struct Wall {
    /// What it shows when the run is at zero.
    at_start_ms: Arc<AtomicI64>,
}

impl Wall {
    pub(super) fn new(at_start_ms: i64) -> Wall {
        Wall { at_start_ms: Arc::new(AtomicI64::new(at_start_ms)) }
    }

    pub(super) fn at(&self, now_ms: u64) -> i64 {
        self.at_start_ms.load(Ordering::Relaxed).saturating_add_unsigned(now_ms)
    }

    pub(super) fn jump(&self, by_ms: i64) {
        self.at_start_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

pub(super) struct SimClock {
    /// The first moment of this life, on its runtime's clock.
    pub(super) start: Instant,
    /// The same moment, in the run.
    pub(super) born_ms: u64,
    pub(super) wall: Wall,
    /// Answers where no runtime does, as tokio would then tell real time.
    pub(super) last_ms: AtomicU64,
    /// When somebody is to be woken, milliseconds of this life; also whoever has stopped waiting.
    pub(super) alarms: Mutex<BTreeSet<u64>>,
}

impl SimClock {
    /// Takes the alarms that are due; whether there were any.
    pub(super) fn take_due(&self, life_ms: u64) -> bool {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        while alarms.first().is_some_and(|first| *first <= life_ms) {
            any |= alarms.pop_first().is_some();
        }
        any
    }
}

impl Clock for SimClock {
    fn mono(&self) -> Duration {
        if Handle::try_current().is_err() {
            return Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        }
        Instant::now().duration_since(self.start)
    }

    /// tokio's timers end at whole milliseconds.
    fn alarm(&self, after: Duration) {
        let at = self.mono().saturating_add(after).as_nanos().div_ceil(1_000_000);
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.insert(u64::try_from(at).unwrap_or(u64::MAX));
    }

    fn wall_ms(&self) -> i64 {
        self.wall.at(self.born_ms + self.mono().as_millis() as u64)
    }
}

//! Supervision as data.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::Failure;
use crate::world::{Bulkhead, RandomStream};

/// Who restarts when one child fails. Set per parent by [`Cx::supervise`](crate::Cx::supervise).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    #[default]
    OneForOne,
    /// The failed one and those spawned after it.
    RestForOne,
    OneForAll,
}

/// More failures than `restarts` within the window, and the parent gives up on the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    pub restarts: u32,
    pub within: Duration,
}

/// How long to wait before a restart; doubled with each failure in the window. `jitter` is the share of it drawn at random.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
    pub jitter: f64,
}

impl Backoff {
    pub const NONE: Backoff = Backoff { initial: Duration::ZERO, max: Duration::ZERO, jitter: 0.0 };

    /// The delay after `failures` in a row, counted from one.
    pub fn delay(&self, failures: usize, random: &mut RandomStream) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        let jitter = self.jitter.clamp(0.0, 1.0);
        full.mul_f64(1.0 - jitter * random.fraction())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The parent fails, with the child's failure as its cause.
    Escalate,
    /// The child alone stays down, visible with its cause, until [`ChildSpec::revive_after`] or [`Cx::revive`](crate::Cx::revive).
    Offline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Whatever its end.
    Permanent,
    /// After a failure only; an ordinary end is forgotten.
    Transient,
    /// Never; any end is forgotten.
    Temporary,
}

pub type ChangeHook = Arc<dyn Fn(&ChildEvent) + Send + Sync>;

/// How a child is run and what happens when it ends.
#[derive(Clone)]
pub struct ChildSpec {
    pub restart: Restart,
    pub bulkhead: Bulkhead,
    pub intensity: Intensity,
    pub backoff: Backoff,
    pub give_up: GiveUp,
    /// When one that is offline alone is tried again; not where none, nor where siblings restart with it.
    pub revive_after: Option<Duration>,
    /// How long it may take to stop before it is killed.
    pub shutdown: Duration,
    /// Its siblings do not depend on it: all such are told to stop at once, and waited for in order.
    pub stops_at_once: bool,
}

impl ChildSpec {
    pub fn permanent() -> ChildSpec {
        ChildSpec {
            restart: Restart::Permanent,
            bulkhead: Bulkhead::Control,
            intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
            backoff: Backoff {
                initial: Duration::from_millis(10),
                max: Duration::from_secs(10),
                jitter: 0.5,
            },
            give_up: GiveUp::Escalate,
            revive_after: None,
            shutdown: Duration::from_secs(10),
            stops_at_once: false,
        }
    }

    pub fn transient() -> ChildSpec {
        ChildSpec { restart: Restart::Transient, ..Self::permanent() }
    }

    pub fn temporary() -> ChildSpec {
        ChildSpec { restart: Restart::Temporary, ..Self::permanent() }
    }

    pub fn on(mut self, bulkhead: Bulkhead) -> ChildSpec {
        self.bulkhead = bulkhead;
        self
    }

    pub fn intensity(mut self, restarts: u32, within: Duration) -> ChildSpec {
        self.intensity = Intensity { restarts, within };
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> ChildSpec {
        self.backoff = backoff;
        self
    }

    pub fn give_up(mut self, give_up: GiveUp) -> ChildSpec {
        self.give_up = give_up;
        self
    }

    pub fn revive_after(mut self, pause: Duration) -> ChildSpec {
        self.revive_after = Some(pause);
        self
    }

    pub fn shutdown(mut self, shutdown: Duration) -> ChildSpec {
        self.shutdown = shutdown;
        self
    }

    pub fn stops_at_once(mut self) -> ChildSpec {
        self.stops_at_once = true;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildSpec({:?} on {:?}, {:?})", self.restart, self.bulkhead, self.intensity)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ChildEvent {
    /// Its name under its parent.
    pub name: String,
    pub change: ChildChange,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ChildChange {
    /// A new incarnation was spawned; it is starting.
    Spawned { generation: u64 },
    /// It ended and is spawned anew after the delay.
    Restarting { cause: Failure, after: Duration },
    /// It failed too often, or would not die.
    Offline { cause: Failure },
    /// It ended for good and is forgotten; with its failure where it had one.
    Stopped { failure: Option<Failure> },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    #[error("{0} has a child of this name")]
    NameTaken(String),
    #[error("{0} is stopping")]
    Stopping(String),
}

/// The failures still in the window.
#[derive(Debug, Default)]
pub(crate) struct Failures(VecDeque<Duration>);

impl Failures {
    /// Notes one; the number in the window, and whether that is too many.
    pub(crate) fn note(&mut self, now: Duration, intensity: Intensity) -> (usize, bool) {
        self.0.push_back(now);
        let since = now.saturating_sub(intensity.within);
        while self.0.front().is_some_and(|at| *at < since) {
            self.0.pop_front();
        }
        (self.0.len(), self.0.len() > intensity.restarts as usize)
    }

    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

//! The life of one incarnation, and the barrier at its end: it has ended when its state, its tasks and jobs, and all its
//! descendants are dropped; only then is its parent told.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::actor::{Failure, FailureKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Starting = 0,
    Running = 1,
    Stopping = 2,
    Ended = 3,
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was told to.
    Stopped,
    /// By its own choice.
    Finished,
    Failed(Failure),
}

impl Exit {
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Exit::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    phase: AtomicU8,
    ran: AtomicBool,
    /// Boxed: there are as many as actors, and few have ended.
    exit: OnceLock<Box<Exit>>,
    changed: Notify,
}

impl Lifecycle {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Running,
            2 => Phase::Stopping,
            _ => Phase::Ended,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        if phase == Phase::Running {
            self.ran.store(true, Ordering::Release);
        }
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// The first cause stands.
    pub(crate) fn set_exit(&self, exit: Exit) {
        let _ = self.exit.set(Box::new(exit));
    }

    pub(crate) fn exit(&self) -> Exit {
        let killed = || Box::new(Exit::Failed(Failure::of_kind(FailureKind::Killed, "killed")));
        Exit::clone(self.exit.get_or_init(killed))
    }

    /// Ends when it has started; with its end where its start failed, or it has ended already.
    pub(crate) async fn started(&self) -> Result<(), Exit> {
        self.reached(Phase::Running).await;
        match self.phase() {
            Phase::Ended => Err(self.exit()),
            _ if self.ran.load(Ordering::Acquire) => Ok(()),
            _ => Err(self.exit()),
        }
    }

    /// Ends when the phase is at least this one.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            let changed = self.changed.notified();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }
}

/// Told once per incarnation, after everything of it is gone.
pub(crate) trait OnExit: Send + Sync {
    fn exited(&self, child: u64, generation: u64, exit: Exit);
}

/// Held by the state, its tasks and jobs and its children; the last one to let go ends the incarnation.
pub(crate) struct Latch {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) child: u64,
    pub(crate) generation: u64,
    pub(crate) parent: Option<Arc<dyn OnExit>>,
    /// Keeps the parent from ending before its child.
    pub(crate) _above: Option<Arc<Latch>>,
}

impl Drop for Latch {
    fn drop(&mut self) {
        let exit = self.lifecycle.exit();
        self.lifecycle.enter(Phase::Ended);
        if let Some(parent) = &self.parent {
            parent.exited(self.child, self.generation, exit);
        }
    }
}

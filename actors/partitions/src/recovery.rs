//! How far the logs of a directory are recovered after an unclean stop.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::TopicPartition;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The logs that an unclean stop left in a directory.
#[derive(Debug)]
pub(crate) struct Recovery {
    found: usize,
    left: Mutex<BTreeSet<TopicPartition>>,
    threads: Semaphore,
}

/// Held while a log is recovered.
pub(crate) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl Recovery {
    /// Of `left`, `threads` at a time (`num.recovery.threads.per.data.dir`).
    pub fn of(left: BTreeSet<TopicPartition>, threads: usize) -> Recovery {
        let threads = Semaphore::new(threads.max(1));
        Recovery { found: left.len(), left: Mutex::new(left), threads }
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log that needs no recovery has its turn at once.
    pub async fn turn(&self, log: &TopicPartition) -> Turn<'_> {
        if !self.left().contains(log) {
            return None;
        }
        self.threads.acquire().await.ok()
    }

    /// A log is recovered, or no longer here. True for the last of them.
    pub fn done(&self, log: &TopicPartition) -> bool {
        let left = {
            let mut left = self.left();
            if !left.remove(log) {
                return false;
            }
            left.len()
        };
        tracing::info!(%log, "{} of {} logs recovered", self.found - left, self.found);
        left == 0
    }

    /// How far it is, while it goes on.
    pub fn progress(&self) -> Option<String> {
        let left = self.left().len();
        (left > 0).then(|| format!("{} of {} logs recovered", self.found - left, self.found))
    }
}

//! Logs of a directory that cannot be compacted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{TopicPartition, Uuid};
use runtime::Map;

/// Why a log cannot be compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncleanable {
    /// One of the same name may be made anew.
    pub topic_id: Uuid,
    pub why: String,
    /// Unix milliseconds.
    pub since_ms: i64,
}

/// What the log cleaner of a directory has given up: as many as there are of those, and no more, are gone through.
#[derive(Debug, Default)]
pub struct UncleanableLogs(Mutex<Map<TopicPartition, Uncleanable>>);

impl UncleanableLogs {
    fn all(&self) -> MutexGuard<'_, Map<TopicPartition, Uncleanable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn first(&self, most: usize) -> Vec<(TopicPartition, Uncleanable)> {
        let all = self.all();
        all.iter().take(most).map(|(log, why)| (log.clone(), why.clone())).collect()
    }

    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    pub(crate) fn count(&self) -> i64 {
        i64::try_from(self.all().len()).unwrap_or(i64::MAX)
    }

    pub(crate) fn has(&self, log: &TopicPartition) -> bool {
        self.all().contains_key(log)
    }

    pub(crate) fn add(&self, log: TopicPartition, why: Uncleanable) {
        self.all().insert(log, why);
    }

    pub(crate) fn retain(&self, mut stays: impl FnMut(&TopicPartition, &Uncleanable) -> bool) {
        self.all().retain(|log, why| stays(log, why));
    }
}

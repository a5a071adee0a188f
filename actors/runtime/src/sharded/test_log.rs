//! A log that a test drives.

use std::sync::{Arc, Mutex, MutexGuard};

use model::{ErrorCode, LeaderEpoch, StoredRecord};

use super::{AppendReply, Chunk, ShardLog};
use crate::watch::Pulse;
use crate::world::BoxFuture;

#[derive(Default)]
pub(crate) struct TestLog {
    state: Mutex<TestLogState>,
    changed: Pulse,
}

#[derive(Default)]
pub(crate) struct TestLogState {
    pub(crate) records: Vec<StoredRecord>,
    pub(crate) high_watermark: i64,
    pub(crate) epoch: Option<LeaderEpoch>,
    /// Commits at once.
    pub(crate) commits: bool,
    pub(crate) max_batch_bytes: usize,
    /// Takes more than that.
    pub(crate) compresses: bool,
    pub(crate) refuses: Option<ErrorCode>,
    pub(crate) refused: usize,
    pub(crate) reads: usize,
    /// Sizes of the appends, and answers that are held back.
    pub(crate) appends: Vec<usize>,
    pub(crate) held: Option<Vec<(i64, AppendReply)>>,
}

impl TestLog {
    pub(crate) fn led(records: Vec<StoredRecord>) -> Arc<TestLog> {
        let log = Arc::new(TestLog::default());
        let mut state = log.state();
        state.epoch = Some(LeaderEpoch(1));
        state.commits = true;
        state.max_batch_bytes = usize::MAX;
        state.high_watermark = records.len() as i64;
        state.records = records;
        drop(state);
        log
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, TestLogState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut TestLogState)) {
        change(&mut self.state());
        self.changed.publish();
    }

    pub(crate) fn commit_all(&self) {
        self.change(|state| state.high_watermark = state.records.len() as i64);
    }
}

impl ShardLog for TestLog {
    fn append(&self, epoch: LeaderEpoch, records: Vec<StoredRecord>, reply: AppendReply) {
        let mut state = self.state();
        assert_eq!(state.epoch, Some(epoch));
        if let Some(code) = state.refuses {
            state.refused += 1;
            return reply.send(Err(code));
        }
        state.appends.push(records.len());
        state.records.extend(records);
        let end = state.records.len() as i64;
        if state.commits {
            state.high_watermark = end;
        }
        match &mut state.held {
            Some(held) => held.push((end, reply)),
            None => reply.send(Ok(end)),
        }
    }

    fn read(&self, from: i64, _max: usize) -> BoxFuture<'static, Result<Chunk, ErrorCode>> {
        // Two at a time, so that a load takes several reads.
        let mut state = self.state();
        state.reads += 1;
        let records: Vec<_> = state.records.iter().skip(from as usize).take(2).cloned().collect();
        let next = from + records.len() as i64;
        Box::pin(async move { Ok(Chunk { records, next }) })
    }

    fn start_offset(&self) -> i64 {
        0
    }

    fn end_offset(&self) -> i64 {
        self.state().records.len() as i64
    }

    fn high_watermark(&self) -> i64 {
        self.state().high_watermark
    }

    fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.state().epoch
    }

    fn max_batch_bytes(&self) -> usize {
        self.state().max_batch_bytes
    }

    fn takes(&self, _records: &[StoredRecord]) -> bool {
        self.state().compresses
    }

    fn changed(&self) -> Pulse {
        self.changed.clone()
    }
}

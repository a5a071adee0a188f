//! What those who follow the metadata log are told.

use std::sync::Arc;

use machines::consensus::OffsetAndEpoch;
use runtime::{Failure, Outcome};
use wire::MetadataRecord;
use wire::batch::BatchError;

use super::Raft;
use crate::files::{RecordsError, decode_record};
use crate::history::LogPlace;
use crate::snapshot::{self, MAX_BATCH_BYTES, Snapshot};

/// What the newest snapshot says, and where it ends.
#[derive(Clone)]
pub(super) struct LoadedSnapshot {
    id: OffsetAndEpoch,
    timestamp_ms: i64,
    records: Arc<Vec<MetadataRecord>>,
}

impl LoadedSnapshot {
    pub(super) fn new(id: OffsetAndEpoch, snapshot: Snapshot) -> LoadedSnapshot {
        let Snapshot { timestamp_ms, records, .. } = snapshot;
        LoadedSnapshot { id, timestamp_ms, records: Arc::new(records) }
    }
}

/// Takes what happens to the log, in its order; must not block. False where nobody is there to take it any more.
pub type Sink = Arc<dyn Fn(RaftEvent) -> bool + Send + Sync>;

#[derive(Debug, Clone)]
pub enum RaftEvent {
    /// Everything that the log said before `offset`.
    Snapshot {
        offset: i64,
        epoch: i32,
        /// Of the newest record that it covers, unix milliseconds.
        timestamp_ms: i64,
        records: Arc<Vec<MetadataRecord>>,
        committed: i64,
    },
    /// What a new cluster begins with: the first controller writes it to the empty log.
    Bootstrap { records: Arc<Vec<MetadataRecord>> },
    /// One batch, committed; control batches have no records.
    Batch {
        base_offset: i64,
        next_offset: i64,
        epoch: i32,
        /// Of its newest record, unix milliseconds.
        timestamp_ms: i64,
        records: Vec<MetadataRecord>,
        bytes: u64,
        /// What is committed reaches this far, and will be told; 0 where it is not known yet.
        committed: i64,
    },
    /// This node leads, and everything in its log was told: the next record follows what was told last.
    Leading { epoch: i32 },
    /// This node leads no more.
    NotLeading { epoch: i32 },
}

/// One who follows the log.
pub(super) struct Subscriber {
    sink: Sink,
    next_offset: i64,
    started: bool,
    told: Option<(bool, i32)>,
    gone: bool,
}

impl Subscriber {
    pub(super) fn new(sink: Sink) -> Subscriber {
        Subscriber { sink, next_offset: 0, started: false, told: None, gone: false }
    }

    fn tell(&mut self, event: RaftEvent) {
        self.gone = self.gone || !(self.sink)(event);
    }

    /// An id of 0 and 0 is no snapshot of the log but what it is to begin with.
    fn start(&mut self, snapshot: Option<LoadedSnapshot>, committed: i64) {
        self.started = true;
        let Some(LoadedSnapshot { id, timestamp_ms, records }) = snapshot else { return };
        let OffsetAndEpoch { offset, epoch } = id;
        if id == OffsetAndEpoch::EMPTY {
            self.tell(RaftEvent::Bootstrap { records });
        } else {
            self.next_offset = offset;
            self.tell(RaftEvent::Snapshot { offset, epoch, timestamp_ms, records, committed });
        }
    }
}

impl Raft {
    /// Tells every subscriber what is committed and not yet told.
    pub(super) fn feed(&mut self) -> Outcome {
        let mut subscribers = std::mem::take(&mut self.subscribers);
        let fed = subscribers.iter_mut().try_for_each(|subscriber| self.feed_one(subscriber));
        // One that was started anew has subscribed anew.
        subscribers.retain(|subscriber| !subscriber.gone);
        self.subscribers = subscribers;
        fed
    }

    /// The log may begin where the newest snapshot ends.
    fn newest_snapshot(&mut self) -> Result<Option<LoadedSnapshot>, Failure> {
        if let (None, Some(id)) = (&self.snapshot, self.snapshot_id) {
            let read = snapshot::read(&**self.args.log_dir.disk(), &self.dir, id)?;
            self.snapshot = Some(LoadedSnapshot::new(id, read));
        }
        Ok(self.snapshot.clone())
    }

    fn feed_one(&mut self, subscriber: &mut Subscriber) -> Outcome {
        if subscriber.started && subscriber.next_offset < self.log.log_start_offset() {
            // The log was given up for a leader's snapshot.
            subscriber.started = false;
        }
        if !subscriber.started {
            let snapshot = self.newest_snapshot()?;
            subscriber.start(snapshot, self.committed);
        }
        if subscriber.next_offset < self.committed {
            self.feed_batches(subscriber)?;
        }
        let epoch = self.consensus.epoch();
        let leads = self.consensus.is_leader()
            && (subscriber.told == Some((true, epoch)) || self.has_told_all(subscriber, epoch));
        if subscriber.told != Some((leads, epoch)) {
            subscriber.told = Some((leads, epoch));
            subscriber.tell(match leads {
                true => RaftEvent::Leading { epoch },
                false => RaftEvent::NotLeading { epoch },
            });
        }
        Ok(())
    }

    /// As it is now: what is committed later is not in it.
    pub(super) fn place(&self) -> LogPlace {
        LogPlace {
            disk: self.args.log_dir.disk().clone(),
            dir: self.dir.clone(),
            log: self.log.view(),
            snapshot: self.snapshot_id,
            committed: self.committed,
        }
    }

    /// A controller begins once it knows all that stands in the log: also what another one of this epoch, which failed, left there
    /// uncommitted. What it decides before could contradict it (RE-4).
    fn has_told_all(&self, subscriber: &Subscriber, epoch: i32) -> bool {
        self.log.leader_epochs().latest().is_some_and(|latest| latest.epoch.0 == epoch)
            && subscriber.next_offset == self.log.log_end_offset()
    }

    fn feed_batches(&self, subscriber: &mut Subscriber) -> Outcome {
        let mut failed: Option<Failure> = None;
        self.log.view().batches_from(subscriber.next_offset).for_each(|batch| {
            let header = *batch.header();
            if header.next_offset() > self.committed {
                return false;
            }
            match records_of(&batch) {
                Ok(records) => {
                    subscriber.next_offset = header.next_offset();
                    subscriber.tell(RaftEvent::Batch {
                        base_offset: header.base_offset,
                        next_offset: header.next_offset(),
                        epoch: header.leader_epoch,
                        timestamp_ms: header.max_timestamp,
                        records,
                        bytes: batch.size() as u64,
                        committed: self.committed,
                    });
                    !subscriber.gone
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

pub(crate) fn records_of(batch: &wire::batch::RecordBatch) -> Result<Vec<MetadataRecord>, Failure> {
    if batch.header().is_control() {
        return Ok(Vec::new());
    }
    let poison = |offset: i64, error: RecordsError| {
        let log = "the metadata log cannot be understood, and nothing goes on without it";
        Failure::new(format!("{log}: from offset {offset}: {error}"))
    };
    let base_offset = batch.header().base_offset;
    let of_batch = |error: BatchError| poison(base_offset, error.into());
    let mut records = Vec::new();
    for (offset, record) in (base_offset..).zip(batch.records(MAX_BATCH_BYTES).map_err(of_batch)?) {
        let decoded = decode_record(offset, record.map_err(of_batch)?);
        records.push(decoded.map_err(|error| poison(base_offset, error))?);
    }
    Ok(records)
}

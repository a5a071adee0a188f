//! What readers ask of a replica: past the mailbox, from the view that its actor published last.

use std::sync::Arc;

use log::{EpochEnd, LogView, Read, ReadError, TimestampOffset};
use model::{ErrorCode, LeaderEpoch, NodeId};

use crate::handle::{PartitionHandle, Serving, Standing};

/// How far a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// To the end of the log: replicas, and those who debug.
    LogEnd,
    /// To the high watermark.
    Uncommitted,
    /// To the last stable offset.
    Committed,
}

/// Whom a reader may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    Leader,
    AnyReplica,
}

/// Why a replica does not let anybody read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    #[error("the partition was deleted")]
    Deleted,
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("the replica is offline")]
    Offline,
    #[error("leader epoch {given} is older than {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("leader epoch {given} is not known yet, only {current}")]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("this leader knows of no replica on {replica}")]
    UnknownReplica { replica: NodeId },
}

impl NotServed {
    pub fn code(&self) -> ErrorCode {
        match self {
            NotServed::Deleted => ErrorCode::UnknownTopicOrPartition,
            NotServed::NotLeader => ErrorCode::NotLeaderOrFollower,
            NotServed::Offline => ErrorCode::KafkaStorageError,
            NotServed::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            NotServed::UnknownLeaderEpoch { .. } | NotServed::UnknownReplica { .. } => {
                ErrorCode::UnknownLeaderEpoch
            }
        }
    }
}

/// The error code that a reader sees.
pub fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::Disk(_) => ErrorCode::KafkaStorageError,
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::CorruptIndex { .. } => ErrorCode::UnknownServerError,
    }
}

/// A replica's log at one moment.
#[derive(Debug, Clone)]
pub struct Readable {
    pub leader_epoch: LeaderEpoch,
    pub view: Arc<LogView>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
}

impl PartitionHandle {
    /// The log, if the reader's leader epoch (where it knows one) is the replica's own.
    pub fn readable(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        from: ReadFrom,
    ) -> Result<Readable, NotServed> {
        // Before the view: an offset never lies beyond the view that is loaded after it.
        let (last_stable_offset, high_watermark) =
            (self.last_stable_offset(), self.high_watermark());
        if self.is_deleted() {
            return Err(NotServed::Deleted);
        }
        let standing = self.standing();
        let (Serving { leader_epoch, view }, leads) = match &*standing {
            Standing::Starting => return Err(NotServed::NotLeader),
            Standing::Offline { .. } => return Err(NotServed::Offline),
            Standing::Leader(serving) => (serving.clone(), true),
            Standing::Follower(serving) => (serving.clone(), false),
        };
        match current_leader_epoch {
            Some(given) if given < leader_epoch => {
                return Err(NotServed::FencedLeaderEpoch { given, current: leader_epoch });
            }
            Some(given) if given > leader_epoch => {
                return Err(NotServed::UnknownLeaderEpoch { given, current: leader_epoch });
            }
            _ => {}
        }
        if from == ReadFrom::Leader && !leads {
            return Err(NotServed::NotLeader);
        }
        Ok(Readable { leader_epoch, view, high_watermark, last_stable_offset })
    }
}

impl Readable {
    pub fn log_start_offset(&self) -> i64 {
        self.view.log_start_offset()
    }

    /// Where what this reader sees ends.
    pub fn end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::LogEnd => self.view.log_end_offset(),
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable_offset,
        }
    }

    /// Where a reader that last read a record of this epoch must go back to, if its log went another way.
    pub fn divergence(
        &self,
        last_fetched_epoch: LeaderEpoch,
        fetch_offset: i64,
    ) -> Result<Option<EpochEnd>, ReadError> {
        let out_of_range = || ReadError::OutOfRange {
            offset: fetch_offset,
            start: self.view.log_start_offset(),
            end: self.view.log_end_offset(),
        };
        let end = self.view.end_offset_for_epoch(last_fetched_epoch).ok_or_else(out_of_range)?;
        if fetch_offset < self.view.log_start_offset() {
            return Err(out_of_range());
        }
        let diverges = end.epoch < last_fetched_epoch || end.end_offset < fetch_offset;
        Ok(diverges.then_some(end))
    }

    /// See [`LogView::read`]; nothing beyond what this reader sees.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        isolation: Isolation,
    ) -> Result<Read, ReadError> {
        self.view.read(offset, max_bytes, min_one, self.end(isolation))
    }

    /// Whether the view goes on in a later segment than that of the read.
    pub fn continues_after(&self, read: &Read) -> bool {
        read.start.segment_base < self.view.end().segment_base
    }

    /// Where this leader's epoch begins.
    pub fn epoch_start(&self) -> Option<i64> {
        let latest = self.view.leader_epochs().latest()?;
        (latest.epoch == self.leader_epoch).then_some(latest.start_offset)
    }

    /// The log's first offset, with the epoch it was written in where that is known.
    pub fn earliest(&self) -> TimestampOffset {
        let offset = self.view.log_start_offset();
        let first = self.view.leader_epochs().earliest();
        let leader_epoch = first.filter(|e| e.start_offset <= offset).map(|e| e.epoch);
        TimestampOffset { timestamp: -1, offset, leader_epoch }
    }
}

//! The log of a shard, as the shard knows it.

use model::{ErrorCode, LeaderEpoch, StoredRecord};

use crate::reply::Reply;
use crate::watch::Pulse;
use crate::world::BoxFuture;

/// The offset after the last record appended.
pub type AppendReply = Reply<Result<i64, ErrorCode>>;

/// What a shard needs of the partition that keeps its records.
pub trait ShardLog: Send + Sync + 'static {
    /// Appends the records as one batch if `epoch` is still this leader's. Answers the offset after the last of them.
    /// Appends take effect, and are answered, in the order of their calls.
    fn append(&self, epoch: LeaderEpoch, records: Vec<StoredRecord>, reply: AppendReply);

    /// Reads records from an offset on, of about this size, committed or not. Record batches that were aborted or are control
    /// batches count towards `next` only.
    fn read(&self, from: i64, max_bytes: usize) -> BoxFuture<'static, Result<Chunk, ErrorCode>>;

    fn start_offset(&self) -> i64;

    fn end_offset(&self) -> i64;

    /// What lies below is committed.
    fn high_watermark(&self) -> i64;

    /// The epoch in which this node leads the partition; `None` where it does not.
    fn leader_epoch(&self) -> Option<LeaderEpoch>;

    /// What the records of one append may take before they are compressed.
    fn max_batch_bytes(&self) -> usize;

    /// Whether records that take more than that can be appended all the same.
    fn takes(&self, records: &[StoredRecord]) -> bool;

    /// Published when the high watermark or the leadership has changed.
    fn changed(&self) -> Pulse;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub records: Vec<StoredRecord>,
    /// Where to read on; the offset that was asked for means that there is nothing more.
    pub next: i64,
}

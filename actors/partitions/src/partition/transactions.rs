//! Which transactions are open.

use super::PartitionActor;

/// What holds the last stable offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub first_offset: i64,
    /// When the producer wrote last, by its own clock: unix milliseconds.
    pub last_timestamp: i64,
}

impl PartitionActor {
    pub(super) fn first_transaction(&self) -> Option<OpenTransaction> {
        let (id, entry) = self.machine.producers().first_ongoing()?;
        Some(OpenTransaction {
            producer_id: id.0,
            producer_epoch: entry.epoch.0,
            first_offset: entry.transaction_first_offset?,
            last_timestamp: entry.last_timestamp,
        })
    }
}

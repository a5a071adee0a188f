//! Log compaction: of the records with one key only the last is kept (Kafka: `LogCleaner`, `Cleaner`).
//!
//! The owner of many logs asks each now and then what there is to clean ([`LogView::to_clean`](crate::LogView::to_clean)), and
//! picks one. [`Log::compaction`](crate::Log::compaction) gives the pass over it: a job for another thread, which does not touch the log.
//! It reads the dirty section into a map of bounded size, then copies all segments, from the log's first, without what is
//! superseded. Each [`CleanedSegments`] that it gives goes to the log's writer at once, in order:
//! [`Log::replace_segments`](crate::Log::replace_segments) shows them to readers without touching the disk, and the [`SegmentSwap`] that it
//! returns makes that durable on whatever thread. When the pass is done the owner checkpoints its end offset
//! ([`CLEANER_OFFSET_CHECKPOINT`](crate::CLEANER_OFFSET_CHECKPOINT)).
//!
//! One pass at a time per log, and none goes on when the log is opened anew. A truncation, or a deletion of segments that the pass
//! replaces, makes the log refuse what the pass gives.

mod cleaned;
mod cleaning;
mod filter;
mod groups;
mod mapping;
mod offset_map;
mod pass;
mod plan;
mod reader;
mod records;
mod sip;
mod swap;
mod transactions;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use disk::DiskError;

pub use cleaned::CleanedSegments;
pub use pass::{Compaction, Progress};
pub use plan::{CompactionPolicy, LogToClean};
pub use swap::{NotReplaced, SegmentSwap};

use crate::error::ReadError;

/// What a pass works with, and what it must know of its partition.
#[derive(Debug, Clone)]
pub struct CompactionOptions {
    /// `log.cleaner.dedupe.buffer.size`, this cleaner's share: a key takes 24 bytes.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full the map of keys may become.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`, this cleaner's share: half of it to read, half to write. A batch that is larger gets
    /// a buffer that holds it.
    pub io_buffer_bytes: usize,
    /// A batch that grows to more when it is decompressed is copied as it is: its records supersede nothing, and are not superseded.
    pub uncompressed_bytes: usize,
    /// No more than so many bytes of several segments are cleaned into one, nor than a segment may have.
    pub group_bytes: u64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Drawn at random for each pass: nobody can choose keys whose hashes are equal.
    pub hash_key: [u64; 2],
    pub high_watermark: i64,
    /// The last entry of each producer that has not expired, by its id: from [`Log::producers`](crate::Log::producers).
    pub active_producers: BTreeMap<i64, LastRecord>,
    pub now_ms: i64,
}

/// The last that an active producer wrote (Kafka: `LastRecord`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// `None` if that was a transaction's marker, after which no data is known.
    pub last_data_offset: Option<i64>,
    pub producer_epoch: i16,
}

/// What a pass did (Kafka: `CleanerStats`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CleanerStats {
    /// Of the dirty section, for the map of keys.
    pub map_bytes_read: u64,
    pub map_messages_read: u64,
    pub bytes_read: u64,
    pub messages_read: u64,
    /// Records without a key: they are dropped.
    pub invalid_messages_read: u64,
    pub bytes_written: u64,
    pub messages_written: u64,
    /// How full the map of keys was, of 1.
    pub buffer_utilization: f64,
}

/// Why a pass ended early. The log itself is as it was, but for segments that were swapped in already.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompactionError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Also where a batch is corrupt: it is neither copied nor dropped.
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "{bytes} bytes at load factor {load_factor} hold not even one key: raise log.cleaner.dedupe.buffer.size or lower \
         log.cleaner.threads"
    )]
    MapTooSmall { bytes: usize, load_factor: f64 },
}

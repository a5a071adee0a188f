//! A partition's log: segments, indexes, recovery, checkpoints. Kafka's files, to the byte.
//!
//! A [`Log`] has one writer, its owner. Readers get a [`LogView`]: an immutable picture of the log that never waits for the
//! writer, and stays readable when segments are deleted under it. What may take long ([`Log::open`], [`Log::roll`],
//! [`Log::truncate_to`], a [`SyncJob`]) is a plain call, for the owner to make where it likes.
//!
//! What of it survives a crash: everything below the recovery point, which a finished [`SyncJob`] moves forward. Opening after an
//! unclean stop reads all that lies above it and keeps what is whole.

mod append;
mod batches;
mod checkpoint;
mod clean_shutdown;
mod compact;
mod config;
mod epoch_search;
mod epochs;
mod error;
mod index;
mod leftovers;
mod log;
mod meta_properties;
mod names;
mod oldest;
mod open;
mod partition_metadata;
mod producer_snapshot;
mod producers;
mod recent;
mod recover;
mod retention;
mod rewrite;
mod scan;
mod segment;
mod survival;
mod sync;
mod truncate;
mod txn_index;
mod view;
mod view_timestamps;
mod words;

pub use append::Appended;
pub use batches::BatchesFrom;
pub use checkpoint::{
    CLEANER_OFFSET_CHECKPOINT, CheckpointError, HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, offset_checkpoint,
    read_offset_checkpoint,
};
pub use clean_shutdown::{CLEAN_SHUTDOWN_FILE, CleanShutdown};
pub use compact::{
    CleanedSegments, CleanerStats, Compaction, CompactionError, CompactionOptions,
    CompactionPolicy, LastRecord, LogToClean, NotReplaced, Progress, SegmentSwap,
};
pub use config::LogConfig;
pub use epochs::{EpochEnd, EpochEntry, LeaderEpochs};
pub use error::{AppendError, OpenError, ReadError};
pub use log::Log;
pub use meta_properties::{META_PROPERTIES_FILE, MetaProperties, MetaPropertiesError};
pub use names::{DirKind, PartitionDir, delete_dir_name, partition_dir_name};
pub use oldest::OldestSegment;
pub use open::{OpenOptions, Recovered};
pub use partition_metadata::{
    PARTITION_METADATA_FILE, PartitionMetadataError, read_partition_metadata,
    write_partition_metadata,
};
pub use producer_snapshot::{ProducerSnapshotError, read_producer_snapshot};
pub use recent::{InMemory, RecentBatches};
pub use retention::{DeletedSegments, RetentionPolicy};
pub use survival::{
    Survival, expect_others_to_write, expect_writes_lost, expect_writes_to_survive,
    expect_writes_unsynced, survival,
};
pub use sync::SyncJob;
pub use truncate::TruncateError;
pub use txn_index::AbortedTransaction;
pub use view::{FileSlice, LogPosition, LogView, Read, TimestampOffset};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod index_damage_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod producers_tests;
#[cfg(test)]
mod recent_tests;
#[cfg(test)]
mod rewrite_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod txn_index_tests;
#[cfg(test)]
mod view_tests;

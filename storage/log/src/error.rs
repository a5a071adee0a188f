use std::path::PathBuf;

use disk::DiskError;
use wire::batch::BatchError;

use crate::checkpoint::CheckpointError;

/// Why a log cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its records are whole, but in a format of before Kafka 0.11.
    #[error("{path:?} holds message format {magic} at position {position}: only 2 is supported")]
    LegacyFormat { path: PathBuf, position: u64, magic: i8 },
    #[error("{path:?} is larger than the 2 GiB that a segment may have")]
    SegmentTooLarge { path: PathBuf },
    /// Records that had reached the disk cannot be read any more.
    #[error(
        "{path:?} is whole up to position {position} and offset {offset} only, no segment goes on there, and the log was durable up \
        to {recovery_point}: restore the files, or accept the loss by taking the partition's line out of recovery-point-offset-checkpoint"
    )]
    CommittedLost { path: PathBuf, position: u64, offset: i64, recovery_point: i64 },
    /// There is no segment at all.
    #[error(
        "{dir:?} has no segments, but the log was durable up to {recovery_point}: restore the files, or accept the loss by taking \
        the partition's line out of recovery-point-offset-checkpoint"
    )]
    NoSegments { dir: PathBuf, recovery_point: i64 },
    /// Segments follow it, so that it was whole once.
    #[error(
        "{path:?} is whole up to position {position} only, and other segments follow it: restore the files, or accept the loss by \
        taking the partition's line out of recovery-point-offset-checkpoint"
    )]
    CorruptSegment { path: PathBuf, position: u64 },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl OpenError {
    /// As [`DiskError::may_pass`].
    pub fn may_pass(&self) -> bool {
        match self {
            OpenError::Disk(error) | OpenError::Read(ReadError::Disk(error)) => error.may_pass(),
            _ => false,
        }
    }
}

/// Why nothing (or, after a disk error, not everything) was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("batch with base offset {offset} does not follow the log's end {end}")]
    OutOfOrder { offset: i64, end: i64 },
    #[error("batch with base offset {offset} is too large for a segment")]
    TooLarge { offset: i64 },
}

/// Why a read found nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("offset {offset} is out of range: the log has {start} to {end}")]
    OutOfRange { offset: i64, start: i64, end: i64 },
    #[error("{path:?} holds an entry of an unknown version at position {position}")]
    CorruptIndex { path: PathBuf, position: u64 },
    #[error("{path:?} is corrupt at position {position}: {source}")]
    Corrupt { path: PathBuf, position: u64, source: BatchError },
}

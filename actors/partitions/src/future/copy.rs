//! The copying itself: what is there is made equal to the log, piece by piece.

use std::sync::Arc;

use disk::{Disk, DiskError};
use log::{AppendError, Log, LogConfig, LogView, OpenError, OpenOptions, ReadError, TruncateError};

use super::FutureLog;
use crate::partition::OpenLogError;

/// Copied at once.
const PIECE: usize = 1 << 20;

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Opened(#[from] OpenLogError),
    #[error("nothing follows offset {0}, which is not the end")]
    Hole(i64),
}

impl CopyError {
    /// What the disk said, where that is why.
    pub(super) fn disk(&self) -> Option<&DiskError> {
        match self {
            CopyError::Disk(error)
            | CopyError::Read(ReadError::Disk(error))
            | CopyError::Append(AppendError::Disk(error))
            | CopyError::Open(OpenError::Disk(error))
            | CopyError::Truncate(
                TruncateError::Disk(error)
                | TruncateError::Read(ReadError::Disk(error))
                | TruncateError::Open(OpenError::Disk(error)),
            ) => Some(error),
            CopyError::Opened(error) => error.disk(),
            _ => None,
        }
    }
}

/// Brings the copy nearer to the log: drops what that one does not have (any more), and appends what comes next. How many
/// bytes that was.
pub(super) fn copy_piece(log: &mut Log, source: &LogView, now_ms: i64) -> Result<u64, CopyError> {
    let (start, end) = (source.log_start_offset(), source.log_end_offset());
    match log.leader_epochs().latest() {
        Some(latest) => match source.end_offset_for_epoch(latest.epoch) {
            Some(known)
                if known.epoch < latest.epoch || known.end_offset < log.log_end_offset() =>
            {
                let end = known.end_offset.min(log.log_end_offset());
                if let Some(deleted) = log.truncate_to(end, now_ms)? {
                    log.remove(&deleted)?;
                }
            }
            Some(_) => {}
            None => begin_at(log, start, now_ms)?,
        },
        None if log.log_end_offset() > end => begin_at(log, start, now_ms)?,
        None => {}
    }
    if log.log_end_offset() < start {
        begin_at(log, start, now_ms)?;
    }
    let mut copied = 0;
    if log.log_end_offset() < end {
        let from = log.log_end_offset();
        let bytes = source.read_bytes(from, PIECE, true, end)?;
        let mut batches = Vec::new();
        for batch in wire::batch::batches(bytes) {
            batches.extend(batch.ok().filter(|batch| batch.header().last_offset() >= from));
        }
        let first = batches.first().ok_or(CopyError::Hole(from))?.header().base_offset;
        if first < from {
            // The log starts within a batch.
            begin_at(log, first, now_ms)?;
        }
        copied = batches.iter().map(|batch| batch.size() as u64).sum();
        log.append(&batches, now_ms)?;
    }
    if log.log_start_offset() < start {
        log.advance_log_start(start);
    }
    Ok(copied)
}

/// Nobody reads a copy: its files go at once.
fn begin_at(log: &mut Log, offset: i64, now_ms: i64) -> Result<(), CopyError> {
    let deleted = log.truncate_fully_and_start_at(offset, now_ms)?;
    Ok(log.remove(&deleted)?)
}

/// What is left of a copy that was caught up, closed and rests: the rest of the log is appended, and everything is durable
/// after it. Answers up to where.
pub(crate) fn finish_copy(
    disk: &Arc<dyn Disk>,
    future: &FutureLog,
    source: &LogView,
    config: LogConfig,
    now_ms: i64,
) -> Result<i64, CopyError> {
    let options = OpenOptions {
        clean: true,
        log_start_offset: source.log_start_offset(),
        recovery_point: future.log_end_offset(),
        now_ms,
        ..OpenOptions::default()
    };
    let (mut log, _) = Log::open(disk.clone(), future.path.clone(), config, options)?;
    loop {
        copy_piece(&mut log, source, now_ms)?;
        if log.log_end_offset() >= source.log_end_offset() {
            let closing = log.closing()?;
            closing.run()?;
            return Ok(closing.end_offset());
        }
    }
}

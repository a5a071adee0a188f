//! The copying itself: what is there is made equal to the log, piece by piece.

use std::sync::Arc;

use disk::{Disk, DiskError};
use log::{AppendError, Log, LogConfig, LogView, OpenError, OpenOptions, ReadError, TruncateError};
use machines::partition::{EpochEnd, truncation_offset};
use model::node_config::RoomConfig;
use wire::batch::BatchError;

use super::FutureLog;
use crate::hosted::Hosted;
use crate::log_dirs::LogDirState;
use crate::partition::OpenLogError;
use crate::room::{Room, rung};

/// Copied at once.
const PIECE: usize = 1 << 20;
/// Copied while the partition serves nobody.
const MOST_WAITED_FOR: u64 = 16 << 20;

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
    #[error("the batch at offset {offset}: {source}")]
    Corrupt { offset: i64, source: BatchError },
}

impl CopyError {
    /// What the disk said, where that is why.
    pub(crate) fn disk(&self) -> Option<&DiskError> {
        match self {
            CopyError::Disk(error)
            | CopyError::Read(ReadError::Disk(error))
            | CopyError::Append(AppendError::Disk(error))
            | CopyError::Open(OpenError::Disk(error) | OpenError::Read(ReadError::Disk(error)))
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

/// Where the copy has what the log does not have (any more), the offset to cut it at. After the cut the epoch before may part, too.
/// Source: `AbstractFetcherThread.getOffsetTruncationState`.
fn parts_at(log: &Log, source: &LogView) -> Option<i64> {
    let end = log.log_end_offset();
    let (own, newest) = (log.leader_epochs().latest()?, source.leader_epochs().latest()?);
    let agreed =
        |known: log::EpochEnd| EpochEnd { epoch: known.epoch, end_offset: known.end_offset };
    let known = source.end_offset_for_epoch(own.epoch.min(newest.epoch)).map(agreed)?;
    let own = log.leader_epochs().end_offset(known.epoch, end).map(agreed);
    Some(truncation_offset(known, own, end, source.log_start_offset())).filter(|cut| *cut < end)
}

/// Whether a copy goes on that lacks so much. What early retention gives up is not for it, nor what is left for producers; and
/// where room is low it is not begun to be used up by what will not fit.
pub(super) fn has_room(dir: &LogDirState, marks: &RoomConfig, lacks: u64) -> bool {
    let Ok(space) = dir.disk().space(&dir.path) else { return true };
    match rung(marks, space, dir.room()) {
        Room::Enough => true,
        Room::Low => lacks <= space.usable_bytes,
        Room::Short | Room::Full => lacks == 0,
    }
}

/// Brings the copy nearer to the log: drops what that one does not have (any more), and appends what comes next. How many
/// bytes that was. Before it drops anything `lower` is told what of the rest is durable.
pub(super) fn copy_piece(
    log: &mut Log,
    source: &LogView,
    lower: &dyn Fn(i64) -> Result<(), DiskError>,
    now_ms: i64,
) -> Result<u64, CopyError> {
    let (start, end) = (source.log_start_offset(), source.log_end_offset());
    while let Some(cut) = parts_at(log, source) {
        lower(log.recovery_point_if_truncated_to(cut)?)?;
        if let Some(deleted) = log.truncate_to(cut, now_ms)? {
            log.remove(&deleted)?;
        }
    }
    let (own, newest) = (log.leader_epochs().latest(), source.leader_epochs().latest());
    // Without epochs nothing tells where they part.
    let unknown = own.is_some() && newest.is_none() || own.is_none() && log.log_end_offset() > end;
    if unknown || log.log_end_offset() < start {
        lower(0)?;
        begin_at(log, start, now_ms)?;
    }
    let mut copied = 0;
    if log.log_end_offset() < end {
        let from = log.log_end_offset();
        let bytes = source.read_bytes(from, PIECE, true, end)?;
        let mut batches = Vec::new();
        for batch in wire::batch::batches(bytes).map_while(Result::ok) {
            let offset = batch.header().base_offset;
            batch.verify_crc().map_err(|source| CopyError::Corrupt { offset, source })?;
            if batch.header().last_offset() >= from {
                batches.push(batch);
            }
        }
        let first = batches.first().ok_or(CopyError::Hole(from))?.header().base_offset;
        if first < from {
            // The log starts within a batch.
            lower(0)?;
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

/// A copy that was caught up, was closed and rests is brought to the log's end, where that is near, and all of it is durable after
/// that. Whether it was.
pub(crate) fn finish_copy(
    disk: &Arc<dyn Disk>,
    future: &FutureLog,
    hosted: &Hosted,
    source: &LogView,
    config: LogConfig,
    now_ms: i64,
) -> Result<bool, CopyError> {
    let options = OpenOptions {
        clean: true,
        log_start_offset: source.log_start_offset(),
        recovery_point: future.log_end_offset(),
        now_ms,
        ..OpenOptions::default()
    };
    let (mut log, _) = Log::open(disk.clone(), future.path.clone(), config, options)?;
    let (mut copied, mut whole) = (0, false);
    let lower = |durable| future.lower(hosted, durable);
    while !whole && copied < MOST_WAITED_FOR {
        copied += copy_piece(&mut log, source, &lower, now_ms)?;
        whole = log.log_end_offset() >= source.log_end_offset();
    }
    let closing = log.closing()?;
    closing.run()?;
    future.finished(closing.end_offset());
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use disk::{SimDisk, SimDiskOptions};
    use wire::batch::{BatchBuilder, RecordBatch};
    use wire::compression::Compression;

    use super::*;

    /// Ten records a batch.
    fn batch(offset: i64, epoch: i32) -> RecordBatch {
        let mut builder =
            BatchBuilder::new(Compression::NONE).base_offset(offset).leader_epoch(epoch);
        for record in offset..offset + 10 {
            builder.append(record, None, Some(format!("{epoch}").as_bytes()), &[]);
        }
        builder.build().unwrap()
    }

    fn log(name: &str, epochs: impl Fn(i64) -> i32) -> Log {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let config = LogConfig::default();
        let mut log =
            Log::open(disk, PathBuf::from(name), config, OpenOptions::default()).unwrap().0;
        extend(&mut log, 100, epochs);
        log
    }

    fn extend(log: &mut Log, end: i64, epochs: impl Fn(i64) -> i32) {
        for offset in (log.log_end_offset()..end).step_by(10) {
            log.append(&[batch(offset, epochs(offset))], 0).unwrap();
        }
    }

    fn epochs(log: &Log) -> Vec<(i32, i64)> {
        log.leader_epochs().entries().map(|e| (e.epoch.0, e.start_offset)).collect()
    }

    #[test]
    fn what_the_log_lost_before_another_took_its_place_is_lost_by_the_copy_too() {
        let mut source = log("/source", |offset| if offset < 90 { 4 } else { 5 });
        let mut copy = log("/copy", |_| 0);
        begin_at(&mut copy, 0, 0).unwrap();
        copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap();
        source.truncate_to(90, 0).unwrap();
        extend(&mut source, 110, |_| 4);
        extend(&mut source, 130, |_| 6);
        copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap();
        assert_eq!(epochs(&copy), [(4, 0), (6, 110)]);
        let bytes = |log: &Log| log.view().read_bytes(0, 1 << 20, true, i64::MAX).unwrap();
        assert_eq!(bytes(&copy), bytes(&source));
    }

    #[test]
    fn a_copy_of_a_log_that_lost_its_newest_epoch_keeps_the_rest() {
        let mut source = log("/source", |offset| if offset < 90 { 4 } else { 5 });
        let mut copy = log("/copy", |_| 0);
        begin_at(&mut copy, 0, 0).unwrap();
        copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap();
        source.truncate_to(90, 0).unwrap();
        assert_eq!(
            copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap(),
            0,
            "nothing is copied again"
        );
        assert_eq!((copy.log_end_offset(), epochs(&copy)), (90, vec![(4, 0)]));
    }

    /// Another read, or another replica, may still find it whole.
    #[test]
    fn what_has_decayed_is_not_copied() {
        let sim = SimDisk::new(SimDiskOptions::default());
        let open = |name: &str| {
            let (config, options) = (LogConfig::default(), OpenOptions::default());
            Log::open(sim.mount(), PathBuf::from(name), config, options).unwrap().0
        };
        let (mut source, mut copy) = (open("/source"), open("/copy"));
        extend(&mut source, 100, |_| 4);
        let path = source.dir().join("00000000000000000000.log");
        let end_of_sixth = 6 * batch(0, 4).size() as u64;
        sim.decay(&path, end_of_sixth - 1, 1).unwrap();
        let failed = copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap_err();
        assert!(matches!(failed, CopyError::Corrupt { offset: 50, .. }), "{failed}");
        assert_eq!(copy.log_end_offset(), 0);
        sim.decay(&path, end_of_sixth - 1, 1).unwrap();
        copy_piece(&mut copy, &source.view(), &|_| Ok(()), 0).unwrap();
        let bytes = |log: &Log| log.view().read_bytes(0, 1 << 20, true, i64::MAX).unwrap();
        assert_eq!(bytes(&copy), bytes(&source));
    }
}

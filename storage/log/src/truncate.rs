//! Cutting a log at its end, and removing its segments. Every step leaves a log that opens.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskError, Open};
use wire::batch::BatchHeader;

use crate::error::{OpenError, ReadError};
use crate::index::Index;
use crate::log::Log;
use crate::names::{
    CUTTING, DELETED, LOG, OFFSET_INDEX, SNAPSHOT, TIME_INDEX, TXN_INDEX, file_name,
};
use crate::recover::Scanned;
use crate::retention::DeletedSegments;
use crate::segment::Segment;

/// Why a log could not be truncated; it must be opened anew.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TruncateError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

const SEGMENT_FILES: [&str; 5] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX, SNAPSHOT];

/// Removes a segment's files, as far as they exist; the log itself first, without which the others count for nothing.
pub(crate) fn remove_segment_files(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
) -> Result<(), DiskError> {
    for suffix in SEGMENT_FILES {
        remove_if_there(disk, &dir.join(file_name(base, suffix)))?;
    }
    Ok(())
}

/// Renames a segment's files, as far as they exist, to `.deleted`, the log itself first: whoever opens the log finds them gone.
pub(crate) fn set_segment_files_aside(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    aside: &mut Vec<PathBuf>,
) -> Result<(), DiskError> {
    for suffix in SEGMENT_FILES {
        let from = dir.join(file_name(base, suffix));
        let to = dir.join(file_name(base, suffix) + DELETED);
        match disk.rename(&from, &to) {
            Ok(()) => aside.push(to),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove_file(path) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Where a log is cut.
struct Cut {
    segment: usize,
    position: u64,
    /// The log's new end.
    end: i64,
    /// What is known of the segment then.
    scanned: Scanned,
}

impl Log {
    /// Up to where the log will be durable if it is truncated to `offset`. The owner says so in the recovery-point checkpoint,
    /// durably, before it truncates: else what a crash leaves of the truncation is a loss of what was durable.
    pub fn recovery_point_if_truncated_to(&self, offset: i64) -> Result<i64, TruncateError> {
        let durable = match offset {
            offset if offset >= self.end => self.recovery_point,
            offset if offset < self.segments[0].base => 0,
            offset => self.cut_at(offset, 0)?.scanned.active.next_offset,
        };
        Ok(durable.min(self.recovery_point))
    }

    fn cut_at(&self, offset: i64, now_ms: i64) -> Result<Cut, TruncateError> {
        let view = self.view();
        let index = view.segment_index(offset);
        let segment = &self.segments[index];
        let size = view.size_of(index);
        let found: Option<(u64, BatchHeader)> = segment.locate(offset, size)?;
        let position = found.map_or(size, |(position, _)| position);
        let end = found.map_or(offset, |(_, header)| header.base_offset.min(offset));
        Ok(Cut { segment: index, position, end, scanned: self.rescan(segment, position, now_ms)? })
    }

    /// Removes all records from `offset` on, durably. None if there were none; else the segments that went, for the owner to
    /// remove after `file.delete.delay.ms`. A batch that holds `offset` goes whole, and the log then ends before it. Where it
    /// fails, or is cut short by a panic, the log is opened without
    /// [`OpenOptions::truncated_whole`](crate::OpenOptions::truncated_whole). Before it the recovery-point checkpoint is lowered
    /// to [`Log::recovery_point_if_truncated_to`].
    pub fn truncate_to(
        &mut self,
        offset: i64,
        now_ms: i64,
    ) -> Result<Option<DeletedSegments>, TruncateError> {
        if offset >= self.end {
            // An epoch that this replica began as leader, and wrote nothing in, may be none of the new leader's.
            let end = self.end;
            self.change_epochs(|epochs| epochs.truncate_from_end(end));
            self.forget_cut_epochs()?;
            return Ok(None);
        }
        if offset < self.segments[0].base {
            return Ok(Some(self.truncate_fully_and_start_at(offset, now_ms)?));
        }
        let Cut { segment: index, position, end, scanned } = self.cut_at(offset, now_ms)?;
        let segment = self.segments[index].clone();

        self.finish_swap()?;
        self.begin_truncation()?;
        let deleted = self.set_aside_from(index + 1)?;
        if deleted.count > 0 {
            // What lies behind the cut goes before it: the two need not reach the disk in this order.
            self.disk.sync_dir(&self.dir)?;
        }
        // An index that outlived the records it points to would mislead a recovery.
        for suffix in [OFFSET_INDEX, TIME_INDEX] {
            remove_if_there(&*self.disk, &self.dir.join(file_name(segment.base, suffix)))?;
        }
        self.drop_snapshots(|offset| offset > end)?;
        segment.txn_index.truncate_to(end)?;
        segment.txn_index.sync()?;
        segment.file.set_len(position)?;
        segment.file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;

        let cut = Segment {
            base: segment.base,
            file: segment.file.clone(),
            index: scanned.index,
            txn_index: segment.txn_index.clone(),
            size: 0,
            max: OnceLock::new(),
            name_synced: Arc::new(AtomicBool::new(false)),
        };
        let mut segments = self.segments[..index].to_vec();
        segments.push(Arc::new(cut));
        self.tail.clear();
        self.segments = Arc::new(segments);
        self.active = scanned.active;
        self.end_truncation(end)?;
        self.cut_producers()?;
        Ok(Some(deleted))
    }

    /// The newest first: at every moment the log is whole up to an end.
    fn set_aside_from(&self, index: usize) -> Result<DeletedSegments, DiskError> {
        let mut files = Vec::new();
        for segment in self.segments[index..].iter().rev() {
            set_segment_files_aside(&*self.disk, &self.dir, segment.base, &mut files)?;
        }
        Ok(DeletedSegments { count: self.segments.len() - index, files })
    }

    /// Removes everything, durably; the log goes on at `offset`. Before it the recovery-point checkpoint is
    /// lowered to 0: for a moment there is nothing.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: i64,
        now_ms: i64,
    ) -> Result<DeletedSegments, DiskError> {
        self.finish_swap()?;
        self.begin_truncation()?;
        let deleted = self.set_aside_from(0)?;
        self.drop_producers()?;
        self.disk.sync_dir(&self.dir)?;
        self.tail.clear();
        self.segments = Arc::new(vec![self.create_segment(offset)?]);
        self.active = self.fresh_active(offset, now_ms);
        self.change_epochs(|epochs| {
            let any = epochs.latest().is_some();
            *epochs = Default::default();
            any
        });
        self.log_start = offset;
        self.end_truncation(offset)?;
        Ok(deleted)
    }

    fn begin_truncation(&mut self) -> Result<(), DiskError> {
        // Needs no sync: after a power loss there is nothing behind the cut but what came back.
        match self.disk.open(&self.dir.join(CUTTING), Open::Create) {
            Err(error) if !error.may_pass() => return Err(error),
            _ => {}
        }
        self.truncations += 1;
        if let Index::Active(index) = &self.active_segment().index {
            index.retire();
        }
        Ok(())
    }

    fn end_truncation(&mut self, end: i64) -> Result<(), DiskError> {
        self.end = end;
        // Not the end, where that lies between two batches: what is opened ends with a batch.
        self.recovery_point = self.recovery_point.min(self.active.next_offset);
        self.log_start = self.log_start.min(end);
        self.change_epochs(|epochs| epochs.truncate_from_end(end));
        remove_if_there(&*self.disk, &self.dir.join(CUTTING))?;
        self.forget_cut_epochs()
    }

    /// Makes durable what is left of a truncation that was cut short: what it dropped, and does not look like a remainder,
    /// could come back behind what is appended next.
    pub(crate) fn finish_truncation(&self) -> Result<(), DiskError> {
        self.active_segment().file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        remove_if_there(&*self.disk, &self.dir.join(CUTTING))
    }
}

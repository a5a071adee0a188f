//! Giving up the oldest segments.

use std::path::PathBuf;
use std::sync::Arc;

use disk::{Disk, DiskError};
use wire::batch::NO_TIMESTAMP;

use crate::error::ReadError;
use crate::log::Log;
use crate::producer_snapshot::{ProducerSnapshotError, read_producer_snapshot};
use crate::truncate::{remove_if_there, set_segment_files_aside};

/// `retention.ms` and `retention.bytes`; negative for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    pub retention_ms: i64,
    pub retention_bytes: i64,
}

/// Segments that are no longer the log's, and their files, for the owner to remove after `file.delete.delay.ms`.
#[derive(Debug, Default)]
#[must_use = "the files stay until the log is opened again"]
pub struct DeletedSegments {
    pub count: usize,
    pub(crate) files: Vec<PathBuf>,
}

impl DeletedSegments {
    /// Removes the files; those that are gone already, with their directory perhaps, are passed over.
    pub fn remove(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        self.files.iter().try_for_each(|file| remove_if_there(disk, file))
    }
}

impl Log {
    /// Removes files that were set aside, here and now.
    pub fn remove(&self, deleted: &DeletedSegments) -> Result<(), DiskError> {
        deleted.remove(&*self.disk)
    }

    /// Moves the log start forward, at most to the log's end. The owner keeps it in the checkpoint of the log directory.
    pub fn advance_log_start(&mut self, offset: i64) -> bool {
        let offset = offset.min(self.end);
        if offset <= self.log_start {
            return false;
        }
        self.log_start = offset;
        self.change_epochs(|epochs| epochs.truncate_from_start(offset));
        true
    }

    /// Where the log may start when all whole segments are gone that the policy, or the log start, gives up and that lie
    /// below the high watermark. `None` if there are none.
    pub fn deletable_segments(
        &self,
        policy: &RetentionPolicy,
        high_watermark: i64,
        now_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        let view = self.view();
        let mut excess = match policy.retention_bytes {
            limit if limit < 0 => -1,
            limit => self.size() as i64 - limit,
        };
        let mut start = None;
        for index in 0..self.segments.len() {
            let next = self.segments.get(index + 1);
            let upper = next.map_or(self.end, |next| next.base);
            let size = view.size_of(index) as i64;
            if upper > high_watermark || (next.is_none() && size == 0) {
                break;
            }
            let newest = match view.max_of(index)?.timestamp {
                NO_TIMESTAMP => view.modified_ms(index, &*self.disk).unwrap_or(now_ms),
                newest => newest,
            };
            let too_old =
                policy.retention_ms >= 0 && now_ms.saturating_sub(newest) > policy.retention_ms;
            let too_much = excess >= 0 && excess - size >= 0;
            let before_start = next.is_some_and(|next| next.base <= self.log_start);
            if !too_old && !too_much && !before_start {
                break;
            }
            excess -= size;
            start = Some(upper);
        }
        Ok(start)
    }

    /// Where the log would begin without its oldest segment; none where it has only the one.
    pub fn second_segment_base(&self) -> Option<i64> {
        self.segments.get(1).map(|segment| segment.base)
    }

    /// Deletes the segments that lie wholly below `offset`, and moves the log start there if it is lower. If that is all
    /// of them, a new one is begun first. Readers that hold a view keep what they have. The files are renamed to `.deleted`;
    /// what is not removed when the log is opened again is removed then.
    pub fn delete_segments_below(
        &mut self,
        offset: i64,
        now_ms: i64,
    ) -> Result<DeletedSegments, DiskError> {
        if offset >= self.end && self.active.size > 0 {
            self.roll(now_ms)?;
        }
        self.finish_swap()?;
        self.advance_log_start(offset);
        let mut keep = self.segments.partition_point(|segment| segment.base <= offset).max(1) - 1;
        // Where there was no room for a snapshot at a roll, the segments before it alone tell of their producers.
        while keep > 0 && !self.tells_of_producers(self.segments[keep].base)? {
            keep -= 1;
        }
        let mut files = Vec::new();
        if keep > 0 {
            self.sync_snapshot(self.segments[keep].base)?;
        }
        for segment in &self.segments.clone()[..keep] {
            set_segment_files_aside(&*self.disk, &self.dir, segment.base, &mut files)?;
            self.forget_snapshot(segment.base);
        }
        if keep > 0 {
            self.segments = Arc::new(self.segments[keep..].to_vec());
            // Also where the log was closed once, within a segment.
            let first = self.segments[0].base;
            self.drop_snapshots(|offset| offset < first)?;
        }
        Ok(DeletedSegments { count: keep, files })
    }

    /// Whether the segments before a snapshot may go: it alone tells then of what producers wrote in them. One that a power loss
    /// tore may lie where a newer one was found.
    fn tells_of_producers(&mut self, offset: i64) -> Result<bool, DiskError> {
        if self.producers.is_empty() {
            return Ok(true);
        }
        if !self.snapshots.contains(&offset) {
            return Ok(false);
        }
        match read_producer_snapshot(&*self.disk, &self.dir, offset) {
            // As every one would be, here.
            Err(ProducerSnapshotError::Disk(error)) if error.is_too_large() => Ok(true),
            Err(ProducerSnapshotError::Disk(error)) if !error.is_not_found() => Err(error),
            read => Ok(read.is_ok()),
        }
    }
}

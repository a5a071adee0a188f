//! What of a log there is to clean (Kafka: `LogCleanerManager.cleanableOffsets`, `LogToClean`).

use disk::Disk;
use wire::batch::NO_TIMESTAMP;

use crate::error::ReadError;
use crate::names::{LOG, file_name};
use crate::scan::HeaderScan;
use crate::view::LogView;

/// The topic's settings on when it is compacted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionPolicy {
    /// `min.compaction.lag.ms`: records that are younger are left alone.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: records that are older are not left dirty.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
}

/// A log as the cleaner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogToClean {
    /// All below it was cleaned before.
    pub first_dirty_offset: i64,
    /// The base offset of the first segment that must not be cleaned.
    pub first_uncleanable_offset: i64,
    /// The checkpoint named an offset outside the log, and is to be replaced by the first dirty offset.
    pub checkpoint_is_invalid: bool,
    pub clean_bytes: u64,
    pub cleanable_bytes: u64,
    /// How long ago the oldest dirty record should have been compacted; 0 if none should.
    pub compaction_delay_ms: i64,
}

impl LogToClean {
    pub fn total_bytes(&self) -> u64 {
        self.clean_bytes + self.cleanable_bytes
    }

    /// Of its bytes that are clean or could be, the share that is dirty; 0 for an empty log.
    pub fn cleanable_ratio(&self) -> f64 {
        match self.total_bytes() {
            0 => 0.0,
            total => self.cleanable_bytes as f64 / total as f64,
        }
    }

    /// Whether a pass is due: the log is dirty enough, or has waited for too long.
    pub fn is_due(&self, policy: &CompactionPolicy) -> bool {
        self.compaction_delay_ms > 0 && self.cleanable_bytes > 0
            || self.cleanable_ratio() > policy.min_cleanable_dirty_ratio
    }
}

impl LogView {
    /// What there is to clean at `now_ms`, given the end of the last pass (`None` if there was none) and the partition's last
    /// stable offset. Reads indexes, and the first header of each dirty segment.
    pub fn to_clean(
        &self,
        policy: &CompactionPolicy,
        checkpoint: Option<i64>,
        last_stable_offset: i64,
        disk: &dyn Disk,
        now_ms: i64,
    ) -> Result<LogToClean, ReadError> {
        let (first_dirty, checkpoint_is_invalid) = match checkpoint {
            Some(offset) if offset < self.log_start || offset > self.end.offset => {
                (self.log_start, true)
            }
            Some(offset) => (offset, false),
            None => (self.log_start, false),
        };
        let active = self.segments.len() - 1;
        let mut uncleanable = last_stable_offset.min(self.segments[active].base);
        if policy.min_compaction_lag_ms > 0
            && let Some(young) = self.first_young_segment(policy, first_dirty, disk, now_ms)?
        {
            uncleanable = uncleanable.min(young);
        }
        let uncleanable = uncleanable.max(first_dirty);
        // Segments are cleaned whole.
        let bound = self.segment_index(uncleanable).min(active);
        let first_uncleanable_offset = self.segments[bound].base;
        let dirty = self.segment_index(first_dirty.min(first_uncleanable_offset));
        let clean = self.segments.partition_point(|segment| segment.base < first_dirty);
        let bytes = |of: std::ops::Range<usize>| of.map(|index| self.size_of(index)).sum();
        Ok(LogToClean {
            first_dirty_offset: first_dirty,
            first_uncleanable_offset,
            checkpoint_is_invalid,
            clean_bytes: bytes(0..clean),
            cleanable_bytes: bytes(dirty..bound),
            compaction_delay_ms: self.compaction_delay(policy, first_dirty, now_ms)?,
        })
    }

    /// The segments, without the one in use, that reach to `offset` or beyond it.
    fn closed_from(&self, offset: i64) -> std::ops::Range<usize> {
        let active = self.segments.len() - 1;
        match offset > self.segments[active].base {
            true => active..active,
            false => self.segment_index(offset).min(active)..active,
        }
    }

    fn first_young_segment(
        &self,
        policy: &CompactionPolicy,
        from: i64,
        disk: &dyn Disk,
        now_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        let youngest = now_ms.saturating_sub(policy.min_compaction_lag_ms);
        for index in self.closed_from(from) {
            let largest = match self.max_of(index)?.timestamp {
                NO_TIMESTAMP => self.modified_ms(index, disk).unwrap_or(now_ms),
                largest => largest,
            };
            if largest > youngest {
                return Ok(Some(self.segments[index].base));
            }
        }
        Ok(None)
    }

    /// When a segment's file was last changed.
    pub(crate) fn modified_ms(&self, index: usize, disk: &dyn Disk) -> Option<i64> {
        let segment = &self.segments[index];
        let path = segment.file.path().with_file_name(file_name(segment.base, LOG));
        disk.metadata(&path).ok().map(|metadata| metadata.modified_ms)
    }

    fn compaction_delay(
        &self,
        policy: &CompactionPolicy,
        from: i64,
        now_ms: i64,
    ) -> Result<i64, ReadError> {
        let clean_until = now_ms.saturating_sub(policy.max_compaction_lag_ms.max(0));
        if clean_until <= 0 {
            return Ok(0);
        }
        let mut earliest = i64::MAX;
        for index in self.closed_from(from) {
            let segment = &self.segments[index];
            let first = HeaderScan::new(&*segment.file, 0, self.size_of(index)).next()?;
            let timestamp = first.map_or(NO_TIMESTAMP, |(_, header)| header.max_timestamp);
            if timestamp > 0 {
                earliest = earliest.min(timestamp);
            }
        }
        Ok(clean_until.saturating_sub(earliest).max(0))
    }
}

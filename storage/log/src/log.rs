//! The log's one writer: what it holds, what it shows, how it closes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskError, Open};
use model::LeaderEpoch;
use model::producers::{CompletedTransaction, Producers};
use wire::batch::NO_TIMESTAMP;

use crate::compact::SegmentSwap;
use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::index::{ClosedIndex, Index, IndexFiles};
use crate::names::{LOG, TXN_INDEX, file_name};
use crate::recent::{RecentBatches, Tail};
use crate::segment::Segment;
use crate::sync::{SyncJob, SyncState};
use crate::txn_index::TxnIndex;
use crate::view::{LogPosition, LogView, TimestampOffset};

/// A partition's log. After an error of the disk it must be dropped and opened anew, as unclean.
#[derive(Debug)]
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) config: LogConfig,
    /// Ascending; never empty; the last is the one in use.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) active: Active,
    pub(crate) end: i64,
    pub(crate) log_start: i64,
    pub(crate) recovery_point: i64,
    pub(crate) epochs: Arc<LeaderEpochs>,
    pub(crate) epochs_version: u64,
    pub(crate) producers: Producers,
    /// The offsets of the snapshot files.
    pub(crate) snapshots: BTreeSet<i64>,
    pub(crate) completed: Vec<CompletedTransaction>,
    pub(crate) sync_state: Arc<SyncState>,
    /// Counts truncations: a sync that began before one proves nothing about what came after.
    pub(crate) truncations: u64,
    /// See [`crate::index::INDEX_LAG`].
    pub(crate) index_lag: u32,
    /// Replacements of segments that the disk may not know of yet, in order.
    pub(crate) swaps: Vec<SegmentSwap>,
    pub(crate) tail: Tail,
}

/// The writer's knowledge of the segment in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Active {
    pub size: u64,
    /// After its last batch: the log's end, unless the log was cut between two batches.
    pub next_offset: i64,
    pub max: TimestampOffset,
    /// Timestamp of the last entry in the time index.
    pub indexed_timestamp: i64,
    pub bytes_since_index: u64,
    /// Maximum timestamp of the first batch: the segment's age counts from it.
    pub first_timestamp: Option<i64>,
    pub created_ms: i64,
    /// A failed write may have left bytes behind the end.
    pub overhang: bool,
    /// The file was given room to grow: what it does not use is given back when it is closed.
    pub preallocated: bool,
}

impl Active {
    pub fn new(base: i64, created_ms: i64) -> Active {
        Active {
            size: 0,
            next_offset: base,
            max: TimestampOffset { timestamp: NO_TIMESTAMP, offset: base, leader_epoch: None },
            indexed_timestamp: NO_TIMESTAMP,
            bytes_since_index: 0,
            first_timestamp: None,
            created_ms,
            overhang: false,
            preallocated: false,
        }
    }
}

impl Log {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes effect with the next append.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log_start
    }

    pub fn log_end_offset(&self) -> i64 {
        self.end
    }

    /// All below it is durable.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    pub fn size(&self) -> u64 {
        self.segments[..self.segments.len() - 1].iter().map(|segment| segment.size).sum::<u64>()
            + self.active.size
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub fn end(&self) -> LogPosition {
        LogPosition {
            offset: self.end,
            segment_base: self.active_segment().base,
            position: self.active.size,
        }
    }

    /// The log as it now stands.
    pub fn view(&self) -> LogView {
        LogView {
            segments: self.segments.clone(),
            log_start: self.log_start,
            end: self.end(),
            active_max: self.active.max,
            epochs: self.epochs.clone(),
            tail: self.tail.readers(),
        }
    }

    /// What is appended from now on stays in this memory for a while, or nothing does.
    pub fn keep_recent(&mut self, memory: Option<Arc<RecentBatches>>) {
        self.tail.keep(memory);
    }

    /// Notes that `epoch` begins at the log's end, as a new leader does. The disk is told with its first records: what has none
    /// says nothing about the log, and thousands of logs are led anew with each start.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        Arc::make_mut(&mut self.epochs).assign(epoch, self.end);
    }

    pub(crate) fn assign_epoch(&mut self, epoch: LeaderEpoch, start_offset: i64) {
        let latest = self.epochs.latest().filter(|latest| latest.epoch == epoch);
        if let Some(latest) = latest.filter(|latest| latest.start_offset <= start_offset) {
            // Its first records: it may have begun without.
            self.epochs_version += u64::from(latest.start_offset == start_offset);
            return;
        }
        self.change_epochs(|epochs| epochs.assign(epoch, start_offset));
    }

    pub(crate) fn change_epochs(&mut self, change: impl FnOnce(&mut LeaderEpochs) -> bool) {
        if change(Arc::make_mut(&mut self.epochs)) {
            self.epochs_version += 1;
        }
    }

    pub(crate) fn active_segment(&self) -> &Arc<Segment> {
        &self.segments[self.segments.len() - 1]
    }

    /// Closes the segment in use and begins one at the log's end. Does not sync; nothing happens if it is empty.
    pub fn roll(&mut self, now_ms: i64) -> Result<(), DiskError> {
        self.roll_at(self.end, now_ms)
    }

    pub(crate) fn roll_at(&mut self, base: i64, now_ms: i64) -> Result<(), DiskError> {
        if self.active.size == 0 && self.active_segment().base == base {
            return Ok(());
        }
        self.settle_active()?;
        let next = self.create_segment(base)?;
        let last = self.active_segment();
        let closed = ClosedIndex::new(self.disk.clone(), self.dir.clone(), last.base);
        let closed = Arc::new(Segment {
            base: last.base,
            file: last.file.clone(),
            index: Index::Closed(closed),
            txn_index: last.txn_index.clone(),
            size: self.active.size,
            max: OnceLock::from(self.active.max),
            name_synced: last.name_synced.clone(),
        });
        let mut segments = self.segments[..self.segments.len() - 1].to_vec();
        segments.push(closed);
        segments.push(next);
        self.segments = Arc::new(segments);
        self.active = self.fresh_active(base, now_ms);
        self.snapshot_producers(base)
    }

    /// What is known of a segment that [`Log::create_segment`] made.
    pub(crate) fn fresh_active(&self, base: i64, now_ms: i64) -> Active {
        Active { preallocated: self.config.preallocate, ..Active::new(base, now_ms) }
    }

    pub(crate) fn create_segment(&self, base: i64) -> Result<Arc<Segment>, DiskError> {
        let file = self.disk.keep(&self.dir.join(file_name(base, LOG)), Open::Truncate)?;
        if self.config.preallocate {
            file.preallocate(u64::from(self.config.segment_bytes))?;
        }
        Ok(Arc::new(Segment {
            base,
            file,
            index: Index::Active(Box::default()),
            txn_index: Arc::new(TxnIndex::none(self.dir.join(file_name(base, TXN_INDEX)))),
            size: 0,
            max: OnceLock::new(),
            name_synced: Arc::new(AtomicBool::new(false)),
        }))
    }

    /// Brings the files of the segment in use to the state of a closed one: no overhang, the last time index entry, the
    /// indexes written.
    pub(crate) fn settle_active(&mut self) -> Result<(), DiskError> {
        self.cut_overhang()?;
        let segment = self.active_segment().clone();
        if std::mem::take(&mut self.active.preallocated) {
            segment.file.set_len(self.active.size)?;
        }
        if let Index::Active(index) = &segment.index {
            self.active.index_timestamp(index, segment.base);
            if index.write(&*self.disk, &self.dir, segment.base)? == IndexFiles::Made {
                segment.name_synced.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub(crate) fn cut_overhang(&mut self) -> Result<(), DiskError> {
        if self.active.overhang {
            // Durably: else the remains could follow what is written next.
            let file = &self.active_segment().file;
            file.set_len(self.active.size)?;
            file.sync_data()?;
            self.active.overhang = false;
        }
        Ok(())
    }

    /// Makes everything durable, so that the next open may be a clean one. The log is done with after it.
    pub fn close(mut self) -> Result<LogPosition, DiskError> {
        self.closing()?.run()?;
        Ok(self.end())
    }

    /// As [`Log::close`], for an owner that lets another thread wait for the disk: the log is closed when the job is done.
    pub fn closing(&mut self) -> Result<SyncJob, DiskError> {
        self.settle_active()?;
        Ok(self.sync_job_for(true))
    }
}

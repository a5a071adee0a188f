//! Making a log durable, beside its writer.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use disk::{Disk, DiskError, Open};

use crate::checkpoint::write_epochs;
use crate::compact::SegmentSwap;
use crate::epochs::LeaderEpochs;
use crate::error::ReadError;
use crate::index::{Index, IndexFiles};
use crate::log::Log;
use crate::names::{OFFSET_INDEX, TIME_INDEX, file_name};
use crate::segment::Segment;

const REWRITE_PIECE: usize = 1 << 20;

/// What the jobs of one log share.
#[derive(Debug, Default)]
pub(crate) struct SyncState {
    /// Version of the leader epochs in the checkpoint file.
    epochs_written: Mutex<u64>,
}

/// Makes durable what a log had when the job was made. May run on any thread, while the log is appended to; a log must
/// not be truncated meanwhile by one who wants the job's result to count. If it fails, [`Log::rewrite_unsynced`] comes before the
/// next: without it bytes may be lost for good.
#[derive(Debug, Clone)]
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<Arc<Segment>>,
    epochs: Arc<LeaderEpochs>,
    epochs_version: u64,
    state: Arc<SyncState>,
    end: i64,
    truncations: u64,
    /// The log is being closed: its indexes become complete.
    closing: bool,
    /// Those of a log that is being closed.
    swaps: Vec<SegmentSwap>,
    index_lag: u32,
}

impl Log {
    /// `None` if everything is durable already.
    pub fn sync_job(&self) -> Option<SyncJob> {
        let named = self.segments.iter().all(|segment| segment.name_synced.load(Ordering::Relaxed));
        (self.recovery_point < self.end || !named || self.epochs_unsynced())
            .then(|| self.sync_job_for(false))
    }

    /// Takes a finished job's result: the recovery point moves.
    pub fn synced(&mut self, job: &SyncJob) {
        if job.truncations == self.truncations {
            self.recovery_point = self.recovery_point.max(job.end);
        }
    }

    /// Makes everything durable, here and now.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        if let Some(job) = self.sync_job() {
            job.run()?;
            self.synced(&job);
        }
        Ok(())
    }

    /// Writes again what is not known to be durable. After a sync that failed the kernel takes it for written, and no later
    /// sync would bring it to the disk.
    pub fn rewrite_unsynced(&self) -> Result<(), ReadError> {
        let view = self.view();
        let first = view.segment_index(self.recovery_point);
        let mut piece = vec![0; REWRITE_PIECE];
        for (index, segment) in self.segments.iter().enumerate().skip(first) {
            let size = view.size_of(index);
            let found = segment.locate(self.recovery_point, size)?;
            let mut position = found.map_or(size, |(position, _)| position);
            while position < size {
                let count = (size - position).min(REWRITE_PIECE as u64);
                let piece = &mut piece[..count as usize];
                segment.file.read_exact_at(piece, position)?;
                segment.file.write_at(piece, position)?;
                position += count;
            }
        }
        Ok(())
    }

    fn epochs_unsynced(&self) -> bool {
        *self.sync_state.epochs_written.lock().unwrap_or_else(PoisonError::into_inner)
            < self.epochs_version
    }

    /// Of the segments that reach beyond the recovery point, or were never synced.
    pub(crate) fn sync_job_for(&self, closing: bool) -> SyncJob {
        let last = self.segments.len() - 1;
        let unsynced = self.segments.iter().enumerate().filter(|(index, segment)| {
            *index == last
                || self.segments[index + 1].base > self.recovery_point
                || !segment.name_synced.load(Ordering::Relaxed)
        });
        SyncJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            segments: unsynced.map(|(_, segment)| segment.clone()).collect(),
            epochs: self.epochs.clone(),
            epochs_version: self.epochs_version,
            state: self.sync_state.clone(),
            end: self.end,
            truncations: self.truncations,
            closing,
            swaps: if closing { self.swaps.clone() } else { Vec::new() },
            index_lag: self.index_lag,
        }
    }
}

impl SyncJob {
    /// The recovery point once the job is done.
    pub fn end_offset(&self) -> i64 {
        self.end
    }

    pub fn run(&self) -> Result<(), DiskError> {
        self.swaps.iter().try_for_each(SegmentSwap::run)?;
        for segment in &self.segments {
            segment.file.sync_data()?;
            segment.txn_index.sync()?;
            if self.writes_index(segment)? {
                self.sync_index(segment)?;
            }
        }
        if self.segments.iter().any(|segment| !segment.name_synced.load(Ordering::Relaxed)) {
            self.disk.sync_dir(&self.dir)?;
            for segment in &self.segments {
                segment.name_synced.store(true, Ordering::Relaxed);
            }
        }
        self.write_epochs()
    }

    /// Whether a segment's index files are to be synced. Those of the segment in use serve to shorten a recovery: they are
    /// written when they have fallen behind, and whoever did it, what a recovery trusts must be durable.
    fn writes_index(&self, segment: &Segment) -> Result<bool, DiskError> {
        let Index::Active(index) = &segment.index else { return Ok(true) };
        if self.closing || index.is_behind(self.index_lag) {
            let files = index.write(&*self.disk, &self.dir, segment.base)?;
            if files == IndexFiles::Made {
                segment.name_synced.store(false, Ordering::Relaxed);
            }
        }
        Ok(index.take_unsynced())
    }

    fn sync_index(&self, segment: &Segment) -> Result<(), DiskError> {
        for suffix in [OFFSET_INDEX, TIME_INDEX] {
            let path = self.dir.join(file_name(segment.base, suffix));
            match self.disk.open(&path, Open::Read) {
                Ok(file) => file.sync_data()?,
                // Removed with its segment.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_epochs(&self) -> Result<(), DiskError> {
        let mut written = self.state.epochs_written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < self.epochs_version {
            write_epochs(&*self.disk, &self.dir, &self.epochs)?;
            *written = self.epochs_version;
        }
        Ok(())
    }
}

//! Making a log durable, beside its writer.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{Disk, DiskError, Open};
use model::LeaderEpoch;

use crate::checkpoint::{leave_epochs, write_epochs};
use crate::compact::SegmentSwap;
use crate::epochs::LeaderEpochs;
use crate::index::{Index, IndexFiles};
use crate::log::Log;
use crate::names::{OFFSET_INDEX, SNAPSHOT, TIME_INDEX, file_name};
use crate::producer_snapshot::{encode_producer_snapshot, write_producer_snapshot};
use crate::segment::Segment;

/// What the jobs of one log share.
#[derive(Debug, Default)]
pub(crate) struct SyncState {
    epochs_written: Mutex<WrittenEpochs>,
    /// Offsets of producer snapshots that were written and not synced.
    snapshots: Mutex<Vec<i64>>,
}

/// What the checkpoint file has of the leader epochs.
#[derive(Debug, Default)]
struct WrittenEpochs {
    version: u64,
    latest: Option<LeaderEpoch>,
}

impl SyncState {
    /// Of a log that is opened with these epochs in the file.
    pub(crate) fn found(epochs: &LeaderEpochs) -> SyncState {
        let latest = epochs.latest().map(|latest| latest.epoch);
        let epochs_written = Mutex::new(WrittenEpochs { version: 0, latest });
        SyncState { epochs_written, snapshots: Mutex::default() }
    }

    /// Which of the log's versions the file has.
    pub(crate) fn epochs_version(&self) -> u64 {
        self.epochs_written().version
    }

    fn epochs_written(&self) -> MutexGuard<'_, WrittenEpochs> {
        self.epochs_written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unsynced_snapshots(&self) -> MutexGuard<'_, Vec<i64>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// All records are known to be on the disk: only files beside them may not be.
    records_synced: bool,
    truncations: u64,
    /// The log is being closed: its indexes become complete.
    closing: bool,
    /// There is no record in it.
    empty: bool,
    /// Those of a log that is being closed.
    swaps: Vec<SegmentSwap>,
    /// The producers' state at the end of a log that is being closed.
    snapshot: Option<Vec<u8>>,
    index_lag: u32,
}

impl Log {
    /// `None` if everything is durable already.
    pub fn sync_job(&self) -> Option<SyncJob> {
        let named = self.segments.iter().all(|segment| segment.name_synced.load(Ordering::Relaxed));
        (self.recovery_point < self.active.next_offset || !named || self.epochs_unsynced())
            .then(|| self.sync_job_for(false))
    }

    /// Takes a finished job's result: the recovery point moves. Unless the job was of a log whose place this one has taken.
    pub fn synced(&mut self, job: &SyncJob) {
        if Arc::ptr_eq(&job.state, &self.sync_state) && job.truncations == self.truncations {
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

    /// The first segment that reaches to the recovery point: also where it ends there, its index may be of later.
    pub(crate) fn first_unsynced(&self) -> usize {
        self.segments[1..].partition_point(|next| next.base < self.recovery_point)
    }

    fn epochs_unsynced(&self) -> bool {
        self.sync_state.epochs_written().version < self.epochs_version
    }

    /// After a cut: what the file says of epochs that are gone would be true of what is appended there next, for a Kafka that
    /// opens the log after a kill. Where there is no room the next sync does it.
    pub(crate) fn forget_cut_epochs(&self) -> Result<(), DiskError> {
        let mut written = self.sync_state.epochs_written();
        let latest = self.epochs.latest().map(|latest| latest.epoch);
        if written.latest <= latest {
            return Ok(());
        }
        match write_epochs(&*self.disk, &self.dir, &self.epochs) {
            Err(error) if error.may_pass() => return Ok(()),
            done => done?,
        }
        *written = WrittenEpochs { version: self.epochs_version, latest };
        Ok(())
    }

    /// Of the segments that reach beyond the recovery point, or were never synced.
    pub(crate) fn sync_job_for(&self, closing: bool) -> SyncJob {
        let first = self.first_unsynced();
        let unsynced = self.segments.iter().enumerate().filter(|(index, segment)| {
            *index >= first || !segment.name_synced.load(Ordering::Relaxed)
        });
        SyncJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            segments: unsynced.map(|(_, segment)| segment.clone()).collect(),
            epochs: self.epochs.clone(),
            epochs_version: self.epochs_version,
            state: self.sync_state.clone(),
            end: self.active.next_offset,
            records_synced: self.recovery_point >= self.active.next_offset,
            truncations: self.truncations,
            closing,
            empty: self.size() == 0,
            swaps: if closing { self.swaps.clone() } else { Vec::new() },
            snapshot: (closing && self.needs_snapshot(self.active.next_offset))
                .then(|| encode_producer_snapshot(&self.producers)),
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
        self.sync_snapshots()?;
        let mut lacking = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            if !self.records_synced {
                segment.file.sync_data()?;
            }
            segment.txn_index.sync()?;
            let in_use = at + 1 == self.segments.len();
            match self.writes_index(segment, in_use) {
                Err(error) if !in_use && !self.closing && error.may_pass() => lacking.push(segment),
                written => {
                    if written? {
                        self.sync_index(segment)?;
                    }
                }
            }
        }
        let named = self.sync_names();
        // What is not there yet is for the next job.
        lacking.iter().for_each(|segment| segment.name_synced.store(false, Ordering::Release));
        named
    }

    /// Files that the log's writer makes meanwhile are for the next job.
    fn sync_names(&self) -> Result<(), DiskError> {
        let mut unsynced = self.segments.clone();
        unsynced.retain(|segment| !segment.name_synced.swap(true, Ordering::AcqRel));
        let due = !unsynced.is_empty() || self.snapshot.is_some();
        // Whoever replaces a file syncs its directory by that.
        let named = self.write_epochs().and_then(|written| match due && !written {
            true => self.disk.sync_dir(&self.dir),
            false => Ok(()),
        });
        named.inspect_err(|_| {
            for segment in &unsynced {
                segment.name_synced.store(false, Ordering::Release);
            }
        })
    }

    /// Whether a segment's index files are to be synced. Those of the segment in use serve to shorten a recovery: they are
    /// written when they have fallen behind, those of another when it was opened without room for them. Whoever did it, what a
    /// recovery trusts must be durable.
    fn writes_index(&self, segment: &Segment, in_use: bool) -> Result<bool, DiskError> {
        let Index::Active(index) = &segment.index else { return Ok(true) };
        if self.closing || !in_use || index.is_behind(self.index_lag) {
            let files = index.write(&*self.disk, &self.dir, segment.base)?;
            if files == IndexFiles::Made {
                segment.name_synced.store(false, Ordering::Relaxed);
            }
        }
        Ok(index.take_unsynced())
    }

    fn sync_index(&self, segment: &Segment) -> Result<(), DiskError> {
        self.sync_if_there(&file_name(segment.base, OFFSET_INDEX))?;
        self.sync_if_there(&file_name(segment.base, TIME_INDEX))
    }

    fn sync_snapshots(&self) -> Result<(), DiskError> {
        let mut offsets = std::mem::take(&mut *self.state.unsynced_snapshots());
        if let Some(snapshot) = &self.snapshot {
            write_producer_snapshot(&*self.disk, &self.dir, self.end, snapshot)?;
            offsets.push(self.end);
        }
        let synced =
            offsets.iter().try_for_each(|offset| self.sync_if_there(&file_name(*offset, SNAPSHOT)));
        synced.inspect_err(|_| {
            self.state.unsynced_snapshots().append(&mut offsets);
        })
    }

    /// It may have been removed with its segment.
    fn sync_if_there(&self, name: &str) -> Result<(), DiskError> {
        match self.disk.open(&self.dir.join(name), Open::Read) {
            Ok(file) => file.sync_data(),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether there was anything new to write.
    fn write_epochs(&self) -> Result<bool, DiskError> {
        let mut written = self.state.epochs_written();
        let due = written.version < self.epochs_version;
        if due {
            write_epochs(&*self.disk, &self.dir, &self.epochs)?;
            let latest = self.epochs.latest().map(|latest| latest.epoch);
            *written = WrittenEpochs { version: self.epochs_version, latest };
        } else if self.closing && self.empty {
            leave_epochs(&*self.disk, &self.dir, &self.epochs)?;
        }
        Ok(due)
    }
}

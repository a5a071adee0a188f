//! Opening a log, and recovering it after an unclean stop.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskError, DiskFile, Open};
use model::producers::Producers;
use wire::batch::NO_LEADER_EPOCH;

use crate::checkpoint::read_epochs;
use crate::config::LogConfig;
use crate::epoch_search::collect_epochs;
use crate::epochs::LeaderEpochs;
use crate::error::{OpenError, ReadError};
use crate::index::{ActiveIndex, ClosedIndex, INDEX_LAG, Index};
use crate::leftovers;
use crate::log::Log;
use crate::names::{CUTTING, LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX, file_name, parse_file_name};
use crate::recover::{Scan, Scanned, closed_end, load_index};
use crate::segment::Segment;
use crate::sync::SyncState;
use crate::truncate::{remove_if_there, remove_segment_files};
use crate::txn_index::TxnIndex;

/// What the checkpoints of the log directory say of this log.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// The log was closed in order: nothing of it needs to be checked.
    pub clean: bool,
    /// If not: only the process ended, or its actor, and the machine went on, so that all that was written is there. Only
    /// the very end is looked at then.
    pub writes_survived: bool,
    /// And no truncation was cut short: the directory need not be synced, which can take long, before the log is used.
    pub truncated_whole: bool,
    pub recovery_point: i64,
    /// No recovery point is known, as where a log was made since the last checkpoint, or its loss is accepted: it ends where it
    /// is not whole any more. Else it is not opened where only the process ended, as nothing can be missing then.
    pub loss_accepted: bool,
    /// Below it, or the recovery point, offsets may be missing between the segments of a compacted log. The recovery point alone
    /// says enough where it was checkpointed before each pass of the cleaner, as [`Log::compaction`] asks.
    pub gaps_below: i64,
    pub log_start_offset: i64,
    /// Transactions that ended below it are done with.
    pub high_watermark: i64,
    /// `producer.id.expiration.ms`; without, producers are kept.
    pub producer_id_expiration_ms: Option<i64>,
    pub now_ms: i64,
}

impl OpenOptions {
    /// Whether there may be nothing of the log.
    fn check_empty(&self, dir: &Path) -> Result<(), OpenError> {
        let recovery_point = self.recovery_point;
        if recovery_point > self.log_start_offset {
            return Err(OpenError::NoSegments { dir: dir.to_owned(), recovery_point });
        }
        Ok(())
    }
}

/// What opening had to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that were read through.
    pub scanned_segments: usize,
    /// Bytes cut off a segment's end because they were not whole.
    pub truncated_bytes: u64,
    /// Segments behind such an end.
    pub removed_segments: usize,
}

impl Log {
    /// Opens the log in `dir`, making both where they do not exist.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: LogConfig,
        options: OpenOptions,
    ) -> Result<(Log, Recovered), OpenError> {
        if !disk.exists(&dir)? {
            options.check_empty(&dir)?;
            disk.create_dir_all(&dir)?;
            disk.sync_dir(dir.parent().unwrap_or(Path::new(".")))?;
        }
        leftovers::clear(&*disk, &dir)?;
        let epochs = read_epochs(&*disk, &dir)?;
        let mut opening = Opening {
            disk,
            dir,
            config,
            options,
            epochs: epochs.clone(),
            txn_indexes: BTreeSet::new(),
            unindexed: BTreeSet::new(),
            cutting: false,
            closed: Vec::new(),
            tail: None,
            read: None,
            tail_epoch: NO_LEADER_EPOCH,
            trusted: i64::MAX,
            report: Recovered::default(),
        };
        opening.load_segments()?;
        opening.check_committed(i64::MAX)?;
        let (report, trusted, cutting) = (opening.report, opening.trusted, opening.cutting);
        let unindexed = std::mem::take(&mut opening.unindexed);
        let mut log = opening.finish(&epochs)?;
        log.open_producers(trusted, unindexed, &options)?;
        let names_hold = options.clean || (options.writes_survived && options.truncated_whole);
        if cutting {
            log.finish_truncation()?;
        } else if !names_hold {
            // Durably: else what was dropped, now or by a truncation that was cut short, could come back behind what is
            // appended next.
            log.disk.sync_dir(&log.dir)?;
        }
        Ok((log, report))
    }
}

struct Tail {
    base: i64,
    file: Arc<dyn DiskFile>,
    scanned: Scanned,
}

/// Where the last segment read ends.
#[derive(Clone, Copy)]
struct SegmentEnd {
    base: i64,
    position: u64,
    offset: i64,
}

struct Opening {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: LogConfig,
    options: OpenOptions,
    epochs: LeaderEpochs,
    /// The segments that have a transaction index.
    txn_indexes: BTreeSet<i64>,
    /// Those whose index files were of no use: their transaction index may be gone, too.
    unindexed: BTreeSet<i64>,
    /// A truncation was cut short.
    cutting: bool,
    closed: Vec<Arc<Segment>>,
    tail: Option<Tail>,
    read: Option<SegmentEnd>,
    /// The highest leader epoch of the batches scanned so far.
    tail_epoch: i32,
    /// Of producer snapshots and transaction indexes: all before this offset.
    trusted: i64,
    report: Recovered,
}

impl Opening {
    fn load_segments(&mut self) -> Result<(), OpenError> {
        let bases = self.segment_bases()?;
        let point = self.options.recovery_point;
        // Where the recovery point is a segment's beginning, the index of the one before may not be durable yet.
        let unsynced = bases.partition_point(|base| *base < point).saturating_sub(1);
        if let (false, false, Some(base)) =
            (self.options.clean, self.options.writes_survived, bases.get(unsynced))
        {
            self.trusted = *base;
        }
        let interval = self.config.index_interval_bytes;
        for (index, base) in bases.iter().copied().enumerate() {
            let OpenOptions { clean, writes_survived, .. } = self.options;
            let to_recover = !clean && !writes_survived && index >= unsynced;
            let to_cut = to_recover || (!clean && self.options.loss_accepted);
            if self.does_not_follow(base) {
                self.check_committed(base)?;
                if to_cut && index > unsynced {
                    return self.remove_segments(&bases[index..]);
                }
            }
            self.close_tail()?;
            let file = self.disk.keep(&self.dir.join(file_name(base, LOG)), Open::ReadWrite)?;
            let size = file.len()?;
            if size > i32::MAX as u64 {
                return Err(OpenError::SegmentTooLarge { path: file.path().to_owned() });
            }
            let last = index + 1 == bases.len();
            if !last
                && !to_recover
                && let Some(end) =
                    closed_end(&*self.disk, &self.dir, base, (&*file, size), interval)?
            {
                let segment = self.closed_segment(base, file.clone(), size, None, clean)?;
                let told = !writes_survived || index < unsynced;
                if told || self.epochs_by_index(&*file, &segment.index, Some(size))? {
                    self.read = Some(SegmentEnd { base, position: size, offset: end });
                    self.closed.push(segment);
                    continue;
                }
            }
            let scanned = self.scan(base, &file, size, last && !to_recover)?;
            let (invalid, whole) = (scanned.invalid, scanned.active.size);
            self.tail_epoch = scanned.epoch;
            self.report.truncated_bytes += invalid;
            self.read =
                Some(SegmentEnd { base, position: whole, offset: scanned.active.next_offset });
            self.tail = Some(Tail { base, file: file.clone(), scanned });
            if invalid > 0 {
                self.check_committed(i64::MAX)?;
                if !last && !to_cut {
                    let path = file.path().to_owned();
                    return Err(OpenError::CorruptSegment { path, position: whole });
                }
                file.set_len(whole)?;
                file.sync_data()?;
            }
            if to_cut && invalid > 0 {
                return self.remove_segments(&bases[index + 1..]);
            }
        }
        Ok(())
    }

    /// Ascending. Index files without a segment are removed.
    fn segment_bases(&mut self) -> Result<Vec<i64>, DiskError> {
        let names = leftovers::file_names(&*self.disk, &self.dir)?;
        self.cutting = names.iter().any(|name| name == CUTTING);
        let mut bases: Vec<i64> = names
            .iter()
            .filter_map(|name| parse_file_name(name))
            .filter_map(|(base, suffix)| (suffix == LOG).then_some(base))
            .collect();
        bases.sort_unstable();
        for name in &names {
            if let Some((base, suffix)) = parse_file_name(name)
                && [OFFSET_INDEX, TIME_INDEX, TXN_INDEX].contains(&suffix)
            {
                if bases.binary_search(&base).is_err() {
                    self.disk.remove_file(&self.dir.join(name))?;
                } else if suffix == TXN_INDEX {
                    self.txn_indexes.insert(base);
                }
            }
        }
        Ok(bases)
    }

    /// Adds the epochs of a segment, as far as its index tells, or to its end. False where the index does not lead to its batches.
    fn epochs_by_index(
        &mut self,
        file: &dyn DiskFile,
        index: &Index,
        size: Option<u64>,
    ) -> Result<bool, DiskError> {
        let mut epochs = self.epochs.clone();
        match collect_epochs(file, index, size, &mut epochs) {
            Ok(()) => self.epochs = epochs,
            Err(ReadError::Disk(error)) => return Err(error),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Whether something is missing between the last segment read and one that begins at `base`.
    fn does_not_follow(&self, base: i64) -> bool {
        let Some(SegmentEnd { offset: end, .. }) = self.read else { return false };
        base < end || (base > end && !self.may_be_missing(end, base))
    }

    /// Whether a gap between two segments may be the cleaner's: those that it makes lie below the recovery point. Only where the
    /// one before cannot reach so far was it there when the segment was begun.
    fn may_be_missing(&self, end: i64, base: i64) -> bool {
        let OpenOptions { recovery_point, gaps_below, .. } = self.options;
        let known = base <= recovery_point.max(gaps_below);
        self.config.compacted && (known || base - end > i64::from(i32::MAX))
    }

    /// What lies below the recovery point was durable once: where it is gone, between the last segment read and `next`, that is
    /// not for the log to pass over, unless all of it was deleted.
    fn check_committed(&self, next: i64) -> Result<(), OpenError> {
        let OpenOptions { recovery_point, log_start_offset, .. } = self.options;
        match self.read {
            Some(SegmentEnd { base, position, offset })
                if offset.max(log_start_offset) < recovery_point.min(next) =>
            {
                let path = self.dir.join(file_name(base, LOG));
                Err(OpenError::CommittedLost { path, position, offset, recovery_point })
            }
            Some(_) => Ok(()),
            None => self.options.check_empty(&self.dir),
        }
    }

    fn remove_segments(&mut self, bases: &[i64]) -> Result<(), OpenError> {
        for base in bases.iter().rev() {
            remove_segment_files(&*self.disk, &self.dir, *base)?;
        }
        self.report.removed_segments += bases.len();
        Ok(())
    }

    fn scan(
        &mut self,
        base: i64,
        file: &Arc<dyn DiskFile>,
        size: u64,
        indexed: bool,
    ) -> Result<Scanned, OpenError> {
        // The index files of a segment in use are not synced with it; those of another do not look right.
        let known = match indexed {
            true => load_index(&*self.disk, &self.dir, base, &**file, self.options.clean)?,
            false => None,
        };
        let mut known = known.map(|index| Index::Active(Box::new(index)));
        if let (true, Some(index)) = (self.options.writes_survived, &known)
            && !self.epochs_by_index(&**file, index, None)?
        {
            known = None;
        }
        // With all of its index and nothing lost, only what lies behind the last entry is looked at.
        let trusted = known.is_some();
        if !trusted {
            self.unindexed.insert(base);
            // What is of no use now must not be found again by who opens the log next.
            for suffix in [OFFSET_INDEX, TIME_INDEX] {
                remove_if_there(&*self.disk, &self.dir.join(file_name(base, suffix)))?;
            }
        }
        self.report.scanned_segments += usize::from(!trusted);
        let scan = Scan {
            file: &**file,
            base,
            size,
            config: &self.config,
            now_ms: self.options.now_ms,
            verify: !trusted || !self.options.clean,
            min_epoch: self.tail_epoch,
        };
        let index = known.unwrap_or_else(|| Index::Active(Box::default()));
        let scanned = scan.run(index, Some(&mut self.epochs))?;
        Ok(Scanned { rebuilt: !trusted, ..scanned })
    }

    fn close_tail(&mut self) -> Result<(), DiskError> {
        let Some(mut tail) = self.tail.take() else { return Ok(()) };
        let mut kept = None;
        if let Index::Active(index) = &tail.scanned.index {
            tail.scanned.active.index_timestamp(index, tail.base);
            match index.write(&*self.disk, &self.dir, tail.base) {
                // It stays in memory until a sync finds the room.
                Err(error) if error.may_pass() => kept = Some(tail.scanned.index),
                written => drop(written?),
            }
        }
        let size = tail.scanned.active.size;
        let synced = self.options.clean && kept.is_none() && !tail.scanned.rebuilt;
        let segment = self.closed_segment(tail.base, tail.file, size, kept, synced)?;
        self.closed.push(segment);
        Ok(())
    }

    fn txn_index(&self, base: i64) -> Result<Arc<TxnIndex>, DiskError> {
        let path = self.dir.join(file_name(base, TXN_INDEX));
        Ok(Arc::new(if self.txn_indexes.contains(&base) {
            TxnIndex::open(&*self.disk, path)?
        } else {
            TxnIndex::none(path)
        }))
    }

    fn closed_segment(
        &self,
        base: i64,
        file: Arc<dyn DiskFile>,
        size: u64,
        kept: Option<Index>,
        synced: bool,
    ) -> Result<Arc<Segment>, DiskError> {
        let name_synced = Arc::new(AtomicBool::new(synced));
        let closed = || ClosedIndex::new(self.disk.clone(), self.dir.clone(), base);
        let (index, max) = (kept.unwrap_or_else(|| Index::Closed(closed())), OnceLock::new());
        let txn_index = self.txn_index(base)?;
        Ok(Arc::new(Segment { base, file, index, txn_index, size, max, name_synced }))
    }

    fn finish(mut self, stored_epochs: &LeaderEpochs) -> Result<Log, OpenError> {
        let options = self.options;
        let (tail, exists) = match self.tail.take() {
            Some(tail) => (tail, true),
            None => {
                let end = self.read.map_or(options.log_start_offset, |read| read.offset);
                (self.first_segment(end)?, false)
            }
        };
        let Tail { base, file, mut scanned } = tail;
        // Room that it was given before the last stop is given back when it is closed.
        scanned.active.preallocated = self.config.preallocate;
        let first = self.closed.first().map_or(base, |segment| segment.base);
        let segment = Segment {
            base,
            file,
            index: scanned.index,
            txn_index: self.txn_index(base)?,
            size: 0,
            max: OnceLock::new(),
            name_synced: Arc::new(AtomicBool::new(options.clean && exists)),
        };
        self.closed.push(Arc::new(segment));
        let end = scanned.active.next_offset;
        let mut log = Log {
            disk: self.disk,
            dir: self.dir,
            config: self.config,
            segments: Arc::new(self.closed),
            active: scanned.active,
            end,
            log_start: options.log_start_offset.max(first),
            recovery_point: if options.clean { end } else { options.recovery_point.clamp(0, end) },
            epochs_version: 0,
            epochs: Arc::new(self.epochs),
            producers: Producers::default(),
            snapshots: BTreeSet::new(),
            completed: Vec::new(),
            sync_state: Arc::new(SyncState::found(stored_epochs)),
            truncations: 0,
            index_lag: INDEX_LAG,
            swaps: Vec::new(),
            tail: Default::default(),
        };
        if log.end < log.log_start {
            log.truncate_fully_and_start_at(log.log_start, options.now_ms)?.remove(&*log.disk)?;
        }
        let (start, end) = (log.log_start, log.end);
        log.change_epochs(|epochs| epochs.truncate_from_end(end));
        log.change_epochs(|epochs| epochs.truncate_from_start(start));
        // What the file says of a log without records is dropped each time.
        let unwritten = log.size() > 0 && *log.epochs != *stored_epochs;
        log.epochs_version = log.sync_state.epochs_version() + u64::from(unwritten);
        Ok(log)
    }

    fn first_segment(&self, base: i64) -> Result<Tail, DiskError> {
        let base = base.max(0);
        let file = self.disk.keep(&self.dir.join(file_name(base, LOG)), Open::Truncate)?;
        if self.config.preallocate {
            file.preallocate(u64::from(self.config.segment_bytes))?;
        }
        Ok(Tail { base, file, scanned: Scanned::empty(base, self.options.now_ms) })
    }
}

impl Log {
    /// The index that a segment would have if it ended at `size`.
    pub(crate) fn rescan(
        &self,
        segment: &Segment,
        size: u64,
        now_ms: i64,
    ) -> Result<Scanned, OpenError> {
        let index = ActiveIndex::default();
        let mut last = None;
        let (offsets, times) = (segment.index.offsets(), segment.index.times());
        for at in 0..offsets.len() {
            let entry = offsets.get(at);
            if u64::from(entry.position) >= size {
                break;
            }
            index.push_offset(entry);
            last = Some(entry.relative);
        }
        for at in 0..times.len() {
            let entry = times.get(at);
            if last.is_none_or(|last| entry.relative > last) {
                break;
            }
            index.push_time(entry);
        }
        let scan = Scan {
            file: &*segment.file,
            base: segment.base,
            size,
            config: &self.config,
            now_ms,
            verify: false,
            min_epoch: NO_LEADER_EPOCH,
        };
        scan.run(Index::Active(Box::new(index)), None)
    }
}

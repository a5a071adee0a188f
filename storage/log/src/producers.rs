//! What a log knows of its producers: kept up with every append, kept in a snapshot file at the beginning of each segment and
//! when the log is closed, and rebuilt from the newest of those and the batches behind it.
//!
//! Source: Kafka's `ProducerStateManager`, `UnifiedLog.rebuildProducerState`, `LogLoader`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use disk::{DiskError, DiskFile, Open};
use model::producers::{BatchInfo, CompletedTransaction, Producers};
use wire::batch::{BatchHeader, RecordBatch};

use crate::error::ReadError;
use crate::leftovers::file_names;
use crate::log::Log;
use crate::names::{SNAPSHOT, file_name, parse_file_name};
use crate::open::OpenOptions;
use crate::producer_snapshot::{
    ProducerSnapshotError, encode_producer_snapshot, read_producer_snapshot,
    write_producer_snapshot,
};
use crate::scan::HeaderScan;
use crate::segment::Segment;
use crate::truncate::remove_if_there;
use crate::txn_index::AbortedTransaction;
use crate::view::LogView;

/// A control batch is a few bytes; one that is larger is no marker.
const MAX_CONTROL_BATCH: usize = 64 * 1024;

impl Log {
    /// The producers' state as of the log's end.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The transactions that were found, when the log was opened, to end at or above the high watermark known then.
    pub fn take_completed(&mut self) -> Vec<CompletedTransaction> {
        std::mem::take(&mut self.completed)
    }

    /// `producer.id.expiration.ms`: forgets producers that wrote nothing for so long.
    pub fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.expire(now_ms, expiration_ms);
    }

    /// Takes in a batch that was written to the segment in use.
    pub(crate) fn note_producer(&mut self, batch: &RecordBatch) -> Result<(), DiskError> {
        let header = batch.header();
        if !header.has_producer_id() {
            return Ok(());
        }
        let info = batch.info().unwrap_or_else(|_| header.info());
        if let Some(ended) = self.producers.apply(&info, header.base_offset)
            && ended.aborted
        {
            let segment = self.active_segment();
            if segment.txn_index.append(&*self.disk, ended.into())? {
                segment.name_synced.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Writes a snapshot of the state as of `offset`, unless there is one as new.
    pub(crate) fn snapshot_producers(&mut self, offset: i64) -> Result<(), DiskError> {
        if !self.needs_snapshot(offset) {
            return Ok(());
        }
        let snapshot = encode_producer_snapshot(&self.producers);
        match write_producer_snapshot(&*self.disk, &self.dir, offset, &snapshot) {
            // It would only have shortened a recovery.
            Err(error) if error.may_pass() => {
                return remove_if_there(&*self.disk, &self.dir.join(file_name(offset, SNAPSHOT)));
            }
            written => written?,
        }
        self.snapshots.insert(offset);
        self.sync_state.unsynced_snapshots().push(offset);
        Ok(())
    }

    /// Makes a snapshot durable, if it is not.
    pub(crate) fn sync_snapshot(&self, offset: i64) -> Result<(), DiskError> {
        let mut unsynced = self.sync_state.unsynced_snapshots();
        if let Some(at) = unsynced.iter().position(|known| *known == offset) {
            let path = self.dir.join(file_name(offset, SNAPSHOT));
            self.disk.open(&path, Open::Read)?.sync_data()?;
            unsynced.swap_remove(at);
        }
        Ok(())
    }

    /// Whether anything came since the last snapshot, or the first segment's beginning: also where the log start is behind it.
    pub(crate) fn needs_snapshot(&self, offset: i64) -> bool {
        offset > self.snapshots.last().copied().unwrap_or(self.segments[0].base)
    }

    /// Forgets everything: the log goes on empty.
    pub(crate) fn drop_producers(&mut self) -> Result<(), DiskError> {
        self.producers = Producers::default();
        self.drop_snapshots(|_| true)
    }

    pub(crate) fn drop_snapshots(&mut self, drop: impl Fn(i64) -> bool) -> Result<(), DiskError> {
        for offset in self.snapshots.clone().into_iter().filter(|offset| drop(*offset)) {
            remove_if_there(&*self.disk, &self.dir.join(file_name(offset, SNAPSHOT)))?;
            self.forget_snapshot(offset);
        }
        Ok(())
    }

    /// Its file is gone, or goes.
    pub(crate) fn forget_snapshot(&mut self, offset: i64) {
        self.snapshots.remove(&offset);
        self.sync_state.unsynced_snapshots().retain(|known| *known != offset);
    }

    /// When the log is opened. Snapshots behind `trusted`, and what the transaction indexes say from there on, may not fit the
    /// log and are made anew, as are those of the segments at `unindexed`.
    pub(crate) fn open_producers(
        &mut self,
        trusted: i64,
        mut unindexed: BTreeSet<i64>,
        options: &OpenOptions,
    ) -> Result<(), ReadError> {
        self.snapshots = file_names(&*self.disk, &self.dir)?
            .iter()
            .filter_map(|name| parse_file_name(name))
            .filter_map(|(offset, suffix)| (suffix == SNAPSHOT).then_some(offset))
            .collect();
        let trusted = trusted.min(self.end);
        let bases: BTreeSet<i64> = self.segments.iter().map(|segment| segment.base).collect();
        let newest_base = bases.last().copied().unwrap_or(0);
        // Beside those of the segments only the newest is of use.
        let newest = self.snapshots.last().copied().filter(|offset| *offset > newest_base);
        self.drop_snapshots(|offset| {
            offset > trusted || !(bases.contains(&offset) || Some(offset) == newest)
        })?;
        if !options.clean {
            // Whether an earlier life synced those that it left nobody knows.
            let kept = self.snapshots.iter();
            self.sync_state.unsynced_snapshots().extend(kept);
        }
        let from = self.restore_producers()?;
        self.add_unsound_txn_indexes(&mut unindexed)?;
        self.make_txn_indexes(unindexed.range(..from))?;
        if let Some(expiration_ms) = options.producer_id_expiration_ms {
            self.producers.expire(options.now_ms, expiration_ms);
        }
        let mut completed = std::mem::take(&mut self.completed);
        self.replay_producers(from, |ended| {
            if ended.last_offset >= options.high_watermark {
                completed.push(ended);
            }
        })?;
        self.completed = completed;
        Ok(self.snapshot_producers(self.end)?)
    }

    /// After the log was cut: the state as of its new end.
    pub(crate) fn cut_producers(&mut self) -> Result<(), ReadError> {
        if !self.producers.is_empty() {
            let from = self.restore_producers()?;
            self.replay_producers(from, |_| {})?;
        }
        Ok(self.snapshot_producers(self.end)?)
    }

    /// The segments whose transaction index cannot be right.
    fn add_unsound_txn_indexes(&self, unsound: &mut BTreeSet<i64>) -> Result<(), DiskError> {
        let ends = self.segments[1..].iter().map(|next| next.base).chain([self.end]);
        for (segment, end) in self.segments.iter().zip(ends) {
            if !segment.txn_index.is_sound(segment.base, end)? {
                unsound.insert(segment.base);
            }
        }
        Ok(())
    }

    /// Of the segments at `bases`, from the snapshots before them: the state as of the log's end is known without.
    fn make_txn_indexes<'a>(&self, bases: impl Iterator<Item = &'a i64>) -> Result<(), ReadError> {
        let view = self.view();
        let (mut producers, mut from) = (Producers::default(), self.segments[0].base);
        for base in bases.copied() {
            let newer = self.snapshots.iter().rev().filter(|at| (from..=base).contains(at));
            let read =
                |at: &i64| Some((read_producer_snapshot(&*self.disk, &self.dir, *at).ok()?, *at));
            (producers, from) = newer.flat_map(read).next().unwrap_or((producers, from));
            for index in view.segment_index(from)..=view.segment_index(base) {
                let (segment, mut aborted) = (&view.segments[index], Vec::new());
                replay_segment(&view, index, from, &mut producers, |ended| {
                    aborted.extend(ended.aborted.then(|| AbortedTransaction::from(ended)));
                })?;
                from = view.segments.get(index + 1).map_or(self.end, |next| next.base);
                if segment.base == base {
                    self.replace_txn_index(segment, i64::MIN, &aborted)?;
                }
            }
        }
        Ok(())
    }

    fn replace_txn_index(
        &self,
        segment: &Segment,
        from: i64,
        told: &[AbortedTransaction],
    ) -> Result<(), ReadError> {
        if segment.txn_index.replace_from(&*self.disk, from, told)? {
            segment.txn_index.sync()?;
            segment.name_synced.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The state that the newest whole snapshot has, and its offset; none, and the log's first, if there is none.
    pub(crate) fn restore_producers(&mut self) -> Result<i64, DiskError> {
        while let Some(offset) = self.snapshots.last().copied() {
            match read_producer_snapshot(&*self.disk, &self.dir, offset) {
                Ok(producers) => {
                    self.producers = producers;
                    return Ok(offset);
                }
                Err(ProducerSnapshotError::Disk(error)) if !error.is_too_large() => {
                    return Err(error);
                }
                Err(_) => self.drop_snapshots(|found| found == offset)?,
            }
        }
        self.producers = Producers::default();
        Ok(self.segments[0].base)
    }

    /// Brings the state from `from` to the log's end: with a snapshot at the beginning of each segment on the way, and
    /// transaction indexes that say what the log says.
    pub(crate) fn replay_producers(
        &mut self,
        from: i64,
        mut completed: impl FnMut(CompletedTransaction),
    ) -> Result<(), ReadError> {
        let view = self.view();
        for index in view.segment_index(from)..view.segments.len() {
            let segment = &view.segments[index];
            if segment.base > from {
                self.snapshot_producers(segment.base)?;
            }
            let (mut producers, mut aborted) = (std::mem::take(&mut self.producers), Vec::new());
            replay_segment(&view, index, from, &mut producers, |ended| {
                aborted.extend(ended.aborted.then(|| AbortedTransaction::from(ended)));
                completed(ended);
            })?;
            self.producers = producers;
            // A segment that was read whole keeps nothing that it does not say.
            let from = if segment.base < from { from } else { i64::MIN };
            self.replace_txn_index(segment, from, &aborted)?;
        }
        Ok(())
    }
}

/// Takes in the batches of a segment that reach to `from` or behind it.
fn replay_segment(
    view: &LogView,
    index: usize,
    from: i64,
    producers: &mut Producers,
    mut completed: impl FnMut(CompletedTransaction),
) -> Result<(), ReadError> {
    let (segment, size) = (&view.segments[index], view.size_of(index));
    let start = if from < view.log_end_offset() { segment.start_for(from, size) } else { size };
    let mut scan = HeaderScan::new(&*segment.file, start, size);
    while let Some((position, header)) = scan.next()? {
        if header.last_offset() < from || !header.has_producer_id() {
            continue;
        }
        let info = info(&*segment.file, position, &header)?;
        if let Some(ended) = producers.apply(&info, header.base_offset) {
            completed(ended);
        }
    }
    Ok(())
}

/// What a written batch tells of its producer; of control batches the record is read.
fn info(file: &dyn DiskFile, position: u64, header: &BatchHeader) -> Result<BatchInfo, ReadError> {
    if !header.is_control() || header.size() > MAX_CONTROL_BATCH {
        return Ok(header.info());
    }
    let mut bytes = vec![0; header.size()];
    file.read_exact_at(&mut bytes, position)?;
    let batch = RecordBatch::parse(&Bytes::from(bytes));
    Ok(batch.and_then(|batch| batch.info()).unwrap_or_else(|_| header.info()))
}

impl From<CompletedTransaction> for AbortedTransaction {
    fn from(ended: CompletedTransaction) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ended.producer_id,
            first_offset: ended.first_offset,
            last_offset: ended.last_offset,
            last_stable_offset: ended.last_stable_offset,
        }
    }
}

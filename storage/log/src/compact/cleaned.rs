//! Writing a cleaned segment's files, and what a log takes them by.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskError, DiskFile, Open};
use wire::batch::BatchHeader;

use crate::config::LogConfig;
use crate::index::{ClosedIndex, Index};
use crate::leftovers::file_names;
use crate::log::Active;
use crate::names::{CLEANED, LOG, OFFSET_INDEX, SNAPSHOT, TIME_INDEX, TXN_INDEX, file_name};
use crate::segment::Segment;
use crate::truncate::remove_if_there;
use crate::txn_index::{AbortedTransaction, TxnIndex};

/// The files of a segment, in the order in which they are renamed: all are there before the log is.
pub(crate) const SUFFIXES: [&str; 4] = [TXN_INDEX, TIME_INDEX, OFFSET_INDEX, LOG];

pub(crate) fn cleaned_path(dir: &Path, base: i64, suffix: &str) -> PathBuf {
    dir.join(file_name(base, suffix) + CLEANED)
}

/// A segment as far as it is written.
#[derive(Debug)]
pub(crate) struct CleanedWriter {
    base: i64,
    file: Arc<dyn DiskFile>,
    index: Index,
    active: Active,
    txn_index: TxnIndex,
    /// Bytes that wait to be written.
    pending: Vec<u8>,
}

/// A segment whose files are whole and durable, under names that nobody else reads.
#[derive(Debug)]
pub(crate) struct CleanedSegment {
    pub segment: Arc<Segment>,
    /// The offset after its last batch.
    pub next_offset: i64,
}

impl CleanedWriter {
    pub fn new(
        disk: &dyn Disk,
        dir: &Path,
        base: i64,
        config: &LogConfig,
    ) -> Result<CleanedWriter, DiskError> {
        let file = disk.keep(&cleaned_path(dir, base, LOG), Open::CreateNew)?;
        if config.preallocate {
            file.preallocate(u64::from(config.segment_bytes))?;
        }
        Ok(CleanedWriter {
            base,
            file,
            index: Index::Active(Box::default()),
            active: Active::new(base, 0),
            txn_index: TxnIndex::none(cleaned_path(dir, base, TXN_INDEX)),
            pending: Vec::new(),
        })
    }

    /// Whether a batch may lie in it, by size, index and range of offsets.
    pub fn takes(&self, header: &BatchHeader, config: &LogConfig) -> bool {
        header.last_offset() - self.base <= i64::from(i32::MAX)
            && (self.active.size == 0
                || self.active.size + header.size() as u64 <= i32::MAX as u64
                    && self.index.offset_len() < config.max_offset_entries()
                    && self.index.time_len() < config.max_time_entries())
    }

    /// Where batches are put before [`CleanedWriter::note`] is told of them.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    pub fn note(&mut self, header: &BatchHeader, config: &LogConfig) {
        self.active.note(header, self.base, &self.index, config.index_interval_bytes);
    }

    pub fn note_aborted(&self, disk: &dyn Disk, txn: AbortedTransaction) -> Result<(), DiskError> {
        self.txn_index.append(disk, txn).map(|_| ())
    }

    /// Writes what waits; how many bytes.
    pub fn flush(&mut self) -> Result<usize, DiskError> {
        let len = self.pending.len();
        if len > 0 {
            self.file.write_at(&self.pending, self.active.size - len as u64)?;
            self.pending.clear();
        }
        Ok(len)
    }

    /// Brings everything to the disk but the names. The files carry the time of the last change of what they replace.
    pub fn finish(
        mut self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        preallocated: bool,
        modified_ms: Option<i64>,
    ) -> Result<CleanedSegment, DiskError> {
        self.flush()?;
        if preallocated {
            self.file.set_len(self.active.size)?;
        }
        let mut files = vec![(LOG, self.file.clone())];
        if let Index::Active(index) = &self.index {
            self.active.index_timestamp(index, self.base);
            let write = |suffix, bytes: &[u8]| -> Result<_, DiskError> {
                let file = disk.open(&cleaned_path(dir, self.base, suffix), Open::CreateNew)?;
                file.write_at(bytes, 0)?;
                Ok((suffix, file))
            };
            files.push(write(OFFSET_INDEX, &index.offset_bytes(0))?);
            files.push(write(TIME_INDEX, &index.time_bytes(0))?);
        }
        for (_, file) in files {
            if let Some(modified_ms) = modified_ms {
                file.set_modified_ms(modified_ms)?;
            }
            file.sync_all()?;
        }
        self.txn_index.sync()?;
        // One that is made later, as the segment may be in use again after a truncation, is never renamed.
        let txn_index = match self.txn_index.exists() {
            true => self.txn_index,
            false => TxnIndex::none(dir.join(file_name(self.base, TXN_INDEX))),
        };
        let open = |suffix| disk.keep(&cleaned_path(dir, self.base, suffix), Open::Read);
        let index = ClosedIndex::new(disk.clone(), dir.to_owned(), self.base)
            .opened(open(OFFSET_INDEX)?, open(TIME_INDEX)?);
        let segment = Segment {
            base: self.base,
            file: self.file,
            index: Index::Closed(Box::new(index)),
            txn_index: Arc::new(txn_index),
            size: self.active.size,
            max: OnceLock::from(self.active.max),
            // The swap answers for it.
            name_synced: Arc::new(AtomicBool::new(true)),
        };
        Ok(CleanedSegment { segment: Arc::new(segment), next_offset: self.active.next_offset })
    }
}

pub(crate) fn remove_cleaned(disk: &dyn Disk, dir: &Path, base: i64) -> Result<(), DiskError> {
    let mut suffixes = SUFFIXES.iter().chain(&[SNAPSHOT]);
    suffixes.try_for_each(|suffix| remove_if_there(disk, &cleaned_path(dir, base, suffix)))
}

/// Of all bases: what is left of passes that ended without [`Compaction::abort`](super::Compaction::abort), or in which it failed.
pub(crate) fn remove_all_cleaned(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    let names = file_names(disk, dir)?;
    let mut left = names.iter().filter(|name| name.ends_with(CLEANED));
    left.try_for_each(|name| disk.remove_file(&dir.join(name)))
}

/// What takes the place of a run of segments: [`Log::replace_segments`](crate::Log::replace_segments) swaps it in.
#[derive(Debug)]
pub struct CleanedSegments {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    /// Ascending, neighbours in the log.
    pub(crate) old: Vec<Arc<Segment>>,
    /// Ascending, at least one; the first begins where the first old one does.
    pub(crate) new: Vec<CleanedSegment>,
    /// An empty one at the last old segment's base, whose files only a crash brings to light.
    pub(crate) stub: Option<Arc<Segment>>,
    /// The producer snapshot at the first's base was made anew.
    pub(crate) snapshot: bool,
    /// Truncations of the log when the pass began.
    pub(crate) truncations: u64,
    /// Its place in the order of its pass, and how many of the pass are swapped in.
    pub(crate) number: usize,
    pub(crate) swapped: Arc<AtomicUsize>,
}

impl CleanedSegments {
    /// Base offset of the first segment that goes.
    pub fn base_offset(&self) -> i64 {
        self.old[0].base
    }

    /// Segments that go, and segments that come.
    pub fn counts(&self) -> (usize, usize) {
        (self.old.len(), self.new.len())
    }

    /// Bytes of the segments that go, and of those that come.
    pub fn sizes(&self) -> (u64, u64) {
        let old = self.old.iter().map(|segment| segment.size).sum();
        (old, self.new.iter().map(|new| new.segment.size).sum())
    }

    /// Removes the files: for those that no log will take.
    pub fn discard(self) -> Result<(), DiskError> {
        let new = self.new.iter().map(|new| new.segment.base);
        new.chain(self.stub.map(|stub| stub.base))
            .try_for_each(|base| remove_cleaned(&*self.disk, &self.dir, base))
    }
}

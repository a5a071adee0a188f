//! The second reading of a pass (Kafka: `Cleaner.cleanSegments`): from the log's first segment on, copying what stays.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use disk::{DiskError, Open};
use model::ProducerId;

use super::CompactionError;
use super::cleaned::{CleanedSegment, CleanedSegments, CleanedWriter, cleaned_path};
use super::filter::Filter;
use super::groups::group_sizes;
use super::offset_map::OffsetMap;
use super::pass::{Source, Work};
use super::reader::BatchReader;
use crate::names::SNAPSHOT;
use crate::producer_snapshot::encode_producer_snapshot;

#[derive(Debug)]
pub(crate) struct Cleaning {
    pub end_offset: i64,
    filter: Filter,
    /// Ends of the groups, by index of their segments; the group at hand.
    group_ends: Vec<usize>,
    group: usize,
    /// The group's first segment, and the one at hand.
    first: usize,
    segment: usize,
    reader: Option<BatchReader>,
    memory: Vec<u8>,
    /// Of the group: what is being written, and what is finished already.
    writer: Option<CleanedWriter>,
    finished: Vec<CleanedSegment>,
    /// Base offsets of the segments whose files are begun, or may be.
    making: Vec<i64>,
    /// Its producer snapshot was made anew.
    snapshot: bool,
    swapped: Arc<AtomicUsize>,
}

impl Cleaning {
    pub fn new(map: OffsetMap, source: &Source) -> Cleaning {
        // Nothing was mapped where nothing is dirty.
        let end_offset = (map.latest_offset() + 1).max(source.first_dirty);
        let segments = &source.view.segments;
        let dirty = map.latest_offset() >= 0;
        let count = if dirty { segments.partition_point(|s| s.base < end_offset) } else { 0 };
        let mut end = 0;
        let most = source.options.group_bytes;
        let sizes = group_sizes(&segments[..count], &source.config, most, source.bound);
        let group_ends = sizes.into_iter().map(|size| {
            end += size;
            end
        });
        Cleaning {
            end_offset,
            filter: Filter::new(map, &source.options),
            group_ends: group_ends.collect(),
            group: 0,
            first: 0,
            segment: 0,
            reader: None,
            memory: Vec::new(),
            writer: None,
            finished: Vec::new(),
            making: Vec::new(),
            snapshot: false,
            swapped: Arc::default(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.group == self.group_ends.len()
    }

    /// So much of the group at hand is not read yet.
    pub fn bytes_left(&self, source: &Source) -> u64 {
        let Some(end) = self.group_ends.get(self.group).copied() else { return 0 };
        let begun = self.reader.as_ref().map(BatchReader::left);
        let after = self.segment + usize::from(begun.is_some());
        let sizes = source.view.segments[after..end].iter().map(|segment| segment.size);
        begun.unwrap_or(0) + sizes.sum::<u64>()
    }

    /// Base offsets of the segments whose files are in the making.
    pub fn in_the_making(&self) -> &[i64] {
        &self.making
    }

    fn writer(&mut self, source: &Source, base: i64) -> Result<CleanedWriter, CompactionError> {
        self.making.push(base);
        Ok(source.writer(base)?)
    }

    /// Reads and writes a buffer's worth; gives the group when it is ready.
    pub fn step(
        &mut self,
        source: &Source,
        work: &mut Work,
    ) -> Result<Option<CleanedSegments>, CompactionError> {
        if self.segment == self.group_ends[self.group] {
            return self.finish_group(source, work).map(Some);
        }
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.begin_segment(source)?,
        };
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin_group(source, work)?,
        };
        let read = reader.fill()?;
        work.io += read as u64;
        while let Some((header, batch)) = reader.next()? {
            let start = writer.pending().len();
            let (memory, out) = (&mut self.memory, writer.pending());
            let filtered = self.filter.filter(&header, batch, memory, out, &mut work.stats);
            let filtered = filtered.map_err(|why| reader.corrupt(why))?;
            if let Some(header) = &filtered.header {
                if !writer.takes(header, &source.config) {
                    let moved = writer.pending().split_off(start);
                    work.io += writer.flush()? as u64;
                    self.finished.push(source.finish(writer, self.segment)?);
                    writer = self.writer(source, header.base_offset)?;
                    *writer.pending() = moved;
                }
                writer.note(header, &source.config);
            }
            if let Some(txn) = filtered.aborted {
                writer.note_aborted(&*source.disk, txn)?;
            }
        }
        work.io += writer.flush()? as u64;
        self.writer = Some(writer);
        if read > 0 {
            self.reader = Some(reader);
        } else {
            self.segment += 1;
            self.give_back(source.io_buffer());
        }
        Ok(None)
    }

    fn begin_group(
        &mut self,
        source: &Source,
        work: &mut Work,
    ) -> Result<CleanedWriter, CompactionError> {
        let base = source.view.segments[self.first].base;
        let writer = self.writer(source, base)?;
        self.snapshot = self.end_transactions(source, base, work)?;
        Ok(writer)
    }

    /// Of a transaction of which no batch is left the marker may go now: who goes on from the snapshot at the group's beginning
    /// would find no end of it. So there it is made not to be open, which is right as long as the marker stays, too: that ends
    /// nothing then. Whether it was made anew.
    fn end_transactions(
        &self,
        source: &Source,
        base: i64,
        work: &mut Work,
    ) -> Result<bool, DiskError> {
        let Some(mut producers) = source.producers(base, work)? else { return Ok(false) };
        let is_over = |id: ProducerId| !self.filter.transactions.has_batches(id.0);
        let anew = producers.end_transactions(is_over);
        if anew {
            let bytes = encode_producer_snapshot(&producers);
            let path = cleaned_path(&source.dir, base, SNAPSHOT);
            let file = source.disk.open(&path, Open::CreateNew)?;
            file.write_at(&bytes, 0)?;
            file.sync_all()?;
            work.io += bytes.len() as u64;
        }
        Ok(anew)
    }

    fn begin_segment(&mut self, source: &Source) -> Result<BatchReader, CompactionError> {
        let (base, upper) =
            (source.view.segments[self.segment].base, source.next_base(self.segment));
        let mut aborted = source.view.aborted_transactions(base, upper)?;
        // Those that reach back into the segments before are known from there.
        aborted.retain(|txn| self.segment == 0 || txn.first_offset >= base);
        self.filter.transactions.add_aborted(aborted);
        Ok(source.reader(self.segment, 0))
    }

    fn finish_group(
        &mut self,
        source: &Source,
        work: &mut Work,
    ) -> Result<CleanedSegments, CompactionError> {
        let last = self.segment - 1;
        if let Some(mut writer) = self.writer.take() {
            work.io += writer.flush()? as u64;
            self.finished.push(source.finish(writer, last)?);
        }
        let old = source.view.segments[self.first..self.segment].to_vec();
        // Where nothing is left of the last old segments, an empty one in place of the very last tells a crash's survivor
        // how far the new ones reach.
        let end = self.finished.last().map_or(0, |new| new.next_offset);
        let stub = match source.view.segments[last].base {
            base if base >= end && last > self.first => {
                Some(source.finish(self.writer(source, base)?, last)?)
            }
            _ => None,
        };
        source.disk.sync_dir(&source.dir)?;
        let number = self.group;
        self.group += 1;
        self.first = self.segment;
        self.making.clear();
        Ok(CleanedSegments {
            disk: source.disk.clone(),
            dir: source.dir.clone(),
            old,
            new: std::mem::take(&mut self.finished),
            stub: stub.map(|stub| stub.segment),
            snapshot: std::mem::take(&mut self.snapshot),
            truncations: source.truncations,
            number,
            swapped: self.swapped.clone(),
        })
    }

    fn give_back(&mut self, keep: usize) {
        self.memory.clear();
        self.memory.shrink_to(keep);
        self.filter.shrink(keep);
        if let Some(writer) = &mut self.writer {
            writer.pending().shrink_to(keep);
        }
    }
}

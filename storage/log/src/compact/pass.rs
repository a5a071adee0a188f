//! A pass over a log (Kafka: `Cleaner.doClean`): a job that reads a view and writes files of its own.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use disk::{Disk, DiskError};
use model::producers::Producers;

use super::cleaned::{
    CleanedSegment, CleanedSegments, CleanedWriter, remove_all_cleaned, remove_cleaned,
};
use super::cleaning::Cleaning;
use super::mapping::Mapping;
use super::offset_map::OffsetMap;
use super::reader::BatchReader;
use super::{CleanerStats, CompactionError, CompactionOptions, LogToClean};
use crate::config::LogConfig;
use crate::log::Log;
use crate::producer_snapshot::{ProducerSnapshotError, read_sized};
use crate::view::LogView;

/// A pass over one log: see [`Log::compaction`]. Dropping it leaves files behind that [`Compaction::abort`] removes; so does the
/// next pass, and the next opening of the log.
#[derive(Debug)]
pub struct Compaction {
    source: Source,
    work: Work,
    phase: Phase,
}

/// What a pass works from.
#[derive(Debug)]
pub(crate) struct Source {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub config: LogConfig,
    pub options: CompactionOptions,
    pub view: LogView,
    pub truncations: u64,
    pub first_dirty: i64,
    /// Nothing is cleaned from this offset on; the base of a segment.
    pub bound: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Work {
    pub stats: CleanerStats,
    /// Bytes read and written.
    pub io: u64,
}

#[derive(Debug)]
enum Phase {
    Begin(OffsetMap),
    Mapping(Box<Mapping>),
    Cleaning(Box<Cleaning>),
    Done { end_offset: i64 },
}

/// Why [`Compaction::run`] returned.
#[derive(Debug)]
pub enum Progress {
    /// It was told to. It may go on later.
    Paused,
    /// A group of segments is ready: hand it to the log, and go on.
    Cleaned(CleanedSegments),
    /// There is no more to do.
    Done {
        /// The first offset that was not cleaned: the checkpoint, once all is swapped in.
        end_offset: i64,
    },
}

impl Log {
    /// The pass over what there is to clean now, below the recovery point: only there may offsets be missing between segments
    /// when the log is opened. So before the pass is run its owner writes the recovery-point checkpoint, durably. One
    /// at a time: what an earlier one left undone is removed. Cheap, unless a swap is not finished.
    pub fn compaction(
        &mut self,
        to_clean: &LogToClean,
        options: CompactionOptions,
    ) -> Result<Compaction, CompactionError> {
        self.finish_swap()?;
        let (bytes, load_factor) = (options.dedupe_buffer_bytes, options.load_factor);
        let map = OffsetMap::new(bytes, load_factor, options.hash_key)
            .ok_or(CompactionError::MapTooSmall { bytes, load_factor })?;
        let view = self.view();
        // Whole segments only, whatever has become of them since.
        let bound = to_clean.first_uncleanable_offset.min(self.active_segment().base);
        let bound = view.segments[view.segment_index(bound.min(self.recovery_point))].base;
        let source = Source {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            config: self.config.clone(),
            options,
            view,
            truncations: self.truncations,
            first_dirty: to_clean.first_dirty_offset,
            bound,
        };
        Ok(Compaction { source, work: Work::default(), phase: Phase::Begin(map) })
    }
}

impl Compaction {
    /// Works until a group of segments is ready, or all is done, or `pace` says to break. It is called after each piece of work,
    /// with the bytes that were read and written: it may wait, to keep to a rate. After an error nothing is left to do but
    /// [`Compaction::abort`].
    pub fn run(
        &mut self,
        mut pace: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Progress, CompactionError> {
        loop {
            let before = self.work.io;
            let reached = self.step()?;
            let goes_on = pace(self.work.io - before);
            if let Some(progress) = reached {
                return Ok(progress);
            }
            if goes_on.is_break() {
                return Ok(Progress::Paused);
            }
        }
    }

    /// Of the work so far.
    pub fn stats(&self) -> CleanerStats {
        self.work.stats
    }

    /// So much of the disk it may take, at most, before it can give any back; while it does not know, what is the least.
    pub fn bytes_to_write(&self) -> u64 {
        match &self.phase {
            Phase::Begin(_) | Phase::Mapping(_) => self.source.view.first_segment_bytes(),
            Phase::Cleaning(cleaning) => cleaning.bytes_left(&self.source),
            Phase::Done { .. } => 0,
        }
    }

    /// Ends it early: what it wrote and did not hand out is removed.
    pub fn abort(self) -> Result<(), DiskError> {
        let Phase::Cleaning(cleaning) = &self.phase else { return Ok(()) };
        let Source { disk, dir, .. } = &self.source;
        cleaning.in_the_making().iter().try_for_each(|base| remove_cleaned(&**disk, dir, *base))
    }

    fn step(&mut self) -> Result<Option<Progress>, CompactionError> {
        let (source, work) = (&self.source, &mut self.work);
        let next = match &mut self.phase {
            Phase::Begin(map) => {
                // What earlier passes left: after a crash amid a swap, all at or above it would be taken for not begun.
                remove_all_cleaned(&*source.disk, &source.dir)?;
                Phase::Mapping(Box::new(Mapping::new(std::mem::take(map), source)?))
            }
            Phase::Mapping(mapping) => {
                if !mapping.step(source, work)? {
                    return Ok(None);
                }
                work.stats.buffer_utilization = mapping.map.utilization();
                Phase::Cleaning(Box::new(Cleaning::new(std::mem::take(&mut mapping.map), source)))
            }
            Phase::Cleaning(cleaning) if cleaning.is_done() => {
                Phase::Done { end_offset: cleaning.end_offset }
            }
            Phase::Cleaning(cleaning) => {
                return Ok(cleaning.step(source, work)?.map(Progress::Cleaned));
            }
            Phase::Done { end_offset } => {
                return Ok(Some(Progress::Done { end_offset: *end_offset }));
            }
        };
        self.phase = next;
        Ok(None)
    }
}

impl Source {
    /// Half of the memory is for reading, half for writing.
    pub fn io_buffer(&self) -> usize {
        self.options.io_buffer_bytes / 2
    }

    pub fn reader(&self, index: usize, position: u64) -> BatchReader {
        let segment = &self.view.segments[index];
        let offsets = segment.base..self.next_base(index);
        BatchReader::new(segment.file.clone(), position, segment.size, offsets, self.io_buffer())
    }

    pub fn next_base(&self, index: usize) -> i64 {
        self.view.segments.get(index + 1).map_or(self.view.end.offset, |next| next.base)
    }

    /// What a snapshot tells, if there is one. One that cannot be made sense of tells nobody anything.
    pub fn producers(&self, offset: i64, work: &mut Work) -> Result<Option<Producers>, DiskError> {
        match read_sized(&*self.disk, &self.dir, offset) {
            Ok((producers, size)) => {
                work.io += size as u64;
                Ok(Some(producers))
            }
            Err(ProducerSnapshotError::Disk(error))
                if !error.is_not_found() && !error.is_too_large() =>
            {
                Err(error)
            }
            Err(_) => Ok(None),
        }
    }

    pub fn writer(&self, base: i64) -> Result<CleanedWriter, DiskError> {
        CleanedWriter::new(&*self.disk, &self.dir, base, &self.config)
    }

    /// The new segment is as old as the last of those that it replaces.
    pub fn finish(
        &self,
        writer: CleanedWriter,
        last: usize,
    ) -> Result<CleanedSegment, CompactionError> {
        let modified_ms = self.view.modified_ms(last, &*self.disk);
        Ok(writer.finish(&self.disk, &self.dir, self.config.preallocate, modified_ms)?)
    }
}

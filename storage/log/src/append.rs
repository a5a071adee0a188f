//! Appending.

use std::io::IoSlice;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::LeaderEpoch;
use wire::batch::{BatchHeader, HEADER_LEN, RecordBatch};

use crate::error::AppendError;
use crate::index::{Index, IndexFiles};
use crate::log::Log;
use crate::view::LogPosition;

/// Where an append lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Of the first batch.
    pub start: LogPosition,
    /// The log's new end.
    pub end: LogPosition,
    /// A new segment was begun: a sync should follow soon, off the writer's path.
    pub rolled: bool,
}

impl Log {
    /// Appends batches that carry their offsets and leader epochs already, in one write unless a segment ends between them.
    /// Gaps before a batch are taken; an offset below the log's end is not. Nothing is synced.
    pub fn append(
        &mut self,
        batches: &[RecordBatch],
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_order(batches)?;
        self.cut_overhang()?;
        self.write_index_if_behind()?;
        let mut start = None;
        let mut rolled = false;
        let mut rest = batches;
        while let [first, ..] = rest {
            let mut fitting = self.fitting(rest, now_ms);
            if fitting == 0 {
                self.roll_at(self.next_base(first.header()), now_ms)?;
                rolled = true;
                fitting = self.fitting(rest, now_ms).max(1);
            }
            let (run, after) = rest.split_at(fitting);
            let offset = first.header().base_offset;
            start.get_or_insert(LogPosition { offset, ..self.end() });
            self.write_run(run)?;
            rest = after;
        }
        let end = self.end();
        Ok(Appended { start: start.unwrap_or(end), end, rolled })
    }

    /// Whether [`Log::append`] makes or opens files for these batches, for which it may wait for the disk.
    pub fn append_may_wait(&self, batches: &[RecordBatch], now_ms: i64) -> bool {
        self.fitting(batches, now_ms) < batches.len()
            || self.is_index_behind()
            || !self.active_segment().file.is_open()
    }

    /// How many of them the segment in use takes.
    fn fitting(&self, batches: &[RecordBatch], now_ms: i64) -> usize {
        let mut room = Room::of(self, now_ms);
        let fits = |batch: &&RecordBatch| {
            let fits = room.takes(batch.header());
            room.fill(batch.header());
            fits
        };
        batches.iter().take_while(fits).count()
    }

    /// The log's end, where it reaches the batch, so that segments meet also where offsets are missing.
    fn next_base(&self, header: &BatchHeader) -> i64 {
        if reaches(self.end, header) { self.end } else { header.base_offset }
    }

    fn check_order(&self, batches: &[RecordBatch]) -> Result<(), AppendError> {
        let mut end = self.end;
        for batch in batches {
            let header = batch.header();
            let offset = header.base_offset;
            if offset < end || header.last_offset_delta < 0 || header.next_offset() < offset {
                return Err(AppendError::OutOfOrder { offset, end });
            }
            if batch.size() > i32::MAX as usize {
                return Err(AppendError::TooLarge { offset });
            }
            end = header.next_offset();
        }
        Ok(())
    }

    fn write_run(&mut self, run: &[RecordBatch]) -> Result<(), AppendError> {
        let parts: Vec<(Option<[u8; HEADER_LEN]>, Bytes)> =
            run.iter().map(RecordBatch::parts).collect();
        let mut slices = Vec::with_capacity(2 * parts.len());
        for (head, rest) in &parts {
            slices.extend(head.as_ref().map(|head| IoSlice::new(head)));
            slices.push(IoSlice::new(rest));
        }
        let file = self.active_segment().file.clone();
        if let Err(error) = file.write_vectored_at(&slices, self.active.size) {
            self.active.overhang = true;
            return Err(error.into());
        }
        let start = self.end();
        for batch in run {
            self.note(batch)?;
        }
        self.tail.push(run, start);
        Ok(())
    }

    fn is_index_behind(&self) -> bool {
        match &self.active_segment().index {
            Index::Active(index) => index.is_behind(self.index_lag),
            Index::Closed(_) => false,
        }
    }

    /// So that little has to be read again if the process ends here.
    fn write_index_if_behind(&self) -> Result<(), AppendError> {
        let segment = self.active_segment();
        if let Index::Active(index) = &segment.index
            && self.is_index_behind()
            && index.write(&*self.disk, &self.dir, segment.base)? == IndexFiles::Made
        {
            segment.name_synced.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Brings indexes, epochs, producers and ends up to a batch that was written.
    fn note(&mut self, batch: &RecordBatch) -> Result<(), AppendError> {
        let header = batch.header();
        let segment = self.active_segment().clone();
        let interval = self.config.index_interval_bytes;
        self.active.note(header, segment.base, &segment.index, interval);
        self.end = header.next_offset();
        if header.leader_epoch >= 0 {
            self.assign_epoch(LeaderEpoch(header.leader_epoch), header.base_offset);
        }
        Ok(self.note_producer(batch)?)
    }
}

/// Whether a segment with this base offset can hold the batch.
fn reaches(base: i64, header: &BatchHeader) -> bool {
    header.last_offset().saturating_sub(base) <= i64::from(i32::MAX)
}

/// What the segment in use can still take.
struct Room {
    base: i64,
    size: u64,
    max_size: u64,
    offset_entries: usize,
    time_entries: usize,
    first_timestamp: Option<i64>,
    max_age_ms: i64,
    idle_ms: i64,
}

impl Room {
    fn of(log: &Log, now_ms: i64) -> Room {
        let segment = log.active_segment();
        let left = |max: usize, used: usize| max.saturating_sub(used);
        Room {
            base: segment.base,
            size: log.active.size,
            max_size: u64::from(log.config.segment_bytes).min(i32::MAX as u64),
            offset_entries: left(log.config.max_offset_entries(), segment.index.offset_len()),
            time_entries: left(log.config.max_time_entries(), segment.index.time_len()),
            first_timestamp: log.active.first_timestamp,
            max_age_ms: log.config.segment_ms,
            idle_ms: now_ms.saturating_sub(log.active.created_ms),
        }
    }

    /// Kafka's rule for not rolling. An empty segment that begins at or before the batch takes one of any size.
    fn takes(&self, header: &BatchHeader) -> bool {
        let reaches = reaches(self.base, header);
        if self.size == 0 {
            return reaches;
        }
        let age_ms = match self.first_timestamp {
            Some(first) if first >= 0 => header.max_timestamp.saturating_sub(first),
            _ => self.idle_ms,
        };
        reaches
            && self.size + header.size() as u64 <= self.max_size
            && age_ms <= self.max_age_ms
            && self.offset_entries > 0
            && self.time_entries > 0
    }

    fn fill(&mut self, header: &BatchHeader) {
        self.size += header.size() as u64;
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.offset_entries = self.offset_entries.saturating_sub(1);
        self.time_entries = self.time_entries.saturating_sub(1);
    }
}

//! What readers see of a log: a picture of one moment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::{DiskError, DiskFile};
use model::LeaderEpoch;
use wire::batch::BatchHeader;

use crate::epochs::{EpochEnd, LeaderEpochs};
use crate::error::ReadError;
use crate::recent::{FromTail, InMemory, TailBatches};
use crate::segment::Segment;

/// Cheap to clone. Holds the files open: what it showed once stays readable, but for what the log truncates at its end.
#[derive(Debug, Clone)]
pub struct LogView {
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) log_start: i64,
    pub(crate) end: LogPosition,
    /// Largest timestamp in the segment in use, and the last offset of its batch.
    pub(crate) active_max: TimestampOffset,
    pub(crate) epochs: Arc<LeaderEpochs>,
    /// Of what the writer appended, also since.
    pub(crate) tail: Option<Arc<TailBatches>>,
}

/// An offset, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub offset: i64,
    pub segment_base: i64,
    pub position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: i64,
    /// Of the batch it was found in, if that has one.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// A piece of a segment file: hand it to the kernel, or read it.
#[derive(Debug, Clone)]
pub struct FileSlice {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub len: usize,
}

impl FileSlice {
    pub fn read(&self) -> Result<Bytes, DiskError> {
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.into())
    }
}

/// What a read found: nothing (an empty slice, no batch), or bytes that begin with a batch's first and may end within a batch.
#[derive(Debug, Clone)]
pub struct Read {
    /// Of the first batch, or of the offset asked for if there is none.
    pub start: LogPosition,
    pub first_batch: Option<BatchHeader>,
    pub slice: FileSlice,
    /// The bytes of the slice, where they are in memory.
    pub in_memory: Option<InMemory>,
}

impl LogView {
    pub fn log_start_offset(&self) -> i64 {
        self.log_start
    }

    pub fn log_end_offset(&self) -> i64 {
        self.end.offset
    }

    pub fn end(&self) -> LogPosition {
        self.end
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        (0..self.segments.len()).map(|index| self.size_of(index)).sum()
    }

    /// Of how many segments it is.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn leader_epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// See [`LeaderEpochs::end_offset`].
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset(epoch, self.end.offset)
    }

    /// Reads from the batch that holds `offset` (or the first after it) at most `max_bytes`, and nothing of batches that reach
    /// `upper_bound` or lie beyond it. With `min_one` the first batch is given whole, however large; without, one that is
    /// larger than `max_bytes` gives an empty slice.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        upper_bound: i64,
    ) -> Result<Read, ReadError> {
        self.check_range(offset)?;
        let bound = upper_bound.min(self.end.offset);
        if offset < bound
            && let Some(read) = self.read_tail(offset, max_bytes, min_one, bound)
        {
            return Ok(read);
        }
        let mut index = self.segment_index(offset);
        while offset < bound && index < self.segments.len() {
            let segment = &self.segments[index];
            let size = self.size_of(index);
            let Some((position, first)) = segment.locate(offset, size)? else {
                index += 1;
                continue;
            };
            if first.last_offset() >= bound || first.size() > max_bytes && !min_one {
                break;
            }
            let want = max_bytes.max(first.size()) as u64;
            let limit = self.limit(index, bound, position + want)?;
            let len = limit.saturating_sub(position).min(want) as usize;
            let start =
                LogPosition { offset: first.base_offset, segment_base: segment.base, position };
            let slice = FileSlice { file: segment.file.clone(), position, len };
            return Ok(Read { start, first_batch: Some(first), slice, in_memory: None });
        }
        let segment = &self.segments[index.min(self.segments.len() - 1)];
        let start = LogPosition { offset, segment_base: segment.base, position: 0 };
        let slice = FileSlice { file: segment.file.clone(), position: 0, len: 0 };
        Ok(Read { start, first_batch: None, slice, in_memory: None })
    }

    /// Whether a [`read`](Self::read) from here finds in memory what it looks at first, of the bytes as many as `ahead`, so that no
    /// device has to be waited for. `now` is the node's monotonic clock.
    pub fn is_at_hand(&self, offset: i64, ahead: usize, now: Duration) -> bool {
        let outside = offset < self.log_start || offset >= self.end.offset;
        if outside || self.tail.as_ref().is_some_and(|tail| tail.holds(offset)) {
            return true;
        }
        let index = self.segment_index(offset);
        let (segment, size) = (&self.segments[index], self.size_of(index));
        if !segment.index.is_at_hand(now) {
            return false;
        }
        let position = segment.start_for(offset, size);
        let last = (position + ahead as u64).min(size).saturating_sub(1);
        let at_hand = segment.file.is_resident(position) && segment.file.is_resident(last);
        if at_hand {
            segment.index.used_at(now);
        }
        at_hand
    }

    /// Reads what [`is_at_hand`](Self::is_at_hand) asks for, and `ahead` bytes of what a read would give; blocks until the device
    /// has given them. What fails here fails again for whoever reads.
    pub fn fetch_in(&self, offset: i64, ahead: usize, now: Duration) {
        let index = self.segment_index(offset);
        if let Ok(read) = self.read(offset, ahead, true, i64::MAX) {
            let len = ahead.min(read.slice.len);
            let _ = read.slice.file.read_in(read.slice.position, len);
        }
        self.segments[index].index.used_at(now);
    }

    fn read_tail(&self, offset: i64, max_bytes: usize, min_one: bool, bound: i64) -> Option<Read> {
        let found = self.tail.as_ref()?.read(offset, max_bytes, min_one, bound)?;
        let FromTail { start, first, in_memory } = found;
        let segment = &self.segments[self.segment_index(start.offset)];
        let slice = FileSlice {
            file: segment.file.clone(),
            position: start.position,
            len: in_memory.len(),
        };
        let is_its = segment.base == start.segment_base;
        is_its.then_some(Read {
            start,
            first_batch: Some(first),
            slice,
            in_memory: Some(in_memory),
        })
    }

    /// As [`LogView::read`], with the bytes.
    pub fn read_bytes(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        upper_bound: i64,
    ) -> Result<Bytes, ReadError> {
        Ok(self.read(offset, max_bytes, min_one, upper_bound)?.slice.read()?)
    }

    pub(crate) fn check_range(&self, offset: i64) -> Result<(), ReadError> {
        if offset < self.log_start || offset > self.end.offset {
            return Err(ReadError::OutOfRange {
                offset,
                start: self.log_start,
                end: self.end.offset,
            });
        }
        Ok(())
    }

    /// The end of what may be read of a segment below `bound`; exact only if it lies before `wanted`.
    fn limit(&self, index: usize, bound: i64, wanted: u64) -> Result<u64, ReadError> {
        let size = self.size_of(index);
        let next_base = self.segments.get(index + 1).map_or(self.end.offset, |next| next.base);
        if bound >= next_base {
            return Ok(size);
        }
        let segment = &self.segments[index];
        let at_least = segment.start_for(bound, size);
        if at_least >= wanted { Ok(at_least) } else { segment.position_of(bound, size) }
    }

    /// The segment that an offset falls into, the first for those before it.
    pub(crate) fn segment_index(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// Of the oldest one, which a pass of the log cleaner begins with.
    pub fn first_segment_bytes(&self) -> u64 {
        self.size_of(0)
    }

    pub(crate) fn size_of(&self, index: usize) -> u64 {
        if index + 1 == self.segments.len() { self.end.position } else { self.segments[index].size }
    }
}

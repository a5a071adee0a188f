//! The newest batches of all logs, still in memory: those who read at a log's end need no file.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wire::batch::{BatchHeader, RecordBatch};

use crate::view::LogPosition;

/// A batch of at most this size is copied, which costs less than what it would keep alive.
const COPIED: usize = 4 * 1024;
/// What a batch takes beside its bytes.
const OVERHEAD: usize = 256;
/// So many batches of one log.
const BATCHES: usize = 64;
/// So many are let go of at a time, old ones.
const PIECE: usize = 256;
/// More than this goes out of the file: the kernel hands its pages over without a copy.
const MOST: usize = 64 * 1024;

/// A node's budget for batches that stay in memory after they were written; the oldest make room.
#[derive(Debug, Default)]
pub struct RecentBatches {
    limit: usize,
    buffer: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// In the order they came.
    batches: VecDeque<Kept>,
    bytes: usize,
    /// So many ever came, and had when it was last looked for old ones.
    came: u64,
    looked_at: u64,
}

/// A batch that its log holds.
#[derive(Debug)]
struct Kept {
    of: Arc<TailBatches>,
    last_offset: i64,
    weight: usize,
}

/// A batch as it lies in its file.
#[derive(Debug)]
struct Recent {
    start: LogPosition,
    header: BatchHeader,
    /// One piece, or the header that the leader wrote and what the socket brought.
    head: Bytes,
    rest: Bytes,
    /// What it keeps alive beside its own bytes.
    pins: usize,
}

impl RecentBatches {
    /// `limit` bytes, none for 0. A batch may keep alive a buffer that it was read into, of so many bytes and as many as its own.
    pub fn new(limit: usize, buffer: usize) -> RecentBatches {
        RecentBatches { limit, buffer, held: Mutex::default() }
    }

    /// What it keeps in memory, at most.
    pub fn bytes(&self) -> usize {
        locked(&self.held).bytes
    }

    fn add(&self, batch: Kept) {
        let mut held = locked(&self.held);
        held.bytes += batch.weight;
        held.batches.push_back(batch);
        held.came += 1;
        let limit = self.limit;
        let out = held.give_back(usize::MAX, |held| held.bytes > limit);
        // Memory is given back when others may go on.
        drop(held);
        out.iter().for_each(Kept::forget);
    }

    /// Where those end that were there already when this was last called: who reads at the end of a log has read them by then. To be
    /// forgotten, so that a node that rests is small.
    pub fn old(&self) -> u64 {
        let mut held = locked(&self.held);
        let came = held.came;
        std::mem::replace(&mut held.looked_at, came)
    }

    /// Gives back some of those that came before; whether there are more.
    pub fn forget_before(&self, end: u64) -> bool {
        let out = locked(&self.held).give_back(PIECE, |held| held.first() < end);
        out.iter().for_each(Kept::forget);
        out.len() == PIECE
    }
}

impl Held {
    /// The how manyth the oldest is that is left.
    fn first(&self) -> u64 {
        self.came - self.batches.len() as u64
    }

    /// The oldest, as long as this holds, and no more than so many.
    fn give_back(&mut self, most: usize, is_too_much: impl Fn(&Held) -> bool) -> Vec<Kept> {
        let mut out = Vec::new();
        while out.len() < most
            && is_too_much(self)
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.weight;
            out.push(oldest);
        }
        if self.batches.is_empty() {
            self.batches = VecDeque::new();
        }
        out
    }
}

impl Kept {
    /// With those of its log that came before: they are to go as well, and who does that may be later. Of a log that was cut since,
    /// others may go in its place.
    fn forget(&self) {
        let mut entries = locked(&self.of.0);
        let is_later = |entry: &Entry| entry.last_offset > self.last_offset;
        let end = entries.iter().position(is_later).unwrap_or(entries.len());
        let gone: Vec<Entry> = entries.drain(..end).collect();
        if entries.is_empty() {
            *entries = VecDeque::new();
        }
        drop(entries);
        drop(gone);
    }
}

impl Recent {
    fn new(batch: &RecordBatch, start: LogPosition, buffer: usize) -> Recent {
        let header = *batch.header();
        if batch.size() <= COPIED {
            let whole = Bytes::copy_from_slice(&batch.to_bytes());
            return Recent { start, header, head: whole, rest: Bytes::new(), pins: 0 };
        }
        let (head, rest) = batch.parts();
        let head = head.map_or_else(Bytes::new, |head| Bytes::copy_from_slice(&head));
        Recent { start, header, head, rest, pins: buffer + batch.size() }
    }

    fn size(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    fn weight(&self) -> usize {
        self.size() + self.pins + OVERHEAD
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those of one log, for its writer.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    memory: Option<Arc<RecentBatches>>,
    batches: Option<Arc<TailBatches>>,
}

/// Those of one log, for its readers.
#[derive(Debug, Default)]
pub(crate) struct TailBatches(Mutex<VecDeque<Entry>>);

/// Entries follow each other without another batch between.
#[derive(Debug)]
struct Entry {
    last_offset: i64,
    batch: Arc<Recent>,
}

/// Batches of one segment, one after the other.
pub(crate) struct FromTail {
    pub start: LogPosition,
    pub first: BatchHeader,
    pub in_memory: InMemory,
}

/// Bytes that need not be read.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    pub bytes: Vec<Bytes>,
    /// What they keep alive beside themselves.
    pub pins: usize,
}

impl InMemory {
    pub fn len(&self) -> usize {
        self.bytes.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn push(&mut self, batch: &Recent, most: usize) {
        for piece in [&batch.head, &batch.rest] {
            let left = most.saturating_sub(self.len());
            if !piece.is_empty() && left > 0 {
                self.bytes.push(piece.slice(..piece.len().min(left)));
            }
        }
        self.pins += batch.pins;
    }
}

impl Tail {
    pub fn keep(&mut self, memory: Option<Arc<RecentBatches>>) {
        self.memory = memory.filter(|memory| memory.limit > 0);
        if self.memory.is_none() {
            self.batches = None;
        }
    }

    pub fn readers(&self) -> Option<Arc<TailBatches>> {
        self.batches.clone()
    }

    /// What was written, in one piece of the file that begins there.
    pub fn push(&mut self, run: &[RecordBatch], mut start: LogPosition) {
        let Some(memory) = &self.memory else { return };
        let batches = self.batches.get_or_insert_default();
        for batch in run {
            start.offset = batch.header().base_offset;
            let recent = Arc::new(Recent::new(batch, start, memory.buffer));
            start.position += batch.size() as u64;
            let (last_offset, weight) = (batch.header().last_offset(), recent.weight());
            let mut entries = locked(&batches.0);
            let gone = if entries.len() == BATCHES { entries.pop_front() } else { None };
            entries.push_back(Entry { last_offset, batch: recent });
            drop(entries);
            drop(gone);
            memory.add(Kept { of: batches.clone(), last_offset, weight });
        }
    }

    /// The log was cut, or lies otherwise than before.
    pub fn clear(&mut self) {
        if let Some(batches) = &self.batches {
            let gone = std::mem::take(&mut *locked(&batches.0));
            drop(gone);
        }
    }
}

impl TailBatches {
    /// For so many batches it has taken memory.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        locked(&self.0).capacity()
    }

    /// Whether the batch with this offset is still in memory.
    pub fn holds(&self, offset: i64) -> bool {
        let entries = locked(&self.0);
        let from = entries.partition_point(|entry| entry.last_offset < offset);
        entries.get(from).is_some_and(|entry| from > 0 || entry.batch.start.offset <= offset)
    }

    /// See [`crate::LogView::read`]: the same bytes, where all of them are still in memory and they are not many.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        bound: i64,
    ) -> Option<FromTail> {
        let entries = locked(&self.0);
        let from = entries.partition_point(|entry| entry.last_offset < offset);
        let first = &entries.get(from)?.batch;
        let fits = first.size() <= max_bytes || min_one;
        if from == 0 && first.start.offset > offset || first.header.last_offset() >= bound || !fits
        {
            return None;
        }
        let most = max_bytes.max(first.size());
        let mut in_memory = InMemory::default();
        for Entry { batch, last_offset } in entries.range(from..) {
            let same_file = batch.start.segment_base == first.start.segment_base;
            if !same_file || *last_offset >= bound || in_memory.len() >= most {
                break;
            }
            in_memory.push(batch, most);
            if in_memory.len() > MOST {
                return None;
            }
        }
        Some(FromTail { start: first.start, first: first.header, in_memory })
    }
}

//! The newest batches of all logs, still in memory: those who read at a log's end need no file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// So many ever came.
    came: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// What each log holds, in the order they came.
    batches: BTreeMap<u64, Kept>,
    /// What they weigh together.
    bytes: usize,
    /// So many had come when it was last looked for old ones.
    looked_at: u64,
}

/// A batch that its log holds.
#[derive(Debug)]
struct Kept {
    of: Arc<TailBatches>,
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
        RecentBatches { limit, buffer, ..RecentBatches::default() }
    }

    /// What it keeps in memory, at most.
    pub fn bytes(&self) -> usize {
        locked(&self.held).bytes
    }

    fn next_number(&self) -> u64 {
        self.came.fetch_add(1, Ordering::Relaxed)
    }

    /// A log holds one more, and perhaps another no longer. Those that make room are about as much as comes.
    fn add(&self, number: u64, batch: Kept, gone: Option<u64>) {
        let mut held = locked(&self.held);
        gone.and_then(|gone| held.release(gone));
        held.bytes += batch.weight;
        held.batches.insert(number, batch);
        let mut is_full = held.bytes > self.limit;
        drop(held);
        while is_full {
            is_full = self.let_go(|held, _| held.bytes > self.limit);
        }
    }

    /// Logs hold these no longer.
    fn release(&self, numbers: impl Iterator<Item = u64>) {
        let mut held = locked(&self.held);
        numbers.for_each(|number| drop(held.release(number)));
    }

    /// Lets go of the oldest, if this holds; whether it did. Memory is given back when others may go on.
    fn let_go(&self, goes: impl FnOnce(&Held, u64) -> bool) -> bool {
        let mut held = locked(&self.held);
        let oldest = held.batches.first_key_value().map(|(number, _)| *number);
        let Some(oldest) = oldest.filter(|oldest| goes(&held, *oldest)) else { return false };
        let kept = held.release(oldest);
        drop(held);
        if let Some(kept) = kept {
            kept.of.forget(oldest);
        }
        true
    }

    /// Where those end that were there already when this was last called: who reads at the end of a log has read them by then. To be
    /// forgotten, so that a node that rests is small.
    pub fn old(&self) -> u64 {
        let came = self.came.load(Ordering::Relaxed);
        std::mem::replace(&mut locked(&self.held).looked_at, came)
    }

    /// Gives back some of those that came before; whether there are more.
    pub fn forget_before(&self, end: u64) -> bool {
        (0..PIECE).all(|_| self.let_go(|_, oldest| oldest < end))
    }
}

impl Held {
    fn release(&mut self, number: u64) -> Option<Kept> {
        let kept = self.batches.remove(&number)?;
        self.bytes -= kept.weight;
        Some(kept)
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
    /// In the order in which those of all logs came.
    number: u64,
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

    /// At most so many bytes of a batch; how many that were.
    fn push(&mut self, batch: &Recent, most: usize) -> usize {
        let mut left = most;
        for piece in [&batch.head, &batch.rest] {
            if !piece.is_empty() && left > 0 {
                let piece = piece.slice(..piece.len().min(left));
                left -= piece.len();
                self.bytes.push(piece);
            }
        }
        self.pins += batch.pins;
        most - left
    }
}

impl Tail {
    pub fn keep(&mut self, memory: Option<Arc<RecentBatches>>) {
        let memory = memory.filter(|memory| memory.limit > 0);
        if memory.is_none() {
            self.clear();
            self.batches = None;
        }
        self.memory = memory;
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
            let number = memory.next_number();
            let mut entries = locked(&batches.0);
            let gone = if entries.len() == BATCHES { entries.pop_front() } else { None };
            entries.push_back(Entry { number, last_offset, batch: recent });
            drop(entries);
            let kept = Kept { of: batches.clone(), weight };
            memory.add(number, kept, gone.map(|gone| gone.number));
        }
    }

    /// The log was cut, or lies otherwise than before.
    pub fn clear(&mut self) {
        if let (Some(memory), Some(batches)) = (&self.memory, &self.batches) {
            let gone = std::mem::take(&mut *locked(&batches.0));
            memory.release(gone.into_iter().map(|gone| gone.number));
        }
    }
}

impl TailBatches {
    /// For so many batches it has taken memory.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        locked(&self.0).capacity()
    }

    #[cfg(test)]
    pub fn weight(&self) -> usize {
        locked(&self.0).iter().map(|entry| entry.batch.weight()).sum()
    }

    /// With those that came before: they are to go as well, and who does that may be later.
    fn forget(&self, number: u64) {
        let mut entries = locked(&self.0);
        let end = entries.partition_point(|entry| entry.number <= number);
        let gone: Vec<Entry> = entries.drain(..end).collect();
        if entries.is_empty() {
            *entries = VecDeque::new();
        }
        drop(entries);
        drop(gone);
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
        let (mut in_memory, mut len) = (InMemory::default(), 0);
        for Entry { batch, last_offset, .. } in entries.range(from..) {
            let same_file = batch.start.segment_base == first.start.segment_base;
            if !same_file || *last_offset >= bound || len >= most {
                break;
            }
            len += in_memory.push(batch, most - len);
            if len > MOST {
                return None;
            }
        }
        Some(FromTail { start: first.start, first: first.header, in_memory })
    }
}

use std::collections::VecDeque;

use model::StoredRecord;

/// Decisions whose replies may not be told yet, in order. One append is in flight at a time; what is decided meanwhile goes
/// together into the next, and none of it where that one fails.
#[derive(Debug)]
pub(super) struct Pending<R> {
    queue: VecDeque<Decided<R>>,
}

#[derive(Debug)]
struct Decided<R> {
    replies: Vec<R>,
    log: InLog,
}

#[derive(Debug)]
enum InLog {
    /// Wrote nothing: told once all before it is committed.
    Nothing,
    Unsent(Vec<StoredRecord>),
    InFlight,
    /// Committed when the high watermark is here.
    Until(i64),
}

impl<R> Pending<R> {
    pub(super) fn new() -> Pending<R> {
        Pending { queue: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(super) fn add(&mut self, records: Vec<StoredRecord>, replies: Vec<R>) {
        let log = if records.is_empty() { InLog::Nothing } else { InLog::Unsent(records) };
        if !(replies.is_empty() && matches!(log, InLog::Nothing)) {
            self.queue.push_back(Decided { replies, log });
        }
    }

    /// Holds back what comes after until the high watermark is at `offset`.
    pub(super) fn hold_until(&mut self, offset: i64) {
        self.queue.push_back(Decided { replies: Vec::new(), log: InLog::Until(offset) });
    }

    /// The records of the next append, of about this size at most but never less than one decision's; empty while one is
    /// in flight or where there is nothing to write.
    pub(super) fn next_batch(&mut self, max_bytes: usize) -> Vec<StoredRecord> {
        let mut batch = Vec::new();
        if self.queue.iter().any(|decided| matches!(decided.log, InLog::InFlight)) {
            return batch;
        }
        let mut bytes = 0;
        for decided in &mut self.queue {
            let InLog::Unsent(records) = &mut decided.log else { continue };
            bytes += records.iter().map(size).sum::<usize>();
            if !batch.is_empty() && bytes > max_bytes {
                break;
            }
            batch.append(records);
            decided.log = InLog::InFlight;
        }
        batch
    }

    /// The append in flight ended at this offset.
    pub(super) fn written(&mut self, end: i64) {
        for decided in &mut self.queue {
            if matches!(decided.log, InLog::InFlight) {
                decided.log = InLog::Until(end);
            }
        }
    }

    /// The next decision's replies, if all up to it is committed.
    pub(super) fn next_committed(&mut self, high_watermark: i64) -> Option<Vec<R>> {
        let committed = match self.queue.front()?.log {
            InLog::Nothing => true,
            InLog::Until(end) => end <= high_watermark,
            InLog::Unsent(_) | InLog::InFlight => false,
        };
        if committed { self.queue.pop_front().map(|decided| decided.replies) } else { None }
    }
}

fn size(record: &StoredRecord) -> usize {
    /// More than the lengths, deltas and attributes of a record take.
    const OVERHEAD: usize = 32;
    record.key.len() + record.value.as_ref().map_or(0, |value| value.len()) + OVERHEAD
}

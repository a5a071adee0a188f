use std::collections::VecDeque;

use model::StoredRecord;

use super::WaitsFor;

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
    writes: Writes,
}

/// The parts of the state that records change.
#[derive(Debug)]
enum Writes {
    Any,
    Parts(Vec<u64>),
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

    pub(super) fn add(
        &mut self,
        records: Vec<StoredRecord>,
        parts: impl Iterator<Item = u64>,
        replies: Vec<R>,
    ) {
        let (log, mut parts) = match records.is_empty() {
            true => (InLog::Nothing, Vec::new()),
            false => (InLog::Unsent(records), parts.collect()),
        };
        if !(replies.is_empty() && matches!(log, InLog::Nothing)) {
            parts.dedup();
            self.queue.push_back(Decided { replies, log, writes: Writes::Parts(parts) });
        }
    }

    /// Whether something that the reply waits for is not committed yet.
    pub(super) fn holds(&self, waits_for: WaitsFor) -> bool {
        match waits_for {
            WaitsFor::Everything => !self.queue.is_empty(),
            WaitsFor::Part(part) => self.queue.iter().any(|decided| match &decided.writes {
                Writes::Any => true,
                Writes::Parts(parts) => parts.contains(&part),
            }),
            WaitsFor::Own | WaitsFor::Nothing => false,
        }
    }

    /// Holds back what comes after until the high watermark is at `offset`.
    pub(super) fn hold_until(&mut self, offset: i64) {
        let log = InLog::Until(offset);
        self.queue.push_back(Decided { replies: Vec::new(), log, writes: Writes::Any });
    }

    /// The records of the next append, of about this size at most but never less than one decision's; empty while one is
    /// in flight or where there is nothing to write.
    pub(super) fn next_batch(&mut self, max_bytes: usize) -> Vec<StoredRecord> {
        let mut batch = Vec::new();
        if self.queue.iter().any(|decided| matches!(decided.log, InLog::InFlight)) {
            return batch;
        }
        let mut size = 0;
        for decided in &mut self.queue {
            let InLog::Unsent(records) = &mut decided.log else { continue };
            size += bytes(records);
            if !batch.is_empty() && size > max_bytes {
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

/// No less than what the records take in a batch.
pub(super) fn bytes(records: &[StoredRecord]) -> usize {
    /// More than the lengths, deltas and attributes of a record take.
    const OVERHEAD: usize = 32;
    let size = |record: &StoredRecord| {
        record.key.len() + record.value.as_ref().map_or(0, |value| value.len()) + OVERHEAD
    };
    records.iter().map(size).sum()
}

//! What a partition's batches tell of its producers: the last batches of each, and the transactions that are open.
//!
//! The log keeps this for what is written, and the partition machine for what has got offsets; both change it by
//! [`Producers::apply`] alone. What may be appended is the machine's to decide.
//!
//! Source: `ProducerStateManager`, `ProducerAppendInfo` and `ProducerStateEntry` of Kafka's storage module; KIP-98, KIP-890.

use std::collections::BTreeMap;

use crate::{ProducerEpoch, ProducerId};

/// What of a record batch concerns its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    pub last_offset_delta: i32,
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub transactional: bool,
    pub control: bool,
    /// Present in a control batch that ends a transaction.
    pub marker: Option<Marker>,
}

impl BatchInfo {
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }

    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// The end of a transaction, as its control record states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// How many batches of a producer are remembered; a client keeps at most as many requests in flight.
pub const REMEMBERED_BATCHES: usize = 5;

/// The epoch of a producer of which only a marker or nothing is known.
const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);
const NO_SEQUENCE: i32 = -1;

/// One remembered batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl RememberedBatch {
    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// The state of one producer in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub last_timestamp: i64,
    pub transaction_first_offset: Option<i64>,
    batches: [RememberedBatch; REMEMBERED_BATCHES],
    remembered: usize,
}

impl ProducerEntry {
    pub fn new(epoch: ProducerEpoch, coordinator_epoch: i32, last_timestamp: i64) -> Self {
        let none =
            RememberedBatch { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };
        ProducerEntry {
            epoch,
            coordinator_epoch,
            last_timestamp,
            transaction_first_offset: None,
            batches: [none; REMEMBERED_BATCHES],
            remembered: 0,
        }
    }

    /// The remembered batches, oldest first.
    pub fn batches(&self) -> &[RememberedBatch] {
        &self.batches[..self.remembered]
    }

    pub fn last_batch(&self) -> Option<&RememberedBatch> {
        self.batches().last()
    }

    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn move_to_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.remembered = 0;
            self.epoch = epoch;
        }
    }

    /// Remembers a batch, forgetting the oldest one where there are already [`REMEMBERED_BATCHES`].
    pub fn remember(&mut self, epoch: ProducerEpoch, batch: RememberedBatch) {
        self.move_to_epoch(epoch);
        if self.remembered == REMEMBERED_BATCHES {
            self.batches.rotate_left(1);
            self.remembered -= 1;
        }
        self.batches[self.remembered] = batch;
        self.remembered += 1;
        self.last_timestamp = batch.timestamp;
    }
}

/// A transaction that ended: what the transaction index and the last stable offset need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: i64,
    /// The offset of the marker.
    pub last_offset: i64,
    /// Where the first transaction begins that another producer has open, else the offset behind the marker.
    pub last_stable_offset: i64,
    pub aborted: bool,
}

/// All producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// First offset of each open transaction.
    ongoing: BTreeMap<i64, ProducerId>,
}

impl Producers {
    pub fn entry(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.entries.get(&producer_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts back an entry read from a producer snapshot.
    pub fn restore(&mut self, producer_id: ProducerId, entry: ProducerEntry) {
        if let Some(first) = entry.transaction_first_offset {
            self.ongoing.insert(first, producer_id);
        }
        self.entries.insert(producer_id, entry);
    }

    /// The remembered batch with exactly this epoch and range of sequences: the batch is a retry of it.
    pub fn duplicate_of(&self, batch: &BatchInfo) -> Option<RememberedBatch> {
        let entry = self.entries.get(&batch.producer_id)?;
        if entry.epoch != batch.producer_epoch {
            return None;
        }
        let last = batch.last_sequence();
        entry
            .batches()
            .iter()
            .find(|known| {
                known.last_sequence == last && known.first_sequence() == batch.base_sequence
            })
            .copied()
    }

    /// Whether the producer has a transaction open in this partition.
    pub fn in_transaction(&self, producer_id: ProducerId) -> bool {
        self.entries.get(&producer_id).is_some_and(|e| e.transaction_first_offset.is_some())
    }

    /// Takes in a batch that has the offsets from `base_offset` on, with the transaction that it ends.
    pub fn apply(&mut self, batch: &BatchInfo, base_offset: i64) -> Option<CompletedTransaction> {
        if !batch.has_producer() {
            return None;
        }
        match batch.marker {
            Some(marker) => self.apply_marker(batch, marker, base_offset),
            None => {
                match batch.control {
                    true => self.apply_emptied(batch),
                    false => self.apply_data(batch, base_offset),
                }
                None
            }
        }
    }

    fn entry_mut(&mut self, producer_id: ProducerId) -> &mut ProducerEntry {
        let unknown = || ProducerEntry::new(NO_EPOCH, -1, -1);
        self.entries.entry(producer_id).or_insert_with(unknown)
    }

    fn apply_data(&mut self, batch: &BatchInfo, base_offset: i64) {
        let entry = self.entry_mut(batch.producer_id);
        entry.remember(
            batch.producer_epoch,
            RememberedBatch {
                last_sequence: batch.last_sequence(),
                last_offset: base_offset + i64::from(batch.last_offset_delta),
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            },
        );
        if batch.transactional && entry.transaction_first_offset.is_none() {
            entry.transaction_first_offset = Some(base_offset);
            self.ongoing.insert(base_offset, batch.producer_id);
        }
    }

    fn apply_marker(
        &mut self,
        batch: &BatchInfo,
        marker: Marker,
        offset: i64,
    ) -> Option<CompletedTransaction> {
        let entry = self.entry_mut(batch.producer_id);
        entry.move_to_epoch(batch.producer_epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = batch.max_timestamp;
        let first_offset = entry.transaction_first_offset.take()?;
        self.ongoing.remove(&first_offset);
        Some(CompletedTransaction {
            producer_id: batch.producer_id,
            first_offset,
            last_offset: offset,
            last_stable_offset: self.first_ongoing_offset().unwrap_or(offset + 1),
            aborted: !marker.commit,
        })
    }

    /// A marker that was compacted away with its transaction. Its batch is kept for the epoch, which may be known from nothing
    /// else: without, a fenced producer could go on. (Kafka keeps it, too, and makes nothing of it.)
    fn apply_emptied(&mut self, batch: &BatchInfo) {
        let entry = self.entry_mut(batch.producer_id);
        if batch.producer_epoch > entry.epoch {
            entry.move_to_epoch(batch.producer_epoch);
        }
        entry.last_timestamp = entry.last_timestamp.max(batch.max_timestamp);
    }

    /// Where the first open transaction begins, where there is one.
    pub fn first_ongoing_offset(&self) -> Option<i64> {
        self.ongoing.keys().next().copied()
    }

    /// Whose that is.
    pub fn first_ongoing(&self) -> Option<(ProducerId, &ProducerEntry)> {
        let (_, id) = self.ongoing.first_key_value()?;
        Some((*id, self.entries.get(id)?))
    }

    /// Takes the open transactions of the producers that `is_over` tells of for ended; whether there were any.
    pub fn end_transactions(&mut self, is_over: impl Fn(ProducerId) -> bool) -> bool {
        let open = self.ongoing.len();
        self.ongoing.retain(|_, id| !is_over(*id));
        for (_, entry) in self.entries.iter_mut().filter(|(id, _)| is_over(**id)) {
            entry.transaction_first_offset = None;
        }
        self.ongoing.len() < open
    }

    /// Forgets producers that wrote nothing for `expiration_ms`, unless a transaction of theirs is open.
    pub fn expire(&mut self, wall_ms: i64, expiration_ms: i64) {
        self.entries.retain(|_, entry| {
            entry.transaction_first_offset.is_some()
                || wall_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }
}

/// Sequences wrap from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    (i64::from(sequence) + i64::from(by)).rem_euclid(1 << 31) as i32
}

fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    (i64::from(sequence) - i64::from(by)).rem_euclid(1 << 31) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(id: i64, epoch: i16, base_sequence: i32, transactional: bool) -> BatchInfo {
        BatchInfo {
            last_offset_delta: 2,
            max_timestamp: 1000,
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence,
            transactional,
            control: false,
            marker: None,
        }
    }

    fn marker(id: i64, epoch: i16, commit: bool) -> BatchInfo {
        let marker = Some(Marker { commit, coordinator_epoch: 5 });
        BatchInfo {
            last_offset_delta: 0,
            base_sequence: -1,
            control: true,
            marker,
            ..data(id, epoch, 0, true)
        }
    }

    #[test]
    fn the_last_five_batches_of_an_epoch_are_remembered() {
        let mut producers = Producers::default();
        for at in 0..7 {
            producers.apply(&data(1, 0, 3 * at, false), 100 + 3 * i64::from(at));
        }
        let entry = producers.entry(ProducerId(1)).unwrap();
        assert_eq!(entry.batches().len(), REMEMBERED_BATCHES);
        assert_eq!((entry.batches()[0].first_sequence(), entry.last_sequence()), (6, 20));
        assert_eq!(entry.last_batch().unwrap().first_offset(), 118);
        assert!(producers.duplicate_of(&data(1, 0, 6, false)).is_some());
        assert!(producers.duplicate_of(&data(1, 0, 3, false)).is_none());
        producers.apply(&data(1, 1, 0, false), 121);
        assert_eq!(producers.entry(ProducerId(1)).unwrap().batches().len(), 1);
    }

    #[test]
    fn a_marker_ends_its_producers_transaction() {
        let mut producers = Producers::default();
        producers.apply(&data(1, 0, 0, true), 10);
        producers.apply(&data(2, 0, 0, true), 13);
        producers.apply(&data(1, 0, 3, true), 16);
        assert_eq!(producers.first_ongoing_offset(), Some(10));
        let ended = producers.apply(&marker(1, 0, false), 19).unwrap();
        let expected = CompletedTransaction {
            producer_id: ProducerId(1),
            first_offset: 10,
            last_offset: 19,
            last_stable_offset: 13,
            aborted: true,
        };
        assert_eq!(ended, expected);
        let ended = producers.apply(&marker(2, 1, true), 20).unwrap();
        assert_eq!((ended.last_stable_offset, ended.aborted), (21, false));
        assert_eq!(producers.apply(&marker(2, 1, true), 21), None, "there is none to end");
        let entry = producers.entry(ProducerId(2)).unwrap();
        assert_eq!((entry.epoch, entry.coordinator_epoch), (ProducerEpoch(1), 5));
        assert!(entry.batches().is_empty(), "its batches were of the epoch before");
    }

    #[test]
    fn of_a_marker_that_was_compacted_away_the_epoch_is_known() {
        let emptied = |epoch| BatchInfo { marker: None, ..marker(1, epoch, true) };
        let mut producers = Producers::default();
        assert_eq!(producers.apply(&emptied(3), 10), None);
        let entry = producers.entry(ProducerId(1)).unwrap();
        assert_eq!((entry.epoch, entry.last_timestamp), (ProducerEpoch(3), 1000));
        producers.apply(&data(1, 3, 0, false), 11);
        producers.apply(&emptied(3), 14);
        producers.apply(&emptied(2), 15);
        let entry = producers.entry(ProducerId(1)).unwrap();
        assert_eq!((entry.epoch, entry.last_sequence()), (ProducerEpoch(3), 2));
    }

    #[test]
    fn transactions_that_are_over_are_open_no_longer_and_their_producers_known() {
        let mut producers = Producers::default();
        producers.apply(&data(1, 0, 0, true), 10);
        producers.apply(&data(2, 0, 0, true), 13);
        producers.apply(&data(3, 0, 0, false), 16);
        assert!(!producers.end_transactions(|id| id == ProducerId(3)));
        assert!(producers.end_transactions(|id| id == ProducerId(1)));
        assert_eq!(producers.first_ongoing_offset(), Some(13));
        assert!(!producers.in_transaction(ProducerId(1)));
        assert_eq!(producers.entry(ProducerId(1)).unwrap().last_sequence(), 2);
        assert_eq!(producers.apply(&marker(1, 0, false), 19), None);
    }

    #[test]
    fn a_producer_with_an_open_transaction_is_not_forgotten() {
        let mut producers = Producers::default();
        producers.apply(&data(1, 0, 0, true), 10);
        producers.apply(&data(2, 0, 0, false), 13);
        producers.expire(1999, 1000);
        assert_eq!(producers.iter().count(), 2);
        producers.expire(2000, 1000);
        assert!(producers.entry(ProducerId(2)).is_none());
        assert!(producers.in_transaction(ProducerId(1)));
    }
}

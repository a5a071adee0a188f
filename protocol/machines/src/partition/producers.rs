//! What a partition remembers of its producers: the last batches of each, so that a retry is answered instead of written
//! again, and open transactions, which bound what a read_committed reader may see.
//!
//! Source: `ProducerStateManager`, `ProducerAppendInfo` and `ProducerStateEntry` of Kafka's storage module; KIP-98, KIP-890.

use std::collections::BTreeMap;

use model::{ProducerEpoch, ProducerId};

use super::{AppendError, BatchInfo, Origin};

/// How many batches of a producer are remembered; a client keeps at most as many requests in flight.
pub const REMEMBERED_BATCHES: usize = 5;

const NO_EPOCH: i16 = -1;
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
    pub aborted: bool,
}

/// All producers of one partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Producers {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// First offset of each open transaction.
    ongoing: BTreeMap<i64, ProducerId>,
    /// First offset of each ended transaction whose marker the high watermark has not passed, with the marker's offset.
    unreplicated: BTreeMap<i64, i64>,
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

    /// Takes in a batch that gets (or, on replay, has) the offsets from `base_offset` on.
    ///
    /// # Errors
    /// A client's batch with a wrong epoch, sequence or transaction state is refused, and nothing is changed by it.
    pub fn append(
        &mut self,
        batch: &BatchInfo,
        base_offset: i64,
        origin: Origin,
    ) -> Result<Option<CompletedTransaction>, AppendError> {
        if !batch.has_producer() {
            return Ok(None);
        }
        match batch.marker {
            Some(_) => self.append_marker(batch, base_offset, origin),
            None if batch.control => Ok(None),
            None => self.append_data(batch, base_offset, origin).map(|()| None),
        }
    }

    fn append_data(
        &mut self,
        batch: &BatchInfo,
        base_offset: i64,
        origin: Origin,
    ) -> Result<(), AppendError> {
        let known = self.entries.get(&batch.producer_id);
        if let Some(entry) = known {
            check_epoch(entry, batch, origin)?;
            if origin == Origin::Client {
                check_sequence(entry, batch)?;
            }
            if entry.transaction_first_offset.is_some() && !batch.transactional {
                return Err(AppendError::InvalidTxnState {
                    reason: "a non-transactional batch of a producer whose transaction is open",
                });
            }
        }
        let opens =
            batch.transactional && known.is_none_or(|e| e.transaction_first_offset.is_none());
        let entry = self
            .entries
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry::new(ProducerEpoch(NO_EPOCH), -1, -1));
        entry.remember(
            batch.producer_epoch,
            RememberedBatch {
                last_sequence: batch.last_sequence(),
                last_offset: base_offset + i64::from(batch.last_offset_delta),
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            },
        );
        if opens {
            entry.transaction_first_offset = Some(base_offset);
            self.ongoing.insert(base_offset, batch.producer_id);
        }
        Ok(())
    }

    fn append_marker(
        &mut self,
        batch: &BatchInfo,
        offset: i64,
        origin: Origin,
    ) -> Result<Option<CompletedTransaction>, AppendError> {
        let Some(marker) = batch.marker else { return Ok(None) };
        let entry = self
            .entries
            .entry(batch.producer_id)
            .or_insert_with(|| ProducerEntry::new(ProducerEpoch(NO_EPOCH), -1, -1));
        check_epoch(entry, batch, origin)?;
        if entry.coordinator_epoch > marker.coordinator_epoch && origin != Origin::Replication {
            return Err(AppendError::TransactionCoordinatorFenced {
                given: marker.coordinator_epoch,
                known: entry.coordinator_epoch,
            });
        }
        entry.move_to_epoch(batch.producer_epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = batch.max_timestamp;
        let Some(first_offset) = entry.transaction_first_offset.take() else { return Ok(None) };
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, offset);
        Ok(Some(CompletedTransaction {
            producer_id: batch.producer_id,
            first_offset,
            last_offset: offset,
            aborted: !marker.commit,
        }))
    }

    /// Forgets ended transactions that lie below the high watermark: they no longer hold back the last stable offset.
    pub fn high_watermark_advanced(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, marker| *marker >= high_watermark);
    }

    /// The first offset that a read_committed reader must not pass, where there is one.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next().copied();
        let unreplicated = self.unreplicated.keys().next().copied();
        match (ongoing, unreplicated) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// Forgets producers that wrote nothing for `expiration_ms`, unless a transaction of theirs is open.
    pub fn expire(&mut self, wall_ms: i64, expiration_ms: i64) {
        self.entries.retain(|_, entry| {
            entry.transaction_first_offset.is_some()
                || wall_ms - entry.last_timestamp < expiration_ms
        });
    }
}

fn check_epoch(
    entry: &ProducerEntry,
    batch: &BatchInfo,
    origin: Origin,
) -> Result<(), AppendError> {
    if batch.producer_epoch < entry.epoch && origin != Origin::Replication {
        return Err(AppendError::InvalidProducerEpoch {
            given: batch.producer_epoch,
            known: entry.epoch,
        });
    }
    Ok(())
}

fn check_sequence(entry: &ProducerEntry, batch: &BatchInfo) -> Result<(), AppendError> {
    if entry.epoch.0 == NO_EPOCH {
        return Ok(());
    }
    let expected = if batch.producer_epoch == entry.epoch {
        increment_sequence(entry.last_sequence(), 1)
    } else {
        0
    };
    if batch.base_sequence == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence { given: batch.base_sequence, expected })
}

/// Sequences wrap from `i32::MAX` to 0.
pub fn increment_sequence(sequence: i32, by: i32) -> i32 {
    match sequence.checked_add(by) {
        Some(next) => next,
        None => by - (i32::MAX - sequence) - 1,
    }
}

fn decrement_sequence(sequence: i32, by: i32) -> i32 {
    if sequence < by { i32::MAX - (by - sequence) + 1 } else { sequence - by }
}

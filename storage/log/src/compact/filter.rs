//! What of a batch stays (Kafka: `Cleaner.cleanInto` and `MemoryRecords.filterTo`).

use std::collections::BTreeMap;

use wire::batch::{BatchError, BatchHeader, empty_batch, rebuild_batch};

use super::offset_map::OffsetMap;
use super::records::{KeyedRecord, Runs, control_kind, payload};
use super::transactions::{CleanedTransactions, Marker};
use super::{CleanerStats, CompactionOptions, LastRecord};
use crate::txn_index::AbortedTransaction;

#[derive(Debug)]
pub(crate) struct Filter {
    pub map: OffsetMap,
    pub transactions: CleanedTransactions,
    active_producers: BTreeMap<i64, LastRecord>,
    high_watermark: i64,
    delete_retention_ms: i64,
    now_ms: i64,
    uncompressed_bytes: usize,
    /// A batch was copied whose records are not known: tombstones behind it may be of their keys, and stay.
    passed_over: bool,
    /// A bit for each record of the batch at hand: it stays.
    kept: Vec<u64>,
    scratch: Vec<u8>,
}

/// What was put out for a batch.
#[derive(Debug, Default)]
pub(crate) struct Filtered {
    /// `None` if nothing was.
    pub header: Option<BatchHeader>,
    /// An entry for the cleaned segment's transaction index.
    pub aborted: Option<AbortedTransaction>,
}

/// Of a batch's records, which stay.
enum Kept {
    None,
    All { horizon_due: bool },
    Some { horizon_due: bool },
}

impl Filter {
    pub fn new(map: OffsetMap, options: &CompactionOptions) -> Filter {
        Filter {
            map,
            transactions: CleanedTransactions::default(),
            active_producers: options.active_producers.clone(),
            high_watermark: options.high_watermark,
            delete_retention_ms: options.delete_retention_ms,
            now_ms: options.now_ms,
            uncompressed_bytes: options.uncompressed_bytes,
            passed_over: false,
            kept: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends to `out` what stays of a batch. `memory` is for its records, if they are compressed.
    pub fn filter(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        memory: &mut Vec<u8>,
        out: &mut Vec<u8>,
        stats: &mut CleanerStats,
    ) -> Result<Filtered, BatchError> {
        stats.bytes_read += batch.len() as u64;
        let (can_discard, aborted) = if header.is_control() {
            let records = payload(header, batch, memory, self.uncompressed_bytes)?;
            let kind = control_kind(header, records)?;
            match self.transactions.on_control_batch(header, kind) {
                Marker::Discard => (true, None),
                Marker::Keep => (false, None),
                Marker::KeepWithEntry(txn) => (false, Some(txn)),
            }
        } else {
            (self.transactions.on_batch(header), None)
        };
        let expired = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.now_ms);
        let discard = can_discard && (!header.is_control() || expired);
        let keep_empty =
            self.is_last_of_its_producer(header) || header.next_offset() == self.high_watermark;
        if discard && !keep_empty {
            return Ok(Filtered { header: None, aborted });
        }
        stats.messages_read += header.count as u64;
        let records = match discard {
            true => Ok(&[][..]),
            false => payload(header, batch, memory, self.uncompressed_bytes),
        };
        let (records, kept) = match records {
            Err(error) if error.grows_too_large() => {
                self.passed_over = true;
                (&[][..], Kept::All { horizon_due: false })
            }
            records => {
                let records = records?;
                (records, self.kept(header, records, discard, can_discard, stats)?)
            }
        };
        let header = self.write(header, batch, records, kept, keep_empty, out)?;
        if let Some(header) = &header {
            stats.bytes_written += header.size() as u64;
            stats.messages_written += header.count as u64;
        }
        Ok(Filtered { header, aborted })
    }

    fn kept(
        &mut self,
        header: &BatchHeader,
        records: &[u8],
        discard: bool,
        can_discard: bool,
        stats: &mut CleanerStats,
    ) -> Result<Kept, BatchError> {
        match header.count {
            0 => Ok(Kept::None),
            _ if discard => Ok(Kept::None),
            // The marker of a transaction that has no batches any more begins to age.
            _ if header.is_control() => Ok(Kept::All { horizon_due: can_discard }),
            _ => self.choose(header, records, stats),
        }
    }

    fn write(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        records: &[u8],
        kept: Kept,
        keep_empty: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<BatchHeader>, BatchError> {
        let (all, due) = match kept {
            Kept::None if keep_empty => {
                let empty = empty_batch(header);
                out.extend_from_slice(&empty.encode());
                return Ok(Some(empty));
            }
            Kept::None => return Ok(None),
            Kept::All { horizon_due } => (true, horizon_due),
            Kept::Some { horizon_due } => (false, horizon_due),
        };
        // Tombstones that are to be kept for longer than time can count are kept as they are.
        let horizon = (due && header.delete_horizon_ms().is_none())
            .then(|| self.now_ms.checked_add(self.delete_retention_ms))
            .flatten();
        if all && horizon.is_none() {
            out.extend_from_slice(batch);
            return Ok(Some(*header));
        }
        let bits = &self.kept;
        let keep = |at: usize| all || bits[at / 64] >> (at % 64) & 1 == 1;
        rebuild_batch(header, records, keep, horizon, &mut self.scratch, out).map(Some)
    }

    /// Whether a producer's last sequence, or its epoch, is known from this batch alone.
    fn is_last_of_its_producer(&self, header: &BatchHeader) -> bool {
        if !header.has_producer_id() {
            return false;
        }
        self.active_producers.get(&header.producer_id).is_some_and(|last| {
            match last.last_data_offset {
                Some(offset) => header.last_offset() == offset,
                None => header.is_control() && header.producer_epoch == last.producer_epoch,
            }
        })
    }

    fn choose(
        &mut self,
        header: &BatchHeader,
        records: &[u8],
        stats: &mut CleanerStats,
    ) -> Result<Kept, BatchError> {
        let beyond = header.base_offset > self.map.latest_offset();
        if beyond && header.delete_horizon_ms().is_some() {
            return Ok(Kept::All { horizon_due: false });
        }
        self.kept.clear();
        let horizon = header.delete_horizon_ms();
        let keep_tombstones =
            self.passed_over || horizon.is_none_or(|horizon| self.now_ms < horizon);
        let (mut at, mut count, mut tombstones) = (0, 0, false);
        let mut runs = Runs::new(header, records);
        loop {
            let run = runs.next((!beyond).then_some(&self.map))?;
            if run.is_empty() {
                break;
            }
            for record in run {
                let keep = self.stays(record, keep_tombstones, stats);
                if at % 64 == 0 {
                    self.kept.push(0);
                }
                self.kept[at / 64] |= u64::from(keep) << (at % 64);
                count += i32::from(keep);
                tombstones |= keep && !record.has_value;
                at += 1;
            }
        }
        Ok(match count {
            0 => Kept::None,
            _ if count == header.count => Kept::All { horizon_due: tombstones },
            _ => Kept::Some { horizon_due: tombstones },
        })
    }

    #[inline]
    fn stays(&self, record: &KeyedRecord, keep_tombstones: bool, stats: &mut CleanerStats) -> bool {
        if record.offset > self.map.latest_offset() {
            return true;
        }
        if !record.has_key {
            stats.invalid_messages_read += 1;
            return false;
        }
        record.offset >= self.map.get(record.hash) && (record.has_value || keep_tombstones)
    }

    /// Gives memory back that one large batch took.
    pub fn shrink(&mut self, to: usize) {
        self.kept.clear();
        self.kept.shrink_to(to / 8);
        self.scratch.shrink_to(to);
    }
}

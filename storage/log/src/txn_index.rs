//! `.txnindex`: the aborted transactions whose marker lies in a segment, in their markers' order. A segment without any has
//! no such file.
//!
//! Source: Kafka's `TransactionIndex`; KIP-98.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use disk::{Disk, DiskError, DiskFile, Open};
use model::ProducerId;
use wire::{AbortedTxn, Message, Reader, Writer};

use crate::error::ReadError;
use crate::view::{LogView, Read};

/// The schema's version, and four offsets and ids.
const ENTRY: usize = 34;
const VERSION: i16 = 0;
/// Read at once.
const BLOCK: usize = 512 * ENTRY;

/// A transaction that ended with an abort marker: its records are not for read_committed readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    /// Of its first record in this partition.
    pub first_offset: i64,
    /// Of its marker.
    pub last_offset: i64,
    /// Where the records of other open transactions began when it ended, or the offset behind the marker.
    pub last_stable_offset: i64,
}

impl AbortedTransaction {
    fn encode(&self, writer: &mut Writer) -> Result<(), wire::EncodeError> {
        writer.int16(VERSION);
        let txn = AbortedTxn {
            producer_id: self.producer_id.0,
            first_offset: self.first_offset,
            last_offset: self.last_offset,
            last_stable_offset: self.last_stable_offset,
            ..Default::default()
        };
        txn.encode(writer, VERSION)
    }

    /// `None` for a version that is not known.
    fn decode(entry: Bytes) -> Option<AbortedTransaction> {
        let mut reader = Reader::new(entry);
        let version = reader.int16().ok().filter(|version| *version == VERSION)?;
        let txn = AbortedTxn::decode(&mut reader, version).ok()?;
        Some(AbortedTransaction {
            producer_id: ProducerId(txn.producer_id),
            first_offset: txn.first_offset,
            last_offset: txn.last_offset,
            last_stable_offset: txn.last_stable_offset,
        })
    }
}

/// One segment's index. Has one writer; what readers see of it is whole.
#[derive(Debug)]
pub(crate) struct TxnIndex {
    path: PathBuf,
    /// None where the segment has no aborted transaction.
    file: OnceLock<Arc<dyn DiskFile>>,
    len: AtomicU64,
    synced: AtomicU64,
}

impl TxnIndex {
    /// One without entries, and without a file until there are some.
    pub fn none(path: PathBuf) -> TxnIndex {
        TxnIndex { path, file: OnceLock::new(), len: AtomicU64::new(0), synced: AtomicU64::new(0) }
    }

    /// One whose file exists.
    pub fn open(disk: &dyn Disk, path: PathBuf) -> Result<TxnIndex, DiskError> {
        let file = disk.keep(&path, Open::ReadWrite)?;
        let len = AtomicU64::new(file.len()?);
        Ok(TxnIndex { path, file: OnceLock::from(file), len, synced: AtomicU64::new(0) })
    }

    pub fn exists(&self) -> bool {
        self.file.get().is_some()
    }

    /// Adds a transaction whose marker lies behind those that are there. True if that made the file.
    pub fn append(&self, disk: &dyn Disk, txn: AbortedTransaction) -> Result<bool, DiskError> {
        let mut writer = Writer::new();
        let encoded = txn.encode(&mut writer).ok().and_then(|()| writer.into_bytes());
        debug_assert!(encoded.as_ref().is_some_and(|bytes| bytes.len() == ENTRY));
        let made = self.file.get().is_none();
        let file = match self.file.get() {
            Some(file) => file.clone(),
            None => disk.keep(&self.path, Open::Truncate)?,
        };
        let len = self.len.load(Ordering::Relaxed);
        file.write_at(&encoded.unwrap_or_default(), len)?;
        self.file.get_or_init(|| file);
        self.len.store(len + ENTRY as u64, Ordering::Release);
        Ok(made)
    }

    /// Calls `each` with every transaction, until it says false.
    pub fn for_each(
        &self,
        mut each: impl FnMut(AbortedTransaction) -> bool,
    ) -> Result<(), ReadError> {
        let len = self.len.load(Ordering::Acquire);
        let Some(file) = self.file.get() else { return Ok(()) };
        let whole = len - len % ENTRY as u64;
        let mut at = 0;
        while at < whole {
            let mut block = vec![0; (whole - at).min(BLOCK as u64) as usize];
            file.read_exact_at(&mut block, at)?;
            let block = Bytes::from(block);
            for from in (0..block.len()).step_by(ENTRY) {
                let position = at + from as u64;
                let Some(txn) = AbortedTransaction::decode(block.slice(from..from + ENTRY)) else {
                    return Err(ReadError::CorruptIndex { path: self.path.clone(), position });
                };
                if !each(txn) {
                    return Ok(());
                }
            }
            at += block.len() as u64;
        }
        Ok(())
    }

    /// Whether its entries can be those of a segment that has offsets from `base` to `end`.
    pub fn is_sound(&self, base: i64, end: i64) -> Result<bool, DiskError> {
        let mut last = base - 1;
        let mut sound = self.len.load(Ordering::Relaxed).is_multiple_of(ENTRY as u64);
        let read = self.for_each(|txn| {
            sound &= txn.last_offset > last && txn.last_offset < end;
            sound &= txn.first_offset >= 0 && txn.first_offset <= txn.last_offset;
            last = txn.last_offset;
            sound
        });
        match read {
            Ok(()) => Ok(sound),
            Err(ReadError::Disk(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Drops the transactions that end at or after `offset`, and what is not whole behind the others.
    pub fn truncate_to(&self, offset: i64) -> Result<(), DiskError> {
        let Some(file) = self.file.get() else { return Ok(()) };
        let mut keep = 0;
        let read = self.for_each(|txn| {
            let below = txn.last_offset < offset;
            keep += u64::from(below) * ENTRY as u64;
            below
        });
        if let Err(ReadError::Disk(error)) = read {
            return Err(error);
        }
        if keep < self.len.load(Ordering::Relaxed) {
            file.set_len(keep)?;
            self.len.store(keep, Ordering::Release);
            self.synced.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes the transactions that end at or after `from` those that the log tells of. True if they were not.
    pub fn replace_from(
        &self,
        disk: &dyn Disk,
        from: i64,
        told: &[AbortedTransaction],
    ) -> Result<bool, ReadError> {
        let mut rest = told.iter();
        let mut equal = true;
        let read = self.for_each(|txn| {
            equal &= txn.last_offset < from || rest.next() == Some(&txn);
            equal
        });
        let whole = self.len.load(Ordering::Relaxed).is_multiple_of(ENTRY as u64);
        match read {
            Err(ReadError::Disk(error)) => return Err(error.into()),
            Ok(()) if equal && whole && rest.next().is_none() => return Ok(false),
            _ => {}
        }
        self.truncate_to(from)?;
        for txn in told {
            self.append(disk, *txn)?;
        }
        Ok(true)
    }

    /// Makes durable what was changed since the last call.
    pub fn sync(&self) -> Result<(), DiskError> {
        let len = self.len.load(Ordering::Acquire);
        let Some(file) = self.file.get() else { return Ok(()) };
        if self.synced.load(Ordering::Relaxed) != len {
            file.sync_data()?;
            self.synced.store(len, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl LogView {
    /// The aborted transactions that have records, or their marker, in `from..upper_bound`. What a read_committed reader of that
    /// range, up to the last stable offset, must leave out.
    pub fn aborted_transactions(
        &self,
        from: i64,
        upper_bound: i64,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        let mut found = Vec::new();
        let mut more = true;
        for segment in &self.segments[self.segment_index(from)..] {
            segment.txn_index.for_each(|txn| {
                if txn.last_offset >= from && txn.first_offset < upper_bound {
                    found.push(txn);
                }
                // All that end behind it begin at or after its last stable offset.
                more = txn.last_stable_offset < upper_bound;
                more
            })?;
            if !more {
                break;
            }
        }
        Ok(found)
    }

    /// Those that concern what a read from `offset` on has found, and perhaps some behind.
    pub fn aborted_in(
        &self,
        offset: i64,
        read: &Read,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        let at = self.segment_index(read.start.segment_base);
        let segment = &self.segments[at];
        let behind = segment.index.ceiling_position(read.start.position + read.slice.len as u64);
        let next = self.segments.get(at + 1).map_or(self.end.offset, |next| next.base);
        let bound = behind.map_or(next, |entry| segment.base + i64::from(entry.relative));
        self.aborted_transactions(offset, bound)
    }
}

//! `.snapshot`, the state of producers, and `.txnindex`, the aborted transactions.

use std::path::Path;

use bytes::Bytes;
use disk::Open;
use wire::batch::crc::crc32c;
use wire::batch::increment_sequence;
use wire::{AbortedTxn, DecodeError, Message, ProducerSnapshot, Reader};

use super::log::optional;
use super::{Dump, DumpError, base_offset};

/// A snapshot is read whole.
const MAX_SNAPSHOT: usize = 64 << 20;
/// What the checksum of a snapshot covers lies behind version and checksum.
const ENTRIES_AT: usize = 6;
/// The schema's version, and four offsets and ids.
const TXN_ENTRY: usize = 34;
const TXN_BLOCK: usize = 512 * TXN_ENTRY;

impl Dump<'_> {
    /// One that cannot be read is told, and others go on.
    pub(super) fn producer_snapshot(&mut self, path: &Path) -> Result<(), DumpError> {
        let bytes = Bytes::from(self.disk.read(path, MAX_SNAPSHOT)?);
        let snapshot = match read_snapshot(&bytes) {
            Ok(snapshot) => snapshot,
            Err(why) => {
                self.out.flush()?;
                return Ok(writeln!(self.err, "{why}")?);
            }
        };
        for entry in snapshot.producer_entries {
            let txn = optional(Some(entry.current_txn_first_offset).filter(|offset| *offset >= 0));
            write!(
                self.out,
                "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {txn} lastTimestamp: {}",
                entry.producer_id, entry.epoch, entry.coordinator_epoch, entry.timestamp,
            )?;
            if entry.last_offset >= 0 {
                let back = i64::from(entry.offset_delta).saturating_neg() as i32;
                write!(
                    self.out,
                    " firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                    increment_sequence(entry.last_sequence, back),
                    entry.last_sequence,
                    entry.last_offset,
                    entry.offset_delta,
                    entry.timestamp,
                )?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    pub(super) fn txn_index(&mut self, path: &Path) -> Result<(), DumpError> {
        base_offset(path)?;
        let file = self.disk.open(path, Open::Read)?;
        // Of an entry that is cut off Kafka's tool says nothing.
        let len = file.len()? / TXN_ENTRY as u64 * TXN_ENTRY as u64;
        let mut at = 0;
        while at < len {
            let mut block = vec![0; (len - at).min(TXN_BLOCK as u64) as usize];
            file.read_exact_at(&mut block, at)?;
            let block = Bytes::from(block);
            for from in (0..block.len()).step_by(TXN_ENTRY) {
                let entry = block.slice(from..from + TXN_ENTRY);
                let txn = read_aborted(entry).map_err(|error| DumpError::Corrupt {
                    path: path.to_owned(),
                    position: at + from as u64,
                    why: error.to_string(),
                })?;
                writeln!(
                    self.out,
                    "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                    txn.producer_id, txn.first_offset, txn.last_offset, txn.last_stable_offset,
                )?;
            }
            at += block.len() as u64;
        }
        Ok(())
    }
}

fn read_snapshot(bytes: &Bytes) -> Result<ProducerSnapshot, String> {
    let invalid = |error: DecodeError| format!("Snapshot failed schema validation: {error}");
    let mut reader = Reader::new(bytes.clone());
    let version = reader.int16().map_err(invalid)?;
    if !ProducerSnapshot::VERSIONS.contains(version) {
        return Err(format!(
            "Snapshot failed schema validation: Snapshot contained an unknown file version {version}"
        ));
    }
    let snapshot = ProducerSnapshot::decode(&mut reader, version).map_err(invalid)?;
    let (stored, computed) = (snapshot.crc, crc32c(&bytes[ENTRIES_AT..]));
    if stored != computed {
        return Err(format!(
            "Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}"
        ));
    }
    Ok(snapshot)
}

fn read_aborted(entry: Bytes) -> Result<AbortedTxn, DecodeError> {
    let mut reader = Reader::new(entry);
    let version = reader.int16()?;
    AbortedTxn::decode(&mut reader, version)
}

//! `%020d.snapshot`: the producers' state up to an offset, so that it need not be rebuilt from the log's beginning.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::{Disk, DiskError, Open};
use model::producers::{ProducerEntry, Producers, RememberedBatch};
use model::{ProducerEpoch, ProducerId};
use wire::batch::crc::crc32c;
use wire::producer_snapshot::ProducerEntry as Stored;
use wire::{Message, ProducerSnapshot, Reader, Writer};

use crate::names::{SNAPSHOT, file_name};

const VERSION: i16 = 1;
/// Version and CRC precede what the CRC covers.
const CRC_AT: usize = 2;
const ENTRIES_AT: usize = 6;
const MAX_FILE: usize = 256 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProducerSnapshotError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("producer snapshot {path:?} is corrupt: {why}")]
    Corrupt { path: PathBuf, why: String },
}

pub fn read_producer_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    offset: i64,
) -> Result<Producers, ProducerSnapshotError> {
    read_sized(disk, dir, offset).map(|(producers, _)| producers)
}

/// With the bytes that were read.
pub(crate) fn read_sized(
    disk: &dyn Disk,
    dir: &Path,
    offset: i64,
) -> Result<(Producers, usize), ProducerSnapshotError> {
    let path = dir.join(file_name(offset, SNAPSHOT));
    let bytes = Bytes::from(disk.read(&path, MAX_FILE)?);
    let corrupt = |why: String| ProducerSnapshotError::Corrupt { path: path.clone(), why };
    let mut reader = Reader::new(bytes.clone());
    let version = reader.int16().map_err(|error| corrupt(error.to_string()))?;
    let snapshot = ProducerSnapshot::decode(&mut reader, version)
        .map_err(|error| corrupt(error.to_string()))?;
    let computed = crc32c(&bytes[ENTRIES_AT..]);
    if snapshot.crc != computed {
        return Err(corrupt(format!("stored crc {}, computed {computed}", snapshot.crc)));
    }
    let mut producers = Producers::default();
    for stored in &snapshot.producer_entries {
        producers.restore(ProducerId(stored.producer_id), restored(stored));
    }
    Ok((producers, bytes.len()))
}

/// Not durably: one that is torn is not whole by its CRC, and an older one does.
pub(crate) fn write_producer_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    offset: i64,
    snapshot: &[u8],
) -> Result<(), DiskError> {
    let file = disk.open(&dir.join(file_name(offset, SNAPSHOT)), Open::Truncate)?;
    file.write_at(snapshot, 0)
}

/// The bytes of a snapshot file.
pub(crate) fn encode_producer_snapshot(producers: &Producers) -> Vec<u8> {
    let producer_entries = producers.iter().map(|(id, entry)| stored(id, entry)).collect();
    let snapshot = ProducerSnapshot { producer_entries, ..Default::default() };
    let mut writer = Writer::new();
    writer.int16(VERSION);
    let encoded = snapshot.encode(&mut writer, VERSION);
    debug_assert!(encoded.is_ok());
    let mut bytes = writer.into_bytes().unwrap_or_default().to_vec();
    let crc = crc32c(&bytes[ENTRIES_AT..]);
    bytes[CRC_AT..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn restored(stored: &Stored) -> ProducerEntry {
    let epoch = ProducerEpoch(stored.epoch);
    let mut entry = ProducerEntry::new(epoch, stored.coordinator_epoch, stored.timestamp);
    if stored.last_offset >= 0 {
        entry.remember(
            epoch,
            RememberedBatch {
                last_sequence: stored.last_sequence,
                last_offset: stored.last_offset,
                offset_delta: stored.offset_delta,
                timestamp: stored.timestamp,
            },
        );
    }
    entry.transaction_first_offset =
        (stored.current_txn_first_offset >= 0).then_some(stored.current_txn_first_offset);
    entry
}

fn stored(id: ProducerId, entry: &ProducerEntry) -> Stored {
    let last = entry.last_batch();
    Stored {
        producer_id: id.0,
        epoch: entry.epoch.0,
        last_sequence: entry.last_sequence(),
        last_offset: last.map_or(-1, |batch| batch.last_offset),
        offset_delta: last.map_or(0, |batch| batch.offset_delta),
        timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_first_offset: entry.transaction_first_offset.unwrap_or(-1),
        ..Default::default()
    }
}

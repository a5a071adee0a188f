//! `%020d.snapshot`: the producers' state up to an offset, so that it need not be rebuilt from the log's beginning.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::{Disk, DiskError};
use wire::batch::crc::crc32c;
use wire::producer_snapshot::ProducerEntry;
use wire::{Message, ProducerSnapshot, Reader, Writer};

use crate::leftovers::file_names;
use crate::names::{SNAPSHOT, file_name, parse_file_name};
use crate::truncate::remove_if_there;

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

/// The offsets of a log's snapshots, ascending.
pub fn list_producer_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<i64>, DiskError> {
    let names = file_names(disk, dir)?;
    let mut offsets: Vec<i64> = names
        .iter()
        .filter_map(|name| parse_file_name(name))
        .filter_map(|(offset, suffix)| (suffix == SNAPSHOT).then_some(offset))
        .collect();
    offsets.sort_unstable();
    Ok(offsets)
}

pub fn read_producer_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    offset: i64,
) -> Result<Vec<ProducerEntry>, ProducerSnapshotError> {
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
    Ok(snapshot.producer_entries)
}

/// Durably.
pub fn write_producer_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    offset: i64,
    entries: Vec<ProducerEntry>,
) -> Result<(), ProducerSnapshotError> {
    let path = dir.join(file_name(offset, SNAPSHOT));
    let snapshot = ProducerSnapshot { producer_entries: entries, ..Default::default() };
    let mut writer = Writer::new();
    writer.int16(VERSION);
    let encoded = snapshot.encode(&mut writer, VERSION);
    let why = encoded.err().map_or("it cannot be encoded".to_owned(), |error| error.to_string());
    let Some(bytes) = writer.into_bytes() else {
        return Err(ProducerSnapshotError::Corrupt { path, why });
    };
    let mut bytes = bytes.to_vec();
    let crc = crc32c(&bytes[ENTRIES_AT..]);
    bytes[CRC_AT..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    Ok(disk.replace(&path, &bytes)?)
}

pub fn remove_producer_snapshot(disk: &dyn Disk, dir: &Path, offset: i64) -> Result<(), DiskError> {
    remove_if_there(disk, &dir.join(file_name(offset, SNAPSHOT)))
}

//! `partition.metadata`: which topic, by its id, a partition's directory belongs to.

use std::path::{Path, PathBuf};

use disk::{Disk, DiskError};
use model::Uuid;

pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

const MAX_FILE: usize = 64 << 10;

#[derive(Debug, Clone, thiserror::Error)]
pub enum PartitionMetadataError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{path:?} has no topic id in version 0 of its format")]
    Malformed { path: PathBuf },
}

/// `None` where there is no such file.
pub fn read_partition_metadata(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<Uuid>, PartitionMetadataError> {
    let path = dir.join(PARTITION_METADATA_FILE);
    let bytes = match disk.read(&path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let field = |line: Option<&str>, key: &str| -> Option<String> {
        let (found, value) = line?.split_once(':')?;
        (found.trim() == key).then(|| value.trim().to_owned())
    };
    let parse = || {
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut lines = text.lines();
        let version = field(lines.next(), "version")?;
        let id = field(lines.next(), "topic_id")?.parse().ok()?;
        (version == "0" && id != Uuid::ZERO).then_some(id)
    };
    match parse() {
        Some(id) => Ok(Some(id)),
        None => Err(PartitionMetadataError::Malformed { path }),
    }
}

pub fn write_partition_metadata(
    disk: &dyn Disk,
    dir: &Path,
    topic_id: Uuid,
) -> Result<(), DiskError> {
    let text = format!("version: 0\ntopic_id: {topic_id}");
    disk.replace(&dir.join(PARTITION_METADATA_FILE), text.as_bytes())
}

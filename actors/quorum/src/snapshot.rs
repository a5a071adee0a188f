//! Snapshots of the metadata log: `%020d-%010d.checkpoint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::{Disk, DiskError, Open};
use machines::consensus::{ControlRecord, OffsetAndEpoch, VoterSet};
use machines::metadata::{
    METADATA_VERSION, MetadataVersion, bootstrap_records, level_among, record_version,
};
use wire::batch::{BatchBuilder, batches};
use wire::compression::Compression;
use wire::{EncodeError, MetadataRecord};

use crate::files::{RecordsError, control_batch, decode_record, parse_control};

/// In a directory that was formatted before Kafka 4.4, beside its metadata log.
const BOOTSTRAP: &str = "bootstrap.checkpoint";
/// Of levels of features, and credentials that were named on a command line.
const MAX_BOOTSTRAP: usize = 8 << 20;
const SUFFIX: &str = ".checkpoint";
const DELETED: &str = ".deleted";
/// Of a snapshot that was being written, by Kafka and here, or was given up.
const LEFT_OVER: [&str; 3] = [".checkpoint.part", ".checkpoint.tmp", ".checkpoint.deleted"];
/// The header is the first record of the first batch, which names the voters besides.
const MAX_HEAD: u64 = 1 << 20;
/// A metadata log is millions of records at most.
pub(crate) const MAX_SNAPSHOT: usize = 1 << 30;
/// Kafka's own bound on a batch of the metadata log.
pub(crate) const MAX_BATCH_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{name}: {source}")]
    Records { name: String, source: RecordsError },
    #[error("{name} is not whole: it ends without its footer")]
    Cut { name: String },
    #[error("{name} does not begin with a snapshot's header")]
    Headless { name: String },
    #[error("{name} sets no level of metadata.version")]
    Unversioned { name: String },
    #[error("{name} holds records of more than {max} bytes")]
    Inflated { name: String, max: usize },
    #[error("{name} would have {bytes} bytes, more than the {MAX_SNAPSHOT} that are read")]
    TooLarge { name: String, bytes: usize },
    #[error("{0}")]
    Lost(String),
}

/// What a snapshot says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) kraft_version: i16,
    pub(crate) voters: Option<VoterSet>,
    /// Of the newest record that it covers, unix milliseconds.
    pub(crate) timestamp_ms: i64,
    pub(crate) records: Vec<MetadataRecord>,
}

fn file_name(id: OffsetAndEpoch) -> String {
    format!("{:020}-{:010}{SUFFIX}", id.offset, id.epoch)
}

fn parse_name(name: &str) -> Option<OffsetAndEpoch> {
    let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let digits =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(offset, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(OffsetAndEpoch { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

pub(crate) fn path(dir: &Path, id: OffsetAndEpoch) -> PathBuf {
    dir.join(file_name(id))
}

/// Of one that is on its way here.
pub(crate) fn part_path(dir: &Path, id: OffsetAndEpoch) -> PathBuf {
    dir.join(file_name(id) + ".part")
}

/// Gives a snapshot the name of one that is given up, and answers its path then.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    dir: &Path,
    id: OffsetAndEpoch,
) -> Result<PathBuf, DiskError> {
    let aside = dir.join(file_name(id) + DELETED);
    disk.rename(&path(dir, id), &aside)?;
    Ok(aside)
}

/// Removes what was not written to its end, what was given up, and all that ends before the log begins.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path, log_start: i64) -> Result<(), DiskError> {
    for entry in disk.list(dir)? {
        let name = entry.name;
        if LEFT_OVER.iter().any(|suffix| name.ends_with(suffix))
            || parse_name(&name).is_some_and(|id| id.offset < log_start)
        {
            remove_if_there(disk, &dir.join(name))?;
        }
    }
    Ok(())
}

pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove_file(path) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// When the newest record that a snapshot covers was written, unix milliseconds, as its header says.
pub(crate) fn newest_record_ms(
    disk: &dyn Disk,
    dir: &Path,
    id: OffsetAndEpoch,
) -> Result<i64, SnapshotError> {
    let name = file_name(id);
    let file = disk.open(&path(dir, id), Open::Read)?;
    let mut head = vec![0; file.len()?.min(MAX_HEAD) as usize];
    file.read_exact_at(&mut head, 0)?;
    let failed = |source| SnapshotError::Records { name: name.clone(), source };
    if let Some(batch) = batches(Bytes::from(head)).next() {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let mut records = batch.records(MAX_BATCH_BYTES).map_err(|error| failed(error.into()))?;
        if let Some(record) = records.next() {
            let record = record.map_err(|error| failed(error.into()))?;
            if let Some(ControlRecord::SnapshotHeader(header)) =
                parse_control(&record).map_err(failed)?
            {
                return Ok(header.last_contained_log_timestamp);
            }
        }
    }
    Err(SnapshotError::Headless { name })
}

/// The snapshots in a metadata log's directory, oldest first.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<OffsetAndEpoch>, DiskError> {
    let mut found: Vec<_> =
        disk.list(dir)?.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    id: OffsetAndEpoch,
) -> Result<Snapshot, SnapshotError> {
    read_file(disk, &path(dir, id), MAX_SNAPSHOT)
}

/// What the first leader writes to an empty metadata log, unless the snapshot that it begins with has records of its own (Kafka's
/// `BootstrapMetadata.fromDirectory`).
///
/// # Errors
/// `bootstrap.checkpoint` is there, and is not whole, too large, or sets no metadata.version.
pub fn read_bootstrap(disk: &dyn Disk, dir: &Path) -> Result<Vec<MetadataRecord>, SnapshotError> {
    let path = dir.join(BOOTSTRAP);
    if !disk.exists(&path)? {
        return Ok(bootstrap_records(&BTreeMap::new()));
    }
    versioned(BOOTSTRAP, read_file(disk, &path, MAX_BOOTSTRAP)?.records)
}

/// Nothing can be written to a metadata log that has no metadata.version.
pub(crate) fn versioned(
    name: &str,
    records: Vec<MetadataRecord>,
) -> Result<Vec<MetadataRecord>, SnapshotError> {
    match level_among(&records, METADATA_VERSION) {
        Some(_) => Ok(records),
        None => Err(SnapshotError::Unversioned { name: name.to_owned() }),
    }
}

/// One that may have another name yet; `max` bounds its bytes, and those of its records.
pub(crate) fn read_file(
    disk: &dyn Disk,
    path: &Path,
    max: usize,
) -> Result<Snapshot, SnapshotError> {
    let mut records = Vec::new();
    let head = for_each(disk, path, max, |_, record| records.push(record))?;
    Ok(Snapshot { records, ..head })
}

/// [`read_file`], which keeps none of the records: each is handed on, with when the newest was written.
pub(crate) fn for_each(
    disk: &dyn Disk,
    path: &Path,
    max: usize,
    mut each: impl FnMut(i64, MetadataRecord),
) -> Result<Snapshot, SnapshotError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = Bytes::from(disk.read(path, max)?);
    let mut left = max;
    let failed = |source| SnapshotError::Records { name: name.clone(), source };
    let mut snapshot = Snapshot::default();
    let mut ended = false;
    for batch in batches(bytes) {
        let batch = batch.map_err(|error| failed(error.into()))?;
        batch.verify_crc().map_err(|error| failed(error.into()))?;
        let records = batch.records(max).map_err(|error| failed(error.into()))?;
        for (offset, record) in (batch.header().base_offset..).zip(records) {
            let record = record.map_err(|error| failed(error.into()))?;
            let size = record.value.as_ref().map_or(0, Bytes::len);
            let inflated = || SnapshotError::Inflated { name: name.clone(), max };
            left = left.checked_sub(size).ok_or_else(inflated)?;
            if !batch.header().is_control() {
                each(snapshot.timestamp_ms, decode_record(offset, record).map_err(failed)?);
                continue;
            }
            // The last control record of a whole snapshot is its footer.
            ended = record.key.as_deref() == Some(&[0, 0, 0, 4]);
            match parse_control(&record).map_err(failed)? {
                Some(ControlRecord::SnapshotHeader(header)) => {
                    snapshot.timestamp_ms = header.last_contained_log_timestamp;
                }
                Some(ControlRecord::KRaftVersion(version)) => {
                    snapshot.kraft_version = version.kraft_version;
                }
                Some(ControlRecord::Voters(voters)) => {
                    snapshot.voters = Some(VoterSet::from_record(&voters));
                }
                _ => {}
            }
        }
    }
    if ended { Ok(snapshot) } else { Err(SnapshotError::Cut { name }) }
}

/// Writes a snapshot whole: after a crash there is all of it or nothing.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    id: OffsetAndEpoch,
    head: &[ControlRecord],
    records: &[MetadataRecord],
    metadata_version: MetadataVersion,
    now_ms: i64,
) -> Result<(), SnapshotError> {
    let name = file_name(id);
    let failed = |source| SnapshotError::Records { name: name.clone(), source };
    let mut contents = Vec::new();
    let head = control_batch(head, 0, id.epoch, now_ms).map_err(failed)?;
    let mut next = head.header().next_offset();
    contents.extend_from_slice(&head.to_bytes());
    for batch in data_batches(records, metadata_version, next, id.epoch, now_ms).map_err(failed)? {
        next = batch.header().next_offset();
        contents.extend_from_slice(&batch.to_bytes());
    }
    let footer = [ControlRecord::snapshot_footer()];
    let footer = control_batch(&footer, next, id.epoch, now_ms).map_err(failed)?;
    contents.extend_from_slice(&footer.to_bytes());
    if contents.len() > MAX_SNAPSHOT {
        return Err(SnapshotError::TooLarge { name, bytes: contents.len() });
    }
    Ok(disk.replace(&dir.join(&name), &contents)?)
}

/// A record as it stands in the log.
///
/// # Errors
/// It is more than its schema, or a batch, has room for.
pub(crate) fn encoded(
    record: &MetadataRecord,
    metadata_version: MetadataVersion,
) -> Result<Bytes, RecordsError> {
    /// More than a batch of one record has beside its value.
    const FRAME: usize = 1 << 10;
    let value = record.encode(record_version(record, metadata_version))?;
    if value.len() > MAX_BATCH_BYTES - FRAME {
        return Err(EncodeError::TooLong { length: value.len() }.into());
    }
    Ok(value)
}

/// Records as batches of the metadata log, each of a bounded size.
pub(crate) fn data_batches(
    records: &[MetadataRecord],
    metadata_version: MetadataVersion,
    base_offset: i64,
    epoch: i32,
    now_ms: i64,
) -> Result<Vec<wire::batch::RecordBatch>, RecordsError> {
    let values = records.iter().map(|record| encoded(record, metadata_version));
    value_batches(values, base_offset, epoch, now_ms)
}

/// The same of records that are encoded.
pub(crate) fn value_batches(
    values: impl Iterator<Item = Result<Bytes, RecordsError>>,
    mut base_offset: i64,
    epoch: i32,
    now_ms: i64,
) -> Result<Vec<wire::batch::RecordBatch>, RecordsError> {
    let mut out = Vec::new();
    let mut builder: Option<BatchBuilder> = None;
    for value in values {
        let value = value?;
        let full = |b: &BatchBuilder| b.uncompressed_size() + value.len() > MAX_BATCH_BYTES;
        if let Some(done) = builder.take_if(|b| full(b)) {
            base_offset += done.count() as i64;
            out.push(done.build()?);
        }
        let current = builder.get_or_insert_with(|| {
            BatchBuilder::new(Compression::NONE).base_offset(base_offset).leader_epoch(epoch)
        });
        current.append(now_ms, None, Some(&value), &[]);
    }
    out.extend(builder.map(BatchBuilder::build).transpose()?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::RealDisk;
    use wire::TopicRecord;
    use wire::compression::Codec;

    fn topic(name: String) -> MetadataRecord {
        MetadataRecord::Topic(TopicRecord { name, ..Default::default() })
    }

    #[test]
    fn a_snapshot_reads_back_and_a_cut_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let id = OffsetAndEpoch { epoch: 3, offset: 42 };
        let records: Vec<_> = (0..5000).map(|n| topic(format!("topic-{n}"))).collect();
        let head = ControlRecord::snapshot_head(7, 1, Some(&VoterSet::default()));
        write(&disk, dir.path(), id, &head, &records, MetadataVersion::LATEST, 7).unwrap();
        assert_eq!(list(&disk, dir.path()).unwrap(), [id]);
        let found = read(&disk, dir.path(), id).unwrap();
        assert_eq!((found.kraft_version, found.timestamp_ms), (1, 7));
        assert!(found.records == records);
        let path = dir.path().join("00000000000000000042-0000000003.checkpoint");
        let whole = disk.read(&path, MAX_SNAPSHOT).unwrap();
        disk.replace(&path, &whole[..whole.len() - 10]).unwrap();
        assert!(matches!(read(&disk, dir.path(), id), Err(SnapshotError::Cut { .. })));
    }

    /// Writes records as the content of this file, and answers what is read of it.
    fn bootstrap_of(records: &[MetadataRecord]) -> Result<Vec<MetadataRecord>, SnapshotError> {
        let (dir, disk) = (tempfile::tempdir().unwrap(), RealDisk::new());
        let head = ControlRecord::snapshot_head(7, 0, None);
        let id = OffsetAndEpoch::EMPTY;
        write(&disk, dir.path(), id, &head, records, MetadataVersion::LATEST, 7).unwrap();
        disk.rename(&path(dir.path(), id), &dir.path().join(BOOTSTRAP)).unwrap();
        read_bootstrap(&disk, dir.path())
    }

    #[test]
    fn what_a_new_cluster_begins_with_is_read_or_is_its_newest_metadata_version() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), RealDisk::new());
        let newest = bootstrap_records(&BTreeMap::new());
        assert_eq!(read_bootstrap(&disk, dir.path()).unwrap(), newest);
        let old = BTreeMap::from([(METADATA_VERSION.to_owned(), 25)]);
        let said = [bootstrap_records(&old), vec![topic("more".to_owned())]].concat();
        assert_eq!(bootstrap_of(&said).unwrap(), said);
    }

    #[test]
    fn what_no_cluster_can_begin_with_is_refused() {
        let unversioned = bootstrap_of(&[topic("t".to_owned())]);
        assert!(matches!(unversioned, Err(SnapshotError::Unversioned { .. })), "{unversioned:?}");
        let (dir, disk) = (tempfile::tempdir().unwrap(), RealDisk::new());
        let file = dir.path().join(BOOTSTRAP);
        // Each batch may be as large as that; the file is a thousandth of it.
        let mut builder = BatchBuilder::new(Compression::of(Codec::Zstd));
        let value = encoded(&topic("t".repeat(30_000)), MetadataVersion::LATEST).unwrap();
        let most = MAX_BOOTSTRAP / value.len() * 3 / 4;
        (0..most).for_each(|_| builder.append(7, None, Some(&value), &[]));
        disk.replace(&file, &builder.build().unwrap().to_bytes().repeat(2)).unwrap();
        let inflated = read_bootstrap(&disk, dir.path());
        assert!(matches!(inflated, Err(SnapshotError::Inflated { .. })), "{inflated:?}");
        disk.replace(&file, &vec![0; MAX_BOOTSTRAP + 1]).unwrap();
        let large = read_bootstrap(&disk, dir.path());
        assert!(matches!(large, Err(SnapshotError::Disk(_))), "{large:?}");
    }

    #[test]
    fn other_files_are_no_snapshots() {
        for name in ["1-2.checkpoint", "00000000000000000042-0000000003.checkpoint.part", "x"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}

//! What must hold of any bytes: they are read or refused, without a panic and without memory for what they promise. Shared by
//! this crate's test and the targets of `fuzz/`.

#[path = "use_all.rs"]
mod use_all;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, SimDisk, SimDiskOptions};
use ottla_log::*;
use wire::batch::{RecordBatch, batches};
use wire::compression::{Codec, decompress};
use wire::*;

use use_all::use_all;

pub type Body = fn(&[u8]);

pub const ALL: [(&str, Body); 6] = [
    ("log_dir", log_dir),
    ("log_files", log_files),
    ("checkpoints", checkpoints),
    ("record_batches", record_batches),
    ("compressed", compressed),
    ("wire_requests", wire_requests),
];

const DIR: &str = "/d/t-0";
/// Of a partition's directory.
pub const NAMES: [&str; 14] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000012.log",
    "00000000000000000012.index",
    "00000000000000000012.timeindex",
    "00000000000000000012.txnindex",
    "00000000000000000012.snapshot",
    "00000000000000000012.log.swap",
    "00000000000000000012.log.cleaned",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "00000000000000000024.snapshot",
];
const MAX_BYTES: usize = 1 << 16;

fn disk() -> (Arc<dyn Disk>, PathBuf) {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let dir = PathBuf::from(DIR);
    let _ = disk.create_dir_all(&dir);
    (disk, dir)
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

/// How the log ended, its recovery point and log start; then files, each by its name, its length and its bytes.
pub fn log_dir(data: &[u8]) {
    let Some((&[how, point, start], mut rest)) = data.split_first_chunk::<3>() else { return };
    let (disk, dir) = disk();
    while let Some((&[name, high, low], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (content, after) = after.split_at(len);
        let name = NAMES[usize::from(name) % NAMES.len()];
        let _ = disk.replace(&dir.join(name), content);
        rest = after;
    }
    open_and_use(&disk, how, i64::from(point), i64::from(start));
}

/// Each file of a partition's directory is these bytes.
pub fn log_files(data: &[u8]) {
    let Some((&[how, which], content)) = data.split_first_chunk::<2>() else { return };
    let (disk, dir) = disk();
    for (at, name) in NAMES.iter().enumerate() {
        if at % 8 == usize::from(which) % 8 || which > 127 {
            let _ = disk.replace(&dir.join(name), content);
        }
    }
    let _ = read_producer_snapshot(&*disk, &dir, 12);
    let _ = read_partition_metadata(&*disk, &dir);
    open_and_use(&disk, how, 0, 0);
}

fn open_and_use(disk: &Arc<dyn Disk>, how: u8, recovery_point: i64, log_start_offset: i64) {
    let options = OpenOptions {
        clean: how & 1 > 0,
        writes_survived: how & 2 > 0,
        recovery_point,
        log_start_offset,
        ..OpenOptions::default()
    };
    let config = LogConfig { compacted: how & 4 > 0, ..config() };
    let Ok((mut log, _)) = Log::open(disk.clone(), DIR.into(), config, options) else { return };
    use_all(&log);
    let end = log.log_end_offset();
    if log.truncate_to(end / 2, 0).is_ok() {
        use_all(&log);
        let _ = log.close();
    }
}

/// The files of a log directory.
pub fn checkpoints(data: &[u8]) {
    let (disk, dir) = disk();
    let names = [RECOVERY_POINT_CHECKPOINT, META_PROPERTIES_FILE, CLEAN_SHUTDOWN_FILE];
    for name in names.into_iter().chain([PARTITION_METADATA_FILE]) {
        let _ = disk.replace(&dir.join(name), data);
    }
    let _ = read_offset_checkpoint(&*disk, &dir.join(RECOVERY_POINT_CHECKPOINT));
    let _ = MetaProperties::read(&*disk, &dir);
    let _ = read_partition_metadata(&*disk, &dir);
    let _ = CleanShutdown::read(&*disk, &dir);
    let _ = survival(&*disk, Path::new(DIR));
}

/// A run of batches, as they come from producers and from files.
pub fn record_batches(data: &[u8]) {
    for batch in batches(Bytes::copy_from_slice(data)).flatten() {
        let _ = batch.verify_crc();
        let mut header = *batch.header();
        header.crc = header.compute_crc(&batch.payload());
        let whole = [&header.encode()[..], &batch.payload()[..]].concat();
        let Ok(batch) = RecordBatch::parse(&whole.into()) else { continue };
        let _ = batch.info();
        if let Ok(records) = batch.records(MAX_BYTES) {
            for record in records.flatten() {
                let _ = record.headers.iter().count();
            }
        }
    }
}

pub fn compressed(data: &[u8]) {
    for codec in Codec::ALL {
        let out = decompress(codec, data, MAX_BYTES);
        assert!(
            out.is_err() || out.is_ok_and(|out| out.len() <= MAX_BYTES),
            "more than was allowed"
        );
    }
}

/// A request's header, and the body in every version.
pub fn wire_requests(data: &[u8]) {
    let _ = frame_header(data);
    let Some((&[which, version], body)) = data.split_first_chunk::<2>() else { return };
    let version = i16::from(version % 20);
    let body = Bytes::copy_from_slice(body);
    match which % 12 {
        0 => decode::<ProduceRequest>(body, version),
        1 => decode::<FetchRequest>(body, version),
        2 => decode::<ListOffsetsRequest>(body, version),
        3 => decode::<MetadataRequest>(body, version),
        4 => decode::<OffsetCommitRequest>(body, version),
        5 => decode::<OffsetFetchRequest>(body, version),
        6 => decode::<JoinGroupRequest>(body, version),
        7 => decode::<SyncGroupRequest>(body, version),
        8 => decode::<CreateTopicsRequest>(body, version),
        9 => decode::<DeleteRecordsRequest>(body, version),
        10 => decode::<IncrementalAlterConfigsRequest>(body, version),
        _ => {
            let _ = MetadataRecord::decode(body);
        }
    }
}

fn frame_header(data: &[u8]) -> Result<(), DecodeError> {
    decode_request_header(&mut Reader::new(Bytes::copy_from_slice(data))).map(|_| ())
}

fn decode<R: Request>(body: Bytes, version: i16) {
    let versions = R::KEY.versions();
    let version = version.clamp(versions.min, versions.max);
    let _ = R::decode(&mut Reader::new(body), version);
}

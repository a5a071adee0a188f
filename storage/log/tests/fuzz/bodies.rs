//! What must hold of any bytes: they are read or refused, without a panic and without memory for what they promise. Shared by
//! this crate's test and the targets of `fuzz/`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use disk::Disk;
use ottla_log::*;
use wire::batch::crc::crc32c;
use wire::batch::{RecordBatch, batches};
use wire::compression::{Codec, decompress};
use wire::*;

use super::crcs::mend_crcs;
use super::memory::Fuzzed;
use super::use_all::use_all;
use super::valid::{DIR, NAMES, directory, disk};

const KIB: usize = 1 << 10;

pub const ALL: [Fuzzed; 7] = [
    Fuzzed { name: "log_dir", body: log_dir, base: 512 * KIB, per_byte: 50 },
    Fuzzed { name: "log_files", body: log_files, base: 384 * KIB, per_byte: 50 },
    Fuzzed { name: "checkpoints", body: checkpoints, base: 64 * KIB, per_byte: 50 },
    Fuzzed { name: "producer_snapshots", body: producer_snapshots, base: 32 * KIB, per_byte: 50 },
    Fuzzed { name: "record_batches", body: record_batches, base: 192 * KIB, per_byte: 50 },
    Fuzzed { name: "compressed", body: compressed, base: 192 * KIB, per_byte: 50 },
    Fuzzed { name: "wire_requests", body: wire_requests, base: 4 * KIB, per_byte: 100 },
];

/// More is not asked for of what is decompressed.
const MAX_BYTES: usize = 1 << 16;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

fn write(disk: &Arc<dyn Disk>, how: u8, name: &str, content: &[u8]) {
    let mut content = content.to_vec();
    if how & 16 > 0 && name.contains(".log") {
        mend_crcs(&mut content);
    }
    let _ = disk.replace(&Path::new(DIR).join(name), &content);
}

/// How the log ended, its recovery point and log start; then files, each by its name, its length and its bytes.
fn log_dir(data: &[u8]) {
    let Some((&[how, point, start], mut rest)) = data.split_first_chunk::<3>() else { return };
    let disk = disk();
    while let Some((&[name, high, low], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (content, after) = after.split_at(len);
        write(&disk, how, NAMES[usize::from(name) % NAMES.len()], content);
        rest = after;
    }
    open_and_use(&disk, how, i64::from(point), i64::from(start));
}

/// How the log ended, and which file of a directory, whole otherwise, is these bytes.
fn log_files(data: &[u8]) {
    static WHOLE: OnceLock<Vec<(usize, Vec<u8>)>> = OnceLock::new();
    let Some((&[how, which], content)) = data.split_first_chunk::<2>() else { return };
    let disk = disk();
    for (at, whole) in WHOLE.get_or_init(directory) {
        write(&disk, 0, NAMES[*at], whole);
    }
    write(&disk, how, NAMES[usize::from(which) % NAMES.len()], content);
    open_and_use(&disk, how, if how & 32 > 0 { 12 } else { 0 }, 0);
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
    let Ok((mut log, _)) = Log::open(disk.clone(), DIR.into(), config.clone(), options) else {
        return;
    };
    use_all(&log);
    if how & 8 > 0 {
        compact(disk, &mut log);
        use_all(&log);
    }
    let end = log.log_end_offset();
    if log.truncate_to(end / 2, 0).is_ok() {
        use_all(&log);
        let _ = log.close();
        let _ = Log::open(disk.clone(), DIR.into(), config, OpenOptions { clean: true, ..options });
    }
}

/// A pass of the cleaner over all but the last segment.
fn compact(disk: &Arc<dyn Disk>, log: &mut Log) {
    let policy = CompactionPolicy {
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        min_cleanable_dirty_ratio: 0.0,
    };
    let end = log.log_end_offset();
    let Ok(to_clean) = log.view().to_clean(&policy, None, end, &**disk, 0) else { return };
    let options = CompactionOptions {
        dedupe_buffer_bytes: 24 * 100,
        load_factor: 0.9,
        io_buffer_bytes: 1000,
        uncompressed_bytes: 1 << 20,
        group_bytes: u64::MAX,
        delete_retention_ms: 0,
        hash_key: [1, 2],
        high_watermark: end,
        active_producers: BTreeMap::new(),
        now_ms: 0,
    };
    let Ok(mut pass) = log.compaction(&to_clean, options) else { return };
    while let Ok(Progress::Cleaned(cleaned)) = pass.run(|_| ControlFlow::Continue(())) {
        let Ok(swap) = log.replace_segments(cleaned) else { return };
        if swap.run().is_err() || log.remove(&swap.deleted()).is_err() {
            return;
        }
    }
}

/// The files of a log directory, and what names a partition's topic.
fn checkpoints(data: &[u8]) {
    let (disk, dir) = (disk(), PathBuf::from(DIR));
    let offsets = [
        RECOVERY_POINT_CHECKPOINT,
        LOG_START_OFFSET_CHECKPOINT,
        HIGH_WATERMARK_CHECKPOINT,
        CLEANER_OFFSET_CHECKPOINT,
    ];
    for name in offsets {
        let path = dir.join(name);
        let _ = disk.replace(&path, data);
        if let Ok(found) = read_offset_checkpoint(&*disk, &path) {
            let _ = disk.replace(&path, offset_checkpoint(&found).as_bytes());
            let again = read_offset_checkpoint(&*disk, &path);
            assert!(again.is_ok_and(|again| again == found), "{name} is read back");
        }
        let _ = disk.remove_file(&path);
    }
    let kernels = [".ottla_kernel", ".ottla_unsynced"];
    let others = [META_PROPERTIES_FILE, CLEAN_SHUTDOWN_FILE, PARTITION_METADATA_FILE];
    for name in others.into_iter().chain(kernels) {
        let _ = disk.replace(&dir.join(name), data);
    }
    let _ = MetaProperties::read(&*disk, &dir);
    let _ = CleanShutdown::read(&*disk, &dir);
    let _ = read_partition_metadata(&*disk, &dir);
    let _ = survival(&*disk, &dir);
}

/// With the CRC that they have, and with the right one.
fn producer_snapshots(data: &[u8]) {
    let (disk, dir) = (disk(), PathBuf::from(DIR));
    let mut content = data.to_vec();
    for _ in 0..2 {
        let _ = disk.replace(&dir.join("00000000000000000012.snapshot"), &content);
        if let Ok(producers) = read_producer_snapshot(&*disk, &dir, 12) {
            let _ = producers.first_ongoing_offset();
            assert!(producers.iter().count() <= data.len());
        }
        if content.len() > 6 {
            let crc = crc32c(&content[6..]);
            content[2..6].copy_from_slice(&crc.to_be_bytes());
        }
    }
}
/// A run of batches, as they come from producers and from files.
fn record_batches(data: &[u8]) {
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

fn compressed(data: &[u8]) {
    for codec in Codec::ALL {
        let out = decompress(codec, data, MAX_BYTES);
        assert!(
            out.is_err() || out.is_ok_and(|out| out.len() <= MAX_BYTES),
            "more than was allowed"
        );
    }
}

/// A request's header, and the body in every version.
fn wire_requests(data: &[u8]) {
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

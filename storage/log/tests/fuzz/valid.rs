//! What is valid: batches, and a partition's directory with all kinds of files.

use std::sync::Arc;

use disk::{Disk, SimDisk, SimDiskOptions};
use ottla_log::{Log, LogConfig, OpenOptions, write_partition_metadata};
use wire::batch::{BatchBuilder, ControlRecordType, EndTxnMarker, RecordBatch, control_batch};
use wire::compression::{Codec, Compression};

/// Of a partition's directory.
pub const NAMES: [&str; 18] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000012.log",
    "00000000000000000012.index",
    "00000000000000000012.timeindex",
    "00000000000000000012.txnindex",
    "00000000000000000012.snapshot",
    "00000000000000000024.snapshot",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "00000000000000000000.log.swap",
    "00000000000000000000.index.swap",
    "00000000000000000000.timeindex.swap",
    "00000000000000000000.txnindex.swap",
    "00000000000000000012.log.cleaned",
    "00000000000000000012.log.deleted",
];
pub const DIR: &str = "/d/t-0";

pub fn disk() -> Arc<dyn Disk> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let _ = disk.create_dir_all(DIR.as_ref());
    disk
}

pub fn batch(base: i64, codec: Codec, transactional: bool) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec))
        .base_offset(base)
        .leader_epoch(1)
        .producer(7, 0, base as i32)
        .transactional(transactional);
    for at in 0..3 {
        builder.append(1000 + base + at, Some(b"key"), Some(b"a value, a value"), &[(b"h", None)]);
    }
    builder.build().expect("a batch")
}

fn abort(base: i64) -> RecordBatch {
    let configure = |builder: BatchBuilder| {
        builder.base_offset(base).leader_epoch(1).producer(7, 0, -1).transactional(true)
    };
    let value = EndTxnMarker { coordinator_epoch: 1 }.encode();
    control_batch(configure, 1000, ControlRecordType::Abort, &value).expect("a marker")
}

/// The files of a directory of two segments, each by its place in [`NAMES`].
pub fn directory() -> Vec<(usize, Vec<u8>)> {
    let (disk, dir) = (disk(), std::path::PathBuf::from(DIR));
    let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let (mut log, _) =
        Log::open(disk.clone(), dir.clone(), config, OpenOptions::default()).expect("a log");
    for (round, codec) in [Codec::None, Codec::Lz4].into_iter().enumerate() {
        let base = 12 * round as i64;
        let run = [0, 3, 6].map(|at| batch(base + at, codec, true));
        log.append(&run, 0).expect("appended");
        log.append(&[abort(base + 9)], 0).expect("appended");
        if round == 0 {
            log.append(&[abort(10), abort(11)], 0).expect("appended");
            log.roll(0).expect("a new segment");
        } else {
            log.append(&[batch(base + 10, codec, false)], 0).expect("appended");
        }
    }
    write_partition_metadata(&*disk, &dir, model::Uuid([7; 16])).expect("written");
    log.close().expect("closed");
    let content = |(at, name)| Some((at, disk.read(&dir.join(name), 1 << 16).ok()?));
    let files: Vec<_> = NAMES.into_iter().enumerate().filter_map(content).collect();
    assert!(files.len() > 8, "the directory has its files");
    files
}

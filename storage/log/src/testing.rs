//! What the tests of this crate share.

use std::path::PathBuf;
use std::sync::Arc;

use disk::Disk;
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};

use crate::{Log, LogConfig, LogView, OpenOptions, Recovered};

pub const DIR: &str = "/data/orders-0";

pub fn dir() -> PathBuf {
    PathBuf::from(DIR)
}

/// Small enough that a few batches fill a segment.
pub fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

pub fn open(disk: &Arc<dyn Disk>, config: LogConfig, clean: bool, point: i64) -> (Log, Recovered) {
    let options = OpenOptions { clean, recovery_point: point, ..OpenOptions::default() };
    Log::open(disk.clone(), dir(), config, options).unwrap()
}

/// A batch of `count` records from `base` on, each with the timestamp `timestamp` plus its index.
pub fn batch(base: i64, count: i64, epoch: i32, timestamp: i64) -> RecordBatch {
    coded(Codec::None, base, count, epoch, timestamp)
}

pub fn coded(codec: Codec, base: i64, count: i64, epoch: i32, timestamp: i64) -> RecordBatch {
    let mut builder =
        BatchBuilder::new(Compression::of(codec)).base_offset(base).leader_epoch(epoch);
    for index in 0..count {
        let value = format!("record {}", base + index);
        builder.append(timestamp + index, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

/// Appends `batches` batches of 3 records, one by one; the timestamp of each record is 1000 plus ten times its offset.
pub fn fill(log: &mut Log, batches: usize, epoch: i32) {
    for _ in 0..batches {
        let base = log.log_end_offset();
        log.append(&[batch(base, 3, epoch, 1000 + 10 * base)], 0).unwrap();
    }
}

/// Base offsets of all batches of a view.
pub fn bases(view: &LogView) -> Vec<i64> {
    let mut bases = Vec::new();
    view.batches_from(view.log_start_offset())
        .for_each_header(|header| {
            bases.push(header.base_offset);
            true
        })
        .unwrap();
    bases
}

/// Checks what must hold of every log, by reading it whole and at every offset.
pub fn check(view: &LogView) {
    let mut next = view.log_start_offset();
    view.batches_from(next)
        .for_each(|batch| {
            batch.verify_crc().unwrap();
            assert!(batch.header().last_offset() >= next);
            next = batch.header().next_offset();
            true
        })
        .unwrap();
    assert_eq!(next, view.log_end_offset().max(view.log_start_offset()));
    for offset in view.log_start_offset()..view.log_end_offset() {
        let read = view.read(offset, 1, true, i64::MAX).unwrap();
        let header = read.first_batch.unwrap();
        assert!(header.base_offset <= offset && offset <= header.last_offset(), "{offset}");
        assert_eq!(read.slice.len, header.size());
        let bytes = read.slice.read().unwrap();
        let parsed = RecordBatch::parse(&bytes).unwrap();
        assert_eq!(parsed.header(), &header);
    }
}

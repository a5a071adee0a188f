//! What the tests of this crate share.

use std::path::PathBuf;
use std::sync::Arc;

use disk::Disk;
use model::producers::Producers;
use wire::batch::{BatchBuilder, ControlRecordType, EndTxnMarker, RecordBatch, control_batch};
use wire::compression::{Codec, Compression};

use crate::index::{Index, TimeEntry};
use crate::producer_snapshot::encode_producer_snapshot;
use crate::scan::HeaderScan;
use crate::segment::Segment;
use crate::{
    AbortedTransaction, Log, LogConfig, LogView, OpenOptions, Recovered, read_producer_snapshot,
};

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

/// Who wrote a batch: producer id, epoch, base sequence.
pub type Producer = (i64, i16, i32);

/// As [`batch`], by a producer.
pub fn produced(
    base: i64,
    count: i64,
    epoch: i32,
    (id, producer_epoch, sequence): Producer,
    transactional: bool,
) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::NONE)
        .base_offset(base)
        .leader_epoch(epoch)
        .producer(id, producer_epoch, sequence)
        .transactional(transactional);
    for index in 0..count {
        builder.append(1000 + base + index, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

/// The marker that ends a transaction.
pub fn marker(
    base: i64,
    epoch: i32,
    (id, producer_epoch): (i64, i16),
    commit: bool,
) -> RecordBatch {
    let kind = if commit { ControlRecordType::Commit } else { ControlRecordType::Abort };
    let configure = |builder: BatchBuilder| {
        builder
            .base_offset(base)
            .leader_epoch(epoch)
            .producer(id, producer_epoch, -1)
            .transactional(true)
    };
    let value = EndTxnMarker { coordinator_epoch: 3 }.encode();
    control_batch(configure, 1000 + base, kind, &value).unwrap()
}

/// The state that all batches below `end` give, from nothing, and the transactions that they aborted.
pub fn replayed(view: &LogView, end: i64) -> (Producers, Vec<AbortedTransaction>) {
    let mut batches = Vec::new();
    view.batches_from(0)
        .for_each(|batch| {
            batches.push(batch);
            true
        })
        .unwrap();
    replayed_of(&batches, end)
}

/// As [`replayed`], of these.
pub fn replayed_of(batches: &[RecordBatch], end: i64) -> (Producers, Vec<AbortedTransaction>) {
    let (mut producers, mut aborted) = (Producers::default(), Vec::new());
    for batch in batches.iter().filter(|batch| batch.header().base_offset < end) {
        let ended = producers.apply(&batch.info().unwrap(), batch.header().base_offset);
        aborted.extend(ended.filter(|ended| ended.aborted).map(AbortedTransaction::from));
    }
    (producers, aborted)
}

/// The state that a snapshot and the batches behind it give.
pub fn replayed_from(disk: &Arc<dyn Disk>, view: &LogView, offset: i64) -> Producers {
    let mut producers = read_producer_snapshot(&**disk, &dir(), offset).unwrap();
    view.batches_from(0)
        .for_each(|batch| {
            if batch.header().last_offset() >= offset {
                producers.apply(&batch.info().unwrap(), batch.header().base_offset);
            }
            true
        })
        .unwrap();
    producers
}

/// The offsets of the snapshot files.
pub fn snapshots(disk: &Arc<dyn Disk>) -> Vec<i64> {
    let entries = disk.list(&dir()).unwrap().into_iter();
    entries.filter_map(|entry| entry.name.strip_suffix(".snapshot")?.parse().ok()).collect()
}

/// LO-4: that producers, their snapshots and the transaction indexes are what the log's batches give from nothing.
pub fn check_producers(disk: &Arc<dyn Disk>, log: &Log) {
    let view = log.view();
    assert_eq!(producers_differ(disk, log, |end| replayed(&view, end)), None);
}

/// Where they are not what `replay` gives of all batches below an offset, which may be more than the log still has.
pub fn producers_differ(
    disk: &Arc<dyn Disk>,
    log: &Log,
    replay: impl Fn(i64) -> (Producers, Vec<AbortedTransaction>),
) -> Option<String> {
    let view = log.view();
    let (producers, mut aborted) = replay(i64::MAX);
    aborted.retain(|txn| txn.last_offset >= log.segments[0].base);
    let bytes = encode_producer_snapshot;
    if bytes(log.producers()) != bytes(&producers)
        || log.producers().first_ongoing_offset() != producers.first_ongoing_offset()
    {
        return Some(format!("producers {:?}, not {producers:?}", log.producers()));
    }
    let indexed = view.aborted_transactions(0, i64::MAX).unwrap();
    if indexed != aborted {
        return Some(format!("aborted {indexed:?}, not {aborted:?}"));
    }
    for (index, segment) in log.segments.iter().enumerate() {
        let end = log.segments.get(index + 1).map_or(log.log_end_offset(), |next| next.base);
        assert!(segment.txn_index.is_sound(segment.base, end).unwrap());
    }
    for offset in snapshots(disk) {
        assert!(offset <= log.log_end_offset(), "a snapshot of what is gone: {offset}");
        let stored = read_producer_snapshot(&**disk, &dir(), offset).unwrap();
        if bytes(&stored) != bytes(&replay(offset).0) {
            return Some(format!("as of {offset}: {stored:?}, not {:?}", replay(offset).0));
        }
    }
    None
}

/// Checks that the indexes of all segments are what their batches give from nothing; but for time index entries, true ones,
/// that closing the log added.
pub fn check_indexes(log: &Log) {
    let view = log.view();
    for (at, segment) in log.segments.iter().enumerate() {
        let known = &segment.index;
        let unindexed = Segment {
            base: segment.base,
            file: segment.file.clone(),
            index: Index::Active(Box::default()),
            txn_index: segment.txn_index.clone(),
            size: 0,
            max: Default::default(),
            name_synced: Default::default(),
        };
        let mut made = log.rescan(&unindexed, view.size_of(at), 0).unwrap();
        let closed = at + 1 < log.segments.len();
        if let Index::Active(index) = &made.index
            && closed
        {
            made.active.index_timestamp(index, segment.base);
        }
        let offsets = |index: &Index| -> Vec<_> {
            (0..index.offset_len()).map(|at| index.offsets().get(at)).collect()
        };
        let times = |index: &Index| -> Vec<_> {
            (0..index.time_len()).map(|at| index.times().get(at)).collect()
        };
        assert_eq!(offsets(known), offsets(&made.index), "segment {}", segment.base);
        let mut largest = Vec::new();
        let mut scan = HeaderScan::new(&*segment.file, 0, view.size_of(at));
        while let Some((_, header)) = scan.next().unwrap() {
            let relative = (header.last_offset() - segment.base) as u32;
            let entry = TimeEntry { timestamp: header.max_timestamp, relative };
            if largest.last().is_none_or(|last: &TimeEntry| last.timestamp < entry.timestamp) {
                largest.push(entry);
            }
        }
        let (known, made) = (times(known), times(&made.index));
        assert!(made.iter().all(|entry| known.contains(entry)), "{made:?} not all in {known:?}");
        assert!(known.iter().all(|entry| largest.contains(entry)), "{known:?} of {largest:?}");
    }
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

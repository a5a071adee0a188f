//! What a pass leaves of a log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use disk::{Disk, SimDisk, SimDiskOptions};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};

use crate::testing::{dir, open, small};
use crate::*;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

fn config() -> LogConfig {
    LogConfig { compacted: true, ..small() }
}

/// A batch of keys and values; a value of `None` is a tombstone.
fn keyed(codec: Codec, base: i64, timestamp: i64, records: &[(&str, Option<&str>)]) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec)).base_offset(base).leader_epoch(1);
    for (key, value) in records {
        builder.append(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder.build().unwrap()
}

const POLICY: CompactionPolicy = CompactionPolicy {
    min_compaction_lag_ms: 0,
    max_compaction_lag_ms: i64::MAX,
    min_cleanable_dirty_ratio: 0.5,
};

fn options(now_ms: i64) -> CompactionOptions {
    CompactionOptions {
        dedupe_buffer_bytes: 24 * 1000,
        load_factor: 0.9,
        io_buffer_bytes: 1000,
        delete_retention_ms: 100,
        hash_key: [1, 2],
        high_watermark: i64::MAX,
        active_producers: BTreeMap::new(),
        now_ms,
    }
}

/// A whole pass, from a checkpoint on; its end offset.
fn clean(
    log: &mut Log,
    checkpoint: Option<i64>,
    disk: &Arc<dyn Disk>,
    options: CompactionOptions,
) -> i64 {
    let end = log.log_end_offset();
    let to_clean = log.view().to_clean(&POLICY, checkpoint, end, &**disk, options.now_ms).unwrap();
    let mut pass = log.compaction(&to_clean, options).unwrap();
    loop {
        match pass.run(|_| ControlFlow::Continue(())).unwrap() {
            Progress::Paused => {}
            Progress::Cleaned(cleaned) => log.replace_segments(cleaned).unwrap().run().unwrap(),
            Progress::Done { end_offset } => return end_offset,
        }
    }
}

/// Offset, key and value of every record.
fn records(view: &LogView) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    view.batches_from(0)
        .for_each(|batch| {
            batch.verify_crc().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let key = text(&record.key.unwrap());
                found.push((record.offset, key, record.value.map(|value| text(&value))));
            }
            true
        })
        .unwrap();
    found
}

#[test]
fn the_last_of_each_key_is_kept() {
    for codec in Codec::ALL {
        let disk = sim();
        let (mut log, _) = open(&disk, config(), true, 0);
        for round in 0..60 {
            let base = log.log_end_offset();
            let value = format!("value {round}");
            let keys = ["a".to_owned(), format!("k{}", round % 7), format!("once {round}")];
            let all: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(value.as_str()))).collect();
            log.append(&[keyed(codec, base, 1000 + round, &all)], 0).unwrap();
        }
        log.roll(0).unwrap();
        let before = records(&log.view());
        let end = log.log_end_offset();
        assert_eq!(clean(&mut log, None, &disk, options(5000)), end);
        let last: BTreeMap<_, _> = before.iter().map(|(at, key, _)| (key, *at)).collect();
        let expected: Vec<_> = before.iter().filter(|(at, key, _)| last[key] == *at).collect();
        assert!(records(&log.view()).iter().eq(expected.iter().copied()));
        assert_eq!(log.log_end_offset(), end);
        let after = records(&log.view());
        log.close().unwrap();
        let (log, report) = open(&disk, config(), true, 0);
        assert_eq!(report, Recovered::default());
        assert_eq!(records(&log.view()), after);
        let temporary = [".deleted", ".cleaned", ".swap"];
        let is_temporary = |name: &str| temporary.iter().any(|suffix| name.ends_with(suffix));
        assert!(!disk.list(&dir()).unwrap().iter().any(|entry| is_temporary(&entry.name)));
    }
}

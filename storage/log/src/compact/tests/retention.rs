//! Which records and batches stay.

use wire::compression::Codec;

use super::*;

fn kv<'a>(key: &'a str, value: &'a str) -> (&'a str, Option<&'a str>) {
    (key, Some(value))
}

#[test]
fn the_last_of_each_key_is_kept_as_it_was() {
    for codec in Codec::ALL {
        let mut log = Compacted::new(config());
        for round in 0..60 {
            let value = format!("value {round}");
            let keys = ["a".to_owned(), format!("k{}", round % 7), format!("once {round}")];
            let all: Vec<_> = keys.iter().map(|key| kv(key, &value)).collect();
            log.append(codec, &all, |builder| builder);
        }
        log.roll();
        let (before, end) = (records(&log.log.view()), log.log.log_end_offset());
        let stats = log.clean(5000);
        let last: BTreeMap<_, _> =
            before.iter().map(|record| (&record.key, record.offset)).collect();
        let expected = before.iter().filter(|record| last[&record.key] == record.offset);
        assert!(records(&log.log.view()).iter().eq(expected));
        assert_eq!((log.checkpoint, log.log.log_end_offset()), (Some(end), end));
        assert_eq!((stats.messages_read, stats.map_messages_read), (180, 180));
        assert_eq!(stats.messages_written, last.len() as u64);
        assert_eq!(stats.bytes_written, log.log.size());
        assert!(log.headers().iter().all(|header| header.codec() == Ok(codec)));
        log.reopen();
    }
}

#[test]
fn what_is_wholly_kept_is_copied_to_the_byte() {
    for codec in Codec::ALL {
        let mut log = Compacted::new(config());
        for round in 0..40 {
            let key = format!("key {round}");
            log.append(codec, &[kv(&key, "value"), kv("same", "value")][..1 + round % 2], |b| b);
        }
        log.append(codec, &[kv("same", "last")], |b| b);
        log.roll();
        let before = batches(&log.log.view());
        log.clean(5000);
        for batch in batches(&log.log.view()) {
            let was = before.iter().find(|b| b.header().base_offset == batch.header().base_offset);
            let was = was.unwrap();
            assert_eq!(was.header().count == 1, batch == *was);
            assert_eq!(was.header().last_offset(), batch.header().last_offset());
        }
    }
}

#[test]
fn a_tombstone_goes_in_the_second_pass_after_its_horizon() {
    let mut log = Compacted::new(config());
    log.put(&[kv("a", "1"), kv("b", "1")]);
    log.put(&[("a", None), kv("c", "1")]);
    log.roll();
    log.clean(5000);
    // The first pass drops what it supersedes, and begins to count.
    let kept = [("b", Some("1")), ("a", None), ("c", Some("1"))];
    let owned = |pairs: &[(&str, Option<&str>)]| -> Vec<_> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.map(str::to_owned))).collect()
    };
    assert_eq!(log.pairs(), owned(&kept));
    let horizons = |log: &Compacted| -> Vec<_> {
        log.headers().iter().map(BatchHeader::delete_horizon_ms).collect()
    };
    assert_eq!(horizons(&log), [None, Some(5000 + RETENTION)]);
    assert_eq!(records(&log.log.view())[1].timestamp, 1002, "timestamps are as they were");
    for (now_ms, left) in [(5050, 3), (5099, 3), (5100, 2)] {
        log.put(&[kv("d", "1")]);
        log.roll();
        log.clean(now_ms);
        assert_eq!(
            log.pairs()[..left],
            owned(&kept)[..1].iter().chain(&owned(&kept)[4 - left..]).cloned().collect::<Vec<_>>()
                [..]
        );
        assert_eq!(horizons(&log)[1], Some(5100), "it does not move");
    }
    assert!(!log.pairs().contains(&("a".to_owned(), None)));
    log.reopen();
}

#[test]
fn a_retention_beyond_all_time_keeps_tombstones_as_they_are() {
    let mut log = Compacted::new(config());
    log.put(&[("a", None)]);
    log.roll();
    let before = batches(&log.log.view());
    log.clean_with(CompactionOptions { delete_retention_ms: i64::MAX, ..options(5000) });
    assert_eq!(batches(&log.log.view()), before);
}

#[test]
fn append_times_stay_those_of_the_batch() {
    let mut log = Compacted::new(config());
    log.append(Codec::None, &[kv("a", "1"), kv("b", "1"), ("c", None)], |b| {
        b.log_append_time(7777)
    });
    log.put(&[kv("a", "2")]);
    log.roll();
    log.clean(5000);
    let found: Vec<_> = records(&log.log.view()).iter().map(|r| (r.offset, r.timestamp)).collect();
    assert_eq!(found, [(1, 7777), (2, 7777), (3, 1003)]);
    assert_eq!(log.headers()[0].max_timestamp, 7777);
}

#[test]
fn records_without_a_key_are_dropped_and_counted() {
    let mut log = Compacted::new(config());
    let mut builder = BatchBuilder::new(Compression::NONE).leader_epoch(1);
    builder.append(1, None, Some(b"no key"), &[]);
    builder.append(1, Some(b"key"), Some(b"value"), &[]);
    log.log.append(&[builder.build().unwrap()], 0).unwrap();
    log.roll();
    let stats = log.clean(5000);
    assert_eq!((log.keys(), stats.invalid_messages_read), (vec!["key".to_owned()], 1));
}

#[test]
fn a_full_map_stops_the_pass_where_its_keys_end() {
    let mut log = Compacted::new(config());
    for round in 0..4 {
        for key in 0..25 {
            log.put(&[kv(&format!("key {key}"), &format!("{round}")), kv("all", "x")]);
        }
    }
    log.roll();
    let end = log.log.log_end_offset();
    // Ten keys and their common one.
    let small_map =
        CompactionOptions { dedupe_buffer_bytes: 24 * 11, load_factor: 1.0, ..options(1) };
    let mut passes = 0;
    let mut last = None;
    while log.checkpoint != Some(end) {
        let newest = |log: &Compacted| log.pairs().into_iter().collect::<BTreeMap<_, _>>();
        let before = newest(&log);
        log.clean_with(small_map.clone());
        assert!(log.checkpoint > last, "every pass comes further");
        last = log.checkpoint;
        assert_eq!(newest(&log), before);
        passes += 1;
    }
    assert_eq!(log.pairs().len(), 26);
    assert!(passes > 5);
    // One that ends within a batch: the batch's later records are left.
    let mut log = Compacted::new(config());
    log.put(&[kv("a", "1"), kv("b", "1"), kv("c", "1"), kv("d", "1")]);
    log.put(&[kv("a", "2"), kv("b", "2")]);
    log.roll();
    let three = CompactionOptions { dedupe_buffer_bytes: 24 * 4, load_factor: 0.75, ..options(1) };
    log.clean_with(three);
    assert_eq!((log.checkpoint, log.pairs().len()), (Some(3), 6));
    log.clean(1);
    assert_eq!((log.checkpoint, log.keys().join(" ")), (Some(6), "c d a b".to_owned()));
}

#[test]
fn a_map_without_room_is_refused_by_the_settings_name() {
    let mut log = Compacted::new(config());
    let none = CompactionOptions { dedupe_buffer_bytes: 30, ..options(1) };
    let to_clean = log.to_clean(0);
    let error = log.log.compaction(&to_clean, none).unwrap_err();
    assert!(error.to_string().contains("log.cleaner.dedupe.buffer.size"), "{error}");
}

#[test]
fn the_last_batch_of_an_active_producer_stays_without_its_records() {
    let mut log = Compacted::new(config());
    let idempotent = |producer, sequence| move |b: BatchBuilder| b.producer(producer, 0, sequence);
    for producer in [7, 8] {
        for sequence in 0..3 {
            log.append(Codec::Lz4, &[kv("a", "1")], idempotent(producer, sequence));
        }
    }
    log.put(&[kv("a", "2")]);
    log.roll();
    let last = LastRecord { last_data_offset: Some(2), producer_epoch: 0 };
    let active = CompactionOptions { active_producers: [(7, last)].into(), ..options(1) };
    log.clean_with(active);
    let headers = log.headers();
    assert_eq!(headers.iter().map(|h| h.base_offset).collect::<Vec<_>>(), [2, 6]);
    assert_eq!((headers[0].count, headers[0].producer_id, headers[0].last_sequence()), (0, 7, 2));
    assert_eq!(log.keys(), ["a"]);
    // Once it is active no longer the batch goes.
    log.put(&[kv("a", "3")]);
    log.roll();
    let mut log = log.reopen();
    log.clean(1);
    assert_eq!(log.headers().len(), 1);
}

#[test]
fn the_batch_before_the_high_watermark_stays_without_its_records() {
    let mut log = Compacted::new(config());
    log.put(&[kv("a", "1")]);
    log.put(&[("b", None)]);
    log.roll();
    log.clean_with(CompactionOptions { high_watermark: 2, ..options(1) });
    log.put(&[kv("a", "2")]);
    log.roll();
    log.clean_with(CompactionOptions { high_watermark: 2, ..options(1000) });
    assert_eq!(
        log.headers().iter().map(|h| (h.base_offset, h.count)).collect::<Vec<_>>(),
        [(1, 0), (2, 1)]
    );
}

#[test]
fn nothing_dirty_is_nothing_done() {
    let mut log = Compacted::new(config());
    log.put(&[kv("a", "1"), kv("a", "2")]);
    log.roll();
    log.clean(1);
    let before = batches(&log.log.view());
    let stats = log.clean(1);
    assert_eq!((stats, log.checkpoint), (CleanerStats::default(), Some(2)));
    assert_eq!(batches(&log.log.view()), before);
}

#[test]
fn a_corrupt_batch_is_neither_copied_nor_dropped() {
    // A value; the second batch's base offset, which no CRC covers; its length.
    for (position, at) in [(68, 0), (70, 70), (77, 70), (79, 70)] {
        let mut log = Compacted::new(config());
        log.put(&[kv("a", "1")]);
        log.put(&[kv("a", "2")]);
        log.roll();
        log.sim.decay(&dir().join("00000000000000000000.log"), position, 8).unwrap();
        let to_clean = log.to_clean(0);
        let mut pass = log.pass(&to_clean, options(0));
        let error = pass.run(|_| ControlFlow::Continue(())).unwrap_err();
        let CompactionError::Read(ReadError::Corrupt { position, .. }) = error else {
            panic!("{error}");
        };
        assert_eq!(position, at);
        pass.abort().unwrap();
        assert!(!log.file_names().iter().any(|name| name.contains(".cleaned")));
    }
}

/// Nothing of it is lost, nothing that was deleted comes back, and all else is compacted.
#[test]
fn a_batch_that_grows_too_large_is_copied_as_it_is() {
    let mut log = Compacted::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    let large = "x".repeat(20_000);
    log.put(&[kv("a", "1"), kv("b", "1")]);
    log.append(Codec::Zstd, &[kv("a", &large), kv("c", &large)], |builder| builder);
    log.put(&[kv("b", "2")]);
    log.put(&[("c", None), kv("b", "3")]);
    log.roll();
    let bounded = |now_ms| CompactionOptions { uncompressed_bytes: 20_000, ..options(now_ms) };
    let mut log = log.reopen();
    for now_ms in [1, 1000] {
        log.clean_with(bounded(now_ms));
        assert_eq!(log.keys(), ["a", "a", "c", "c", "b"], "at {now_ms}");
        log.put(&[kv("b", "3")]);
        log.roll();
        log.checkpoint = None;
    }
    log.clean(1000);
    assert_eq!(log.keys(), ["a", "b"], "where it may become larger it is compacted, too");
}

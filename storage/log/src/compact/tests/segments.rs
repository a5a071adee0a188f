//! Which segments become which, and what those see who hold them.

use disk::{PooledDisk, RealDisk};

use super::*;
use crate::testing::bases;

/// Passes that group: `batches` batches of one record under `keys` keys, about 100 bytes each, 10 to a segment.
fn filled(batches: i64, keys: i64) -> Compacted {
    let mut log = Compacted::new(LogConfig { segment_bytes: 1000, ..config() });
    fill(&mut log, batches, keys);
    log.roll();
    log
}

fn fill(log: &mut Compacted, batches: i64, keys: i64) {
    for at in 0..batches {
        log.put(&[(&format!("key {}", at % keys), Some("a value of some length"))]);
    }
}

fn segments(log: &Compacted) -> Vec<i64> {
    log.log.view().segments.iter().map(|segment| segment.base).collect()
}

#[test]
fn segments_that_have_shrunk_are_brought_together() {
    let mut log = filled(200, 20);
    let before = segments(&log);
    log.clean(0);
    assert_eq!(segments(&log), before, "groups are of segments as they were");
    fill(&mut log, 10, 20);
    log.roll();
    log.clean(0);
    let after = segments(&log);
    assert!(after.len() < 6 && after[0] == 0, "{after:?}");
    assert!(log.log.view().segments.iter().all(|segment| segment.size <= 1000));
    assert_eq!(log.keys().len(), 20);
    log.reopen();
}

#[test]
fn indexes_are_those_of_a_log_that_was_so_from_the_start() {
    let mut log = filled(100, 70);
    log.clean(0);
    let view = log.log.view();
    for offset in 0..100 {
        let found = view.read(offset, 1, true, i64::MAX).unwrap();
        let expected = bases(&view).into_iter().find(|base| *base >= offset);
        assert_eq!(found.first_batch.map(|header| header.base_offset), expected);
        let by_time = view.offset_for_timestamp(1000 + offset).unwrap();
        assert_eq!(by_time.map(|found| found.offset), expected);
    }
    let names = log.file_names();
    let all = |log: &Compacted| -> Vec<(String, Vec<u8>)> {
        let indexes = log.file_names().into_iter().filter(|name| name.ends_with("index"));
        indexes
            .map(|name| (name.clone(), log.disk.read(&dir().join(name), 1 << 20).unwrap()))
            .collect()
    };
    let log = log.reopen();
    let written = all(&log);
    for name in names.iter().filter(|name| name.ends_with("index")) {
        log.disk.remove_file(&dir().join(name)).unwrap();
    }
    let Compacted { sim, disk, log: before, .. } = log;
    let point = before.recovery_point();
    drop(before);
    let (log, _) = open(&disk, LogConfig { segment_bytes: 1000, ..config() }, false, point);
    log.close().unwrap();
    let (log, _) = open(&disk, LogConfig { segment_bytes: 1000, ..config() }, true, 0);
    let log = Compacted { sim, disk, log, checkpoint: None };
    assert_eq!(all(&log), written);
}

#[test]
fn cleaned_files_are_as_old_as_the_last_of_theirs() {
    let mut log = Compacted::new(config());
    for now_ms in [3000, 4000] {
        log.sim.set_now_ms(now_ms);
        log.put(&[("a", None)]);
        log.roll();
    }
    log.sim.set_now_ms(9000);
    log.clean(9000);
    assert_eq!(segments(&log).len(), 2);
    for suffix in [".log", ".index", ".timeindex"] {
        let path = dir().join(format!("{:020}{suffix}", 0));
        assert_eq!(log.disk.metadata(&path).unwrap().modified_ms, 4000, "{suffix}");
    }
}

#[test]
fn a_view_keeps_what_it_had() {
    for indexed in [true, false] {
        let mut log = Compacted::new(LogConfig { segment_bytes: 1000, ..config() });
        for at in 0..100 {
            // Of many lengths: a position in one file is none in the other.
            let value = "x".repeat(at * 7 % 40);
            log.put(&[(&format!("key {}", at % 5), Some(&value))]);
        }
        log.roll();
        if !indexed {
            // Nor does it take the new index for its own, which could not be read before.
            for base in segments(&log).into_iter().filter(|base| *base < 100) {
                for suffix in [".index", ".timeindex"] {
                    log.disk.remove_file(&dir().join(format!("{base:020}{suffix}"))).unwrap();
                }
            }
        }
        let view = log.log.view();
        let before = batches(&view);
        for now_ms in [0, 9999] {
            let all = LogToClean { first_dirty_offset: 0, ..log.to_clean(0) };
            log.clean_range(&all, options(now_ms));
            assert_eq!(batches(&view), before);
            for offset in 0..100 {
                assert_eq!(view.read(offset, 1, true, i64::MAX).unwrap().start.offset, offset);
                let found = view.offset_for_timestamp(1000 + offset).unwrap().unwrap();
                assert_eq!(found.offset, offset);
            }
        }
        assert_eq!(log.keys().len(), 5);
    }
}

#[test]
fn the_old_files_wait_until_they_are_removed() {
    let mut log = filled(30, 5);
    let to_clean = log.to_clean(0);
    let mut pass = log.pass(&to_clean, options(0));
    let mut swaps = Vec::new();
    while let Progress::Cleaned(cleaned) = pass.run(|_| ControlFlow::Continue(())).unwrap() {
        assert!(cleaned.sizes().0 > cleaned.sizes().1);
        swaps.push(log.log.replace_segments(cleaned).unwrap());
    }
    assert!(!log.file_names().iter().any(|name| name.ends_with(".deleted")));
    // Whoever comes first does it; a second time is nothing.
    for swap in swaps.iter().chain(&swaps) {
        swap.run().unwrap();
    }
    let with = |log: &Compacted, suffix| {
        log.file_names().iter().filter(|name| name.ends_with(suffix)).count()
    };
    assert!(with(&log, ".deleted") >= 9);
    for swap in &swaps {
        swap.deleted().remove(&*log.disk).unwrap();
    }
    assert_eq!(with(&log, ".deleted") + with(&log, ".swap") + with(&log, ".cleaned"), 0);
    log.reopen();
}

#[test]
fn producer_snapshots_go_with_segments_that_go() {
    let mut log = filled(40, 5);
    let snapshots = |log: &Compacted| -> Vec<i64> {
        let names = log.file_names();
        let offsets = names.iter().filter_map(|name| name.strip_suffix(".snapshot"));
        offsets.map(|offset| offset.parse().unwrap()).collect()
    };
    assert_eq!(snapshots(&log), [10, 20, 30, 40]);
    log.clean(0);
    log.put(&[("key 0", None)]);
    log.roll();
    log.clean(0);
    assert_eq!(segments(&log), [0, 41]);
    assert_eq!(snapshots(&log), [41]);
    assert!(log.log.snapshots.iter().eq(&[41]));
}

#[test]
fn a_log_that_has_changed_takes_nothing() {
    type Change = fn(&mut Log);
    let changes: [Change; 3] = [
        |log| assert!(log.truncate_to(95, 0).unwrap().is_some()),
        |log| log.delete_segments_below(20, 0).unwrap().remove(&*log.disk).unwrap(),
        |log| log.truncate_fully_and_start_at(500, 0).unwrap().remove(&*log.disk).unwrap(),
    ];
    for change in changes {
        let mut log = filled(100, 5);
        let to_clean = log.to_clean(0);
        let mut pass = log.pass(&to_clean, options(0));
        let Progress::Cleaned(cleaned) = pass.run(|_| ControlFlow::Continue(())).unwrap() else {
            panic!("there is a group");
        };
        change(&mut log.log);
        let before = batches(&log.log.view());
        let NotReplaced(refused) = log.log.replace_segments(cleaned).unwrap_err();
        refused.discard().unwrap();
        pass.abort().unwrap();
        assert_eq!(batches(&log.log.view()), before);
        assert!(!log.file_names().iter().any(|name| name.contains(".cleaned")));
        log.reopen();
    }
}

#[test]
fn groups_are_taken_in_their_order_only() {
    let mut log = filled(100, 5);
    let to_clean = log.to_clean(0);
    let mut pass = log.pass(&to_clean, options(0));
    let mut next = || match pass.run(|_| ControlFlow::Continue(())).unwrap() {
        Progress::Cleaned(cleaned) => cleaned,
        other => panic!("{other:?}"),
    };
    let (first, second) = (next(), next());
    assert!(first.base_offset() < second.base_offset());
    let NotReplaced(second) = log.log.replace_segments(second).unwrap_err();
    log.log.replace_segments(first).unwrap();
    log.log.replace_segments(*second).unwrap();
    log.reopen();
}

#[test]
fn a_swap_that_nobody_ran_is_run_before_names_are_touched() {
    type Touch = fn(&mut Log);
    let touches: [Touch; 4] = [
        |log| assert!(log.truncate_to(95, 0).unwrap().is_some()),
        |log| log.delete_segments_below(20, 0).unwrap().remove(&*log.disk).unwrap(),
        |log| log.truncate_fully_and_start_at(500, 0).unwrap().remove(&*log.disk).unwrap(),
        |_| {},
    ];
    for touch in touches {
        let mut log = filled(100, 95);
        let to_clean = log.to_clean(0);
        let mut pass = log.pass(&to_clean, options(0));
        while let Progress::Cleaned(cleaned) = pass.run(|_| ControlFlow::Continue(())).unwrap() {
            log.log.replace_segments(cleaned).unwrap();
        }
        touch(&mut log.log);
        let log = log.reopen();
        assert!(!log.file_names().iter().any(|name| name.contains(".swap")));
    }
}

#[test]
fn a_pass_pauses_and_goes_on_and_reports_its_bytes() {
    let mut log = filled(100, 5);
    let to_clean = log.to_clean(0);
    let mut pass = log.pass(&to_clean, options(0));
    let (mut io, mut pauses) = (0, 0);
    loop {
        match pass
            .run(|bytes| {
                io += bytes;
                ControlFlow::Break(())
            })
            .unwrap()
        {
            Progress::Paused => pauses += 1,
            Progress::Cleaned(cleaned) => log.log.replace_segments(cleaned).unwrap().run().unwrap(),
            Progress::Done { .. } => break,
        }
    }
    let stats = pass.stats();
    assert!(pauses > 20);
    // What a buffer held of a batch in part is read twice.
    let counted = stats.map_bytes_read + stats.bytes_read + stats.bytes_written;
    assert!((counted..counted * 2).contains(&io));
    assert_eq!(log.keys().len(), 5);
}

#[test]
fn a_batch_larger_than_the_buffer_is_cleaned() {
    let mut log = Compacted::new(config());
    let long = "x".repeat(50_000);
    for round in 0..4 {
        log.append(Codec::None, &[("a", Some(&long)), (&format!("{round}"), Some("y"))], |b| b);
    }
    log.roll();
    log.clean(0);
    assert_eq!(log.keys().join(" "), "0 1 2 a 3");
}

#[test]
fn a_truncation_between_batches_leaves_a_log_that_opens() {
    for clean in [true, false] {
        let mut log = filled(100, 5);
        log.clean(0);
        assert!(log.log.truncate_to(50, 0).unwrap().is_some());
        assert_eq!((log.log.log_end_offset(), log.keys().len()), (50, 0));
        log.log.sync().unwrap();
        let Compacted { disk, log, .. } = log;
        let config = log.config().clone();
        let options =
            OpenOptions { clean, recovery_point: log.recovery_point(), ..OpenOptions::default() };
        log.close().unwrap();
        let (mut log, _) = Log::open(disk, dir(), config, options).unwrap();
        assert!(log.log_end_offset() <= 50);
        log.append(&[crate::testing::batch(60, 3, 1, 0)], 0).unwrap();
        assert_eq!(bases(&log.view()), [60]);
    }
}

#[test]
fn offsets_far_apart_do_not_meet_in_one_segment() {
    let mut log = Compacted::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    for base in [0, 5, 1 << 31, (1 << 31) + 5, 1 << 33] {
        let mut builder = BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(1);
        builder.append(1, Some(base.to_string().as_bytes()), Some(b"v"), &[]);
        log.log.append(&[builder.build().unwrap()], 0).unwrap();
        log.roll();
    }
    log.clean(0);
    assert_eq!(segments(&log), [0, 6, 1 << 33, (1 << 33) + 1]);
    log.reopen();
}

#[test]
fn a_segment_whose_offsets_do_not_fit_is_split() {
    let mut log = Compacted::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    log.put(&[("a", Some("1"))]);
    log.roll();
    let far = 1i64 << 31;
    log.put(&[("b", Some("1"))]);
    log.roll();
    log.log.end = far;
    log.put(&[("c", Some("1"))]);
    log.roll();
    // Kafka before 1.1 could write such a segment.
    let view = log.log.view();
    let appended: Vec<u8> = [1, 2]
        .iter()
        .flat_map(|at: &usize| {
            let segment = &view.segments[*at];
            let mut bytes = vec![0; segment.size as usize];
            segment.file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        })
        .collect();
    let first = &view.segments[0];
    first.file.write_at(&appended, first.size).unwrap();
    drop(view);
    let size = log.log.segments[0].size + appended.len() as u64;
    let mut segments_now = log.log.segments.to_vec();
    let joined = crate::segment::Segment {
        base: 0,
        file: segments_now[0].file.clone(),
        index: crate::index::Index::Active(Box::default()),
        txn_index: segments_now[0].txn_index.clone(),
        size,
        max: std::sync::OnceLock::new(),
        name_synced: segments_now[0].name_synced.clone(),
    };
    segments_now.splice(0..3, [Arc::new(joined)]);
    log.log.segments = Arc::new(segments_now);
    let to_clean = log.to_clean(0);
    log.clean_range(&to_clean, options(0));
    assert_eq!(segments(&log), [0, far, far + 1]);
    assert_eq!(log.keys().join(" "), "a b c");
}

#[test]
fn the_real_disk_swaps_as_the_simulated_one_also_where_files_at_rest_are_closed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("orders-0");
    let disk: Arc<dyn Disk> = Arc::new(PooledDisk::new(Arc::new(RealDisk::new()), 1));
    let clean = OpenOptions { clean: true, ..OpenOptions::default() };
    let (log, _) = Log::open(disk.clone(), dir.clone(), config(), clean).unwrap();
    let sim = SimDisk::new(SimDiskOptions::default());
    let mut log = Compacted { sim, disk: disk.clone(), log, checkpoint: None };
    for round in 0..3 {
        fill(&mut log, 100, 20 + round);
        log.roll();
        let (view, before) = (log.log.view(), batches(&log.log.view()));
        log.clean(1000 * round);
        assert_eq!(batches(&view), before);
        assert_eq!(log.keys().len() as i64, 20 + round);
    }
    let after = batches(&log.log.view());
    log.log.close().unwrap();
    let (log, report) = Log::open(disk, dir, config(), clean).unwrap();
    assert_eq!((report, batches(&log.view())), (Recovered::default(), after));
}

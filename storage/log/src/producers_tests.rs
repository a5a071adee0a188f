//! Producers' state, its snapshots and transaction indexes, through the life of a log.

use std::sync::Arc;

use disk::{Disk, Fault, FaultKind, SimDisk, SimDiskOptions};
use model::ProducerId;

use crate::testing::*;
use crate::*;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

fn append(log: &mut Log, producer: Producer, transactional: bool) {
    let batch = produced(log.log_end_offset(), 2, 1, producer, transactional);
    log.append(&[batch], 0).unwrap();
}

fn end_transaction(log: &mut Log, id: i64, commit: bool) {
    log.append(&[marker(log.log_end_offset(), 1, (id, 0), commit)], 0).unwrap();
}

/// Three segments at 0, 5 and 10; the aborted transaction spans the first two, a committed one the last two.
fn with_transactions(disk: &Arc<dyn Disk>) -> Log {
    let (mut log, _) = open(disk, small(), true, 0);
    append(&mut log, (1, 0, 0), true);
    append(&mut log, (2, 0, 0), false);
    append(&mut log, (3, 0, 0), true);
    log.roll(0).unwrap();
    end_transaction(&mut log, 1, false);
    append(&mut log, (2, 0, 2), false);
    append(&mut log, (3, 0, 2), true);
    log.roll(0).unwrap();
    end_transaction(&mut log, 3, true);
    append(&mut log, (4, 0, 0), true);
    log
}

#[test]
fn markers_end_transactions_and_fill_the_index() {
    let disk = sim();
    let log = with_transactions(&disk);
    check_producers(&disk, &log);
    let expected = AbortedTransaction {
        producer_id: ProducerId(1),
        first_offset: 0,
        last_offset: 6,
        last_stable_offset: 4,
    };
    assert_eq!(log.view().aborted_transactions(0, 100).unwrap(), [expected]);
    assert_eq!(log.producers().first_ongoing_offset(), Some(12));
}

#[test]
fn a_read_is_told_of_the_transactions_that_concern_it() {
    let disk = sim();
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let (mut log, _) = open(&disk, config, true, 0);
    for round in 0..10 {
        append(&mut log, (1, 0, 2 * round), true);
        end_transaction(&mut log, 1, round % 2 == 1);
    }
    let view = log.view();
    for offset in 0..30 {
        for max_bytes in [1, 200, 500, 10_000] {
            let read = view.read(offset, max_bytes, true, i64::MAX).unwrap();
            let mut last = offset;
            let mut batches = wire::batch::batches(read.slice.read().unwrap());
            while let Some(Ok(batch)) = batches.next() {
                last = batch.header().last_offset();
            }
            let told = view.aborted_in(offset, &read).unwrap();
            let all = view.aborted_transactions(0, 30).unwrap();
            let concerns =
                |txn: &&AbortedTransaction| txn.first_offset <= last && txn.last_offset >= offset;
            assert!(all.iter().filter(concerns).all(|txn| told.contains(txn)), "{offset} {told:?}");
            assert!(
                told.iter().all(|txn| txn.last_offset >= offset && txn.first_offset <= last + 6)
            );
        }
    }
}

#[test]
fn a_snapshot_is_taken_at_each_roll_and_at_the_end() {
    let disk = sim();
    let mut log = with_transactions(&disk);
    assert_eq!(snapshots(&disk), [6, 11]);
    log.roll(0).unwrap();
    assert_eq!(snapshots(&disk), [6, 11, 14]);
    log.close().unwrap();
    assert_eq!(snapshots(&disk), [6, 11, 14], "nothing came since the last");
    let (mut log, _) = open(&disk, small(), true, 14);
    append(&mut log, (2, 0, 4), false);
    check_producers(&disk, &log);
    log.close().unwrap();
    assert_eq!(snapshots(&disk), [6, 11, 14, 16]);
    let (log, _) = open(&disk, small(), true, 16);
    check_producers(&disk, &log);
    let (fresh, _) = open(&sim(), small(), true, 0);
    fresh.close().unwrap();
}

#[test]
fn an_empty_log_has_no_snapshot() {
    let disk = sim();
    let (log, _) = open(&disk, small(), true, 0);
    log.close().unwrap();
    assert!(snapshots(&disk).is_empty());
}

#[test]
fn strays_go_when_the_log_opens_but_for_the_newest_behind_the_segments() {
    let disk = sim();
    let log = with_transactions(&disk);
    log.close().unwrap();
    let copy = |from: i64, to: i64| {
        let path = |offset: i64| dir().join(format!("{offset:020}.snapshot"));
        disk.replace(&path(to), &disk.read(&path(from), 1 << 20).unwrap()).unwrap();
    };
    for stray in [3, 7, 12, 13, 99] {
        copy(11, stray);
    }
    copy(14, 13);
    let (log, _) = open(&disk, small(), true, 14);
    assert_eq!(snapshots(&disk), [6, 11, 14]);
    check_producers(&disk, &log);
}

#[test]
fn a_corrupt_snapshot_gives_way_to_the_one_before() {
    let disk = sim();
    let log = with_transactions(&disk);
    log.close().unwrap();
    for broken in [11, 14] {
        let path = dir().join(format!("{broken:020}.snapshot"));
        let file = disk.open(&path, disk::Open::ReadWrite).unwrap();
        file.write_at(&[0xff], 20).unwrap();
    }
    let (log, report) = open(&disk, small(), true, 14);
    assert_eq!(report, Recovered::default());
    check_producers(&disk, &log);
    assert_eq!(snapshots(&disk), [6, 11, 14], "they are written again");
}

#[test]
fn a_corrupt_transaction_index_is_made_anew() {
    for (at, bytes) in [(1, &[9u8][..]), (18, &[1]), (34, &[0; 5]), (10, &[0xff])] {
        let disk = sim();
        let log = with_transactions(&disk);
        log.close().unwrap();
        let path = dir().join("00000000000000000006.txnindex");
        let before = disk.read(&path, 1 << 20).unwrap();
        disk.open(&path, disk::Open::ReadWrite).unwrap().write_at(bytes, at).unwrap();
        let (log, _) = open(&disk, small(), true, 14);
        check_producers(&disk, &log);
        assert_eq!(disk.read(&path, 1 << 20).unwrap(), before);
    }
}

#[test]
fn a_truncation_brings_the_state_back() {
    for to in (0..14).rev() {
        let disk = sim();
        let mut log = with_transactions(&disk);
        log.truncate_to(to, 0).unwrap();
        check_producers(&disk, &log);
        let end = log.log_end_offset();
        assert!(snapshots(&disk).contains(&end) || end == 0, "{to}");
        append(&mut log, (9, 0, 0), false);
        check_producers(&disk, &log);
    }
    let disk = sim();
    let mut log = with_transactions(&disk);
    log.truncate_fully_and_start_at(50, 0).unwrap().remove(&*disk).unwrap();
    assert!(log.producers().is_empty());
    assert!(snapshots(&disk).is_empty());
}

#[test]
fn a_log_that_lost_its_snapshots_and_indexes_finds_it_all_in_its_batches() {
    for clean in [true, false] {
        let disk = sim();
        let log = with_transactions(&disk);
        let end = log.close().unwrap().offset;
        for entry in disk.list(&dir()).unwrap() {
            if !entry.name.ends_with(".log") {
                disk.remove_file(&dir().join(entry.name)).unwrap();
            }
        }
        let (log, _) = open(&disk, small(), clean, 0);
        assert_eq!(log.log_end_offset(), end);
        check_producers(&disk, &log);
        assert_eq!(snapshots(&disk), [6, 11, 14]);
    }
}

/// As of Kafka's logs, where files are missing: without an offset index a segment's transaction index is made anew, too.
#[test]
fn transaction_indexes_that_went_with_the_others_are_made_anew() {
    let gone = |disk: &Arc<dyn Disk>, names: &[String]| {
        let is_gone = |name: &String| names.iter().any(|end| name.ends_with(end.as_str()));
        let entries = disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name);
        entries.filter(is_gone).for_each(|name| disk.remove_file(&dir().join(name)).unwrap());
    };
    let index = |base: i64, suffix: &str| format!("{base:020}.{suffix}");
    let indexes = |base| ["index", "txnindex"].map(|suffix| index(base, suffix));
    let snapshots_gone = [vec![], vec![6], vec![6, 11], vec![14]];
    for (clean, writes_survived) in [(true, false), (false, true), (false, false)] {
        for bases in [vec![6], vec![11, 14], vec![6, 11, 14], vec![0, 6, 11, 14]] {
            for bare in &snapshots_gone {
                let disk = sim();
                let mut log = with_transactions(&disk);
                log.roll(0).unwrap();
                end_transaction(&mut log, 4, false);
                log.close().unwrap();
                let mut names: Vec<_> = bases.iter().copied().flat_map(indexes).collect();
                names.extend(bare.iter().map(|at| index(*at, "snapshot")));
                gone(&disk, &names);
                let recovery_point = 15;
                let options =
                    OpenOptions { clean, writes_survived, recovery_point, ..Default::default() };
                let (log, _) = Log::open(disk.clone(), dir(), small(), options).unwrap();
                check_producers(&disk, &log);
                log.close().unwrap();
                let (log, _) = open(&disk, small(), true, 15);
                check_producers(&disk, &log);
            }
        }
    }
}

#[test]
fn snapshots_go_with_their_segments() {
    let disk = sim();
    let mut log = with_transactions(&disk);
    log.delete_segments_below(11, 0).unwrap().remove(&*disk).unwrap();
    assert_eq!(snapshots(&disk), [11]);
    assert!(log.producers().entry(ProducerId(2)).is_some(), "its batches are gone, it is not");
    let end = log.close().unwrap().offset;
    let options = OpenOptions { clean: true, log_start_offset: 11, ..OpenOptions::default() };
    let (log, _) = Log::open(disk.clone(), dir(), small(), options).unwrap();
    assert_eq!(log.log_end_offset(), end);
    assert!(log.producers().entry(ProducerId(2)).is_some());
}

#[test]
fn segments_stay_of_whose_producers_a_torn_snapshot_would_tell() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk: Arc<dyn Disk> = sim.mount();
    let mut log = with_transactions(&disk);
    sim.decay(&dir().join("00000000000000000011.snapshot"), 20, 1).unwrap();
    assert_eq!(log.delete_segments_below(11, 0).unwrap().count, 1);
    let end = log.log_end_offset();
    log.roll(0).unwrap();
    assert_eq!(log.delete_segments_below(end, 0).unwrap().count, 2);
}

#[test]
fn a_snapshot_of_a_stop_goes_with_the_segment_that_it_lies_in() {
    let disk = sim();
    let end = with_transactions(&disk).close().unwrap().offset;
    let (mut log, _) = open(&disk, small(), true, end);
    append(&mut log, (2, 0, 4), false);
    log.roll(0).unwrap();
    let start = log.log_end_offset();
    assert_eq!(snapshots(&disk), [6, 11, end, start]);
    assert_eq!(log.delete_segments_below(start, 0).unwrap().count, 3);
    assert_eq!(snapshots(&disk), [start]);
}

#[test]
fn idle_producers_are_left_out_when_a_snapshot_is_loaded() {
    let disk = sim();
    let log = with_transactions(&disk);
    log.close().unwrap();
    let producer_id_expiration_ms = Some(100);
    let options = OpenOptions {
        clean: true,
        producer_id_expiration_ms,
        now_ms: 1107,
        ..OpenOptions::default()
    };
    let (log, _) = Log::open(disk, dir(), small(), options).unwrap();
    let ids: Vec<i64> = log.producers().iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [2, 3, 4]);
}

#[test]
fn transactions_that_ended_above_the_high_watermark_are_told() {
    let disk = sim();
    drop(with_transactions(&disk));
    let options =
        OpenOptions { writes_survived: true, high_watermark: 11, ..OpenOptions::default() };
    let (mut log, _) = Log::open(disk, dir(), small(), options).unwrap();
    let told = log.take_completed();
    assert_eq!(told.iter().map(|ended| ended.last_offset).collect::<Vec<_>>(), [11]);
    assert!(log.take_completed().is_empty());
}

#[test]
fn without_room_a_log_opens_without_a_snapshot() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk: Arc<dyn Disk> = sim.mount();
    drop(with_transactions(&disk));
    sim.set_capacity(sim.used_bytes());
    let options = OpenOptions { writes_survived: true, ..OpenOptions::default() };
    let (log, _) = Log::open(disk.clone(), dir(), small(), options).unwrap();
    assert_eq!(snapshots(&disk), [6, 11]);
    check_producers(&disk, &log);
    sim.set_capacity(1 << 30);
    log.close().unwrap();
    assert_eq!(snapshots(&disk), [6, 11, 14]);
}

#[test]
fn segments_stay_that_alone_tell_of_their_producers() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    append(&mut log, (1, 0, 0), false);
    let path_contains = ".snapshot".to_owned();
    sim.plan(Fault { kind: FaultKind::NoRoom, path_contains, skip: 0, times: 1 });
    log.roll(0).unwrap();
    append(&mut log, (2, 0, 0), false);
    assert_eq!(log.delete_segments_below(2, 0).unwrap().count, 0, "a retry would be written twice");
    log.roll(0).unwrap();
    append(&mut log, (3, 0, 0), false);
    assert_eq!(log.delete_segments_below(4, 0).unwrap().count, 2);
    let known = format!("{:?}", log.producers());
    drop(log);
    let (log, _) = open(&disk, small(), false, 0);
    assert_eq!(format!("{:?}", log.producers()), known);
}

use std::path::Path;
use std::sync::Arc;

use disk::{Crash, Disk, Fault, FaultKind, Open, RealDisk, SimDisk, SimDiskOptions};
use model::LeaderEpoch;

use crate::testing::*;
use crate::*;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

fn names(disk: &Arc<dyn Disk>) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_run_of_batches_is_one_write_and_rolls_in_between() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    let run: Vec<_> = (0..30).map(|index| batch(3 * index, 3, 0, 0)).collect();
    let appended = log.append(&run, 0).unwrap();
    assert!(appended.rolled);
    assert_eq!((appended.start.offset, appended.start.position), (0, 0));
    assert_eq!(appended.end, log.end());
    check(&log.view());
    let (mut one_by_one, _) = open(&sim(), small(), true, 0);
    for batch in run {
        one_by_one.append(&[batch], 0).unwrap();
    }
    let sizes = |log: &Log| log.segments.iter().map(|s| (s.base, s.size)).collect::<Vec<_>>();
    assert_eq!(sizes(&log), sizes(&one_by_one));
}

#[test]
fn patched_batches_reach_the_disk_as_their_header_says() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    let mut first = batch(0, 2, -1, 5);
    let mut second = batch(0, 3, -1, 6);
    first.assign(0, 4);
    second.assign(2, 4);
    log.append(&[first, second], 0).unwrap();
    check(&log.view());
    assert_eq!(bases(&log.view()), [0, 2]);
    assert_eq!(log.leader_epochs().latest().unwrap().epoch, LeaderEpoch(4));
}

#[test]
fn an_offset_below_the_end_is_refused_and_a_gap_is_not() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    log.append(&[batch(10, 3, 0, 0)], 0).unwrap();
    assert!(matches!(
        log.append(&[batch(12, 1, 0, 0)], 0),
        Err(AppendError::OutOfOrder { offset: 12, end: 13 })
    ));
    log.append(&[batch(20, 3, 0, 0)], 0).unwrap();
    assert_eq!(log.view().read(15, 1, true, i64::MAX).unwrap().start.offset, 20);
}

#[test]
fn segments_roll_by_age_index_and_offset_range() {
    let by_age = LogConfig { segment_ms: 100, ..LogConfig::default() };
    let (mut log, _) = open(&sim(), by_age, true, 0);
    log.append(&[batch(0, 1, 0, 1000)], 0).unwrap();
    assert!(!log.append(&[batch(1, 1, 0, 1100)], 9000).unwrap().rolled);
    assert!(log.append(&[batch(2, 1, 0, 1101)], 0).unwrap().rolled);

    let by_index =
        LogConfig { segment_index_bytes: 36, index_interval_bytes: 0, ..LogConfig::default() };
    let (mut log, _) = open(&sim(), by_index, true, 0);
    fill(&mut log, 10, 0);
    assert!(log.segment_count() > 2);
    check(&log.view());

    let (mut log, _) = open(&sim(), LogConfig::default(), true, 0);
    log.append(&[batch(5, 1, 0, 0)], 0).unwrap();
    let far = 1 + i64::from(i32::MAX);
    assert!(log.append(&[batch(far, 1, 0, 0)], 0).unwrap().rolled);
    assert_eq!(log.end().segment_base, 6, "segments meet");
    log.append(&[batch(far + 7, 1, 0, 0)], 0).unwrap();
    log.append(&[batch(3 * far, 1, 0, 0)], 0).unwrap();
    assert_eq!(log.end().segment_base, 3 * far, "where they can");
}

#[test]
fn a_clean_close_is_opened_without_a_scan_and_goes_on() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 25, 1);
    fill(&mut log, 25, 2);
    let before = bases(&log.view());
    log.close().unwrap();
    let (mut log, report) = open(&disk, small(), true, 0);
    assert_eq!(report, Recovered::default());
    assert_eq!((log.log_end_offset(), log.recovery_point()), (150, 150));
    assert_eq!(bases(&log.view()), before);
    let starts: Vec<_> =
        log.leader_epochs().entries().map(|e| (e.epoch.0, e.start_offset)).collect();
    assert_eq!(starts, [(1, 0), (2, 75)]);
    fill(&mut log, 20, 2);
    check(&log.view());
}

#[test]
fn rebuilt_indexes_are_those_that_were_written() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 50, 1);
    log.close().unwrap();
    let read_all = |disk: &Arc<dyn Disk>| -> Vec<(String, Vec<u8>)> {
        let all = names(disk).into_iter().filter(|name| name.ends_with("index"));
        all.map(|name| (name.clone(), disk.read(&dir().join(name), 1 << 20).unwrap())).collect()
    };
    let written = read_all(&disk);
    for (name, _) in &written {
        disk.remove_file(&dir().join(name)).unwrap();
    }
    let (log, report) = open(&disk, small(), false, 0);
    assert_eq!(report.scanned_segments, log.segment_count());
    log.close().unwrap();
    assert_eq!(read_all(&disk), written);
}

#[test]
fn after_the_end_of_the_process_alone_only_the_tail_is_read() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 50, 1);
    log.truncate_to(140, 0).unwrap();
    fill(&mut log, 20, 2);
    let before = bases(&log.view());
    let segments = log.segment_count();
    let torn = batch(log.log_end_offset(), 3, 2, 0).to_bytes();
    let end = log.end();
    log.active_segment().file.write_at(&torn[..torn.len() - 1], end.position).unwrap();
    drop(log);
    sim.crash(Crash::Kill);
    let options = OpenOptions { writes_survived: true, ..OpenOptions::default() };
    let (log, report) = Log::open(sim.mount(), dir(), small(), options).unwrap();
    assert_eq!(bases(&log.view()), before);
    assert_eq!((log.end(), log.recovery_point(), log.segment_count()), (end, 0, segments));
    assert_eq!(report.truncated_bytes, torn.len() as u64 - 1);
    assert_eq!(report.scanned_segments, 1);
    check(&log.view());
}

#[test]
fn truncation_leaves_a_log_that_goes_on() {
    for offset in 0..=60 {
        let disk = sim();
        let (mut log, _) = open(&disk, small(), true, 0);
        fill(&mut log, 10, 1);
        fill(&mut log, 10, 3);
        assert_eq!(log.truncate_to(offset, 0).unwrap().is_some(), offset < 60);
        let end = offset / 3 * 3;
        assert_eq!(log.log_end_offset(), end);
        let expected = [(1, 0), (3, 30)].into_iter().filter(|(_, start)| *start < end);
        let starts = log.leader_epochs().entries().map(|e| (e.epoch.0, e.start_offset));
        assert!(starts.eq(expected));
        check(&log.view());
        fill(&mut log, 15, 4);
        check(&log.view());
        drop(log);
        let (log, _) = open(&disk, small(), false, 0);
        assert_eq!(log.log_end_offset(), end + 45);
        check(&log.view());
    }
}

#[test]
fn an_epoch_without_records_goes_when_another_leads() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    fill(&mut log, 2, 1);
    log.begin_epoch(LeaderEpoch(5));
    assert_eq!(log.leader_epochs().latest().unwrap().epoch, LeaderEpoch(5));
    assert!(log.truncate_to(6, 0).unwrap().is_none());
    assert_eq!(log.leader_epochs().latest().unwrap().epoch, LeaderEpoch(1));
    fill(&mut log, 1, 4);
    let end = log.view().end_offset_for_epoch(LeaderEpoch(3)).unwrap();
    assert_eq!((end.epoch, end.end_offset), (LeaderEpoch(1), 6));
}

/// A node stops with thousands of such logs.
#[test]
fn a_log_that_was_led_and_not_written_to_costs_no_sync_when_it_is_closed() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    log.begin_epoch(LeaderEpoch(1));
    // But its directory is.
    sim.plan(Fault { kind: FaultKind::SyncLoss, path_contains: "".into(), skip: 0, times: 1 });
    log.close().unwrap();
    sim.forget_plan();
    let (mut log, _) = open(&disk, small(), true, 0);
    log.begin_epoch(LeaderEpoch(2));
    sim.plan(Fault { kind: FaultKind::SyncError, path_contains: "".into(), skip: 0, times: 1 });
    log.close().unwrap();
    sim.forget_plan();
    // As Kafka leaves it; a power loss may leave its length alone.
    let epochs = dir().join("leader-epoch-checkpoint");
    assert_eq!(disk.read(&epochs, 100).unwrap(), b"0\n1\n2 0\n");
    disk.open(&epochs, Open::Truncate).unwrap().set_len(8).unwrap();
    let (mut log, _) = open(&disk, small(), true, 0);
    log.begin_epoch(LeaderEpoch(3));
    log.append(&[batch(0, 1, 3, 0)], 0).unwrap();
    log.close().unwrap();
    assert_eq!(disk.read(&epochs, 100).unwrap(), b"0\n1\n3 0\n");
}

#[test]
fn batches_of_a_lower_epoch_are_remains() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 15, 5);
    log.roll(0).unwrap();
    fill(&mut log, 15, 4);
    drop(log);
    let (log, report) = open(&disk, small(), false, 0);
    assert_eq!((log.log_end_offset(), report.truncated_bytes > 0), (45, true));
    check(&log.view());
}

#[test]
fn truncating_everything_starts_anew() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 40, 1);
    log.truncate_fully_and_start_at(1000, 0).unwrap().remove(&*disk).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (1000, 1000));
    assert!(log.leader_epochs().latest().is_none());
    fill(&mut log, 3, 2);
    check(&log.view());
    assert!(!names(&disk).iter().any(|name| name.starts_with("0000000000000000000")));
}

#[test]
fn a_sync_that_a_truncation_overtook_does_not_count() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    fill(&mut log, 10, 1);
    let job = log.sync_job().unwrap();
    log.truncate_to(9, 0).unwrap();
    fill(&mut log, 10, 2);
    job.run().unwrap();
    log.synced(&job);
    assert_eq!(log.recovery_point(), 0);
    log.sync().unwrap();
    assert_eq!(log.recovery_point(), 39);
    assert!(log.sync_job().is_none());
}

#[test]
fn interrupted_deletions_and_swaps_are_finished() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 60, 1);
    let (first, second) = (log.segments[0].base, log.segments[1].base);
    let third = log.segments[2].base;
    log.close().unwrap();
    let name = |base: i64, suffix: &str| dir().join(format!("{base:020}{suffix}"));
    // The first two segments, cleaned into one that holds the first batch and the last.
    let put = |path: &Path, bytes: &[u8]| {
        disk.open(path, Open::Truncate).unwrap().write_at(bytes, 0).unwrap();
    };
    let kept = [batch(0, 3, 1, 0).to_bytes(), batch(third - 3, 3, 1, 0).to_bytes()].concat();
    put(&name(first, ".log.swap"), &kept);
    put(&name(first, ".index.swap"), b"");
    put(&name(first, ".timeindex.swap"), b"");
    put(&name(90, ".log.cleaned"), b"rubbish");
    put(&name(5, ".log.deleted"), b"rubbish");
    put(&name(77, ".index"), b"rubbish");
    let (log, _) = open(&disk, LogConfig { compacted: true, ..small() }, false, 0);
    assert_eq!(bases(&log.view())[..3], [0, third - 3, third]);
    let left = names(&disk);
    assert!(!left.iter().any(|name| name.contains(".swap") || name.contains(".cleaned")));
    assert!(!left.contains(&format!("{second:020}.log")));
    assert!(!left.contains(&format!("{:020}.index", 77)));
}

#[test]
fn a_swap_without_records_takes_the_place_of_all_that_was_at_its_base() {
    let disk = sim();
    let config = LogConfig { compacted: true, ..small() };
    let (mut log, _) = open(&disk, config.clone(), true, 0);
    fill(&mut log, 2, 1);
    log.roll(0).unwrap();
    log.append(&[produced(6, 1, 1, (9, 0, 0), true), marker(7, 1, (9, 0), false)], 0).unwrap();
    log.roll(0).unwrap();
    fill(&mut log, 2, 1);
    assert_eq!(log.view().aborted_transactions(0, i64::MAX).unwrap().len(), 1);
    let end = log.close().unwrap().offset;
    let path = dir().join(format!("{:020}.log.swap", 6));
    disk.open(&path, Open::Truncate).unwrap().sync_data().unwrap();
    let (log, _) = open(&disk, config, false, end);
    assert_eq!(bases(&log.view()), [0, 3, 8, 11]);
    assert_eq!(log.view().aborted_transactions(0, i64::MAX).unwrap(), []);
}

/// An unclean election: what this replica wrote as leader is cut off, and more of the epoch before comes.
#[test]
fn an_epoch_that_was_cut_off_is_forgotten_also_where_the_process_is_killed() {
    for (again, newer) in [(0, 1), (1, 0), (1, 1), (30, 0), (30, 1)] {
        let sim = SimDisk::new(SimDiskOptions::default());
        let (mut log, _) = open(&sim.mount(), small(), true, 0);
        fill(&mut log, 10, 5);
        fill(&mut log, 3, 6);
        log.sync().unwrap();
        assert!(log.truncate_to(30, 0).unwrap().is_some());
        fill(&mut log, again, 5);
        fill(&mut log, newer, 7);
        let (known, recovery_point) = (log.leader_epochs().clone(), log.recovery_point());
        drop(log);
        sim.crash(Crash::Kill);
        let survived =
            OpenOptions { writes_survived: true, recovery_point, ..OpenOptions::default() };
        let (log, _) = Log::open(sim.mount(), dir(), small(), survived).unwrap();
        assert_eq!(*log.leader_epochs(), known, "{again} {newer}");
    }
}

#[test]
fn what_a_failed_write_left_is_cut_off() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 3, 1);
    sim.plan(Fault {
        kind: FaultKind::WriteError,
        path_contains: ".log".to_owned(),
        skip: 0,
        times: 1,
    });
    assert!(matches!(log.append(&[batch(9, 50, 1, 0)], 0), Err(AppendError::Disk(_))));
    assert_eq!(log.log_end_offset(), 9);
    log.append(&[batch(9, 1, 1, 0)], 0).unwrap();
    log.close().unwrap();
    let (log, report) = open(&disk, small(), true, 0);
    assert_eq!(report.truncated_bytes, 0);
    assert_eq!(bases(&log.view()), [0, 3, 6, 9]);
}

#[test]
fn a_log_start_beyond_the_end_starts_anew_there() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 3, 1);
    log.close().unwrap();
    let options = OpenOptions { clean: true, log_start_offset: 50, ..OpenOptions::default() };
    let (log, _) = Log::open(disk, dir(), small(), options).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size()), (50, 50, 0));
}

#[test]
fn a_legacy_log_is_refused_and_left_alone() {
    let disk = sim();
    disk.create_dir_all(&dir()).unwrap();
    // A message of magic 1 with key and value null, as Kafka 0.10 wrote it.
    let body = [1u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    let mut entry = vec![0; 8];
    entry.extend_from_slice(&22u32.to_be_bytes());
    entry.extend_from_slice(&0xed3b_28f1u32.to_be_bytes());
    entry.extend_from_slice(&body);
    let path = dir().join("00000000000000000000.log");
    let put = |entry: &[u8]| disk.open(&path, Open::Truncate).unwrap().write_at(entry, 0).unwrap();
    let mut wrong = entry.clone();
    wrong[12] ^= 1;
    put(&wrong);
    let (log, report) = open(&disk, small(), false, 0);
    assert_eq!((log.log_end_offset(), report.truncated_bytes), (0, 34));
    let crc = !body.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    entry[12..16].copy_from_slice(&crc.to_be_bytes());
    put(&entry);
    let refused = Log::open(disk.clone(), dir(), small(), OpenOptions::default());
    assert!(matches!(refused, Err(OpenError::LegacyFormat { magic: 1, .. })));
    assert_eq!(disk.metadata(&path).unwrap().len, 34);
}

#[test]
fn the_real_disk_keeps_it_all() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("orders-0");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let options = |clean| OpenOptions { clean, ..OpenOptions::default() };
    let (mut log, _) = Log::open(disk.clone(), dir.clone(), small(), options(true)).unwrap();
    fill(&mut log, 60, 1);
    check(&log.view());
    log.sync().unwrap();
    log.truncate_to(100, 0).unwrap();
    fill(&mut log, 10, 2);
    check(&log.view());
    drop(log);
    let (log, _) = Log::open(disk.clone(), dir.clone(), small(), options(false)).unwrap();
    assert_eq!(log.log_end_offset(), 129);
    check(&log.view());
    log.close().unwrap();
    let (mut log, report) = Log::open(disk, dir, small(), options(true)).unwrap();
    assert_eq!(report, Recovered::default());
    let view = log.view();
    let _ = log.delete_segments_below(90, 0).unwrap();
    check(&view);
    check(&log.view());
}

#[test]
fn deleted_segments_wait_under_another_name_and_are_gone_when_the_log_opens_again() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 60, 1);
    let aside = |disk: &Arc<dyn Disk>| {
        let entries = disk.list(&dir()).unwrap().into_iter();
        entries.filter(|entry| entry.name.ends_with("log.deleted")).count()
    };
    let first = log.delete_segments_below(60, 0).unwrap();
    assert_eq!(aside(&disk), first.count);
    first.remove(&*disk).unwrap();
    assert_eq!(aside(&disk), 0);
    let second = log.delete_segments_below(120, 0).unwrap();
    assert_eq!(aside(&disk), second.count);
    log.close().unwrap();
    let (log, _) = open(&disk, small(), true, 0);
    assert!((60..=120).contains(&log.log_start_offset()));
    assert_eq!(aside(&disk), 0);
    second.remove(&*disk).unwrap();
}

#[test]
fn what_was_preallocated_and_not_used_is_given_back_with_the_segment() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let config = LogConfig { segment_bytes: 1 << 20, preallocate: true, ..LogConfig::default() };
    let (mut log, _) = open(&disk, config.clone(), true, 0);
    fill(&mut log, 3, 1);
    assert!((1 << 20..1 << 21).contains(&sim.used_bytes()), "{}", sim.used_bytes());
    log.roll(0).unwrap();
    fill(&mut log, 3, 1);
    assert!((1 << 20..1 << 21).contains(&sim.used_bytes()), "{}", sim.used_bytes());
    log.set_config(LogConfig { preallocate: false, ..config });
    log.close().unwrap();
    assert!(sim.used_bytes() < 1 << 16, "{}", sim.used_bytes());
}

#[test]
fn what_was_preallocated_before_the_process_ended_is_given_back_too() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let config = LogConfig { segment_bytes: 1 << 20, preallocate: true, ..LogConfig::default() };
    let (mut log, _) = open(&sim.mount(), config.clone(), true, 0);
    fill(&mut log, 3, 1);
    sim.crash(Crash::Kill);
    let options = OpenOptions { writes_survived: true, ..OpenOptions::default() };
    let (log, _) = Log::open(sim.mount(), dir(), config, options).unwrap();
    assert!((1 << 20..1 << 21).contains(&sim.used_bytes()), "{}", sim.used_bytes());
    log.close().unwrap();
    assert!(sim.used_bytes() < 1 << 16, "{}", sim.used_bytes());
}

#[test]
fn truncated_segments_are_set_aside_until_their_owner_removes_them() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 40, 1);
    let before = log.segment_count();
    let aside = || disk.list(&dir()).unwrap().into_iter().filter(|e| e.name.ends_with(".deleted"));
    let deleted = log.truncate_to(60, 0).unwrap().unwrap();
    assert_eq!(deleted.count, before - log.segment_count());
    assert!(aside().filter(|entry| entry.name.ends_with(".log.deleted")).count() == deleted.count);
    fill(&mut log, 20, 2);
    check(&log.view());
    log.remove(&deleted).unwrap();
    assert_eq!(aside().count(), 0);
    check(&log.view());
}

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use disk::{Crash, Disk, Fault, FaultKind, Open, RealDisk, SimDisk, SimDiskOptions};
use model::LeaderEpoch;
use wire::compression::Codec;

use crate::testing::*;
use crate::*;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

fn names(disk: &Arc<dyn Disk>) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn reads_find_every_offset_and_keep_their_bounds() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    fill(&mut log, 60, 1);
    let view = log.view();
    assert!(view.segments.len() > 3);
    check(&view);
    let one = view.read(7, 1, true, i64::MAX).unwrap();
    assert_eq!((one.start.offset, one.slice.len), (6, one.first_batch.unwrap().size()));
    let none = view.read(7, 1, false, i64::MAX).unwrap();
    assert!(none.first_batch.is_none() && none.slice.len == 0);
    for bound in 0..=40 {
        let bytes = view.read_bytes(0, 1 << 20, true, bound).unwrap();
        let last = wire::batch::batches(bytes).last().map(|batch| batch.unwrap());
        let end = last.map_or(0, |batch| batch.header().next_offset());
        let whole = bound / 3 * 3;
        let segment_end = view.segments[1].base;
        assert_eq!(end, whole.min(segment_end), "bound {bound}");
    }
    assert_eq!(view.read(180, 100, true, i64::MAX).unwrap().slice.len, 0);
    assert!(matches!(view.read(181, 1, true, i64::MAX), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(view.read(-1, 1, true, i64::MAX), Err(ReadError::OutOfRange { .. })));
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
    assert_eq!(log.end().segment_base, far);
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
fn a_log_opens_while_readers_of_its_last_life_hold_their_view() {
    for (disk, dir, _temp) in [(sim(), dir(), None), {
        let temp = tempfile::tempdir().unwrap();
        (Arc::new(RealDisk::new()) as Arc<dyn Disk>, temp.path().join("orders-0"), Some(temp))
    }] {
        let open = |point| {
            let options = OpenOptions { recovery_point: point, ..OpenOptions::default() };
            Log::open(disk.clone(), dir.clone(), small(), options).unwrap().0
        };
        let mut log = open(0);
        fill(&mut log, 60, 1);
        let view = log.view();
        check(&view);
        drop(log);
        let mut log = open(0);
        check(&log.view());
        log.truncate_to(120, 0).unwrap();
        fill(&mut log, 40, 2);
        drop(log);
        let log = open(120);
        check(&log.view());
        assert!(view.read_bytes(0, 1000, true, i64::MAX).unwrap().len() > 900);
        log.close().unwrap();
    }
}

#[test]
fn truncation_leaves_a_log_that_goes_on() {
    for offset in 0..=60 {
        let disk = sim();
        let (mut log, _) = open(&disk, small(), true, 0);
        fill(&mut log, 10, 1);
        fill(&mut log, 10, 3);
        assert_eq!(log.truncate_to(offset, 0).unwrap(), offset < 60);
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
fn truncating_everything_starts_anew() {
    let disk = sim();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 40, 1);
    log.truncate_fully_and_start_at(1000, 0).unwrap();
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
fn retention_gives_up_whole_segments_that_readers_keep() {
    let (mut log, _) = open(&sim(), small(), true, 0);
    fill(&mut log, 60, 1);
    let view = log.view();
    let none = RetentionPolicy { retention_ms: -1, retention_bytes: -1 };
    assert_eq!(log.deletable_segments(&none, 180, 1 << 40).unwrap(), None);
    let by_size = RetentionPolicy { retention_bytes: 4000, ..none };
    let start = log.deletable_segments(&by_size, 180, 0).unwrap().unwrap();
    let left: u64 = (0..log.segment_count())
        .filter(|index| log.segments[*index].base >= start)
        .map(|index| view.size_of(index))
        .sum();
    assert!((4000..6000).contains(&left), "{left}");
    assert_eq!(
        log.deletable_segments(&by_size, start - 1, 0).unwrap(),
        log.segments[..].iter().map(|s| s.base).rfind(|base| *base < start && *base > 0)
    );
    let by_age = RetentionPolicy { retention_ms: 100, ..none };
    assert_eq!(log.deletable_segments(&by_age, 180, 1 << 40).unwrap(), Some(180));
    assert!(log.delete_segments_below(start, 0).unwrap() > 0);
    assert_eq!(log.log_start_offset(), start);
    check(&log.view());
    check(&view);
    log.delete_segments_below(180, 0).unwrap();
    assert_eq!((log.log_start_offset(), log.segment_count(), log.size()), (180, 1, 0));
    fill(&mut log, 2, 1);
    check(&log.view());
}

#[test]
fn timestamps_lead_to_the_first_record_that_has_them() {
    for codec in Codec::ALL {
        let (mut log, _) = open(&sim(), small(), true, 0);
        let mut records = Vec::new();
        for index in 0..60 {
            // Not in order, so that the time index has to skip.
            let timestamp = 1000 + 100 * (index ^ 5);
            log.append(&[coded(codec, 3 * index, 3, 7, timestamp)], 0).unwrap();
            records.extend((0..3).map(|at| (timestamp + at, 3 * index + at)));
        }
        let view = log.view();
        for timestamp in 900..7100 {
            let first = records.iter().find(|record| record.0 >= timestamp);
            let found = view.offset_for_timestamp(timestamp).unwrap();
            assert_eq!(found.map(|found| (found.timestamp, found.offset)), first.copied());
        }
        let (timestamp, offset) = *records.iter().max_by_key(|record| record.0).unwrap();
        let leader_epoch = Some(LeaderEpoch(7));
        let max = view.max_timestamp().unwrap();
        assert_eq!(max, Some(TimestampOffset { timestamp, offset, leader_epoch }));
        log.advance_log_start(50);
        let found = log.view().offset_for_timestamp(0).unwrap().unwrap();
        assert_eq!(found.offset, 50);
    }
    let (log, _) = open(&sim(), small(), true, 0);
    assert_eq!(log.view().offset_for_timestamp(0).unwrap(), None);
    assert_eq!(log.view().max_timestamp().unwrap(), None);
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
    log.delete_segments_below(90, 0).unwrap();
    check(&view);
    check(&log.view());
}

#[test]
fn readers_and_syncs_run_beside_the_writer() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let dir = temp.path().join("orders-0");
    let options = OpenOptions::default();
    let (mut log, _) = Log::open(disk.clone(), dir.clone(), small(), options).unwrap();
    let published = Mutex::new(log.view());
    let done = AtomicBool::new(false);
    let (jobs, to_run) = std::sync::mpsc::channel::<SyncJob>();
    let (finished, results) = std::sync::mpsc::channel::<SyncJob>();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let view = published.lock().unwrap().clone();
                    check(&view);
                    let middle = (view.log_start_offset() + view.log_end_offset()) / 2;
                    if middle < view.log_end_offset() {
                        let found = view.offset_for_timestamp(1000 + 10 * (middle / 3 * 3));
                        assert_eq!(found.unwrap().unwrap().offset, middle / 3 * 3);
                    }
                }
            });
        }
        scope.spawn(move || {
            for job in to_run {
                job.run().unwrap();
                finished.send(job).unwrap();
            }
        });
        for round in 0..150 {
            fill(&mut log, 5, 1);
            *published.lock().unwrap() = log.view();
            if let Some(job) = log.sync_job() {
                jobs.send(job).unwrap();
            }
            while let Ok(job) = results.try_recv() {
                log.synced(&job);
            }
            if round % 10 == 9 {
                log.delete_segments_below(log.log_end_offset() - 200, 0).unwrap();
            }
        }
        drop(jobs);
        done.store(true, Ordering::Release);
    });
    while let Ok(job) = results.try_recv() {
        log.synced(&job);
    }
    assert_eq!(log.recovery_point(), log.log_end_offset());
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    drop(log);
    let options = OpenOptions { recovery_point: end, log_start_offset: start, ..options };
    let (log, _) = Log::open(disk, dir, small(), options).unwrap();
    assert_eq!(log.log_end_offset(), end);
    check(&log.view());
}

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use disk::{Disk, RealDisk, SimDisk, SimDiskOptions};
use model::LeaderEpoch;
use wire::compression::Codec;

use crate::testing::*;
use crate::*;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
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
    assert!(log.delete_segments_below(start, 0).unwrap().count > 0);
    assert_eq!(log.log_start_offset(), start);
    check(&log.view());
    check(&view);
    let _ = log.delete_segments_below(180, 0).unwrap();
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
                let deleted = log.delete_segments_below(log.log_end_offset() - 200, 0).unwrap();
                deleted.remove(&*log.disk).unwrap();
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

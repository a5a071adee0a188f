//! Syncs that fail: what they leave is written again, or is told to be gone.

use std::path::Path;

use disk::{Crash, Disk, Fault, FaultKind, SimDisk, SimDiskOptions};
use std::sync::Arc;

use crate::testing::*;
use crate::*;

fn disk(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (sim, disk)
}

fn fail_sync(sim: &SimDisk, kind: FaultKind, suffix: &str, skip: u64) {
    sim.plan(Fault { kind, path_contains: suffix.to_owned(), skip, times: 1 });
}

/// Batches of transactions that end in aborts.
fn abort(log: &mut Log, id: i64) {
    let base = log.log_end_offset();
    log.append(&[produced(base, 3, 1, (id, 0, base as i32), true)], 0).unwrap();
    log.append(&[marker(base + 3, 1, (id, 0), false)], 0).unwrap();
}

#[test]
fn what_a_failed_sync_left_is_written_again() {
    for (kind, suffix) in [
        (FaultKind::SyncError, ".log"),
        (FaultKind::SyncError, "index"),
        (FaultKind::SyncLoss, ".index"),
        (FaultKind::SyncLoss, ".timeindex"),
        (FaultKind::SyncLoss, ".txnindex"),
        (FaultKind::SyncLoss, ".snapshot"),
    ] {
        for (seed, skip) in (0..30).map(|seed| (seed, seed % 3)) {
            let (sim, disk) = disk(seed);
            let (mut log, _) = open(&disk, small(), false, 0);
            fill(&mut log, 3, 1);
            abort(&mut log, 1);
            log.sync().unwrap();
            let synced = log.recovery_point();
            fill(&mut log, 10, 1);
            abort(&mut log, 2);
            log.roll(0).unwrap();
            fill(&mut log, 6, 1);
            abort(&mut log, 3);
            log.roll(0).unwrap();
            let reader = log.view();
            fail_sync(&sim, kind, suffix, skip);
            while log.sync().is_err() {
                log.rewrite_unsynced().unwrap();
            }
            check_indexes(&log);
            check_producers(&disk, &log);
            check(&reader);
            fill(&mut log, 2, 1);
            while log.sync().is_err() {
                log.rewrite_unsynced().unwrap();
            }
            let end = log.log_end_offset();
            drop(log);
            sim.crash(Crash::PowerLoss);
            let disk = sim.mount();
            let (log, report) =
                open(&disk, small(), false, if seed % 2 == 0 { synced } else { end });
            assert_eq!((log.log_end_offset(), report.truncated_bytes), (end, 0), "seed {seed}");
            check(&log.view());
            check_indexes(&log);
            check_producers(&disk, &log);
        }
    }
}

#[test]
fn what_the_kernel_let_go_after_a_failed_sync_is_never_taken_for_durable() {
    for rolls in [false, true] {
        let (sim, disk) = disk(7);
        let (mut log, _) = open(&disk, small(), false, 0);
        fill(&mut log, 3, 1);
        log.sync().unwrap();
        fill(&mut log, 5, 1);
        if rolls {
            log.roll(0).unwrap();
            fill(&mut log, 5, 1);
        }
        fail_sync(&sim, FaultKind::SyncLoss, ".log", u64::from(rolls));
        log.sync().unwrap_err();
        let told = log.rewrite_unsynced();
        assert!(matches!(told, Err(OpenError::Read(ReadError::Corrupt { .. }))), "{told:?}");
    }
}

#[test]
fn a_batch_that_came_back_in_an_older_life_is_not_taken_for_what_was_appended() {
    let (_, disk) = disk(0);
    let (mut log, _) = open(&disk, small(), false, 0);
    log.append(&[batch(0, 3, 1, 1000)], 0).unwrap();
    log.append(&[batch(3, 3, 4, 1000)], 0).unwrap();
    let first = batch(0, 3, 1, 1000).size() as u64;
    let file = disk.open(&dir().join("00000000000000000000.log"), disk::Open::ReadWrite).unwrap();
    // The base offset, and the leader epoch, of the second.
    for (at, byte) in [(7, 4), (15, 1)] {
        log.rewrite_unsynced().unwrap();
        let mut was = [0];
        file.read_exact_at(&mut was, first + at).unwrap();
        file.write_at(&[byte], first + at).unwrap();
        log.rewrite_unsynced().unwrap_err();
        file.write_at(&was, first + at).unwrap();
    }
}

/// Its index waits in memory for the room that there was not when the log was opened.
#[test]
fn a_closed_segment_that_is_written_again_keeps_its_largest_timestamp() {
    let (sim, disk) = disk(1);
    let (mut log, _) = open(&disk, small(), false, 0);
    fill(&mut log, 40, 1);
    drop(log);
    for name in disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name) {
        if name.ends_with("index") {
            disk.remove_file(&dir().join(name)).unwrap();
        }
    }
    let (kind, path_contains) = (FaultKind::NoRoom, "index".to_owned());
    sim.plan(Fault { kind, path_contains, skip: 0, times: u64::MAX });
    let (mut log, _) = open(&disk, small(), false, 0);
    assert!(log.segment_count() > 2);
    sim.forget_plan();
    check_indexes(&log);
    fail_sync(&sim, FaultKind::SyncError, ".log", 0);
    log.sync().unwrap_err();
    log.rewrite_unsynced().unwrap();
    check_indexes(&log);
    log.sync().unwrap();
    check_indexes(&log);
}

/// As it was when the log was closed.
#[test]
fn the_segment_in_use_that_is_written_again_keeps_its_largest_timestamp() {
    let (sim, disk) = disk(1);
    for batches in 1..4 {
        let (mut log, _) = open(&disk, small(), true, 0);
        fill(&mut log, batches, 1);
        log.close().unwrap();
        let (mut log, _) = open(&disk, small(), true, 0);
        log.begin_epoch(model::LeaderEpoch(batches as i32 + 1));
        let base = log.log_end_offset();
        log.append(&[batch(base, 1, batches as i32 + 1, 0)], 0).unwrap();
        fail_sync(&sim, FaultKind::SyncError, ".log", 0);
        log.sync().unwrap_err();
        log.rewrite_unsynced().unwrap();
        log.roll(0).unwrap();
        check_indexes(&log);
        log.close().unwrap();
    }
}

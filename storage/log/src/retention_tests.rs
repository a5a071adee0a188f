//! Retention where there is no room for what it makes.

use std::sync::Arc;

use disk::{Disk, Fault, FaultKind, SimDisk, SimDiskOptions};

use crate::testing::*;
use crate::*;

fn no_room(sim: &SimDisk, kind: FaultKind) {
    sim.plan(Fault { kind, path_contains: String::new(), skip: 0, times: u64::MAX });
}

fn large() -> LogConfig {
    LogConfig { index_interval_bytes: 200, ..LogConfig::default() }
}

/// Of segments, but for what is to be removed.
fn files(disk: &Arc<dyn Disk>) -> Vec<String> {
    let names = disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with('0') && !name.ends_with(".deleted")).collect()
}

fn reopened(sim: &SimDisk, log: Log, clean: bool) -> Log {
    let start = log.log_start_offset();
    if clean {
        log.close().unwrap();
    } else {
        drop(log);
        sim.crash(disk::Crash::Kill);
    }
    let options = OpenOptions { clean, log_start_offset: start, ..OpenOptions::default() };
    Log::open(sim.mount(), dir(), large(), options).unwrap().0
}

#[test]
fn where_no_block_is_free_the_segment_in_use_goes_too() {
    for (indexed, clean) in [(false, false), (true, false), (true, true)] {
        let sim = SimDisk::new(SimDiskOptions::default());
        let disk = sim.mount();
        let (mut log, _) = open(&disk, large(), true, 0);
        fill(&mut log, 20, 1);
        if indexed {
            log.close().unwrap();
            log = open(&disk, large(), true, 60).0;
        }
        let reader = log.view();
        no_room(&sim, FaultKind::NoRoom);
        let deleted = log.delete_segments_below(60, 0).unwrap();
        assert_eq!((deleted.count, log.size(), log.log_start_offset()), (1, 0, 60));
        check(&reader);
        deleted.remove(&*disk).unwrap();
        assert!(files(&disk).iter().all(|name| name.starts_with("00000000000000000060")));
        sim.forget_plan();
        fill(&mut log, 20, 1);
        let log = reopened(&sim, log, clean);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (60, 120));
        check(&log.view());
    }
}

/// It alone tells of them, until there is room for a snapshot.
#[test]
fn where_its_producers_cannot_be_told_of_the_segment_in_use_stays_and_the_log_goes_on() {
    for goes in [false, true] {
        let sim = SimDisk::new(SimDiskOptions::default());
        let disk = sim.mount();
        let (mut log, _) = open(&disk, large(), true, 0);
        log.append(&[produced(0, 3, 1, (7, 0, 0), false)], 0).unwrap();
        fill(&mut log, 20, 1);
        log.roll(0).unwrap();
        fill(&mut log, 20, 1);
        log.sync().unwrap();
        no_room(&sim, FaultKind::NoRoom);
        let deleted = log.delete_segments_below(123, 0).unwrap();
        assert_eq!((deleted.count, log.segment_count(), log.log_start_offset()), (1, 1, 123));
        sim.forget_plan();
        if goes {
            assert_eq!(log.delete_segments_below(123, 0).unwrap().count, 1);
        }
        fill(&mut log, 20, 1);
        log.roll(0).unwrap();
        check_indexes(&log);
        let log = reopened(&sim, log, !goes);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (123, 183));
        assert_eq!(log.producers().iter().count(), 1);
        check(&log.view());
    }
}

#[test]
fn what_finds_no_room_for_its_new_name_stays_until_the_next_look() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    fill(&mut log, 100, 1);
    let before = log.segment_count();
    no_room(&sim, FaultKind::NoRoomForName);
    assert_eq!(log.delete_segments_below(200, 0).unwrap().count, 0);
    assert_eq!((log.segment_count(), log.log_start_offset()), (before, 200));
    check(&log.view());
    sim.forget_plan();
    assert!(log.delete_segments_below(200, 0).unwrap().count > 1);
    check(&log.view());
}

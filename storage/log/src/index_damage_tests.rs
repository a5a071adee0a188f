//! Index files that are not there, empty, torn or wrong are made anew, and durable with the next sync.

use std::path::PathBuf;
use std::sync::Arc;

use disk::{Crash, Disk, Open, SimDisk, SimDiskOptions};

use crate::testing::*;
use crate::*;

/// How a log may have ended.
const ENDS: [(bool, bool); 3] = [(true, false), (false, true), (false, false)];
const BASE: i64 = 0;

/// A log of several segments and two epochs, closed; its end.
fn closed(disk: &Arc<dyn Disk>) -> i64 {
    let (mut log, _) = open(disk, small(), true, 0);
    fill(&mut log, 9, 1);
    fill(&mut log, 30, 2);
    assert!(log.segment_count() > 2);
    log.close().unwrap().offset
}

fn file(suffix: &str) -> PathBuf {
    dir().join(format!("{BASE:020}.{suffix}"))
}

fn reopen(
    disk: &Arc<dyn Disk>,
    (clean, writes_survived): (bool, bool),
    point: i64,
) -> (Log, Recovered) {
    let options =
        OpenOptions { clean, writes_survived, recovery_point: point, ..OpenOptions::default() };
    Log::open(disk.clone(), dir(), small(), options).unwrap()
}

fn check_all(log: &Log, end: i64) {
    assert_eq!(log.log_end_offset(), end);
    check(&log.view());
    check_indexes(log);
    for offset in [0, 4, end - 1] {
        let base = offset / 3 * 3;
        let found = log.view().offset_for_timestamp(1000 + 10 * base).unwrap().unwrap();
        assert_eq!(found.offset, base);
    }
}

#[test]
fn index_files_that_are_empty_torn_or_wrong_are_made_anew() {
    type Harm = fn(&dyn Disk);
    let harms: [(&str, Harm); 5] = [
        ("no offsets", |disk| drop(disk.open(&file("index"), Open::Truncate).unwrap())),
        ("no timestamps", |disk| drop(disk.open(&file("timeindex"), Open::Truncate).unwrap())),
        ("the last timestamp", |disk| last(disk, "timeindex", 12)),
        ("the last offset", |disk| last(disk, "index", 8)),
        ("neither file", |disk| {
            ["index", "timeindex"].iter().for_each(|of| disk.remove_file(&file(of)).unwrap());
        }),
    ];
    for end_of_it in ENDS {
        for (what, harm) in harms {
            let disk = SimDisk::new(SimDiskOptions::default()).mount();
            let end = closed(&disk);
            harm(&*disk);
            let in_use = usize::from(end_of_it == (false, false));
            let (log, report) = reopen(&disk, end_of_it, end);
            assert_eq!(report.scanned_segments, 1 + in_use, "{what} {end_of_it:?}");
            check_all(&log, end);
        }
    }
}

/// As a page that was never written.
fn last(disk: &dyn Disk, suffix: &str, entry: u64) {
    let file = disk.open(&file(suffix), Open::ReadWrite).unwrap();
    let at = file.len().unwrap() - entry;
    file.write_at(&vec![0; entry as usize], at).unwrap();
}

/// The leader epochs of what is not checkpointed are looked for by it.
#[test]
fn an_index_that_leads_into_the_midst_of_batches_is_made_anew() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let end = closed(&disk);
    let index = disk.open(&file("index"), Open::ReadWrite).unwrap();
    let entries = index.len().unwrap() / 8;
    assert!(entries > 3);
    for at in 1..entries - 1 {
        let mut position = [0; 4];
        index.read_exact_at(&mut position, at * 8 + 4).unwrap();
        let wrong = u32::from_be_bytes(position) + 1;
        index.write_at(&wrong.to_be_bytes(), at * 8 + 4).unwrap();
    }
    drop(index);
    check_all(&reopen(&disk, (false, true), 0).0, end);
}

#[test]
fn indexes_that_were_made_at_a_clean_opening_are_durable_once_the_log_is() {
    for seed in 0..40 {
        let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
        let disk = sim.mount();
        let end = closed(&disk);
        disk.sync_dir(std::path::Path::new("/")).unwrap();
        ["index", "timeindex"].iter().for_each(|of| disk.remove_file(&file(of)).unwrap());
        let (mut log, _) = reopen(&disk, (true, false), end);
        log.sync().unwrap();
        drop(log);
        let written = ["index", "timeindex"].map(|of| disk.read(&file(of), 1 << 20).unwrap());
        sim.crash(Crash::PowerLoss);
        let kept = ["index", "timeindex"].map(|of| sim.mount().read(&file(of), 1 << 20).ok());
        assert_eq!(kept, written.map(Some), "{seed}");
        check_all(&reopen(&sim.mount(), (false, false), end).0, end);
    }
}

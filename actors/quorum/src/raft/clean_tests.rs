use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::{Crash, Disk, SimDisk, SimDiskOptions};
use log::{Log, LogConfig};
use machines::consensus::{ControlRecord, Event, OffsetAndEpoch, VoterSet};
use machines::metadata::MetadataVersion;
use runtime::Failure;
use wire::{MetadataRecord, TopicRecord};

use super::clean::{Cleaning, Deleted, MetadataRetention};
use super::open::{Opened, Opening};
use crate::snapshot;

pub(super) const DIR: &str = "/logs/__cluster_metadata-0";
const EPOCH: i32 = 3;
const TOPICS: i64 = 60;
const EVERY: i64 = 13;
const NONE: MetadataRetention =
    MetadataRetention { bytes: -1, ms: -1, delete_delay: Duration::ZERO };

fn topic(n: i64) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: format!("topic-{n}"), ..Default::default() })
}

pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<Opened, Failure> {
    let config = LogConfig { segment_bytes: 600, ..LogConfig::default() };
    let (dir, fixed_voters) = (DIR.into(), VoterSet::default());
    Opening { disk: disk.clone(), dir, unsynced: false, config, fixed_voters, now_ms: 0 }.run()
}

/// A snapshot of the first topics, whose newest is from then.
fn write_snapshot(disk: &dyn Disk, topics: i64) {
    let id = OffsetAndEpoch { epoch: EPOCH, offset: topics };
    let head = ControlRecord::snapshot_head(topics, 0, None);
    let records: Vec<_> = (0..topics).map(topic).collect();
    let version = MetadataVersion::LATEST;
    snapshot::write(disk, Path::new(DIR), id, &head, &records, version, topics).unwrap();
}

/// One topic at each offset, at the millisecond of that number, and a snapshot now and then.
pub(super) fn build(disk: &Arc<dyn Disk>) -> Log {
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/logs")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut log = open(disk).unwrap().log;
    for n in 0..TOPICS {
        let version = MetadataVersion::LATEST;
        let batches = snapshot::data_batches(&[topic(n)], version, n, EPOCH, n).unwrap();
        log.append(&batches, n).unwrap();
        if (n + 1) % EVERY == 0 {
            log.sync().unwrap();
            write_snapshot(&**disk, n + 1);
        }
    }
    log.sync().unwrap();
    log
}

fn clean(
    disk: &Arc<dyn Disk>,
    log: &mut Log,
    retention: MetadataRetention,
    committed: i64,
) -> Result<Deleted, Failure> {
    let now_ms = TOPICS;
    Cleaning { disk: &**disk, dir: Path::new(DIR), log, committed, retention, now_ms }.run()
}

fn snapshots(disk: &Arc<dyn Disk>) -> Vec<i64> {
    snapshot::list(&**disk, Path::new(DIR)).unwrap().into_iter().map(|id| id.offset).collect()
}

fn names(disk: &Arc<dyn Disk>, suffix: &str) -> usize {
    let entries = disk.list(Path::new(DIR)).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(suffix)).count()
}

/// What the log says is what it said before, in the snapshot or behind it.
fn assert_whole(opened: &Opened) {
    let (mut records, from) = match &opened.snapshot {
        Some((id, snapshot)) => (snapshot.records.clone(), id.offset),
        None => (Vec::new(), 0),
    };
    let batches = opened.log.view().batches_from(from).for_each(|batch| {
        assert_eq!(batch.header().base_offset, records.len() as i64, "a hole");
        for record in batch.records(1 << 20).unwrap() {
            let value = record.unwrap().value.unwrap();
            records.push(MetadataRecord::decode(value).unwrap().0);
        }
        true
    });
    batches.unwrap();
    assert_eq!(records, (0..TOPICS).map(topic).collect::<Vec<_>>());
    let Event::Start { log_end, .. } = &opened.start else { panic!("no start") };
    assert_eq!(*log_end, OffsetAndEpoch { epoch: EPOCH, offset: TOPICS });
}

/// One life that opens the log, cleans it and removes the files, and has so many operations of the disk for it.
fn clean_within(sim: &SimDisk, ops: Option<u64>) -> Result<(), Failure> {
    let disk = sim.mount();
    sim.set_budget(ops);
    let mut opened = open(&disk)?;
    let retention = MetadataRetention { bytes: 0, ..NONE };
    clean(&disk, &mut opened.log, retention, TOPICS)?.remove(&*disk)?;
    Ok(())
}

#[test]
fn power_lost_at_any_step_of_opening_and_cleaning_loses_nothing() {
    for seed in 0..3 {
        for ops in 0.. {
            let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
            drop(build(&sim.mount()));
            let done = clean_within(&sim, Some(ops)).is_ok();
            sim.crash(Crash::PowerLoss);
            // The next life is cut short, too.
            let _ = clean_within(&sim, Some(ops / 2));
            sim.crash(Crash::PowerLoss);
            assert_whole(&open(&sim.mount()).unwrap());
            clean_within(&sim, None).unwrap();
            sim.crash(Crash::PowerLoss);
            let disk = sim.mount();
            let opened = open(&disk).unwrap();
            assert_whole(&opened);
            assert_eq!(snapshots(&disk), [52]);
            assert_eq!((names(&disk, ".deleted"), names(&disk, ".tmp")), (0, 0));
            assert!(opened.log.log_start_offset() > 40, "{}", opened.log.log_start_offset());
            if done {
                assert!(ops > 20, "cleaning took only {ops} operations");
                break;
            }
        }
    }
}

#[test]
fn the_oldest_go_by_size_and_by_age_but_never_the_newest() {
    let kept = |bytes: i64, ms: i64, committed: i64| {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let mut log = build(&disk);
        let segments = log.segment_count();
        assert_eq!(snapshots(&disk), [13, 26, 39, 52]);
        let _ = clean(&disk, &mut log, MetadataRetention { bytes, ms, ..NONE }, committed).unwrap();
        let left = snapshots(&disk);
        assert_eq!(names(&disk, ".checkpoint.deleted"), 4 - left.len());
        let start = if left.len() == 4 { 0 } else { left[0] };
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, TOPICS));
        assert_eq!(log.segment_count() < segments, start > 0);
        assert_eq!(names(&disk, ".log"), log.segment_count());
        left
    };
    assert_eq!(kept(-1, -1, TOPICS), [13, 26, 39, 52]);
    assert_eq!(kept(0, -1, TOPICS), [52]);
    assert_eq!(kept(1 << 30, -1, TOPICS), [13, 26, 39, 52]);
    // Older than 60 - 39 is what ended at 13 and 26.
    assert_eq!(kept(-1, 21, TOPICS), [39, 52]);
    assert_eq!(kept(-1, 0, TOPICS), [52]);
    // The log cannot begin behind what is committed.
    assert_eq!(kept(0, 0, 39), [39, 52]);
    assert_eq!(kept(0, 0, 0), [13, 26, 39, 52]);
}

#[test]
fn a_limit_of_size_counts_the_log_with_its_snapshots() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let mut log = build(&disk);
    let size = |log: &Log| {
        let all = disk.list(Path::new(DIR)).unwrap();
        let snapshots = all.iter().filter(|entry| entry.name.ends_with(".checkpoint"));
        let path = |name: &str| Path::new(DIR).join(name);
        log.size() + snapshots.map(|e| disk.metadata(&path(&e.name)).unwrap().len).sum::<u64>()
    };
    let full = size(&log);
    let at = |bytes: u64| MetadataRetention { bytes: bytes as i64, ..NONE };
    let _ = clean(&disk, &mut log, at(full), TOPICS).unwrap();
    assert_eq!(size(&log), full);
    let _ = clean(&disk, &mut log, at(full - 1), TOPICS).unwrap();
    assert_eq!(snapshots(&disk), [26, 39, 52]);
}

#[test]
fn a_log_that_ends_before_its_newest_snapshot_goes_on_there() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    drop(build(&disk));
    write_snapshot(&*disk, TOPICS + 7);
    let opened = open(&disk).unwrap();
    let (log, end) = (&opened.log, TOPICS + 7);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (end, end));
    let Event::Start { log_end, .. } = opened.start else { panic!("no start") };
    assert_eq!(log_end, OffsetAndEpoch { epoch: EPOCH, offset: end });
    assert_eq!(snapshots(&disk), [end]);
}

#[test]
fn a_log_without_its_beginning_needs_a_snapshot_of_it() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let mut log = build(&disk);
    let _ = clean(&disk, &mut log, MetadataRetention { bytes: 0, ..NONE }, TOPICS).unwrap();
    drop(log);
    disk.remove_file(&snapshot::path(Path::new(DIR), OffsetAndEpoch { epoch: EPOCH, offset: 52 }))
        .unwrap();
    let error = open(&disk).err().unwrap().to_string();
    assert!(error.contains("no snapshot says what was before"), "{error}");
}

/// One that was being written when the log was given up for a leader's, or that came from a leader, may be behind the log's start.
#[test]
fn a_snapshot_before_the_start_of_the_log_does_not_hold_up_the_others() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let mut log = build(&disk);
    let retention = MetadataRetention { bytes: 0, ..NONE };
    let _ = clean(&disk, &mut log, retention, 26).unwrap();
    assert_eq!((snapshots(&disk), log.log_start_offset()), (vec![26, 39, 52], 26));
    write_snapshot(&*disk, 13);
    let _ = clean(&disk, &mut log, retention, TOPICS).unwrap();
    assert_eq!((snapshots(&disk), log.log_start_offset()), (vec![52], 52));
}

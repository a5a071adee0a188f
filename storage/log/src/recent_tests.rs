use std::sync::Arc;

use disk::{Disk, SimDisk, SimDiskOptions};
use proptest::prelude::*;
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;

use crate::testing::*;
use crate::*;

const BUFFER: usize = 32 * 1024;

/// As a producer sent it; the log's writer gave it its offset.
fn assigned(base: i64, bytes: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for _ in 0..3 {
        builder.append(1000 + base, None, Some(&vec![base as u8; bytes / 3]), &[]);
    }
    let mut batch = RecordBatch::parse(&builder.build().unwrap().to_bytes()).unwrap();
    batch.assign(base, 1);
    batch
}

/// Small batches, that are copied, and large ones, in runs of a few.
fn append(log: &mut Log, runs: usize) {
    for run in 0..runs {
        let mut base = log.log_end_offset();
        let batches: Vec<RecordBatch> = (0..1 + run % 4)
            .map(|at| {
                let batch = assigned(base, if (run + at) % 3 == 0 { 9000 } else { 300 });
                base = batch.header().next_offset();
                batch
            })
            .collect();
        log.append(&batches, 0).unwrap();
    }
}

fn log(memory: &Arc<RecentBatches>) -> (Log, Arc<dyn Disk>) {
    let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
    let config = LogConfig { segment_bytes: 40_000, ..small() };
    let (mut log, _) = open(&disk, config, true, 0);
    log.keep_recent(Some(memory.clone()));
    (log, disk)
}

/// Whatever is asked for, memory gives what the files do; answers how often it gave anything.
fn compare(view: &LogView) -> usize {
    let files = LogView { tail: None, ..view.clone() };
    let mut from_memory = 0;
    for offset in view.log_start_offset()..=view.log_end_offset() {
        for max_bytes in [0, 1, 61, 400, 1000, 9500, 20_000, 1 << 20] {
            for min_one in [true, false] {
                for bound in [offset, offset + 1, offset + 5, offset + 50, i64::MAX] {
                    let read = view.read(offset, max_bytes, min_one, bound).unwrap();
                    let expected = files.read(offset, max_bytes, min_one, bound).unwrap();
                    assert_eq!(read.first_batch, expected.first_batch);
                    assert_eq!(read.slice.len, expected.slice.len);
                    let Some(there) = read.in_memory else { continue };
                    assert_eq!(read.start, expected.start);
                    assert_eq!(there.bytes.concat(), expected.slice.read().unwrap());
                    from_memory += 1;
                }
            }
        }
    }
    from_memory
}

#[test]
fn what_is_in_memory_is_what_the_files_hold() {
    let memory = Arc::new(RecentBatches::new(1 << 20, BUFFER));
    let (mut log, _disk) = log(&memory);
    append(&mut log, 24);
    assert!(log.segment_count() > 2);
    assert!(compare(&log.view()) > 1000);
    let before = log.view();
    log.truncate_to(before.log_end_offset() - 20, 0).unwrap();
    assert_eq!(compare(&log.view()), 0, "what was cut is forgotten");
    append(&mut log, 8);
    assert!(compare(&log.view()) > 100);
    assert!(memory.bytes() <= 1 << 20);
}

#[test]
fn the_oldest_batches_of_all_logs_make_room() {
    let memory = Arc::new(RecentBatches::new(20 * BUFFER, BUFFER));
    let ((mut one, _disk), (mut other, _other_disk)) = (log(&memory), log(&memory));
    append(&mut one, 4);
    assert!(compare(&one.view()) > 0);
    append(&mut other, 60);
    assert!(memory.bytes() <= 20 * BUFFER);
    assert_eq!(compare(&one.view()), 0);
    assert!(compare(&other.view()) > 0);
    other.keep_recent(None);
    assert_eq!(compare(&other.view()), 0);
}

#[test]
fn nothing_is_kept_where_there_is_no_memory_for_it() {
    let memory = Arc::new(RecentBatches::new(0, BUFFER));
    let (mut log, _disk) = log(&memory);
    append(&mut log, 4);
    assert_eq!((compare(&log.view()), memory.bytes()), (0, 0));
}

/// Each append of one log lets batches of the other go too, in whatever order their threads come to it.
#[test]
fn what_is_let_go_of_by_several_at_once_leaves_nothing() {
    let memory = Arc::new(RecentBatches::new(6 * BUFFER, BUFFER));
    let mut logs = [log(&memory), log(&memory)];
    std::thread::scope(|scope| {
        for (log, _disk) in &mut logs {
            scope.spawn(|| append(log, 3000));
        }
    });
    memory.old();
    assert!(!memory.forget_before(memory.old()));
    assert_eq!(memory.bytes(), 0);
    for (log, _disk) in logs {
        assert_eq!(log.view().tail.unwrap().room(), 0);
    }
}

#[test]
fn what_came_in_before_the_last_look_but_one_is_let_go_of() {
    let memory = Arc::new(RecentBatches::new(1 << 20, BUFFER));
    let (mut log, _disk) = log(&memory);
    append(&mut log, 4);
    let forget_old = || assert!(!memory.forget_before(memory.old()));
    let first = memory.bytes();
    forget_old();
    assert_eq!(memory.bytes(), first);
    append(&mut log, 4);
    let both = memory.bytes();
    forget_old();
    assert_eq!(memory.bytes(), both - first);
    assert!(compare(&log.view()) > 0, "the others are read from memory");
    forget_old();
    assert_eq!(memory.bytes(), 0);
    assert_eq!(compare(&log.view()), 0);
}

#[test]
fn a_log_that_rests_holds_nothing_and_many_batches_are_forgotten_piece_by_piece() {
    let memory = Arc::new(RecentBatches::new(1 << 30, BUFFER));
    let (mut resting, _disk) = log(&memory);
    let mut busy: Vec<_> = (0..10).map(|_| log(&memory)).collect();
    append(&mut resting, 4);
    busy.iter_mut().for_each(|(busy, _disk)| append(busy, 60));
    let (mut busy, _other_disk) = busy.remove(0);
    assert!(resting.view().tail.unwrap().room() > 0);
    memory.old();
    let (old, mut pieces) = (memory.old(), 1);
    append(&mut busy, 4);
    while memory.forget_before(old) {
        pieces += 1;
    }
    assert_eq!(pieces, 3, "650 batches");
    assert_eq!(resting.view().tail.unwrap().room(), 0);
    assert!(memory.bytes() > 0);
    assert!(compare(&busy.view()) > 0, "those that came since are read from memory");
    append(&mut resting, 1);
    assert!(compare(&resting.view()) > 0);
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Cut(i64),
    /// It leads no longer, or does again.
    Keep(bool),
    ForgetOld,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..50usize).prop_map(Step::Append),
        2 => (0..400i64).prop_map(Step::Cut),
        1 => any::<bool>().prop_map(Step::Keep),
        1 => Just(Step::ForgetOld),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// However batches go: as the oldest of all, as too many of one log, as the log is cut or resigns, or by their age.
    #[test]
    fn what_is_charged_is_what_is_held(
        limit in prop_oneof![1..2 * BUFFER, Just(40 * BUFFER), Just(1 << 30)],
        steps in prop::collection::vec((0..3usize, step()), 1..30),
    ) {
        let memory = Arc::new(RecentBatches::new(limit, BUFFER));
        let mut logs = [log(&memory), log(&memory), log(&memory)];
        for (at, step) in steps {
            let (log, _disk) = &mut logs[at];
            match step {
                Step::Append(runs) => append(log, runs),
                Step::Cut(back) => drop(log.truncate_to((log.log_end_offset() - back).max(0), 0).unwrap()),
                Step::Keep(kept) => log.keep_recent(Some(memory.clone()).filter(|_| kept)),
                Step::ForgetOld => while memory.forget_before(memory.old()) {},
            }
            let held = |(log, _): &(Log, _)| log.view().tail.map_or(0, |tail| tail.weight());
            prop_assert_eq!(memory.bytes(), logs.iter().map(held).sum::<usize>());
            prop_assert!(memory.bytes() <= limit);
        }
    }
}

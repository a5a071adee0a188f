//! Passes that end at any moment: the log opens to what it was before a swap, or after it, never to a mix.

use std::path::Path;

use disk::Crash;
use proptest::prelude::*;

use super::*;
use crate::producer_snapshot::encode_producer_snapshot;
use crate::testing::{marker, produced};

const SMALL: u32 = 500;

/// The batches of a log that opens after a crash.
fn survivor(sim: &SimDisk, point: i64, survived: bool, may_lose: bool) -> (Log, Vec<RecordBatch>) {
    let disk = sim.mount();
    let config = LogConfig { segment_bytes: SMALL, ..config() };
    let options =
        OpenOptions { writes_survived: survived, recovery_point: point, ..OpenOptions::default() };
    let (log, report) = Log::open(disk, dir(), config, options).unwrap();
    let lost = (report.truncated_bytes, report.removed_segments);
    assert!(lost == (0, 0) || may_lose, "{lost:?}");
    let found = batches(&log.view());
    (log, found)
}

/// Keys so that whole segments can go, also the last of a group.
fn fill(log: &mut Log, keys: &[u8]) {
    for key in keys {
        let base = log.log_end_offset();
        let mut builder = BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(1);
        let value = (key % 5 != 0).then_some(&b"a value"[..]);
        builder.append(1000 + base, Some(&[*key]), value, &[]);
        log.append(&[builder.build().unwrap()], 0).unwrap();
    }
}

/// One pass with a budget of operations; every state that the log was in, and how many of them are durable.
fn pass(log: &mut Log, states: &mut Vec<Vec<RecordBatch>>, now_ms: i64) -> usize {
    let mut durable = 0;
    let end = log.log_end_offset();
    let first = log.log_start_offset();
    let view = log.view();
    let to_clean = LogToClean {
        first_dirty_offset: first,
        first_uncleanable_offset: view.end().segment_base,
        checkpoint_is_invalid: false,
        clean_bytes: 0,
        cleanable_bytes: 1,
        compaction_delay_ms: 0,
    };
    let options = CompactionOptions { high_watermark: end + 1, ..options(now_ms) };
    let Ok(mut pass) = log.compaction(&to_clean, options) else { return durable };
    while let Ok(Progress::Cleaned(cleaned)) = pass.run(|_| ControlFlow::Continue(())) {
        let before = states.last().unwrap().clone();
        let swap = log.replace_segments(cleaned).unwrap();
        // Told from the files that were finished, without the disk's help, which may be gone.
        states.push(after_swap(&before, log));
        if swap.run().is_err() {
            break;
        }
        durable = states.len() - 1;
    }
    durable
}

fn after_swap(before: &[RecordBatch], log: &Log) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    let read = log.view().batches_from(0).for_each(|batch| {
        found.push(batch.detached());
        true
    });
    if read.is_err() { before.to_vec() } else { found }
}

/// What one life appends before its pass, how much of that it does not sync, the operations it has for the pass, its end, and
/// when it began after the last.
type Life = (Vec<u8>, usize, u64, Crash, i64);

fn disk(seed: u64) -> SimDisk {
    let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    sim
}

fn run(seed: u64, lives: &[Life]) {
    let sim = disk(seed);
    let (mut now_ms, mut point) = (0, 0);
    for (keys, unsynced, budget, crash, after_ms) in lives {
        now_ms += after_ms;
        let (mut log, _) = survivor(&sim, point, false, false);
        let (synced, unsynced) = keys.split_at(keys.len().saturating_sub(*unsynced));
        fill(&mut log, synced);
        log.roll(0).unwrap();
        log.sync().unwrap();
        point = log.recovery_point();
        fill(&mut log, unsynced);
        log.roll(0).unwrap();
        let mut states = vec![batches(&log.view())];
        sim.set_budget(Some(*budget));
        let durable = pass(&mut log, &mut states, now_ms);
        drop(log);
        sim.crash(*crash);
        let killed = *crash == Crash::Kill;
        let (log, found) = survivor(&sim, point, killed, !killed && !unsynced.is_empty());
        let below = |batches: &[RecordBatch]| {
            batches.partition_point(|batch| batch.header().base_offset < point)
        };
        let is_of =
            |state: &Vec<RecordBatch>| state.starts_with(&found) && below(state) == below(&found);
        let state = states.iter().rposition(is_of);
        let state = state.unwrap_or_else(|| panic!("a mix: {found:#?}\nof {states:#?}"));
        assert!(state >= durable, "a swap that was done is undone");
        let whole = states[state].len() == found.len();
        assert!(log.log_end_offset() >= point && (whole || !killed));
        let names = sim.mount().list(&dir()).unwrap();
        let left = |name: &str| [".cleaned", ".swap", ".deleted"].iter().any(|s| name.ends_with(s));
        assert!(!names.iter().any(|entry| left(&entry.name)));
        log.close().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_a_pass_undone_or_done_group_by_group(
        seed: u64,
        lives in prop::collection::vec(
            (prop::collection::vec(0..15u8, 1..40),
             prop_oneof![Just(0), 0..20usize],
             prop_oneof![0..400u64, Just(u64::MAX)],
             prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)],
             0..150i64),
            1..5,
        ),
    ) {
        run(seed, &lives);
    }
}

/// Of two segments the second goes whole, for what is in a third: nothing in the new one tells how far it reaches.
#[test]
fn a_swap_ends_at_any_step_and_is_undone_or_done() {
    let (mut undone, mut done) = (0, 0);
    for budget in 0..80 {
        for (seed, crash) in (0..6).map(|seed| (seed, Crash::PowerLoss)).chain([(0, Crash::Kill)]) {
            let sim = disk(seed);
            let config = LogConfig { segment_bytes: SMALL, ..config() };
            let (mut log, _) = open(&sim.mount(), config, true, 0);
            let aborted = |base| produced(base, 1, 1, (9, 0, 0), true);
            log.append(&[aborted(0), marker(1, 1, (9, 0), false)], 0).unwrap();
            for keys in [&[1, 2][..], &[2], &[2, 3, 4, 6, 7, 8, 9]] {
                fill(&mut log, keys);
                log.roll(0).unwrap();
            }
            log.sync().unwrap();
            let state = |log: &Log| {
                let told = log.view().aborted_transactions(0, i64::MAX).unwrap();
                assert_eq!(told.len(), 1, "its marker stays for a pass");
                (batches(&log.view()), told, encode_producer_snapshot(log.producers()))
            };
            let (point, before) = (log.recovery_point(), state(&log));
            let to_clean = log.view().to_clean(&POLICY, None, point, &*sim.mount(), 0).unwrap();
            let mut pass = log.compaction(&to_clean, options(0)).unwrap();
            let Progress::Cleaned(cleaned) = pass.run(|_| ControlFlow::Continue(())).unwrap()
            else {
                panic!("there is a group");
            };
            assert_eq!(cleaned.counts(), (2, 1));
            let swap = log.replace_segments(cleaned).unwrap();
            let after = state(&log);
            sim.set_budget(Some(budget));
            let finished = swap.run().is_ok();
            drop(log);
            sim.crash(crash);
            let found = state(&survivor(&sim, point, crash == Crash::Kill, false).0);
            assert!(
                found == after || found == before && !finished,
                "{budget} {seed} {crash:?}: {found:#?}"
            );
            undone += i32::from(found == before);
            done += i32::from(!finished && found == after);
        }
    }
    assert!(undone > 20 && done > 20);
}

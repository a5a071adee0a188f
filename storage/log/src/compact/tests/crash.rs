//! Passes that end at any moment: the log opens to what it was before a swap, or after it, never to a mix.

use std::path::Path;

use disk::Crash;
use model::ProducerId;
use model::producers::Producers;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::producer_snapshot::encode_producer_snapshot;
use crate::testing::{marker, produced, replayed_from, replayed_of, snapshots};

const SMALL: u32 = 500;

/// What is appended.
#[derive(Debug, Clone)]
enum Put {
    /// By nobody, by an idempotent producer, or by one in a transaction, which may stay open.
    Key { key: u8, producer: Option<i64> },
    /// Also where none is open: of a transaction whose records went elsewhere.
    End { producer: i64, commit: bool },
}

impl Put {
    fn by_nobody(&self) -> Put {
        match self {
            Put::Key { key, .. } => Put::Key { key: *key, producer: None },
            Put::End { .. } => Put::Key { key: 0, producer: None },
        }
    }
}

/// Those below are in transactions.
const IDEMPOTENT: i64 = 3;
/// Its epoch is higher after each transaction (KIP-890): markers alone tell of the last.
const BUMPED: i64 = 2;

fn put() -> impl Strategy<Value = Put> {
    prop_oneof![
        6 => (0..15u8, prop::option::of(0..5i64)).prop_map(|(key, producer)| Put::Key { key, producer }),
        1 => (0..IDEMPOTENT, any::<bool>()).prop_map(|(producer, commit)| Put::End { producer, commit }),
    ]
}

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

/// Keys so that whole segments can go, also the last of a group. Answers the batches.
fn fill(log: &mut Log, puts: &[Put]) -> Vec<RecordBatch> {
    let batch = |log: &Log, put: &Put| {
        let base = log.log_end_offset();
        let epoch = |id| log.producers().entry(ProducerId(id)).map_or(0, |entry| entry.epoch.0);
        match put {
            Put::End { producer, commit } => {
                let epoch = epoch(*producer) + i16::from(*producer == BUMPED);
                marker(base, 1, (*producer, epoch), *commit)
            }
            Put::Key { key, producer } => {
                let mut builder =
                    BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(1);
                if let Some(id) = producer {
                    builder = builder.producer(*id, epoch(*id), base as i32);
                    builder = builder.transactional(*id < IDEMPOTENT);
                }
                let value = (key % 5 != 0).then_some(&b"a value"[..]);
                builder.append(1000 + base, Some(&[*key]), value, &[]);
                builder.build().unwrap()
            }
        }
    };
    let append = |put: &Put| {
        let batch = batch(log, put);
        log.append(std::slice::from_ref(&batch), 0).unwrap();
        batch
    };
    puts.iter().map(append).collect()
}

fn keys(keys: &[u8]) -> Vec<Put> {
    keys.iter().map(|key| Put::Key { key: *key, producer: None }).collect()
}

/// Producers and the index of aborted transactions are what all batches give that ever were in the log. So are snapshots, but for
/// producers who wrote again: where one is made anew, what they wrote before was perhaps compacted away.
fn check_producers(disk: &Arc<dyn Disk>, log: &Log, ever: &[RecordBatch]) {
    let known = |producers: &Producers, end| -> Vec<_> {
        let wrote_again = |id: ProducerId| {
            let mut later = ever.iter().map(RecordBatch::header).filter(|h| h.base_offset >= end);
            later.any(|header| header.producer_id == id.0)
        };
        let entries = producers.iter().filter(|(id, _)| !wrote_again(*id));
        entries.map(|(id, entry)| (id, entry.epoch, entry.last_sequence())).collect()
    };
    let (producers, aborted) = replayed_of(ever, i64::MAX);
    assert_eq!(known(log.producers(), i64::MAX), known(&producers, i64::MAX));
    assert_eq!(log.producers().first_ongoing_offset(), producers.first_ongoing_offset());
    for offset in snapshots(disk) {
        let stored = read_producer_snapshot(&**disk, &dir(), offset).unwrap();
        let expected = replayed_of(ever, offset).0;
        assert_eq!(known(&stored, offset), known(&expected, offset), "as of {offset}");
        let from_there = replayed_from(disk, &log.view(), offset);
        let open = from_there.first_ongoing_offset();
        assert_eq!(open, producers.first_ongoing_offset(), "from {offset}");
    }
    // An index that is made anew tells of what is left of a transaction.
    let tells = |told: &AbortedTransaction, of: &AbortedTransaction| {
        told.producer_id == of.producer_id
            && told.last_offset == of.last_offset
            && told.first_offset >= of.first_offset
    };
    let indexed = log.view().aborted_transactions(0, i64::MAX).unwrap();
    let known = |told| aborted.iter().any(|txn| tells(told, txn));
    assert!(indexed.iter().all(known), "{indexed:?}, of {aborted:?}");
    for batch in batches(&log.view()) {
        let header = batch.header();
        let holds = |txn: &&AbortedTransaction| {
            let within = txn.first_offset..txn.last_offset;
            within.contains(&header.base_offset) && header.producer_id == txn.producer_id.0
        };
        if let Some(of) = aborted.iter().find(holds).filter(|_| header.count > 0) {
            let told = indexed.iter().any(|told| tells(told, of) && holds(&told));
            assert!(told, "{batch:?} is of {of:?}, of which {indexed:?} does not tell");
        }
    }
}

/// One pass with a budget of operations; every state that the log was in, and how many of them are durable.
fn pass(log: &mut Log, states: &mut Vec<Vec<RecordBatch>>, now_ms: i64) -> usize {
    let mut durable = 0;
    let end = log.log_end_offset();
    let first = log.log_start_offset();
    let view = log.view();
    let stable = log.producers().first_ongoing_offset().unwrap_or(end);
    let to_clean = LogToClean {
        first_dirty_offset: first,
        first_uncleanable_offset: view.end().segment_base.min(stable),
        checkpoint_is_invalid: false,
        clean_bytes: 0,
        cleanable_bytes: 1,
        compaction_delay_ms: 0,
    };
    let last = log.producers().iter().map(|(id, entry)| {
        let last_data_offset = entry.last_batch().map(|batch| batch.last_offset);
        (id.0, LastRecord { last_data_offset, producer_epoch: entry.epoch.0 })
    });
    let active_producers = last.collect();
    let options =
        CompactionOptions { high_watermark: end + 1, active_producers, ..options(now_ms) };
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

/// What one life appends before its pass, how much of that it does not sync, the operations it has for the pass, its end,
/// when it began after the last, and the segments that are given up then.
type Life = (Vec<Put>, usize, u64, Crash, i64, usize);

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
    let mut ever = Vec::new();
    for (puts, unsynced, budget, crash, after_ms, given_up) in lives {
        now_ms += after_ms;
        let (mut log, _) = survivor(&sim, point, false, false);
        let (synced, unsynced) = puts.split_at(puts.len().saturating_sub(*unsynced));
        // A pass keeps the newest of a producer alone, as Kafka's: where the power takes that, nothing is known of it.
        let unsynced: Vec<Put> = unsynced.iter().map(Put::by_nobody).collect();
        ever.extend(fill(&mut log, synced));
        log.roll(0).unwrap();
        log.sync().unwrap();
        point = log.recovery_point();
        ever.extend(fill(&mut log, &unsynced));
        log.roll(0).unwrap();
        let mut states = vec![batches(&log.view())];
        sim.set_budget(Some(*budget));
        let durable = pass(&mut log, &mut states, now_ms);
        drop(log);
        sim.crash(*crash);
        let killed = *crash == Crash::Kill;
        let (mut log, found) = survivor(&sim, point, killed, !killed && !unsynced.is_empty());
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
        ever.retain(|batch| batch.header().base_offset < log.log_end_offset());
        check_producers(&sim.mount(), &log, &ever);
        let names = sim.mount().list(&dir()).unwrap();
        let left = |name: &str| [".cleaned", ".swap", ".deleted"].iter().any(|s| name.ends_with(s));
        assert!(!names.iter().any(|entry| left(&entry.name)));
        give_up(&mut log, *given_up);
        log.close().unwrap();
    }
}

/// The oldest segments, and all that is known of their producers but for a snapshot.
fn give_up(log: &mut Log, count: usize) {
    let start = log.segments[count.min(log.segments.len() - 1)].base;
    log.delete_segments_below(start, 0).unwrap().remove(&*log.disk).unwrap();
}

/// So many cases, always the same; then others, drawn, as many as `OTTLA_CRASH_CASES` says.
#[test]
#[allow(clippy::disallowed_methods, reason = "reads a variable of the test's own")]
fn a_crash_leaves_a_pass_undone_or_done_group_by_group() {
    let asked = std::env::var("OTTLA_CRASH_CASES").ok().and_then(|text| text.parse().ok());
    for (cases, rng_seed) in [(500, RngSeed::Fixed(1)), (asked.unwrap_or(100), RngSeed::Random)] {
        let life = (
            prop::collection::vec(put(), 1..40),
            prop_oneof![Just(0), 0..20usize],
            prop_oneof![0..400u64, Just(u64::MAX)],
            prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)],
            0..150i64,
            prop_oneof![3 => Just(0), 1 => 0..6usize],
        );
        let lives = prop::collection::vec(life, 1..5);
        let config =
            ProptestConfig { cases, rng_seed, failure_persistence: None, ..Default::default() };
        let ran = TestRunner::new(config).run(&(any::<u64>(), lives), |(seed, lives)| {
            run(seed, &lives);
            Ok(())
        });
        ran.unwrap();
    }
}

/// Whatever becomes of the snapshots: it fences who had the one before.
#[test]
fn the_epoch_that_a_marker_alone_tells_of_outlives_its_record() {
    let ended = [keys(&[0; 6]), vec![Put::End { producer: 0, commit: false }]].concat();
    for budget in 0..60 {
        let lives = [
            (ended.clone(), 0, u64::MAX, Crash::Kill, 0, 0),
            (keys(&[0]), 0, budget, Crash::PowerLoss, RETENTION, 0),
        ];
        run(0, &lives);
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
            for of in [&[1, 2][..], &[2], &[2, 3, 4, 6, 7, 8, 9]] {
                fill(&mut log, &keys(of));
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

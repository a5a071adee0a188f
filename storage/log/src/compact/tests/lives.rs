//! Lives of compacted logs: passes that fail midway and go on, amid appends, transactions, truncations and clean stops, until the
//! process or the power goes, at any step on the disk.

use std::path::Path;

use disk::{Crash, Fault, FaultKind};
use model::ProducerId;
use model::producers::Producers;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::*;
use crate::producer_snapshot::encode_producer_snapshot;
use crate::testing::{check_indexes, marker, replayed_from, replayed_of, snapshots};

#[derive(Debug, Clone)]
enum Step {
    /// Records with these keys, a batch each.
    Append {
        keys: Vec<u8>,
        producer: Option<i64>,
    },
    End {
        producer: i64,
        commit: bool,
    },
    Roll,
    Sync,
    /// The recovery point goes into its checkpoint.
    Checkpoint,
    Pass {
        after_ms: i64,
        trouble: Option<(usize, Trouble)>,
        forgotten: bool,
    },
    /// Of what no pass has seen.
    Truncate {
        back: i64,
    },
    /// Gives up so many parts in a hundred of the segments that are durable.
    Retain {
        share: usize,
    },
    Close,
}

/// What comes to be when so many groups are done.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// The disk is full, or descriptors lack, so many operations later.
    Fails(FaultKind, u64),
    /// The life ends so many operations into the swap.
    Ends(u64),
}

/// These have transactions; others with a number do not.
const TRANSACTIONAL: [i64; 2] = [1, 2];

fn step() -> impl Strategy<Value = Step> {
    let keys = prop::collection::vec(0..20u8, 1..10);
    let kind =
        prop::sample::select(vec![FaultKind::NoRoom, FaultKind::SyncNoRoom, FaultKind::Shortage]);
    let trouble = prop_oneof![
        (kind, 0..12u64).prop_map(|(kind, skip)| Trouble::Fails(kind, skip)),
        (0..24u64).prop_map(Trouble::Ends),
    ];
    let trouble = prop::option::of((0..3usize, trouble));
    prop_oneof![
        8 => (keys, prop::option::of(1..4i64))
            .prop_map(|(keys, producer)| Step::Append { keys, producer }),
        4 => (1..3i64, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        3 => Just(Step::Roll),
        4 => Just(Step::Sync),
        1 => Just(Step::Checkpoint),
        6 => (0..150i64, trouble, any::<bool>())
            .prop_map(|(after_ms, trouble, forgotten)| Step::Pass { after_ms, trouble, forgotten }),
        1 => (0..12i64).prop_map(|back| Step::Truncate { back }),
        1 => (0..100usize).prop_map(|share| Step::Retain { share }),
        1 => Just(Step::Close),
    ]
}

/// What is known of the log.
struct Model {
    sim: SimDisk,
    config: LogConfig,
    /// Its batches as they may be found: as they were before a swap that is not known to be done, and as they are.
    states: Vec<Vec<RecordBatch>>,
    /// Those below were given up, and may come back.
    start: i64,
    /// As they were written.
    lineage: Vec<RecordBatch>,
    /// Up to here it is durable, and the checkpoint says so of less.
    durable: i64,
    checkpoint: i64,
    /// Up to here a pass knows what transactions came to.
    seen: i64,
    now_ms: i64,
    lost_power: bool,
    failed_passes: u32,
}

fn base(batch: &RecordBatch) -> i64 {
    batch.header().base_offset
}

impl Model {
    fn options(&self) -> OpenOptions {
        OpenOptions { recovery_point: self.checkpoint, ..OpenOptions::default() }
    }

    /// An error of the disk ends this life.
    fn step(&mut self, log: &mut Option<Log>, step: &Step) -> Option<()> {
        let open = log.as_mut()?;
        match step {
            Step::Append { keys, producer } => {
                for key in keys {
                    let batch = keyed(open, *key, *producer);
                    self.append(open, batch)?;
                }
            }
            Step::End { producer, commit } => {
                if open.producers().in_transaction(ProducerId(*producer)) {
                    let batch = marker(open.log_end_offset(), 1, (*producer, 0), *commit);
                    self.append(open, batch)?;
                }
            }
            Step::Roll => open.roll(0).ok()?,
            Step::Sync => {
                open.sync().ok()?;
                self.durable = open.recovery_point();
            }
            Step::Checkpoint => self.checkpoint = open.recovery_point(),
            Step::Pass { after_ms, trouble, forgotten } => {
                self.now_ms += after_ms;
                self.pass(open, *trouble, *forgotten)?;
            }
            Step::Truncate { back } => {
                let to = (open.log_end_offset() - back).max(self.seen);
                let to = to.max(open.log_start_offset());
                self.durable = open.recovery_point_if_truncated_to(to).ok()?;
                self.checkpoint = self.checkpoint.min(self.durable);
                open.truncate_to(to, 0).ok()?;
                self.forget_from(open.log_end_offset());
            }
            Step::Retain { share } => {
                let point = open.recovery_point();
                let whole = open.segments.partition_point(|segment| segment.base <= point);
                self.start =
                    self.start.max(open.segments[whole.saturating_sub(1) * share / 100].base);
                let deleted = open.delete_segments_below(self.start, 0).ok()?;
                open.remove(&deleted).ok()?;
            }
            Step::Close => {
                let end = log.take()?.close().ok()?.offset;
                (self.durable, self.checkpoint) = (end, end);
                let options = OpenOptions { clean: true, ..self.options() };
                let opened = Log::open(self.sim.mount(), dir(), self.config.clone(), options);
                let (again, report) = opened.ok()?;
                assert_eq!((report, again.log_end_offset()), (Recovered::default(), end));
                *log = Some(again);
            }
        }
        Some(())
    }

    fn append(&mut self, log: &mut Log, batch: RecordBatch) -> Option<()> {
        let known = self.states.iter_mut().chain([&mut self.lineage]);
        known.for_each(|batches| batches.push(batch.clone()));
        log.append(&[batch], 0).ok().map(|_| ())
    }

    fn forget_from(&mut self, end: i64) {
        let known = self.states.iter_mut().chain([&mut self.lineage]);
        known.for_each(|batches| batches.retain(|batch| base(batch) < end));
    }

    /// One that fails gives its files back, unless it is forgotten, and the log goes on.
    fn pass(
        &mut self,
        log: &mut Log,
        trouble: Option<(usize, Trouble)>,
        forgotten: bool,
    ) -> Option<()> {
        let (end, disk) = (log.log_end_offset(), self.sim.mount());
        // A transaction may be open again whose marker the disk does not have.
        let point = log.recovery_point();
        let stable = replayed_of(&self.lineage, point).0.first_ongoing_offset().unwrap_or(point);
        let to_clean = log.view().to_clean(&POLICY, None, stable, &*disk, self.now_ms).ok()?;
        let producers = log.producers().iter();
        let active_producers = producers.map(|(id, entry)| {
            let last_data_offset = entry.last_batch().map(|batch| batch.last_offset);
            (id.0, LastRecord { last_data_offset, producer_epoch: entry.epoch.0 })
        });
        let options = CompactionOptions {
            high_watermark: end,
            active_producers: active_producers.collect(),
            ..options(self.now_ms)
        };
        self.checkpoint = point;
        self.seen = self.seen.max(point);
        let mut pass = log.compaction(&to_clean, options).ok()?;
        for group in 0.. {
            let trouble = trouble.filter(|(at, _)| *at == group).map(|(_, trouble)| trouble);
            if let Some(Trouble::Fails(kind, skip)) = trouble {
                let path_contains = ".cleaned".to_owned();
                self.sim.plan(Fault { kind, path_contains, skip, times: 1 });
            }
            let progress = pass.run(|_| ControlFlow::Continue(()));
            self.sim.forget_plan();
            match progress {
                Ok(Progress::Cleaned(cleaned)) => self.swap(log, cleaned, trouble)?,
                Ok(_) => break,
                Err(_) => {
                    self.failed_passes += 1;
                    if !forgotten {
                        pass.abort().ok()?;
                    }
                    break;
                }
            }
        }
        Some(())
    }

    fn swap(
        &mut self,
        log: &mut Log,
        cleaned: CleanedSegments,
        trouble: Option<Trouble>,
    ) -> Option<()> {
        let swap = log.replace_segments(cleaned).unwrap();
        let mut found = Vec::new();
        let read = log.view().batches_from(0).for_each(|batch| {
            found.push(batch.detached());
            true
        });
        // Else nothing of the swap can be done either.
        if read.is_ok() {
            self.states.push(found);
            if let Some(Trouble::Ends(after)) = trouble {
                self.sim.set_budget(Some(after));
            }
        }
        swap.run().ok()?;
        self.states.drain(..self.states.len() - 1);
        Some(())
    }

    /// Holds what a crash left against what may be there, and goes on from it.
    fn check(&mut self, log: &Log, killed: bool, whole: bool) {
        let found = batches(&log.view());
        let durable = |batches: &[RecordBatch]| batches.partition_point(|b| base(b) < self.durable);
        let left = |batches: &[RecordBatch]| -> Vec<_> {
            batches.iter().filter(|batch| base(batch) >= self.start).cloned().collect()
        };
        let is_of = |state: &&Vec<RecordBatch>| {
            let (state, found) = (left(state), left(&found));
            state.starts_with(&found) && durable(&state) == durable(&found)
        };
        let state = self.states.iter().rfind(is_of);
        let state = state.unwrap_or_else(|| panic!("a mix: {found:#?}\nof {:#?}", self.states));
        let full = left(state).len() == left(&found).len();
        assert!(full || !killed || !whole, "a kill lost what was written");
        assert!(log.log_end_offset() >= self.durable);
        (self.states, self.start) = (vec![found], 0);
        self.lost_power |= !killed;
        self.forget_from(log.log_end_offset());
        check_indexes(log);
        self.check_producers(log);
        self.check_aborted(&log.view());
        let names = self.sim.mount().list(&dir()).unwrap();
        let left = |name: &str| [".cleaned", ".swap", ".deleted"].iter().any(|s| name.ends_with(s));
        assert!(!names.iter().any(|entry| left(&entry.name)), "{names:?}");
    }

    /// After a power loss the last batch that is left of a producer may be an older one, which was compacted away, and snapshots
    /// may be of batches that were. But what is open was never compacted.
    fn check_producers(&self, log: &Log) {
        let expected = |end| replayed_of(&self.lineage, end).0;
        let open = |producers: &Producers| -> Vec<_> {
            let entries = producers.iter();
            let open =
                entries.filter_map(|(id, entry)| Some((id, entry.transaction_first_offset?)));
            open.collect()
        };
        assert_eq!(open(log.producers()), open(&expected(i64::MAX)));
        let known = |producers: &Producers| -> Vec<_> {
            let entries = producers.iter();
            let known = entries.map(|(id, entry)| (id, entry.epoch, entry.last_sequence()));
            known.collect()
        };
        let equal = |producers: &Producers, end| known(producers) == known(&expected(end));
        assert!(self.lost_power || equal(log.producers(), i64::MAX));
        let disk = self.sim.mount();
        for offset in snapshots(&disk) {
            assert!(offset <= log.log_end_offset(), "a snapshot of what is gone: {offset}");
            match read_producer_snapshot(&*disk, &dir(), offset) {
                Ok(stored) => {
                    assert!(self.lost_power || equal(&stored, offset), "{offset}: {stored:?}");
                    let from_there = replayed_from(&disk, &log.view(), offset);
                    assert_eq!(open(&from_there), open(log.producers()), "{offset}: {stored:?}");
                    let was_open = open(&expected(offset)).into_iter();
                    let closed = was_open.filter(|(id, _)| !stored.in_transaction(*id));
                    for (id, first) in closed {
                        let is_of = |header: &BatchHeader| {
                            header.producer_id == id.0
                                && (first..offset).contains(&header.base_offset)
                        };
                        let of_it =
                            self.states[0].iter().map(RecordBatch::header).find(|h| is_of(h));
                        assert_eq!(of_it, None, "{offset} needs to know of it");
                    }
                }
                // An opening made it anew, and nothing was synced since: no opening has needed it yet.
                Err(error) => assert!(self.lost_power, "{error}"),
            }
        }
    }

    /// Each record of an aborted transaction is told of as such, and none of a committed one is.
    fn check_aborted(&self, view: &LogView) {
        let told = view.aborted_transactions(0, i64::MAX).unwrap();
        let aborted = replayed_of(&self.lineage, i64::MAX).1;
        let is_of = |txns: &[AbortedTransaction], header: &BatchHeader| {
            txns.iter().any(|txn| {
                txn.producer_id.0 == header.producer_id
                    && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
            })
        };
        let data = |header: &&BatchHeader| header.is_transactional() && !header.is_control();
        for header in self.states[0].iter().map(RecordBatch::header).filter(data) {
            assert_eq!(is_of(&told, header), is_of(&aborted, header), "{header:?}");
        }
    }
}

fn keyed(log: &Log, key: u8, producer: Option<i64>) -> RecordBatch {
    let offset = log.log_end_offset();
    let mut builder = BatchBuilder::new(Compression::NONE).base_offset(offset).leader_epoch(1);
    if let Some(id) = producer {
        let entry = log.producers().entry(ProducerId(id));
        let sequence = entry.map_or(0, |entry| entry.last_sequence() + 1);
        builder = builder.producer(id, 0, sequence).transactional(TRANSACTIONAL.contains(&id));
    }
    let value = (!key.is_multiple_of(5)).then_some(&b"a value"[..]);
    builder.append(1000 + offset, Some(&[key]), value, &[]);
    builder.build().unwrap()
}

type Life = (Vec<Step>, u64, Crash);

/// How many passes failed.
fn run(seed: u64, lives: &[Life]) -> u32 {
    let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let config = LogConfig { segment_bytes: 300, ..config() };
    let (log, _) = open(&disk, config.clone(), true, 0);
    let mut model = Model {
        sim: sim.clone(),
        config: config.clone(),
        states: vec![Vec::new()],
        start: 0,
        lineage: Vec::new(),
        durable: 0,
        checkpoint: 0,
        seen: 0,
        now_ms: 0,
        lost_power: false,
        failed_passes: 0,
    };
    let mut log = Some(log);
    for (steps, budget, crash) in lives {
        sim.set_budget(Some(*budget));
        let whole = steps.iter().all(|step| model.step(&mut log, step).is_some());
        let producers = log.take().map(|log| encode_producer_snapshot(log.producers()));
        sim.crash(*crash);
        let killed = *crash == Crash::Kill;
        let options = OpenOptions { writes_survived: killed, ..model.options() };
        let (again, _) = Log::open(sim.mount(), dir(), config.clone(), options).unwrap();
        model.check(&again, killed, whole);
        if killed && whole {
            assert_eq!(Some(encode_producer_snapshot(again.producers())), producers);
        }
        log = Some(again);
    }
    model.failed_passes
}

/// A snapshot from amid the transaction is durable, those behind its marker are not.
#[test]
fn a_marker_that_was_compacted_away_leaves_no_transaction_open() {
    let append = |keys: &[u8], producer| Step::Append { keys: keys.to_vec(), producer };
    let pass = |after_ms| Step::Pass { after_ms, trouble: None, forgotten: false };
    let end = Step::End { producer: 1, commit: false };
    let begun = vec![append(&[0], None), append(&[0, 0], Some(1)), append(&[0, 1, 1, 1, 1], None)];
    let ended = vec![append(&[2, 3, 6], None), end, Step::Roll, Step::Sync];
    let ended = [ended, vec![append(&[0], Some(1)), pass(0)]].concat();
    for (begins, ends) in [16, 20].into_iter().flat_map(|at| (100..400).map(move |end| (at, end))) {
        let lives = [
            (begun.clone(), begins, Crash::Kill),
            (ended.clone(), u64::MAX, Crash::Kill),
            (vec![pass(0), pass(RETENTION)], ends, Crash::PowerLoss),
        ];
        run(ends % 4, &lives);
    }
}

/// So many cases, always the same; then others, drawn, as many as `OTTLA_CRASH_CASES` says.
#[test]
#[allow(clippy::disallowed_methods, reason = "reads a variable of the test's own")]
fn passes_fail_and_go_on_amid_crashes_and_lose_nothing() {
    let asked = std::env::var("OTTLA_CRASH_CASES").ok().and_then(|text| text.parse().ok());
    for (cases, rng_seed) in [(500, RngSeed::Fixed(1)), (asked.unwrap_or(100), RngSeed::Random)] {
        let crash = prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)];
        let budget = prop_oneof![0..600u64, Just(u64::MAX)];
        let steps = prop::collection::vec(step(), 1..30);
        let lives = prop::collection::vec((steps, budget, crash), 1..5);
        let config =
            ProptestConfig { cases, rng_seed, failure_persistence: None, ..Default::default() };
        let failed = std::cell::Cell::new(0);
        let ran = TestRunner::new(config).run(&(any::<u64>(), lives), |(seed, lives)| {
            failed.set(failed.get() + run(seed, &lives));
            Ok(())
        });
        ran.unwrap();
        assert!(failed.get() > cases / 10, "{} passes failed", failed.get());
    }
}

//! Logs that are torn from their writer at any moment, over many seeds.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use disk::{Crash, Disk, SimDisk, SimDiskOptions};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use wire::batch::{BatchHeader, RecordBatch};
use wire::compression::Codec;

use crate::testing::*;
use crate::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        batches: usize,
        records: i64,
        codec: Codec,
    },
    Produce {
        id: i64,
        records: i64,
        transactional: bool,
    },
    End {
        id: i64,
        commit: bool,
    },
    Sync,
    Roll,
    Epoch,
    /// What follows is of a new leader, or, after an unclean election, perhaps of that of what is left.
    Truncate {
        back: i64,
        unclean: bool,
    },
    /// DeleteRecords: the log start moves, and whole segments stay for now.
    Advance {
        back: i64,
    },
    /// Retention, of the files too, or they wait.
    Retain {
        back: i64,
        remove: bool,
    },
    /// The log start goes into its checkpoint.
    Checkpoint,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let codec = prop::sample::select(Codec::ALL.to_vec());
    prop_oneof![
        8 => (1..5usize, 1..12i64, codec)
            .prop_map(|(batches, records, codec)| Step::Append { batches, records, codec }),
        6 => (1..5i64, 1..6i64, any::<bool>())
            .prop_map(|(id, records, transactional)| Step::Produce { id, records, transactional }),
        3 => (1..5i64, any::<bool>()).prop_map(|(id, commit)| Step::End { id, commit }),
        3 => Just(Step::Sync),
        1 => Just(Step::Roll),
        1 => Just(Step::Epoch),
        1 => (0..40i64, any::<bool>())
            .prop_map(|(back, unclean)| Step::Truncate { back, unclean }),
        1 => (0..40i64).prop_map(|back| Step::Advance { back }),
        1 => (0..40i64, any::<bool>()).prop_map(|(back, remove)| Step::Retain { back, remove }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
    ]
}

/// What a test knows of the log it writes: its batches, where it starts, and how far it is durable.
#[derive(Default)]
struct Model {
    config: LogConfig,
    /// Those that may be found.
    batches: Vec<RecordBatch>,
    /// Those that producers' state comes from: also batches that are deleted.
    lineage: Vec<RecordBatch>,
    epoch: i32,
    newest_epoch: i32,
    durable: i64,
    log_start: i64,
    /// The highest that it ever was.
    newest_start: i64,
    /// What the checkpoint says of it.
    start_checkpoint: i64,
    /// Segments were deleted before what followed was durable: the snapshot that knows of them may be lost.
    may_forget: bool,
}

fn ends_above(batch: &RecordBatch, offset: i64) -> bool {
    batch.header().next_offset() > offset
}

impl Model {
    /// Does one step; an error of the disk ends this life.
    fn step(&mut self, log: &mut Option<Log>, disk: &Arc<dyn Disk>, step: &Step) -> Option<()> {
        let open = log.as_mut()?;
        let base = open.log_end_offset();
        match step {
            Step::Append { batches, records, codec } => {
                let bases = (0..*batches).map(|at| base + at as i64 * records);
                let run = bases.map(|base| coded(*codec, base, *records, self.epoch, base));
                self.append(open, run.collect())?;
            }
            Step::Produce { id, records, transactional } => {
                let producer = (*id, 0, base as i32);
                let batch = produced(base, *records, self.epoch, producer, *transactional);
                self.append(open, vec![batch])?;
            }
            Step::End { id, commit } => {
                self.append(open, vec![marker(base, self.epoch, (*id, 0), *commit)])?;
            }
            Step::Sync => {
                open.sync().ok()?;
                self.durable = open.recovery_point();
            }
            Step::Roll => open.roll(0).ok()?,
            Step::Epoch => self.begin_epoch(),
            Step::Truncate { back, unclean } => {
                self.truncate(open, (base - back).max(self.log_start))?;
                let left = self.batches.last().map(|batch| batch.header().leader_epoch);
                match left.filter(|_| *unclean) {
                    Some(epoch) => self.epoch = epoch,
                    None => self.begin_epoch(),
                }
            }
            Step::Advance { back } => {
                self.start_at(base - back);
                open.advance_log_start(self.log_start);
            }
            Step::Retain { back, remove } => {
                self.start_at(base - back);
                let deleted = open.delete_segments_below(self.log_start, 0).ok()?;
                if *remove {
                    open.remove(&deleted).ok()?;
                }
            }
            Step::Checkpoint => self.start_checkpoint = open.log_start_offset(),
            Step::Close => {
                let end = log.take()?.close().ok()?.offset;
                (self.durable, self.start_checkpoint) = (end, self.log_start);
                let options = OpenOptions { clean: true, ..self.options() };
                let (again, report) =
                    Log::open(disk.clone(), dir(), self.config.clone(), options).ok()?;
                assert_eq!((report, again.log_end_offset()), (Recovered::default(), end));
                *log = Some(again);
            }
        }
        Some(())
    }

    fn start_at(&mut self, offset: i64) {
        self.log_start = self.log_start.max(offset);
        self.newest_start = self.newest_start.max(offset);
    }

    fn append(&mut self, log: &mut Log, run: Vec<RecordBatch>) -> Option<()> {
        self.batches.extend(run.iter().cloned());
        self.lineage.extend(run.iter().cloned());
        log.append(&run, 0).ok().map(|_| ())
    }

    fn truncate(&mut self, log: &mut Log, to: i64) -> Option<()> {
        self.durable = log.recovery_point_if_truncated_to(to).ok()?;
        log.truncate_to(to, 0).ok()?;
        let end = log.log_end_offset();
        self.batches.retain(|batch| batch.header().base_offset < end);
        self.lineage.retain(|batch| batch.header().base_offset < end);
        self.log_start = self.log_start.min(end);
        self.start_checkpoint = self.start_checkpoint.min(end);
        Some(())
    }

    /// No two leaders have the same.
    fn begin_epoch(&mut self) {
        self.newest_epoch += 1;
        self.epoch = self.newest_epoch;
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            recovery_point: self.durable,
            log_start_offset: self.start_checkpoint,
            ..OpenOptions::default()
        }
    }

    /// Holds what was found after a crash against what may be there, and goes on from it.
    fn check(&mut self, disk: &Arc<dyn Disk>, log: &Log, killed: bool, ended: Ended) {
        let view = log.view();
        check(&view);
        check_indexes(log);
        let (start, end) = (view.log_start_offset(), view.log_end_offset());
        assert!(self.start_checkpoint <= start && start <= self.log_start, "starts at {start}");
        assert!(end >= self.durable, "lost what was synced");
        let found = bases(&view);
        let base = |batch: &RecordBatch| batch.header().base_offset;
        let from_start = |batches: &[RecordBatch]| -> Vec<i64> {
            batches.iter().filter(|batch| ends_above(batch, start)).map(base).collect()
        };
        let written = match &ended {
            Ended::InTruncation(before) => from_start(before),
            _ => from_start(&self.batches),
        };
        assert!(written.starts_with(&found), "{found:?} is no prefix of {written:?}");
        let full = killed && matches!(ended, Ended::Whole);
        assert!(!full || found.len() == written.len(), "a killed process lost what it wrote");
        if let Ended::InTruncation(before) = ended {
            self.lineage.retain(|batch| base(batch) < base(&before[0]));
            self.lineage.extend(before);
        }
        self.lineage.retain(|batch| base(batch) < end);
        if found.is_empty() && start == end {
            // It may have begun anew there.
            self.may_forget = true;
        }
        let differ = producers_differ(disk, log, |end| replayed_of(&self.lineage, end));
        if self.may_forget && differ.is_some() {
            check_producers(disk, log);
            self.lineage.retain(|batch| base(batch) >= log.segments[0].base);
        } else {
            assert_eq!(differ, None);
        }
        self.check_epochs(&view);
        // What was deleted may come back until its names are synced.
        let deleted = |batch: &RecordBatch| killed && !ends_above(batch, start);
        self.batches.retain(|batch| found.contains(&base(batch)) || deleted(batch));
        self.may_forget &= killed;
        self.log_start = start;
        self.begin_epoch();
    }

    fn check_epochs(&self, view: &LogView) {
        let epoch = |batch: &BatchHeader| batch.leader_epoch;
        for entry in view.leader_epochs().entries() {
            let mut batches = self.batches.iter().map(RecordBatch::header);
            let first = batches.find(|batch| epoch(batch) == entry.epoch.0);
            assert!(first.is_none_or(|first| first.base_offset <= entry.start_offset));
        }
        let each = |header: &BatchHeader| {
            let known = view.leader_epochs().epoch_for_offset(header.last_offset());
            // Epochs before the log start go at once; the checkpoint of that may come later.
            assert!(known.is_some() || header.last_offset() < self.newest_start);
            assert!(known.is_none_or(|known| known.0 == epoch(header)));
            true
        };
        view.batches_from(view.log_start_offset()).for_each_header(each).unwrap();
    }
}

/// What the crash came into.
enum Ended {
    Whole,
    InStep,
    /// With the batches before it.
    InTruncation(Vec<RecordBatch>),
}

/// Runs lives of steps; each ends by a budget of disk operations and a crash.
fn run(seed: u64, index_lag: u32, config: LogConfig, lives: &[(Vec<Step>, u64, Crash)]) {
    let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut model = Model { config, ..Model::default() };
    let mut left = None;
    for (steps, budget, crash) in lives {
        let disk = sim.mount();
        // It goes on with what the last life left, as it was opened then.
        let open = || Log::open(disk.clone(), dir(), model.config.clone(), model.options());
        let mut log: Log = left.take().unwrap_or_else(|| open().unwrap().0);
        log.index_lag = index_lag;
        model.log_start = log.log_start_offset();
        sim.set_budget(Some(*budget));
        let mut log = Some(log);
        let mut ended = Ended::Whole;
        for step in steps {
            let before = model.batches.clone();
            if model.step(&mut log, &disk, step).is_none() {
                ended = match step {
                    Step::Truncate { .. } if !before.is_empty() => Ended::InTruncation(before),
                    _ => Ended::InStep,
                };
                break;
            }
        }
        drop(log);
        sim.crash(*crash);
        let disk = sim.mount();
        let killed = *crash == Crash::Kill;
        let truncated_whole = !matches!(ended, Ended::InTruncation(_));
        let options = OpenOptions { writes_survived: killed, truncated_whole, ..model.options() };
        let (log, _) = Log::open(disk.clone(), dir(), model.config.clone(), options).unwrap();
        model.check(&disk, &log, killed, ended);
        left = Some(log);
    }
}

fn life() -> impl Strategy<Value = (Vec<Step>, u64, Crash)> {
    let crash = prop_oneof![1 => Just(Crash::Kill), 2 => Just(Crash::PowerLoss)];
    (proptest::collection::vec(step(), 0..25), prop_oneof![0..150u64, Just(u64::MAX)], crash)
}

/// So many cases of one to four crashes each, always the same; then as many others, drawn, as `OTTLA_CRASH_CASES` says.
#[test]
#[allow(clippy::disallowed_methods, reason = "reads a variable of the test's own")]
fn a_crash_leaves_a_prefix_with_all_that_was_synced() {
    let asked = std::env::var("OTTLA_CRASH_CASES").ok().and_then(|text| text.parse().ok());
    for (cases, rng_seed) in [(1000, RngSeed::Fixed(1)), (asked.unwrap_or(100), RngSeed::Random)] {
        let strategy = (
            any::<u64>(),
            prop_oneof![0..1000u32, Just(u32::MAX)],
            any::<(bool, bool)>(),
            proptest::collection::vec(life(), 1..5),
        );
        let crashes = Cell::new(0);
        let all = ProptestConfig::default();
        let config = ProptestConfig { cases, rng_seed, failure_persistence: None, ..all };
        let ran = TestRunner::new(config).run(&strategy, |(seed, index_lag, flags, lives)| {
            let (compacted, preallocate) = flags;
            crashes.set(crashes.get() + lives.len());
            run(seed, index_lag, LogConfig { compacted, preallocate, ..small() }, &lives);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{error}"));
        assert!(rng_seed == RngSeed::Random || crashes.get() >= 2000, "{}", crashes.get());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decayed_files_open_or_are_refused(
        seed: u64,
        clean: bool,
        point in 0..200i64,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 1..6),
    ) {
        let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
        let disk = sim.mount();
        let (mut log, _) = open(&disk, small(), true, 0);
        fill(&mut log, 50, 1);
        log.close().unwrap();
        let names = disk.list(&dir()).unwrap();
        for (name, at, mask) in changes {
            let path = dir().join(&name.get(&names).name);
            let len = disk.metadata(&path).unwrap().len;
            if len > 0 {
                sim.decay(&path, at.index(len as usize) as u64, mask).unwrap();
            }
        }
        let options = OpenOptions { clean, recovery_point: point, ..OpenOptions::default() };
        if let Ok((log, _)) = Log::open(disk, dir(), small(), options) {
            let view = log.view();
            for offset in 0..150 {
                let _ = view.read_bytes(offset, 100, true, i64::MAX);
            }
            let _ = view.offset_for_timestamp(1500);
            let _ = view.max_timestamp();
            let _ = view.batches_from(0).for_each(|_| true);
        }
    }
}

#[test]
fn a_torn_index_of_transactions_keeps_nothing_that_its_segment_does_not_say() {
    let append = || Step::Append { batches: 1, records: 1, codec: Codec::None };
    let produce = |id| Step::Produce { id, records: 1, transactional: true };
    let abort = |id| Step::End { id, commit: false };
    let lives = [
        (vec![append(), Step::Truncate { back: 1, unclean: false }], 6, Crash::PowerLoss),
        (vec![append(), Step::Roll, Step::Close], 28, Crash::PowerLoss),
        (vec![produce(4), Step::Close, produce(3), abort(3), abort(4)], u64::MAX, Crash::PowerLoss),
    ];
    for seed in 0..300 {
        run(seed, 0, small(), &lives);
    }
}

/// The process died between the cut and its sync, and the power goes before anything else was synced.
#[test]
fn what_was_cut_by_a_truncation_that_was_cut_short_does_not_come_back() {
    let append = |batches| Step::Append { batches, records: 1, codec: Codec::None };
    let produce = Step::Produce { id: 1, records: 2, transactional: false };
    for seed in 0..12 {
        for budget in 10..40 {
            let cut =
                vec![append(1), Step::Sync, append(6), Step::Truncate { back: 3, unclean: false }];
            let after = vec![produce.clone(), append(1)];
            let lives = [(cut, budget, Crash::Kill), (after, u64::MAX, Crash::PowerLoss)];
            run(seed, u32::MAX, small(), &lives);
        }
    }
}

/// With several segments each; the power goes, or the process, after any number of the steps on the disk.
#[test]
fn no_step_of_a_truncation_or_a_deletion_leaves_a_hole() {
    type Change = fn(&mut Log) -> Option<()>;
    let (to, below) = (30, 70);
    let changes: [(i64, Change); 3] = [
        (to, |log| log.truncate_to(30, 0).ok().map(|_| ())),
        (0, |log| log.truncate_fully_and_start_at(200, 0).ok().map(|_| ())),
        (i64::MAX, |log| log.delete_segments_below(70, 0).ok().map(|_| ())),
    ];
    for (seed, crash) in (0..8).flat_map(|n| [(n, Crash::PowerLoss), (n, Crash::Kill)]) {
        for ((lowered, change), budget) in
            changes.iter().flat_map(|change| (0..60).map(move |budget| (*change, budget)))
        {
            let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
            let disk = sim.mount();
            disk.create_dir_all(Path::new("/data")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let config = LogConfig { segment_bytes: 1000, ..small() };
            let (mut log, _) = open(&disk, config, true, 0);
            fill(&mut log, 40, 1);
            log.sync().unwrap();
            assert!(log.segment_count() > 3);
            let point = log.recovery_point_if_truncated_to(if lowered == to { to } else { 120 });
            let point = point.unwrap().min(lowered);
            sim.set_budget(Some(budget));
            let whole = change(&mut log).is_some();
            drop(log);
            sim.crash(crash);
            let writes_survived = crash == Crash::Kill;
            let options =
                OpenOptions { writes_survived, recovery_point: point, ..OpenOptions::default() };
            let (log, _) = Log::open(sim.mount(), dir(), small(), options).unwrap();
            check(&log.view());
            let found = bases(&log.view());
            assert!(found.windows(2).all(|pair| pair[0] + 3 == pair[1]), "{found:?}");
            if lowered == i64::MAX {
                assert!(log.log_start_offset() <= below && log.log_end_offset() == 120);
            } else if whole && lowered == to {
                assert_eq!(log.log_end_offset(), to);
            } else if whole {
                assert!([0, 200].contains(&log.log_end_offset()), "what was there is gone");
            }
        }
    }
}

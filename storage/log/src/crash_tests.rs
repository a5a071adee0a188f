//! Logs that are torn from their writer at any moment, over many seeds.

use std::path::Path;
use std::sync::Arc;

use disk::{Crash, Disk, SimDisk, SimDiskOptions};
use proptest::prelude::*;
use wire::compression::Codec;

use crate::testing::*;
use crate::*;

#[derive(Debug, Clone)]
enum Step {
    Append { batches: usize, records: i64, codec: Codec },
    Produce { id: i64, records: i64, transactional: bool },
    End { id: i64, commit: bool },
    Sync,
    Roll,
    Epoch,
    Truncate { back: i64 },
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
        1 => (0..40i64).prop_map(|back| Step::Truncate { back }),
        1 => Just(Step::Close),
    ]
}

/// What a test knows of the log it writes: its batches, and how far they are durable.
#[derive(Default)]
struct Model {
    /// Base offset and leader epoch of each batch.
    batches: Vec<(i64, i32)>,
    epoch: i32,
    durable: i64,
}

impl Model {
    /// Does one step; an error of the disk ends this life.
    fn step(&mut self, log: &mut Option<Log>, disk: &Arc<dyn Disk>, step: &Step) -> Option<()> {
        let open = log.as_mut()?;
        match step {
            Step::Append { batches, records, codec } => {
                let mut base = open.log_end_offset();
                let mut run = Vec::new();
                for _ in 0..*batches {
                    run.push(coded(*codec, base, *records, self.epoch, base));
                    self.batches.push((base, self.epoch));
                    base += records;
                }
                open.append(&run, 0).ok()?;
            }
            Step::Produce { id, records, transactional } => {
                let base = open.log_end_offset();
                self.batches.push((base, self.epoch));
                let producer = (*id, 0, base as i32);
                let batch = produced(base, *records, self.epoch, producer, *transactional);
                open.append(&[batch], 0).ok()?;
            }
            Step::End { id, commit } => {
                let base = open.log_end_offset();
                self.batches.push((base, self.epoch));
                open.append(&[marker(base, self.epoch, (*id, 0), *commit)], 0).ok()?;
            }
            Step::Sync => {
                open.sync().ok()?;
                self.durable = open.recovery_point();
            }
            Step::Roll => open.roll(0).ok()?,
            Step::Epoch => self.epoch += 1,
            Step::Truncate { back } => {
                let to = (open.log_end_offset() - back).max(0);
                let holder = self.batches.iter().rfind(|(base, _)| *base <= to);
                self.durable = self.durable.min(holder.map_or(0, |(base, _)| *base));
                open.truncate_to(to, 0).ok()?;
                let end = open.log_end_offset();
                self.durable = self.durable.min(end);
                self.batches.retain(|(base, _)| *base < end);
                self.epoch += 1;
            }
            Step::Close => {
                let end = log.take()?.close().ok()?.offset;
                self.durable = end;
                let options =
                    OpenOptions { clean: true, recovery_point: end, ..OpenOptions::default() };
                let (again, report) = Log::open(disk.clone(), dir(), small(), options).ok()?;
                assert_eq!((report, again.log_end_offset()), (Recovered::default(), end));
                *log = Some(again);
            }
        }
        Some(())
    }
}

fn open_again(disk: &Arc<dyn Disk>, model: &Model) -> (Log, Recovered) {
    open(disk, small(), false, model.durable)
}

fn survived(disk: &Arc<dyn Disk>, model: &Model, truncated_whole: bool) -> (Log, Recovered) {
    let options = OpenOptions {
        writes_survived: true,
        truncated_whole,
        recovery_point: model.durable,
        ..OpenOptions::default()
    };
    Log::open(disk.clone(), dir(), small(), options).unwrap()
}

/// Runs lives of steps; each ends by a budget of disk operations and a crash.
fn run(seed: u64, index_lag: u32, lives: &[(Vec<Step>, u64, Crash)]) {
    let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut model = Model::default();
    for (steps, budget, crash) in lives {
        let disk = sim.mount();
        let (mut log, _) = open_again(&disk, &model);
        log.index_lag = index_lag;
        sim.set_budget(Some(*budget));
        let mut log = Some(log);
        let mut interrupted = None;
        for step in steps {
            let before = model.batches.clone();
            if model.step(&mut log, &disk, step).is_none() {
                interrupted = Some((step, before));
                break;
            }
        }
        drop(log);
        sim.crash(*crash);
        let disk = sim.mount();
        let truncated_whole = !matches!(interrupted, Some((Step::Truncate { .. }, _)));
        let (log, _) = match crash {
            Crash::Kill => survived(&disk, &model, truncated_whole),
            Crash::PowerLoss => open_again(&disk, &model),
        };
        let view = log.view();
        check(&view);
        check_producers(&disk, &log);
        check_indexes(&log);
        let found = bases(&view);
        let written: Vec<i64> = model.batches.iter().map(|(base, _)| *base).collect();
        assert!(view.log_end_offset() >= model.durable, "lost what was synced");
        match &interrupted {
            Some((Step::Truncate { .. }, before)) => {
                let before: Vec<i64> = before.iter().map(|(base, _)| *base).collect();
                assert!(before.starts_with(&found), "{found:?} is no prefix of {before:?}");
            }
            _ => assert!(written.starts_with(&found), "{found:?} is no prefix of {written:?}"),
        }
        let full = interrupted.is_none() && *crash == Crash::Kill;
        assert!(!full || found.len() == written.len(), "a killed process lost what it wrote");
        for entry in view.leader_epochs().entries() {
            let batch = model.batches.iter().find(|(_, epoch)| *epoch == entry.epoch.0);
            assert!(batch.is_none_or(|(base, _)| *base <= entry.start_offset));
        }
        let mut known = Vec::new();
        view.batches_from(0)
            .for_each_header(|header| {
                known.push((header.base_offset, header.leader_epoch));
                true
            })
            .unwrap();
        for (base, epoch) in &known {
            assert_eq!(view.leader_epochs().epoch_for_offset(*base).map(|e| e.0), Some(*epoch));
        }
        model.batches = known;
        model.epoch += 1;
    }
}

fn life() -> impl Strategy<Value = (Vec<Step>, u64, Crash)> {
    let crash = prop_oneof![1 => Just(Crash::Kill), 2 => Just(Crash::PowerLoss)];
    (proptest::collection::vec(step(), 0..25), prop_oneof![0..150u64, Just(u64::MAX)], crash)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_a_prefix_with_all_that_was_synced(
        seed: u64,
        index_lag in prop_oneof![0..1000u32, Just(u32::MAX)],
        lives in proptest::collection::vec(life(), 1..5),
    ) {
        run(seed, index_lag, &lives);
    }

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
    run(
        17887326311221746223,
        0,
        &[
            (vec![append(), Step::Truncate { back: 1 }], 6, Crash::PowerLoss),
            (vec![append(), Step::Roll, Step::Close], 28, Crash::PowerLoss),
            (
                vec![
                    Step::Produce { id: 4, records: 1, transactional: true },
                    Step::Close,
                    Step::Produce { id: 3, records: 1, transactional: true },
                    Step::End { id: 3, commit: false },
                    Step::End { id: 4, commit: false },
                ],
                u64::MAX,
                Crash::PowerLoss,
            ),
        ],
    );
}

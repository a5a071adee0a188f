//! What passes leave of what snapshots tell of producers, and what retention makes of it.

use std::path::Path;

use ControlRecordType::{Abort, Commit};
use disk::{Crash, Open};
use model::ProducerId;
use model::producers::Producers;

use super::*;
use crate::producer_snapshot::{encode_producer_snapshot, write_producer_snapshot};
use crate::testing::{produced, replayed_from, snapshots};

/// In transactions.
const WRITER: i64 = 1;
/// Writes once, at the beginning.
const EARLY: i64 = 7;

fn by(producer: i64) -> impl Fn(BatchBuilder) -> BatchBuilder {
    move |builder| builder.producer(producer, 0, 0).transactional(producer == WRITER)
}

/// With all producers that the log knows; something new makes it dirty.
fn pass(log: &mut Compacted, now_ms: i64) {
    log.put(&[("dirt", None)]);
    log.roll();
    let producers = log.log.producers().iter();
    let active_producers = producers.map(|(id, entry)| {
        let last_data_offset = entry.last_batch().map(|batch| batch.last_offset);
        (id.0, LastRecord { last_data_offset, producer_epoch: entry.epoch.0 })
    });
    let active_producers = active_producers.collect();
    log.clean_with(CompactionOptions { active_producers, ..options(now_ms) });
}

/// After them no marker is left of transactions without records, but the last.
fn passes(log: &mut Compacted) {
    for now_ms in [0, 0, RETENTION] {
        pass(log, now_ms);
    }
}

fn markers(log: &Compacted) -> usize {
    log.headers().iter().filter(|header| header.is_control()).count()
}

/// Keys that stay, so many that two segments of them are not brought together.
fn put_many(log: &mut Compacted, round: usize) {
    for key in 0..12 {
        log.put(&[(&format!("{round} {key}"), Some("a value of some length"))]);
    }
}

/// Every roll is amid a transaction of which nothing is kept.
fn rolled_amid_transactions(rounds: usize) -> Compacted {
    let mut log = Compacted::new(config());
    log.append(Codec::None, &[("early", Some("1"))], by(EARLY));
    for round in 0..rounds {
        log.append(Codec::None, &[("superseded", Some("value"))], by(WRITER));
        put_many(&mut log, round);
        log.roll();
        log.end_txn(WRITER, if round % 2 == 0 { Commit } else { Abort });
    }
    log.append(Codec::None, &[("superseded", Some("last"))], by(WRITER));
    log.end_txn(WRITER, Commit);
    log
}

type Known = (Vec<(i64, i16, i32)>, Option<i64>, Vec<AbortedTransaction>);

fn known(log: &Log) -> Known {
    let entries = log.producers().iter();
    let entries = entries.map(|(id, entry)| (id.0, entry.epoch.0, entry.last_sequence()));
    let aborted = log.view().aborted_transactions(0, i64::MAX).unwrap();
    (entries.collect(), log.producers().first_ongoing_offset(), aborted)
}

/// By size and by age; the segments and their files are gone, and what is known of producers is not.
#[test]
fn retention_goes_on_in_a_log_of_transactions_that_was_compacted() {
    let by_size = |log: &Log| {
        (RetentionPolicy { retention_ms: -1, retention_bytes: log.size() as i64 / 2 }, 0i64)
    };
    let by_age = |log: &Log| {
        let newest = log.view().segments[3].base + 1000;
        (RetentionPolicy { retention_ms: 0, retention_bytes: -1 }, newest)
    };
    type Policy<'a> = &'a dyn Fn(&Log) -> (RetentionPolicy, i64);
    for policy in [&by_size as Policy<'_>, &by_age] {
        let mut log = rolled_amid_transactions(9);
        let all = markers(&log);
        passes(&mut log);
        assert!(all == 10 && markers(&log) == 1);
        log = log.reopen();
        let before = known(&log.log);
        assert_eq!(before.0.len(), 2);
        let (policy, now_ms) = policy(&log.log);
        let end = log.log.log_end_offset();
        let start = log.log.deletable_segments(&policy, end, now_ms).unwrap().unwrap();
        let deleted = log.log.delete_segments_below(start, 0).unwrap();
        assert!(deleted.count > 2);
        deleted.remove(&*log.disk).unwrap();
        assert_eq!(log.log.segments[0].base, start);
        let offset = |name: &str| name.get(..20).and_then(|offset| offset.parse::<i64>().ok());
        let older = |name: &String| offset(name).is_some_and(|offset| offset < start);
        assert_eq!(log.file_names().into_iter().find(older), None);
        assert_eq!(known(&log.log), before);
        log.log.sync().unwrap();
        // From the newest snapshot, or from the oldest alone.
        for point in [end, start] {
            log = log.reopen();
            assert_eq!(known(&log.log), before);
            let Compacted { sim, checkpoint, log: open, .. } = log;
            drop(open);
            sim.crash(Crash::PowerLoss);
            let disk = sim.mount();
            let options =
                OpenOptions { recovery_point: point, gaps_below: end, ..OpenOptions::default() };
            let (open, _) = Log::open(disk.clone(), dir(), config(), options).unwrap();
            log = Compacted { sim, disk, log: open, checkpoint };
            assert_eq!(known(&log.log), before, "from {point}");
        }
    }
}

/// It lies where the log was closed once, amid a transaction, and is the newest when the log is cut.
#[test]
fn a_snapshot_within_a_segment_goes_before_markers_do() {
    let mut log = Compacted::new(config());
    log.append(Codec::None, &[("a", Some("1"))], by(WRITER));
    let mut log = log.reopen();
    assert_eq!(snapshots(&log.disk), [1]);
    log.end_txn(WRITER, Commit);
    for _ in 0..3 {
        log.put(&[("a", Some("2")), ("b", Some("1"))]);
    }
    log.roll();
    for now_ms in [0, 0, RETENTION] {
        let to_clean = LogToClean { first_dirty_offset: 0, ..log.to_clean(0) };
        log.clean_range(&to_clean, options(now_ms));
    }
    assert_eq!(markers(&log), 0);
    assert!(log.log.snapshots.iter().copied().eq(snapshots(&log.disk)));
    assert!(log.log.truncate_to(6, 0).unwrap().is_some());
    assert_eq!(log.log.producers().first_ongoing_offset(), None);
}

/// The first segment's tells of producers of segments that were given up.
#[test]
fn the_first_snapshot_outlives_a_swap_that_ends_at_any_step() {
    let mut in_swap = 0;
    for (budget, seed) in (0..60).flat_map(|budget| (0..6).map(move |seed| (budget, seed))) {
        let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
        let disk = sim.mount();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let (open, _) = crate::testing::open(&disk, config(), true, 0);
        let mut log = Compacted { sim, disk, log: open, checkpoint: None };
        log.append(Codec::None, &[("early", Some("1"))], by(EARLY));
        for keys in [&["a", "b"][..], &["b", "c"], &["a", "d"]] {
            log.roll();
            for key in keys {
                log.put(&[(key, Some("1"))]);
            }
        }
        log.roll();
        log.log.delete_segments_below(1, 0).unwrap().remove(&*log.disk).unwrap();
        let before = known(&log.log);
        assert_eq!((before.0.len(), log.log.segments[0].base), (1, 1));
        let to_clean = log.to_clean(0);
        let mut pass = log.pass(&to_clean, options(0));
        let point = log.log.recovery_point();
        assert_eq!(point, log.log.segments.last().unwrap().base);
        let Progress::Cleaned(cleaned) = pass.run(|_| ControlFlow::Continue(())).unwrap() else {
            panic!("there is a group");
        };
        assert_eq!(cleaned.counts(), (3, 1));
        let swap = log.log.replace_segments(cleaned).unwrap();
        log.sim.set_budget(Some(budget));
        in_swap += i32::from(swap.run().is_err());
        let Compacted { sim, log, .. } = log;
        drop(log);
        sim.crash(Crash::PowerLoss);
        let (log, _) = crate::testing::open(&sim.mount(), config(), false, point);
        assert_eq!(known(&log), before, "{budget} {seed}");
    }
    assert!(in_swap > 60);
}

/// Of a transaction that has a batch left the end is still told, and that it began.
#[test]
fn a_transaction_with_batches_stays_open_in_snapshots_until_its_marker() {
    let mut log = Compacted::new(config());
    log.append(Codec::None, &[("kept", Some("1"))], by(WRITER));
    put_many(&mut log, 0);
    log.roll();
    log.end_txn(WRITER, Commit);
    put_many(&mut log, 1);
    let first = log.log.segments[1].base;
    for _ in 0..3 {
        passes(&mut log);
        let stored = read_producer_snapshot(&*log.disk, &dir(), first).unwrap();
        assert!(stored.in_transaction(ProducerId(WRITER)));
        let from_there = replayed_from(&log.disk, &log.log.view(), first);
        assert_eq!(from_there.first_ongoing_offset(), None);
    }
}

/// Of five thousand producers in transactions whose batches are gone.
#[test]
fn what_is_read_and_written_of_snapshots_is_told_and_none_is_in_the_way() {
    let mut producers = Producers::default();
    for id in 0..5000 {
        let batch = produced(0, 1, 1, (id, 0, 0), true);
        producers.apply(&batch.info().unwrap(), id);
    }
    let large = encode_producer_snapshot(&producers);
    for damage in [None, Some(10), Some(257 << 20)] {
        let mut log = Compacted::new(config());
        put_many(&mut log, 0);
        log.roll();
        let base = log.log.log_end_offset();
        put_many(&mut log, 1);
        log.roll();
        write_producer_snapshot(&*log.disk, &dir(), base, &large).unwrap();
        if let Some(len) = damage {
            let path = dir().join(format!("{base:020}.snapshot"));
            log.disk.open(&path, Open::ReadWrite).unwrap().set_len(len).unwrap();
        }
        let to_clean = log.to_clean(0);
        let mut pass = log.pass(&to_clean, options(0));
        let mut io = 0;
        let mut swapped = 0;
        while let Progress::Cleaned(cleaned) = pass
            .run(|bytes| {
                io += bytes as usize;
                ControlFlow::Continue(())
            })
            .unwrap()
        {
            log.log.replace_segments(cleaned).unwrap().run().unwrap();
            swapped += 1;
        }
        assert_eq!((swapped, io > 2 * large.len()), (2, damage.is_none()));
        if damage.is_none() {
            let stored = read_producer_snapshot(&*log.disk, &dir(), base).unwrap();
            assert_eq!((stored.iter().count(), stored.first_ongoing_offset()), (5000, None));
        }
    }
}

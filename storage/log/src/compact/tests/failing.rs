//! Passes that fail midway, and what comes after them within the same life.

use disk::{Crash, Fault, FaultKind};

use super::*;

/// Batches of one record, 10 to a segment, under 18 keys; but for the first each has one under a key of its own.
fn filled(batches: i64) -> Compacted {
    let mut log = Compacted::new(LogConfig { segment_bytes: 1000, ..config() });
    for at in 0..batches {
        let key = match at % 10 {
            5 if at < 10 => 0,
            5 => 100 + at,
            _ => at % 20,
        };
        log.put(&[(&format!("key {key:03}"), Some("a value of some length"))]);
    }
    log.roll();
    log
}

fn left(log: &Compacted) -> Vec<String> {
    let mut names = log.file_names();
    names.retain(|name| name.contains(".cleaned"));
    names
}

/// Of everything; one that fails is aborted once the disk is well again.
fn pass(log: &mut Compacted) -> Result<(), CompactionError> {
    let to_clean = LogToClean { first_dirty_offset: 0, ..log.to_clean(0) };
    let mut pass = log.pass(&to_clean, options(0));
    loop {
        match pass.run(|_| ControlFlow::Continue(())) {
            Ok(Progress::Paused) => {}
            Ok(Progress::Cleaned(cleaned)) => {
                log.log.replace_segments(cleaned).unwrap().run().unwrap();
            }
            Ok(Progress::Done { .. }) => return Ok(()),
            Err(error) => {
                log.sim.forget_plan();
                pass.abort().unwrap();
                return Err(error);
            }
        }
    }
}

#[test]
fn a_pass_that_fails_at_any_step_leaves_no_file_and_another_may_come() {
    for (kind, path) in [
        (FaultKind::NoRoom, ".cleaned"),
        (FaultKind::Shortage, ".cleaned"),
        (FaultKind::SyncNoRoom, ".cleaned"),
        (FaultKind::ReadError, ".log"),
    ] {
        let mut failed = 0;
        loop {
            let mut log = filled(60);
            log.log.sync().unwrap();
            log.sim.plan(Fault { kind, path_contains: path.to_owned(), skip: failed, times: 1 });
            if pass(&mut log).is_ok() {
                break;
            }
            assert!(left(&log).is_empty(), "{kind:?} {failed}: {:?}", left(&log));
            pass(&mut log).unwrap();
            assert_eq!(log.reopen().keys().len(), 18 + 5);
            failed += 1;
        }
        assert!(failed > 5, "{kind:?}");
    }
}

/// As where its job panicked, or its files could not be removed. The next begins no group where it did.
#[test]
fn what_a_pass_left_behind_undoes_no_later_swap() {
    for budget in 0..60 {
        let mut log = filled(60);
        let to_clean = log.to_clean(0);
        let next = |log: &mut Compacted, pass: &mut Compaction| {
            let Progress::Cleaned(group) = pass.run(|_| ControlFlow::Continue(())).unwrap() else {
                panic!("there is another group");
            };
            (group.counts(), log.log.replace_segments(group).unwrap())
        };
        let mut dropped = log.pass(&to_clean, options(0));
        next(&mut log, &mut dropped).1.run().unwrap();
        while left(&log).is_empty() {
            dropped.run(|_| ControlFlow::Break(())).unwrap();
        }
        drop(dropped);
        let mut pass = log.pass(&to_clean, options(0));
        let (counts, swap) = next(&mut log, &mut pass);
        assert_eq!(counts, (2, 1));
        swap.run().unwrap();
        let before = batches(&log.log.view());
        let (_, swap) = next(&mut log, &mut pass);
        let after = batches(&log.log.view());
        log.sim.set_budget(Some(budget));
        let done = swap.run().is_ok();
        let Compacted { sim, log, .. } = log;
        let (config, recovery_point) = (log.config().clone(), log.recovery_point());
        drop(log);
        sim.crash(Crash::Kill);
        let survived =
            OpenOptions { writes_survived: true, recovery_point, ..OpenOptions::default() };
        let (log, _) = Log::open(sim.mount(), dir(), config, survived).unwrap();
        let found = batches(&log.view());
        assert!(found == after || found == before && !done, "{budget}: {found:#?}");
    }
}

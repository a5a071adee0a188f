use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use disk::{Crash, Disk, Fault, FaultKind, Open, SimDisk, SimDiskOptions};
use log::{RecentBatches, Survival, survival};
use model::settings::TopicConfig;
use model::{TopicPartition, Uuid};

use runtime::Address;

use crate::checkpoints::{Checkpoint, Offsets};
use crate::future::FutureLog;
use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::recovery::Recovery;
use crate::{LogDirState, read_log_dir};

const DIR: &str = "/data";

fn start(disk: &Arc<dyn Disk>) -> LogDirState {
    read_log_dir(disk, Path::new(DIR), Uuid([1; 16]), 2, true).unwrap().0
}

fn with_log() -> SimDisk {
    with_log_on(true)
}

/// Where the kernel can tell its lives apart, or cannot.
fn with_log_on(kernel: bool) -> SimDisk {
    let sim = SimDisk::new(SimDiskOptions { kernel, ..SimDiskOptions::default() });
    let disk = sim.mount();
    disk.create_dir_all(&Path::new(DIR).join("orders-0")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    sim
}

fn survived(sim: &SimDisk) -> bool {
    start(&sim.mount()).survival == Survival::All
}

/// Once its logs are recovered, as the directory's actor does.
fn recovered(disk: &Arc<dyn Disk>) {
    log::expect_writes_to_survive(&**disk, Path::new(DIR)).unwrap();
}

#[test]
fn writes_survive_the_process_but_not_the_machine() {
    let sim = with_log();
    assert!(!survived(&sim), "nobody knows what was before");
    recovered(&sim.mount());
    for _ in 0..2 {
        sim.crash(Crash::Kill);
        assert!(survived(&sim));
    }
    sim.crash(Crash::PowerLoss);
    assert!(!survived(&sim));
}

#[test]
fn a_recovery_that_is_cut_short_is_done_again() {
    let sim = with_log();
    recovered(&sim.mount());
    sim.crash(Crash::PowerLoss);
    assert!(!survived(&sim));
    sim.crash(Crash::Kill);
    assert!(!survived(&sim), "the logs were not recovered");
    recovered(&sim.mount());
    sim.crash(Crash::Kill);
    assert!(survived(&sim));
}

#[test]
fn a_sync_that_failed_is_known_to_whoever_comes_next() {
    let log = Path::new(DIR).join("orders-0");
    let both = [true, false];
    let cases = both.into_iter().flat_map(|kernel| both.map(|marker| (kernel, marker)));
    for (kernel, marker, full) in cases.flat_map(|(k, marker)| both.map(|full| (k, marker, full))) {
        let sim = with_log_on(kernel);
        if marker {
            recovered(&sim.mount());
        }
        let state = start(&sim.mount());
        let file = state.disk().open(&log.join("0.log"), Open::Create).unwrap();
        file.write_at(b"written", 0).unwrap();
        assert!(!state.is_unsynced(&log));
        if full {
            sim.set_capacity(0);
        }
        let path_contains = "0.log".to_owned();
        sim.plan(Fault { kind: FaultKind::SyncNoRoom, path_contains, skip: 0, times: 1 });
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert!(state.is_unsynced(&log) && state.is_online());
        state.all_recovered().unwrap();
        for _ in 0..2 {
            sim.crash(Crash::Kill);
            let next = start(&sim.mount());
            assert_eq!(next.survival, Survival::Unsynced);
            assert!(next.is_unsynced(&log));
        }
        let next = start(&sim.mount());
        next.rewritten(&log);
        sim.set_capacity(1 << 40);
        next.all_recovered().unwrap();
        sim.crash(Crash::Kill);
        assert_eq!(survival(&*sim.mount(), Path::new(DIR)).unwrap(), after_kill(kernel));
        sim.crash(Crash::PowerLoss);
        let left = start(&sim.mount()).survival;
        // What a sync left and the machine's end cannot always be told apart there; rewriting does no harm.
        let either = !kernel && left == Survival::Unsynced;
        assert!(left == Survival::Synced || either, "{left:?}: what is read is on the disk");
    }
}

/// What is left when all was whole and the process ends: a kernel that cannot be told from the next may have ended with it.
fn after_kill(kernel: bool) -> Survival {
    if kernel { Survival::All } else { Survival::Synced }
}

#[test]
fn gaps_above_the_recovery_point_are_the_cleaners_only_where_somebody_else_wrote() {
    for kernel in [true, false] {
        let sim = with_log_on(kernel);
        let first = start(&sim.mount());
        assert_eq!(first.gaps_below(false, Some(3)), i64::MAX, "perhaps Kafka's");
        recovered(&sim.mount());
        for crash in [Crash::Kill, Crash::PowerLoss] {
            sim.crash(crash);
            let next = start(&sim.mount());
            assert_eq!(next.gaps_below(false, Some(3)), 3, "{kernel} {crash:?}");
            assert_eq!(next.gaps_below(true, Some(3)), i64::MAX, "nobody knows its recovery point");
            recovered(&sim.mount());
        }
    }
}

fn handle(dir: &Arc<LogDirState>) -> Arc<PartitionHandle> {
    let config = Arc::new(TopicConfig::default());
    let log = TopicPartition::new("orders", 0);
    let address = Address::vacant();
    Arc::new(PartitionHandle::new(log, Uuid([2; 16]), config, dir.clone(), address))
}

#[test]
fn a_cut_lowers_the_checkpoints_that_say_more() {
    let handle = handle(&Arc::new(start(&with_log().mount())));
    assert_eq!(handle.lower(0, 0), []);
    for (point, cleaned, cut, lowered) in [
        (50, 40, 60, &[][..]),
        (50, 40, 45, &[Checkpoint::RecoveryPoints]),
        (50, 40, 30, &[Checkpoint::RecoveryPoints, Checkpoint::Cleaned]),
        (20, 40, 30, &[Checkpoint::Cleaned]),
    ] {
        handle.set_recovery_point(point);
        handle.set_cleaned(cleaned);
        assert_eq!(handle.lower(point.min(cut), cut), lowered);
        assert!(handle.recovery_point() <= cut && handle.cleaned() <= Some(cut));
    }
}

#[test]
fn a_directory_with_a_copy_that_is_not_closed_is_not_clean() {
    let dir = Arc::new(start(&with_log().mount()));
    let elsewhere = Arc::new(start(&with_log().mount()));
    dir.recovered(&TopicPartition::new("orders", 0));
    let (handle, hosted) = (handle(&elsewhere), Hosted::new(RecentBatches::default()));
    hosted.insert(handle.clone());
    assert!(dir.is_closed(&hosted));
    let path = Path::new(DIR).join("orders-0.1-future");
    let copy = FutureLog::new(dir.clone(), path, dir.queue().clone(), None, Offsets::default());
    handle.set_future(Some(Arc::new(copy)));
    assert!(!dir.is_closed(&hosted), "its copy is open");
}

#[test]
fn a_copy_is_not_the_directory_it_was_made_of() {
    let sim = with_log();
    let disk = sim.mount();
    recovered(&disk);
    let to = Path::new("/copy");
    disk.create_dir_all(to).unwrap();
    for entry in disk.list(Path::new(DIR)).unwrap() {
        let from = Path::new(DIR).join(&entry.name);
        if let Ok(bytes) = disk.read(&from, 1 << 20) {
            disk.replace(&to.join(&entry.name), &bytes).unwrap();
        }
    }
    assert_eq!(survival(&*disk, Path::new(DIR)).unwrap(), Survival::All);
    assert_eq!(survival(&*disk, to).unwrap(), Survival::Synced);
}

#[tokio::test]
async fn so_many_logs_are_recovered_at_a_time_and_it_is_told_how_many() {
    let logs: Vec<_> = (0..3).map(|n| TopicPartition::new("orders", n)).collect();
    let recovery = Recovery::of(BTreeSet::from_iter(logs.clone()), 2);
    assert_eq!(recovery.progress().as_deref(), Some("0 of 3 logs recovered"));
    let first = recovery.turn(&logs[0]).await;
    let second = recovery.turn(&logs[1]).await;
    assert!(first.is_some() && second.is_some());
    assert!(recovery.turn(&TopicPartition::new("new", 0)).await.is_none(), "it has not to wait");
    let mut third = Box::pin(recovery.turn(&logs[2]));
    assert!(futures_now(third.as_mut()).is_none());
    drop(first);
    assert!(!recovery.done(&logs[0]) && !recovery.done(&logs[0]));
    assert_eq!(recovery.progress().as_deref(), Some("1 of 3 logs recovered"));
    assert!(third.await.is_some());
    assert!(!recovery.done(&logs[1]));
    assert!(recovery.done(&logs[2]), "it was the last");
    assert_eq!(recovery.progress(), None);
}

/// What a future gives without waiting.
fn futures_now<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn where_nobody_says_which_logs_were_compacted_any_may_have_gaps() {
    let orders = TopicPartition::new("orders", 0);
    for (cleaner, known, ours, presumed) in [
        (None, "orders 0 7", true, Some(0)),
        (Some(""), "orders 0 7", true, Some(0)),
        (Some("0\n0\n"), "orders 0 7", true, None),
        (Some("0\n1\norders 0 3\n"), "orders 0 7", true, Some(3)),
        // What was not synced may be gone. Of Kafka's nobody knows what was.
        (None, "other 0 7", true, None),
        (None, "other 0 7", false, Some(0)),
    ] {
        let disk = with_log().mount();
        if ours {
            recovered(&disk);
        }
        let write = |name: &str, text: &str| {
            let file = disk.open(&Path::new(DIR).join(name), Open::Create).unwrap();
            file.write_at(text.as_bytes(), 0).unwrap();
        };
        write("recovery-point-offset-checkpoint", &format!("0\n1\n{known}\n"));
        cleaner.into_iter().for_each(|text| write("cleaner-offset-checkpoint", text));
        let state = start(&disk);
        assert_eq!(state.known_of(&orders).get(Checkpoint::Cleaned), presumed, "{cleaner:?}");
        // The next to start need not presume.
        assert_eq!(start(&disk).known_of(&orders).get(Checkpoint::Cleaned), presumed);
    }
}

/// Whatever of the checkpoints is written when the process ends.
#[test]
fn a_log_that_was_never_compacted_is_not_presumed_to_be() {
    let orders = TopicPartition::new("orders", 0);
    for which in [&[Checkpoint::RecoveryPoints][..], &Checkpoint::ALL] {
        for crash in [Crash::Kill, Crash::PowerLoss] {
            for ops in 0..40 {
                let sim = SimDisk::new(SimDiskOptions::default());
                sim.mount().create_dir_all(Path::new(DIR)).unwrap();
                sim.mount().sync_dir(Path::new("/")).unwrap();
                let state = Arc::new(start(&sim.mount()));
                let log = Path::new(DIR).join("orders-0");
                sim.mount().create_dir_all(&log).unwrap();
                sim.mount().sync_dir(Path::new(DIR)).unwrap();
                let hosted = Hosted::new(RecentBatches::default());
                let handle = handle(&state);
                handle.set_opened();
                hosted.insert(handle);
                sim.set_budget(Some(ops));
                let _ = state.write_checkpoints(&hosted, which);
                sim.crash(crash);
                let next = start(&sim.mount());
                assert_eq!(
                    next.known_of(&orders).get(Checkpoint::Cleaned),
                    None,
                    "{crash:?} {ops}"
                );
            }
        }
    }
}

/// A log that a follower began anew is durable up to 0 and says so: what is missing in it from then on is a loss.
#[test]
fn a_line_that_says_0_is_no_missing_line() {
    let handle = handle(&Arc::new(start(&with_log().mount())));
    let known = |point| Offsets::new(|of| (of == Checkpoint::RecoveryPoints).then_some(point)?);
    for (point, none) in [(Some(0), false), (Some(5), false), (None, true)] {
        handle.recall(known(point));
        assert_eq!(handle.has_no_recovery_point(), none);
        assert_eq!(handle.offsets().get(Checkpoint::RecoveryPoints), point);
    }
    handle.set_opened();
    assert!(!handle.has_no_recovery_point());
    assert_eq!(handle.offsets().get(Checkpoint::RecoveryPoints), Some(0));
}

/// Kafka takes the marker away, and what it leaves is not taken for ours.
#[test]
fn what_kafka_wrote_after_a_clean_stop_is_not_taken_for_ours() {
    let sim = with_log();
    recovered(&sim.mount());
    start(&sim.mount()).mark_clean(None).unwrap();
    sim.crash(Crash::Kill);
    let clean = read_log_dir(&sim.mount(), Path::new(DIR), Uuid([1; 16]), 2, true).unwrap().0;
    assert!(clean.clean && clean.survival == Survival::All);
    clean.mark_clean(None).unwrap();
    log::CleanShutdown::remove(&*sim.mount(), Path::new(DIR)).unwrap();
    sim.crash(Crash::PowerLoss);
    let next = start(&sim.mount());
    assert!(!next.clean);
    assert_eq!(next.survival, Survival::Unknown);
}

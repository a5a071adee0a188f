//! Files that are not what they were: what was durable and is gone is told, the rest is made anew, and nothing makes the opener
//! fall over.

#[path = "../tests/fuzz/use_all.rs"]
mod use_all;

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, Open, SimDisk, SimDiskOptions};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::testing::*;
use crate::*;
use use_all::use_all;

fn sim() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

/// Three segments of 12 records each, closed.
fn closed(disk: &Arc<dyn Disk>) -> i64 {
    let (mut log, _) = open(disk, LogConfig::default(), true, 0);
    for segment in 0..3 {
        fill(&mut log, 4, 1);
        if segment < 2 {
            log.roll(0).unwrap();
        }
    }
    log.close().unwrap().offset
}

fn options(clean: bool, recovery_point: i64) -> OpenOptions {
    OpenOptions { clean, recovery_point, ..OpenOptions::default() }
}

fn reopen(disk: &Arc<dyn Disk>, options: OpenOptions) -> Result<(Log, Recovered), OpenError> {
    Log::open(disk.clone(), dir(), LogConfig::default(), options)
}

fn segment(base: i64) -> std::path::PathBuf {
    dir().join(format!("{base:020}.log"))
}

fn damage(disk: &Arc<dyn Disk>, base: i64, at: u64) {
    disk.open(&segment(base), Open::ReadWrite).unwrap().write_at(&[0xff; 4], at).unwrap();
}

#[test]
fn a_corrupt_batch_below_the_recovery_point_keeps_the_log_from_being_opened() {
    for (point, lost) in [(36, true), (31, true), (27, false), (24, false)] {
        let disk = sim();
        closed(&disk);
        let third = disk.metadata(&segment(24)).unwrap().len / 4;
        damage(&disk, 24, third + 70);
        let before = disk.read(&segment(24), 1 << 20).unwrap();
        match reopen(&disk, options(false, point)) {
            Err(OpenError::CommittedLost { position, offset, recovery_point, path }) if lost => {
                assert_eq!((position, offset, recovery_point), (third, 27, point));
                assert_eq!(path, segment(24));
                assert_eq!(disk.read(&segment(24), 1 << 20).unwrap(), before, "it is left alone");
            }
            Ok((log, _)) if !lost => assert_eq!(log.log_end_offset(), 27),
            other => panic!("{point}: {other:?}"),
        }
    }
}

#[test]
fn a_segment_that_lost_its_end_or_is_gone_is_told() {
    for clean in [true, false] {
        let disk = sim();
        closed(&disk);
        disk.remove_file(&segment(24)).unwrap();
        let opened = reopen(&disk, options(clean, 36));
        assert!(matches!(opened, Err(OpenError::CommittedLost { offset: 24, .. })), "{opened:?}");
        let disk = sim();
        closed(&disk);
        let file = disk.open(&segment(24), Open::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() / 4 * 3).unwrap();
        let opened = reopen(&disk, options(clean, 36));
        assert!(matches!(opened, Err(OpenError::CommittedLost { offset: 33, .. })), "{opened:?}");
        let (log, _) = reopen(&disk, options(false, 33)).unwrap();
        assert_eq!(log.log_end_offset(), 33);
    }
}

#[test]
fn a_hole_between_segments_is_told() {
    let disk = sim();
    closed(&disk);
    let file = disk.open(&segment(12), Open::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() / 4 * 2).unwrap();
    let opened = reopen(&disk, options(false, 20));
    assert!(matches!(opened, Err(OpenError::CommittedLost { offset: 18, .. })), "{opened:?}");
}

/// How a log may have ended.
const ENDS: [(bool, bool); 3] = [(true, false), (false, true), (false, false)];

#[test]
fn no_end_of_a_log_hides_that_a_segment_between_others_is_gone_or_shorter() {
    type Harm = fn(&Arc<dyn Disk>);
    let gone: Harm = |disk| disk.remove_file(&segment(12)).unwrap();
    let empty: Harm = |disk| disk.open(&segment(12), Open::Truncate).map(|_| ()).unwrap();
    let shorter: Harm = |disk| {
        let file = disk.open(&segment(12), Open::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() / 4 * 2).unwrap();
    };
    for (clean, writes_survived) in ENDS {
        for (harm, whole, ends) in [(gone, 0, 12), (empty, 12, 12), (shorter, 12, 18)] {
            let disk = sim();
            closed(&disk);
            harm(&disk);
            let end = disk.metadata(&segment(whole)).unwrap().len;
            let found = OpenOptions { writes_survived, ..options(clean, 36) };
            match reopen(&disk, found) {
                Err(OpenError::CommittedLost {
                    path,
                    position: at,
                    offset,
                    recovery_point: 36,
                }) => {
                    assert_eq!((path, at, offset), (segment(whole), end, ends));
                }
                other => panic!("{clean} {writes_survived} {ends}: {other:?}"),
            }
            let before_log_start = OpenOptions { log_start_offset: 24, ..found };
            let (log, _) = reopen(&disk, before_log_start).unwrap();
            assert_eq!(log.log_end_offset(), 36, "what was deleted anyway is not missed");
            let unknown = OpenOptions { recovery_point: 0, loss_accepted: true, ..found };
            let (mut log, _) = reopen(&disk, unknown).unwrap();
            assert_eq!(log.log_end_offset(), if clean { 36 } else { ends });
            if clean {
                continue;
            }
            fill(&mut log, 4, 2);
            check(&log.view());
            let end = log.close().unwrap().offset;
            let (log, report) = reopen(&disk, options(false, end)).unwrap();
            assert_eq!((log.log_end_offset(), report.removed_segments), (end, 0));
        }
    }
}

/// Segments that are not whole above the recovery point: where only the process ended, nobody knows why.
#[test]
fn what_nobody_accepts_the_loss_of_is_not_cut_where_only_the_process_ended() {
    let disk = sim();
    closed(&disk);
    let file = disk.open(&segment(12), Open::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() - 5).unwrap();
    let found = OpenOptions { writes_survived: true, ..options(false, 12) };
    let opened = reopen(&disk, found);
    let Err(error @ OpenError::CorruptSegment { .. }) = opened else { panic!("{opened:?}") };
    assert!(error.to_string().contains("accept the loss by taking the partition's line out"));
    let (log, _) = reopen(&disk, OpenOptions { loss_accepted: true, ..options(false, 0) }).unwrap();
    assert_eq!(log.log_end_offset(), 21);
}

#[test]
fn a_log_without_any_segment_is_told_and_made_only_where_nothing_was() {
    for (clean, writes_survived) in ENDS {
        for whole_directory in [false, true] {
            let disk = sim();
            closed(&disk);
            if whole_directory {
                disk.remove_dir_all(&dir()).unwrap();
            } else {
                [0, 12, 24].iter().for_each(|base| disk.remove_file(&segment(*base)).unwrap());
            }
            let found = OpenOptions { writes_survived, ..options(clean, 36) };
            let opened = reopen(&disk, found);
            assert!(matches!(opened, Err(OpenError::NoSegments { .. })), "{opened:?}");
            assert_eq!(disk.exists(&dir()).unwrap(), !whole_directory);
            let emptied = OpenOptions { log_start_offset: 36, ..found };
            let (log, _) = reopen(&disk, emptied).unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (36, 36));
        }
    }
}

#[test]
fn a_compacted_log_that_lost_its_last_segments_is_told() {
    let compacted = LogConfig { compacted: true, ..LogConfig::default() };
    for (clean, writes_survived) in ENDS {
        let disk = sim();
        closed(&disk);
        disk.remove_file(&segment(24)).unwrap();
        let options = OpenOptions { writes_survived, ..options(clean, 36) };
        let opened = Log::open(disk, dir(), compacted.clone(), options);
        assert!(matches!(opened, Err(OpenError::CommittedLost { offset: 24, .. })), "{opened:?}");
    }
}

#[test]
fn a_closed_segment_of_a_compacted_log_that_is_torn_is_told() {
    let compacted = LogConfig { compacted: true, ..LogConfig::default() };
    for (clean, writes_survived) in ENDS {
        let disk = sim();
        closed(&disk);
        let file = disk.open(&segment(12), disk::Open::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() - 5).unwrap();
        let options = OpenOptions { writes_survived, ..options(clean, 36) };
        let opened = Log::open(disk, dir(), compacted.clone(), options);
        let told = matches!(
            opened,
            Err(OpenError::CorruptSegment { .. } | OpenError::CommittedLost { .. })
        );
        assert!(told, "{clean} {writes_survived} {opened:?}");
    }
}

/// The power goes before anything of a segment is synced, and the one behind it is there.
#[test]
fn a_compacted_log_has_no_gap_above_the_recovery_point() {
    let compacted = LogConfig { compacted: true, ..LogConfig::default() };
    for (point, gaps_below, end) in [(12, 0, 12), (12, 24, 36), (24, 0, 36), (12, i64::MAX, 36)] {
        let disk = sim();
        closed(&disk);
        // As a pass of the cleaner leaves it, or as a loss of power does.
        disk.open(&segment(12), disk::Open::Truncate).unwrap();
        let options = OpenOptions { gaps_below, ..options(false, point) };
        let (log, _) = Log::open(disk, dir(), compacted.clone(), options).unwrap();
        assert_eq!(log.log_end_offset(), end, "{point} {gaps_below}");
    }
}

#[test]
fn a_log_that_was_truncated_between_two_batches_is_durable_up_to_the_first() {
    let compacted = LogConfig { compacted: true, ..LogConfig::default() };
    for (clean, writes_survived) in ENDS {
        let disk = sim();
        let (mut log, _) = open(&disk, compacted.clone(), true, 0);
        log.append(&[batch(0, 3, 1, 1000), batch(10, 3, 1, 1000)], 0).unwrap();
        log.sync().unwrap();
        log.truncate_to(6, 0).unwrap();
        assert_eq!((log.log_end_offset(), log.recovery_point()), (6, 3));
        log.sync().unwrap();
        let point = log.recovery_point();
        assert_eq!(log.close().unwrap().offset, 6);
        let options = OpenOptions { writes_survived, ..options(clean, point) };
        let (log, _) = Log::open(disk, dir(), compacted.clone(), options).unwrap();
        assert_eq!((log.log_end_offset(), log.recovery_point()), (3, 3));
    }
}

#[test]
fn a_closed_segment_whose_index_is_gone_must_be_whole() {
    for corrupt in [false, true] {
        let disk = sim();
        let end = closed(&disk);
        disk.remove_file(&dir().join("00000000000000000012.index")).unwrap();
        if corrupt {
            damage(&disk, 12, 70);
        }
        let writes_survived = OpenOptions { writes_survived: true, ..options(false, 0) };
        match reopen(&disk, writes_survived) {
            Err(OpenError::CorruptSegment { path, position: 0 }) if corrupt => {
                assert_eq!(path, segment(12));
            }
            Ok((log, report)) if !corrupt => {
                assert_eq!((log.log_end_offset(), report.truncated_bytes), (end, 0));
                check_indexes(&log);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn segments_that_were_being_deleted_are_no_loss() {
    for seed in 0..300 {
        let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
        let disk = sim.mount();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let end = closed(&disk);
        let (mut log, _) = open(&disk, LogConfig::default(), true, end);
        fill(&mut log, 2, 1);
        log.sync().unwrap();
        let end = log.log_end_offset();
        sim.set_budget((seed % 3 > 0).then_some(seed % 40));
        let below = if seed % 2 == 0 { end } else { 24 };
        if let Ok(deleted) = log.delete_segments_below(below, 0)
            && seed % 5 == 0
        {
            let _ = deleted.remove(&*disk);
        }
        drop(log);
        sim.crash(disk::Crash::PowerLoss);
        let (log, _) = reopen(&sim.mount(), options(false, end)).unwrap();
        assert_eq!(log.log_end_offset(), end, "seed {seed}");
        check(&log.view());
    }
}

#[test]
fn a_batch_larger_than_what_is_read_at_once_is_checked_whole() {
    let disk = sim();
    let (mut log, _) = open(&disk, LogConfig::default(), true, 0);
    let mut large = wire::batch::BatchBuilder::new(wire::compression::Compression::NONE);
    large = large.base_offset(3).leader_epoch(1);
    large.append(1000, None, Some(&vec![7; 5 << 20]), &[]);
    log.append(&[batch(0, 3, 1, 1000), large.build().unwrap(), batch(4, 3, 1, 1000)], 0).unwrap();
    log.close().unwrap();
    let (log, report) = reopen(&disk, options(false, 0)).unwrap();
    assert_eq!((log.log_end_offset(), report.truncated_bytes), (7, 0));
    damage(&disk, 0, 3 << 20);
    let (log, _) = reopen(&disk, options(false, 0)).unwrap();
    assert_eq!(log.log_end_offset(), 3);
}

#[test]
fn a_checkpoint_of_leader_epochs_has_its_bounds() {
    let disk = sim();
    closed(&disk);
    let lines: String = (0..150_000)
        .rev()
        .map(|epoch| {
            format!(
                "{epoch} {epoch}
"
            )
        })
        .collect();
    let checkpoint = format!(
        "0
150000
{lines}"
    );
    disk.replace(&dir().join("leader-epoch-checkpoint"), checkpoint.as_bytes()).unwrap();
    let (log, _) = reopen(&disk, options(true, 0)).unwrap();
    assert_eq!(log.leader_epochs().entries().count(), 2);
    let many: String = (0..600_000).map(|epoch| format!("{epoch} {epoch}\n")).collect();
    let many = format!("0\n600000\n{many}");
    assert!(many.len() > 4 << 20);
    disk.replace(&dir().join("leader-epoch-checkpoint"), many.as_bytes()).unwrap();
    reopen(&disk, options(true, 0)).unwrap();
    let larger = checkpoint.repeat(3);
    disk.replace(&dir().join("leader-epoch-checkpoint"), larger.as_bytes()).unwrap();
    let opened = reopen(&disk, options(true, 0));
    assert!(matches!(opened, Err(OpenError::Checkpoint(_))), "{opened:?}");
}

/// What may happen to a file's bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Longer(Vec<u8>),
    Other(Vec<u8>),
    Overwrite(Index, Vec<u8>),
    /// Moves a piece over another place.
    Copy(Index, Index, usize),
    Gone,
}

fn damages() -> impl Strategy<Value = Damage> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        3 => (any::<Index>(), 1u8..).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        2 => any::<Index>().prop_map(Damage::Cut),
        1 => bytes(200).prop_map(Damage::Longer),
        1 => bytes(400).prop_map(Damage::Other),
        1 => (0..300usize).prop_map(|zeros| Damage::Longer(vec![0; zeros])),
        2 => (any::<Index>(), bytes(24)).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        1 => (any::<Index>(), any::<Index>(), 1..80usize)
            .prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
        1 => Just(Damage::Gone),
    ]
}

fn apply(disk: &Arc<dyn Disk>, path: &Path, damage: &Damage) {
    let Ok(mut bytes) = disk.read(path, 1 << 24) else { return };
    let place = |at: &Index, len: usize| if len == 0 { 0 } else { at.index(len) };
    let len = bytes.len();
    match damage {
        Damage::Gone => return disk.remove_file(path).unwrap(),
        Damage::Flip(at, mask) if len > 0 => bytes[place(at, len)] ^= mask,
        Damage::Flip(..) => {}
        Damage::Cut(at) => bytes.truncate(place(at, len)),
        Damage::Longer(more) => bytes.extend(more),
        Damage::Other(other) => bytes.clone_from(other),
        Damage::Overwrite(at, with) => {
            let at = place(at, len);
            let end = len.min(at + with.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
        }
        Damage::Copy(from, to, count) => {
            let (from, to) = (place(from, len), place(to, len));
            let count = (*count).min(len - from).min(len - to);
            bytes.copy_within(from..from + count, to);
        }
    }
    disk.replace(path, &bytes).unwrap();
}

/// A log with segments, open, aborted and committed transactions, epochs and snapshots.
fn rich(disk: &Arc<dyn Disk>) {
    let (mut log, _) = open(disk, small(), true, 0);
    for round in 0..12 {
        let epoch = round as i32 / 5;
        for step in 0..4 {
            let base = log.log_end_offset();
            let batch = match step {
                0 => produced(base, 3, epoch, (round % 3, 0, base as i32), true),
                1 => produced(base, 4, epoch, (7, 0, base as i32), false),
                2 => batch(base, 5, epoch, 1000 + base),
                _ => marker(base, epoch, (round % 3, 0), round % 2 == 0),
            };
            log.append(&[batch], 0).unwrap();
        }
    }
    write_partition_metadata(&**disk, &dir(), model::Uuid([7; 16])).unwrap();
    log.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_log_opens_or_is_refused(
        damages in proptest::collection::vec((any::<Index>(), damages()), 1..5),
        end in prop::sample::select(vec![(true, false), (false, true), (false, false)]),
        recovery_point in prop_oneof![Just(0), 0..200i64],
    ) {
        let disk = sim();
        rich(&disk);
        let names = disk.list(&dir()).unwrap();
        for (at, damage) in &damages {
            apply(&disk, &dir().join(&at.get(&names).name), damage);
        }
        let (clean, writes_survived) = end;
        let options = OpenOptions { writes_survived, ..options(clean, recovery_point) };
        if let Ok((mut log, _)) = Log::open(disk.clone(), dir(), small(), options) {
            use_all(&log);
            let end = log.log_end_offset();
            if log.append(&[batch(end, 3, 9, 5000)], 0).is_ok() {
                let _ = log.truncate_to(end / 2, 0);
                use_all(&log);
                let _ = log.close();
            }
        }
        let _ = read_partition_metadata(&*disk, &dir());
    }

    #[test]
    fn files_of_any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        text in "(version: ?)?[0-9]{0,2}\n?-?[0-9]{0,20}\n([a-z#=.:-]{0,12}[ =:]?-?[0-9]{0,20} ?[0-9]{0,20}\n){0,4}",
    ) {
        let disk = sim();
        disk.create_dir_all(&dir()).unwrap();
        for content in [&bytes[..], text.as_bytes()] {
            for name in [
                RECOVERY_POINT_CHECKPOINT,
                META_PROPERTIES_FILE,
                PARTITION_METADATA_FILE,
                CLEAN_SHUTDOWN_FILE,
                "leader-epoch-checkpoint",
                "00000000000000000001.snapshot",
                "00000000000000000000.log",
                "00000000000000000000.index",
                "00000000000000000000.timeindex",
                "00000000000000000000.txnindex",
            ] {
                disk.replace(&dir().join(name), content).unwrap();
            }
            let _ = read_offset_checkpoint(&*disk, &dir().join(RECOVERY_POINT_CHECKPOINT));
            let _ = MetaProperties::read(&*disk, &dir());
            let _ = read_partition_metadata(&*disk, &dir());
            let _ = CleanShutdown::read(&*disk, &dir());
            let _ = read_producer_snapshot(&*disk, &dir(), 1);
            let writes_survived = bytes.len() % 2 == 0;
            let opened = reopen(&disk, OpenOptions { writes_survived, ..options(false, 0) });
            if let Ok((log, _)) = opened {
                use_all(&log);
            }
        }
    }
}

//! A copy that is cut, or begun anew, at whatever moment the power goes.

use std::path::Path;

use disk::{Crash, Disk, SimDisk, SimDiskOptions};
use log::{RecentBatches, read_offset_checkpoint};
use model::TopicPartition;
use runtime::Address;
use wire::batch::BatchBuilder;
use wire::compression::Compression;

use super::*;
use crate::checkpoints::Checkpoints;

const END: i64 = 30;

fn append(log: &mut Log, epoch: impl Fn(i64) -> i32) {
    for offset in log.log_end_offset()..END {
        let mut builder =
            BatchBuilder::new(Compression::NONE).base_offset(offset).leader_epoch(epoch(offset));
        builder.append(offset, None, Some(b"a value"), &[]);
        log.append(&[builder.build().unwrap()], 0).unwrap();
        if offset % 10 == 9 {
            log.roll(0).unwrap();
        }
    }
    log.sync().unwrap();
}

fn opened(disk: &Arc<dyn Disk>, path: &Path) -> Log {
    let (config, options) = (LogConfig::default(), OpenOptions::default());
    open_log(disk.clone(), path.to_owned(), config, options, Uuid([7; 16])).unwrap()
}

/// A directory with a copy that is durable to its end, and the checkpoint that says so.
fn copied(sim: &SimDisk) -> (Arc<FutureLog>, Hosted) {
    let disk = sim.mount();
    let root = PathBuf::from("/data");
    disk.create_dir_all(&root).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let path = root.join("orders-0.copy-future");
    append(&mut opened(&disk, &path), |_| 4);
    disk.sync_dir(&root).unwrap();
    let dir = |root, disk| {
        Arc::new(LogDirState::new(Uuid([1; 16]), root, true, Checkpoints::default(), disk))
    };
    let (to, from) = (dir(root, disk.clone()), dir(PathBuf::from("/other"), disk));
    let known = Offsets::new(|_| Some(END));
    let future = Arc::new(FutureLog::new(to, path, JobQueue::new("copies"), None, known));
    let hosted = Hosted::new(RecentBatches::new(1 << 20, 0));
    let (name, id) = (TopicPartition::new("orders", 0), Uuid([7; 16]));
    let handle = PartitionHandle::new(name, id, Arc::default(), from, Address::vacant());
    handle.set_future(Some(future.clone()));
    hosted.insert(Arc::new(handle));
    future.dir.write_checkpoints(&hosted, &Checkpoint::ALL).unwrap();
    (future, hosted)
}

fn checkpointed(sim: &SimDisk) -> i64 {
    let path = Path::new("/data").join(Checkpoint::RecoveryPoints.file_name());
    read_offset_checkpoint(&*sim.mount(), &path).unwrap().into_values().next().unwrap()
}

/// After each of the operations that `done` does to a copy the power goes: then the checkpoint names nothing that is not there.
fn whenever_the_power_goes(damage: impl Fn(&dyn Disk, &Path), done: impl Fn(&FutureLog, &Hosted)) {
    let (mut kept, mut lowered) = (0, 0);
    for budget in 0..150 {
        let sim = SimDisk::new(SimDiskOptions { seed: budget, ..SimDiskOptions::default() });
        let (future, hosted) = copied(&sim);
        damage(&**future.dir.disk(), &future.path);
        sim.set_budget(Some(budget));
        done(&future, &hosted);
        sim.crash(Crash::PowerLoss);
        let whose = read_partition_metadata(&*sim.mount(), &future.path).unwrap();
        assert_eq!(whose, Some(Uuid([7; 16])), "after {budget} operations");
        let known = checkpointed(&sim);
        if known == END {
            let names = sim.mount().list(&future.path).unwrap();
            let first = names.iter().any(|entry| entry.name == "00000000000000000000.log");
            let last = names.iter().any(|entry| entry.name == "00000000000000000020.log");
            assert!(first && last, "after {budget} operations: {names:?}");
            kept += 1;
        } else {
            lowered += 1;
        }
    }
    assert!(kept > 0 && lowered > 0, "{kept} {lowered}");
}

#[test]
fn the_recovery_point_of_a_copy_goes_before_the_copy_where_it_is_begun_anew() {
    let damage = |disk: &dyn Disk, path: &Path| {
        disk.remove_file(&path.join("00000000000000000010.log")).unwrap();
        disk.sync_dir(path).unwrap();
    };
    whenever_the_power_goes(damage, |future, hosted| {
        let options = OpenOptions { recovery_point: END, ..OpenOptions::default() };
        let config = LogConfig::default();
        if let Ok(log) = open_or_begin_anew(future, hosted, &config, options, Uuid([7; 16])) {
            assert_eq!(log.log_end_offset(), 0);
        }
    });
}

#[test]
fn the_recovery_point_of_a_copy_goes_before_what_is_cut_off_it() {
    let source = SimDisk::new(SimDiskOptions::default()).mount();
    let mut source = opened(&source, Path::new("/source"));
    append(&mut source, |offset| if offset < 15 { 4 } else { 5 });
    whenever_the_power_goes(
        |_, _| {},
        |future, hosted| {
            let options = OpenOptions { recovery_point: END, ..OpenOptions::default() };
            let config = LogConfig::default();
            let opened = open_or_begin_anew(future, hosted, &config, options, Uuid([7; 16]));
            let lower = |durable| future.lower(hosted, durable);
            if let Ok(mut log) = opened {
                let _ = copy_piece(&mut log, &source.view(), &lower, 0);
            }
        },
    );
}

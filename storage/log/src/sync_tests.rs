use disk::{Disk, SimDisk, SimDiskOptions};

use crate::testing::*;
use crate::*;

fn epochs_file(disk: &dyn Disk) -> String {
    let bytes = disk.read(&dir().join("leader-epoch-checkpoint"), 1 << 10).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_sync_of_a_log_whose_place_another_took_says_nothing_of_that() {
    let log = |name: &str| {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let (config, options) = (LogConfig::default(), OpenOptions::default());
        let (mut log, _) = Log::open(disk, name.into(), config, options).unwrap();
        log.append(&[batch(0, 5, 0, 0)], 0).unwrap();
        log
    };
    let (old, mut new) = (log("/old"), log("/new"));
    let job = old.sync_job().unwrap();
    job.run().unwrap();
    new.synced(&job);
    assert_eq!(new.recovery_point(), 0);
}

/// Kafka, which opens the log after a kill, takes from the file which epochs its batches are of.
#[test]
fn the_file_of_epochs_has_none_that_was_cut_off() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    log.append(&[batch(0, 10, 5, 0)], 0).unwrap();
    log.append(&[batch(10, 10, 6, 0)], 0).unwrap();
    log.sync().unwrap();
    assert_eq!(epochs_file(&*disk), "0\n2\n5 0\n6 10\n");
    log.truncate_to(10, 0).unwrap();
    assert_eq!(epochs_file(&*disk), "0\n1\n5 0\n");
    // One that began without records is written with those before it.
    log.append(&[batch(10, 10, 7, 0)], 0).unwrap();
    log.begin_epoch(model::LeaderEpoch(8));
    log.sync().unwrap();
    assert_eq!(epochs_file(&*disk), "0\n3\n5 0\n7 10\n8 20\n");
    log.truncate_to(20, 0).unwrap();
    assert_eq!(epochs_file(&*disk), "0\n2\n5 0\n7 10\n");
    log.truncate_fully_and_start_at(30, 0).unwrap().remove(&*disk).unwrap();
    assert_eq!(epochs_file(&*disk), "0\n0\n");
}

/// What the checkpoint says of its start is beyond all that it has.
#[test]
fn a_log_that_begins_anew_as_it_is_opened_writes_its_epochs() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let (mut log, _) = open(&disk, small(), true, 0);
    log.append(&[batch(0, 10, 5, 0)], 0).unwrap();
    log.sync().unwrap();
    drop(log);
    let options = OpenOptions { log_start_offset: 30, ..OpenOptions::default() };
    let (mut log, _) = Log::open(disk.clone(), dir(), small(), options).unwrap();
    log.append(&[batch(30, 10, 6, 0)], 0).unwrap();
    log.sync().unwrap();
    assert_eq!(epochs_file(&*disk), "0\n1\n6 30\n");
}

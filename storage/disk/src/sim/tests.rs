//! What a simulated disk does beyond the common contract: faults, limits, ends of lives.

use std::path::Path;
use std::sync::Arc;

use super::{Crash, Fault, FaultKind, SimDisk, SimDiskOptions};
use crate::{Disk, DiskFile, DiskOp, Open};

fn disk_with(seed: u64, capacity_bytes: u64) -> (SimDisk, Arc<dyn Disk>) {
    let sim = SimDisk::new(SimDiskOptions { seed, capacity_bytes, ..Default::default() });
    let disk = sim.mount();
    (sim, disk)
}

fn file(disk: &Arc<dyn Disk>, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), Open::Create).unwrap()
}

#[test]
fn what_left_the_page_cache_is_not_resident_until_it_is_read_in() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = sim.mount();
    let file = disk.open(Path::new("/a"), Open::CreateNew).unwrap();
    file.write_at(&[7; 3 * 4096], 0).unwrap();
    assert!(file.is_resident(0) && file.is_resident(3 * 4096));
    for gone in [false, true] {
        sim.drop_cache();
        assert!(!file.is_resident(0) && !file.is_resident(8192));
        assert!(file.is_resident(3 * 4096), "there is nothing to wait for");
        file.read_in(if gone { 8192 } else { 0 }, 4096).unwrap();
        assert_eq!((file.is_resident(4095), file.is_resident(8192)), (!gone, gone));
    }
    file.write_at(&[8], 4096).unwrap();
    assert!(file.is_resident(4096));
    file.sync_all().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    sim.crash(Crash::PowerLoss);
    assert!(!sim.mount().open(Path::new("/a"), Open::Read).unwrap().is_resident(0));
}

#[test]
fn a_crash_makes_old_handles_inert() {
    let (sim, old) = disk_with(1, 1 << 30);
    let written = file(&old, "/a");
    written.write_at(b"kept", 0).unwrap();
    let lock = old.lock(Path::new("/.lock")).unwrap();
    sim.crash(Crash::Kill);

    let new = sim.mount();
    assert!(written.write_at(b"ghost", 0).is_err());
    assert!(written.len().is_err());
    assert!(old.list(Path::new("/")).is_err());
    let relocked = new.lock(Path::new("/.lock")).unwrap();
    drop(lock);
    assert!(new.lock(Path::new("/.lock")).unwrap_err().is_locked(), "a ghost gave up our lock");
    drop(relocked);
    drop(written);
    assert_eq!(new.read(Path::new("/a"), 10).unwrap(), b"kept", "a killed process loses nothing");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (sim, disk) = disk_with(1, 3 * 4096);
    let a = file(&disk, "/a");
    a.write_at(&[1; 4096], 0).unwrap();
    let b = file(&disk, "/b");
    let full = b.write_at(&[2; 3 * 4096], 0).unwrap_err();
    assert!(full.is_full(), "{full}");
    assert_eq!(b.len().unwrap(), 2 * 4096);
    assert_eq!(disk.space(Path::new("/")).unwrap().usable_bytes, 0);
    a.write_at(&[3; 4096], 0).unwrap();
    assert!(a.preallocate(8192).unwrap_err().is_full());

    disk.remove_file(Path::new("/b")).unwrap();
    assert_eq!(sim.used_bytes(), 3 * 4096, "an open file keeps its blocks");
    drop(b);
    assert_eq!(sim.used_bytes(), 4096);
    a.preallocate(2 * 4096).unwrap();
    assert_eq!(sim.used_bytes(), 2 * 4096);
    a.write_at(&[4; 3 * 4096], 0).unwrap();
    sim.set_capacity(1 << 20);
    a.write_at(&[5; 4 * 4096], 0).unwrap();
    a.set_len(1).unwrap();
    assert_eq!(sim.used_bytes(), 4096);
}

#[test]
fn a_budget_ends_in_a_torn_write() {
    let (sim, disk) = disk_with(3, 1 << 30);
    let log = file(&disk, "/log");
    sim.set_budget(Some(2));
    log.write_at(&[1; 100], 0).unwrap();
    assert!(log.write_at(&[2; 100], 100).is_err());
    assert!(log.write_at(&[3; 100], 200).is_err());
    assert!(disk.list(Path::new("/")).is_err());
    sim.crash(Crash::Kill);
    let bytes = sim.mount().read(Path::new("/log"), 1000).unwrap();
    assert!((100..200).contains(&bytes.len()), "{}", bytes.len());
    assert!(bytes[..100].iter().all(|b| *b == 1) && bytes[100..].iter().all(|b| *b == 2));
}

#[test]
fn faults_hit_as_planned() {
    let (sim, disk) = disk_with(4, 1 << 30);
    let log = file(&disk, "/log");
    log.write_at(&[0; 64], 0).unwrap();
    let fault = |kind, skip| Fault { kind, path_contains: "log".into(), skip, times: 1 };
    sim.plan(fault(FaultKind::ReadFlip, 1));
    sim.plan(fault(FaultKind::ReadError, 2));
    let other = file(&disk, "/other");
    let mut buf = [0; 64];
    other.read_at(&mut buf, 0).unwrap();
    log.read_at(&mut buf, 0).unwrap();
    assert_eq!(buf, [0; 64]);
    log.read_at(&mut buf, 0).unwrap();
    assert_eq!(buf.iter().map(|b| b.count_ones()).sum::<u32>(), 1, "one bit turned");
    assert_eq!(log.read_at(&mut buf, 0).unwrap_err().op(), DiskOp::Read);
    log.read_at(&mut buf, 0).unwrap();
    assert_eq!(buf, [0; 64], "the medium is whole");

    sim.plan(fault(FaultKind::WriteError, 0));
    assert!(log.write_at(&[1; 64], 64).is_err());
    assert!(log.len().unwrap() < 128);

    sim.decay(Path::new("/log"), 3, 0x10).unwrap();
    log.read_at(&mut buf, 0).unwrap();
    assert_eq!(buf[3], 0x10);
}

#[test]
fn what_a_failed_sync_lost_stays_lost() {
    for seed in 0..50 {
        let (sim, disk) = disk_with(seed, 1 << 30);
        let log = file(&disk, "/log");
        log.write_at(b"one", 0).unwrap();
        log.sync_all().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        log.write_at(b"two", 3).unwrap();
        let kind = FaultKind::SyncError;
        sim.plan(Fault { kind, path_contains: String::new(), skip: 0, times: 1 });
        log.sync_data().unwrap_err();
        log.sync_data().unwrap();
        assert_eq!(disk.read(Path::new("/log"), 10).unwrap(), b"onetwo");
        sim.crash(Crash::PowerLoss);
        assert_eq!(sim.mount().read(Path::new("/log"), 10).unwrap(), b"one");
    }
}

#[test]
fn what_the_kernel_let_go_is_read_as_the_disk_has_it() {
    let (sim, disk) = disk_with(0, 1 << 30);
    let log = file(&disk, "/log");
    log.write_at(b"one", 0).unwrap();
    log.sync_all().unwrap();
    log.write_at(b"two", 3).unwrap();
    let kind = FaultKind::SyncLoss;
    sim.plan(Fault { kind, path_contains: String::new(), skip: 0, times: 1 });
    log.sync_data().unwrap_err();
    assert_eq!(disk.read(Path::new("/log"), 10).unwrap(), b"one\0\0\0");
}

#[test]
fn files_carry_the_time_of_their_change() {
    let (sim, disk) = disk_with(6, 1 << 30);
    sim.set_now_ms(1000);
    let a = file(&disk, "/a");
    sim.set_now_ms(2000);
    a.sync_all().unwrap();
    assert_eq!(disk.metadata(Path::new("/a")).unwrap().modified_ms, 1000);
    a.write_at(b"x", 0).unwrap();
    assert_eq!(disk.metadata(Path::new("/a")).unwrap().modified_ms, 2000);
    assert!(sim.ops() > 3);
}

#[test]
fn a_power_loss_begins_another_life_of_the_kernel() {
    let (sim, disk) = disk_with(0, 1 << 30);
    disk.create_dir_all(Path::new("/a/b")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/a")).unwrap();
    let of = |dir: &str| sim.mount().kernel(Path::new(dir)).unwrap().unwrap();
    let before = of("/a");
    assert_eq!(of("/a"), before);
    assert_ne!(of("/a/b"), before);
    sim.crash(Crash::Kill);
    assert_eq!(of("/a"), before);
    sim.crash(Crash::PowerLoss);
    assert_ne!(of("/a"), before);
}

//! What ends the use of a directory, and what does not.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::watched::is_the_devices;
use crate::{
    Disk, DiskError, DiskOp, DiskWatch, Fault, FaultKind, Open, RealDisk, SimDisk, SimDiskOptions,
    WatchedDisk,
};

#[derive(Debug, Default)]
struct First(Mutex<Option<String>>, AtomicU32);

impl DiskWatch for First {
    fn ended(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }

    fn failed(&self, error: &DiskError) {
        self.0.lock().unwrap().get_or_insert(error.to_string());
    }

    fn sync_failed(&self, error: &DiskError) {
        assert_eq!(error.op(), DiskOp::Sync);
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn watched(disk: Arc<dyn Disk>) -> (WatchedDisk<First>, Arc<First>) {
    let watch = Arc::new(First::default());
    (WatchedDisk::new(disk, watch.clone()), watch)
}

fn simulated() -> (SimDisk, WatchedDisk<First>, Arc<First>) {
    let sim = SimDisk::new(SimDiskOptions::default());
    let (disk, watch) = watched(sim.mount());
    disk.create_dir_all(Path::new("/d")).unwrap();
    (sim, disk, watch)
}

fn fault(sim: &SimDisk, kind: FaultKind) {
    sim.plan(Fault { kind, path_contains: String::new(), skip: 0, times: 1 });
}

#[test]
fn nothing_is_done_after_an_error_of_the_device() {
    for kind in [FaultKind::ReadError, FaultKind::WriteError] {
        let (sim, disk, watch) = simulated();
        let file = disk.open(Path::new("/d/f"), Open::Create).unwrap();
        file.write_at(b"first", 0).unwrap();
        fault(&sim, kind);
        let hit = match kind {
            FaultKind::ReadError => file.read_at(&mut [0; 5], 0).map(|_| ()),
            _ => file.write_at(b"again", 0),
        };
        let why = hit.unwrap_err().to_string();
        assert_eq!(watch.ended().as_deref(), Some(why.as_str()));
        let before = sim.ops();
        assert!(file.write_at(b"third", 0).unwrap_err().to_string().contains(&why));
        assert!(file.sync_data().is_err());
        assert!(disk.list(Path::new("/d")).is_err());
        assert!(disk.open(Path::new("/d/g"), Open::Create).is_err());
        assert_eq!(sim.ops(), before, "none of it reached the disk");
    }
}

#[test]
fn what_the_request_is_to_blame_for_changes_nothing() {
    let (sim, disk, watch) = simulated();
    let path = Path::new("/d/f");
    assert!(disk.open(path, Open::Read).unwrap_err().is_not_found());
    assert!(!disk.exists(path).unwrap());
    assert!(disk.remove_file(path).unwrap_err().is_not_found());
    let file = disk.open(path, Open::CreateNew).unwrap();
    assert!(disk.open(path, Open::CreateNew).unwrap_err().already_exists());
    assert!(file.read_exact_at(&mut [0; 5], 0).unwrap_err().is_unexpected_end());
    sim.set_capacity(0);
    assert!(file.write_at(&[1; 9000], 0).unwrap_err().is_full());
    assert_eq!(watch.ended(), None);
}

#[test]
fn what_the_process_lacks_is_not_the_directorys_fault() {
    let (sim, disk, watch) = simulated();
    let path = Path::new("/d/f");
    drop(disk.open(path, Open::CreateNew).unwrap());
    let reader = disk.open(path, Open::Read).unwrap();
    fault(&sim, FaultKind::Shortage);
    assert!(disk.open(path, Open::ReadWrite).unwrap_err().is_shortage());
    fault(&sim, FaultKind::Shortage);
    assert!(reader.map().unwrap_err().is_shortage());
    assert_eq!(watch.ended(), None);
    assert!(disk.open(path, Open::ReadWrite).is_ok());
}

#[test]
fn a_signal_is_not_the_directorys_fault() {
    for (kind, fault) in [(ErrorKind::Interrupted, false), (ErrorKind::Other, true)] {
        let error = DiskError::new(DiskOp::Preallocate, Path::new("/d/f"), Error::from(kind));
        assert_eq!(is_the_devices(&error), fault, "{error}");
    }
}

#[test]
fn a_sync_that_fails_is_its_callers_to_bear_and_is_told() {
    let (sim, disk, watch) = simulated();
    let file = disk.open(Path::new("/d/f"), Open::Create).unwrap();
    for (told, kind) in [(1, FaultKind::SyncError), (2, FaultKind::SyncNoRoom)] {
        fault(&sim, kind);
        let error = file.sync_data().unwrap_err();
        assert_eq!((error.op(), error.is_full()), (DiskOp::Sync, told == 2));
        assert_eq!(watch.1.load(Ordering::Relaxed), told);
    }
    fault(&sim, FaultKind::SyncError);
    assert_eq!(disk.sync_dir(Path::new("/d")).unwrap_err().op(), DiskOp::SyncDir);
    assert_eq!(watch.ended(), None);
}

#[test]
fn a_directory_that_vanished_or_became_a_file_has_failed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("d");
    let real = RealDisk::new();
    for becomes_a_file in [false, true] {
        let uses: [fn(&dyn Disk, &Path) -> bool; 3] = [
            |disk, dir| disk.open(&dir.join("new"), Open::Create).is_err(),
            |disk, dir| disk.replace(&dir.join("checkpoint"), b"0").is_err(),
            |disk, dir| disk.list(dir).is_err(),
        ];
        for fails in uses {
            if becomes_a_file {
                drop(real.open(&dir, Open::Create).unwrap());
            }
            let (disk, watch) = watched(Arc::new(RealDisk::new()));
            assert!(fails(&disk, &dir));
            assert!(watch.ended().is_some());
            if becomes_a_file {
                real.remove_file(&dir).unwrap();
            }
        }
    }
}

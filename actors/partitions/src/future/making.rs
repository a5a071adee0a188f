//! The directory of a copy: made before it is answered that its move has begun, and marked where that is called off.

use std::path::Path;
use std::sync::atomic::Ordering;

use disk::{Disk, DiskError, Open};
use log::{PARTITION_METADATA_FILE, write_partition_metadata};
use model::Uuid;

use super::FutureLog;
use crate::hosted::Hosted;

/// In the directory of a copy whose move was called off while its actor worked on it, or which could not be put aside: who finds it
/// removes the copy. Kafka passes over it.
pub(super) const CALLED_OFF: &str = "ottla_called_off";

impl FutureLog {
    /// Makes its directory, durably: a start after a crash goes on with the move. What there was no room for before is made up for.
    pub(crate) fn make(&self, hosted: &Hosted, topic_id: Uuid) -> Result<(), DiskError> {
        if self.is_unwanted() {
            return Ok(());
        }
        let (disk, path) = (self.dir.disk(), &self.path);
        if !disk.exists(path)? {
            self.dir.forget_departed(hosted)?;
            disk.create_dir_all(path)?;
        }
        if disk.exists(&path.join(PARTITION_METADATA_FILE))? {
            disk.sync_dir(path)?;
        } else {
            write_partition_metadata(&**disk, path, topic_id)?;
        }
        disk.sync_dir(&self.dir.path)
    }

    /// The move goes on although it was called off before, and so does a start after a crash.
    pub(crate) fn forget_called_off(&self) -> Result<(), DiskError> {
        let disk = self.dir.disk();
        match disk.remove_file(&self.path.join(CALLED_OFF)) {
            Err(error) if error.is_not_found() => {}
            removed => removed?,
        }
        disk.sync_dir(&self.path)
    }

    pub(crate) fn is_being_made(&self) -> bool {
        self.being_made.load(Ordering::Acquire)
    }

    pub(crate) fn set_being_made(&self, being_made: bool) {
        self.being_made.store(being_made, Ordering::Release);
    }
}

/// Durably: a start after a crash does not go on with the copy that is there. The disk is one that no watch looks at: where the copy is
/// not there yet, or was put aside meanwhile, nothing is wrong with its directory.
pub(crate) fn note_called_off(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    let noted = disk.open(&path.join(CALLED_OFF), Open::Truncate);
    match noted.and_then(|_| disk.sync_dir(path)) {
        Err(error) if error.is_not_found() => Ok(()),
        noted => noted,
    }
}

/// Whether the move whose copy is there was called off.
pub(crate) fn was_called_off(disk: &dyn Disk, path: &Path) -> bool {
    disk.exists(&path.join(CALLED_OFF)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use disk::{Crash, Fault, FaultKind, SimDisk, SimDiskOptions};
    use log::{RecentBatches, read_partition_metadata};
    use runtime::JobQueue;

    use super::*;
    use crate::checkpoints::{Checkpoints, Offsets};
    use crate::log_dirs::LogDirState;

    const ID: Uuid = Uuid([7; 16]);

    fn copy_in(disk: &Arc<dyn Disk>) -> FutureLog {
        let root = PathBuf::from("/data");
        disk.create_dir_all(&root).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let path = root.join("orders-0.copy-future");
        let known = Checkpoints::default();
        let dir = Arc::new(LogDirState::new(Uuid([1; 16]), root, true, known, disk.clone()));
        FutureLog::new(dir, path, JobQueue::new("copies"), None, Offsets::default())
    }

    #[test]
    fn a_directory_that_found_no_room_is_made_whole_later() {
        let hosted = Hosted::new(RecentBatches::new(1 << 20, 0));
        for kind in [FaultKind::NoRoom, FaultKind::NoRoomForName] {
            let sim = SimDisk::new(SimDiskOptions::default());
            let copy = copy_in(&sim.mount());
            sim.plan(Fault { kind, path_contains: "-future".to_owned(), skip: 0, times: 1 });
            copy.make(&hosted, ID).unwrap_err();
            copy.make(&hosted, ID).unwrap();
            sim.crash(Crash::PowerLoss);
            let whose = read_partition_metadata(&*sim.mount(), &copy.path).unwrap();
            assert_eq!(whose, Some(ID), "{kind:?}");
        }
    }

    #[test]
    fn what_goes_on_is_marked_no_more_when_the_power_goes() {
        let hosted = Hosted::new(RecentBatches::new(1 << 20, 0));
        let sim = SimDisk::new(SimDiskOptions::default());
        let (disk, copy) = (sim.mount(), copy_in(&sim.mount()));
        copy.make(&hosted, ID).unwrap();
        note_called_off(&*disk, &copy.path).unwrap();
        assert!(was_called_off(&*disk, &copy.path));
        copy.forget_called_off().unwrap();
        copy.forget_called_off().unwrap();
        sim.crash(Crash::PowerLoss);
        assert!(!was_called_off(&*sim.mount(), &copy.path));
    }
}

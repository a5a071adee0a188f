//! Failed syncs, for whoever comes after those that met them: actors that start again, and the next process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{Disk, DiskError};
use log::{expect_writes_to_survive, expect_writes_unsynced};

/// The logs of one log directory that a failed sync left.
#[derive(Debug)]
pub(crate) struct Unsynced {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    /// Held while the next process is told.
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// The directories of logs that are not written anew yet.
    left: BTreeSet<PathBuf>,
    /// There was any since the process began.
    any: bool,
    /// And the next process would know.
    noted: bool,
}

impl Unsynced {
    /// `disk` is not watched itself.
    pub fn new(disk: Arc<dyn Disk>, log_dir: PathBuf) -> Unsynced {
        Unsynced { disk, log_dir, found: Mutex::default() }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes it for the next process at once: this one may be killed before the log is written anew.
    pub fn sync_failed(&self, error: &DiskError) -> Result<(), DiskError> {
        // Files beside the logs are replaced as a whole.
        let Some(dir) = error.path().parent().filter(|dir| *dir != self.log_dir) else {
            return Ok(());
        };
        let mut found = self.found();
        found.left.insert(dir.to_owned());
        found.any = true;
        if !found.noted {
            expect_writes_unsynced(&*self.disk, &self.log_dir)?;
            found.noted = true;
        }
        Ok(())
    }

    pub fn has(&self, dir: &Path) -> bool {
        self.found().left.contains(dir)
    }

    pub fn rewritten(&self, dir: &Path) {
        self.found().left.remove(dir);
    }

    pub fn all_recovered(&self) -> Result<(), DiskError> {
        let found = self.found();
        if found.any { Ok(()) } else { expect_writes_to_survive(&*self.disk, &self.log_dir) }
    }
}

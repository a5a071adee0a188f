//! What an unclean stop may have lost: nothing where only the process ended, and the kernel went on and could write.
//!
//! A file in the log directory says under which kernel it was written to; another, beside it or instead, that under this kernel
//! a sync has failed, or logs were still to be recovered. Neither needs a sync: after a power loss they are wrong either way. Kafka passes
//! over it. Where nobody can tell lives of the kernel apart, each unclean stop is taken for the machine's, and a sync that failed for one
//! of this life.

use std::path::Path;

use disk::{Disk, DiskError, Open};

use crate::truncate::remove_if_there;

const WHOLE: &str = ".ottla_kernel";
const UNSYNCED: &str = ".ottla_unsynced";
/// In place of a kernel's name where none can be told.
const ANY_KERNEL: &str = "?";
const MAX_FILE: usize = 4096;

/// What of the writes to a log directory is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All, and what is synced from now on is durable.
    All,
    /// What is read may not be on the disk, although the kernel takes it for written: logs are recovered, and
    /// [rewritten](crate::Log::rewrite_unsynced) before they are synced.
    Unsynced,
    /// What was synced, and perhaps more: what is read is on the disk.
    Synced,
    /// The same, as far as is known: nothing was noted here before, perhaps as Kafka was the last to write.
    Unknown,
}

/// What of the writes to `log_dir` is left after an unclean stop.
pub fn survival(disk: &dyn Disk, log_dir: &Path) -> Result<Survival, DiskError> {
    let kernel = disk.kernel(log_dir)?;
    let there = |file| disk.exists(&log_dir.join(file));
    let fits = |file| kernel.as_ref().map_or(Ok(false), |k| says(disk, &log_dir.join(file), k));
    Ok(if fits(UNSYNCED)? || (kernel.is_none() && there(UNSYNCED)?) {
        Survival::Unsynced
    } else if fits(WHOLE)? {
        Survival::All
    } else if there(UNSYNCED)? || there(WHOLE)? {
        Survival::Synced
    } else {
        Survival::Unknown
    })
}

fn says(disk: &dyn Disk, path: &Path, kernel: &str) -> Result<bool, DiskError> {
    match disk.read(path, MAX_FILE) {
        Err(error) if error.is_not_found() || error.is_too_large() => Ok(false),
        stored => Ok(stored? == kernel.as_bytes()),
    }
}

/// From now on the logs of `log_dir` hold nothing that a power loss may have left: they were recovered, or closed in order. Where
/// there is no room for saying so, the next start recovers what it need not.
pub fn expect_writes_to_survive(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    if note(disk, log_dir, WHOLE)? {
        remove_if_there(disk, &log_dir.join(UNSYNCED))
    } else {
        remove_if_there(disk, &log_dir.join(WHOLE))
    }
}

/// From now on it cannot be said: logs wait to be recovered.
pub fn expect_writes_lost(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    // Where there is no room for it, only a failed sync would have to be told of, which tells again.
    note(disk, log_dir, UNSYNCED)?;
    remove_if_there(disk, &log_dir.join(WHOLE))
}

/// From now on the kernel may have dropped what it could not write.
pub fn expect_writes_unsynced(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    // Needs no room, and is there or not.
    match disk.rename(&log_dir.join(WHOLE), &log_dir.join(UNSYNCED)) {
        Err(error) if error.is_not_found() => note(disk, log_dir, UNSYNCED).map(drop),
        renamed => renamed,
    }
}

/// Before the directory is marked clean: the next to write to it may be Kafka, which leaves alone what is said here.
pub fn expect_others_to_write(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    remove_if_there(disk, &log_dir.join(WHOLE))?;
    remove_if_there(disk, &log_dir.join(UNSYNCED))
}

/// Whether it could be noted.
fn note(disk: &dyn Disk, log_dir: &Path, file: &str) -> Result<bool, DiskError> {
    let kernel = disk.kernel(log_dir)?.unwrap_or_else(|| ANY_KERNEL.to_owned());
    let path = log_dir.join(file);
    // Where there is no room, it would be gone.
    if says(disk, &path, &kernel)? {
        return Ok(true);
    }
    match disk.open(&path, Open::Truncate).and_then(|file| file.write_at(kernel.as_bytes(), 0)) {
        Err(error) if error.may_pass() => Ok(false),
        written => written.map(|()| true),
    }
}

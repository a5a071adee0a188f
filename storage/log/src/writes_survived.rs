//! Whether what an unclean stop left unsynced is still there: it is when only the process ended, and the kernel went on.
//!
//! A file in the log directory says under which kernel it was written to. It needs no sync: after a power loss it is wrong either
//! way. Kafka passes over it.

use std::path::Path;

use disk::{Disk, DiskError, Open};

use crate::truncate::remove_if_there;

const FILE: &str = ".ottla_kernel";
const MAX_FILE: usize = 4096;

/// Whether all writes to `log_dir` since [`expect_writes_to_survive`] are still there.
pub fn writes_survived(disk: &dyn Disk, log_dir: &Path) -> Result<bool, DiskError> {
    let stored = match disk.read(&log_dir.join(FILE), MAX_FILE) {
        Err(error) if error.is_not_found() || error.is_too_large() => return Ok(false),
        stored => stored?,
    };
    Ok(disk.kernel(log_dir)?.is_some_and(|kernel| kernel.as_bytes() == stored))
}

/// From now on the logs of `log_dir` hold nothing that a power loss may have left: they were recovered, or closed in order. Where
/// there is no room for saying so, the next start recovers what it need not.
pub fn expect_writes_to_survive(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    match disk.kernel(log_dir)? {
        Some(kernel) => {
            let file = disk.open(&log_dir.join(FILE), Open::Truncate);
            match file.and_then(|file| file.write_at(kernel.as_bytes(), 0)) {
                Err(error) if error.may_pass() => expect_writes_lost(disk, log_dir),
                written => written,
            }
        }
        None => expect_writes_lost(disk, log_dir),
    }
}

/// From now on it cannot be said: logs wait to be recovered, or the kernel may have dropped what it could not sync.
pub fn expect_writes_lost(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
    remove_if_there(disk, &log_dir.join(FILE))
}

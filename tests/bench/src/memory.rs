//! Memory that the host of a virtual machine has given.

use std::fs::{self, File};
use std::io::{Error, Read, Result};

/// Left free, for those who are measured.
const SPARE: u64 = 2 << 30;

/// Fills the page cache until what it answers is dropped: as on any machine where a broker has run for an hour, what is
/// written takes the place of something older. A guest that reports its free pages to its host (page_reporting of
/// virtio_balloon) pays a fault in the host for each page it takes again, which it sees as system time of its own: 2 s/GB on
/// a copy that takes 0.4. No broker spends that; it would fall on whoever writes first.
pub fn full() -> Result<File> {
    let path = std::env::temp_dir().join(format!("bench-page-cache-{}", std::process::id()));
    let mut hole = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    // What is all hole takes pages and no disk.
    hole.set_len(free()?.saturating_sub(SPARE))?;
    let mut room = vec![0; 1 << 20];
    while hole.read(&mut room)? > 0 {}
    Ok(hole)
}

fn free() -> Result<u64> {
    let told = fs::read_to_string("/proc/meminfo")?;
    let free = told.lines().find_map(|line| line.strip_prefix("MemFree:")?.strip_suffix("kB"));
    let kb = free.and_then(|kb| kb.trim().parse::<u64>().ok());
    Ok(1024 * kb.ok_or_else(|| Error::other("/proc/meminfo does not tell MemFree"))?)
}

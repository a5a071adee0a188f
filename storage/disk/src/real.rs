//! The operating system's file system.
#![allow(clippy::disallowed_types, reason = "this is the one place that opens files")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, StatxFlags, Timespec, Timestamps, fallocate,
    fcntl_lock, futimens, statvfs, statx,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev};

use crate::error::{DiskError, DiskOp, Result};
use crate::maps::{FileId, FileUse, FileUses, Map};
use crate::{DirEntry, Disk, DiskFile, DiskLock, FileKind, Metadata, Open, Space};

/// The kernel takes this many slices in one call.
const MAX_SLICES: usize = 1024;

/// The operating system's file system. Clones share the record of what is mapped and what is written.
#[derive(Debug, Clone, Default)]
pub struct RealDisk {
    uses: FileUses,
}

impl RealDisk {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(|e| DiskError::new(DiskOp::CreateDir, path, e))
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        let fail = |e: io::Error| DiskError::new(DiskOp::Open, path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(mode.writes());
        match mode {
            Open::Read | Open::ReadWrite => {}
            // Emptied below, when it is known that no map of it lives.
            Open::Create | Open::Truncate => {
                options.create(true).truncate(false);
            }
            Open::CreateNew => {
                options.create_new(true);
            }
        }
        let file = options.open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(ErrorKind::IsADirectory.into()));
        }
        let id = file_id(&metadata);
        let writer = if mode.writes() { Some(self.uses.writer(id).map_err(fail)?) } else { None };
        if mode == Open::Truncate && metadata.len() > 0 {
            file.set_len(0).map_err(fail)?;
        }
        let uses = self.uses.clone();
        Ok(Arc::new(RealFile { file: Arc::new(file), path: path.to_owned(), id, uses, writer }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|e| DiskError::new(DiskOp::Rename, from, e))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|e| DiskError::new(DiskOp::Remove, path, e))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path).map_err(|e| DiskError::new(DiskOp::Remove, path, e))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let fail = |e: io::Error| DiskError::new(DiskOp::List, path, e);
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(fail)?;
            let kind = if kind.is_file() {
                FileKind::File
            } else if kind.is_dir() {
                FileKind::Dir
            } else {
                FileKind::Other
            };
            entries.push(DirEntry { name, kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let found = fs::metadata(path).map_err(|e| DiskError::new(DiskOp::Metadata, path, e))?;
        let kind = if found.is_file() {
            FileKind::File
        } else if found.is_dir() {
            FileKind::Dir
        } else {
            FileKind::Other
        };
        let modified_ms = found.mtime() * 1000 + found.mtime_nsec() / 1_000_000;
        Ok(Metadata { kind, len: found.len(), modified_ms })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        // The parent of a bare file name is "", which stands for the current directory.
        let dir = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| DiskError::new(DiskOp::SyncDir, path, e))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        let found = statvfs(path).map_err(|e| DiskError::new(DiskOp::Space, path, e))?;
        Ok(Space {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            usable_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_files: found.f_files,
            usable_files: found.f_favail,
        })
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        let fail = |e: io::Error| DiskError::new(DiskOp::Lock, path, e);
        lock_file(path).map(DiskLock::new).map_err(fail)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") else {
            return Ok(None);
        };
        let mount = match mount_id(dir) {
            Ok(Some(mount)) => mount,
            Ok(None) => return Ok(None),
            Err(e) => return Err(DiskError::new(DiskOp::Kernel, dir, e)),
        };
        let found = fs::metadata(dir).map_err(|e| DiskError::new(DiskOp::Kernel, dir, e))?;
        let (device, inode) = file_id(&found);
        Ok(Some(format!("{} {mount} {device} {inode}", boot.trim())))
    }
}

/// Of the mount that holds a directory, what no other has while the kernel lives: a file system that is shut down on an error
/// and mounted again has lost what was not on the disk. Kernels before 6.8 cannot say.
fn mount_id(dir: &Path) -> io::Result<Option<u64>> {
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    match statx(CWD, dir, AtFlags::empty(), MNT_ID_UNIQUE) {
        Ok(found) => {
            let told = found.stx_mask & MNT_ID_UNIQUE.bits() != 0;
            Ok(told.then_some(found.stx_mnt_id))
        }
        Err(Errno::NOSYS) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn file_id(metadata: &fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// The lock files this process holds. A record lock, which is what Kafka's Java takes and respects, belongs to the
/// process, and closing any descriptor of the file gives it up: so a held file is recognised before it is opened.
static HELD: Mutex<BTreeSet<FileId>> = Mutex::new(BTreeSet::new());

struct HeldLock {
    id: FileId,
    _file: File,
}

fn lock_file(path: &Path) -> io::Result<HeldLock> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match fs::metadata(path) {
        Ok(found) if held.contains(&file_id(&found)) => return Err(ErrorKind::WouldBlock.into()),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => return Err(ErrorKind::WouldBlock.into()),
        Err(e) => return Err(e.into()),
    }
    let id = file_id(&file.metadata()?);
    // Who held it until now may have removed it: what others find by this name is then another file.
    match fs::metadata(path) {
        Ok(found) if file_id(&found) == id => {}
        _ => return Err(ErrorKind::WouldBlock.into()),
    }
    held.insert(id);
    Ok(HeldLock { id, _file: file })
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A descriptor for the kernel's use, open as long as this is held.
#[derive(Debug, Clone)]
pub struct HeldFd(Arc<File>);

impl AsFd for HeldFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Debug)]
struct RealFile {
    file: Arc<File>,
    path: PathBuf,
    id: FileId,
    uses: FileUses,
    writer: Option<FileUse>,
}

impl RealFile {
    fn fail(&self, op: DiskOp) -> impl Fn(io::Error) -> DiskError {
        move |e| DiskError::new(op, &self.path, e)
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        loop {
            match self.file.read_at(buf, pos) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => return done.map_err(self.fail(DiskOp::Read)),
            }
        }
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()> {
        write_all_vectored(&self.file, slices, pos).map_err(self.fail(DiskOp::Write))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(self.fail(DiskOp::SetLen))
    }

    fn len(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(self.fail(DiskOp::Metadata))
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(self.fail(DiskOp::Sync))
    }

    fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(self.fail(DiskOp::Sync))
    }

    fn set_modified_ms(&self, modified_ms: i64) -> Result<()> {
        let (secs, millis) = (modified_ms.div_euclid(1000), modified_ms.rem_euclid(1000));
        let modified = Timespec { tv_sec: secs, tv_nsec: millis * 1_000_000 };
        let accessed = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: accessed, last_modification: modified };
        futimens(&self.file, &times).map_err(|e| DiskError::new(DiskOp::SetModified, &self.path, e))
    }

    fn preallocate(&self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let allocate = || fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, len);
        // Some file systems end it at any signal.
        match rustix::io::retry_on_intr(allocate) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(DiskError::new(DiskOp::Preallocate, &self.path, e)),
        }
    }

    fn map(&self) -> Result<Arc<Map>> {
        let fail = self.fail(DiskOp::Map);
        if self.writer.is_some() {
            let why = "the handle is open for writing";
            return Err(fail(io::Error::new(ErrorKind::ResourceBusy, why)));
        }
        let file_use = self.uses.map(self.id).map_err(&fail)?;
        // SAFETY: the slice must not change, nor the file shrink, while the map lives. `file_use` lives as long as the
        // map (both are in `Map`); while it does, this disk opens no handle that could write to or cut this inode,
        // and it was given only because no such handle was open. Other processes keep out by the lock that every
        // data directory is held under; other disks in this process likewise, as the lock excludes them too.
        #[allow(unsafe_code, reason = "mapping a file has no safe form; the proof is above")]
        let map = unsafe { memmap2::Mmap::map(&*self.file) }.map_err(&fail)?;
        Ok(Arc::new(Map::mapped(map, file_use)))
    }

    fn is_resident(&self, pos: u64) -> bool {
        let mut byte = [0];
        let read =
            preadv2(&self.file, &mut [IoSliceMut::new(&mut byte)], pos, ReadWriteFlags::NOWAIT);
        read != Err(Errno::AGAIN)
    }

    fn held_fd(&self) -> Option<HeldFd> {
        Some(HeldFd(self.file.clone()))
    }
}

fn write_all_vectored(file: &File, slices: &[IoSlice<'_>], mut pos: u64) -> io::Result<()> {
    // Most writes are one slice, which needs no list of its own.
    if let [one] = slices {
        return file.write_all_at(one, pos);
    }
    let mut rest: Vec<IoSlice<'_>> = slices.to_vec();
    let mut rest = rest.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match pwritev(file, &rest[..rest.len().min(MAX_SLICES)], pos) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                pos += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "OTTLA_TEST_LOCK";

    #[test]
    fn what_left_the_page_cache_is_not_resident_until_it_is_read_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = RealDisk::new().open(&path, Open::CreateNew).unwrap();
        file.write_at(&[7; 1 << 20], 0).unwrap();
        let last = (1 << 20) - 1;
        assert!(file.is_resident(0) && file.is_resident(last), "it was just written");
        assert!(file.is_resident(last + 1), "there is nothing to wait for");
        file.sync_all().unwrap();
        let on_disk = File::open(&path).unwrap();
        rustix::fs::fadvise(&on_disk, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if file.is_resident(last) {
            eprintln!("SKIPPED in part: {} is in memory, or does not tell", path.display());
            return;
        }
        file.read_in(0, 2 << 20).unwrap();
        assert!(file.is_resident(0) && file.is_resident(last));
    }

    /// The test runs itself a second time, as another process that tries the same lock.
    #[test]
    fn a_lock_excludes_other_processes() {
        if let Some(path) = std::env::var_os(LOCK) {
            let locked = RealDisk::new().lock(Path::new(&path));
            let outcome = if locked.is_err_and(|e| e.is_locked()) { "refused" } else { "given" };
            println!("\nlock {outcome}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let other_process = || {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "real::tests::a_lock_excludes_other_processes"])
                .env(LOCK, &path)
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            printed.lines().find_map(|line| line.strip_prefix("lock ")).unwrap().to_owned()
        };
        let disk = RealDisk::new();
        let held = disk.lock(&path).unwrap();
        assert!(disk.lock(&path).unwrap_err().is_locked());
        assert_eq!(other_process(), "refused", "also after a second try of our own");
        drop(held);
        assert_eq!(other_process(), "given");
    }
}

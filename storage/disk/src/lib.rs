//! The sole user of the file system: a real disk, and a simulated one with faults.
//!
//! Everything Ottla keeps goes through [`Disk`] and [`DiskFile`]. A node gets its disk from the world it runs in: a
//! [`RealDisk`] in production, a handle of a [`SimDisk`] in simulation. Both follow one contract, tested by one suite.
//!
//! What is durable, and when, is the part to know by heart:
//! - bytes written are visible to readers at once, and survive a crash only after [`DiskFile::sync_data`] (or `sync_all`);
//! - a name (created, renamed or removed) survives a crash only after [`Disk::sync_dir`] of the directory that holds it,
//!   also when the name is that of a directory;
//! - a rename is atomic: after a crash there is the old state or the new one;
//! - of the changes to the names of one directory that were not synced a crash leaves the first ones, in their order, as the
//!   journals of ext4, XFS and btrfs do;
//! - a failed sync may have lost the bytes for good: a later sync that succeeds says nothing about them.

mod descriptors;
mod error;
mod maps;
mod pooled;
mod real;
mod sim;
mod watched;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod watched_tests;

use std::fmt::Debug;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;

pub use descriptors::Descriptors;
pub use error::{DiskError, DiskOp, Result};
pub use maps::Map;
pub use pooled::PooledDisk;
pub use real::{HeldFd, RealDisk};
pub use sim::{Crash, Fault, FaultKind, SimDisk, SimDiskOptions};
pub use watched::{DiskWatch, WatchedDisk};

/// As much is read at a time of what is only to be in the page cache.
const READ_IN: usize = 128 * 1024;

/// How a file is opened. Every mode but `Read` also reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading; the only mode whose handle can be mapped.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// Reading and writing; made empty where it does not exist.
    Create,
    /// Reading and writing; an error where it exists.
    CreateNew,
    /// Reading and writing; made empty whether or not it exists.
    Truncate,
}

impl Open {
    pub(crate) fn writes(self) -> bool {
        self != Open::Read
    }
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    File,
    Dir,
    /// A symbolic link, a device, a socket: never made by Ottla.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name alone, without the directory. A name that is not UTF-8 appears with replacement characters.
    pub name: String,
    pub kind: FileKind,
}

/// What the file system knows of a path. Symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileKind,
    pub len: u64,
    /// Last change, unix milliseconds.
    pub modified_ms: i64,
}

/// The room on the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What this process may still use.
    pub usable_bytes: u64,
    /// How many files there may be; 0 where their number has no bound of its own.
    pub total_files: u64,
    pub usable_files: u64,
}

/// An exclusive lock on a file, given back when dropped.
pub struct DiskLock {
    _held: Box<dyn Send + Sync>,
}

impl DiskLock {
    pub(crate) fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl Debug for DiskLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskLock")
    }
}

/// A file system. Every call blocks its thread until it is done; calls that sync can take seconds.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a directory and those above it; fine where it exists. The new names are durable after `sync_dir` of the
    /// directories that hold them.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// Opens a file. A directory is refused.
    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>>;

    /// As [`open`](Self::open), for a file that is kept for long and may rest for long: a disk that bounds its descriptors
    /// closes it meanwhile.
    fn keep(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.open(path, mode)
    }

    /// Gives a file or directory another name, replacing a file of that name. Atomic; durable after `sync_dir` of the
    /// target's directory (and of the source's, where they differ).
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes a directory and all that is in it, the contents first. Not atomic.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>>;

    fn metadata(&self, path: &Path) -> Result<Metadata>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// The room on the file system that holds `path`, which must exist.
    fn space(&self, path: &Path) -> Result<Space>;

    /// Locks a file against every other process (Kafka included) and every other holder in this one, without waiting:
    /// where it is held the error [`DiskError::is_locked`]. The file is made where it does not exist.
    fn lock(&self, path: &Path) -> Result<DiskLock>;

    /// What tells one life of the kernel, one mount of the file system, and one directory, from others: as long as it stays the same, all
    /// that was written below `dir` is there, synced or not. A copy of the directory has another. `None` where nobody can say.
    fn kernel(&self, dir: &Path) -> Result<Option<String>>;

    /// Tells this watch of each sync of a file below `dir` that a disk makes by itself and that fails
    /// ([`DiskWatch::sync_failed`]): at once, and on any thread. Most disks make none.
    fn watch_syncs(&self, _dir: &Path, _watch: Weak<dyn DiskWatch>) {}

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The whole of a small file. One longer than `max_len` is refused ([`DiskError::is_too_large`]) before it is read.
    fn read(&self, path: &Path, max_len: usize) -> Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = file.len()?;
        if len > max_len as u64 {
            return Err(DiskError::too_large(path, len, max_len));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Replaces a file's contents so that after a crash at any point there is the old file or the new one, and after
    /// this returns the new one. Written beside it under the name with `.tmp` appended.
    fn replace(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let tmp = PathBuf::from(name);
        let file = self.open(&tmp, Open::Truncate)?;
        file.write_at(contents, 0)?;
        file.sync_all()?;
        drop(file);
        self.rename(&tmp, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// An open file. Handles are shared; every read and write names its position, and there is no cursor.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Reads up to `buf.len()` bytes; 0 at and after the end.
    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize>;

    /// Writes the slices one after another from `pos` on, all of them. On an error some of the bytes may be there.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> Result<()>;

    fn len(&self) -> Result<u64>;

    /// Makes the contents durable, and what of the metadata is needed to read them (the length).
    fn sync_data(&self) -> Result<()>;

    /// Makes contents and metadata durable. The file's name is durable by [`Disk::sync_dir`] only.
    fn sync_all(&self) -> Result<()>;

    /// Sets the time of the last change, unix milliseconds, until the next change. Needs a handle that writes.
    fn set_modified_ms(&self, modified_ms: i64) -> Result<()>;

    /// Reserves room for the file to grow to `len` without changing its length; without effect where the file system
    /// cannot.
    fn preallocate(&self, len: u64) -> Result<()>;

    /// The contents as a slice. For files that are no longer written (the indexes of closed segments): the handle must
    /// be [`Open::Read`], no handle that writes to the file may be open, and none can be opened while a map lives
    /// ([`DiskError::is_busy`]). To change such a file, remove it and make it anew. Asked for again whenever it is needed,
    /// and not kept: a disk that bounds its descriptors bounds its maps too.
    fn map(&self) -> Result<Arc<Map>>;

    /// The descriptor, for handing to the kernel (`sendfile`); `None` in simulation: read the bytes instead.
    fn held_fd(&self) -> Option<HeldFd>;

    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the byte at this position can be read without waiting for the device. True also at and after the end, and where
    /// the file system cannot tell; false where the file would have to be opened first.
    fn is_resident(&self, pos: u64) -> bool;

    /// Whether it is there to be used. Else it is opened first, for which it may wait until another is synced and closed.
    fn is_open(&self) -> bool {
        true
    }

    /// Has the bytes in the page cache, as many as there are of them: blocks until the device has given them.
    fn read_in(&self, pos: u64, len: usize) -> Result<()> {
        let mut chunk = vec![0; len.min(READ_IN)];
        let mut done = 0;
        while done < len {
            let wanted = READ_IN.min(len - done);
            match self.read_at(&mut chunk[..wanted], pos + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(())
    }

    /// Fills `buf`, or fails with `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], pos: u64) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let read = self.read_at(&mut buf[done..], pos + done as u64)?;
            if read == 0 {
                return Err(DiskError::unexpected_end(self.path()));
            }
            done += read;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], pos: u64) -> Result<()> {
        self.write_vectored_at(&[IoSlice::new(bytes)], pos)
    }

    /// [`write_vectored_at`](Self::write_vectored_at) of whole byte handles.
    fn write_chain_at(&self, chain: &[Bytes], pos: u64) -> Result<()> {
        let slices: Vec<IoSlice<'_>> = chain.iter().map(|bytes| IoSlice::new(bytes)).collect();
        self.write_vectored_at(&slices, pos)
    }
}

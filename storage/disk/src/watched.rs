//! One directory of a disk under watch: an error of the device ends its use, whoever met it.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::maps::Map;
use crate::{
    DirEntry, Disk, DiskError, DiskFile, DiskLock, DiskOp, HeldFd, Metadata, Open, Result, Space,
};

/// Decides whether a directory is still used.
pub trait DiskWatch: std::fmt::Debug + Send + Sync + 'static {
    /// Why there are to be no more operations.
    fn ended(&self) -> Option<String>;

    /// An operation failed, and not because of what was asked: the device, or the directory itself, cannot be relied on.
    fn failed(&self, error: &DiskError);

    /// The sync of a file failed, on this thread: until what it left is written again no later one makes the file durable. Told
    /// before its caller is, who may end before it has seen to that.
    fn sync_failed(&self, error: &DiskError);
}

/// A disk as those use it who keep their files in one directory. After [`DiskWatch::failed`] nothing is written any more if
/// the watch says so.
#[derive(Debug)]
pub struct WatchedDisk<W> {
    disk: Arc<dyn Disk>,
    watch: Arc<W>,
}

#[derive(Debug)]
struct WatchedFile<W> {
    file: Arc<dyn DiskFile>,
    watch: Arc<W>,
}

impl<W: DiskWatch> WatchedDisk<W> {
    pub fn new(disk: Arc<dyn Disk>, watch: Arc<W>) -> WatchedDisk<W> {
        WatchedDisk { disk, watch }
    }

    fn opened(
        &self,
        path: &Path,
        mode: Open,
        open: impl FnOnce() -> Result<Arc<dyn DiskFile>>,
    ) -> Result<Arc<dyn DiskFile>> {
        let file = run(&*self.watch, DiskOp::Open, path, open);
        if let Err(error) = &file
            && error.is_not_found()
            && !matches!(mode, Open::Read | Open::ReadWrite)
        {
            // The file would have been made: it is its directory that is not there.
            self.watch.failed(error);
        }
        Ok(Arc::new(WatchedFile { file: file?, watch: self.watch.clone() }))
    }
}

fn run<T>(
    watch: &impl DiskWatch,
    op: DiskOp,
    path: &Path,
    run: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some(why) = watch.ended() {
        return Err(DiskError::new(op, path, std::io::Error::other(why)));
    }
    run().inspect_err(|error| match error.op() {
        DiskOp::Sync => watch.sync_failed(error),
        _ if is_the_devices(error) => watch.failed(error),
        _ => {}
    })
}

/// Whether an error speaks against the device or the directory, not against the request.
pub(crate) fn is_the_devices(error: &DiskError) -> bool {
    let borne = matches!(error.op(), DiskOp::Sync | DiskOp::SyncDir | DiskOp::Space | DiskOp::Lock);
    let asked = matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::ResourceBusy
            | ErrorKind::FileTooLarge
            | ErrorKind::UnexpectedEof
            | ErrorKind::Interrupted
    );
    // What lists a directory knows that it is there.
    let vanished = error.is_not_found() && error.op() == DiskOp::List;
    !borne && !error.may_pass() && (!asked || vanished)
}

impl<W: DiskWatch> Disk for WatchedDisk<W> {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        run(&*self.watch, DiskOp::CreateDir, path, || self.disk.create_dir_all(path))
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.opened(path, mode, || self.disk.open(path, mode))
    }

    fn keep(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.opened(path, mode, || self.disk.keep(path, mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        run(&*self.watch, DiskOp::Rename, from, || self.disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        run(&*self.watch, DiskOp::Remove, path, || self.disk.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        run(&*self.watch, DiskOp::Remove, path, || self.disk.remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        run(&*self.watch, DiskOp::List, path, || self.disk.list(path))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        run(&*self.watch, DiskOp::Metadata, path, || self.disk.metadata(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        run(&*self.watch, DiskOp::SyncDir, path, || self.disk.sync_dir(path))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        run(&*self.watch, DiskOp::Space, path, || self.disk.space(path))
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        run(&*self.watch, DiskOp::Lock, path, || self.disk.lock(path))
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        run(&*self.watch, DiskOp::Kernel, dir, || self.disk.kernel(dir))
    }
}

impl<W: DiskWatch> WatchedFile<W> {
    fn run<T>(&self, op: DiskOp, f: impl FnOnce(&dyn DiskFile) -> Result<T>) -> Result<T> {
        run(&*self.watch, op, self.file.path(), || f(&*self.file))
    }
}

impl<W: DiskWatch> DiskFile for WatchedFile<W> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.run(DiskOp::Read, |file| file.read_at(buf, pos))
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()> {
        self.run(DiskOp::Write, |file| file.write_vectored_at(slices, pos))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.run(DiskOp::SetLen, |file| file.set_len(len))
    }

    fn len(&self) -> Result<u64> {
        self.run(DiskOp::Metadata, |file| file.len())
    }

    fn sync_data(&self) -> Result<()> {
        self.run(DiskOp::Sync, |file| file.sync_data())
    }

    fn sync_all(&self) -> Result<()> {
        self.run(DiskOp::Sync, |file| file.sync_all())
    }

    fn preallocate(&self, len: u64) -> Result<()> {
        self.run(DiskOp::Preallocate, |file| file.preallocate(len))
    }

    fn map(&self) -> Result<Arc<Map>> {
        self.run(DiskOp::Map, |file| file.map())
    }

    fn set_modified_ms(&self, modified_ms: i64) -> Result<()> {
        self.run(DiskOp::Metadata, |file| file.set_modified_ms(modified_ms))
    }

    fn is_resident(&self, pos: u64) -> bool {
        self.file.is_resident(pos)
    }

    fn is_open(&self) -> bool {
        self.file.is_open()
    }

    fn held_fd(&self) -> Option<HeldFd> {
        self.file.held_fd()
    }
}

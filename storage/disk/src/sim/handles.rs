//! What a node holds of a simulated disk: the disk as mounted by one life, and that life's open files.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::{BLOCK, Content};
use super::tree::{Dir, Ino, Node};
use super::{Go, SimDisk, State};
use crate::error::{DiskError, DiskOp, Result};
use crate::maps::{FileUse, Map};
use crate::{DirEntry, Disk, DiskFile, DiskLock, FileKind, HeldFd, Metadata, Open, Space};

#[derive(Debug, Clone)]
pub(super) struct MountedDisk {
    pub(super) disk: SimDisk,
    pub(super) incarnation: u64,
}

impl MountedDisk {
    fn run<T>(
        &self,
        op: DiskOp,
        path: &Path,
        run: impl FnOnce(&mut State, Go) -> io::Result<T>,
    ) -> Result<T> {
        let mut state = self.disk.state();
        state
            .begin(self.incarnation, op, path)
            .and_then(|go| run(&mut state, go))
            .map_err(|e| DiskError::new(op, path, e))
    }

    fn remove(&self, path: &Path, kind: FileKind) -> Result<()> {
        self.run(DiskOp::Remove, path, |state, _| state.tree.remove(path, kind, state.now_ms))
    }
}

impl Disk for MountedDisk {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for dir in above {
            self.run(DiskOp::CreateDir, dir, |state, _| match state.tree.lookup(dir) {
                Ok(ino) if state.tree.kind(ino)? == FileKind::Dir => Ok(()),
                Ok(_) => Err(ErrorKind::AlreadyExists.into()),
                Err(_) => state.tree.make(dir, Node::Dir(Dir::default()), state.now_ms).map(|_| ()),
            })?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.run(DiskOp::Open, path, |state, _| {
            let now_ms = state.now_ms;
            let found = state.tree.lookup(path);
            let ino = match (found, mode) {
                (Ok(_), Open::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
                (Ok(ino), _) => ino,
                (Err(e), Open::Read | Open::ReadWrite) => return Err(e),
                (Err(e), _) if e.kind() != ErrorKind::NotFound => return Err(e),
                (Err(_), _) => state.tree.make(path, Node::File(Content::default()), now_ms)?,
            };
            state.tree.file(ino)?;
            let writer = if mode.writes() { Some(state.uses.writer((0, ino))?) } else { None };
            if mode == Open::Truncate {
                state.tree.change(ino, now_ms, |content| content.set_len(0))?;
            }
            state.tree.opened(ino);
            let path = path.to_owned();
            Ok(Arc::new(SimFile { mount: self.clone(), ino, path, writer }) as Arc<dyn DiskFile>)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.run(DiskOp::Rename, from, |state, _| state.tree.rename(from, to, state.now_ms))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.remove(path, FileKind::File)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        // One operation per name: a crash may come between any two.
        for entry in self.list(path)? {
            let below = path.join(&entry.name);
            match entry.kind {
                FileKind::Dir => self.remove_dir_all(&below)?,
                FileKind::File | FileKind::Other => self.remove_file(&below)?,
            }
        }
        self.remove(path, FileKind::Dir)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.run(DiskOp::List, path, |state, _| state.tree.list(state.tree.lookup(path)?))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.run(DiskOp::Metadata, path, |state, _| {
            let ino = state.tree.lookup(path)?;
            let kind = state.tree.kind(ino)?;
            let len = if kind == FileKind::File { state.tree.file(ino)?.len() } else { 0 };
            Ok(Metadata { kind, len, modified_ms: state.tree.modified_ms(ino)? })
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.run(DiskOp::SyncDir, path, |state, go| {
            let ino = state.tree.lookup(path)?;
            match go {
                Go::Torn => Err(io::Error::other("input/output error")),
                Go::Whole | Go::Flip | Go::Lose | Go::Full => state.tree.sync_dir(ino),
            }
        })
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.run(DiskOp::Kernel, dir, |state, _| {
            let ino = state.tree.lookup(dir)?;
            Ok(state.options.kernel.then(|| format!("{} {ino:?}", state.power_losses)))
        })
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.run(DiskOp::Space, path, |state, _| {
            state.tree.lookup(path)?;
            Ok(Space {
                total_bytes: state.options.capacity_bytes,
                usable_bytes: state.free_blocks() * BLOCK,
                total_files: 0,
                usable_files: 0,
            })
        })
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        let file = self.open(path, Open::Create)?;
        let ino = self.run(DiskOp::Lock, path, |state, _| {
            let ino = state.tree.lookup(path)?;
            if !state.locked.insert(ino) {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(ino)
        })?;
        Ok(DiskLock::new(SimLock { mount: self.clone(), ino, _file: file }))
    }
}

struct SimLock {
    mount: MountedDisk,
    ino: Ino,
    _file: Arc<dyn DiskFile>,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.mount.disk.state();
        if state.incarnation == self.mount.incarnation {
            state.locked.remove(&self.ino);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    mount: MountedDisk,
    ino: Ino,
    path: PathBuf,
    writer: Option<FileUse>,
}

impl SimFile {
    fn run<T>(&self, op: DiskOp, run: impl FnOnce(&mut State, Go) -> io::Result<T>) -> Result<T> {
        self.mount.run(op, &self.path, run)
    }

    fn writable(&self) -> io::Result<()> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(ErrorKind::PermissionDenied.into()),
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.mount.disk.state();
        if state.incarnation == self.mount.incarnation {
            state.tree.closed(self.ino);
        }
    }
}

impl DiskFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.run(DiskOp::Read, |state, go| {
            let count = state.tree.file(self.ino)?.read(buf, pos);
            state.cache(self.ino, pos, count);
            if go == Go::Flip && count > 0 {
                let bit = state.random.below(count as u64 * 8);
                buf[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            Ok(count)
        })
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()> {
        self.run(DiskOp::Write, |state, go| {
            self.writable()?;
            let mut bytes = Vec::new();
            slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
            let wanted = match go {
                Go::Torn => &bytes[..state.random.below(bytes.len() as u64) as usize],
                Go::Whole | Go::Flip | Go::Lose | Go::Full => &bytes[..],
            };
            let free = state.free_blocks();
            let fitting = state.tree.file(self.ino)?.fitting(wanted, pos, free);
            let writeback = state.options.writeback_bytes;
            state.cache(self.ino, pos, fitting.len());
            state.tree.change(self.ino, state.now_ms, |content| {
                content.write(fitting, pos, writeback);
            })?;
            if fitting.len() < wanted.len() {
                return Err(ErrorKind::StorageFull.into());
            }
            match go {
                Go::Torn => Err(io::Error::other("input/output error")),
                Go::Whole | Go::Flip | Go::Lose | Go::Full => Ok(()),
            }
        })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.run(DiskOp::SetLen, |state, _| {
            self.writable()?;
            state.tree.change(self.ino, state.now_ms, |content| content.set_len(len))
        })
    }

    fn len(&self) -> Result<u64> {
        self.run(DiskOp::Metadata, |state, _| Ok(state.tree.file(self.ino)?.len()))
    }

    fn sync_data(&self) -> Result<()> {
        self.run(DiskOp::Sync, |state, go| {
            let modified_ms = state.tree.modified_ms(self.ino)?;
            state.tree.change(self.ino, modified_ms, |content| match go {
                Go::Torn | Go::Lose | Go::Full => {
                    content.fail_sync(go == Go::Lose);
                    Err(match go {
                        Go::Full => ErrorKind::StorageFull.into(),
                        _ => io::Error::other("input/output error"),
                    })
                }
                Go::Whole | Go::Flip => {
                    content.sync();
                    Ok(())
                }
            })?
        })
    }

    fn sync_all(&self) -> Result<()> {
        self.sync_data()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> Result<()> {
        self.run(DiskOp::SetModified, |state, _| {
            self.writable()?;
            state.tree.change(self.ino, modified_ms, |_| ())
        })
    }

    fn preallocate(&self, len: u64) -> Result<()> {
        self.run(DiskOp::Preallocate, |state, _| {
            self.writable()?;
            let blocks = len.div_ceil(BLOCK);
            let more = blocks.saturating_sub(state.tree.file(self.ino)?.blocks());
            if more > state.free_blocks() {
                return Err(ErrorKind::StorageFull.into());
            }
            let modified_ms = state.tree.modified_ms(self.ino)?;
            state.tree.change(self.ino, modified_ms, |content| content.reserve(blocks))
        })
    }

    fn map(&self) -> Result<Arc<Map>> {
        self.run(DiskOp::Map, |state, _| {
            if self.writer.is_some() {
                let why = "the handle is open for writing";
                return Err(io::Error::new(ErrorKind::ResourceBusy, why));
            }
            let file_use = state.uses.map((0, self.ino))?;
            Ok(Arc::new(Map::copied(state.tree.file(self.ino)?.to_vec(), file_use)))
        })
    }

    fn is_resident(&self, pos: u64) -> bool {
        let state = self.mount.disk.state();
        let cached = state.cached.as_ref();
        let beyond = || state.tree.file(self.ino).map_or(true, |content| pos >= content.len());
        cached.is_none_or(|blocks| blocks.contains(&(self.ino, pos / BLOCK))) || beyond()
    }

    fn held_fd(&self) -> Option<HeldFd> {
        None
    }
}

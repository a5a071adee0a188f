//! One error for every disk operation: what was done, to which path, and why it failed.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

pub type Result<T> = std::result::Result<T, DiskError>;

/// The operation that failed, by the name it has in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOp {
    CreateDir,
    Open,
    Read,
    Write,
    SetLen,
    Preallocate,
    SetModified,
    Sync,
    Map,
    Rename,
    Remove,
    List,
    Metadata,
    SyncDir,
    Space,
    Lock,
    Kernel,
}

impl std::fmt::Display for DiskOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DiskOp::CreateDir => "create directory",
            DiskOp::Open => "open",
            DiskOp::Read => "read",
            DiskOp::Write => "write",
            DiskOp::SetLen => "set length of",
            DiskOp::Preallocate => "preallocate",
            DiskOp::SetModified => "set the time of",
            DiskOp::Sync => "sync",
            DiskOp::Map => "map",
            DiskOp::Rename => "rename",
            DiskOp::Remove => "remove",
            DiskOp::List => "list",
            DiskOp::Metadata => "look up",
            DiskOp::SyncDir => "sync directory",
            DiskOp::Space => "measure free space of",
            DiskOp::Lock => "lock",
            DiskOp::Kernel => "ask the kernel about",
        })
    }
}

/// Why a disk operation failed. Cheap to clone: several requests may wait for one write.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {op} {path:?}: {source}")]
pub struct DiskError {
    op: DiskOp,
    path: PathBuf,
    source: Arc<io::Error>,
}

impl DiskError {
    pub fn new(op: DiskOp, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { op, path: path.to_owned(), source: Arc::new(source.into()) }
    }

    pub(crate) fn too_large(path: &Path, len: u64, max_len: usize) -> Self {
        let why = format!("it has {len} bytes, {max_len} at most are expected");
        Self::new(DiskOp::Read, path, io::Error::new(ErrorKind::FileTooLarge, why))
    }

    pub(crate) fn unexpected_end(path: &Path) -> Self {
        Self::new(DiskOp::Read, path, io::Error::from(ErrorKind::UnexpectedEof))
    }

    pub fn op(&self) -> DiskOp {
        self.op
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }

    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    pub fn already_exists(&self) -> bool {
        self.kind() == ErrorKind::AlreadyExists
    }

    /// No room is left: the file system's, or the user's quota.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }

    /// The process, or the machine, has no descriptor or no memory to spare just now: the disk has nothing to do with it.
    pub fn is_shortage(&self) -> bool {
        is_shortage(&self.source)
    }

    /// The same may succeed later, when there is more room, or less is held.
    pub fn may_pass(&self) -> bool {
        may_pass(&self.source)
    }

    /// Whether an error is of a disk, or was caused by one, and may pass.
    pub fn led_to_passing(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            // An error that is transparent has its disk error's cause for its own.
            let cause = error.downcast_ref::<Arc<io::Error>>().is_some_and(|e| may_pass(e));
            if cause || error.downcast_ref::<DiskError>().is_some_and(DiskError::may_pass) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// Another process, or another holder in this one, has the lock.
    pub fn is_locked(&self) -> bool {
        self.op == DiskOp::Lock && self.kind() == ErrorKind::WouldBlock
    }

    /// The file is mapped and would be written, or the reverse.
    pub fn is_busy(&self) -> bool {
        self.kind() == ErrorKind::ResourceBusy
    }

    /// The file is longer than the caller accepts.
    pub fn is_too_large(&self) -> bool {
        self.kind() == ErrorKind::FileTooLarge
    }

    /// The file ended before the bytes asked for.
    pub fn is_unexpected_end(&self) -> bool {
        self.kind() == ErrorKind::UnexpectedEof
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn is_shortage(error: &io::Error) -> bool {
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| lacking.contains(&errno))
}

fn may_pass(error: &io::Error) -> bool {
    is_full(error) || is_shortage(error)
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        io::Error::new(error.kind(), error)
    }
}

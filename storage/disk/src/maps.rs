//! Who maps a file and who writes it, never both: what makes a map's slice sound.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// A file's identity: device and inode, or whatever stands for them in simulation.
pub(crate) type FileId = (u64, u64);

#[derive(Debug, Default)]
struct Uses {
    writers: usize,
    maps: usize,
}

/// The files of one disk that are open for writing or mapped.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileUses {
    uses: Arc<Mutex<BTreeMap<FileId, Uses>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Map,
}

/// Held as long as the file is written, or mapped.
#[derive(Debug)]
pub(crate) struct FileUse {
    of: FileUses,
    id: FileId,
    role: Role,
}

impl FileUses {
    pub(crate) fn writer(&self, id: FileId) -> io::Result<FileUse> {
        self.take(id, Role::Writer)
    }

    pub(crate) fn map(&self, id: FileId) -> io::Result<FileUse> {
        self.take(id, Role::Map)
    }

    fn take(&self, id: FileId, role: Role) -> io::Result<FileUse> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let file = uses.entry(id).or_default();
        match role {
            Role::Writer if file.maps > 0 => {
                return Err(io::Error::new(ErrorKind::ResourceBusy, "it is mapped"));
            }
            Role::Map if file.writers > 0 => {
                return Err(io::Error::new(ErrorKind::ResourceBusy, "it is open for writing"));
            }
            Role::Writer => file.writers += 1,
            Role::Map => file.maps += 1,
        }
        Ok(FileUse { of: self.clone(), id, role })
    }
}

impl Drop for FileUse {
    fn drop(&mut self) {
        let mut uses = self.of.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = uses.get_mut(&self.id) else { return };
        match self.role {
            Role::Writer => file.writers -= 1,
            Role::Map => file.maps -= 1,
        }
        if file.writers == 0 && file.maps == 0 {
            uses.remove(&self.id);
        }
    }
}

/// A file's contents as a slice; in simulation a copy of them.
#[derive(Debug)]
pub struct Map {
    contents: Contents,
    _use: FileUse,
}

#[derive(Debug)]
enum Contents {
    Mapped(memmap2::Mmap),
    Copied(Vec<u8>),
}

impl Map {
    pub(crate) fn mapped(map: memmap2::Mmap, file_use: FileUse) -> Self {
        Self { contents: Contents::Mapped(map), _use: file_use }
    }

    pub(crate) fn copied(bytes: Vec<u8>, file_use: FileUse) -> Self {
        Self { contents: Contents::Copied(bytes), _use: file_use }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.contents {
            Contents::Mapped(map) => map,
            Contents::Copied(bytes) => bytes,
        }
    }
}

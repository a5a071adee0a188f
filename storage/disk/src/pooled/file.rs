//! A kept file as its owner uses it: opened when it is.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::{Kept, read, write};
use crate::error::Result;
use crate::{DiskFile, HeldFd, Map};

impl DiskFile for Kept {
    fn path(&self) -> &Path {
        &self.opened_as
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.file()?.read_at(buf, pos)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()> {
        self.changes(|file| file.write_vectored_at(slices, pos))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.changes(|file| file.set_len(len))
    }

    fn len(&self) -> Result<u64> {
        self.file()?.len()
    }

    fn sync_data(&self) -> Result<()> {
        self.syncs(|file| file.sync_data())
    }

    fn sync_all(&self) -> Result<()> {
        self.syncs(|file| file.sync_all())
    }

    fn preallocate(&self, len: u64) -> Result<()> {
        self.changes(|file| file.preallocate(len))
    }

    fn set_modified_ms(&self, modified_ms: i64) -> Result<()> {
        self.file()?.set_modified_ms(modified_ms)
    }

    fn map(&self) -> Result<Arc<Map>> {
        if let Some(map) = &read(&self.slot).map {
            self.note_use();
            return Ok(map.clone());
        }
        let file = self.file()?;
        let map = self.pool.relieved(|| file.map())?;
        let mut slot = write(&self.slot);
        Ok(match slot.file {
            Some(_) => slot.map.get_or_insert(map).clone(),
            None => map,
        })
    }

    fn is_resident(&self, pos: u64) -> bool {
        self.note_use();
        // Whoever holds the slot otherwise may wait for the device.
        let slot = self.slot.try_read();
        slot.is_ok_and(|slot| slot.file.as_ref().is_some_and(|file| file.is_resident(pos)))
    }

    fn is_open(&self) -> bool {
        self.note_use();
        // Whoever holds the slot otherwise may wait for the device.
        self.slot.try_read().is_ok_and(|slot| slot.file.is_some())
    }

    fn held_fd(&self) -> Option<HeldFd> {
        // An error shows itself to whoever then reads instead.
        self.file().ok()?.held_fd()
    }
}

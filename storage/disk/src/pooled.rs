//! A disk that keeps only so many files open: those of idle logs are closed, and opened again when used.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use crate::error::Result;
use crate::{DirEntry, Disk, DiskFile, DiskLock, HeldFd, Map, Metadata, Open, Space};

/// So many files are looked at for one to close, each time one is opened.
const LOOKS: usize = 64;

/// Another disk, with a bound on the files that [`Disk::keep`] holds open. A file that was closed behaves as if it were open:
/// it is found again under its new name when it, or a directory above it, is renamed, and is read on when it is removed.
///
/// The bound is exceeded where more files than that have writes that were not synced: closing one of those could lose
/// the error of its sync.
#[derive(Debug)]
pub struct PooledDisk {
    inner: Arc<dyn Disk>,
    pool: Arc<Pool>,
}

/// Present path, and a number that tells handles of one path apart.
type Names = BTreeMap<(Arc<Path>, u64), Weak<Kept>>;

#[derive(Debug)]
struct Pool {
    limit: usize,
    next: AtomicU64,
    /// A file that was used since it was last looked at goes to the back.
    open: Mutex<VecDeque<Weak<Kept>>>,
    /// Held for writing while a name changes, for reading while a file is opened by its name. Taken before a file's slot.
    names: RwLock<Names>,
    /// Entries of files that are dropped are removed when the names have grown to this many.
    sweep_at: Mutex<usize>,
}

#[derive(Debug)]
struct Kept {
    me: Weak<Kept>,
    disk: Arc<dyn Disk>,
    pool: Arc<Pool>,
    serial: u64,
    opened_as: Arc<Path>,
    mode: Open,
    slot: RwLock<Slot>,
    used: AtomicBool,
    writes: AtomicU64,
    synced: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    file: Option<Arc<dyn DiskFile>>,
    path: Arc<Path>,
    /// It has no name any more, and stays open.
    removed: bool,
}

impl PooledDisk {
    /// `limit` files at most are kept open, and at least one.
    pub fn new(inner: Arc<dyn Disk>, limit: usize) -> PooledDisk {
        let pool = Pool {
            limit: limit.max(1),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            names: RwLock::default(),
            sweep_at: Mutex::new(1024),
        };
        PooledDisk { inner, pool: Arc::new(pool) }
    }

    /// Opens what is closed and lies at or below `path`, which is about to lose its name.
    fn hold(&self, names: &Names, path: &Path) -> Result<()> {
        for kept in below(names, path) {
            let opened = {
                let mut slot = write(&kept.slot);
                let opened = slot.file.is_none() && !slot.removed;
                if opened {
                    slot.file = Some(kept.disk.open(&slot.path, kept.mode)?);
                }
                slot.removed = true;
                opened
            };
            if opened {
                self.pool.admit(&kept);
            }
        }
        Ok(())
    }
}

impl Pool {
    /// Takes in a file that was opened, and closes another where there are too many.
    fn admit(&self, kept: &Kept) {
        let mut open = lock(&self.open);
        open.push_back(kept.me.clone());
        for _ in 0..LOOKS {
            if open.len() <= self.limit {
                return;
            }
            let Some(front) = open.pop_front() else { return };
            if front.upgrade().is_some_and(|kept| !kept.close_if_idle()) {
                open.push_back(front);
            }
        }
    }

    fn name(&self, kept: &Arc<Kept>) {
        let mut names = write(&self.names);
        names.insert((kept.opened_as.clone(), kept.serial), Arc::downgrade(kept));
        let mut sweep_at = lock(&self.sweep_at);
        if names.len() >= *sweep_at {
            names.retain(|_, kept| kept.strong_count() > 0);
            *sweep_at = (2 * names.len()).max(1024);
        }
    }
}

/// The live files at or below a path.
fn below(names: &Names, path: &Path) -> Vec<Arc<Kept>> {
    let from = (Arc::<Path>::from(path), 0);
    let found = names.range(from..).take_while(|((name, _), _)| name.starts_with(path));
    found.filter_map(|(_, kept)| kept.upgrade()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for PooledDisk {
    fn keep(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        let file = self.inner.open(path, mode)?;
        let path: Arc<Path> = path.into();
        let kept = Arc::new_cyclic(|me| Kept {
            me: me.clone(),
            disk: self.inner.clone(),
            pool: self.pool.clone(),
            serial: self.pool.next.fetch_add(1, Ordering::Relaxed),
            opened_as: path.clone(),
            mode: if mode.writes() { Open::ReadWrite } else { Open::Read },
            slot: RwLock::new(Slot { file: Some(file), path, removed: false }),
            used: AtomicBool::new(true),
            writes: AtomicU64::new(u64::from(mode == Open::Truncate)),
            synced: AtomicU64::new(0),
        });
        self.pool.name(&kept);
        self.pool.admit(&kept);
        Ok(kept)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut names = write(&self.pool.names);
        self.hold(&names, to)?;
        self.inner.rename(from, to)?;
        for kept in below(&names, from) {
            let mut slot = write(&kept.slot);
            if slot.removed {
                continue;
            }
            let path: Arc<Path> = match slot.path.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => to.into(),
                Ok(rest) => to.join(rest).into(),
                Err(_) => continue,
            };
            let before = std::mem::replace(&mut slot.path, path.clone());
            if let Some(weak) = names.remove(&(before, kept.serial)) {
                names.insert((path, kept.serial), weak);
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let names = write(&self.pool.names);
        self.hold(&names, path)?;
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let names = write(&self.pool.names);
        self.hold(&names, path)?;
        self.inner.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.inner.open(path, mode)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.inner.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.inner.space(path)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        self.inner.lock(path)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.inner.kernel(dir)
    }
}

impl Kept {
    fn file(&self) -> Result<Arc<dyn DiskFile>> {
        // A store that changes nothing would still take the cache line.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if let Some(file) = &read(&self.slot).file {
            return Ok(file.clone());
        }
        let _names = read(&self.pool.names);
        let file = {
            let mut slot = write(&self.slot);
            if let Some(file) = &slot.file {
                return Ok(file.clone());
            }
            let file = self.disk.open(&slot.path, self.mode)?;
            slot.file = Some(file.clone());
            file
        };
        self.pool.admit(self);
        Ok(file)
    }

    /// Whether it is closed afterwards.
    fn close_if_idle(&self) -> bool {
        let unsynced = self.writes.load(Ordering::Acquire) > self.synced.load(Ordering::Acquire);
        if self.used.swap(false, Ordering::Relaxed) || unsynced {
            return false;
        }
        let Ok(mut slot) = self.slot.try_write() else { return false };
        // Whoever has taken the file may be about to write to it.
        let in_use = slot.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1);
        if slot.removed || in_use {
            return false;
        }
        slot.file = None;
        true
    }

    fn changes<T>(&self, change: impl FnOnce(&dyn DiskFile) -> Result<T>) -> Result<T> {
        let file = self.file()?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        change(&*file)
    }

    fn syncs(&self, sync: impl FnOnce(&dyn DiskFile) -> Result<()>) -> Result<()> {
        let file = self.file()?;
        let writes = self.writes.load(Ordering::Acquire);
        sync(&*file)?;
        self.synced.fetch_max(writes, Ordering::AcqRel);
        Ok(())
    }
}

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

    fn map(&self) -> Result<Map> {
        self.file()?.map()
    }

    fn held_fd(&self) -> Option<HeldFd> {
        // An error shows itself to whoever then reads instead.
        self.file().ok()?.held_fd()
    }
}

/// For the descriptors of a process: half of them, once the soft limit is raised to the hard one. The other half is for
/// connections.
pub fn descriptors_for_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Where it cannot be raised it stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2).unwrap_or(usize::MAX).min(1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealDisk;

    fn pooled(limit: usize) -> (tempfile::TempDir, PooledDisk) {
        let dir = tempfile::tempdir().unwrap();
        (dir, PooledDisk::new(Arc::new(RealDisk::new()), limit))
    }

    fn open_now(disk: &PooledDisk) -> usize {
        let names = read(&disk.pool.names);
        names.values().filter_map(Weak::upgrade).filter(|k| read(&k.slot).file.is_some()).count()
    }

    fn text(file: &Arc<dyn DiskFile>) -> String {
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Files that all hold their own name, synced, more than stay open.
    fn files(disk: &PooledDisk, dir: &Path, count: usize) -> Vec<Arc<dyn DiskFile>> {
        let make = |index: usize| {
            let file = disk.keep(&dir.join(format!("{index:02}")), Open::CreateNew).unwrap();
            file.write_at(format!("{index:02}").as_bytes(), 0).unwrap();
            file.sync_data().unwrap();
            file
        };
        (0..count).map(make).collect()
    }

    #[test]
    fn only_so_many_stay_open_and_all_are_read() {
        let (dir, disk) = pooled(4);
        let files = files(&disk, dir.path(), 40);
        for _ in 0..3 {
            for (index, file) in files.iter().enumerate() {
                assert_eq!(text(file), format!("{index:02}"));
                assert!(open_now(&disk) <= 5, "{} are open", open_now(&disk));
            }
        }
    }

    #[test]
    fn what_is_not_synced_stays_open() {
        let (dir, disk) = pooled(2);
        let files = files(&disk, dir.path(), 3);
        files[0].write_at(b"more", 2).unwrap();
        let others: Vec<_> = files[1..].iter().chain(&files[1..]).map(text).collect();
        assert_eq!(others, ["01", "02", "01", "02"]);
        let is_open = || {
            let first = read(&disk.pool.names).values().next().unwrap().upgrade().unwrap();
            read(&first.slot).file.is_some()
        };
        assert!(is_open());
        files[0].sync_data().unwrap();
        let _: Vec<_> = files[1..].iter().chain(&files[1..]).map(text).collect();
        assert!(!is_open());
    }

    #[test]
    fn closed_files_follow_their_names() {
        let (dir, disk) = pooled(1);
        let below = dir.path().join("t-0");
        disk.create_dir_all(&below).unwrap();
        let files = files(&disk, &below, 6);
        let away = dir.path().join("t-0.delete");
        disk.rename(&below, &away).unwrap();
        disk.rename(&away.join("03"), &away.join("03.deleted")).unwrap();
        let read: Vec<_> = files.iter().map(text).collect();
        assert_eq!(read, ["00", "01", "02", "03", "04", "05"]);
        files[3].write_at(b"33", 0).unwrap();
        assert_eq!(disk.read(&away.join("03.deleted"), 9).unwrap(), b"33");
    }

    #[test]
    fn removed_and_replaced_files_are_read_on() {
        let (dir, disk) = pooled(1);
        let files = files(&disk, dir.path(), 6);
        disk.remove_file(&dir.path().join("00")).unwrap();
        let again = disk.keep(&dir.path().join("00"), Open::CreateNew).unwrap();
        again.write_at(b"new", 0).unwrap();
        disk.rename(&dir.path().join("01"), &dir.path().join("02")).unwrap();
        for _ in 0..2 {
            let read: Vec<_> = files.iter().map(text).collect();
            assert_eq!(read, ["00", "01", "02", "03", "04", "05"]);
        }
        assert_eq!(text(&again), "new");
        disk.remove_dir_all(dir.path()).unwrap();
        assert_eq!(text(&files[4]), "04");
    }
}

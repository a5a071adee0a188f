//! A disk that keeps only so many files open: those of idle logs are closed, and opened again when used.

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use crate::error::{DiskError, Result};
use crate::{DirEntry, Disk, DiskFile, DiskLock, DiskWatch, Map, Metadata, Open, Space};

/// So many files are looked at for one to close, each time one is opened.
const LOOKS: usize = 64;

/// Another disk, with a bound on the files that [`Disk::keep`] holds open. A file that was closed behaves as if it were open:
/// it is found again under its new name when it, or a directory above it, is renamed, and is read on when it is removed.
///
/// A file whose writes were not synced is synced before it is closed, beside those who open the next ones; where too many
/// are, they wait for it. Where that sync fails, its owner's next one does.
#[derive(Debug)]
pub struct PooledDisk {
    pool: Arc<Pool>,
}

/// Held for writing while a name changes, for reading while a file is opened by its name. Taken before all others. Devices differ
/// in how long that takes: a name changes within one directory that is watched, and holds up nobody in another.
type Naming = Arc<RwLock<()>>;

/// Present path, and a number that tells handles of one path apart.
type Names = BTreeMap<(Arc<Path>, u64), Weak<Kept>>;

#[derive(Debug)]
struct Pool {
    inner: Arc<dyn Disk>,
    limit: usize,
    next: AtomicU64,
    /// A file that was used since it was last looked at goes to the back.
    open: Mutex<VecDeque<Weak<Kept>>>,
    /// Of what is below none of the directories that have their own.
    naming: Naming,
    /// Of each directory with a watch.
    naming_below: RwLock<Vec<(PathBuf, Naming)>>,
    names: Mutex<Names>,
    /// Files whose owner is still to be told of a failed sync: it may drop them before, and open them anew.
    failed: Mutex<Vec<Arc<Kept>>>,
    /// Entries of files that are dropped are removed when the names have grown to this many.
    sweep_at: Mutex<usize>,
    /// Files that are to be synced and closed by a thread of its own.
    closing: Option<SyncSender<Arc<Kept>>>,
    /// Who is told at once where the sync of a file below a directory has failed.
    watches: Mutex<Vec<(PathBuf, Weak<dyn DiskWatch>)>>,
}

#[derive(Debug)]
struct Kept {
    me: Weak<Kept>,
    pool: Arc<Pool>,
    serial: u64,
    opened_as: Arc<Path>,
    mode: Open,
    slot: RwLock<Slot>,
    used: AtomicBool,
    writes: AtomicU64,
    synced: AtomicU64,
    /// Why the sync before it was closed failed, which its owner is not told yet. Held during each sync: the kernel tells
    /// of an error once.
    sync_error: Mutex<Option<Box<DiskError>>>,
}

#[derive(Debug)]
struct Slot {
    file: Option<Arc<dyn DiskFile>>,
    map: Option<Arc<Map>>,
    path: Arc<Path>,
    /// It has no name any more, and stays open.
    removed: bool,
}

impl PooledDisk {
    /// `limit` files at most are kept open, and at least one. Who opens one waits for others that must be synced.
    pub fn new(inner: Arc<dyn Disk>, limit: usize) -> PooledDisk {
        PooledDisk::closing_on(inner, limit, None)
    }

    /// As [`PooledDisk::new`], with a thread that syncs what is to be closed, a sixteenth of `limit` at most beside those.
    pub fn with_thread(inner: Arc<dyn Disk>, limit: usize) -> PooledDisk {
        let (closing, files) = sync_channel::<Arc<Kept>>((limit / 16).max(1));
        let close = move || files.iter().for_each(|kept| kept.pool.sync_and_close(&kept));
        let thread = std::thread::Builder::new().name("ottla-files".to_owned()).spawn(close);
        PooledDisk::closing_on(inner, limit, thread.is_ok().then_some(closing))
    }

    fn closing_on(
        inner: Arc<dyn Disk>,
        limit: usize,
        closing: Option<SyncSender<Arc<Kept>>>,
    ) -> PooledDisk {
        let pool = Pool {
            inner,
            limit: limit.max(1),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            naming: Naming::default(),
            naming_below: RwLock::default(),
            names: Mutex::default(),
            failed: Mutex::default(),
            sweep_at: Mutex::new(1024),
            closing,
            watches: Mutex::default(),
        };
        PooledDisk { pool: Arc::new(pool) }
    }

    /// Opens what is closed and lies at or below `path`, which is about to lose its name: no name may change meanwhile.
    fn hold(&self, path: &Path) -> Result<()> {
        for kept in self.pool.below(path) {
            let mut slot = write(&kept.slot);
            if slot.file.is_none() && !slot.removed {
                slot.file = Some(self.pool.open(&slot.path, kept.mode)?);
                lock(&self.pool.open).push_back(kept.me.clone());
            }
            slot.removed = true;
        }
        Ok(())
    }

    /// Removing takes long where the file is large, and what is held needs its name no more: other names may change meanwhile.
    fn hold_removed(&self, path: &Path) -> Result<()> {
        let naming = self.pool.naming(path);
        let _names = write(&naming);
        self.hold(path)
    }
}

impl Pool {
    /// Takes in a file that was opened, and closes another where there are too many.
    fn admit(&self, kept: &Kept) {
        lock(&self.open).push_back(kept.me.clone());
        if let Some(unsynced) = self.close_down_to(self.limit) {
            self.close_beside(&unsynced, self.limit + self.limit / 8);
        }
    }

    /// Closes idle files until so many are open, or it has looked at enough of them. Gives the one of those that hold writes
    /// which were not synced that rests for longest: it is no more among those that are open.
    fn close_down_to(&self, limit: usize) -> Option<Arc<Kept>> {
        let mut unsynced = None;
        {
            let mut open = lock(&self.open);
            for _ in 0..LOOKS {
                if open.len() <= limit {
                    break;
                }
                let Some(front) = open.pop_front() else { break };
                let Some(kept) = front.upgrade() else { continue };
                match kept.close_if_idle() {
                    Closed::Yes => {}
                    // Found as the first, it is the one that rests for longest.
                    Closed::Unsynced if unsynced.is_none() => unsynced = Some(kept),
                    Closed::Unsynced | Closed::No => open.push_back(front),
                }
            }
        }
        unsynced
    }

    /// Has it synced and closed by the thread for that. Where that has enough to do, as its disk is slow, the file stays open,
    /// unless so many are: a directory whose disk hangs is not to hold up those who open files of another.
    fn close_beside(&self, kept: &Arc<Kept>, most: usize) {
        let beside = self.closing.as_ref().map(|closing| closing.try_send(kept.clone()));
        match beside {
            Some(Ok(())) => {}
            Some(Err(_)) if lock(&self.open).len() < most => {
                lock(&self.open).push_back(kept.me.clone());
            }
            Some(Err(_)) | None => self.sync_and_close(kept),
        }
    }

    fn sync_and_close(&self, kept: &Kept) {
        if !kept.sync_and_close() {
            lock(&self.open).push_back(kept.me.clone());
        }
    }

    /// Where descriptors or memory are short, files at rest give way to this one.
    fn relieved<T>(&self, run: impl Fn() -> Result<T>) -> Result<T> {
        match run() {
            Err(error) if error.is_shortage() => {
                let fewer = lock(&self.open).len().saturating_sub(LOOKS / 2);
                if let Some(unsynced) = self.close_down_to(fewer) {
                    self.close_beside(&unsynced, usize::MAX);
                }
                run()
            }
            done => done,
        }
    }

    fn naming(&self, path: &Path) -> Naming {
        let below = read(&self.naming_below);
        let own = below.iter().find(|(dir, _)| path.starts_with(dir));
        own.map_or(&self.naming, |(_, naming)| naming).clone()
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.relieved(|| self.inner.open(path, mode))
    }

    /// Of a failed sync: its owner may be told of it much later, and the process may have died by then.
    fn tell(&self, error: &DiskError) {
        let watches: Vec<_> = {
            let mut watches = lock(&self.watches);
            watches.retain(|(_, watch)| watch.strong_count() > 0);
            let of = |(dir, _): &&(PathBuf, _)| error.path().starts_with(dir);
            watches.iter().filter(of).filter_map(|(_, watch)| watch.upgrade()).collect()
        };
        watches.iter().for_each(|watch| watch.sync_failed(error));
    }

    /// The live files at or below a path.
    fn below(&self, path: &Path) -> Vec<Arc<Kept>> {
        let from = (Arc::<Path>::from(path), 0);
        let names = lock(&self.names);
        let found = names.range(from..).take_while(|((name, _), _)| name.starts_with(path));
        found.filter_map(|(_, kept)| kept.upgrade()).collect()
    }

    /// The failed sync of a file that its owner was not told of: who opens it anew for writing owns it now.
    fn untold(&self, path: &Path, mode: Open) -> Option<Box<DiskError>> {
        if !mode.writes() {
            return None;
        }
        // Slots are looked at without the lock: who holds one may wait for it.
        let failed = lock(&self.failed).clone();
        let mut untold = None;
        for kept in failed {
            let (removed, here) = {
                let slot = read(&kept.slot);
                (slot.removed, *slot.path == *path)
            };
            if removed || here {
                lock(&self.failed).retain(|other| !Arc::ptr_eq(other, &kept));
            }
            if here && !removed {
                untold = lock(&kept.sync_error).take();
            }
        }
        untold
    }

    fn name(&self, kept: &Arc<Kept>) {
        let mut names = lock(&self.names);
        names.insert((kept.opened_as.clone(), kept.serial), Arc::downgrade(kept));
        let mut sweep_at = lock(&self.sweep_at);
        if names.len() >= *sweep_at {
            names.retain(|_, kept| kept.strong_count() > 0);
            *sweep_at = (2 * names.len()).max(1024);
        }
    }
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
        let naming = self.pool.naming(path);
        let naming = read(&naming);
        let file = self.pool.open(path, mode)?;
        let untold = self.pool.untold(path, mode);
        let path: Arc<Path> = path.into();
        let kept = Arc::new_cyclic(|me| Kept {
            me: me.clone(),
            pool: self.pool.clone(),
            serial: self.pool.next.fetch_add(1, Ordering::Relaxed),
            opened_as: path.clone(),
            mode: if mode.writes() { Open::ReadWrite } else { Open::Read },
            slot: RwLock::new(Slot { file: Some(file), map: None, path, removed: false }),
            used: AtomicBool::new(true),
            writes: AtomicU64::new(u64::from(mode == Open::Truncate)),
            synced: AtomicU64::new(0),
            sync_error: Mutex::new(untold),
        });
        self.pool.name(&kept);
        drop(naming);
        self.pool.admit(&kept);
        Ok(kept)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let naming = self.pool.naming(from);
        let _names = write(&naming);
        self.hold(to)?;
        self.pool.inner.rename(from, to)?;
        for kept in self.pool.below(from) {
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
            let mut names = lock(&self.pool.names);
            if let Some(weak) = names.remove(&(before, kept.serial)) {
                names.insert((path, kept.serial), weak);
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.hold_removed(path)?;
        self.pool.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.hold_removed(path)?;
        self.pool.inner.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.pool.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.pool.open(path, mode)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.pool.relieved(|| self.pool.inner.list(path))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.pool.inner.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.pool.relieved(|| self.pool.inner.sync_dir(path))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.pool.inner.space(path)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        self.pool.inner.lock(path)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.pool.inner.kernel(dir)
    }

    fn watch_syncs(&self, dir: &Path, watch: Weak<dyn DiskWatch>) {
        let mut naming = write(&self.pool.naming_below);
        if !naming.iter().any(|(known, _)| known == dir) {
            naming.push((dir.to_owned(), Naming::default()));
        }
        lock(&self.pool.watches).push((dir.to_owned(), watch));
    }
}

/// Whether a file was closed that was to be closed if it rests.
enum Closed {
    Yes,
    No,
    /// It rests, and holds writes that were not synced.
    Unsynced,
}

impl Kept {
    fn note_use(&self) {
        // A store that changes nothing would still take the cache line.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    fn file(&self) -> Result<Arc<dyn DiskFile>> {
        self.note_use();
        if let Some(file) = &read(&self.slot).file {
            return Ok(file.clone());
        }
        let file = {
            let naming = self.pool.naming(&self.opened_as);
            let _names = read(&naming);
            let mut slot = write(&self.slot);
            if let Some(file) = &slot.file {
                return Ok(file.clone());
            }
            let file = self.pool.open(&slot.path, self.mode)?;
            slot.file = Some(file.clone());
            file
        };
        self.pool.admit(self);
        Ok(file)
    }

    fn close_if_idle(&self) -> Closed {
        if self.used.swap(false, Ordering::Relaxed) {
            return Closed::No;
        }
        let Ok(mut slot) = self.slot.try_write() else { return Closed::No };
        // Whoever has taken the file may be about to write to it.
        let in_use = slot.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1)
            || slot.map.as_ref().is_some_and(|map| Arc::strong_count(map) > 1);
        if slot.removed || in_use {
            return Closed::No;
        }
        if self.writes.load(Ordering::Acquire) > self.synced.load(Ordering::Acquire) {
            return Closed::Unsynced;
        }
        (slot.file, slot.map) = (None, None);
        Closed::Yes
    }

    /// Whether it is closed afterwards.
    fn sync_and_close(&self) -> bool {
        // Whoever holds it opens or renames it: it does not rest.
        let Ok(slot) = self.slot.try_read() else { return false };
        let Some(file) = slot.file.clone() else { return true };
        drop(slot);
        let synced = {
            let mut failed = lock(&self.sync_error);
            let writes = self.writes.load(Ordering::Acquire);
            let synced = file.sync_data();
            match &synced {
                Ok(()) => {
                    self.synced.fetch_max(writes, Ordering::AcqRel);
                }
                Err(error) => {
                    if failed.replace(Box::new(error.clone())).is_none() {
                        lock(&self.pool.failed).extend(self.me.upgrade());
                    }
                }
            }
            synced
        };
        if let Err(error) = synced {
            self.pool.tell(&error);
            return false;
        }
        drop(file);
        matches!(self.close_if_idle(), Closed::Yes)
    }

    fn changes<T>(&self, change: impl FnOnce(&dyn DiskFile) -> Result<T>) -> Result<T> {
        let file = self.file()?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        change(&*file)
    }

    fn syncs(&self, sync: impl FnOnce(&dyn DiskFile) -> Result<()>) -> Result<()> {
        let file = self.file()?;
        let mut failed = lock(&self.sync_error);
        if let Some(error) = failed.take() {
            lock(&self.pool.failed).retain(|kept| !std::ptr::eq(&**kept, self));
            return Err(*error);
        }
        let writes = self.writes.load(Ordering::Acquire);
        sync(&*file)?;
        self.synced.fetch_max(writes, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
#[path = "pooled_tests.rs"]
mod tests;

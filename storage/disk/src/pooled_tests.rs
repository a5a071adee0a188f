//! Files that are closed and opened again behind their users.

use std::io::IoSlice;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::{Crash, DiskOp, Fault, FaultKind, HeldFd, RealDisk, SimDisk, SimDiskOptions};

fn pooled(limit: usize) -> (tempfile::TempDir, PooledDisk) {
    let dir = tempfile::tempdir().unwrap();
    (dir, PooledDisk::new(Arc::new(RealDisk::new()), limit))
}

fn open_now(disk: &PooledDisk) -> usize {
    let names = lock(&disk.pool.names);
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

fn simulated(limit: usize) -> (SimDisk, PooledDisk) {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk = PooledDisk::new(sim.mount(), limit);
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (sim, disk)
}

fn fault(sim: &SimDisk, kind: FaultKind, times: u64) {
    sim.plan(Fault { kind, path_contains: String::new(), skip: 0, times });
}

#[test]
fn what_is_not_synced_is_synced_before_it_is_closed() {
    let (sim, disk) = simulated(2);
    let files = files(&disk, Path::new("/d"), 8);
    disk.sync_dir(Path::new("/d")).unwrap();
    for file in &files {
        file.write_at(b"!", 2).unwrap();
    }
    for file in &files[6..] {
        file.sync_data().unwrap();
    }
    for _ in 0..2 {
        let _: Vec<_> = files[..2].iter().map(text).collect();
    }
    assert!(open_now(&disk) <= 3, "{} are open", open_now(&disk));
    sim.crash(Crash::PowerLoss);
    let after = sim.mount();
    for index in 2..8 {
        let kept = after.read(&Path::new("/d").join(format!("{index:02}")), 9).unwrap();
        assert_eq!(String::from_utf8(kept).unwrap(), format!("{index:02}!"));
    }
}

#[test]
fn the_owner_of_a_file_is_told_that_it_could_not_be_synced() {
    let (sim, disk) = simulated(1);
    let files = files(&disk, Path::new("/d"), 3);
    fault(&sim, FaultKind::SyncError, 1);
    files[0].write_at(b"!", 2).unwrap();
    // It is looked at, and then synced in vain; after that it is closed as any other.
    for _ in 0..3 {
        let _: Vec<_> = files[1..].iter().map(text).collect();
    }
    let told = files[0].sync_data().unwrap_err();
    assert_eq!((told.op(), told.path()), (DiskOp::Sync, files[0].path()));
    files[0].write_at(b"!", 2).unwrap();
    files[0].sync_data().unwrap();
    assert_eq!(text(&files[0]), "00!");
}

#[test]
fn who_opens_a_file_anew_is_told_what_its_last_owner_was_not() {
    for renamed in [false, true] {
        let (sim, disk) = simulated(1);
        let mut files = files(&disk, Path::new("/d"), 3);
        fault(&sim, FaultKind::SyncError, 1);
        files[0].write_at(b"!", 2).unwrap();
        for _ in 0..3 {
            let _: Vec<_> = files[1..].iter().map(text).collect();
        }
        drop(files.remove(0));
        let path = Path::new("/d").join(if renamed { "renamed" } else { "00" });
        if renamed {
            disk.rename(Path::new("/d/00"), &path).unwrap();
        }
        disk.keep(&path, Open::Read).unwrap().sync_data().unwrap();
        let again = disk.keep(&path, Open::ReadWrite).unwrap();
        assert_eq!(again.sync_data().unwrap_err().op(), DiskOp::Sync);
        again.sync_data().unwrap();
        assert!(lock(&disk.pool.failed).is_empty());
    }
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<PathBuf>>);

impl DiskWatch for Told {
    fn ended(&self) -> Option<String> {
        None
    }

    fn failed(&self, error: &DiskError) {
        panic!("{error}");
    }

    fn sync_failed(&self, error: &DiskError) {
        lock(&self.0).push(error.path().to_owned());
    }
}

/// Its owner may sync much later, and the process may have died by then.
#[test]
fn a_watch_is_told_of_a_failed_sync_before_the_files_owner_is() {
    let (sim, disk) = simulated(1);
    let told = ["/d", "/e"].map(|dir| {
        let told = Arc::new(Told::default());
        let watch: Arc<dyn DiskWatch> = told.clone();
        disk.watch_syncs(Path::new(dir), Arc::downgrade(&watch));
        told
    });
    let files = files(&disk, Path::new("/d"), 3);
    fault(&sim, FaultKind::SyncError, 1);
    files[0].write_at(b"!", 2).unwrap();
    for _ in 0..3 {
        let _: Vec<_> = files[1..].iter().map(text).collect();
    }
    assert_eq!(*lock(&told[0].0), [Path::new("/d/00")]);
    assert!(lock(&told[1].0).is_empty(), "its files are elsewhere");
    assert_eq!(files[0].sync_data().unwrap_err().op(), DiskOp::Sync);
}

#[test]
fn files_at_rest_give_way_where_descriptors_are_short() {
    let (sim, disk) = simulated(100);
    let files = files(&disk, Path::new("/d"), 40);
    assert_eq!(open_now(&disk), 40);
    fault(&sim, FaultKind::Shortage, 1);
    let more = disk.keep(Path::new("/d/more"), Open::CreateNew).unwrap();
    assert!(open_now(&disk) < 41, "{} are open", open_now(&disk));
    fault(&sim, FaultKind::Shortage, 1);
    let passing = disk.open(Path::new("/d/passing"), Open::Create).unwrap();
    passing.write_at(b"also", 0).unwrap();
    fault(&sim, FaultKind::Shortage, 2);
    let refused = disk.open(Path::new("/d/third"), Open::Create).unwrap_err();
    assert!(refused.is_shortage() && refused.may_pass() && !refused.is_full(), "{refused}");
    drop((more, passing));
    let read: Vec<_> = files.iter().map(text).collect();
    assert_eq!(read[39], "39");
}

#[test]
fn maps_go_with_the_files_they_are_of() {
    let (dir, disk) = pooled(2);
    drop(files(&disk, dir.path(), 6));
    let open = |index| disk.keep(&dir.path().join(format!("{index:02}")), Open::Read).unwrap();
    let readers: Vec<_> = (0..6).map(open).collect();
    let held = readers[0].map().unwrap();
    for _ in 0..2 {
        for (index, reader) in readers.iter().enumerate() {
            assert_eq!(reader.map().unwrap()[..], *format!("{index:02}").as_bytes());
        }
    }
    let mapped = |disk: &PooledDisk| {
        let names = lock(&disk.pool.names);
        names.values().filter_map(Weak::upgrade).filter(|k| read(&k.slot).map.is_some()).count()
    };
    assert!(mapped(&disk) <= 4, "{} are mapped", mapped(&disk));
    assert_eq!(&held[..], b"00", "one that is used stays");
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

/// Where somebody tells that he is there, and waits to be let on.
#[derive(Debug)]
struct Gate {
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Gate {
    /// And those who look.
    fn new() -> (Arc<Gate>, Receiver<()>, Sender<()>) {
        let ((begun, begins), (go_on, waits)) = (channel(), channel());
        (Arc::new(Gate { begun, go_on: Mutex::new(waits) }), begins, go_on)
    }

    fn pass(&self) {
        self.begun.send(()).unwrap();
        lock(&self.go_on).recv().unwrap();
    }
}

/// A disk that removes slowly, and is slow to sync, and to give its name to, what is called so.
#[derive(Debug)]
struct Slow {
    real: RealDisk,
    gate: Arc<Gate>,
}

impl Disk for Slow {
    fn remove_file(&self, path: &Path) -> Result<()> {
        self.gate.pass();
        self.real.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.gate.pass();
        self.real.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.real.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        let file = self.real.open(path, mode)?;
        Ok(match path.ends_with("slow") {
            true => Arc::new(SlowFile { file, gate: self.gate.clone() }),
            false => file,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if to.ends_with("slow") {
            self.gate.pass();
        }
        self.real.rename(from, to)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.real.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.real.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.real.sync_dir(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.real.space(path)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        self.real.lock(path)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.real.kernel(dir)
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for SlowFile {
    fn sync_data(&self) -> Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn sync_all(&self) -> Result<()> {
        self.gate.pass();
        self.file.sync_all()
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.file.read_at(buf, pos)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], pos: u64) -> Result<()> {
        self.file.write_vectored_at(slices, pos)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> Result<()> {
        self.file.set_modified_ms(modified_ms)
    }

    fn preallocate(&self, len: u64) -> Result<()> {
        self.file.preallocate(len)
    }

    fn map(&self) -> Result<Arc<Map>> {
        self.file.map()
    }

    fn is_resident(&self, pos: u64) -> bool {
        self.file.is_resident(pos)
    }

    fn held_fd(&self) -> Option<HeldFd> {
        self.file.held_fd()
    }
}

/// Else this test does not end.
#[test]
fn a_sync_before_a_file_is_closed_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, begins, go_on) = Gate::new();
    let disk = PooledDisk::with_thread(Arc::new(Slow { real: RealDisk::new(), gate }), 2);
    let slow = disk.keep(&dir.path().join("slow"), Open::CreateNew).unwrap();
    slow.write_at(b"slow", 0).unwrap();
    let files = files(&disk, dir.path(), 6);
    let read_all = || files.iter().map(text).collect::<Vec<_>>();
    while begins.try_recv().is_err() {
        read_all();
    }
    assert_eq!(read_all(), ["00", "01", "02", "03", "04", "05"]);
    go_on.send(()).unwrap();
    while open_now(&disk) > 3 {
        read_all();
    }
    assert_eq!(text(&slow), "slow");
}

/// Else this test does not end.
#[test]
fn what_takes_long_to_remove_holds_up_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, begins, go_on) = Gate::new();
    let disk = PooledDisk::new(Arc::new(Slow { real: RealDisk::new(), gate }), 1);
    let below = dir.path().join("gone");
    disk.create_dir_all(&below).unwrap();
    drop(files(&disk, &below, 2));
    let files = files(&disk, dir.path(), 6);
    std::thread::scope(|scope| {
        let removed = [
            scope.spawn(|| disk.remove_file(&dir.path().join("05"))),
            scope.spawn(|| disk.remove_dir_all(&below)),
        ];
        begins.iter().take(2).for_each(drop);
        let read: Vec<_> = files.iter().map(text).collect();
        assert_eq!(read, ["00", "01", "02", "03", "04", "05"]);
        disk.rename(&dir.path().join("01"), &dir.path().join("new")).unwrap();
        assert_eq!(text(&files[1]), "01");
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        removed.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
    assert_eq!(text(&files[5]), "05");
}

/// Else this test does not end.
#[test]
fn a_name_that_changes_slowly_holds_up_nothing_in_another_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, begins, go_on) = Gate::new();
    let disk = PooledDisk::new(Arc::new(Slow { real: RealDisk::new(), gate }), 1);
    let watch: Arc<dyn DiskWatch> = Arc::new(Told::default());
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for dir in [&one, &two] {
        disk.create_dir_all(dir).unwrap();
        disk.watch_syncs(dir, Arc::downgrade(&watch));
    }
    let (slow, files) = (files(&disk, &one, 1), files(&disk, &two, 3));
    std::thread::scope(|scope| {
        let renamed = scope.spawn(|| disk.rename(&one.join("00"), &one.join("slow")));
        begins.recv().unwrap();
        assert_eq!(files.iter().map(text).collect::<Vec<_>>(), ["00", "01", "02"]);
        disk.rename(&two.join("01"), &two.join("new")).unwrap();
        disk.keep(&two.join("another"), Open::CreateNew).unwrap();
        assert_eq!(files.iter().map(text).collect::<Vec<_>>(), ["00", "01", "02"]);
        go_on.send(()).unwrap();
        renamed.join().unwrap().unwrap();
    });
    assert_eq!(text(&slow[0]), "00");
}

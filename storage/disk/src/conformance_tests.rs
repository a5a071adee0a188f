//! The contract of [`Disk`](crate::Disk), run on every implementation.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::{
    DirEntry, Disk, DiskFile, DiskLock, DiskOp, FileKind, Metadata, Open, PooledDisk, RealDisk,
    Result, SimDisk, SimDiskOptions, Space,
};

fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn reads_what_was_written(disk: &dyn Disk, root: &Path) {
    let path = root.join("a");
    let file = disk.open(&path, Open::Create).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(b"hello", 0).unwrap();
    file.write_vectored_at(&[IoSlice::new(b" wo"), IoSlice::new(b""), IoSlice::new(b"rld")], 5)
        .unwrap();
    file.write_chain_at(&[Bytes::from_static(b"!"), Bytes::from_static(b"?")], 11).unwrap();
    assert_eq!(disk.read(&path, 100).unwrap(), b"hello world!?");

    let mut buf = [0; 5];
    assert_eq!(file.read_at(&mut buf, 6).unwrap(), 5);
    assert_eq!(&buf, b"world");
    assert_eq!(file.read_at(&mut buf, 11).unwrap(), 2);
    assert_eq!(file.read_at(&mut buf, 13).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1000).unwrap(), 0);
    assert!(file.read_exact_at(&mut buf, 10).unwrap_err().is_unexpected_end());
}

fn a_write_past_the_end_leaves_zeros(disk: &dyn Disk, root: &Path) {
    let path = root.join("hole");
    let file = disk.open(&path, Open::Create).unwrap();
    file.write_at(b"x", 3).unwrap();
    assert_eq!(disk.read(&path, 10).unwrap(), b"\0\0\0x");
    file.set_len(2).unwrap();
    file.set_len(5).unwrap();
    assert_eq!(disk.read(&path, 10).unwrap(), b"\0\0\0\0\0");
}

fn a_chain_longer_than_the_kernel_takes(disk: &dyn Disk, root: &Path) {
    let path = root.join("chain");
    let file = disk.open(&path, Open::Create).unwrap();
    let chain: Vec<Bytes> = (0..3000u32).map(|i| Bytes::from(i.to_be_bytes().to_vec())).collect();
    file.write_chain_at(&chain, 7).unwrap();
    let bytes = disk.read(&path, 1 << 20).unwrap();
    assert_eq!(bytes.len(), 7 + 4 * 3000);
    assert_eq!(bytes[7..], chain.concat());
}

fn open_modes(disk: &dyn Disk, root: &Path) {
    let path = root.join("f");
    assert!(disk.open(&path, Open::Read).unwrap_err().is_not_found());
    let missing = disk.open(&path, Open::ReadWrite).unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(missing.op(), DiskOp::Open);
    assert!(missing.to_string().contains(&format!("{path:?}")), "{missing}");

    disk.open(&path, Open::CreateNew).unwrap().write_at(b"abc", 0).unwrap();
    assert!(disk.open(&path, Open::CreateNew).unwrap_err().already_exists());
    assert_eq!(disk.open(&path, Open::Create).unwrap().len().unwrap(), 3);
    assert_eq!(disk.open(&path, Open::ReadWrite).unwrap().len().unwrap(), 3);
    let reader = disk.open(&path, Open::Read).unwrap();
    assert_eq!(reader.write_at(b"x", 0).unwrap_err().op(), DiskOp::Write);
    assert_eq!(reader.set_len(0).unwrap_err().op(), DiskOp::SetLen);
    assert_eq!(disk.open(&path, Open::Truncate).unwrap().len().unwrap(), 0);
    assert!(disk.open(root, Open::Read).is_err());
    assert!(disk.open(&path.join("below"), Open::Create).is_err());
    assert!(disk.open(&root.join("no/such"), Open::Create).unwrap_err().is_not_found());
}

fn read_is_bounded(disk: &dyn Disk, root: &Path) {
    let path = root.join("big");
    disk.open(&path, Open::Create).unwrap().set_len(1 << 40).unwrap();
    let refused = disk.read(&path, 1 << 20).unwrap_err();
    assert!(refused.is_too_large(), "{refused}");
}

fn directories(disk: &dyn Disk, root: &Path) {
    let deep = root.join("x/y/z");
    disk.create_dir_all(&deep).unwrap();
    disk.create_dir_all(&deep).unwrap();
    disk.open(&deep.join("f"), Open::Create).unwrap();
    disk.open(&root.join("x/b"), Open::Create).unwrap();
    disk.open(&root.join("x/a"), Open::Create).unwrap();
    let entry = |name: &str, kind| DirEntry { name: name.into(), kind };
    assert_eq!(
        disk.list(&root.join("x")).unwrap(),
        [entry("a", FileKind::File), entry("b", FileKind::File), entry("y", FileKind::Dir)]
    );
    assert!(disk.create_dir_all(&root.join("x/a/c")).is_err());
    assert_eq!(disk.metadata(&deep).unwrap().kind, FileKind::Dir);
    assert!(disk.list(&root.join("none")).unwrap_err().is_not_found());
    assert!(disk.remove_file(&root.join("x")).is_err());
    assert!(disk.list(&root.join("x/a")).is_err());
    disk.sync_dir(&root.join("x")).unwrap();
    disk.remove_dir_all(&root.join("x")).unwrap();
    assert!(!disk.exists(&root.join("x")).unwrap());
    assert!(disk.remove_dir_all(&root.join("x")).unwrap_err().is_not_found());
    assert!(disk.sync_dir(&root.join("x")).unwrap_err().is_not_found());
}

fn renames(disk: &dyn Disk, root: &Path) {
    disk.open(&root.join("a"), Open::Create).unwrap().write_at(b"a", 0).unwrap();
    let open = disk.open(&root.join("b"), Open::Create).unwrap();
    open.write_at(b"b", 0).unwrap();
    disk.rename(&root.join("a"), &root.join("b")).unwrap();
    assert_eq!(names(disk, root), ["b"]);
    assert_eq!(disk.read(&root.join("b"), 9).unwrap(), b"a");
    let mut buf = [0];
    open.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"b", "the replaced file lives on in its handle");
    assert!(disk.rename(&root.join("a"), &root.join("c")).unwrap_err().is_not_found());

    disk.create_dir_all(&root.join("d/e")).unwrap();
    disk.open(&root.join("d/e/f"), Open::Create).unwrap();
    disk.rename(&root.join("d"), &root.join("g")).unwrap();
    assert_eq!(names(disk, &root.join("g/e")), ["f"]);
    assert!(disk.rename(&root.join("g"), &root.join("g/e/h")).is_err(), "into itself");
    assert!(disk.rename(&root.join("b"), &root.join("g")).is_err(), "a file over a directory");
    disk.rename(&root.join("b"), &root.join("b")).unwrap();
    assert_eq!(names(disk, root), ["b", "g"]);
}

fn removed_files_live_on_in_their_handles(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("a"), Open::Create).unwrap();
    file.write_at(b"abc", 0).unwrap();
    disk.remove_file(&root.join("a")).unwrap();
    assert!(!disk.exists(&root.join("a")).unwrap());
    assert!(disk.remove_file(&root.join("a")).unwrap_err().is_not_found());
    let mut buf = [0; 3];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"abc");
}

fn replaces_whole_files(disk: &dyn Disk, root: &Path) {
    let path = root.join("checkpoint");
    disk.replace(&path, b"one two three").unwrap();
    disk.replace(&path, b"four").unwrap();
    assert_eq!(disk.read(&path, 100).unwrap(), b"four");
    assert_eq!(names(disk, root), ["checkpoint"]);
}

fn metadata_tells_length_and_kind(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("a"), Open::Create).unwrap();
    file.write_at(&[7; 10], 0).unwrap();
    let found = disk.metadata(&root.join("a")).unwrap();
    assert_eq!((found.kind, found.len), (FileKind::File, 10));
    assert!(disk.metadata(&root.join("b")).unwrap_err().is_not_found());
    file.preallocate(1 << 20).unwrap();
    file.preallocate(0).unwrap();
    assert_eq!(file.len().unwrap(), 10, "preallocating does not change the length");
    let space = disk.space(root).unwrap();
    assert!(space.usable_bytes > 0 && space.usable_bytes <= space.total_bytes);
}

fn maps_only_what_nobody_writes(disk: &dyn Disk, root: &Path) {
    let path = root.join("index");
    let writer = disk.open(&path, Open::Create).unwrap();
    writer.write_at(b"entries", 0).unwrap();
    assert!(writer.map().unwrap_err().is_busy());
    let reader = disk.open(&path, Open::Read).unwrap();
    // Where the writer was closed as it rested, it is the writer that cannot go on.
    let both = reader.map().and_then(|map| writer.write_at(b"ENTRIES", 0).map(|()| map));
    assert!(both.unwrap_err().is_busy(), "mapped and written");
    drop(writer);
    let map = reader.map().unwrap();
    let again = reader.map().unwrap();
    drop(reader);
    assert_eq!(&map[..], b"entries");
    assert!(disk.open(&path, Open::Truncate).unwrap_err().is_busy());

    disk.remove_file(&path).unwrap();
    disk.open(&path, Open::CreateNew).unwrap().write_at(b"new", 0).unwrap();
    assert_eq!(&map[..], b"entries", "a map keeps what it mapped");
    drop((map, again));
    disk.open(&path, Open::Truncate).unwrap();
    let empty = disk.open(&path, Open::Read).unwrap();
    assert_eq!(empty.map().unwrap().len(), 0);
}

fn locks_exclude(disk: &dyn Disk, root: &Path) {
    let path = root.join(".lock");
    let held = disk.lock(&path).unwrap();
    let refused = disk.lock(&path).unwrap_err();
    assert!(refused.is_locked(), "{refused}");
    disk.lock(&root.join("other")).unwrap();
    drop(held);
    disk.lock(&path).unwrap();
}

fn handles_are_shared_between_threads(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("a"), Open::Create).unwrap();
    std::thread::scope(|scope| {
        for i in 0..4u8 {
            let file = Arc::clone(&file);
            scope.spawn(move || file.write_at(&[i; 100], u64::from(i) * 100).unwrap());
        }
    });
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    let bytes = disk.read(&root.join("a"), 1000).unwrap();
    assert!(bytes.chunks(100).enumerate().all(|(i, chunk)| chunk == [i as u8; 100]));
}

fn pooled() -> PooledDisk {
    PooledDisk::new(Arc::new(RealDisk::new()), 1)
}

/// Keeps every file that is opened.
#[derive(Debug)]
struct Keeping(PooledDisk);

impl Disk for Keeping {
    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        self.0.keep(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.0.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.0.remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.0.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.0.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.0.sync_dir(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.0.space(path)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        self.0.lock(path)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.0.kernel(dir)
    }
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod real {
            $(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::RealDisk::new(), dir.path());
            })*
        }

        mod pooled {
            $(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::Keeping(super::pooled()), dir.path());
            })*
        }

        mod simulated {
            $(#[test]
            fn $case() {
                let disk = super::SimDisk::new(super::SimDiskOptions::default()).mount();
                let root = super::Path::new("/data");
                disk.create_dir_all(root).unwrap();
                super::$case(&*disk, root);
            })*
        }
    };
}

conformance!(
    reads_what_was_written,
    a_write_past_the_end_leaves_zeros,
    a_chain_longer_than_the_kernel_takes,
    open_modes,
    read_is_bounded,
    directories,
    renames,
    removed_files_live_on_in_their_handles,
    replaces_whole_files,
    metadata_tells_length_and_kind,
    maps_only_what_nobody_writes,
    locks_exclude,
    handles_are_shared_between_threads,
);

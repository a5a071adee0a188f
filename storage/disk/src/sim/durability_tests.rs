//! What a loss of power leaves: all that was synced, and of the rest anything a real disk could leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Crash, SimDisk, SimDiskOptions};
use crate::{Disk, FileKind, Open};

fn sim(seed: u64) -> SimDisk {
    SimDisk::new(SimDiskOptions { seed, ..Default::default() })
}

/// What each of 300 seeds leaves of the same steps.
fn outcomes<T: Ord>(steps: impl Fn(&dyn Disk), look: impl Fn(&dyn Disk) -> T) -> BTreeSet<T> {
    (0..300)
        .map(|seed| {
            let sim = sim(seed);
            steps(&*sim.mount());
            sim.crash(Crash::PowerLoss);
            look(&*sim.mount())
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new("/")
}

#[test]
fn unsynced_writes_are_lost_torn_or_reordered() {
    let path = Path::new("/log");
    let left = outcomes(
        |disk| {
            let log = disk.open(path, Open::Create).unwrap();
            disk.sync_dir(root()).unwrap();
            log.write_at(b"0000", 0).unwrap();
            log.sync_data().unwrap();
            log.write_at(b"1111", 4).unwrap();
            log.write_at(b"2222", 8).unwrap();
        },
        |disk| disk.read(path, 100).unwrap(),
    );
    assert!(left.iter().all(|bytes| bytes.starts_with(b"0000")));
    for seen in [&b"0000"[..], b"00001111", b"000011112222", b"000011", b"0000\0\0\0\x002222"] {
        assert!(left.contains(seen), "never {:?} of {left:?}", String::from_utf8_lossy(seen));
    }
}

/// Of one write, and of two to the same blocks: any of the blocks, each as it was then, later, or never.
#[test]
fn unsynced_blocks_survive_each_for_itself() {
    let path = Path::new("/log");
    for unit in [512, 4096] {
        let left = outcomes(
            |disk| {
                let log = disk.open(path, Open::Create).unwrap();
                disk.sync_dir(root()).unwrap();
                log.write_at(&vec![b'0'; 3 * unit], 0).unwrap();
                log.sync_data().unwrap();
                log.write_at(&vec![b'1'; 3 * unit], 0).unwrap();
                log.write_at(&vec![b'2'; 3 * unit], 0).unwrap();
            },
            |disk| {
                let bytes = disk.read(path, 1 << 20).unwrap();
                let blocks = bytes.chunks(unit).filter(|b| b.iter().all(|byte| *byte == b[0]));
                String::from_utf8(blocks.map(|block| block[0]).collect()).unwrap()
            },
        );
        for seen in ["000", "222", "101", "202", "012"] {
            assert!(left.contains(seen), "never {seen} of {left:?}");
        }
    }
}

/// Where the file's length is kept apart from its blocks.
#[test]
fn a_file_may_end_in_zeros_that_nobody_wrote() {
    let path = Path::new("/log");
    let left = outcomes(
        |disk| {
            let log = disk.open(path, Open::Create).unwrap();
            disk.sync_dir(root()).unwrap();
            log.write_at(b"1111", 0).unwrap();
        },
        |disk| disk.read(path, 100).unwrap(),
    );
    assert!(left.contains(&b"\0\0\0\0"[..]), "{left:?}");
}

#[test]
fn names_need_their_directory_synced() {
    let left = outcomes(
        |disk| {
            disk.create_dir_all(Path::new("/dir")).unwrap();
            disk.sync_dir(root()).unwrap();
            for name in ["a", "b"] {
                let file = disk.open(&Path::new("/dir").join(name), Open::Create).unwrap();
                file.sync_all().unwrap();
            }
        },
        |disk| disk.list(Path::new("/dir")).unwrap().len(),
    );
    assert_eq!(left, BTreeSet::from([0, 1, 2]));
}

#[test]
fn a_directory_without_its_own_name_synced_takes_its_files_along() {
    let left = outcomes(
        |disk| {
            disk.create_dir_all(Path::new("/dir")).unwrap();
            disk.open(Path::new("/dir/a"), Open::Create).unwrap().sync_all().unwrap();
            disk.sync_dir(Path::new("/dir")).unwrap();
        },
        |disk| disk.exists(Path::new("/dir/a")).unwrap(),
    );
    assert_eq!(left, BTreeSet::from([false, true]));
}

#[test]
fn replace_leaves_the_old_or_the_new_at_every_operation() {
    let path = Path::new("/checkpoint");
    let mut left = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        let disk = sim.mount();
        disk.replace(path, b"old").unwrap();
        sim.set_budget(Some(seed % 8));
        let done = disk.replace(path, b"new!").is_ok();
        sim.crash(Crash::PowerLoss);
        let found = sim.mount().read(path, 100).unwrap();
        assert!(found == b"new!" || (!done && found == b"old"), "{done} {found:?}");
        left.insert((done, found));
    }
    assert_eq!(left.len(), 3, "the old, the new before the end, the new after it");
}

#[test]
fn removal_is_durable_after_sync_dir_only() {
    let path = Path::new("/a");
    let steps = |disk: &dyn Disk| {
        disk.open(path, Open::Create).unwrap().write_at(b"x", 0).unwrap();
        disk.open(path, Open::ReadWrite).unwrap().sync_all().unwrap();
        disk.sync_dir(root()).unwrap();
        disk.remove_file(path).unwrap();
    };
    let left = outcomes(steps, |disk| disk.read(path, 9).ok());
    assert_eq!(left, BTreeSet::from([None, Some(b"x".to_vec())]));
    let synced = |disk: &dyn Disk| {
        steps(disk);
        disk.sync_dir(root()).unwrap();
    };
    assert_eq!(outcomes(synced, |disk| disk.exists(path).unwrap()), BTreeSet::from([false]));
}

#[derive(Debug, Clone)]
enum Step {
    Write { file: u8, pos: u16, len: u8 },
    SetLen { file: u8, len: u16 },
    Sync { file: u8 },
    Rename { from: u8, to: u8 },
    Remove { file: u8 },
    SyncDir { dir: u8 },
    Kill,
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0..6u8;
    prop_oneof![
        6 => (file.clone(), 0..9000u16, 1..200u8)
            .prop_map(|(file, pos, len)| Step::Write { file, pos, len }),
        1 => (file.clone(), 0..9000u16).prop_map(|(file, len)| Step::SetLen { file, len }),
        3 => file.clone().prop_map(|file| Step::Sync { file }),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => file.prop_map(|file| Step::Remove { file }),
        3 => (0..2u8).prop_map(|dir| Step::SyncDir { dir }),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerLoss),
    ]
}

fn dir(dir: u8) -> PathBuf {
    PathBuf::from(format!("/d{dir}"))
}

fn path(file: u8) -> PathBuf {
    dir(file % 2).join(format!("f{file}"))
}

/// Contents of every file there is.
fn snapshot(disk: &dyn Disk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for dir in [dir(0), dir(1)] {
        for entry in disk.list(&dir).unwrap() {
            assert_eq!(entry.kind, FileKind::File);
            let path = dir.join(entry.name);
            all.insert(path.clone(), disk.read(&path, 1 << 20).unwrap());
        }
    }
    all
}

/// A disk, and what must be on it whatever happens.
struct Model {
    sim: SimDisk,
    disk: Arc<dyn Disk>,
    /// Files whose name and bytes are as they were when both were last synced.
    safe: BTreeMap<PathBuf, Vec<u8>>,
    synced_bytes: BTreeSet<PathBuf>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let sim = sim(seed);
        let disk = sim.mount();
        for dir in [dir(0), dir(1)] {
            disk.create_dir_all(&dir).unwrap();
        }
        disk.sync_dir(root()).unwrap();
        Model { sim, disk, safe: BTreeMap::new(), synced_bytes: BTreeSet::new() }
    }

    fn touched(&mut self, file: u8) {
        self.safe.remove(&path(file));
        self.synced_bytes.remove(&path(file));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { file, pos, len } => {
                let opened = self.disk.open(&path(file), Open::Create).unwrap();
                opened.write_at(&vec![len; len.into()], pos.into()).unwrap();
                self.touched(file);
            }
            Step::SetLen { file, len } => {
                self.disk.open(&path(file), Open::Create).unwrap().set_len(len.into()).unwrap();
                self.touched(file);
            }
            Step::Sync { file } => {
                if let Ok(opened) = self.disk.open(&path(file), Open::ReadWrite) {
                    opened.sync_data().unwrap();
                    self.synced_bytes.insert(path(file));
                }
            }
            Step::Rename { from, to } => {
                let renamed = self.disk.rename(&path(from), &path(to)).is_ok();
                if renamed && from != to {
                    self.touched(from);
                    self.touched(to);
                }
            }
            Step::Remove { file } => {
                self.disk.remove_file(&path(file)).ok();
                self.touched(file);
            }
            Step::SyncDir { dir: which } => self.sync_dir(&dir(which)),
            Step::Kill => {
                let before = snapshot(&*self.disk);
                self.sim.crash(Crash::Kill);
                self.disk = self.sim.mount();
                assert_eq!(snapshot(&*self.disk), before);
            }
            Step::PowerLoss => self.lose_power(),
        }
    }

    fn sync_dir(&mut self, dir: &Path) {
        self.disk.sync_dir(dir).unwrap();
        for path in self.synced_bytes.iter().filter(|path| path.starts_with(dir)) {
            self.safe.insert(path.clone(), self.disk.read(path, 1 << 20).unwrap());
        }
    }

    fn lose_power(&mut self) {
        self.sim.crash(Crash::PowerLoss);
        self.disk = self.sim.mount();
        let left = snapshot(&*self.disk);
        for (path, bytes) in &self.safe {
            assert_eq!(left.get(path), Some(bytes), "{path:?}");
        }
        self.synced_bytes = self.safe.keys().cloned().collect();
    }
}

/// What there was to read after each step.
fn run(seed: u64, steps: &[Step]) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    let mut model = Model::new(seed);
    let mut trace = Vec::new();
    for step in steps {
        model.step(step);
        trace.push(snapshot(&*model.disk));
    }
    let blocks = |bytes: &Vec<u8>| bytes.len() as u64 + 8192;
    let most: u64 = snapshot(&*model.disk).values().map(blocks).sum();
    assert!(model.sim.used_bytes() <= most, "blocks leak");
    trace
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_synced_survives(seed: u64, steps in vec(step(), 1..60)) {
        run(seed, &steps);
    }

    #[test]
    fn the_same_seed_gives_the_same_disk(seed: u64, steps in vec(step(), 1..60)) {
        prop_assert_eq!(run(seed, &steps), run(seed, &steps));
    }
}

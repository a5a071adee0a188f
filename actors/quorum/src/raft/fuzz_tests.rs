//! The metadata log's files, of any bytes: they are read or refused, without a panic and without memory for what they promise.

#[path = "../../../../storage/log/tests/fuzz/changes.rs"]
mod changes;
#[path = "../../../../storage/log/tests/fuzz/crcs.rs"]
mod crcs;
#[path = "../../../../storage/log/tests/fuzz/memory.rs"]
mod memory;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use disk::{Disk, SimDisk, SimDiskOptions};
use machines::consensus::{OffsetAndEpoch, QuorumState, ReplicaKey, VoterSet};
use model::Uuid;

use super::clean_tests::{DIR, build, open};
use crate::files::{read_quorum_state, write_quorum_state};
use crate::snapshot;
use changes::fuzz;
use crcs::mend_crcs;
use memory::Fuzzed;

const QUORUM_STATE: &str = "quorum-state";
const SNAPSHOT: OffsetAndEpoch = OffsetAndEpoch { epoch: 3, offset: 52 };

fn disk() -> Arc<dyn Disk> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

/// The files of a metadata log that was closed, by their names.
fn files() -> &'static Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let (disk, dir) = (disk(), Path::new(DIR));
        build(&disk).close().unwrap();
        let voted = ReplicaKey { id: 2, directory_id: Uuid::from_u128(77) };
        let state = QuorumState { epoch: 9, leader_id: None, voted: Some(voted) };
        write_quorum_state(&*disk, dir, state, 1, &VoterSet::default()).unwrap();
        let names = disk.list(dir).unwrap().into_iter().map(|entry| entry.name);
        names.map(|name| (name.clone(), disk.read(&dir.join(&name), 1 << 16).unwrap())).collect()
    })
}

fn quorum_state(data: &[u8]) {
    let (disk, dir) = (disk(), Path::new(DIR));
    disk.replace(&dir.join(QUORUM_STATE), data).unwrap();
    if let Ok(Some(state)) = read_quorum_state(&*disk, dir) {
        write_quorum_state(&*disk, dir, state, 1, &VoterSet::default()).unwrap();
        assert_eq!(read_quorum_state(&*disk, dir).unwrap(), Some(state));
    }
}

/// With the CRCs that they have, and with the right ones.
fn snapshots(data: &[u8]) {
    let (disk, dir) = (disk(), Path::new(DIR));
    let mut content = data.to_vec();
    for _ in 0..2 {
        disk.replace(&snapshot::path(dir, SNAPSHOT), &content).unwrap();
        let _ = snapshot::read(&*disk, dir, SNAPSHOT);
        let _ = snapshot::newest_record_ms(&*disk, dir, SNAPSHOT);
        mend_crcs(&mut content);
    }
}

/// Which file of a directory, whole otherwise, is these bytes.
fn metadata_log(data: &[u8]) {
    let Some((which, content)) = data.split_first() else { return };
    let (disk, dir) = (disk(), Path::new(DIR));
    let which = usize::from(*which);
    for (at, (name, whole)) in files().iter().enumerate() {
        let mut content =
            if at == which % files().len() { content.to_vec() } else { whole.clone() };
        if which >= files().len() {
            mend_crcs(&mut content);
        }
        disk.replace(&dir.join(name), &content).unwrap();
    }
    let _ = open(&disk);
}

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let named = |end: &str| {
        let found = files().iter().filter(|(name, _)| name.ends_with(end));
        found.map(|(_, content)| content.clone()).collect()
    };
    match of {
        "quorum_state" => named(QUORUM_STATE),
        "snapshots" => named(".checkpoint"),
        _ => {
            let each = (0..2 * files().len()).map(|at| (at as u8, &files()[at % files().len()].1));
            each.map(|(at, content)| [&[at][..], content].concat()).collect()
        }
    }
}

#[test]
fn any_bytes_are_read_or_refused_in_the_memory_they_may_take() {
    for fuzzed in [
        Fuzzed { name: "quorum_state", body: quorum_state, base: 50 << 10, per_byte: 50 },
        Fuzzed { name: "snapshots", body: snapshots, base: 50 << 10, per_byte: 50 },
        Fuzzed { name: "metadata_log", body: metadata_log, base: 1 << 20, per_byte: 50 },
    ] {
        fuzz(&fuzzed, &seeds(fuzzed.name));
    }
}

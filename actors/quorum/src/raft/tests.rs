//! What those who follow the log are told, and what a controller may append.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{SimDisk, SimDiskOptions};
use machines::consensus::{ReplicaKey, Voter, VoterSet};
use machines::metadata::{LevelRange, MetadataVersion};
use model::Uuid;
use runtime::{Handles, Reply, Root, World, spawn_root, watch};
use wire::{MetadataRecord, NoOpRecord};

use super::*;

const DIR: &str = "/data";
const LIMIT: Duration = Duration::from_secs(60);

/// One line for each event.
#[derive(Clone, Default)]
struct Told {
    lines: Arc<Mutex<Vec<String>>>,
    pulse: runtime::Pulse,
}

impl Told {
    fn sink(&self) -> Sink {
        let told = self.clone();
        Arc::new(move |event| {
            let line = match event {
                RaftEvent::Batch { base_offset, next_offset, records, .. } => {
                    format!("{} records from {base_offset} to {next_offset}", records.len())
                }
                RaftEvent::Leading { epoch } => format!("leads {epoch}"),
                RaftEvent::NotLeading { epoch } => format!("does not lead {epoch}"),
                RaftEvent::Snapshot { .. } | RaftEvent::Bootstrap { .. } => "snapshot".to_owned(),
            };
            told.lines.lock().unwrap().push(line);
            told.pulse.publish();
        })
    }

    /// All it was told until it leads.
    async fn until_leading(&self) -> Vec<String> {
        loop {
            let mut waiter = runtime::Waiter::new();
            waiter.on(&self.pulse);
            let lines = self.lines.lock().unwrap().clone();
            if lines.iter().any(|line| line.starts_with("leads")) {
                return lines;
            }
            waiter.wait().await;
        }
    }
}

async fn alone() -> Root<Raft> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(&Path::new(DIR).join(METADATA_DIR)).unwrap();
    let (log_dir, _) = partitions::read_log_dir(&disk, Path::new(DIR), Uuid([1; 16]), 1).unwrap();
    let local = Voter {
        key: ReplicaKey { id: 1, directory_id: Uuid::ZERO },
        endpoints: Vec::new(),
        kraft_versions: LevelRange { min: 0, max: 0 },
    };
    let args = RaftArgs {
        log_dir: Arc::new(log_dir),
        fixed_voters: VoterSet::new([local.clone()]),
        local,
        election_timeout: Duration::from_secs(1),
        election_backoff: Duration::from_secs(1),
        fetch_timeout: Duration::from_secs(1),
        segment_bytes: 1 << 20,
        segment_ms: i64::MAX,
        retention: MetadataRetention { bytes: -1, ms: -1, delete_delay: LIMIT },
        status: Arc::new(watch(RaftStatus::default()).0),
    };
    let root = spawn_root::<Raft>(&World::real(Handles::current(), disk), "raft", args).unwrap();
    root.started().await.unwrap();
    root
}

fn append(base_offset: i64, reply: Reply<Result<i64, RaftError>>) -> RaftMsg {
    let records = vec![MetadataRecord::NoOp(NoOpRecord::default())];
    RaftMsg::Append { epoch: 1, base_offset, records, version: MetadataVersion::LATEST, reply }
}

/// Another controller of the epoch, as after a panic of the first, must know what the first one left in flight.
#[tokio::test]
async fn nobody_leads_before_it_was_told_all_that_is_in_the_log() {
    let raft = alone().await;
    let (first, second) = (Told::default(), Told::default());
    raft.me().send_now(RaftMsg::Subscribe { sink: first.sink() }).unwrap();
    let begun = first.until_leading().await;
    assert_eq!(begun.last().unwrap(), "leads 1");
    // Both are handled before the sync of the record can be told.
    let (reply, appended) = Reply::new();
    raft.me().send_now(append(1, reply)).unwrap();
    raft.me().send_now(RaftMsg::Subscribe { sink: second.sink() }).unwrap();
    assert_eq!(appended.get().await.unwrap().unwrap(), 2);
    let told = second.until_leading().await;
    let expected = ["0 records from 0 to 1", "does not lead 1", "1 records from 1 to 2", "leads 1"];
    assert_eq!(told, expected);
    raft.stop().await;
}

#[tokio::test]
async fn records_decided_for_another_end_of_the_log_are_refused() {
    let raft = alone().await;
    let told = Told::default();
    raft.me().send_now(RaftMsg::Subscribe { sink: told.sink() }).unwrap();
    told.until_leading().await;
    for (base, end) in [(0, 1), (2, 1)] {
        let refused = raft.me().ask(LIMIT, |reply| append(base, reply)).await.unwrap();
        let error = refused.unwrap_err();
        assert!(
            matches!(error, RaftError::UnexpectedOffset { base: b, end: e } if (b, e) == (base, end)),
            "{error}"
        );
    }
    assert_eq!(raft.me().ask(LIMIT, |reply| append(1, reply)).await.unwrap().unwrap(), 2);
    raft.stop().await;
}

//! What those who follow the log are told, and what a controller may append.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{Disk, SimDisk, SimDiskOptions};
use machines::consensus::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use machines::metadata::{LevelRange, MetadataVersion};
use model::Uuid;
use runtime::{Handles, Reply, Root, World, spawn_root, watch};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::{MetadataRecord, NoOpRecord};

use super::*;
use crate::rpc::QuorumResponse;

pub(super) const DIR: &str = "/data";
pub(super) const LIMIT: Duration = Duration::from_secs(60);

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
                RaftEvent::Snapshot { offset, .. } => format!("snapshot up to {offset}"),
                RaftEvent::Bootstrap { .. } => "bootstrap".to_owned(),
            };
            told.lines.lock().unwrap().push(line);
            told.pulse.publish();
            true
        })
    }

    /// All it was told until it leads.
    async fn until_leading(&self) -> Vec<String> {
        self.until(|line| line.starts_with("leads")).await
    }

    async fn until(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        loop {
            let mut waiter = runtime::Waiter::new();
            waiter.on(&self.pulse);
            let lines = self.lines.lock().unwrap().clone();
            if lines.iter().any(|line| wanted(line)) {
                return lines;
            }
            waiter.wait().await;
        }
    }
}

async fn alone() -> Root<Raft> {
    let raft = on(&SimDisk::new(SimDiskOptions::default()).mount());
    raft.started().await.unwrap();
    raft
}

/// In segments of one record or two; old ones go as soon as a snapshot is written.
fn on(disk: &Arc<dyn Disk>) -> Root<Raft> {
    start(disk, args(disk, VoterSet::new([voter(1, Vec::new())])))
}

pub(super) fn voter(id: i32, endpoints: Vec<VoterEndpoint>) -> Voter {
    let key = ReplicaKey { id, directory_id: Uuid::ZERO };
    Voter { key, endpoints, kraft_versions: LevelRange { min: 0, max: 0 } }
}

/// Of node 1.
pub(super) fn args(disk: &Arc<dyn Disk>, fixed_voters: VoterSet) -> RaftArgs {
    disk.create_dir_all(&Path::new(DIR).join(METADATA_DIR)).unwrap();
    let (log_dir, _) =
        partitions::read_log_dir(disk, Path::new(DIR), Uuid([1; 16]), 1, true).unwrap();
    RaftArgs {
        log_dir: Arc::new(log_dir),
        fixed_voters,
        local: voter(1, Vec::new()),
        may_vote: true,
        auto_join: false,
        cluster_id: "cluster".to_owned(),
        derived_id: true,
        listener: "CONTROLLER".to_owned(),
        bootstrap: Vec::new(),
        peer: runtime::ChildSpec::permanent(),
        request_timeout: Duration::from_secs(1),
        retry_backoff: Duration::from_millis(20),
        append_linger: Duration::ZERO,
        fetch_max_bytes: 1 << 20,
        fetch_snapshot_max_bytes: 1 << 20,
        election_timeout: Duration::from_secs(1),
        election_backoff: Duration::from_secs(1),
        fetch_timeout: Duration::from_secs(1),
        fast_failover: true,
        segment_bytes: 150,
        segment_ms: i64::MAX,
        retention: MetadataRetention { bytes: 1, ms: -1, delete_delay: Duration::ZERO },
        status: Arc::new(watch(RaftStatus::default()).0),
    }
}

pub(super) fn start(disk: &Arc<dyn Disk>, args: RaftArgs) -> Root<Raft> {
    spawn_root::<Raft>(&World::real(Handles::current(), disk.clone()), "raft", args).unwrap()
}

fn snapshot(offset: i64) -> RaftMsg {
    let (id, records) = (OffsetAndEpoch { epoch: 1, offset }, Vec::new());
    RaftMsg::WriteSnapshot { id, records, version: MetadataVersion::LATEST, timestamp_ms: 0 }
}

/// The offsets of the snapshots on the disk.
pub(super) fn snapshots(disk: &Arc<dyn Disk>) -> Vec<i64> {
    let dir = Path::new(DIR).join(METADATA_DIR);
    crate::snapshot::list(&**disk, &dir).unwrap().iter().map(|id| id.offset).collect()
}

fn append(base_offset: i64, reply: Reply<Result<i64, RaftError>>) -> RaftMsg {
    let values = vec![MetadataRecord::NoOp(NoOpRecord::default()).encode(0).unwrap()];
    RaftMsg::Append { epoch: 1, base_offset, values, reply }
}

/// Of the leader of the first epoch, where its log ends: it may wait for as long as a request can say.
fn fetch(offset: i64, reply: Reply<QuorumResponse>) -> RaftMsg {
    let partition = wire::fetch_request::FetchPartition {
        current_leader_epoch: 1,
        fetch_offset: offset,
        last_fetched_epoch: 1,
        high_watermark: offset,
        ..Default::default()
    };
    let topic = wire::fetch_request::FetchTopic {
        topic: serve::TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = wire::FetchRequest {
        replica_id: 2,
        max_wait_ms: i32::MAX,
        max_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    };
    let listener = "CONTROLLER".to_owned();
    let request = request.into();
    RaftMsg::Serve { asked: Box::new(Asked { request, version: 12, listener, reply, held: None }) }
}

#[tokio::test]
async fn a_fetch_that_was_answered_leaves_no_timer_behind() {
    let raft = alone().await;
    let told = Told::default();
    raft.me().send_now(RaftMsg::Subscribe { sink: told.sink() }).unwrap();
    told.until_leading().await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for offset in 1..100 {
        let ((waiting, fetched), (reply, appended)) = (Reply::new(), Reply::new());
        raft.me().send_now(fetch(offset, waiting)).unwrap();
        raft.me().send_now(append(offset, reply)).unwrap();
        assert_eq!(appended.get().await.unwrap().unwrap(), offset + 1);
        fetched.get().await.unwrap();
    }
    while alive() > before + 10 {
        tokio::task::yield_now().await;
    }
    raft.stop().await;
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

/// The log begins where the newest snapshot ends: who comes late is told that first, then what follows it.
#[tokio::test]
async fn who_comes_late_begins_with_the_newest_snapshot() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let raft = on(&disk);
    let early = Told::default();
    raft.me().send_now(RaftMsg::Subscribe { sink: early.sink() }).unwrap();
    early.until_leading().await;
    for base in 1..=8 {
        assert_eq!(raft.me().ask(LIMIT, |r| append(base, r)).await.unwrap().unwrap(), base + 1);
    }
    // While one is written, of the others only the newest waits.
    for offset in [3, 4, 5, 7] {
        raft.me().send_now(snapshot(offset)).unwrap();
    }
    let mut end = 9;
    while snapshots(&disk) != [7] {
        raft.me().send_now(RaftMsg::Clean).unwrap();
        end = raft.me().ask(LIMIT, |reply| append(end, reply)).await.unwrap().unwrap();
        assert!(!snapshots(&disk).iter().any(|offset| [4, 5].contains(offset)));
    }
    // Its name is there before the actor hears that it is written.
    let mut tries = 0..100_000;
    let told = loop {
        tries.next().expect("it hears of it");
        let late = Told::default();
        raft.me().send_now(RaftMsg::Subscribe { sink: late.sink() }).unwrap();
        let told = late.until_leading().await;
        if told[0] == "snapshot up to 7" {
            break told;
        }
        assert_eq!(told[0], "0 records from 0 to 1", "{told:?}");
    };
    let next = told.iter().find(|line| line.contains("records")).unwrap();
    assert_eq!(next, "1 records from 7 to 8", "{told:?}");
    raft.stop().await;
}

/// After a power loss the log must not end before the snapshot does.
#[tokio::test]
async fn a_snapshot_waits_until_the_log_is_on_disk_as_far() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let raft = on(&disk);
    let told = Told::default();
    raft.me().send_now(RaftMsg::Subscribe { sink: told.sink() }).unwrap();
    told.until_leading().await;
    raft.me().send_now(snapshot(4)).unwrap();
    for base in 1..=2 {
        assert_eq!(raft.me().ask(LIMIT, |r| append(base, r)).await.unwrap().unwrap(), base + 1);
        told.until(|line| *line == format!("1 records from {base} to {}", base + 1)).await;
        assert_eq!(snapshots(&disk), [] as [i64; 0]);
    }
    let mut end = 3;
    while snapshots(&disk) != [4] {
        end = raft.me().ask(LIMIT, |reply| append(end, reply)).await.unwrap().unwrap();
    }
    raft.stop().await;
}

#[tokio::test]
async fn who_has_gone_is_told_nothing_more() {
    let raft = alone().await;
    let (told, gone) = (Told::default(), Told::default());
    let sink = gone.sink();
    let sink: Sink = Arc::new(move |event| !sink(event));
    raft.me().send_now(RaftMsg::Subscribe { sink }).unwrap();
    raft.me().send_now(RaftMsg::Subscribe { sink: told.sink() }).unwrap();
    told.until_leading().await;
    assert_eq!(raft.me().ask(LIMIT, |reply| append(1, reply)).await.unwrap().unwrap(), 2);
    told.until(|line| line == "1 records from 1 to 2").await;
    assert_eq!(gone.lines.lock().unwrap().len(), 1);
    raft.stop().await;
}

/// It cannot be passed over; whoever has to do something about it is told where it is.
#[tokio::test]
async fn a_record_that_makes_no_sense_is_named() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(&Path::new(DIR).join(METADATA_DIR)).unwrap();
    let dir = Path::new(DIR).join(METADATA_DIR);
    let options = log::OpenOptions::default();
    let (mut log, _) = Log::open(disk.clone(), dir, LogConfig::default(), options).unwrap();
    let mut batch = BatchBuilder::new(Compression::NONE).leader_epoch(1);
    let sound = MetadataRecord::NoOp(NoOpRecord::default()).encode(0).unwrap();
    batch.append(0, None, Some(&sound), &[]);
    // A TopicRecord whose name is longer than what is left.
    batch.append(0, None, Some(&[1, 2, 0, 200]), &[]);
    log.append(&[batch.build().unwrap()], 0).unwrap();
    log.close().unwrap();
    let raft = on(&disk);
    let _ = raft.me().send_now(RaftMsg::Subscribe { sink: Told::default().sink() });
    let exit = raft.ended().await;
    let failure = exit.failure().expect("it cannot go on").to_string();
    for named in ["metadata log", "offset 1", "type 2", "version 0", "more bytes expected"] {
        assert!(failure.contains(named), "{failure}");
    }
}

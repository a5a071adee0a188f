//! Following: what a node takes from the leader, the other of two voters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::{Disk, SimDisk, SimDiskOptions};
use log::{Log, LogConfig, OpenOptions};
use machines::consensus::{ControlRecord, OffsetAndEpoch, VoterEndpoint, VoterSet};
use machines::metadata::MetadataVersion;
use model::ErrorCode;
use runtime::{Handles, Reply, Root, Watch, World, watch};
use wire::fetch_response::PartitionData;
use wire::fetch_snapshot_response::PartitionSnapshot;
use wire::{MetadataRecord, NoOpRecord, Records};

use super::other_node::{Line, OTHER, OtherNode};
use super::serve::TOPIC;
use super::tests::{DIR, LIMIT, args, snapshots, start, voter};
use super::*;
use crate::rpc::{QuorumRequest, QuorumResponse};
use crate::snapshot;

const NEVER: Duration = Duration::from_secs(3600);

fn dir() -> PathBuf {
    Path::new(DIR).join(METADATA_DIR)
}

fn id(epoch: i32, offset: i64) -> OffsetAndEpoch {
    OffsetAndEpoch { epoch, offset }
}

fn records(count: i64) -> Vec<MetadataRecord> {
    (0..count).map(|_| MetadataRecord::NoOp(NoOpRecord::default())).collect()
}

fn write_snapshot(disk: &dyn Disk, id: OffsetAndEpoch) {
    let head = ControlRecord::snapshot_head(0, 0, None);
    let version = MetadataVersion::LATEST;
    snapshot::write(disk, &dir(), id, &head, &records(id.offset), version, 0).unwrap();
}

/// A log of the first epoch that ends at 60, and a snapshot of what came before 50.
fn log_of_the_first_epoch() -> Arc<dyn Disk> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(&dir()).unwrap();
    let options = OpenOptions::default();
    let (mut log, _) = Log::open(disk.clone(), dir(), LogConfig::default(), options).unwrap();
    let batches = snapshot::data_batches(&records(60), MetadataVersion::LATEST, 0, 1, 0).unwrap();
    log.append(&batches, 0).unwrap();
    log.close().unwrap();
    write_snapshot(&*disk, id(1, 50));
    disk
}

/// The bytes of a snapshot that the leader has.
fn snapshot_of_the_leader(id: OffsetAndEpoch) -> Vec<u8> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(&dir()).unwrap();
    write_snapshot(&*disk, id);
    disk.read(&snapshot::path(&dir(), id), 1 << 20).unwrap()
}

struct Following {
    raft: Root<Raft>,
    other: OtherNode,
    fetches: Line,
    status: Watch<RaftStatus>,
}

impl Following {
    /// Node 1, whose only timers are of the test's making, and which has just heard who leads.
    async fn in_epoch(disk: &Arc<dyn Disk>, epoch: i32) -> Following {
        let other = OtherNode::new(&World::real(Handles::current(), disk.clone())).await;
        let (listener, host) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned());
        let endpoint = VoterEndpoint { listener, host, port: other.port() };
        let voters = VoterSet::new([voter(1, Vec::new()), voter(OTHER, vec![endpoint])]);
        let (status, shown) = watch(RaftStatus::default());
        let args = RaftArgs {
            status: Arc::new(status),
            request_timeout: NEVER,
            election_timeout: NEVER,
            fetch_timeout: NEVER,
            fast_failover: false,
            retry_backoff: Duration::from_millis(1),
            ..args(disk, voters)
        };
        let raft = start(disk, args);
        raft.started().await.unwrap();
        let mut fetches = other.line().await;
        fetches.fetch().await;
        let error_code = ErrorCode::UnknownLeaderEpoch.code();
        let unknown = PartitionData { error_code, ..Default::default() };
        fetches.answer_fetch(epoch, unknown).await;
        Following { raft, other, fetches, status: shown }
    }

    /// Answers the fetch under way: a snapshot is to be fetched; and gives it.
    async fn give_snapshot(&mut self, epoch: i32, id: OffsetAndEpoch, bytes: &[u8]) {
        self.fetches.answer_fetch(epoch, snapshot_at(id)).await;
        let asked = self.fetches.asked().await;
        assert!(matches!(asked, QuorumRequest::FetchSnapshot(_)), "{asked:?}");
        let size = bytes.len() as i64;
        let unaligned_records = Some(Records::Bytes(Bytes::copy_from_slice(bytes)));
        let mut part = PartitionSnapshot { size, unaligned_records, ..Default::default() };
        (part.snapshot_id.epoch, part.snapshot_id.end_offset) = (id.epoch, id.offset);
        self.fetches.answer_part(epoch, part).await;
    }

    /// The leader resigns, and has no vote for another but this node.
    async fn lead(&mut self, epoch: i32) {
        let partition = wire::end_quorum_epoch_request::PartitionData {
            leader_id: OTHER,
            leader_epoch: epoch,
            preferred_successors: vec![1],
            ..Default::default()
        };
        let topic = wire::end_quorum_epoch_request::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        self.ask(wire::EndQuorumEpochRequest { topics: vec![topic], ..Default::default() }, 0)
            .await;
        let mut elections = self.other.line().await;
        elections.vote().await;
        elections.vote().await;
        self.status.until(|status| status.leader_id == Some(1)).await;
    }

    async fn ask(&self, request: impl Into<QuorumRequest>, version: i16) -> QuorumResponse {
        let request = request.into();
        let listener = "CONTROLLER".to_owned();
        let serve = |reply: Reply<QuorumResponse>| RaftMsg::Serve {
            asked: Box::new(Asked { request, version, listener, reply, held: None }),
        };
        self.raft.me().ask(LIMIT, serve).await.unwrap()
    }

    /// What this node, as the leader of this epoch, answers a fetch of the other.
    async fn fetch(&self, epoch: i32, offset: i64, last_epoch: i32) -> PartitionData {
        let partition = wire::fetch_request::FetchPartition {
            current_leader_epoch: epoch,
            fetch_offset: offset,
            last_fetched_epoch: last_epoch,
            ..Default::default()
        };
        let topic = wire::fetch_request::FetchTopic {
            topic: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let mut request =
            wire::FetchRequest { max_bytes: 1, topics: vec![topic], ..Default::default() };
        request.replica_id = OTHER;
        let QuorumResponse::Fetch(response) = self.ask(request, 12).await else { panic!() };
        response.responses.into_iter().next().unwrap().partitions.remove(0)
    }
}

/// The leader's answer that its log does not reach back so far.
fn snapshot_at(id: OffsetAndEpoch) -> PartitionData {
    let mut partition = PartitionData::default();
    (partition.snapshot_id.epoch, partition.snapshot_id.end_offset) = (id.epoch, id.offset);
    partition
}

/// What it had before says nothing of where the logs of others part from its own: a log of the first epoch that goes beyond the
/// snapshot would pass for the same.
#[tokio::test]
async fn of_the_snapshots_before_one_that_was_taken_over_none_counts() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    assert_eq!(node.fetches.fetch().await, (60, 1));
    let taken = id(5, 180);
    node.give_snapshot(5, taken, &snapshot_of_the_leader(taken)).await;
    assert_eq!(node.fetches.fetch().await, (180, 5));
    assert_eq!(snapshots(&disk), [180]);
    node.lead(5).await;
    let diverged = node.fetch(6, 200, 1).await;
    assert_eq!((diverged.error_code, diverged.diverging_epoch.epoch), (0, -1), "{diverged:?}");
    assert_eq!(diverged.snapshot_id, snapshot_at(taken).snapshot_id);
    let same = node.fetch(6, 180, 5).await;
    assert_eq!((same.error_code, same.snapshot_id.epoch, same.diverging_epoch.epoch), (0, -1, -1));
    node.raft.stop().await;
}

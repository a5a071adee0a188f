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
use wire::batch::RecordBatch;
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

fn records_at(epoch: i32, offset: i64) -> Vec<RecordBatch> {
    snapshot::data_batches(&records(1), MetadataVersion::LATEST, offset, epoch, 0).unwrap()
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
    for offset in 0..60 {
        let batch = records_at(1, offset);
        log.append(&batch, 0).unwrap();
    }
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
    args: RaftArgs,
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
            append_linger: Duration::ZERO,
            ..args(disk, voters)
        };
        let raft = start(disk, args.clone());
        raft.started().await.unwrap();
        let mut fetches = other.line().await;
        fetches.fetch().await;
        let error_code = ErrorCode::UnknownLeaderEpoch.code();
        let unknown = PartitionData { error_code, ..Default::default() };
        fetches.answer_fetch(epoch, unknown).await;
        Following { raft, other, fetches, status: shown, args }
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

    /// Whether it would have another leader: not once its own has answered a fetch.
    async fn wants_another(&self, epoch: i32) -> bool {
        let partition = wire::vote_request::PartitionData {
            replica_epoch: epoch,
            replica_id: OTHER,
            last_offset_epoch: epoch,
            last_offset: 1_000,
            pre_vote: true,
            ..Default::default()
        };
        let topic = wire::vote_request::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = wire::VoteRequest { topics: vec![topic], ..Default::default() };
        let QuorumResponse::Vote(response) = self.ask(request, 2).await else { panic!() };
        response.topics[0].partitions[0].vote_granted
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
        self.fetch_within(0, epoch, offset, last_epoch).await
    }

    async fn fetch_within(
        &self,
        max_wait_ms: i32,
        epoch: i32,
        offset: i64,
        last_epoch: i32,
    ) -> PartitionData {
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
        let request = wire::FetchRequest {
            replica_id: OTHER,
            max_wait_ms,
            max_bytes: 1,
            topics: vec![topic],
            ..Default::default()
        };
        let QuorumResponse::Fetch(response) = self.ask(request, 12).await else { panic!() };
        response.responses.into_iter().next().unwrap().partitions.remove(0)
    }
}

/// A batch of one record, as the leader of this epoch wrote it at this offset.
fn batch(epoch: i32, offset: i64) -> Vec<u8> {
    records_at(epoch, offset)[0].to_bytes().to_vec()
}

/// The end of the log on the disk, of which no raft has a part any more.
fn log_end(disk: &Arc<dyn Disk>) -> i64 {
    let options = OpenOptions::default();
    let log = Log::open(disk.clone(), dir(), LogConfig::default(), options).unwrap().0;
    log.log_end_offset()
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

#[tokio::test]
async fn records_that_do_not_continue_the_log_are_not_taken() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    let mut other_crc = batch(5, 60);
    *other_crc.last_mut().unwrap() ^= 1;
    let half = batch(5, 60)[..30].to_vec();
    for bytes in [batch(5, 59), batch(5, 61), batch(0, 60), batch(6, 60), other_crc, half] {
        assert_eq!(node.fetches.fetch().await, (60, 1));
        let records = Some(Records::Bytes(bytes.into()));
        node.fetches.answer_fetch(5, PartitionData { records, ..Default::default() }).await;
    }
    assert_eq!(node.fetches.fetch().await, (60, 1));
    assert!(node.wants_another(5).await, "such a leader is none");
    // The last batch may be cut off.
    let mut bytes = batch(5, 60);
    bytes.extend_from_slice(&batch(5, 61)[..30]);
    let records = Some(Records::Bytes(bytes.into()));
    node.fetches.answer_fetch(5, PartitionData { records, ..Default::default() }).await;
    assert_eq!(node.fetches.fetch().await, (61, 5));
    assert!(!node.wants_another(5).await);
    node.raft.stop().await;
}

/// A restart of raft alone would forget what it was that must not be cut off.
#[tokio::test]
async fn what_is_committed_is_cut_off_neither_at_once_nor_after_a_restart() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    let parts_at = |end_offset: i64| {
        let mut partition = PartitionData::default();
        (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset) = (1, end_offset);
        partition
    };
    assert_eq!(node.fetches.fetch().await, (60, 1));
    node.fetches.answer_fetch(5, parts_at(55)).await;
    assert_eq!(node.fetches.fetch().await, (55, 1));
    // The snapshot says that all before 50 was committed.
    node.fetches.answer_fetch(5, parts_at(49)).await;
    let failure = node.raft.ended().await.failure().expect("it cannot go on").to_string();
    assert!(failure.contains("offset 49, and 50 of it is committed"), "{failure}");
    let again = start(&disk, node.args.clone());
    let failure = again.started().await.unwrap_err().failure().unwrap().to_string();
    assert!(failure.contains("offline"), "{failure}");
    assert_eq!((log_end(&disk), snapshots(&disk)), (55, vec![50]));
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_does_not_become_the_newest() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    assert_eq!(node.fetches.fetch().await, (60, 1));
    let bytes = snapshot_of_the_leader(id(5, 180));
    node.give_snapshot(5, id(5, 180), &bytes[..bytes.len() - 1]).await;
    let failure = node.raft.ended().await.failure().expect("it cannot go on").to_string();
    assert!(failure.contains("00000000000000000180-0000000005"), "{failure}");
    assert_eq!((log_end(&disk), snapshots(&disk)), (60, vec![50]));
    let mut again = Following::in_epoch(&disk, 5).await;
    assert_eq!(again.fetches.fetch().await, (60, 1));
    again.raft.stop().await;
}

#[tokio::test]
async fn an_epoch_after_which_there_could_be_no_other_is_refused() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    assert_eq!(node.fetches.fetch().await, (60, 1));
    let partition = wire::begin_quorum_epoch_request::PartitionData {
        leader_id: OTHER,
        leader_epoch: i32::MAX,
        ..Default::default()
    };
    let topic = wire::begin_quorum_epoch_request::TopicData {
        topic_name: TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let begin = wire::BeginQuorumEpochRequest { topics: vec![topic], ..Default::default() };
    let QuorumResponse::BeginEpoch(response) = node.ask(begin, 0).await else { panic!() };
    let partition = &response.topics[0].partitions[0];
    let code = ErrorCode::InvalidRequest.code();
    assert_eq!((partition.error_code, partition.leader_epoch), (code, 5));
    // Nor is it taken over from an answer.
    node.fetches.answer_fetch(i32::MAX, PartitionData::default()).await;
    let QuorumRequest::Fetch(request) = node.fetches.asked().await else { panic!("no fetch") };
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 5);
    node.raft.stop().await;
}

/// However long a replica lets the leader wait, it is heard of when it asks.
#[tokio::test]
async fn a_fetch_whose_time_is_over_is_no_sign_of_life() {
    let disk = log_of_the_first_epoch();
    let mut node = Following::in_epoch(&disk, 5).await;
    assert_eq!(node.fetches.fetch().await, (60, 1));
    node.lead(5).await;
    // What it leads with is on its disk, of which a fetch that waits would be told.
    while node.fetch_within(100, 6, 61, 6).await.high_watermark < 61 {}
    let waited = node.fetch_within(100, 6, 61, 6).await;
    let now_ms = World::real(Handles::current(), disk.clone()).now().wall_ms;
    assert_eq!((waited.error_code, waited.high_watermark), (0, 61));
    let partitions = vec![wire::describe_quorum_request::PartitionData { ..Default::default() }];
    let topic = wire::describe_quorum_request::TopicData {
        topic_name: TOPIC.to_owned(),
        partitions,
        ..Default::default()
    };
    let describe = wire::DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let QuorumResponse::Describe(response) = node.ask(describe, 2).await else { panic!() };
    let voters = &response.topics[0].partitions[0].current_voters;
    let other = voters.iter().find(|voter| voter.replica_id == OTHER).unwrap();
    assert!(other.last_fetch_timestamp + 90 <= now_ms, "{other:?}, {now_ms}");
    node.raft.stop().await;
}

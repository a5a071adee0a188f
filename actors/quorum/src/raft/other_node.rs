//! The other node of a quorum of two, as raft meets it over the network: the test says what it answers.

use bytes::Bytes;
use runtime::{ListenOptions, Listener, NetStream, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::api_versions_response::ApiVersion;
use wire::fetch_response::{FetchableTopicResponse, PartitionData};
use wire::fetch_snapshot_response::{PartitionSnapshot, TopicSnapshot};
use wire::{
    ApiKey, ApiVersionsResponse, DescribeClusterRequest, FetchRequest, FetchResponse,
    FetchSnapshotRequest, FetchSnapshotResponse, Message, Part, Reader, Records, Response,
    VoteRequest, VoteResponse, decode_request_header, encode_response, vote_response,
};

use super::serve::TOPIC;
use crate::rpc::QuorumRequest;

pub(super) const OTHER: i32 = 2;

pub(super) struct OtherNode(Listener);

impl OtherNode {
    pub(super) async fn new(world: &World) -> OtherNode {
        OtherNode(world.net().listen("127.0.0.1", 0, ListenOptions::default()).await.unwrap())
    }

    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Raft has a connection for fetches and one for elections, and opens each when it needs it.
    pub(super) async fn line(&self) -> Line {
        Line { stream: self.0.accept().await.unwrap().0, version: 0, correlation_id: 0 }
    }
}

pub(super) struct Line {
    stream: NetStream,
    version: i16,
    correlation_id: i32,
}

impl Line {
    /// What raft asks next.
    pub(super) async fn asked(&mut self) -> QuorumRequest {
        loop {
            let mut frame = vec![0; self.stream.read_u32().await.unwrap() as usize];
            self.stream.read_exact(&mut frame).await.unwrap();
            let mut reader = Reader::new(Bytes::from(frame));
            let (key, header) = decode_request_header(&mut reader).unwrap();
            let version = header.request_api_version;
            (self.version, self.correlation_id) = (version, header.correlation_id);
            return match key {
                ApiKey::ApiVersions => {
                    self.answer(versions()).await;
                    continue;
                }
                ApiKey::Fetch => FetchRequest::decode(&mut reader, version).unwrap().into(),
                ApiKey::FetchSnapshot => {
                    FetchSnapshotRequest::decode(&mut reader, version).unwrap().into()
                }
                ApiKey::Vote => VoteRequest::decode(&mut reader, version).unwrap().into(),
                ApiKey::DescribeCluster => {
                    DescribeClusterRequest::decode(&mut reader, version).unwrap().into()
                }
                other => panic!("{other:?} was not expected"),
            };
        }
    }

    /// Where raft fetches from next, with the epoch of its last record.
    pub(super) async fn fetch(&mut self) -> (i64, i32) {
        let QuorumRequest::Fetch(request) = self.asked().await else { panic!("no fetch") };
        let partition = &request.topics[0].partitions[0];
        (partition.fetch_offset, partition.last_fetched_epoch)
    }

    pub(super) async fn answer<R: Response>(&mut self, response: R) {
        for part in encode_response(&response, self.version, self.correlation_id).unwrap() {
            let Part::Bytes(bytes) = part else { panic!("a part in a file") };
            self.stream.write_all(&bytes).await.unwrap();
        }
    }

    /// An answer to a fetch, by the leader of this epoch.
    pub(super) async fn answer_fetch(&mut self, epoch: i32, mut partition: PartitionData) {
        partition.current_leader.leader_id = OTHER;
        partition.current_leader.leader_epoch = epoch;
        partition.records.get_or_insert(Records::Bytes(Bytes::new()));
        let topic_id = model::Uuid::METADATA_TOPIC_ID;
        let topic = FetchableTopicResponse {
            topic: TOPIC.to_owned(),
            topic_id,
            partitions: vec![partition],
            ..Default::default()
        };
        self.answer(FetchResponse { responses: vec![topic], ..Default::default() }).await;
    }

    /// The part of a snapshot that was asked for.
    pub(super) async fn answer_part(&mut self, epoch: i32, mut part: PartitionSnapshot) {
        part.current_leader.leader_id = OTHER;
        part.current_leader.leader_epoch = epoch;
        let name = TOPIC.to_owned();
        let topic = TopicSnapshot { name, partitions: vec![part], ..Default::default() };
        self.answer(FetchSnapshotResponse { topics: vec![topic], ..Default::default() }).await;
    }

    /// Grants what is asked.
    pub(super) async fn vote(&mut self) {
        let QuorumRequest::Vote(request) = self.asked().await else { panic!("no vote") };
        let leader_epoch = request.topics[0].partitions[0].replica_epoch;
        let partition = vote_response::PartitionData {
            leader_id: -1,
            leader_epoch,
            vote_granted: true,
            ..Default::default()
        };
        let topic = vote_response::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        self.answer(VoteResponse { topics: vec![topic], ..Default::default() }).await;
    }
}

fn versions() -> ApiVersionsResponse {
    let spoken = |key: ApiKey| {
        let versions = key.stable_versions().unwrap();
        let (min_version, max_version) = (versions.min, versions.max);
        ApiVersion { api_key: key.code(), min_version, max_version, ..Default::default() }
    };
    let keys = [
        ApiKey::ApiVersions,
        ApiKey::Fetch,
        ApiKey::FetchSnapshot,
        ApiKey::Vote,
        ApiKey::BeginQuorumEpoch,
        ApiKey::EndQuorumEpoch,
        ApiKey::DescribeCluster,
    ];
    ApiVersionsResponse { api_keys: keys.map(spoken).into(), ..Default::default() }
}

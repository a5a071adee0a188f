//! What the tests ask of the cluster itself: who leads, who is in sync, which is the active controller.

use std::io::{self, Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::metadata_request::MetadataRequestTopic;
use wire::metadata_response::MetadataResponsePartition;
use wire::{
    AlterPartitionReassignmentsRequest, CreateTopicsRequest, DescribeQuorumRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, JoinGroupRequest, MetadataRequest, Part,
    Request, UnregisterBrokerRequest,
};

const PATIENCE: Duration = Duration::from_secs(2);

fn ask<R: Request>(at: SocketAddr, request: &R, version: i16) -> io::Result<R::Response> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for part in wire::encode_request(request, version, 1, Some("chaos")).map_err(Error::other)? {
        if let Part::Bytes(bytes) = part {
            stream.write_all(&bytes)?;
        }
    }
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    let (_, response) = wire::decode_response(frame.into(), version).map_err(Error::other)?;
    Ok(response)
}

/// One try; whether it is there now.
pub fn create_topic(at: SocketAddr, name: &str, partitions: i32) -> bool {
    create(at, name, &Replicas::OfAll(partitions), 2)
}

/// Where the replicas of a new topic are to be.
pub enum Replicas<'a> {
    /// Of so many partitions, each on three brokers.
    OfAll(i32),
    /// Of each partition, its leader first.
    On(&'a [&'a [i32]]),
}

/// One try; whether it is there now.
pub fn create(at: SocketAddr, name: &str, replicas: &Replicas<'_>, min_isr: i32) -> bool {
    let (num_partitions, replication_factor, given) = match replicas {
        Replicas::OfAll(partitions) => (*partitions, 3, &[][..]),
        Replicas::On(given) => (-1, -1, *given),
    };
    let assignment = |(partition, ids): (i32, &&[i32])| CreatableReplicaAssignment {
        partition_index: partition,
        broker_ids: ids.to_vec(),
        ..Default::default()
    };
    let min_isr = min_isr.to_string();
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor,
        assignments: (0..).zip(given).map(assignment).collect(),
        configs: vec![config("min.insync.replicas", &min_isr), config("segment.bytes", "1048576")],
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: PATIENCE.as_millis() as i32,
        ..Default::default()
    };
    let answer = ask(at, &request, 7);
    // TOPIC_ALREADY_EXISTS: an answer was lost.
    let codes = answer.map(|answer| answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>());
    let made = codes.as_ref().is_ok_and(|codes| codes.iter().all(|code| [0, 36].contains(code)));
    if !made {
        eprintln!("CreateTopics: {codes:?}");
    }
    made
}

/// The partitions of a topic in their order, as the node sees them.
pub fn partitions(at: SocketAddr, topic: &str) -> Vec<MetadataResponsePartition> {
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let Ok(answer) = ask(at, &request, 12) else { return Vec::new() };
    let mut partitions: Vec<_> =
        answer.topics.into_iter().flat_map(|topic| topic.partitions).collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    partitions
}

/// The id of the active controller, as the node knows it.
pub fn active_controller(at: SocketAddr) -> Option<i32> {
    let topic = TopicData {
        topic_name: "__cluster_metadata".to_owned(),
        partitions: vec![PartitionData::default()],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    let answer = ask(at, &request, 2).ok()?;
    let partition = answer.topics.first()?.partitions.first()?;
    Some(partition.leader_id).filter(|id| partition.error_code == 0 && *id >= 0)
}

/// Asks that the first replica of each partition leads, where it is in sync.
pub fn elect_preferred(at: SocketAddr) {
    let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    // Who leads in the end is looked at.
    drop(ask(at, &request, 2));
}

/// One try; whether it was taken.
pub fn reassign(at: SocketAddr, topic: &str, partition_index: i32, replicas: &[i32]) -> bool {
    let replicas = Some(replicas.to_vec());
    let partitions =
        vec![ReassignablePartition { partition_index, replicas, ..Default::default() }];
    let topics =
        vec![ReassignableTopic { name: topic.to_owned(), partitions, ..Default::default() }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    ask(at, &request, 0).is_ok_and(|answer| answer.error_code == 0)
}

/// What has settings.
pub enum Resource<'a> {
    Topic(&'a str),
    Broker(i32),
}

/// One try; whether it was taken.
pub fn alter(at: SocketAddr, of: &Resource<'_>, name: &str, value: &str) -> bool {
    let (resource_type, resource_name) = match of {
        Resource::Topic(topic) => (2, (*topic).to_owned()),
        Resource::Broker(id) => (4, id.to_string()),
    };
    let (name, value) = (name.to_owned(), Some(value.to_owned()));
    let configs = vec![AlterableConfig { name, value, ..Default::default() }];
    let resource =
        AlterConfigsResource { resource_type, resource_name, configs, ..Default::default() };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = ask(at, &request, 1);
    answer.is_ok_and(|answer| answer.responses.iter().all(|response| response.error_code == 0))
}

/// Joins a group in which nobody else is, and does not come back for its assignment; whether this broker took it in.
pub fn join_and_leave_it_at_that(at: SocketAddr, group: &str) -> bool {
    let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() };
    let mut request = JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    };
    // MEMBER_ID_REQUIRED: it is to come again with the id that it was given.
    let Ok(given) = ask(at, &request, 9) else { return false };
    if given.error_code != 79 {
        return false;
    }
    request.member_id = given.member_id;
    // The answer comes when the first rebalance is over.
    drop(ask(at, &request, 9));
    true
}

/// One try; whether it was taken.
pub fn unregister(at: SocketAddr, broker_id: i32) -> bool {
    let request = UnregisterBrokerRequest { broker_id, ..Default::default() };
    ask(at, &request, 0).is_ok_and(|answer| answer.error_code == 0)
}

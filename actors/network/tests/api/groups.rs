//! Groups: members and offsets, from the finding of the coordinator to the end of the group.

use bytes::Bytes;
use model::settings::CompressionType;
use model::topic::CONSUMER_OFFSETS;
use model::{ErrorCode, coordinator_partition};
use partitions::{PartitionHandle, PartitionMsg};
use wire::compression::Codec;
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::leave_group_request::MemberIdentity;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::sync_group_request::SyncGroupRequestAssignment;
use wire::{
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
    Message, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
    VersionRange,
};

use crate::rig::{Client, NODE, Rig, topic_id};

const PARTITIONS: i32 = 3;

/// A node whose groups have a topic of few partitions, found by a client as clients do.
async fn rig() -> (Rig, Client) {
    let settings = [
        ("offsets.topic.num.partitions", "3"),
        ("offsets.topic.replication.factor", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let mut rig = Rig::with_settings(&settings).await;
    rig.topic("t", 2, &[]).await;
    let mut client = rig.client().await;
    let found = client.call(&find("g"), 6).await;
    assert_eq!(found.coordinators[0].error_code, 0);
    for group in ["g", "a", "b", "c", "d"] {
        assert_eq!(until_served(&mut client, group).await, -1);
    }
    (rig, client)
}

fn versions<M: Message>() -> impl Iterator<Item = i16> {
    let VersionRange { min, max } = M::VERSIONS;
    min..=max
}

pub fn find(group: &str) -> FindCoordinatorRequest {
    FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() }
}

pub fn join(group: &str, member: &str, version: i16) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: Bytes::from_static(b"subscription"),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: if version >= 1 { 60_000 } else { -1 },
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// Joins as clients do: from version 4 on the first answer gives the id to come back with.
pub async fn joined(client: &mut Client, group: &str, version: i16) -> JoinGroupResponse {
    let first = client.call(&join(group, "", version), version).await;
    if first.error_code != ErrorCode::MemberIdRequired.code() {
        return first;
    }
    assert!(version >= 4);
    client.call(&join(group, &first.member_id, version), version).await
}

pub fn sync(
    group: &str,
    at: &JoinGroupResponse,
    parts: &[(&str, &'static str)],
) -> SyncGroupRequest {
    let assignments = parts.iter().map(|(member, part)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::from_static(part.as_bytes()),
        ..Default::default()
    });
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: at.generation_id,
        member_id: at.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

pub async fn heartbeat(client: &mut Client, group: &str, at: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: at.generation_id,
        member_id: at.member_id.clone(),
        ..Default::default()
    };
    ErrorCode::from_code(client.call(&request, 4).await.error_code)
}

async fn leave(client: &mut Client, group: &str, member: &str, version: i16) -> ErrorCode {
    let members = vec![MemberIdentity { member_id: member.into(), ..Default::default() }];
    let request = match version {
        3.. => LeaveGroupRequest { members, ..Default::default() },
        _ => LeaveGroupRequest { member_id: member.into(), ..Default::default() },
    };
    let request = LeaveGroupRequest { group_id: group.into(), ..request };
    ErrorCode::from_code(client.call(&request, version).await.error_code)
}

pub fn commit(
    group: &str,
    topic: &str,
    offsets: &[(i32, i64)],
    version: i16,
) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(index, offset)| OffsetCommitRequestPartition {
        partition_index: *index,
        committed_offset: *offset,
        committed_metadata: Some("note".into()),
        ..Default::default()
    });
    let named = match version {
        10.. => OffsetCommitRequestTopic { topic_id: topic_id(topic), ..Default::default() },
        _ => OffsetCommitRequestTopic { name: topic.into(), ..Default::default() },
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic { partitions: partitions.collect(), ..named }],
        ..Default::default()
    }
}

/// Error codes by partition.
pub async fn committed(
    client: &mut Client,
    request: &OffsetCommitRequest,
    version: i16,
) -> Vec<(i32, ErrorCode)> {
    let response = client.call(request, version).await;
    let mut codes: Vec<_> = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|p| (p.partition_index, ErrorCode::from_code(p.error_code)))
        .collect();
    codes.sort_unstable_by_key(|(partition, _)| *partition);
    codes
}

/// The offset of one partition of "t", or the error of its group.
pub async fn fetched(client: &mut Client, group: &str, version: i16) -> Result<i64, ErrorCode> {
    let partition_indexes = vec![0];
    let request = if version < 8 {
        let topic =
            OffsetFetchRequestTopic { name: "t".into(), partition_indexes, ..Default::default() };
        OffsetFetchRequest {
            group_id: group.into(),
            topics: Some(vec![topic]),
            ..Default::default()
        }
    } else {
        let mut topic = OffsetFetchRequestTopics { partition_indexes, ..Default::default() };
        match version {
            10.. => topic.topic_id = topic_id("t"),
            _ => topic.name = "t".into(),
        }
        let group = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        OffsetFetchRequest { groups: vec![group], ..Default::default() }
    };
    let response = client.call(&request, version).await;
    let (error, partition) = if version < 8 {
        let found = response.topics.first().map(|topic| &topic.partitions[0]);
        (response.error_code, found.map(|p| (p.error_code, p.committed_offset)))
    } else {
        let group = &response.groups[0];
        let found = group.topics.first().map(|topic| &topic.partitions[0]);
        (group.error_code, found.map(|p| (p.error_code, p.committed_offset)))
    };
    let (partition_error, offset) = partition.unwrap_or((0, -1));
    match ErrorCode::from_code(if error != 0 { error } else { partition_error }) {
        ErrorCode::None => Ok(offset),
        error => Err(error),
    }
}

#[tokio::test]
async fn the_coordinator_is_found_where_its_partition_is_led_and_its_topic_made() {
    let rig = Rig::with_settings(&[
        ("offsets.topic.num.partitions", "3"),
        ("offsets.topic.replication.factor", "1"),
    ])
    .await;
    let mut client = rig.client().await;
    for version in versions::<FindCoordinatorRequest>() {
        let request = match version {
            4.. => find("g"),
            _ => FindCoordinatorRequest { key: "g".into(), ..Default::default() },
        };
        let response = client.call(&request, version).await;
        let (code, node) = match version {
            4.. => (response.coordinators[0].error_code, response.coordinators[0].node_id),
            _ => (response.error_code, response.node_id),
        };
        assert_eq!((code, node), (0, NODE), "version {version}");
    }
    let topic = rig.hosted.topic(CONSUMER_OFFSETS).unwrap();
    assert_eq!(topic.partitions().len(), PARTITIONS as usize);
    assert!(topic.partitions()[&0].config().cleanup_policy.compact);
    let transactional = FindCoordinatorRequest { key_type: 1, ..find("tx") };
    let answer = client.call(&transactional, 6).await;
    let not_available = ErrorCode::CoordinatorNotAvailable.code();
    assert_eq!(answer.coordinators[0].error_code, not_available);
    let unknown = FindCoordinatorRequest { key_type: 9, ..find("x") };
    let answer = client.call(&unknown, 6).await;
    assert_eq!(answer.coordinators[0].error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn two_members_share_out_commit_and_leave() {
    let (rig, mut first) = rig().await;
    let mut second = rig.client().await;
    let alone = joined(&mut first, "g", 9).await;
    assert_eq!((alone.error_code, alone.generation_id), (0, 1));
    let assigned = first.call(&sync("g", &alone, &[(&alone.member_id, "all")]), 5).await;
    assert_eq!(&assigned.assignment[..], b"all");
    assert_eq!(heartbeat(&mut first, "g", &alone).await, ErrorCode::None);

    let id = second.call(&join("g", "", 9), 9).await.member_id;
    second.send(&join("g", &id, 9), 9).await;
    while heartbeat(&mut first, "g", &alone).await == ErrorCode::None {
        tokio::task::yield_now().await;
    }
    let leader = first.call(&join("g", &alone.member_id, 9), 9).await;
    let follower = second.receive::<JoinGroupRequest>(9).await;
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));

    second.send(&sync("g", &follower, &[]), 5).await;
    let parts = [(leader.member_id.as_str(), "left"), (follower.member_id.as_str(), "right")];
    let left = first.call(&sync("g", &leader, &parts), 5).await;
    let right = second.receive::<SyncGroupRequest>(5).await;
    assert_eq!((&left.assignment[..], &right.assignment[..]), (&b"left"[..], &b"right"[..]));

    let described = DescribeGroupsRequest {
        groups: vec!["g".into()],
        include_authorized_operations: true,
        ..Default::default()
    };
    let group = first.call(&described, 6).await.groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.members.len()), ("Stable", 2));
    assert!(group.members.iter().all(|member| member.client_host == "/127.0.0.1"));
    assert_ne!(group.authorized_operations, i32::MIN);

    let own = OffsetCommitRequest {
        generation_id_or_member_epoch: 2,
        member_id: leader.member_id.clone(),
        ..commit("g", "t", &[(0, 17)], 9)
    };
    assert_eq!(committed(&mut first, &own, 9).await, [(0, ErrorCode::None)]);
    assert_eq!(fetched(&mut second, "g", 9).await, Ok(17));

    assert_eq!(leave(&mut first, "g", &leader.member_id, 5).await, ErrorCode::None);
    assert_eq!(leave(&mut second, "g", &follower.member_id, 5).await, ErrorCode::None);
    let group = first.call(&described, 6).await.groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.members.len()), ("Empty", 0));
}

#[tokio::test]
async fn every_version_joins_and_leaves() {
    let (_rig, mut client) = rig().await;
    for version in versions::<JoinGroupRequest>() {
        let at = joined(&mut client, "g", version).await;
        assert_eq!((at.error_code, at.members.len()), (0, 1), "version {version}");
        let synced = client.call(&sync("g", &at, &[(&at.member_id, "x")]), version.min(5)).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"x"[..]));
        let gone = leave(&mut client, "g", &at.member_id, version.min(5)).await;
        assert_eq!(gone, ErrorCode::None);
    }
}

#[tokio::test]
async fn every_version_commits_and_fetches() {
    let (_rig, mut client) = rig().await;
    for version in versions::<OffsetCommitRequest>() {
        let offset = i64::from(version);
        let request = commit("g", "t", &[(0, offset), (9, 1)], version);
        let expected = [(0, ErrorCode::None), (9, ErrorCode::UnknownTopicOrPartition)];
        assert_eq!(committed(&mut client, &request, version).await, expected);
        for version in versions::<OffsetFetchRequest>() {
            assert_eq!(fetched(&mut client, "g", version).await, Ok(offset));
        }
        let unknown = if version >= 10 {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        let request = commit("g", "none", &[(0, 1)], version);
        assert_eq!(committed(&mut client, &request, version).await, [(0, unknown)]);
    }
}

#[tokio::test]
async fn groups_are_listed_by_state_and_deleted_with_their_offsets() {
    let (_rig, mut client) = rig().await;
    for group in ["a", "b", "c"] {
        let request = commit(group, "t", &[(0, 1), (1, 1)], 9);
        committed(&mut client, &request, 9).await;
    }
    let list =
        |state: &str| ListGroupsRequest { states_filter: vec![state.into()], ..Default::default() };
    let listed = client.call(&list("Empty"), 5).await;
    let mut names: Vec<_> = listed.groups.iter().map(|group| group.group_id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(client.call(&list("Stable"), 5).await.groups.is_empty());

    let partition =
        |partition_index| OffsetDeleteRequestPartition { partition_index, ..Default::default() };
    let topic = OffsetDeleteRequestTopic {
        name: "t".into(),
        partitions: vec![partition(0), partition(9)],
        ..Default::default()
    };
    let request =
        OffsetDeleteRequest { group_id: "a".into(), topics: vec![topic], ..Default::default() };
    let deleted = client.call(&request, 0).await;
    assert_eq!((deleted.error_code, deleted.topics.len()), (0, 1));
    let codes: Vec<i16> = deleted.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition.code(), 0]);
    assert_eq!(fetched(&mut client, "a", 9).await, Ok(-1));

    let names = ["a", "b", "nobody", "a"].map(str::to_owned).to_vec();
    let request = DeleteGroupsRequest { groups_names: names, ..Default::default() };
    let mut results = client.call(&request, 2).await.results;
    results.sort_unstable_by(|x, y| x.group_id.cmp(&y.group_id));
    let codes: Vec<_> = results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
    assert_eq!(codes, [("a", 0), ("b", 0), ("nobody", ErrorCode::GroupIdNotFound.code())]);
    assert_eq!(fetched(&mut client, "b", 9).await, Ok(-1));
    assert_eq!(fetched(&mut client, "c", 9).await, Ok(1));
}

/// Asks again while the coordinator says that it is coming.
pub async fn until_served(client: &mut Client, group: &str) -> i64 {
    loop {
        match fetched(client, group, 9).await {
            Ok(offset) => return offset,
            Err(error) => assert!(error.retriable(), "{error:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn offsets_and_members_outlive_the_failure_of_their_partition() {
    let (rig, mut client) = rig().await;
    let at = joined(&mut client, "g", 9).await;
    client.call(&sync("g", &at, &[(&at.member_id, "mine")]), 5).await;
    let own = OffsetCommitRequest {
        generation_id_or_member_epoch: at.generation_id,
        member_id: at.member_id.clone(),
        ..commit("g", "t", &[(0, 5)], 9)
    };
    let partition = rig.handle(CONSUMER_OFFSETS, coordinator_partition("g", PARTITIONS));
    for offset in 0..4 {
        let mut own = own.clone();
        own.topics[0].partitions[0].committed_offset = offset;
        until_committed(&mut client, &own).await;
        let message = "injected".to_owned();
        partition.address().send(PartitionMsg::Panic { message }).await.unwrap();
        assert_eq!(until_served(&mut client, "g").await, offset);
    }
    until_committed(&mut client, &own).await;
    assert_eq!(until_served(&mut client, "g").await, 5);
}

/// Commits again while the coordinator says that it is coming. Whoever is no member of the group is refused for good.
pub async fn until_committed(client: &mut Client, request: &OffsetCommitRequest) {
    loop {
        match committed(client, request, 9).await[..] {
            [(_, ErrorCode::None)] => return,
            [(_, error)] => assert!(error.retriable(), "{error:?}"),
            _ => panic!("one partition was asked for"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn offsets_go_with_their_topic() {
    let (_rig, mut client) = rig().await;
    for group in ["a", "b", "c", "d"] {
        let request = commit(group, "t", &[(0, 3), (1, 3)], 9);
        committed(&mut client, &request, 9).await;
    }
    let request = DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        timeout_ms: 30_000,
        ..Default::default()
    };
    assert_eq!(client.call(&request, 5).await.responses[0].error_code, 0);
    for group in ["a", "b", "c", "d"] {
        while fetched(&mut client, group, 9).await != Ok(-1) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn offsets_carry_the_brokers_time_where_the_broker_says_so() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("log.message.timestamp.type", "LogAppendTime"),
    ];
    let mut rig = Rig::with_settings(&settings).await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    client.call(&find("g"), 6).await;
    until_served(&mut client, "g").await;
    until_committed(&mut client, &commit("g", "t", &[(0, 3)], 9)).await;
    let fetched = crate::fetch::fetch(&mut client, CONSUMER_OFFSETS, 12, 0).await;
    let bytes = fetched.records.as_ref().and_then(|records| records.as_bytes()).unwrap();
    for batch in wire::batch::batches(bytes.clone()) {
        let own = batch.unwrap().header().timestamp_type();
        assert_eq!(own, wire::batch::TimestampType::LogAppendTime);
    }
    assert!(!bytes.is_empty());
}

#[tokio::test]
async fn offsets_are_compressed_as_the_node_says_and_where_it_does_the_topic() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.compression.codec", "1"),
    ];
    let mut rig = Rig::with_settings(&settings).await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    client.call(&find("g"), 6).await;
    until_served(&mut client, "g").await;
    let mut end = 0;
    for (topics_own, expected) in [(None, Codec::Gzip), (Some("zstd"), Codec::Zstd)] {
        if let Some(codec) = topics_own {
            rig.configure(CONSUMER_OFFSETS, "compression.type", codec);
            let is_told = |handle: &PartitionHandle| {
                handle.config().compression_type == CompressionType::Zstd
            };
            rig.until(CONSUMER_OFFSETS, 0, is_told).await;
        }
        until_committed(&mut client, &commit("g", "t", &[(0, 3)], 9)).await;
        let fetched = crate::fetch::fetch(&mut client, CONSUMER_OFFSETS, 12, end).await;
        let bytes = fetched.records.as_ref().and_then(|records| records.as_bytes()).unwrap();
        let batch = wire::batch::batches(bytes.clone()).next().unwrap().unwrap();
        assert_eq!(batch.header().codec(), Ok(expected));
        end = batch.header().last_offset() + 1;
    }
    assert_eq!(fetched(&mut client, "g", 9).await, Ok(3));
}

#[tokio::test]
async fn where_no_coordinator_is_the_client_looks_for_another() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    assert_eq!(fetched(&mut client, "g", 9).await, Err(ErrorCode::NotCoordinator));
    let answer = client.call(&join("g", "", 9), 9).await;
    assert_eq!(answer.error_code, ErrorCode::NotCoordinator.code());
    assert!(client.call(&ListGroupsRequest::default(), 5).await.groups.is_empty());
}

use model::{ErrorCode, Uuid};
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

use super::{fetch_groups, fetch_response};
use crate::groups::rig::*;
use crate::groups::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
const TOPIC_ID: Uuid = Uuid::from_u128(77);

pub fn commit(
    member_id: &str,
    group_instance_id: Option<String>,
    generation: i32,
    partition: i32,
) -> GroupRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: 42,
        committed_leader_epoch: 3,
        committed_metadata: Some("here".into()),
        ..Default::default()
    };
    let request = wire::OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        group_instance_id,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            topic_id: TOPIC_ID,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    GroupRequest::OffsetCommit { request, version: 9 }
}

/// Of a consumer that is in no group.
fn simple(partition: i32) -> GroupRequest {
    commit("", None, -1, partition)
}

fn changed(
    request: GroupRequest,
    change: impl FnOnce(&mut wire::OffsetCommitRequest, &mut i16),
) -> GroupRequest {
    match request {
        GroupRequest::OffsetCommit { mut request, mut version } => {
            change(&mut request, &mut version);
            GroupRequest::OffsetCommit { request, version }
        }
        other => other,
    }
}

fn committed(rig: &mut Rig, request: GroupRequest) -> ErrorCode {
    let ticket = rig.send(request);
    match rig.reply(ticket) {
        Some(GroupReply::OffsetCommit(response)) => {
            error(response.topics[0].partitions[0].error_code)
        }
        other => panic!("{other:?}"),
    }
}

fn fetched(rig: &mut Rig, topics: Option<Vec<(&str, Uuid, Vec<i32>)>>) -> Vec<(i32, i64)> {
    let topics = topics.map(|topics| {
        let topics = topics.into_iter().map(|(name, topic_id, indexes)| OffsetFetchRequestTopics {
            name: name.into(),
            topic_id,
            partition_indexes: indexes,
            ..Default::default()
        });
        topics.collect()
    });
    let group = OffsetFetchRequestGroup { group_id: GROUP.into(), topics, ..Default::default() };
    let ticket = rig.send(GroupRequest::OffsetFetch { group, require_stable: true, version: 9 });
    let Some(GroupReply::OffsetFetch(group)) = rig.reply(ticket) else {
        panic!("no offsets");
    };
    assert_eq!(group.error_code, 0);
    let partitions = group.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|partition| (partition.partition_index, partition.committed_offset)).collect()
}

fn deleted(rig: &mut Rig, topic: &str, partitions: &[i32]) -> Result<Vec<ErrorCode>, ErrorCode> {
    let partitions = partitions.iter().map(|index| OffsetDeleteRequestPartition {
        partition_index: *index,
        ..Default::default()
    });
    let topic = OffsetDeleteRequestTopic {
        name: topic.into(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    let topics = vec![topic];
    let request =
        wire::OffsetDeleteRequest { group_id: GROUP.into(), topics, ..Default::default() };
    let ticket = rig.send(GroupRequest::OffsetDelete { request });
    let Some(GroupReply::OffsetDelete(response)) = rig.reply(ticket) else {
        panic!("no answer");
    };
    match error(response.error_code) {
        ErrorCode::None => {
            Ok(response.topics[0].partitions.iter().map(|p| error(p.error_code)).collect())
        }
        error => Err(error),
    }
}

#[test]
fn a_consumer_in_no_group_commits_and_a_group_begins_with_it() {
    let mut rig = Rig::new();
    assert_eq!(committed(&mut rig, simple(0)), ErrorCode::None);
    assert_eq!(rig.classic().protocol_type, None);
    assert_eq!(fetched(&mut rig, Some(vec![("t", TOPIC_ID, vec![0, 1])])), [(0, 42), (1, -1)]);
    assert_eq!(fetched(&mut rig, None), [(0, 42)]);
    rig.fail_over();
    assert_eq!(fetched(&mut rig, None), [(0, 42)]);
}

#[test]
fn who_may_commit() {
    use ErrorCode::*;
    let mut rig = Rig::new();
    let not_found = changed(commit("m", Option::None, 1, 0), |_, version| *version = 8);
    assert_eq!(committed(&mut rig, not_found), IllegalGeneration);
    assert_eq!(committed(&mut rig, commit("m", Option::None, 1, 0)), GroupIdNotFound);
    let ids = rig.stable(2);
    let leader: &str = &ids[0];
    let cases = [
        (leader, Option::None, 1, None),
        (leader, Option::None, 2, IllegalGeneration),
        (leader, Option::None, -1, IllegalGeneration),
        ("stranger", Option::None, 1, UnknownMemberId),
        ("", Option::None, -1, UnknownMemberId),
        (leader, Some("i".to_owned()), 1, UnknownMemberId),
    ];
    for (member_id, instance_id, generation, expected) in cases {
        assert_eq!(committed(&mut rig, commit(member_id, instance_id, generation, 0)), expected);
    }
    // In a rebalance a member still commits what it has done, until the next generation begins.
    let first = rig.join(&dynamic(leader));
    assert_eq!(committed(&mut rig, commit(&ids[1], Option::None, 1, 0)), None);
    let second = rig.join(&dynamic(&ids[1]));
    rig.joined(first);
    rig.joined(second);
    assert_eq!(committed(&mut rig, commit(leader, Option::None, 1, 0)), IllegalGeneration);
    assert_eq!(committed(&mut rig, commit(leader, Option::None, 2, 0)), RebalanceInProgress);
}

#[test]
fn an_admin_commits_for_a_group_without_members() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    assert_eq!(committed(&mut rig, simple(0)), ErrorCode::UnknownMemberId);
    rig.leave(&ids[0]);
    assert_eq!(committed(&mut rig, simple(0)), ErrorCode::None);
    assert_eq!(rig.classic().protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn a_commit_prolongs_the_session() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    for _ in 0..4 {
        rig.advance(SESSION_MS as u64 - 1);
        assert_eq!(committed(&mut rig, commit(&ids[0], None, 1, 0)), ErrorCode::None);
    }
}

#[test]
fn metadata_is_bounded_by_itself_and_all_together() {
    let mut rig = Rig::new();
    for (metadata, expected) in [
        ("x".repeat(4_096), ErrorCode::None),
        ("x".repeat(4_097), ErrorCode::OffsetMetadataTooLarge),
        ("é".repeat(4_096), ErrorCode::None),
    ] {
        let request = changed(simple(0), |request, _| {
            request.topics[0].partitions[0].committed_metadata = Some(metadata);
        });
        assert_eq!(committed(&mut rig, request), expected);
    }
    let written = rig.log.len();
    let request = changed(simple(0), |request, _| {
        let partition = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = vec![partition; 20_000];
    });
    assert_eq!(committed(&mut rig, request), ErrorCode::UnknownServerError);
    assert_eq!(rig.log.len(), written);
}

#[test]
fn a_commit_that_writes_nothing_begins_no_group() {
    let mut rig = Rig::new();
    let request = changed(simple(0), |request, _| {
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(5_000));
    });
    assert_eq!(committed(&mut rig, request), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(rig.shard.group(GROUP), None);
}

#[test]
fn an_offset_of_a_topic_that_was_made_anew_is_not_shown() {
    let mut rig = Rig::new();
    committed(&mut rig, simple(0));
    let other = Uuid::from_u128(78);
    assert_eq!(fetched(&mut rig, Some(vec![("t", other, vec![0])])), [(0, -1)]);
    assert_eq!(fetched(&mut rig, Some(vec![("t", Uuid::ZERO, vec![0])])), [(0, 42)]);
}

#[test]
fn a_fetch_of_a_group_that_does_not_exist_finds_nothing() {
    let mut rig = Rig::new();
    assert_eq!(fetched(&mut rig, None), []);
    assert_eq!(fetched(&mut rig, Some(vec![("t", TOPIC_ID, vec![3])])), [(3, -1)]);
}

#[test]
fn a_fetch_before_batches_is_of_one_group() {
    let request = wire::OffsetFetchRequest { group_id: GROUP.into(), ..Default::default() };
    let all = wire::OffsetFetchRequest { topics: None, ..request.clone() };
    assert_eq!(fetch_groups(all, 7)[0].topics, None);
    let none = wire::OffsetFetchRequest { topics: Some(vec![]), ..request };
    let groups = fetch_groups(none, 7);
    assert_eq!((groups[0].group_id.as_str(), &groups[0].topics), (GROUP, &Some(vec![])));

    let mut rig = Rig::new();
    committed(&mut rig, simple(0));
    let group =
        OffsetFetchRequestGroup { group_id: GROUP.into(), topics: None, ..Default::default() };
    let request = GroupRequest::OffsetFetch { group, require_stable: false, version: 7 };
    let refused = request.refuse(ErrorCode::NotLeaderOrFollower);
    let ticket = rig.send(request);
    let Some(GroupReply::OffsetFetch(group)) = rig.reply(ticket) else { panic!("no offsets") };
    let response = fetch_response(vec![group], 7);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (42, 3));
    let GroupReply::OffsetFetch(refused) = refused else { panic!("not an offset fetch") };
    let response = fetch_response(vec![refused], 7);
    assert_eq!(error(response.error_code), ErrorCode::NotCoordinator);
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    use ErrorCode::*;
    let mut rig = Rig::new();
    assert_eq!(deleted(&mut rig, "t", &[0]), Err(GroupIdNotFound));
    committed(&mut rig, simple(0));
    let ids = rig.stable(1);
    assert_eq!(deleted(&mut rig, "t", &[0]), Ok(vec![GroupSubscribedToTopic]));
    assert_eq!(deleted(&mut rig, "u", &[0]), Ok(vec![None]));
    rig.leave(&ids[0]);
    assert_eq!(deleted(&mut rig, "t", &[0, 1]), Ok(vec![None, None]));
    assert_eq!(fetched(&mut rig, Option::None), []);
}

#[test]
fn where_the_subscription_is_not_known_no_offset_is_deleted() {
    let mut rig = Rig::new();
    committed(&mut rig, simple(0));
    let garbage = bytes::Bytes::from_static(b"\0\0\x7f\xff\xff\xff");
    rig.stabilize(&[dynamic("").version(3).with_metadata(garbage)]);
    assert_eq!(rig.classic().subscribed_topics, None);
    assert_eq!(deleted(&mut rig, "t", &[0]), Ok(vec![ErrorCode::GroupSubscribedToTopic]));
}

#[test]
fn offsets_go_with_their_topic() {
    let mut rig = Rig::new();
    committed(&mut rig, simple(0));
    let gone = |id| DeletedTopic { name: "t".into(), id };
    let ticket = rig.send(GroupRequest::TopicsDeleted { topics: vec![gone(Uuid::from_u128(78))] });
    assert_eq!(rig.reply(ticket), Some(GroupReply::TopicsDeleted { done: true }));
    assert_eq!(rig.shard.offset_count(), 1);
    rig.send(GroupRequest::TopicsDeleted { topics: vec![gone(TOPIC_ID)] });
    assert_eq!(rig.shard.offset_count(), 0);
}

/// Days after which what a group committed is gone, and whether the group is.
#[test]
fn offsets_expire_by_what_the_group_is_doing() {
    // A consumer in no group: since its last commit.
    let mut rig = Rig::new();
    rig.fail_over();
    committed(&mut rig, simple(0));
    rig.advance(4 * DAY);
    committed(&mut rig, simple(1));
    rig.advance(3 * DAY + DAY / 100);
    assert_eq!(fetched(&mut rig, None), [(1, 42)]);
    rig.advance(4 * DAY);
    assert_eq!(rig.shard.group(GROUP), None);
    assert_eq!(rig.replayed().group(GROUP), None);

    // A group of consumers: since it is empty.
    let mut rig = Rig::new();
    rig.fail_over();
    let ids = rig.stable(1);
    committed(&mut rig, commit(&ids[0], None, 1, 0));
    for _ in 0..8 * DAY / 9_000 {
        rig.now = rig.now.advanced(std::time::Duration::from_millis(9_000));
    }
    rig.timers.retain(|timer, _| *timer == GroupTimer::Expiration);
    rig.advance(DAY / 100);
    assert_eq!(fetched(&mut rig, None), [(0, 42)], "the group is subscribed to it");
    rig.leave(&ids[0]);
    rig.advance(7 * DAY - 1);
    assert_eq!(fetched(&mut rig, None), [(0, 42)]);
    rig.advance(DAY / 100);
    assert_eq!(rig.shard.group(GROUP), None);
}

#[test]
fn a_stable_group_loses_offsets_of_topics_that_it_gave_up() {
    let mut rig = Rig::new();
    let other = changed(simple(0), |request, _| request.topics[0].name = "u".into());
    committed(&mut rig, other);
    committed(&mut rig, simple(1));
    rig.stable(1);
    rig.now = rig.now.advanced(std::time::Duration::from_millis(7 * DAY));
    let mut tombstones = super::Tombstones::up_to(1_000);
    super::expire(&rig.shard, rig.now, &mut tombstones);
    assert_eq!(tombstones.events, [super::tombstone(GROUP, "u", 0)]);
}

#[test]
fn a_retention_that_a_client_asks_for_is_kept_to() {
    let mut rig = Rig::new();
    rig.fail_over();
    let request = changed(simple(0), |request, version| {
        request.retention_time_ms = 60_000;
        *version = 4;
    });
    committed(&mut rig, request);
    let value = rig.log.last().unwrap().value.clone().unwrap();
    assert_eq!(&value[..2], &1i16.to_be_bytes(), "the version of the record that can tell it");
    rig.advance(DAY / 100);
    assert_eq!(rig.shard.offset_count(), 0);
}

#[test]
fn an_empty_group_without_offsets_is_gone_at_the_next_check() {
    let mut rig = Rig::new();
    rig.fail_over();
    let ids = rig.stable(1);
    rig.leave(&ids[0]);
    rig.advance(600_000);
    assert_eq!(rig.shard.group(GROUP), None);
    let key = rig.log.last().unwrap();
    assert_eq!((&key.key[..2], &key.value), (&2i16.to_be_bytes()[..], &None));
}

#[test]
fn what_expires_or_goes_with_a_topic_is_written_in_batches_that_fit() {
    let settings = GroupSettings { max_batch_bytes: 2_000, ..Default::default() };
    let filled = || {
        let mut rig = Rig::with(settings.clone());
        rig.fail_over();
        for partition in 0..100 {
            assert_eq!(committed(&mut rig, simple(partition)), ErrorCode::None);
        }
        rig
    };
    let mut rig = filled();
    rig.advance(7 * DAY + DAY / 100);
    assert_eq!((rig.shard.offset_count(), rig.shard.group_count()), (0, 0));

    let mut rig = filled();
    let topics = vec![DeletedTopic { name: "t".into(), id: TOPIC_ID }];
    let mut rounds = 0;
    loop {
        let ticket = rig.send(GroupRequest::TopicsDeleted { topics: topics.clone() });
        rounds += 1;
        if rig.reply(ticket) == Some(GroupReply::TopicsDeleted { done: true }) {
            break;
        }
    }
    assert!(rounds > 1);
    assert_eq!(rig.shard.offset_count(), 0);

    let mut rig = filled();
    let ticket = rig.send(GroupRequest::Delete { group_ids: vec![GROUP.into()] });
    let Some(GroupReply::Delete(results)) = rig.reply(ticket) else { panic!("no results") };
    assert_eq!(error(results[0].error_code), ErrorCode::UnknownServerError);
    assert_eq!(rig.shard.offset_count(), 100);
}

use super::rig::*;
use super::*;
use model::{ErrorCode, Replicated};
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

fn described(
    rig: &mut Rig,
    group_id: &str,
    version: i16,
) -> wire::describe_groups_response::DescribedGroup {
    let group_ids = vec![group_id.to_owned()];
    let ticket = rig.send(GroupRequest::Describe { group_ids, version });
    match rig.reply(ticket) {
        Some(GroupReply::Describe(mut groups)) => groups.remove(0),
        other => panic!("{other:?}"),
    }
}

fn listed(rig: &mut Rig, states: &[&str], types: &[&str]) -> Vec<String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let filter = ListFilter::named(&owned(states), &owned(types));
    let ticket = rig.send(GroupRequest::List(filter));
    match rig.reply(ticket) {
        Some(GroupReply::List { groups, .. }) => {
            let texts = groups.into_iter().map(|group| {
                format!("{} {} {}", group.group_id, group.group_state, group.group_type)
            });
            texts.collect()
        }
        other => panic!("{other:?}"),
    }
}

fn deleted(rig: &mut Rig) -> ErrorCode {
    let ticket = rig.send(GroupRequest::Delete { group_ids: vec![GROUP.into()] });
    match rig.reply(ticket) {
        Some(GroupReply::Delete(results)) => error(results[0].error_code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stable_group_shows_its_protocol_and_what_its_members_say_of_themselves() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let group = described(&mut rig, GROUP, 6);
    assert_eq!((group.group_state.as_str(), group.protocol_type.as_str()), ("Stable", "consumer"));
    assert_eq!(group.protocol_data, "range");
    let member = &group.members[1];
    assert_eq!(member.member_id, ids[1]);
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("app", "/127.0.0.1"));
    assert_eq!(&member.member_assignment[..], b"part 1");
    assert_eq!(member.member_metadata, subscription(&["t"]));
    rig.join(&dynamic(&ids[0]));
    let group = described(&mut rig, GROUP, 6);
    assert_eq!(group.group_state, "PreparingRebalance");
    assert_eq!(group.protocol_data, "");
    assert!(group.members[1].member_metadata.is_empty());
}

#[test]
fn a_group_that_does_not_exist_is_dead_and_from_version_6_on_an_error() {
    let mut rig = Rig::new();
    let group = described(&mut rig, "nothing", 5);
    assert_eq!((group.group_state.as_str(), group.error_code), ("Dead", 0));
    let group = described(&mut rig, "nothing", 6);
    assert_eq!(error(group.error_code), ErrorCode::GroupIdNotFound);
    assert_eq!(group.error_message.as_deref(), Some("Group nothing not found."));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut rig = Rig::new();
    rig.stable(1);
    let all = vec![format!("{GROUP} Stable classic")];
    for (states, types) in [
        (&[][..], &[][..]),
        (&["stable"], &[]),
        (&["Empty", " STABLE "], &["Classic"]),
        (&[], &["consumer", "CLASSIC"]),
    ] {
        assert_eq!(listed(&mut rig, states, types), all, "{states:?} {types:?}");
    }
    for (states, types) in [
        (&["Empty"][..], &[][..]),
        (&[], &["consumer"]),
        (&["nonsense"], &[]),
        (&[], &["nonsense"]),
    ] {
        assert!(listed(&mut rig, states, types).is_empty(), "{states:?} {types:?}");
    }
}

#[test]
fn an_empty_group_is_deleted_with_its_offsets() {
    let mut rig = Rig::new();
    assert_eq!(deleted(&mut rig), ErrorCode::GroupIdNotFound);
    let ids = rig.stable(1);
    rig.send(offsets::tests::commit(&ids[0], None, 1, 0));
    assert_eq!(deleted(&mut rig), ErrorCode::NonEmptyGroup);
    rig.leave(&ids[0]);
    assert_eq!(deleted(&mut rig), ErrorCode::None);
    assert_eq!((rig.shard.group_count(), rig.shard.offset_count()), (0, 0));
    assert_eq!(deleted(&mut rig), ErrorCode::GroupIdNotFound);
}

#[test]
fn a_group_is_deleted_with_as_many_offsets_as_fit_a_batch() {
    let group_id = "g".repeat(20);
    let mut rig = Rig::new();
    for topics in 0..2 {
        let topics = (topics * 50..topics * 50 + 50).map(|n| format!("{n:030}"));
        let partitions = (0..100).map(|partition_index| OffsetCommitRequestPartition {
            partition_index,
            ..Default::default()
        });
        let partitions: Vec<_> = partitions.collect();
        let topics = topics.map(|name| OffsetCommitRequestTopic {
            name,
            topic_id: model::Uuid::ONE,
            partitions: partitions.clone(),
            ..Default::default()
        });
        let request = wire::OffsetCommitRequest {
            group_id: group_id.clone(),
            generation_id_or_member_epoch: -1,
            retention_time_ms: -1,
            topics: topics.collect(),
            ..Default::default()
        };
        rig.send(GroupRequest::OffsetCommit { request, version: 9 });
    }
    assert_eq!(rig.shard.offset_count(), 10_000);
    let ticket = rig.send(GroupRequest::Delete { group_ids: vec![group_id] });
    assert!(matches!(rig.reply(ticket), Some(GroupReply::Delete(results))
        if error(results[0].error_code) == ErrorCode::None));
    assert_eq!((rig.shard.group_count(), rig.shard.offset_count()), (0, 0));
}

#[test]
fn a_group_of_another_protocol_is_left_alone() {
    let mut rig = Rig::new();
    let consumer = |exists| {
        GroupEvent::Record(Record::OtherGroup {
            group_id: GROUP.into(),
            group_type: GroupType::Consumer,
            exists,
        })
    };
    rig.shard.replay(&consumer(true));
    let shard = rig.shard.clone();
    let answer = |request: GroupRequest| {
        let decision = shard.decide(rig.now, model::Ticket(1), request);
        assert!(decision.events.is_empty());
        decision.replies.into_iter().next().map(|(_, reply)| reply)
    };
    let delete = GroupRequest::Delete { group_ids: vec![GROUP.into()] };
    assert!(matches!(answer(delete), Some(GroupReply::Delete(results))
        if error(results[0].error_code) == ErrorCode::NonEmptyGroup));
    let commit = offsets::tests::commit("m", None, 1, 0);
    assert!(matches!(answer(commit), Some(GroupReply::OffsetCommit(response))
        if error(response.topics[0].partitions[0].error_code) == ErrorCode::UnknownMemberId));
    let mut upgraded = shard.clone();
    upgraded.replay(&consumer(false));
    assert_eq!(upgraded.group(GROUP), None);
}

#[test]
fn what_a_shard_that_is_not_here_answers() {
    use ErrorCode::*;
    let heartbeat = GroupRequest::Heartbeat { request: Default::default() };
    for (of_the_log, told) in [
        (CoordinatorLoadInProgress, None),
        (NotLeaderOrFollower, NotCoordinator),
        (NotEnoughReplicas, CoordinatorNotAvailable),
        (MessageTooLarge, UnknownServerError),
    ] {
        assert!(matches!(heartbeat.refuse(of_the_log), GroupReply::Heartbeat(response)
            if error(response.error_code) == told));
    }
    let commit = offsets::tests::commit("m", Option::None, 1, 0);
    assert!(matches!(commit.refuse(NotCoordinator), GroupReply::OffsetCommit(response)
        if error(response.topics[0].partitions[0].error_code) == NotCoordinator));
    let group = Default::default();
    let fetch = GroupRequest::OffsetFetch { group, require_stable: true, version: 8 };
    assert!(matches!(fetch.refuse(RequestTimedOut), GroupReply::OffsetFetch(group)
        if error(group.error_code) == NotCoordinator));
}

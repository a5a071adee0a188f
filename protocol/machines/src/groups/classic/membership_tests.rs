use super::{ClassicGroup, MemberId, State};
use crate::groups::rig::*;
use crate::groups::{GroupReply, GroupRequest, GroupTimer};
use bytes::Bytes;
use model::{ErrorCode, Replicated};
use std::sync::Arc;
use wire::leave_group_request::MemberIdentity;

fn sync_with(rig: &mut Rig, change: impl FnOnce(&mut wire::SyncGroupRequest)) -> ErrorCode {
    let mut request = wire::SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: rig.classic().leader.as_deref().unwrap_or_default().into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    change(&mut request);
    let ticket = rig.send(GroupRequest::Sync { request, version: 5, kept: Default::default() });
    match rig.reply(ticket) {
        Some(GroupReply::Sync(response)) => error(response.error_code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_sync_must_say() {
    type Change = fn(&mut wire::SyncGroupRequest);
    use ErrorCode::*;
    let cases: [(Change, ErrorCode); 11] = [
        (|sync| sync.group_id.clear(), InvalidGroupId),
        (|sync| sync.group_id = "nothing".into(), UnknownMemberId),
        (|sync| sync.member_id = "stranger".into(), UnknownMemberId),
        (|sync| sync.group_instance_id = Some("i".into()), UnknownMemberId),
        (|sync| sync.generation_id = 0, IllegalGeneration),
        (|sync| sync.generation_id = 2, IllegalGeneration),
        (|sync| sync.protocol_type = Some("connect".into()), InconsistentGroupProtocol),
        (|sync| sync.protocol_name = Some("other".into()), InconsistentGroupProtocol),
        (|sync| sync.protocol_type = Option::None, InconsistentGroupProtocol),
        (|sync| sync.protocol_name = Option::None, InconsistentGroupProtocol),
        (|_| {}, None),
    ];
    for (change, expected) in cases {
        let mut rig = Rig::new();
        rig.stable(2);
        assert_eq!(sync_with(&mut rig, change), expected);
    }
}

#[test]
fn before_version_5_a_sync_names_no_protocol() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let request = wire::SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: ids[0].clone(),
        ..Default::default()
    };
    let ticket = rig.send(GroupRequest::Sync { request, version: 4, kept: Default::default() });
    assert_eq!(rig.synced(ticket).as_deref(), Ok("part 0"));
}

#[test]
fn a_sync_of_an_empty_group_is_of_nobody() {
    let mut rig = Rig::new();
    rig.given_id();
    assert_eq!(sync_with(&mut rig, |_| {}), ErrorCode::UnknownMemberId);
}

#[test]
fn a_sync_that_is_sent_again_takes_the_place_of_the_first() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let first = rig.sync(&ids[1], 1, &[]);
    let second = rig.sync(&ids[1], 1, &[]);
    assert_eq!(rig.synced(first), Err(ErrorCode::RebalanceInProgress));
    let leader = rig.sync(&ids[0], 1, &[(&ids[1], "all")]);
    assert_eq!(rig.synced(leader).as_deref(), Ok(""));
    assert_eq!(rig.synced(second).as_deref(), Ok("all"));
}

#[test]
fn what_a_heartbeat_is_told() {
    let mut rig = Rig::new();
    assert_eq!(rig.heartbeat("stranger", 1), ErrorCode::UnknownMemberId);
    let ids = rig.stable(2);
    assert_eq!(rig.heartbeat("stranger", 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&ids[0], 2), ErrorCode::IllegalGeneration);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    rig.join(&dynamic(&ids[0]));
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    let second = rig.join(&dynamic(&ids[1]));
    rig.joined(second);
    assert_eq!(rig.heartbeat(&ids[1], 2), ErrorCode::None);
}

#[test]
fn a_member_that_falls_silent_is_out_and_the_others_rebalance() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    for _ in 0..3 {
        rig.advance(4_000);
        assert_ne!(rig.heartbeat(&ids[0], 1), ErrorCode::UnknownMemberId);
        assert_ne!(rig.heartbeat(&ids[1], 1), ErrorCode::UnknownMemberId);
    }
    assert_eq!(rig.state(), State::PreparingRebalance);
    assert_eq!(rig.heartbeat(&ids[2], 1), ErrorCode::UnknownMemberId);
    let tickets = [rig.join(&dynamic(&ids[0])), rig.join(&dynamic(&ids[1]))];
    for ticket in tickets {
        assert_eq!(rig.joined(ticket).generation_id, 2);
    }
}

#[test]
fn a_member_that_waits_is_not_silent() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let leader = rig.join(&dynamic(&ids[0]));
    for _ in 0..5 {
        rig.advance(5_000);
        assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    assert!(rig.is_parked(leader));
    let follower = rig.join(&dynamic(&ids[1]));
    assert_eq!(rig.joined(leader).generation_id, 2);
    assert_eq!(rig.joined(follower).generation_id, 2);
}

#[test]
fn a_session_begins_again_when_the_assignment_is_handed_out() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let follower = rig.sync(&ids[1], 1, &[]);
    for _ in 0..4 {
        rig.advance(5_000);
        rig.heartbeat(&ids[0], 1);
    }
    let leader = rig.sync(&ids[0], 1, &[]);
    assert!(rig.synced(leader).is_ok() && rig.synced(follower).is_ok());
    rig.advance(SESSION_MS as u64 - 1);
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::None);
}

#[test]
fn whoever_leaves_is_out_with_what_it_waits_for() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let waiting = rig.join(&dynamic(&ids[0]));
    assert_eq!(rig.leave(&ids[0]), ErrorCode::None);
    assert_eq!(rig.join_error(waiting), ErrorCode::UnknownMemberId);
    assert_eq!(rig.leave(&ids[0]), ErrorCode::UnknownMemberId);
    let second = rig.join(&dynamic(&ids[1]));
    assert!(rig.is_parked(second));
    assert_eq!(rig.leave(&ids[2]), ErrorCode::None);
    let response = rig.joined(second);
    assert_eq!((response.generation_id, &response.leader), (2, &ids[1]));
}

#[test]
fn a_member_that_leaves_while_it_waits_for_its_assignment_is_told() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let waiting = rig.sync(&ids[1], 1, &[]);
    assert_eq!(rig.leave(&ids[1]), ErrorCode::None);
    assert_eq!(rig.synced(waiting), Err(ErrorCode::UnknownMemberId));
    assert_eq!(rig.state(), State::PreparingRebalance);
}

#[test]
fn a_pending_member_can_leave() {
    let mut rig = Rig::new();
    let id = rig.given_id();
    assert_eq!(rig.leave(&id), ErrorCode::None);
    let timer = GroupTimer::Member { group_id: GROUP.into(), member_id: id };
    assert!(!rig.timers.contains_key(&timer));
}

#[test]
fn before_version_3_one_member_leaves_and_its_error_is_the_responses() {
    let mut rig = Rig::new();
    let alone = |id: &str| vec![MemberIdentity { member_id: id.into(), ..Default::default() }];
    let response = rig.leave_all(alone("stranger"), 2);
    assert_eq!(error(response.error_code), ErrorCode::UnknownMemberId);
    assert!(response.members.is_empty());
    let response = rig.leave_all(alone("stranger"), 3);
    assert_eq!(response.error_code, 0);
    assert_eq!(error(response.members[0].error_code), ErrorCode::UnknownMemberId);
    let ids = rig.stable(1);
    assert_eq!(rig.leave_all(alone(&ids[0]), 0).error_code, 0);
    assert_eq!(rig.state(), State::Empty);
}

#[test]
fn a_timer_of_nobody_does_nothing() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let before = rig.shard.clone();
    let timers = [
        GroupTimer::Member { group_id: "nothing".into(), member_id: ids[0].clone() },
        GroupTimer::Member { group_id: GROUP.into(), member_id: "stranger".into() },
        GroupTimer::Join { group_id: GROUP.into() },
        GroupTimer::Sync { group_id: GROUP.into() },
    ];
    for timer in timers {
        for event in before.on_timer(rig.now, timer).events {
            rig.shard.replay(&event);
        }
        assert_eq!(rig.shard, before);
    }
}

#[test]
fn what_is_kept_is_a_copy() {
    let frame = Bytes::from(vec![7; 1_000]);
    let mut rig = Rig::new();
    let ids = rig.stabilize(&[dynamic("").version(3).with_metadata(frame.slice(..10))]);
    let member = &rig.classic().members[ids[0].as_str()];
    assert_eq!(member.metadata("range"), frame.slice(..10));
    let kept = member.metadata("range").as_ptr();
    assert!(!frame.as_ptr_range().contains(&kept));
}

/// Each decision is worked out on a copy: with ten thousand members it costs what it does with ten.
#[test]
fn a_copy_of_a_group_copies_no_member() {
    let mut group = ClassicGroup::new(GROUP, None);
    let (pending, instance) = (MemberId::from("pending"), MemberId::from("static"));
    group.pending_joins.insert_mut(pending.clone(), Default::default());
    group.pending_syncs.insert_mut(pending.clone());
    group.static_members.insert_mut("instance".to_owned(), instance.clone());
    let before = [&pending, &instance].map(Arc::strong_count);
    let copy = group.clone();
    assert_eq!([&pending, &instance].map(Arc::strong_count), before);
    assert_eq!(copy, group);
}

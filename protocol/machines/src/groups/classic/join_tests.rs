use std::sync::Arc;

use super::State;
use crate::groups::rig::*;
use crate::groups::{ClientContext, GroupRequest, GroupSettings, JoinGroup, Kept};
use model::ErrorCode;
use wire::join_group_request::JoinGroupRequestProtocol;

fn usual_join() -> JoinGroup {
    JoinGroup {
        client: Default::default(),
        request: wire::JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            ..Default::default()
        },
        version: 9,
        member_uuid: Default::default(),
        kept: Default::default(),
    }
}

fn join_with(rig: &mut Rig, change: impl FnOnce(&mut JoinGroup)) -> ErrorCode {
    let mut join = usual_join();
    change(&mut join);
    let ticket = rig.send(GroupRequest::Join(Box::new(join)));
    rig.join_error(ticket)
}

#[test]
fn what_accounts_for_a_member_is_kept_as_long_as_what_it_brought() {
    let mut rig = Rig::new();
    let claims = [(); 4].map(|()| Arc::new(()));
    let kept = || claims.each_ref().map(|claim| Arc::strong_count(claim) > 1);
    let with = |claim: usize| Kept::new(claims[claim].clone());
    join_with(&mut rig, |join| join.kept = with(0));
    assert_eq!(kept(), [true, false, false, false], "an id waits to be used");
    let joins = JoinGroup { version: 3, kept: with(1), ..usual_join() };
    let joined = rig.send(GroupRequest::Join(Box::new(joins)));
    // The one that was given an id does not come.
    rig.advance(u64::from(SESSION_MS.unsigned_abs()));
    let joined = rig.joined(joined);
    assert_eq!(kept(), [false, true, false, false]);
    let request = wire::SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![Default::default()],
        ..Default::default()
    };
    rig.send(GroupRequest::Sync { request, version: 3, kept: with(2) });
    assert_eq!(kept(), [false, true, true, false]);
    let mut again = JoinGroup { version: 3, kept: with(3), ..usual_join() };
    again.request.member_id = joined.member_id.clone();
    rig.send(GroupRequest::Join(Box::new(again)));
    assert_eq!(kept(), [false, false, true, true], "what it offers now is in the place of that");
    rig.leave(&joined.member_id);
    assert_eq!(kept(), [false; 4]);
}

#[test]
fn what_no_group_takes_in() {
    type Change = fn(&mut JoinGroup);
    let cases: [(Change, ErrorCode); 7] = [
        (|join| join.request.group_id.clear(), ErrorCode::InvalidGroupId),
        (|join| join.request.session_timeout_ms = 5_999, ErrorCode::InvalidSessionTimeout),
        (|join| join.request.session_timeout_ms = 1_800_001, ErrorCode::InvalidSessionTimeout),
        (|join| join.request.member_id = "stranger".into(), ErrorCode::UnknownMemberId),
        (|join| join.request.protocols.clear(), ErrorCode::InconsistentGroupProtocol),
        (|join| join.request.protocol_type.clear(), ErrorCode::InconsistentGroupProtocol),
        (|_| {}, ErrorCode::MemberIdRequired),
    ];
    for (change, expected) in cases {
        assert_eq!(join_with(&mut Rig::new(), change), expected);
    }
}

#[test]
fn what_is_too_large_to_be_written_is_not_kept_until_then() {
    let offer = |name: String, metadata: usize| JoinGroupRequestProtocol {
        name,
        metadata: vec![0; metadata].into(),
        ..Default::default()
    };
    let batch = GroupSettings::default().max_batch_bytes;
    for (protocols, expected) in [
        (vec![offer("range".into(), 3 * batch)], ErrorCode::MemberIdRequired),
        (vec![offer("range".into(), 4 * batch)], ErrorCode::UnknownServerError),
        (vec![offer(String::new(), 0); batch], ErrorCode::UnknownServerError),
    ] {
        let offers = |join: &mut JoinGroup| join.request.protocols = protocols;
        assert_eq!(join_with(&mut Rig::new(), offers), expected);
    }
}

#[test]
fn what_a_stable_group_takes_in() {
    type Change = fn(&mut JoinGroup);
    let cases: [(Change, ErrorCode); 4] = [
        (
            |join| join.request.protocol_type = "connect".into(),
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            |join| join.request.protocols[0].name = "other".into(),
            ErrorCode::InconsistentGroupProtocol,
        ),
        (|join| join.request.member_id = "stranger".into(), ErrorCode::UnknownMemberId),
        (|_| {}, ErrorCode::MemberIdRequired),
    ];
    for (change, expected) in cases {
        let mut rig = Rig::new();
        rig.stable(2);
        assert_eq!(join_with(&mut rig, change), expected);
        assert_eq!(rig.state(), State::Stable);
    }
}

#[test]
fn a_member_id_is_the_client_or_instance_id_and_a_uuid() {
    let mut rig = Rig::new();
    let id = rig.given_id();
    assert_eq!(id, "app-00000000-0000-0000-0000-000000000001");
    let ticket = rig.join(&fixed("one"));
    assert!(rig.is_parked(ticket));
    let member = rig.classic().members.values().next().unwrap().clone();
    assert_eq!(&*member.id, "one-00000000-0000-0000-0000-000000000002");
}

#[test]
fn the_longest_client_id_makes_a_member_id_that_a_record_can_hold() {
    let mut rig = Rig::new();
    let client = ClientContext { client_id: "é".repeat(16_383), ..Default::default() };
    let ticket = rig.join_as(client, &dynamic("").version(3));
    rig.advance(FIRST_REBALANCE_MS);
    let id = rig.joined(ticket).member_id;
    assert_eq!(id.len(), 32_767);
    let sync = rig.sync(&id, 1, &[(&id, "all")]);
    assert_eq!(rig.synced(sync).as_deref(), Ok("all"));
}

#[test]
fn a_new_member_is_asked_to_come_back_with_its_id_from_version_4_on() {
    let mut rig = Rig::new();
    let ticket = rig.join(&dynamic("").version(3));
    assert!(rig.is_parked(ticket));
    let id = rig.given_id();
    assert!(rig.classic().pending_joins.contains_key(id.as_str()));
    let ticket = rig.join(&dynamic(&id));
    assert!(rig.is_parked(ticket));
    assert!(rig.classic().pending_joins.is_empty());
}

#[test]
fn a_group_exists_in_the_log_from_its_first_request_on() {
    let mut rig = Rig::new();
    rig.given_id();
    assert_eq!(rig.log.len(), 1);
    assert!(rig.replayed().group(GROUP).is_some());
}

#[test]
fn a_pending_member_that_does_not_come_back_is_forgotten() {
    let mut rig = Rig::new();
    let id = rig.given_id();
    rig.advance(u64::from(SESSION_MS.unsigned_abs()));
    assert!(rig.classic().pending_joins.is_empty());
    let ticket = rig.join(&dynamic(&id));
    assert_eq!(rig.join_error(ticket), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_a_pending_member_and_not_longer_than_its_session() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let pending = rig.given_id();
    let ticket = rig.join(&dynamic(&ids[0]));
    assert!(rig.is_parked(ticket));
    rig.advance(u64::from(SESSION_MS.unsigned_abs()));
    assert_eq!(rig.joined(ticket).generation_id, 2);
    assert_eq!(rig.leave(&pending), ErrorCode::UnknownMemberId);
}

#[test]
fn the_first_version_takes_the_session_timeout_for_the_rebalance() {
    let mut rig = Rig::new();
    rig.join(&dynamic("").version(0));
    assert_eq!(rig.classic().rebalance_timeout_ms(), SESSION_MS);
}

#[test]
fn the_leader_alone_learns_who_is_there() {
    let mut rig = Rig::new();
    let ids: Vec<String> = (0..3).map(|_| rig.given_id()).collect();
    let tickets: Vec<_> = ids.iter().map(|id| rig.join(&dynamic(id))).collect();
    rig.advance(FIRST_REBALANCE_MS);
    for (ticket, id) in tickets.into_iter().zip(&ids) {
        let response = rig.joined(ticket);
        assert_eq!(response.leader, ids[0]);
        assert_eq!(&response.member_id, id);
        assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        let known: Vec<_> = response.members.iter().map(|member| &member.member_id).collect();
        assert_eq!(known, if *id == ids[0] { ids.iter().collect() } else { Vec::new() });
    }
}

#[test]
fn before_version_7_there_is_no_null_protocol() {
    for (version, expected) in [(6, Some(String::new())), (7, None)] {
        let mut rig = Rig::new();
        let ticket = rig.join(&dynamic("stranger").version(version));
        assert_eq!(rig.joined(ticket).protocol_name, expected);
    }
}

#[test]
fn a_protocol_of_no_name_is_null_from_version_7_on() {
    for (version, expected) in [(3, Some(String::new())), (9, None)] {
        let mut rig = Rig::new();
        let id = rig.given_id();
        let ticket = rig.join(&dynamic(&id).version(version).knowing(&[""]));
        rig.advance(FIRST_REBALANCE_MS);
        assert_eq!(rig.joined(ticket).protocol_name, expected);
    }
}

#[test]
fn the_protocol_is_what_most_prefer_among_those_that_all_know() {
    let mut rig = Rig::new();
    let members = [
        dynamic("").version(3).knowing(&["a", "b", "c"]),
        dynamic("").version(3).knowing(&["b", "c"]),
        dynamic("").version(3).knowing(&["c", "b", "d"]),
    ];
    let tickets: Vec<_> = members.iter().map(|who| rig.join(who)).collect();
    rig.advance(FIRST_REBALANCE_MS);
    assert_eq!(rig.joined(tickets[0]).protocol_name.as_deref(), Some("b"));
}

#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    let mut rig = Rig::new();
    let ticket = rig.join(&dynamic("").version(3).knowing(&["a", "a"]));
    rig.advance(FIRST_REBALANCE_MS);
    assert_eq!(rig.joined(ticket).protocol_name.as_deref(), Some("a"));
}

#[test]
fn a_full_group_takes_no_more() {
    let mut rig = Rig::with(GroupSettings { max_size: 2, ..Default::default() });
    let ids = rig.stable(2);
    let ticket = rig.join(&dynamic(""));
    assert_eq!(rig.join_error(ticket), ErrorCode::GroupMaxSizeReached);
    assert_eq!(rig.state(), State::Stable);
    let ticket = rig.join(&dynamic(&ids[0]));
    assert!(rig.is_parked(ticket));
}

#[test]
fn where_the_limit_was_lowered_the_last_to_rejoin_must_go() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    rig.shard.settings.max_size = 2;
    rig.fail_over();
    assert_eq!(rig.state(), State::PreparingRebalance);
    let stays: Vec<_> = ids[1..].iter().map(|id| rig.join(&dynamic(id))).collect();
    let goes = rig.join(&dynamic(&ids[0]));
    assert_eq!(rig.join_error(goes), ErrorCode::GroupMaxSizeReached);
    rig.advance(u64::from(REBALANCE_MS.unsigned_abs()));
    for ticket in stays {
        assert_eq!(rig.joined(ticket).leader, ids[1]);
    }
}

#[test]
fn members_together_offer_no_more_than_could_be_written() {
    let mut rig = Rig::new();
    let batch = GroupSettings::default().max_batch_bytes;
    let large = |id: &str| dynamic(id).with_metadata(vec![0; 3 * batch].into());
    let (first, second) = (rig.given_id(), rig.given_id());
    let joined = rig.join(&large(&first));
    assert!(rig.is_parked(joined));
    let refused = rig.join(&large(&second));
    assert_eq!(rig.join_error(refused), ErrorCode::GroupMaxSizeReached);
    // What it offers takes the place of what it offered before.
    let again = rig.join(&large(&first));
    assert_eq!(rig.join_error(joined), ErrorCode::RebalanceInProgress);
    assert!(rig.is_parked(again));
    let small = rig.given_id();
    let small = rig.join(&dynamic(&small));
    rig.advance(u64::from(REBALANCE_MS.unsigned_abs()));
    assert_eq!(rig.join_error(small), ErrorCode::None);
}

#[test]
fn pending_members_are_bounded() {
    let mut rig = Rig::new();
    let id = rig.given_id();
    let mut group = (**rig.classic()).clone();
    (0..10_000)
        .for_each(|n| group.pending_joins.insert_mut(format!("p{n}").into(), Default::default()));
    rig.shard.groups.insert(GROUP.into(), crate::groups::Group::Classic(group.into()));
    let ticket = rig.join(&dynamic(""));
    assert_eq!(rig.join_error(ticket), ErrorCode::CoordinatorLoadInProgress);
    let ticket = rig.join(&dynamic(&id));
    assert!(rig.is_parked(ticket));
}

#[test]
fn a_member_that_asks_again_gives_up_its_first_request() {
    let mut rig = Rig::new();
    let id = rig.given_id();
    let first = rig.join(&dynamic(&id));
    let second = rig.join(&dynamic(&id));
    assert_eq!(rig.join_error(first), ErrorCode::RebalanceInProgress);
    rig.advance(FIRST_REBALANCE_MS);
    assert_eq!(rig.join_error(second), ErrorCode::None);
}

#[test]
fn a_new_member_that_waits_too_long_is_asked_to_begin_anew() {
    let mut rig = Rig::new();
    rig.rebalance_timeout_ms = 1_000_000;
    let ids = rig.stable(1);
    let new = rig.given_id();
    let ticket = rig.join(&dynamic(&new));
    let heartbeats = |rig: &mut Rig, count: usize| {
        for _ in 0..count {
            rig.advance(5_000);
            assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
        }
    };
    heartbeats(&mut rig, 59);
    assert!(rig.is_parked(ticket));
    heartbeats(&mut rig, 1);
    assert_eq!(rig.join_error(ticket), ErrorCode::UnknownMemberId);
}

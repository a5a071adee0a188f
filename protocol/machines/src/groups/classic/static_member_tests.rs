use super::State;
use crate::groups::rig::*;
use model::ErrorCode;
use wire::leave_group_request::MemberIdentity;

const REBALANCE: u64 = REBALANCE_MS as u64;

fn stable_static(rig: &mut Rig) -> Vec<String> {
    rig.stabilize(&[fixed("a"), fixed("b"), fixed("c")])
}

fn known(rig: &Rig, instance_id: &str) -> String {
    rig.classic().static_members[instance_id].to_string()
}

#[test]
fn a_static_member_needs_no_id_of_its_own() {
    let mut rig = Rig::new();
    let ticket = rig.join(&fixed("a"));
    assert!(rig.is_parked(ticket));
    assert_eq!(rig.classic().members.size(), 1);
}

#[test]
fn a_restarted_follower_takes_its_place_without_a_rebalance() {
    let mut rig = Rig::new();
    let ids = stable_static(&mut rig);
    let leader = rig.classic().leader.clone().unwrap();
    let records = rig.log.len();
    let ticket = rig.join(&fixed("b"));
    let response = rig.joined(ticket);
    assert_ne!(response.member_id, ids[1]);
    assert_eq!((response.generation_id, response.leader.as_str()), (1, &*leader));
    assert!(!response.skip_assignment);
    assert_eq!(rig.state(), State::Stable);
    assert_eq!(rig.log.len(), records + 1);
    let sync = rig.sync(&response.member_id, 1, &[]);
    assert_eq!(rig.synced(sync).as_deref(), Ok("part 1"));
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&response.member_id, 1), ErrorCode::None);
}

#[test]
fn a_restarted_leader_is_told_to_skip_the_assignment_where_its_version_can() {
    for (version, skips) in [(9, true), (8, false)] {
        let mut rig = Rig::new();
        let ids = stable_static(&mut rig);
        let old = rig.classic().leader.clone().unwrap();
        let place = ids.iter().position(|id| **id == *old).unwrap();
        let instance_id = ["a", "b", "c"][place];
        let ticket = rig.join(&fixed(instance_id).version(version));
        let response = rig.joined(ticket);
        assert_eq!(response.skip_assignment, skips);
        assert_eq!(rig.classic().leader.as_deref(), Some(response.member_id.as_str()));
        if skips {
            assert_eq!(response.leader, response.member_id);
            assert_eq!(response.members.len(), 3);
        } else {
            assert_eq!(response.leader, *old);
            assert!(response.members.is_empty());
        }
    }
}

#[test]
fn a_restart_that_changes_the_protocol_calls_everyone_back() {
    let mut rig = Rig::new();
    rig.stabilize(&[fixed("a").knowing(&["x", "y"]), fixed("b").knowing(&["x", "y"])]);
    assert_eq!(rig.classic().protocol.as_deref(), Some("x"));
    let ticket = rig.join(&fixed("b").knowing(&["y"]));
    assert!(rig.is_parked(ticket));
    assert_eq!(rig.state(), State::PreparingRebalance);
}

#[test]
fn a_second_process_of_the_same_instance_fences_the_first() {
    let mut rig = Rig::new();
    let ids = stable_static(&mut rig);
    let first = rig.join(&fixed("a").named(&ids[0]).with_metadata(subscription(&["u"])));
    assert!(rig.is_parked(first));
    let second = rig.join(&fixed("a"));
    let response = rig.joined(first);
    assert_eq!(error(response.error_code), ErrorCode::FencedInstanceId);
    assert_eq!(response.member_id, ids[0]);
    assert!(rig.is_parked(second));
    for who in [fixed("a").named(&ids[0]), fixed("b").named(&ids[0])] {
        let ticket = rig.join(&who);
        assert_eq!(rig.join_error(ticket), ErrorCode::FencedInstanceId);
    }
    let ticket = rig.join(&fixed("nobody").named(&ids[0]));
    assert_eq!(rig.join_error(ticket), ErrorCode::UnknownMemberId);
}

#[test]
fn a_restart_while_the_leader_assigns_begins_the_rebalance_anew() {
    let mut rig = Rig::new();
    let tickets = [rig.join(&fixed("a")), rig.join(&fixed("b"))];
    rig.advance(FIRST_REBALANCE_MS);
    let ids = tickets.map(|ticket| rig.joined(ticket).member_id);
    let waiting = rig.sync(&ids[1], 1, &[]);
    let again = rig.join(&fixed("b"));
    assert_eq!(rig.synced(waiting), Err(ErrorCode::FencedInstanceId));
    assert_eq!(rig.state(), State::PreparingRebalance);
    assert!(rig.is_parked(again));
    let first = rig.join(&fixed("a").named(&ids[0]));
    assert_eq!(rig.joined(first).generation_id, 2);
    assert_eq!(rig.joined(again).generation_id, 2);
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_until_its_session_ends() {
    let mut rig = Rig::new();
    let ids = stable_static(&mut rig);
    let place = ids.iter().position(|id| rig.classic().is_leader(id)).unwrap();
    let leader = rig.join(&fixed(["a", "b", "c"][place]).named(&ids[place]));
    assert!(rig.is_parked(leader));
    for _ in 0..REBALANCE / 5_000 {
        for id in &ids {
            rig.heartbeat(id, 1);
        }
        rig.advance(5_000);
    }
    assert_eq!(rig.joined(leader).members.len(), 3);
    rig.advance(SESSION_MS as u64 - 1);
    assert_eq!(rig.classic().members.size(), 3);
    rig.advance(1);
    assert!(rig.classic().members.size() < 3);
}

#[test]
fn where_nobody_rejoined_the_rebalance_waits_for_sessions_to_end() {
    let mut rig = Rig::new();
    let ids = stable_static(&mut rig);
    // A member leaves; the others are called back and none comes, but all send heartbeats.
    let left = rig.leave_all(
        vec![MemberIdentity { group_instance_id: Some("a".into()), ..Default::default() }],
        5,
    );
    assert_eq!(left.members[0].error_code, 0);
    for _ in 0..REBALANCE / 5_000 + 1 {
        rig.heartbeat(&ids[1], 1);
        rig.heartbeat(&ids[2], 1);
        rig.advance(5_000);
    }
    assert_eq!((rig.state(), rig.classic().members.size()), (State::PreparingRebalance, 2));
    rig.advance(REBALANCE);
    assert_eq!((rig.state(), rig.classic().members.size()), (State::Empty, 0));
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance() {
    let mut rig = Rig::new();
    let ids = stable_static(&mut rig);
    let of = |member_id: &str, instance_id: &str| MemberIdentity {
        member_id: member_id.into(),
        group_instance_id: Some(instance_id.into()),
        ..Default::default()
    };
    let leaving = vec![of("", "a"), of(&ids[1], "c"), of("", "nobody"), of(&ids[1], "b")];
    let response = rig.leave_all(leaving, 4);
    let errors: Vec<_> = response.members.iter().map(|member| error(member.error_code)).collect();
    use ErrorCode::*;
    assert_eq!(errors, [None, FencedInstanceId, UnknownMemberId, None]);
    assert_eq!(known(&rig, "c"), ids[2]);
    assert_eq!(rig.classic().members.size(), 1);
    assert_eq!(rig.state(), State::PreparingRebalance);
}

use super::State;
use crate::groups::rig::*;
use crate::groups::{Group, GroupSettings};
use model::ErrorCode;

const REBALANCE: u64 = REBALANCE_MS as u64;

#[test]
fn a_first_rebalance_waits_for_newcomers_and_each_extends_the_wait() {
    let mut rig = Rig::new();
    let first = rig.join(&dynamic("").version(3));
    rig.advance(INITIAL_DELAY_MS - 1);
    let second = rig.join(&dynamic("").version(3));
    rig.advance(1);
    assert!(rig.is_parked(first) && rig.is_parked(second));
    rig.advance(INITIAL_DELAY_MS);
    assert_eq!(rig.joined(first).generation_id, 1);
    assert_eq!(rig.joined(second).generation_id, 1);
}

#[test]
fn newcomers_extend_a_first_rebalance_up_to_its_timeout() {
    let mut rig = Rig::new();
    let first = rig.join(&dynamic("").version(3));
    for _ in 0..REBALANCE / INITIAL_DELAY_MS - 1 {
        rig.advance(INITIAL_DELAY_MS - 1);
        rig.join(&dynamic("").version(3));
        rig.advance(1);
        assert!(rig.is_parked(first));
    }
    rig.advance(INITIAL_DELAY_MS - 1);
    rig.join(&dynamic("").version(3));
    rig.advance(1);
    assert_eq!(rig.joined(first).generation_id, 1);
}

#[test]
fn without_a_delay_the_first_member_is_joined_at_once_by_its_timer() {
    let settings = GroupSettings { initial_rebalance_delay_ms: 0, ..Default::default() };
    let mut rig = Rig::with(settings);
    let ticket = rig.join(&dynamic("").version(3));
    rig.advance(0);
    assert_eq!(rig.joined(ticket).generation_id, 1);
}

/// Their answers are held back until their assignment is committed.
#[test]
fn those_who_are_not_told_of_their_assignment_yet_learn_of_the_next_rebalance_at_once() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let asked_again: Vec<_> = ids.iter().map(|id| rig.sync(id, 1, &[])).collect();
    rig.join(&dynamic(&ids[0]).with_metadata("more".into()));
    for ticket in asked_again {
        assert_eq!(rig.synced(ticket), Err(ErrorCode::RebalanceInProgress));
    }
    let follower = rig.join(&dynamic(&ids[1]));
    assert_eq!(rig.joined(follower).generation_id, 2);
    let synced = [rig.sync(&ids[0], 2, &[(&ids[0], "all")]), rig.sync(&ids[1], 2, &[])];
    rig.join(&dynamic(&ids[0]));
    for ticket in synced {
        assert_eq!(rig.synced(ticket), Err(ErrorCode::RebalanceInProgress));
    }
}

/// An eager walk: one member joins two others, who are called back, give up all they have and get anew.
#[test]
fn three_members_rebalance_eagerly() {
    let mut rig = Rig::new();
    let mut ids = rig.stable(2);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    ids.push(rig.given_id());
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    let third = rig.join(&dynamic(&ids[2]));
    assert_eq!(rig.state(), State::PreparingRebalance);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let late_sync = rig.sync(&ids[0], 1, &[]);
    assert_eq!(rig.synced(late_sync), Err(ErrorCode::RebalanceInProgress));
    let first = rig.join(&dynamic(&ids[0]));
    assert!(rig.is_parked(first) && rig.is_parked(third));
    let second = rig.join(&dynamic(&ids[1]));
    for ticket in [first, second, third] {
        let response = rig.joined(ticket);
        assert_eq!((response.generation_id, &response.leader), (2, &ids[0]));
    }
    assert_eq!(rig.state(), State::CompletingRebalance);
    let follower = rig.sync(&ids[1], 2, &[]);
    assert!(rig.is_parked(follower));
    let parts = [(ids[0].as_str(), "x"), (ids[1].as_str(), "y")];
    let leader = rig.sync(&ids[0], 2, &parts);
    assert_eq!(rig.synced(leader).as_deref(), Ok("x"));
    assert_eq!(rig.synced(follower).as_deref(), Ok("y"));
    assert_eq!(rig.state(), State::Stable);
    let last = rig.sync(&ids[2], 2, &[]);
    assert_eq!(rig.synced(last).as_deref(), Ok(""));
    assert!(rig.classic().pending_syncs.is_empty());
}

/// A cooperative walk: the leader takes a partition from one in the first round, which rejoins with what it kept, so that
/// the second round can give it to another.
#[test]
fn three_members_rebalance_cooperatively() {
    let owning = |what: &str| {
        let mut metadata = subscription(&["t"]).to_vec();
        metadata.extend_from_slice(what.as_bytes());
        metadata
    };
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let parts = |a, b, c| [(ids[0].as_str(), a), (ids[1].as_str(), b), (ids[2].as_str(), c)];

    // The leader noticed new partitions and joins again; the others follow, with what they own.
    let mut tickets = vec![rig.join(&dynamic(&ids[0]))];
    for id in &ids[1..] {
        assert_eq!(rig.heartbeat(id, 1), ErrorCode::RebalanceInProgress);
        tickets.push(rig.join(&dynamic(id).with_metadata(owning("0,1").into())));
    }
    for ticket in tickets {
        assert_eq!(rig.joined(ticket).generation_id, 2);
    }
    let leader = rig.sync(&ids[0], 2, &parts("2", "0", ""));
    assert_eq!(rig.synced(leader).as_deref(), Ok("2"));
    let second = rig.sync(&ids[1], 2, &[]);
    assert_eq!(rig.synced(second).as_deref(), Ok("0"));

    // The second gave up a partition: its changed metadata calls everyone back once more.
    let second = rig.join(&dynamic(&ids[1]).with_metadata(owning("0").into()));
    assert!(rig.is_parked(second));
    assert_eq!(rig.heartbeat(&ids[0], 2), ErrorCode::RebalanceInProgress);
    let first = rig.join(&dynamic(&ids[0]));
    let third = rig.join(&dynamic(&ids[2]).with_metadata(owning("").into()));
    for ticket in [first, second, third] {
        assert_eq!(rig.joined(ticket).generation_id, 3);
    }
    let leader = rig.sync(&ids[0], 3, &parts("2", "0", "1"));
    let third = rig.sync(&ids[2], 3, &[]);
    assert_eq!(rig.synced(leader).as_deref(), Ok("2"));
    assert_eq!(rig.synced(third).as_deref(), Ok("1"));
}

#[test]
fn an_unchanged_follower_goes_on_and_a_leader_calls_everyone_back() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let follower = rig.join(&dynamic(&ids[1]));
    let response = rig.joined(follower);
    assert_eq!((response.generation_id, &response.leader), (1, &ids[0]));
    assert!(response.members.is_empty());
    assert_eq!(rig.state(), State::Stable);
    let leader = rig.join(&dynamic(&ids[0]));
    assert!(rig.is_parked(leader));
    assert_eq!(rig.state(), State::PreparingRebalance);
}

#[test]
fn a_follower_with_new_metadata_calls_everyone_back() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let follower = rig.join(&dynamic(&ids[1]).with_metadata(subscription(&["u"])));
    assert!(rig.is_parked(follower));
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_lost_join_response_is_given_again_and_a_change_begins_anew() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let again = rig.join(&dynamic(&ids[0]));
    let response = rig.joined(again);
    assert_eq!((response.generation_id, response.members.len()), (1, 2));
    let again = rig.join(&dynamic(&ids[1]));
    assert_eq!(rig.joined(again).members.len(), 0);

    let waiting = rig.sync(&ids[1], 1, &[]);
    let changed = rig.join(&dynamic(&ids[0]).with_metadata(subscription(&["u"])));
    assert_eq!(rig.synced(waiting), Err(ErrorCode::RebalanceInProgress));
    assert!(rig.is_parked(changed));
    assert_eq!(rig.state(), State::PreparingRebalance);
}

#[test]
fn members_that_do_not_rejoin_in_time_are_out_and_another_leads() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let second = rig.join(&dynamic(&ids[1]).with_metadata(subscription(&["u"])));
    for _ in 0..REBALANCE / 5_000 {
        rig.heartbeat(&ids[0], 1);
        rig.heartbeat(&ids[2], 1);
        rig.advance(5_000);
    }
    let response = rig.joined(second);
    assert_eq!((response.generation_id, &response.leader), (2, &ids[1]));
    assert_eq!(response.members.len(), 1);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn members_that_joined_and_never_sync_are_out() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let follower = rig.sync(&ids[1], 1, &[]);
    for _ in 0..REBALANCE / 5_000 {
        rig.heartbeat(&ids[0], 1);
        rig.advance(5_000);
    }
    assert_eq!(rig.synced(follower), Err(ErrorCode::RebalanceInProgress));
    assert!(!rig.classic().members.contains_key(ids[0].as_str()));
    assert!(rig.classic().is_leader(&ids[1]));
}

#[test]
fn a_stable_group_goes_on_without_a_follower_that_never_synced() {
    let mut rig = Rig::new();
    let ids = [rig.given_id(), rig.given_id()];
    let tickets = ids.each_ref().map(|id| rig.join(&dynamic(id)));
    rig.advance(FIRST_REBALANCE_MS);
    for ticket in tickets {
        rig.joined(ticket);
    }
    let leader = rig.sync(&ids[0], 1, &[]);
    assert!(rig.synced(leader).is_ok());
    for _ in 0..REBALANCE / 5_000 {
        rig.heartbeat(&ids[0], 1);
        rig.heartbeat(&ids[1], 1);
        rig.advance(5_000);
    }
    assert_eq!(rig.state(), State::PreparingRebalance);
    assert!(!rig.classic().members.contains_key(ids[1].as_str()));
}

#[test]
fn an_assignment_that_fits_no_record_is_refused_and_the_group_begins_anew() {
    let settings = GroupSettings { max_batch_bytes: 4_000, ..Default::default() };
    let mut rig = Rig::with(settings);
    let ids = rig.stable(2);
    let leader = rig.join(&dynamic(&ids[0]));
    let follower = rig.join(&dynamic(&ids[1]));
    rig.joined(leader);
    rig.joined(follower);
    let records = rig.log.len();
    let follower = rig.sync(&ids[1], 2, &[]);
    let leader = rig.sync(&ids[0], 2, &[(&ids[1], &"x".repeat(4_000))]);
    assert_eq!(rig.synced(leader), Err(ErrorCode::UnknownServerError));
    assert_eq!(rig.synced(follower), Err(ErrorCode::UnknownServerError));
    assert_eq!(rig.state(), State::PreparingRebalance);
    assert_eq!(rig.log.len(), records);
}

#[test]
fn a_failover_keeps_the_generation_and_gives_members_their_session_time() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    rig.fail_over();
    assert_eq!(rig.state(), State::Stable);
    rig.advance(SESSION_MS as u64 - 1);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    let again = rig.sync(&ids[0], 1, &[]);
    assert_eq!(rig.synced(again).as_deref(), Ok("part 0"));
    rig.advance(1);
    assert!(!rig.classic().members.contains_key(ids[1].as_str()));
}

#[test]
fn a_failover_in_a_rebalance_goes_back_to_the_last_generation() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    rig.join(&dynamic(&ids[0]));
    rig.fail_over();
    assert_eq!((rig.state(), rig.classic().generation), (State::Stable, 1));
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::None);
}

#[test]
fn a_group_without_members_is_empty_and_keeps_its_protocol_type() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    assert_eq!(rig.leave(&ids[0]), ErrorCode::None);
    let group = rig.classic();
    assert_eq!((group.state, group.generation), (State::Empty, 2));
    assert_eq!(group.protocol_type.as_deref(), Some("consumer"));
    assert_eq!((group.protocol.as_ref(), group.leader.as_ref()), (None, None));
    let Some(Group::Classic(replayed)) = rig.replayed().group(GROUP).cloned() else {
        panic!("the group is in the log");
    };
    assert_eq!((replayed.state, replayed.generation), (State::Empty, 2));
}

use std::time::Duration;

use model::{Now, Uuid};

use super::changes_tests::config;
use super::*;
use crate::metadata::LevelRange;

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id, directory_id: Uuid::from_u128(1000 + id as u128) }
}

fn voter(id: i32) -> Voter {
    let endpoint =
        VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
    Voter { key: key(id), endpoints: vec![endpoint], kraft_versions: LevelRange { min: 0, max: 1 } }
}

pub(super) fn at(ms: u64) -> Now {
    Now::new(Duration::from_millis(ms), 0)
}

fn node(id: i32) -> Consensus {
    node_that(id, false)
}

fn node_that(id: i32, fast_failover: bool) -> Consensus {
    Consensus::new(ConsensusConfig { fast_failover, jitter_seed: id as u64, ..config(voter(id)) })
}

fn start(
    state: Option<QuorumState>,
    log_end: (i32, i64),
    voters: &[i32],
    kraft_version: i16,
) -> Event {
    Event::Start {
        state,
        log_end: OffsetAndEpoch { epoch: log_end.0, offset: log_end.1 },
        voters: VotersAt {
            voters: VoterSet::new(voters.iter().map(|id| match kraft_version {
                0 => fixed_voter(*id),
                _ => voter(*id),
            })),
            offset: None,
            kraft_version,
            before: VoterSet::default(),
        },
    }
}

/// The settings name no directories.
fn fixed_voter(id: i32) -> Voter {
    Voter { key: ReplicaKey { directory_id: Uuid::ZERO, ..key(id) }, ..voter(id) }
}

pub(super) fn step(node: &mut Consensus, now: Now, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    node.step(now, event, &mut effects);
    effects
}

fn led(epoch: i32, id: i32) -> QuorumState {
    QuorumState { epoch, leader_id: Some(id), voted: None }
}

#[test]
fn a_sole_voter_leads_at_once() {
    let mut sole = node(1);
    let effects = step(&mut sole, at(0), start(None, (0, 0), &[1], 0));
    assert_eq!(effects[0], Effect::PersistQuorumState(led(1, 1)));
    assert_eq!(effects[1], Effect::LeaderChanged { leader_id: Some(1), epoch: 1 });
    assert_eq!(effects[2], Effect::BecameLeader { epoch: 1, start_offset: 0 });
    let Effect::AppendControl { epoch: 1, records } = &effects[3] else { panic!("{effects:?}") };
    assert_eq!(records.len(), 1);
    let ControlRecord::LeaderChange(change) = &records[0] else { panic!("{records:?}") };
    assert_eq!(
        (change.version, change.leader_id, change.voters.len(), change.granting_voters.len()),
        (0, 1, 1, 1)
    );
    assert_eq!(effects.len(), 4, "no timer: nothing is waited for");
}

#[test]
fn a_restarted_sole_voter_wins_a_new_epoch() {
    for stored in [
        Some(led(5, 1)),
        Some(QuorumState { epoch: 5, leader_id: None, voted: Some(key(1)) }),
        None,
    ] {
        let mut sole = node(1);
        let effects = step(&mut sole, at(0), start(stored, (5, 40), &[1], 1));
        assert_eq!(effects[0], Effect::PersistQuorumState(led(6, 1)), "{stored:?}");
        assert!(effects.contains(&Effect::BecameLeader { epoch: 6, start_offset: 40 }));
    }
}

#[test]
fn the_first_epoch_of_a_dynamic_quorum_writes_the_voters() {
    let mut sole = node(1);
    let effects = step(&mut sole, at(0), start(None, (0, 0), &[1], 1));
    let Some(Effect::AppendControl { records, .. }) = effects.get(3) else { panic!("{effects:?}") };
    let types: Vec<i16> = records.iter().map(|r| r.kind() as i16).collect();
    assert_eq!(types, [2, 5, 6]);
    let ControlRecord::Voters(written) = &records[2] else { panic!("{records:?}") };
    assert_eq!(VoterSet::from_record(written), VoterSet::new([voter(1)]));
}

#[test]
fn voters_that_the_log_holds_are_not_written_again() {
    let mut sole = node(1);
    let event = Event::Start {
        state: Some(led(3, 1)),
        log_end: OffsetAndEpoch { epoch: 3, offset: 9 },
        voters: VotersAt {
            voters: VoterSet::new([voter(1)]),
            offset: Some(2),
            kraft_version: 1,
            before: VoterSet::default(),
        },
    };
    let effects = step(&mut sole, at(0), event);
    let appended = effects.iter().find_map(|e| match e {
        Effect::AppendControl { records, .. } => Some(records.len()),
        _ => None,
    });
    assert_eq!(appended, Some(1));
}

#[test]
fn the_high_watermark_waits_for_the_flush_of_this_epoch() {
    let mut sole = node(1);
    step(&mut sole, at(0), start(Some(led(1, 1)), (1, 10), &[1], 0));
    assert_eq!(sole.high_watermark(), None);
    let end = OffsetAndEpoch { epoch: 2, offset: 12 };
    assert_eq!(step(&mut sole, at(1), Event::Appended { end }), []);
    assert_eq!(
        step(&mut sole, at(1), Event::Flushed { end_offset: 10 }),
        [],
        "nothing of this epoch yet"
    );
    let flushed = step(&mut sole, at(1), Event::Flushed { end_offset: 12 });
    assert_eq!(flushed, [Effect::AdvanceHighWatermark { offset: 12 }]);
    assert_eq!(step(&mut sole, at(1), Event::Flushed { end_offset: 11 }), [], "never back");
}

#[test]
fn a_resigned_leader_leads_no_more() {
    let mut sole = node(1);
    step(&mut sole, at(0), start(None, (0, 0), &[1], 0));
    let effects = step(&mut sole, at(1), Event::Resign);
    assert_eq!(effects, [Effect::LeaderChanged { leader_id: None, epoch: 1 }]);
    assert!(!sole.is_leader());
    assert_eq!(step(&mut sole, at(1), Event::Flushed { end_offset: 9 }), []);
}

/// Runs the nodes against each other until no message is left, dropping those to and from the lost.
fn deliver(nodes: &mut [Consensus], now: Now, mut queue: Vec<(i32, Effect)>, lost: &[i32]) {
    while let Some((from, effect)) = queue.pop() {
        let index = |id: i32| (id - 1) as usize;
        match effect {
            Effect::AskForVote { to, request } if !lost.contains(&to.id) => {
                let answers = step(
                    &mut nodes[index(to.id)],
                    now,
                    Event::VoteRequested { ticket: 0, request },
                );
                for effect in answers {
                    if let Effect::AnswerVote { answer, .. } = effect {
                        let counted = Event::VoteAnswered { from: to, answer };
                        let more = step(&mut nodes[index(from)], now, counted);
                        queue.extend(more.into_iter().map(|e| (from, e)));
                    }
                }
            }
            Effect::AnnounceLeader { to, epoch } if !lost.contains(&to.id) => {
                step(
                    &mut nodes[index(to.id)],
                    now,
                    Event::LeaderAnnounced { leader_id: from, epoch },
                );
            }
            _ => {}
        }
    }
}

fn three() -> Vec<Consensus> {
    let mut nodes: Vec<Consensus> = (1..=3).map(node).collect();
    for node in &mut nodes {
        step(node, at(0), start(None, (0, 0), &[1, 2, 3], 1));
        assert!(matches!(node.role(), Role::Unattached { deadline: Some(_) }));
    }
    nodes
}

#[test]
fn of_three_the_first_to_wake_is_elected() {
    let mut nodes = three();
    let asked = step(&mut nodes[1], at(5000), Event::Tick);
    deliver(&mut nodes, at(5000), asked.into_iter().map(|e| (2, e)).collect(), &[]);
    assert!(nodes[1].is_leader());
    assert_eq!(nodes[1].epoch(), 1);
    for follower in [&nodes[0], &nodes[2]] {
        assert!(matches!(follower.role(), Role::Follower { .. }));
        assert_eq!(follower.leader_id(), Some(2));
    }
    let end = OffsetAndEpoch { epoch: 1, offset: 3 };
    step(&mut nodes[1], at(5001), Event::Appended { end });
    assert_eq!(
        step(&mut nodes[1], at(5001), Event::Flushed { end_offset: 3 }),
        [],
        "one of three is no majority"
    );
    let fetched = step(&mut nodes[1], at(5002), Event::Fetched { replica: key(3), offset: 3 });
    assert!(fetched.contains(&Effect::AdvanceHighWatermark { offset: 3 }));
}

#[test]
fn without_a_majority_the_epoch_is_not_raised() {
    let mut nodes = three();
    let asked = step(&mut nodes[0], at(5000), Event::Tick);
    deliver(&mut nodes, at(5000), asked.into_iter().map(|e| (1, e)).collect(), &[2, 3]);
    assert!(matches!(nodes[0].role(), Role::Prospective { .. }));
    assert_eq!(nodes[0].epoch(), 0);
}

#[test]
fn a_shorter_log_gets_no_vote() {
    let mut longer = node(2);
    step(&mut longer, at(0), start(None, (3, 20), &[1, 2, 3], 1));
    for (epoch, offset, granted) in [(3, 19, false), (2, 99, false), (3, 20, true), (4, 1, true)] {
        let request = VoteRequest {
            candidate: key(1),
            epoch: 7,
            log_end: OffsetAndEpoch { epoch, offset },
            pre_vote: true,
        };
        let effects = step(&mut longer, at(1), Event::VoteRequested { ticket: 9, request });
        let answer = effects.iter().find_map(|e| match e {
            Effect::AnswerVote { ticket: 9, answer } => Some(answer.granted),
            _ => None,
        });
        assert_eq!(answer, Some(granted), "{epoch} {offset}");
    }
}

#[test]
fn a_vote_is_given_once_an_epoch_and_kept() {
    let mut voter = node(2);
    step(&mut voter, at(0), start(None, (0, 0), &[1, 2, 3], 1));
    let ask = |id: i32| VoteRequest {
        candidate: key(id),
        epoch: 4,
        log_end: OffsetAndEpoch::EMPTY,
        pre_vote: false,
    };
    let first = step(&mut voter, at(1), Event::VoteRequested { ticket: 1, request: ask(1) });
    let voted = QuorumState { epoch: 4, leader_id: None, voted: Some(key(1)) };
    assert_eq!(first[0], Effect::PersistQuorumState(voted), "on disk before the answer leaves");
    let answered = |effects: &[Effect]| {
        effects.iter().any(|e| {
            matches!(e, Effect::AnswerVote { answer: VoteAnswer { granted: true, .. }, .. })
        })
    };
    assert!(answered(&first));
    assert!(!answered(&step(
        &mut voter,
        at(2),
        Event::VoteRequested { ticket: 2, request: ask(3) }
    )));
    assert!(answered(&step(
        &mut voter,
        at(3),
        Event::VoteRequested { ticket: 3, request: ask(1) }
    )));
}

#[test]
fn a_leader_that_nobody_fetches_from_resigns() {
    let mut nodes = three();
    let asked = step(&mut nodes[0], at(5000), Event::Tick);
    deliver(&mut nodes, at(5000), asked.into_iter().map(|e| (1, e)).collect(), &[]);
    step(&mut nodes[0], at(6000), Event::Fetched { replica: key(2), offset: 1 });
    step(&mut nodes[0], at(8500), Event::Tick);
    assert!(nodes[0].is_leader(), "heard of a majority at 6000");
    step(&mut nodes[0], at(9000), Event::Tick);
    assert!(matches!(nodes[0].role(), Role::Resigned { .. }));
}

#[test]
fn quorum_state_keeps_what_its_version_can_say() {
    let voters = VoterSet::new([voter(1)]);
    let state = QuorumState { epoch: 3, leader_id: None, voted: Some(key(1)) };
    let (dynamic, version) = state.to_data(1, &voters);
    assert_eq!((version, dynamic.current_voters.is_none()), (1, true));
    assert_eq!(QuorumState::from_data(&dynamic), state);
    let (fixed, version) = state.to_data(0, &voters);
    assert_eq!((version, fixed.current_voters.as_ref().map(Vec::len)), (0, Some(1)));
    assert_eq!(fixed.voted_directory_id, Uuid::ZERO);
}

#[test]
fn control_records_are_read_as_they_were_written() {
    let header = ControlRecord::snapshot_head(77, 1, Some(&VoterSet::new([voter(1), voter(2)])));
    let change = records::leader_change(3, [key(3), key(4)].into_iter(), [key(3)].into_iter());
    for record in header.into_iter().chain([change, ControlRecord::snapshot_footer()]) {
        let value = record.value().unwrap();
        assert_eq!(ControlRecord::parse(record.kind(), value), Ok(Some(record)));
    }
    // As Kafka 4.4.0 wrote it when node 1, alone, came to lead.
    let alone = records::leader_change(1, [key(1)].into_iter(), [key(1)].into_iter());
    let bytes = [0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0];
    assert_eq!(alone.value().unwrap().as_ref(), bytes);
}

/// When it wants to be told the time next.
fn wakes(effects: &[Effect]) -> Option<Duration> {
    let at = |effect: &Effect| match effect {
        Effect::WakeAt(at) => Some(*at),
        _ => None,
    };
    effects.iter().rev().find_map(at)
}

#[test]
fn the_first_election_of_all_waits_for_nothing_and_the_voters_stand_in_turn() {
    let ms = Duration::from_millis;
    for (id, from, to) in [(1, 0, 25), (2, 50, 75), (3, 100, 125)] {
        let woken =
            wakes(&step(&mut node_that(id, true), at(0), start(None, (0, 0), &[1, 2, 3], 0)));
        assert!(woken.is_some_and(|at| at >= ms(from) && at < ms(to)), "voter {id}: {woken:?}");
        let woken = wakes(&step(&mut node(id), at(0), start(None, (0, 0), &[1, 2, 3], 0)));
        assert!(woken.is_some_and(|at| at >= ms(1000)), "voter {id}: {woken:?}");
    }
}

#[test]
fn a_leader_whose_process_is_gone_is_replaced_without_a_timeout() {
    for fast in [true, false] {
        let mut second = node_that(2, fast);
        step(&mut second, at(0), start(Some(led(4, 1)), (4, 9), &[1, 2, 3], 0));
        step(&mut second, at(1), Event::FetchAnswered { high_watermark: Some(9) });
        let ask = |candidate: i32| VoteRequest {
            candidate: key(candidate),
            epoch: 4,
            log_end: OffsetAndEpoch { epoch: 4, offset: 9 },
            pre_vote: true,
        };
        let granted = |node: &mut Consensus| {
            let asked = Event::VoteRequested { ticket: 1, request: ask(3) };
            let answers = step(node, at(10), asked);
            answers.iter().any(|e| matches!(e, Effect::AnswerVote { answer, .. } if answer.granted))
        };
        assert!(!granted(&mut second), "it has a leader");
        // Of another epoch, or another node: that says nothing.
        step(&mut second, at(10), Event::LeaderGone { leader_id: 1, epoch: 3 });
        step(&mut second, at(10), Event::LeaderGone { leader_id: 3, epoch: 4 });
        assert!(!granted(&mut second), "its leader is there");
        let gone = Event::LeaderGone { leader_id: 1, epoch: 4 };
        let woken = wakes(&step(&mut second, at(10), gone.clone()));
        assert_eq!(granted(&mut second), fast);
        let Some(woken) = woken.filter(|_| fast) else { continue };
        assert!(
            woken < Duration::from_millis(10 + 25),
            "the first of those that are left: {woken:?}"
        );
        assert_eq!(wakes(&step(&mut second, at(12), gone)), None, "said again it is no news");
        let asked = step(&mut second, at(40), Event::Tick);
        assert!(
            asked
                .iter()
                .any(|e| matches!(e, Effect::AskForVote { request, .. } if request.pre_vote))
        );
        // The other one has heard of its leader since: it is followed on, until its end is seen once more.
        let refused = VoteAnswer { epoch: 4, leader_id: Some(1), granted: false, pre_vote: true };
        step(&mut second, at(41), Event::VoteAnswered { from: key(3), answer: refused });
        assert!(matches!(second.role(), Role::Follower { .. }));
        let gone = Event::LeaderGone { leader_id: 1, epoch: 4 };
        let woken = wakes(&step(&mut second, at(60), gone)).expect("another try");
        assert!(woken < Duration::from_millis(60 + 50), "{woken:?}");
    }
}

/// A log of an epoch that is over may reach further than the leader's snapshot that takes its place.
#[test]
fn what_was_on_disk_of_another_log_counts_for_nothing() {
    let mut second = node(2);
    step(&mut second, at(0), start(Some(led(5, 1)), (3, 200), &[1, 2, 3], 0));
    let end = |epoch, offset| Event::Appended { end: OffsetAndEpoch { epoch, offset } };
    step(&mut second, at(1), end(5, 180));
    step(&mut second, at(1), Event::Flushed { end_offset: 180 });
    let mut nodes = three();
    nodes[1] = second;
    let asked = step(&mut nodes[1], at(5000), Event::Tick);
    deliver(&mut nodes, at(5000), asked.into_iter().map(|e| (2, e)).collect(), &[]);
    let second = &mut nodes[1];
    assert!(second.is_leader());
    step(second, at(5001), end(6, 195));
    let fetched = step(second, at(5002), Event::Fetched { replica: key(3), offset: 195 });
    assert_eq!(fetched, [], "the leader has not written it to disk, so one of three has");
    let flushed = step(second, at(5003), Event::Flushed { end_offset: 195 });
    assert!(flushed.contains(&Effect::AdvanceHighWatermark { offset: 195 }));
}

/// Node 1, elected by two of the four others in epoch 4, with a log that ended at 100.
fn leader_of_five() -> Consensus {
    let mut leader = node(1);
    step(&mut leader, at(0), start(None, (3, 100), &[1, 2, 3, 4, 5], 0));
    step(&mut leader, at(5000), Event::Tick);
    for pre_vote in [true, false] {
        for id in [2, 3] {
            let epoch = leader.epoch();
            let answer = VoteAnswer { epoch, leader_id: None, granted: true, pre_vote };
            step(&mut leader, at(5000), Event::VoteAnswered { from: key(id), answer });
        }
    }
    assert!(leader.is_leader() && leader.epoch() == 4);
    leader
}

#[test]
fn a_leader_of_five_needs_two_that_fetch() {
    for (fetching, leads) in [(&[2][..], false), (&[2, 5], true), (&[2, 77], false)] {
        let mut leader = leader_of_five();
        for ms in [6000, 7000, 7900] {
            for id in fetching {
                let replica = key(*id);
                step(&mut leader, at(ms), Event::Fetched { replica, offset: 100 });
            }
        }
        step(&mut leader, at(8000), Event::Tick);
        assert_eq!(leader.is_leader(), leads, "{fetching:?}");
    }
}

/// What a voter had on a disk that was replaced is lost, whatever it said of it.
#[test]
fn a_voter_that_comes_back_with_another_directory_has_what_that_one_holds() {
    let mut leader = leader_of_five();
    let end = OffsetAndEpoch { epoch: 4, offset: 200 };
    step(&mut leader, at(5001), Event::Appended { end });
    step(&mut leader, at(5001), Event::Flushed { end_offset: 200 });
    let replaced = ReplicaKey { directory_id: Uuid::from_u128(5), ..key(2) };
    for (replica, offset) in [(key(2), 120), (replaced, 0), (key(4), 90), (key(5), 90)] {
        step(&mut leader, at(5002), Event::Fetched { replica, offset });
    }
    let fetched = step(&mut leader, at(5003), Event::Fetched { replica: key(3), offset: 120 });
    assert_eq!((fetched, leader.high_watermark()), (vec![], None), "two disks of five");
    let Role::Leader(state) = leader.role() else { panic!("no leader") };
    assert_eq!(state.replicas().count(), 4);
}

#[test]
fn a_candidate_of_a_fixed_quorum_goes_on_after_a_restart() {
    let stored = QuorumState { epoch: 5, leader_id: None, voted: Some(fixed_voter(1).key) };
    let mut candidate = node(1);
    let effects = step(&mut candidate, at(0), start(Some(stored), (4, 9), &[1, 2, 3], 0));
    let asks = |effect: &Effect| matches!(effect, Effect::AskForVote { request, .. } if request.epoch == 5 && !request.pre_vote);
    assert_eq!(effects.iter().filter(|effect| asks(effect)).count(), 2, "{effects:?}");
}

#[test]
fn a_node_that_stops_stands_for_no_election() {
    let later = at(100_000);
    let mut follower = node(2);
    step(&mut follower, at(0), start(Some(led(4, 1)), (4, 9), &[1, 2, 3], 0));
    step(&mut follower, at(1), Event::Resign);
    assert_eq!(step(&mut follower, later, Event::Tick), []);
    let asked = VoteRequest {
        candidate: key(3),
        epoch: 8,
        log_end: OffsetAndEpoch { epoch: 4, offset: 8 },
        pre_vote: false,
    };
    let mut leader = leader_of_five();
    step(&mut leader, at(5001), Event::Resign);
    for mut node in [follower, leader] {
        step(&mut node, at(6000), Event::VoteRequested { ticket: 1, request: asked });
        assert_eq!((node.epoch(), step(&mut node, later, Event::Tick)), (8, vec![]));
    }
    let mut candidate = node(3);
    step(&mut candidate, at(0), start(None, (3, 100), &[1, 2, 3], 0));
    step(&mut candidate, at(5000), Event::Tick);
    step(&mut candidate, at(5001), Event::Resign);
    let answer = VoteAnswer { epoch: 3, leader_id: None, granted: true, pre_vote: true };
    assert_eq!(step(&mut candidate, at(5002), Event::VoteAnswered { from: key(1), answer }), []);
}

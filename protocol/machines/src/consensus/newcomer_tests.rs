use model::Uuid;

use super::changes_tests::config;
use super::tests::{at, step};
use super::*;

const VOTERS: [i32; 3] = [1, 2, 3];

fn voter(id: i32) -> Voter {
    let key = ReplicaKey { id, directory_id: Uuid::ZERO };
    Voter { key, endpoints: Vec::new(), kraft_versions: LevelRange { min: 0, max: 0 } }
}

fn end(epoch: i32, offset: i64) -> OffsetAndEpoch {
    OffsetAndEpoch { epoch, offset }
}

/// Its log is empty.
fn newcomer() -> Consensus {
    let mut node = Consensus::new(ConsensusConfig { is_newcomer: true, ..config(voter(1)) });
    let voters = VotersAt {
        voters: VoterSet::new(VOTERS.map(voter)),
        offset: None,
        kraft_version: 0,
        before: VoterSet::default(),
    };
    step(&mut node, at(0), Event::Start { state: None, log_end: OffsetAndEpoch::EMPTY, voters });
    node
}

/// As it is asked by the voter 3, whose log ends there.
fn votes(node: &mut Consensus, ms: u64, epoch: i32, log_end: OffsetAndEpoch) -> [bool; 2] {
    [true, false].map(|pre_vote| {
        let request = VoteRequest { candidate: voter(3).key, epoch, log_end, pre_vote };
        let effects = step(node, at(ms), Event::VoteRequested { ticket: 1, request });
        effects.iter().any(|e| matches!(e, Effect::AnswerVote { answer, .. } if answer.granted))
    })
}

fn answered(node: &mut Consensus, ms: u64, from: i32, pre_vote: bool) -> Vec<Effect> {
    let answer = VoteAnswer { epoch: node.epoch(), leader_id: None, granted: true, pre_vote };
    step(node, at(ms), Event::VoteAnswered { from: voter(from).key, answer })
}

#[test]
fn a_new_cluster_elects_its_first_leader() {
    assert_eq!(votes(&mut newcomer(), 1, 1, OffsetAndEpoch::EMPTY), [true, true]);
    let mut first = newcomer();
    step(&mut first, at(3000), Event::Tick);
    answered(&mut first, 3001, 2, true);
    answered(&mut first, 3002, 2, false);
    assert!(first.is_leader() && !first.is_newcomer());
}

#[test]
fn who_may_have_lost_its_log_votes_for_no_other_until_it_holds_what_is_committed() {
    let mut node = newcomer();
    assert_eq!(votes(&mut node, 1, 4, end(3, 7)), [false, false]);
    step(&mut node, at(2), Event::LeaderAnnounced { leader_id: 2, epoch: 5 });
    step(&mut node, at(3), Event::Appended { end: end(3, 6) });
    step(&mut node, at(3), Event::FetchAnswered { high_watermark: Some(9) });
    assert_eq!(votes(&mut node, 4, 6, end(5, 9)), [false, false]);
    step(&mut node, at(5), Event::LeaderAnnounced { leader_id: 2, epoch: 6 });
    step(&mut node, at(6), Event::Appended { end: end(5, 9) });
    step(&mut node, at(6), Event::FetchAnswered { high_watermark: None });
    assert!(node.is_newcomer(), "nothing is known to be committed");
    step(&mut node, at(6), Event::FetchAnswered { high_watermark: Some(9) });
    assert!(!node.is_newcomer());
    assert!(votes(&mut node, 7, 7, end(5, 9))[1]);
}

#[test]
fn with_a_part_of_a_log_it_does_not_count_its_own_vote() {
    let mut node = newcomer();
    step(&mut node, at(1), Event::LeaderAnnounced { leader_id: 2, epoch: 5 });
    step(&mut node, at(2), Event::Appended { end: end(3, 6) });
    step(&mut node, at(2), Event::FetchAnswered { high_watermark: Some(9) });
    step(&mut node, at(9000), Event::Tick);
    answered(&mut node, 9001, 2, true);
    assert!(matches!(node.role(), Role::Prospective { .. }), "{:?}", node.role());
    answered(&mut node, 9002, 3, true);
    assert!(matches!(node.role(), Role::Candidate { .. }), "{:?}", node.role());
    answered(&mut node, 9003, 3, false);
    assert!(!node.is_leader());
    answered(&mut node, 9004, 2, false);
    assert!(node.is_leader());
}

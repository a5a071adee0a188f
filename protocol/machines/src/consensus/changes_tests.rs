//! A leader that is asked for other voters.

use std::time::Duration;

use model::{ErrorCode, Now, Uuid};

use super::*;
use crate::metadata::LevelRange;

const RANGE: LevelRange = LevelRange { min: 0, max: 1 };

fn key(id: i32) -> ReplicaKey {
    ReplicaKey { id, directory_id: Uuid::from_u128(1000 + id as u128) }
}

fn voter(id: i32) -> Voter {
    let endpoint =
        VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
    Voter { key: key(id), endpoints: vec![endpoint], kraft_versions: RANGE }
}

fn at(ms: u64) -> Now {
    Now::new(Duration::from_millis(ms), 1_000_000 + ms as i64)
}

/// Of one that waits for its elections.
pub(super) fn config(local: Voter) -> ConsensusConfig {
    ConsensusConfig {
        local,
        election_timeout: Duration::from_millis(1000),
        election_backoff: Duration::from_millis(1000),
        fetch_timeout: Duration::from_millis(2000),
        request_timeout: Duration::from_millis(2000),
        fast_failover: false,
        is_newcomer: false,
        jitter_seed: 1,
    }
}

/// A leader of epoch 1, all of whose log, `end` long, is committed; and what carries out its effects on the log.
struct Leader {
    machine: Consensus,
    end: i64,
    history: VoterHistory,
}

impl Leader {
    fn of(voters: &[i32], kraft_version: i16) -> Leader {
        let voters = VoterSet::new(voters.iter().map(|id| voter(*id)));
        let mut history = VoterHistory::new(VoterSet::default());
        history.begin_with(0, Some(voters), kraft_version);
        Leader::with(history)
    }

    fn with(history: VoterHistory) -> Leader {
        let machine = Consensus::new(config(voter(1)));
        let mut leader = Leader { machine, end: 0, history };
        let state = Some(QuorumState { epoch: 0, leader_id: None, voted: Some(key(1)) });
        let log_end = OffsetAndEpoch::EMPTY;
        leader.step(at(0), Event::Start { state, log_end, voters: leader.history.newest() });
        for id in leader.ids().into_iter().filter(|id| *id != 1) {
            let answer = VoteAnswer { epoch: 0, leader_id: None, granted: true, pre_vote: false };
            leader.step(at(1), Event::VoteAnswered { from: key(id), answer });
        }
        assert!(leader.machine.is_leader());
        leader.commit(at(2));
        leader
    }

    fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut all = Vec::new();
        self.machine.step(now, event, &mut all);
        let appends: Vec<_> = all
            .iter()
            .filter_map(|effect| match effect {
                Effect::AppendControl { epoch, records } => Some((*epoch, records.clone())),
                _ => None,
            })
            .collect();
        for (epoch, records) in appends {
            for record in &records {
                self.history.add(self.end, record);
                self.end += 1;
            }
            let end = OffsetAndEpoch { epoch, offset: self.end };
            self.machine.step(now, Event::Appended { end }, &mut all);
            let voters = self.history.newest();
            self.machine.step(now, Event::VotersChanged { voters }, &mut all);
        }
        all
    }

    /// Everybody has everything.
    fn commit(&mut self, now: Now) -> Vec<Effect> {
        let mut all = self.step(now, Event::Flushed { end_offset: self.end });
        for id in self.ids().into_iter().filter(|id| *id != 1) {
            all.extend(self.fetched(now, id));
        }
        all
    }

    fn fetched(&mut self, now: Now, id: i32) -> Vec<Effect> {
        let offset = self.end;
        self.step(now, Event::Fetched { replica: key(id), offset })
    }

    fn ids(&self) -> Vec<i32> {
        self.machine.voters().iter().map(|voter| voter.key.id).collect()
    }

    fn add(&mut self, now: Now, id: i32) -> Vec<Effect> {
        let endpoints = voter(id).endpoints;
        let change = VoterChange::Add { key: key(id), endpoints, ack_when_committed: true };
        self.step(now, Event::ChangeAsked { ticket: 7, change })
    }

    fn remove(&mut self, now: Now, id: i32) -> Vec<Effect> {
        self.step(
            now,
            Event::ChangeAsked { ticket: 7, change: VoterChange::Remove { key: key(id) } },
        )
    }

    fn told(&mut self, now: Now, by: i32) -> Vec<Effect> {
        self.step(now, Event::VersionsTold { by, supported: Ok(Some(RANGE)) })
    }
}

/// What was answered, if anything.
fn answered(effects: &[Effect]) -> Option<ErrorCode> {
    effects.iter().find_map(|effect| match effect {
        Effect::AnswerChange { ticket: 7, refusal } => {
            Some(refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code))
        }
        _ => None,
    })
}

#[test]
fn a_voter_is_added_when_it_is_there_speaks_the_version_and_has_caught_up() {
    let mut leader = Leader::of(&[1], 1);
    let asked = leader.add(at(10), 2);
    assert!(matches!(&asked[..], [Effect::AskVersions { .. }, ..]), "{asked:?}");
    assert_eq!(answered(&leader.add(at(11), 3)), Some(ErrorCode::RequestTimedOut), "one at a time");
    assert_eq!(answered(&leader.told(at(12), 2)), Some(ErrorCode::RequestTimedOut), "it lags");
    leader.fetched(at(13), 2);
    leader.add(at(14), 2);
    let none = Event::VersionsTold { by: 2, supported: Ok(None) };
    assert_eq!(answered(&leader.step(at(15), none)), Some(ErrorCode::InvalidRequest));
    leader.add(at(16), 2);
    assert_eq!(answered(&leader.told(at(17), 2)), None, "it is not committed");
    assert_eq!(leader.ids(), [1, 2], "it counts at once");
    let alone = leader.step(at(18), Event::Flushed { end_offset: leader.end });
    assert_eq!(answered(&alone), None, "one of two is no majority");
    assert_eq!(answered(&leader.remove(at(19), 2)), Some(ErrorCode::RequestTimedOut));
    assert_eq!(answered(&leader.fetched(at(20), 2)), Some(ErrorCode::None));
    assert_eq!(answered(&leader.add(at(21), 2)), Some(ErrorCode::DuplicateVoter));
}

#[test]
fn a_change_that_takes_too_long_is_answered_and_may_happen_all_the_same() {
    let mut leader = Leader::of(&[1, 2, 3], 1);
    assert_eq!(answered(&leader.remove(at(10), 3)), None);
    assert_eq!(answered(&leader.step(at(2010), Event::Tick)), Some(ErrorCode::RequestTimedOut));
    assert_eq!(leader.ids(), [1, 2]);
    assert_eq!(answered(&leader.remove(at(2011), 2)), Some(ErrorCode::RequestTimedOut));
    leader.commit(at(2012));
    assert_eq!(answered(&leader.remove(at(2013), 4)), Some(ErrorCode::VoterNotFound));
}

#[test]
fn a_leader_that_is_removed_resigns_when_that_is_committed() {
    let mut leader = Leader::of(&[1, 2, 3], 1);
    assert_eq!(answered(&leader.remove(at(10), 1)), None);
    leader.step(at(11), Event::Flushed { end_offset: leader.end });
    assert_eq!(answered(&leader.fetched(at(12), 2)), None, "it does not count itself any more");
    assert!(leader.machine.is_leader());
    // Its quorum is the others' alone: one that fetches is not enough to lead on.
    for ms in [1000, 2000, 2900] {
        leader.fetched(at(ms), 2);
    }
    let done = leader.fetched(at(2950), 3);
    assert_eq!(answered(&done), Some(ErrorCode::None));
    let told = |effect: &&Effect| matches!(effect, Effect::AnnounceResignation { .. });
    assert_eq!(done.iter().filter(told).count(), 2);
    assert!(!leader.machine.is_leader());
    let gone = leader.step(at(10_000), Event::Tick);
    assert!(!gone.iter().any(|e| matches!(e, Effect::AskForVote { .. })), "it votes no more");
}

/// The other one of two may never have heard of it, and have too short a log to be elected by this one.
#[test]
fn one_that_was_removed_stands_until_it_knows_that_to_be_committed() {
    for committed in [false, true] {
        let mut leader = Leader::of(&[1, 2], 1);
        leader.remove(at(10), 1);
        if committed {
            leader.fetched(at(11), 2);
        }
        leader.step(at(12), Event::Heard { leader_id: None, epoch: 2 });
        let asked = leader.step(at(10_000), Event::Tick);
        let asks = |effect: &Effect| matches!(effect, Effect::AskForVote { .. });
        assert_eq!(asked.iter().any(asks), !committed);
        if !committed {
            assert!(!asked.iter().any(|e| matches!(e, Effect::BecameLeader { .. })));
            let answer = VoteAnswer { epoch: 2, leader_id: None, granted: true, pre_vote: true };
            leader.step(at(10_001), Event::VoteAnswered { from: key(2), answer });
            let answer = VoteAnswer { epoch: 3, leader_id: None, granted: true, pre_vote: false };
            leader.step(at(10_002), Event::VoteAnswered { from: key(2), answer });
            assert!(leader.machine.is_leader(), "with the vote of all that vote");
            leader.fetched(at(10_003), 2);
            assert!(!leader.machine.is_leader(), "its removal is committed");
        }
    }
}

#[test]
fn a_removed_leader_counts_on_the_others_alone() {
    let mut leader = Leader::of(&[1, 2, 3], 1);
    leader.remove(at(10), 1);
    let mut led = 0;
    for ms in (500..8000).step_by(500) {
        leader.fetched(at(ms), 2);
        leader.step(at(ms), Event::Tick);
        led = if leader.machine.is_leader() { ms } else { led };
    }
    assert!(led < 4000, "of two voters one fetches, and it leads at {led} ms");
}

#[test]
fn what_leads_no_more_or_cannot_be_changed_is_said() {
    let mut fixed = Leader::of(&[1, 2, 3], 0);
    assert_eq!(answered(&fixed.remove(at(10), 3)), Some(ErrorCode::UnsupportedVersion));
    let update = Event::ChangeAsked { ticket: 7, change: VoterChange::Update { voter: voter(2) } };
    let taken = fixed.step(at(11), update.clone());
    assert_eq!((answered(&taken), fixed.end), (Some(ErrorCode::None), 1), "nothing is written");
    let mut leader = Leader::of(&[1], 1);
    assert_eq!(answered(&leader.remove(at(10), 1)), Some(ErrorCode::VoterNotFound), "the last");
    assert_eq!(answered(&leader.step(at(11), update)), Some(ErrorCode::VoterNotFound));
    let mut moved = voter(1);
    moved.endpoints[0].port = 1;
    let update = VoterChange::Update { voter: moved.clone() };
    leader.step(at(12), Event::ChangeAsked { ticket: 7, change: update });
    assert_eq!(leader.machine.voters().get(1), Some(&moved));
    leader.commit(at(13));
    leader.add(at(14), 2);
    let heard = Event::Heard { leader_id: None, epoch: 9 };
    assert_eq!(answered(&leader.step(at(15), heard)), Some(ErrorCode::NotLeaderOrFollower));
    assert_eq!(answered(&leader.add(at(16), 2)), Some(ErrorCode::NotLeaderOrFollower));
}

#[test]
fn voters_that_are_cut_off_again_never_were() {
    let set = |ids: &[i32]| VoterSet::new(ids.iter().map(|id| voter(*id)));
    let record = |ids: &[i32]| ControlRecord::Voters(set(ids).to_record());
    let mut history = VoterHistory::new(set(&[9]));
    assert_eq!((history.newest().voters, history.newest().offset), (set(&[9]), None));
    history.begin_with(0, Some(set(&[1])), 1);
    assert_eq!(history.newest().offset, Some(-1));
    history.add(5, &record(&[1, 2]));
    history.add(9, &record(&[1, 2, 3]));
    assert_eq!(history.before(9).voters, set(&[1, 2]), "a snapshot that ends there");
    assert_eq!(history.newest().before, set(&[1, 2]));
    history.truncate(9);
    assert_eq!(history.newest().voters, set(&[1, 2]));
    history.forget_before(7);
    assert_eq!(history.before(7).offset, Some(5));
    history.truncate(5);
    assert_eq!(history.newest().voters, set(&[9]), "what was before 7 is forgotten");
}

/// A leader of voters that the settings name, of which nothing else is known.
fn of_fixed(ids: &[i32]) -> Leader {
    let named = |id: &i32| Voter {
        key: ReplicaKey { id: *id, directory_id: Uuid::ZERO },
        kraft_versions: LevelRange { min: 0, max: 0 },
        ..voter(*id)
    };
    Leader::with(VoterHistory::new(VoterSet::new(ids.iter().map(named))))
}

fn upgrade(leader: &mut Leader, level: i16, validate_only: bool) -> (Option<ErrorCode>, String) {
    let change = VoterChange::Upgrade { level, validate_only };
    let effects = leader.step(at(20), Event::ChangeAsked { ticket: 7, change });
    let message = effects.iter().find_map(|effect| match effect {
        Effect::AnswerChange { refusal: Some(refusal), .. } => refusal.message.clone(),
        _ => None,
    });
    (answered(&effects), message.unwrap_or_default())
}

#[test]
fn fixed_voters_are_written_down_once_each_has_said_who_it_is() {
    let mut leader = of_fixed(&[1, 2, 3]);
    let update = |leader: &mut Leader, voter: Voter| {
        let change = VoterChange::Update { voter };
        answered(&leader.step(at(10), Event::ChangeAsked { ticket: 7, change }))
    };
    assert_eq!(update(&mut leader, voter(2)), Some(ErrorCode::None));
    let why = "Invalid upgrade of kraft.version to KRAFT_VERSION_1 because not all of the voters support it";
    let refused = (Some(ErrorCode::InvalidUpdateVersion), why.to_owned());
    assert_eq!(upgrade(&mut leader, 1, false), refused, "the third has said nothing");
    let old = Voter { kraft_versions: LevelRange { min: 0, max: 0 }, ..voter(3) };
    assert_eq!(update(&mut leader, old), Some(ErrorCode::None));
    assert_eq!(upgrade(&mut leader, 1, true), refused, "it does not speak it");
    let mut moved = voter(3);
    moved.endpoints[0].port = 1;
    update(&mut leader, moved.clone());
    let done = (Some(ErrorCode::None), String::new());
    assert_eq!(upgrade(&mut leader, 0, false), done, "it is so");
    assert_eq!(upgrade(&mut leader, 1, true), done);
    assert_eq!((leader.machine.kraft_version(), leader.end), (0, 1), "only looked at");
    assert_eq!(upgrade(&mut leader, 1, false), done);
    assert_eq!((leader.machine.kraft_version(), leader.end), (1, 3));
    let all = VoterSet::new([voter(1), voter(2), moved]);
    assert_eq!(*leader.machine.voters(), all);
    assert_eq!(upgrade(&mut leader, 1, false), done);
    assert_eq!(leader.end, 3, "nothing twice");
    assert_eq!(
        answered(&leader.remove(at(21), 3)),
        Some(ErrorCode::RequestTimedOut),
        "uncommitted"
    );
    leader.commit(at(22));
    let replicas = |leader: &Leader| match leader.machine.role() {
        Role::Leader(leads) => leads.replicas().map(|(key, _)| key).collect::<Vec<_>>(),
        role => panic!("{role:?}"),
    };
    assert_eq!(replicas(&leader), [key(2), key(3)], "by their directories alone");
    let down = upgrade(&mut leader, 0, false);
    assert_eq!(
        down.1,
        "Invalid upgrade of kraft.version from version KRAFT_VERSION_1 to KRAFT_VERSION_0 because the new version is a downgrade"
    );
    assert_eq!(answered(&leader.remove(at(23), 3)), None);
    leader.commit(at(24));
    assert_eq!(leader.ids(), [1, 2]);
    let all = leader.history.before(3);
    assert_eq!((all.kraft_version, all.voters.len()), (1, 3), "a snapshot that ends there");
    leader.history.truncate(1);
    let cut = leader.history.newest();
    assert_eq!((cut.kraft_version, cut.offset), (0, None), "it never was");
}

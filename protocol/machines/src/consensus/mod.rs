//! KRaft: who leads the metadata log, and how far it is committed. A stepped machine: what happens goes in as events, what is to
//! be done comes out as effects, carried out in their order.

mod changes;
mod divergence;
mod election;
mod history;
mod hurry;
mod leader;
mod newcomer;
mod records;
mod snapshots;
mod upgrade;
mod voters;

#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod net_tests;
#[cfg(test)]
mod newcomer_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

use model::{ErrorCode, Now};

use crate::metadata::LevelRange;
pub use changes::{Refusal, VoterChange};
pub use divergence::{FetchPosition, LogBounds, truncation_offset};
pub use history::{VoterHistory, VotersAt};
pub use leader::{LeaderState, ReplicaProgress};
pub use records::{ControlRecord, QuorumState};
pub use snapshots::{SnapshotClock, SnapshotPolicy, SnapshotReason};
pub use voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetAndEpoch {
    // The epoch comes first: of two logs, the one with the later last epoch is further.
    pub epoch: i32,
    pub offset: i64,
}

#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// This node as a voter would be written down; its key is what it is known by.
    pub local: Voter,
    /// controller.quorum.election.timeout.ms
    pub election_timeout: Duration,
    /// controller.quorum.election.backoff.max.ms
    pub election_backoff: Duration,
    /// controller.quorum.fetch.timeout.ms
    pub fetch_timeout: Duration,
    /// controller.quorum.request.timeout.ms
    pub request_timeout: Duration,
    /// Elections that need not wait do not: see [`Event::LeaderGone`].
    pub fast_failover: bool,
    /// Its directories were empty, and nobody formatted them: see [`Consensus::is_newcomer`].
    pub is_newcomer: bool,
    /// From this the timeouts' jitter is drawn: give each node, and each start of it, another.
    pub jitter_seed: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event, once the log is open.
    Start {
        /// What quorum-state says, if there is one.
        state: Option<QuorumState>,
        log_end: OffsetAndEpoch,
        voters: VotersAt,
    },
    /// Time passed; due at the latest when `WakeAt` said.
    Tick,
    /// The log was appended to, by this leader or as a follower.
    Appended {
        end: OffsetAndEpoch,
    },
    /// As a follower: the log was cut off here, as it diverged from the leader's.
    Truncated {
        end: OffsetAndEpoch,
    },
    /// All before this offset is on disk.
    Flushed {
        end_offset: i64,
    },
    /// The log got a new voter set; it counts at once, committed or not. Also where a truncation took one away again.
    VotersChanged {
        voters: VotersAt,
    },
    /// As a leader: a client, or a node, wants other voters.
    ChangeAsked {
        ticket: u64,
        change: VoterChange,
    },
    /// As a leader: which versions of `kraft.version` a node speaks, if any, or why it does not say so.
    VersionsTold {
        by: i32,
        supported: Result<Option<LevelRange>, ErrorCode>,
    },
    VoteRequested {
        ticket: u64,
        request: VoteRequest,
    },
    VoteAnswered {
        from: ReplicaKey,
        answer: VoteAnswer,
    },
    /// A voter could not be asked or told; enough time has passed to try again.
    Unanswered {
        by: ReplicaKey,
    },
    /// A leader says that it leads this epoch: BeginQuorumEpoch.
    LeaderAnnounced {
        leader_id: i32,
        epoch: i32,
    },
    /// A leader leads no more: EndQuorumEpoch. The successors are in the order of its preference.
    LeaderResigned {
        leader_id: i32,
        epoch: i32,
        successors: Vec<ReplicaKey>,
    },
    /// A voter took notice of this leader's resignation.
    ResignationTaken {
        by: ReplicaKey,
    },
    /// Somebody's answer tells of an epoch, and who leads it.
    Heard {
        leader_id: Option<i32>,
        epoch: i32,
    },
    /// As a follower: the process of the leader is gone, as nothing listens any more where it was. The voters stand for election one
    /// after the other, without waiting for the fetch timeout.
    LeaderGone {
        leader_id: i32,
        epoch: i32,
    },
    /// As a follower: the leader answered a fetch. What came with it was appended before.
    FetchAnswered {
        high_watermark: Option<i64>,
    },
    /// As a leader: a replica fetches from here, so it has all before.
    Fetched {
        replica: ReplicaKey,
        offset: i64,
    },
    /// As a leader: a replica fetches a snapshot, so it lives.
    SnapshotFetched {
        replica: ReplicaKey,
    },
    /// The node stops: it leads no more, and stands for no election.
    Resign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteRequest {
    pub candidate: ReplicaKey,
    pub epoch: i32,
    pub log_end: OffsetAndEpoch,
    pub pre_vote: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteAnswer {
    pub epoch: i32,
    pub leader_id: Option<i32>,
    pub granted: bool,
    pub pre_vote: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write and sync quorum-state before anything that follows.
    PersistQuorumState(QuorumState),
    LeaderChanged {
        leader_id: Option<i32>,
        epoch: i32,
    },
    /// This node leads from here on. What it appends carries this epoch.
    BecameLeader {
        epoch: i32,
        start_offset: i64,
    },
    /// Append as one control batch, then report `Appended` and `Flushed`.
    AppendControl {
        epoch: i32,
        records: Vec<ControlRecord>,
    },
    /// Everything before this offset is committed.
    AdvanceHighWatermark {
        offset: i64,
    },
    AskForVote {
        to: ReplicaKey,
        request: VoteRequest,
    },
    AnswerVote {
        ticket: u64,
        answer: VoteAnswer,
    },
    /// BeginQuorumEpoch.
    AnnounceLeader {
        to: ReplicaKey,
        epoch: i32,
    },
    /// EndQuorumEpoch. The successors are those furthest ahead first.
    AnnounceResignation {
        to: ReplicaKey,
        epoch: i32,
        successors: Vec<ReplicaKey>,
    },
    /// ApiVersions, of one that is to vote and is no voter yet.
    AskVersions {
        of: ReplicaKey,
        endpoints: Vec<VoterEndpoint>,
    },
    /// To who asked for other voters: none where it is done.
    AnswerChange {
        ticket: u64,
        refusal: Option<Refusal>,
    },
    /// Send `Tick` at this monotonic time, unless a later `WakeAt` says another.
    WakeAt(Duration),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Knows of no leader that it could follow, or none at all.
    Unattached {
        deadline: Option<Duration>,
    },
    /// Asks whether it would be elected, without raising the epoch.
    Prospective {
        granted: Vec<ReplicaKey>,
        rejected: Vec<ReplicaKey>,
        deadline: Duration,
    },
    Candidate {
        granted: Vec<ReplicaKey>,
        rejected: Vec<ReplicaKey>,
        deadline: Duration,
    },
    Leader(LeaderState),
    Follower {
        deadline: Option<Duration>,
        /// The leader has answered a fetch.
        fetched: bool,
    },
    /// Led this epoch, and leads it no more.
    Resigned {
        deadline: Option<Duration>,
        /// Who has not taken notice.
        untold: Vec<ReplicaKey>,
        successors: Vec<ReplicaKey>,
    },
}

/// One node's part in the quorum.
#[derive(Debug)]
pub struct Consensus {
    config: ConsensusConfig,
    role: Role,
    state: QuorumState,
    persisted: Option<QuorumState>,
    voters: VoterSet,
    voters_offset: Option<i64>,
    voters_before: VoterSet,
    kraft_version: i16,
    log_end: OffsetAndEpoch,
    flushed: i64,
    high_watermark: Option<i64>,
    announced: (Option<i32>, i32),
    woken: Option<Duration>,
    jitter: u64,
    /// The leader that this node followed last, where its process is gone.
    gone: Option<i32>,
    change: Option<changes::Pending>,
    /// Elections in a row that did not wait, and led to no leader.
    hurried: u32,
    /// The node stops.
    retired: bool,
}

impl Consensus {
    pub fn new(config: ConsensusConfig) -> Consensus {
        let jitter = config.jitter_seed;
        Consensus {
            config,
            role: Role::Unattached { deadline: None },
            state: QuorumState::EMPTY,
            persisted: None,
            voters: VoterSet::default(),
            voters_offset: None,
            voters_before: VoterSet::default(),
            kraft_version: 0,
            log_end: OffsetAndEpoch { epoch: 0, offset: 0 },
            flushed: 0,
            high_watermark: None,
            announced: (None, -1),
            woken: None,
            jitter,
            gone: None,
            change: None,
            hurried: 0,
            retired: false,
        }
    }

    /// Quorum-state is written at most once a step, before everything else that the step does.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let first = effects.len();
        self.take(now, event, effects);
        if !self.is_leader() {
            let code = ErrorCode::NotLeaderOrFollower;
            self.end_change(Some(Refusal { code, message: None }), effects);
        }
        if self.persisted != Some(self.state) {
            self.persisted = Some(self.state);
            effects.insert(first, Effect::PersistQuorumState(self.state));
        }
        let current = (self.leader_id(), self.state.epoch);
        if self.announced != current {
            self.announced = current;
            let (leader_id, epoch) = current;
            effects.push(Effect::LeaderChanged { leader_id, epoch });
        }
        let wake = self.deadline();
        if self.woken != wake {
            self.woken = wake;
            effects.extend(wake.map(Effect::WakeAt));
        }
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    pub fn epoch(&self) -> i32 {
        self.state.epoch
    }

    pub fn leader_id(&self) -> Option<i32> {
        match &self.role {
            Role::Resigned { .. } => None,
            _ => self.state.leader_id,
        }
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    pub fn high_watermark(&self) -> Option<i64> {
        self.high_watermark
    }

    pub fn voters(&self) -> &VoterSet {
        &self.voters
    }

    pub fn kraft_version(&self) -> i16 {
        self.kraft_version
    }

    /// What the quorum-state file shall say.
    pub fn state(&self) -> QuorumState {
        self.state
    }

    pub fn log_end(&self) -> OffsetAndEpoch {
        self.log_end
    }

    fn local(&self) -> ReplicaKey {
        self.config.local.key
    }

    fn is_voter(&self) -> bool {
        self.voters.is_voter(self.local())
    }

    fn others(&self) -> Vec<ReplicaKey> {
        let local = self.local();
        self.voters.iter().map(|voter| voter.key).filter(|key| key.id != local.id).collect()
    }

    fn take(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Start { state, log_end, voters } => {
                self.set_voters(voters);
                self.log_end = log_end;
                self.flushed = log_end.offset;
                self.start(now, state, effects);
            }
            Event::Tick => self.tick(now, effects),
            Event::Appended { end } => self.set_log_end(end),
            Event::Truncated { end } => {
                debug_assert!(self.high_watermark.is_none_or(|committed| end.offset >= committed));
                self.set_log_end(end);
            }
            Event::Flushed { end_offset } => {
                self.flushed = self.flushed.max(end_offset);
                self.update_high_watermark(now, effects);
            }
            Event::VotersChanged { voters } => {
                self.set_voters(voters);
                self.voters_changed(now, effects);
            }
            Event::ChangeAsked { ticket, change } => {
                self.change_asked(now, ticket, change, effects);
            }
            Event::VersionsTold { by, supported } => {
                self.versions_told(now, by, supported, effects);
            }
            Event::VoteRequested { ticket, request } => {
                let answer = self.vote(now, request);
                effects.push(Effect::AnswerVote { ticket, answer });
            }
            Event::VoteAnswered { from, answer } => self.count_vote(now, from, answer, effects),
            Event::Unanswered { by } => self.ask_again(by, effects),
            Event::LeaderAnnounced { leader_id, epoch } => self.follow(now, leader_id, epoch),
            Event::LeaderResigned { leader_id, epoch, successors } => {
                self.leader_resigned(now, leader_id, epoch, &successors);
            }
            Event::ResignationTaken { by } => {
                if let Role::Resigned { untold, .. } = &mut self.role {
                    untold.retain(|key| key.id != by.id);
                }
            }
            Event::Heard { leader_id, epoch } => self.heard(now, leader_id, epoch),
            Event::LeaderGone { leader_id, epoch } => self.leader_gone(now, leader_id, epoch),
            Event::FetchAnswered { high_watermark } => {
                self.fetch_answered(now, high_watermark, effects)
            }
            Event::Fetched { replica, offset } => self.fetched(now, replica, offset, effects),
            Event::SnapshotFetched { replica } => self.heard_of(now, replica),
            Event::Resign => self.retire(effects),
        }
    }

    /// What is not in the log is not on disk: a leader's snapshot may end before the log did that it takes the place of.
    fn set_log_end(&mut self, end: OffsetAndEpoch) {
        self.log_end = end;
        self.flushed = self.flushed.min(end.offset);
    }

    fn fetch_answered(&mut self, now: Now, high_watermark: Option<i64>, effects: &mut Vec<Effect>) {
        if !matches!(self.role, Role::Follower { .. }) {
            return;
        }
        (self.gone, self.hurried) = (None, 0);
        high_watermark.iter().for_each(|offset| self.holds_what_is_committed(*offset));
        let reached = high_watermark.map(|offset| offset.min(self.log_end.offset));
        if let Some(offset) = reached.filter(|_| reached > self.high_watermark) {
            self.high_watermark = Some(offset);
            effects.push(Effect::AdvanceHighWatermark { offset });
        }
        let deadline = self.stands().then(|| now.mono + self.config.fetch_timeout);
        self.role = Role::Follower { deadline, fetched: true };
    }

    fn deadline(&self) -> Option<Duration> {
        match &self.role {
            Role::Leader(leader) => {
                let expires = self.change.as_ref().map(|change| change.expires);
                expires.into_iter().chain(leader.wakes_at()).min()
            }
            // All else that time brings is elections.
            _ if self.retired => None,
            Role::Unattached { deadline }
            | Role::Follower { deadline, .. }
            | Role::Resigned { deadline, .. } => *deadline,
            Role::Prospective { deadline, .. } | Role::Candidate { deadline, .. } => {
                Some(*deadline)
            }
        }
    }
}

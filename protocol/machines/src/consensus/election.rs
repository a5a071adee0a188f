//! From one role to the next: elections, and who gets this node's vote.

use std::time::Duration;

use model::Now;

use super::records::leader_change;
use super::{
    Consensus, ControlRecord, Effect, LeaderState, OffsetAndEpoch, QuorumState, ReplicaKey, Role,
    VoteAnswer, VoteRequest,
};

impl Consensus {
    pub(super) fn start(
        &mut self,
        now: Now,
        stored: Option<QuorumState>,
        effects: &mut Vec<Effect>,
    ) {
        let mut state = stored.unwrap_or(QuorumState::EMPTY);
        self.persisted = stored;
        if state.epoch < self.log_end.epoch {
            // The file is older than the log: whatever it says of leader and vote is of an epoch that is over.
            state = QuorumState { epoch: self.log_end.epoch, leader_id: None, voted: None };
        }
        self.state = state;
        let local = self.local();
        if !self.stands() {
            self.role = match state.leader_id {
                Some(leader) if leader != local.id => {
                    Role::Follower { deadline: None, fetched: false }
                }
                _ => Role::Unattached { deadline: None },
            };
        } else if self.voters.is_only_voter(local) {
            self.become_prospective(now, effects);
        } else if state.leader_id == Some(local.id) {
            let deadline = Some(self.hurried_deadline(now));
            self.role = Role::Resigned { deadline, untold: Vec::new(), successors: Vec::new() };
        } else if state.voted.is_some_and(|voted| voted.names(local)) {
            self.ask_all(now, false, effects);
        } else if state.leader_id.is_some() {
            self.role = self.following(now);
        } else {
            let deadline = self.hurried_deadline(now);
            self.role = Role::Unattached { deadline: Some(deadline) };
        }
    }

    pub(super) fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|deadline| now.mono < deadline) {
            return;
        }
        match &self.role {
            Role::Unattached { .. } | Role::Follower { .. } => {
                self.become_prospective(now, effects)
            }
            // In the epoch that it led it must not follow, nor vote for, anybody.
            Role::Resigned { .. } => {
                self.state =
                    QuorumState { epoch: self.state.epoch + 1, leader_id: None, voted: None };
                if self.stands() {
                    self.become_prospective(now, effects);
                } else {
                    self.role = Role::Unattached { deadline: None };
                }
            }
            Role::Prospective { .. } if self.state.leader_id.is_some() => self.lose_pre_vote(now),
            Role::Prospective { .. } | Role::Candidate { .. } => {
                self.become_prospective(now, effects)
            }
            Role::Leader(_) if self.change.as_ref().is_some_and(|c| now.mono >= c.expires) => {
                self.expire_change(now, effects);
            }
            Role::Leader(leader) if leader.lost_quorum(now) => {
                let deadline = self.election_deadline(now);
                self.resign(Some(deadline), effects);
            }
            Role::Leader(_) => self.announce_to_silent(now, effects),
        }
    }

    fn become_prospective(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.ask_all(now, true, effects);
    }

    fn become_candidate(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.may_help(self.log_end) {
            self.has_voted();
        }
        self.state =
            QuorumState { epoch: self.state.epoch + 1, leader_id: None, voted: Some(self.local()) };
        self.ask_all(now, false, effects);
    }

    /// Votes for itself and asks the others. A sole voter has its majority with that, and waits for nothing.
    fn ask_all(&mut self, now: Now, pre_vote: bool, effects: &mut Vec<Effect>) {
        let local = self.local();
        let deadline = self.election_deadline(now);
        let counts = self.is_voter() && self.may_help(self.log_end);
        let granted = if counts { vec![local] } else { Vec::new() };
        let rejected = Vec::new();
        self.role = if pre_vote {
            Role::Prospective { granted, rejected, deadline }
        } else {
            Role::Candidate { granted, rejected, deadline }
        };
        if self.won() {
            return self.advance(now, effects);
        }
        let request = self.vote_request(pre_vote);
        effects.extend(self.others().into_iter().map(|to| Effect::AskForVote { to, request }));
    }

    fn vote_request(&self, pre_vote: bool) -> VoteRequest {
        VoteRequest {
            candidate: self.local(),
            epoch: self.state.epoch,
            log_end: self.log_end,
            pre_vote,
        }
    }

    /// What was not answered is asked or told once more, where it still matters.
    pub(super) fn ask_again(&self, by: ReplicaKey, effects: &mut Vec<Effect>) {
        let unheard = |granted: &[ReplicaKey], rejected: &[ReplicaKey]| {
            !granted.iter().chain(rejected).any(|key| key.id == by.id)
        };
        let Some(to) = self.voters.get(by.id).map(|voter| voter.key) else { return };
        match &self.role {
            Role::Prospective { granted, rejected, .. } if unheard(granted, rejected) => {
                effects.push(Effect::AskForVote { to, request: self.vote_request(true) });
            }
            Role::Candidate { granted, rejected, .. }
                if unheard(granted, rejected) && !self.lost() =>
            {
                effects.push(Effect::AskForVote { to, request: self.vote_request(false) });
            }
            Role::Resigned { untold, successors, .. } if untold.iter().any(|k| k.id == by.id) => {
                let (epoch, successors) = (self.state.epoch, successors.clone());
                effects.push(Effect::AnnounceResignation { to, epoch, successors });
            }
            _ => {}
        }
    }

    fn won(&self) -> bool {
        match &self.role {
            Role::Prospective { granted, .. } | Role::Candidate { granted, .. } => {
                granted.len() >= self.voters.majority()
            }
            _ => false,
        }
    }

    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Prospective { .. } => self.become_candidate(now, effects),
            Role::Candidate { granted, .. } => {
                let granted = granted.clone();
                self.become_leader(now, granted, effects);
            }
            _ => {}
        }
    }

    fn become_leader(&mut self, now: Now, granted: Vec<ReplicaKey>, effects: &mut Vec<Effect>) {
        let local = self.local();
        self.state.leader_id = Some(local.id);
        self.state.voted = None;
        (self.gone, self.hurried) = (None, 0);
        let start_offset = self.log_end.offset;
        let epoch = self.state.epoch;
        let named = self.voters.renamed(&self.config.local).unwrap_or_default();
        let mut leader = LeaderState::new(start_offset, named);
        if self.voters.len() > 1 {
            leader.watch(now, self.config.fetch_timeout);
        }
        self.role = Role::Leader(leader);
        self.announced = (self.state.leader_id, epoch);
        effects.push(Effect::LeaderChanged { leader_id: self.state.leader_id, epoch });
        effects.push(Effect::BecameLeader { epoch, start_offset });
        effects.push(Effect::AppendControl { epoch, records: self.epoch_records(&granted) });
        effects.extend(self.others().into_iter().map(|to| Effect::AnnounceLeader { to, epoch }));
    }

    /// The first records of an epoch: who leads it by whose votes; and, where the log does not hold the voters yet or holds this
    /// one otherwise than it is now, the quorum itself.
    fn epoch_records(&self, granted: &[ReplicaKey]) -> Vec<ControlRecord> {
        let voters = self.voters.iter().map(|v| v.key);
        let mut records = vec![leader_change(self.local().id, voters, granted.iter().copied())];
        if self.kraft_version > 0 {
            let changed = self.voters.get(self.local().id).is_some_and(|v| *v != self.config.local);
            if (self.voters_offset.is_none_or(|offset| offset < 0) || changed)
                && let Some(updated) = self.voters.updated(&self.config.local)
            {
                records.push(ControlRecord::kraft_version(self.kraft_version));
                records.push(ControlRecord::Voters(updated.to_record()));
            }
        }
        records
    }

    /// A lost pre-vote, or one that timed out: back to the leader it had, if it had one.
    fn lose_pre_vote(&mut self, now: Now) {
        self.role = if self.state.leader_id.is_some() {
            self.following(now)
        } else {
            let deadline = self.election_deadline(now);
            Role::Unattached { deadline: Some(deadline) }
        };
    }

    fn following(&mut self, now: Now) -> Role {
        self.gone = None;
        let deadline = self.stands().then(|| now.mono + self.config.fetch_timeout);
        Role::Follower { deadline, fetched: false }
    }

    /// A higher epoch ends whatever this node was in its own. One that waits for its chance goes on waiting, so that others'
    /// elections cannot put it off for ever.
    fn move_to_epoch(&mut self, now: Now, epoch: i32, leader_id: Option<i32>) {
        self.state = QuorumState { epoch, leader_id, voted: None };
        self.role = match leader_id {
            Some(_) => self.following(now),
            None => {
                let waited = match &self.role {
                    Role::Unattached { deadline } | Role::Resigned { deadline, .. } => *deadline,
                    Role::Candidate { deadline, .. } => Some(*deadline),
                    Role::Follower { deadline, .. } if self.gone.is_some() => *deadline,
                    Role::Prospective { deadline, .. } if !self.lost() => Some(*deadline),
                    _ => None,
                };
                let deadline = waited.unwrap_or_else(|| self.election_deadline(now));
                Role::Unattached { deadline: self.stands().then_some(deadline) }
            }
        };
    }

    pub(super) fn vote(&mut self, now: Now, request: VoteRequest) -> VoteAnswer {
        if request.epoch > self.state.epoch {
            self.move_to_epoch(now, request.epoch, None);
        }
        let granted = request.epoch == self.state.epoch && self.grants(&request);
        if granted && !request.pre_vote {
            self.state.voted = Some(request.candidate);
            self.has_voted();
            let deadline = self.election_deadline(now);
            self.role = match &self.role {
                Role::Prospective { granted, rejected, .. } => Role::Prospective {
                    granted: granted.clone(),
                    rejected: rejected.clone(),
                    deadline,
                },
                _ => Role::Unattached { deadline: self.stands().then_some(deadline) },
            };
        }
        VoteAnswer {
            epoch: self.state.epoch,
            leader_id: self.state.leader_id,
            granted,
            pre_vote: request.pre_vote,
        }
    }

    fn grants(&self, request: &VoteRequest) -> bool {
        if request.log_end < self.log_end || !self.may_help(request.log_end) {
            return false;
        }
        if request.pre_vote {
            return match &self.role {
                Role::Leader(_) => false,
                // Having heard from its leader, it has no reason to want another.
                Role::Follower { fetched, .. } => !fetched,
                _ => true,
            };
        }
        let may_vote = matches!(self.role, Role::Unattached { .. } | Role::Prospective { .. });
        let free = self.state.leader_id.is_none()
            && self.state.voted.is_none_or(|voted| voted.names(request.candidate));
        may_vote && free
    }

    pub(super) fn count_vote(
        &mut self,
        now: Now,
        from: ReplicaKey,
        answer: VoteAnswer,
        effects: &mut Vec<Effect>,
    ) {
        self.heard(now, answer.leader_id, answer.epoch);
        if answer.epoch < self.state.epoch || !self.voters.is_voter(from) {
            return;
        }
        let (granted, rejected) = match &mut self.role {
            Role::Prospective { granted, rejected, .. } if answer.pre_vote => (granted, rejected),
            Role::Candidate { granted, rejected, .. } if !answer.pre_vote => (granted, rejected),
            _ => return,
        };
        let side = if answer.granted { granted } else { rejected };
        if side.iter().any(|key| key.id == from.id) {
            return;
        }
        side.push(from);
        if self.won() {
            self.advance(now, effects);
        } else if self.lost() {
            self.lose(now);
        }
    }

    fn lose(&mut self, now: Now) {
        if matches!(self.role, Role::Prospective { .. }) {
            return self.lose_pre_vote(now);
        }
        let again = self.hurried_deadline(now);
        if let Role::Candidate { deadline, .. } = &mut self.role {
            *deadline = again.min(*deadline);
        }
    }

    fn lost(&self) -> bool {
        match &self.role {
            Role::Prospective { granted, rejected, .. }
            | Role::Candidate { granted, rejected, .. } => {
                let gone = self.is_one_gone(granted, rejected);
                rejected.len() + usize::from(gone) > self.voters.len() - self.voters.majority()
            }
            _ => false,
        }
    }

    /// What an answer says of epoch and leader counts where it is news.
    pub(super) fn heard(&mut self, now: Now, leader_id: Option<i32>, epoch: i32) {
        let other = leader_id.filter(|id| *id != self.local().id);
        if epoch > self.state.epoch {
            self.move_to_epoch(now, epoch, other);
        } else if let (Some(leader_id), None) = (other, self.state.leader_id) {
            self.follow(now, leader_id, epoch);
        }
    }

    pub(super) fn follow(&mut self, now: Now, leader_id: i32, epoch: i32) {
        // Having led an epoch it follows nobody in it, and of one epoch there is one leader.
        let known = self.state.leader_id.is_some_and(|known| known != leader_id);
        if epoch < self.state.epoch
            || leader_id == self.local().id
            || epoch == self.state.epoch && known
        {
            return;
        }
        if epoch > self.state.epoch {
            return self.move_to_epoch(now, epoch, Some(leader_id));
        }
        if matches!(self.role, Role::Follower { .. }) {
            return;
        }
        // The vote of this epoch stays given.
        self.state.leader_id = Some(leader_id);
        self.role = self.following(now);
    }

    /// The leader goes: those it prefers stand for election first, the others wait for them.
    pub(super) fn leader_resigned(
        &mut self,
        now: Now,
        leader_id: i32,
        epoch: i32,
        successors: &[ReplicaKey],
    ) {
        self.heard(now, Some(leader_id), epoch);
        let (local, is_voter) = (self.local(), self.stands());
        if epoch != self.state.epoch || self.state.leader_id != Some(leader_id) || !is_voter {
            return;
        }
        let most = self.config.election_backoff;
        let wait = match successors.iter().position(|key| key.names(local)) {
            Some(0) => Duration::ZERO,
            Some(place) => {
                let doubled = |of: Duration, times: usize| of * 2u32.pow(times.min(20) as u32);
                let base = most / 2u32.pow((successors.len() - 1).min(20) as u32);
                doubled(base, place - 1).min(most)
            }
            None if successors.is_empty() => Duration::ZERO,
            None => most,
        };
        if let Role::Follower { deadline, fetched } = &mut self.role {
            *deadline = Some(now.mono + wait);
            // The others may have its pre-vote: a leader that was removed has none to give that counts.
            *fetched = false;
        }
    }

    /// Who is elected while the node stops would lead a quorum that cannot reach it.
    pub(super) fn retire(&mut self, effects: &mut Vec<Effect>) {
        self.retired = true;
        if matches!(self.role, Role::Prospective { .. } | Role::Candidate { .. }) {
            self.role = Role::Unattached { deadline: None };
        }
        self.resign(None, effects);
    }

    /// Without a deadline it asks for no election again.
    pub(super) fn resign(&mut self, deadline: Option<Duration>, effects: &mut Vec<Effect>) {
        let Role::Leader(leader) = &self.role else { return };
        let (untold, epoch) = (self.others(), self.state.epoch);
        let mut successors = untold.clone();
        successors.sort_by_key(|key| std::cmp::Reverse(leader.end_of(key.id)));
        effects.extend(untold.iter().map(|to| Effect::AnnounceResignation {
            to: *to,
            epoch,
            successors: successors.clone(),
        }));
        // quorum-state keeps naming this node: having led the epoch, it must not follow anybody in it.
        self.role = Role::Resigned { deadline, untold, successors };
    }

    /// Between one and two election timeouts from now.
    pub(super) fn election_deadline(&mut self, now: Now) -> Duration {
        let timeout = self.config.election_timeout;
        now.mono + timeout + self.less_than(timeout)
    }

    /// Whole milliseconds.
    pub(super) fn less_than(&mut self, bound: Duration) -> Duration {
        // SplitMix64: any two nodes' sequences part, which is all that is asked of it.
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = (bound.as_millis() as u64).max(1);
        Duration::from_millis((z ^ (z >> 31)) % bound)
    }
}

impl OffsetAndEpoch {
    pub const EMPTY: OffsetAndEpoch = OffsetAndEpoch { epoch: 0, offset: 0 };
}

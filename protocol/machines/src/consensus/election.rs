//! From one role to the next: elections, and who gets this node's vote.

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
        if !self.is_voter() {
            self.role = match state.leader_id {
                Some(leader) if leader != local.id => Role::Follower { deadline: None },
                _ => Role::Unattached { deadline: None },
            };
        } else if self.voters.is_only_voter(local) {
            self.become_prospective(now, effects);
        } else if state.leader_id == Some(local.id) {
            let deadline = self.election_deadline(now);
            self.role = Role::Resigned { deadline: Some(deadline) };
        } else if state.voted == Some(local) {
            self.ask_all(now, false, effects);
        } else if state.leader_id.is_some() {
            self.role = Role::Follower { deadline: Some(now.mono + self.config.fetch_timeout) };
        } else {
            let deadline = self.election_deadline(now);
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
            Role::Resigned { .. } => {
                self.state.leader_id = None;
                self.become_prospective(now, effects);
            }
            Role::Prospective { .. } => self.lose_pre_vote(now),
            Role::Candidate { .. } => self.become_prospective(now, effects),
            Role::Leader(_) => {
                let deadline = self.election_deadline(now);
                self.resign(Some(deadline), effects);
            }
        }
    }

    fn become_prospective(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.ask_all(now, true, effects);
    }

    fn become_candidate(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.state =
            QuorumState { epoch: self.state.epoch + 1, leader_id: None, voted: Some(self.local()) };
        self.ask_all(now, false, effects);
    }

    /// Votes for itself and asks the others. A sole voter has its majority with that, and waits for nothing.
    fn ask_all(&mut self, now: Now, pre_vote: bool, effects: &mut Vec<Effect>) {
        let local = self.local();
        let deadline = self.election_deadline(now);
        let (granted, rejected) = (vec![local], Vec::new());
        self.role = if pre_vote {
            Role::Prospective { granted, rejected, deadline }
        } else {
            Role::Candidate { granted, rejected, deadline }
        };
        if self.won() {
            return self.advance(now, effects);
        }
        let request = VoteRequest {
            candidate: local,
            epoch: self.state.epoch,
            log_end: self.log_end,
            pre_vote,
        };
        let others = self.voters.iter().map(|v| v.key).filter(|key| key.id != local.id);
        effects.extend(others.map(|to| Effect::AskForVote { to, request }));
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
        let start_offset = self.log_end.offset;
        let epoch = self.state.epoch;
        let check_quorum =
            (self.voters.len() > 1).then(|| now.mono + self.config.fetch_timeout * 3 / 2);
        self.role = Role::Leader(LeaderState::new(start_offset, check_quorum));
        self.announced = (self.state.leader_id, epoch);
        effects.push(Effect::LeaderChanged { leader_id: self.state.leader_id, epoch });
        effects.push(Effect::BecameLeader { epoch, start_offset });
        effects.push(Effect::AppendControl { epoch, records: self.epoch_records(&granted) });
        let others = self.voters.iter().map(|v| v.key).filter(|key| key.id != local.id);
        effects.extend(others.map(|to| Effect::AnnounceLeader { to, epoch }));
    }

    /// The first records of an epoch: who leads it by whose votes; and, where the log does not hold the voters yet or holds this
    /// one otherwise than it is now, the quorum itself.
    fn epoch_records(&self, granted: &[ReplicaKey]) -> Vec<ControlRecord> {
        let voters = self.voters.iter().map(|v| v.key);
        let mut records = vec![leader_change(self.local().id, voters, granted.iter().copied())];
        if self.kraft_version > 0 {
            let changed = self.voters.get(self.local().id).is_some_and(|v| *v != self.config.local);
            if (self.voters_offset.is_none() || changed)
                && let Some(updated) = self.voters.updated(&self.config.local)
            {
                records.push(ControlRecord::kraft_version(self.kraft_version));
                records.push(ControlRecord::Voters(updated.to_record()));
            }
        }
        records
    }

    /// A lost or unanswered pre-vote: back to the leader it had, if it had one.
    fn lose_pre_vote(&mut self, now: Now) {
        self.role = if self.state.leader_id.is_some() {
            Role::Follower { deadline: Some(now.mono + self.config.fetch_timeout) }
        } else {
            let deadline = self.election_deadline(now);
            Role::Unattached { deadline: Some(deadline) }
        };
    }

    /// A higher epoch ends whatever this node was in its own.
    fn move_to_epoch(&mut self, now: Now, epoch: i32, leader_id: Option<i32>) {
        self.state = QuorumState { epoch, leader_id, voted: None };
        let is_voter = self.is_voter();
        self.role = match leader_id {
            Some(_) => {
                Role::Follower { deadline: is_voter.then(|| now.mono + self.config.fetch_timeout) }
            }
            None => {
                let deadline = self.election_deadline(now);
                Role::Unattached { deadline: is_voter.then_some(deadline) }
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
            let deadline = self.election_deadline(now);
            self.role = match &self.role {
                Role::Prospective { granted, rejected, .. } => Role::Prospective {
                    granted: granted.clone(),
                    rejected: rejected.clone(),
                    deadline,
                },
                _ => Role::Unattached { deadline: Some(deadline) },
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
        if request.log_end < self.log_end {
            return false;
        }
        if request.pre_vote {
            return match &self.role {
                Role::Leader(_) => false,
                // Having heard from its leader, it has no reason to want another.
                Role::Follower { .. } => self.high_watermark.is_none(),
                _ => true,
            };
        }
        let may_vote = matches!(self.role, Role::Unattached { .. } | Role::Prospective { .. });
        let free = self.state.leader_id.is_none()
            && self.state.voted.is_none_or(|voted| {
                voted.id == request.candidate.id
                    && (voted.directory_id.is_zero()
                        || voted.directory_id == request.candidate.directory_id)
            });
        may_vote && free
    }

    pub(super) fn count_vote(
        &mut self,
        now: Now,
        from: ReplicaKey,
        answer: VoteAnswer,
        effects: &mut Vec<Effect>,
    ) {
        if answer.epoch > self.state.epoch {
            return self.move_to_epoch(
                now,
                answer.epoch,
                answer.leader_id.filter(|id| *id != self.local().id),
            );
        }
        if answer.epoch < self.state.epoch || !self.voters.is_voter(from) {
            return;
        }
        if let Some(leader_id) = answer.leader_id.filter(|id| Some(*id) != self.state.leader_id) {
            return self.follow(now, leader_id, answer.epoch);
        }
        let (granted, rejected) = match &mut self.role {
            Role::Prospective { granted, rejected, .. } if answer.pre_vote => (granted, rejected),
            Role::Candidate { granted, rejected, .. } if !answer.pre_vote => (granted, rejected),
            _ => return,
        };
        let side = if answer.granted { granted } else { rejected };
        if !side.iter().any(|key| key.id == from.id) {
            side.push(from);
        }
        if self.won() {
            self.advance(now, effects);
        } else if self.lost() && matches!(self.role, Role::Prospective { .. }) {
            self.lose_pre_vote(now);
        }
    }

    fn lost(&self) -> bool {
        match &self.role {
            Role::Prospective { rejected, .. } | Role::Candidate { rejected, .. } => {
                rejected.len() > self.voters.len() - self.voters.majority()
            }
            _ => false,
        }
    }

    pub(super) fn follow(&mut self, now: Now, leader_id: i32, epoch: i32) {
        if epoch < self.state.epoch
            || leader_id == self.local().id
            || self.is_leader() && epoch == self.state.epoch
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
        self.role = Role::Follower {
            deadline: self.is_voter().then(|| now.mono + self.config.fetch_timeout),
        };
    }

    /// Without a deadline it asks for no election again.
    pub(super) fn resign(
        &mut self,
        deadline: Option<std::time::Duration>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_leader() {
            return;
        }
        let (local, epoch) = (self.local(), self.state.epoch);
        let others = self.voters.iter().map(|v| v.key).filter(|key| key.id != local.id);
        effects.extend(others.map(|to| Effect::AnnounceResignation { to, epoch }));
        // quorum-state keeps naming this node: having led the epoch, it must not follow anybody in it.
        self.role = Role::Resigned { deadline };
    }
}

impl OffsetAndEpoch {
    pub const EMPTY: OffsetAndEpoch = OffsetAndEpoch { epoch: 0, offset: 0 };
}

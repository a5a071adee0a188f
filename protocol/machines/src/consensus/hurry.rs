//! Elections that need not wait: after a start, and where the process of the leader is known to be gone. A pre-vote disturbs no quorum
//! that has a leader, so they are no less safe than those after a timeout.

use std::time::Duration;

use model::Now;

use super::{Consensus, ReplicaKey, Role};

/// The voters stand one after the other, so much apart: more than a round of votes takes between near nodes.
const STEP: Duration = Duration::from_millis(50);

impl Consensus {
    /// When this voter stands, in the order of the ids. Each try that led to no leader doubles the wait, up to that of every
    /// election: nodes may be far apart.
    pub(super) fn hurried_deadline(&mut self, now: Now) -> Duration {
        let usual = self.election_deadline(now);
        if !self.config.fast_failover {
            return usual;
        }
        let step = STEP * 2u32.pow(self.hurried.min(8));
        self.hurried += 1;
        let here = self.voters.iter().filter(|voter| Some(voter.key.id) != self.gone);
        let before = here.take_while(|voter| voter.key.id != self.config.local.key.id).count();
        let turn = step.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
        usual.min(now.mono + turn + self.less_than(step / 2))
    }

    pub(super) fn leader_gone(&mut self, now: Now, leader_id: i32, epoch: i32) {
        let known = self.gone == Some(leader_id);
        if !self.config.fast_failover
            || known
            || (self.leader_id(), self.state.epoch) != (Some(leader_id), epoch)
        {
            return;
        }
        let Role::Follower { deadline: Some(usual), .. } = self.role else { return };
        self.gone = Some(leader_id);
        let deadline = Some(usual.min(self.hurried_deadline(now)));
        // Others may have its pre-vote, as it wants another leader itself.
        self.role = Role::Follower { deadline, fetched: false };
    }

    /// Whether there is a voter of whom no answer is to be had, besides those who answered.
    pub(super) fn is_one_gone(&self, granted: &[ReplicaKey], rejected: &[ReplicaKey]) -> bool {
        let answered = |id| granted.iter().chain(rejected).any(|key| key.id == id);
        self.gone.is_some_and(|id| self.voters.get(id).is_some() && !answered(id))
    }
}

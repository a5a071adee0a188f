//! What a leader knows of its voters, and what follows for the high watermark.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Now;

use super::{Consensus, Effect, ReplicaKey, Role};

#[derive(Debug, Clone, PartialEq)]
pub struct LeaderState {
    /// The offset of the epoch's first record.
    pub epoch_start: i64,
    replicas: BTreeMap<ReplicaKey, Progress>,
    check_quorum_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// It has everything before.
    end_offset: i64,
    fetched_at: Duration,
}

impl LeaderState {
    pub(super) fn new(epoch_start: i64, check_quorum_at: Option<Duration>) -> LeaderState {
        LeaderState { epoch_start, replicas: BTreeMap::new(), check_quorum_at }
    }

    /// When to resign unless a majority fetches before.
    pub(super) fn check_quorum_at(&self) -> Option<Duration> {
        self.check_quorum_at
    }

    /// How far each replica that fetched is.
    pub fn replicas(&self) -> impl Iterator<Item = (ReplicaKey, i64)> {
        self.replicas.iter().map(|(key, progress)| (*key, progress.end_offset))
    }
}

impl Consensus {
    pub(super) fn fetched(
        &mut self,
        now: Now,
        replica: ReplicaKey,
        offset: i64,
        effects: &mut Vec<Effect>,
    ) {
        let (majority, timeout) = (self.voters.majority(), self.config.fetch_timeout * 3 / 2);
        let voters = &self.voters;
        let Role::Leader(leader) = &mut self.role else { return };
        leader.replicas.insert(replica, Progress { end_offset: offset, fetched_at: now.mono });
        if leader.check_quorum_at.is_some() {
            // The leader is one of the majority; the rest must have been heard of. The oldest of the newest counts.
            let heard = leader.replicas.iter().filter(|(key, _)| voters.is_voter(**key));
            let mut times: Vec<Duration> = heard.map(|(_, progress)| progress.fetched_at).collect();
            times.sort_by(|a, b| b.cmp(a));
            if let Some(oldest) = majority.checked_sub(2).and_then(|at| times.get(at)) {
                leader.check_quorum_at = Some(*oldest + timeout);
            }
        }
        self.update_high_watermark(effects);
    }

    /// The offset that a majority of the voters holds, this leader with what it has on disk. It says nothing of commitment before a
    /// record of this epoch is in it, and never goes back.
    pub(super) fn update_high_watermark(&mut self, effects: &mut Vec<Effect>) {
        let Role::Leader(leader) = &self.role else { return };
        let local = self.config.local.key;
        let mut ends: Vec<i64> = self
            .voters
            .iter()
            .map(|voter| {
                if voter.key.id == local.id {
                    return self.flushed;
                }
                let of_id = leader.replicas.iter().filter(|(key, _)| key.id == voter.key.id);
                of_id
                    .filter(|(key, _)| self.voters.is_voter(**key))
                    .map(|(_, p)| p.end_offset)
                    .max()
                    .unwrap_or(-1)
            })
            .collect();
        ends.sort_by(|a, b| b.cmp(a));
        let Some(offset) = ends.get(self.voters.len() / 2).copied() else { return };
        if offset > leader.epoch_start && self.high_watermark.is_none_or(|known| offset > known) {
            self.high_watermark = Some(offset);
            effects.push(Effect::AdvanceHighWatermark { offset });
        }
    }
}

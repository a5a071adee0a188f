//! What the followers of a leader have fetched. It is noted where fetches are served, and the leader's actor is told
//! only of what may change a decision: one message per follower waits for it at most.

use std::cmp::Reverse;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machines::partition::{IsrChange, Leadership, Partition, ReplicaFetch, ReplicaState};
use model::{LeaderEpoch, NodeId};

use crate::handle::PartitionHandle;
use crate::partition::PartitionMsg;
use crate::reads::NotServed;

/// Of a partition that has other replicas, and is led here.
#[derive(Debug)]
struct Followers {
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    isr: Vec<NodeId>,
    pending: Option<IsrChange>,
    each: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    id: NodeId,
    state: ReplicaState,
    /// The actor was told, and has not looked yet.
    told: bool,
}

impl Followers {
    fn get_mut(&mut self, id: NodeId) -> Option<&mut Follower> {
        self.each.iter_mut().find(|follower| follower.id == id)
    }
}

#[derive(Debug, Default)]
pub(crate) struct FollowersCell(Mutex<Option<Box<Followers>>>);

impl FollowersCell {
    fn lock(&self) -> MutexGuard<'_, Option<Box<Followers>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what the actor's machine knows. What was fetched in the same epoch is newer here.
    pub(crate) fn show(&self, machine: &Partition) {
        let mut known = self.lock();
        let Some(leadership) = machine.leadership().filter(|led| led.replicas.len() > 1) else {
            *known = None;
            return;
        };
        let mut before = known.take().filter(|known| known.leader_epoch == leadership.leader_epoch);
        let each = machine.replicas().map(|(id, state)| {
            let kept = before.as_mut().and_then(|before| before.get_mut(id));
            Follower { id, state: kept.map_or(state, |kept| kept.state), told: false }
        });
        *known = Some(Box::new(Followers {
            leader_epoch: leadership.leader_epoch,
            partition_epoch: leadership.partition_epoch,
            isr: leadership.isr.clone(),
            pending: leadership.pending.clone(),
            each: each.collect(),
        }));
    }

    /// What an earlier actor of this epoch knew beyond what the metadata says.
    pub(crate) fn recall(&self, told: &mut Leadership) {
        let known = self.lock();
        let same = |known: &&Followers| {
            known.leader_epoch == told.leader_epoch && known.partition_epoch >= told.partition_epoch
        };
        if let Some(known) = known.as_deref().filter(same) {
            told.partition_epoch = known.partition_epoch;
            told.isr.clone_from(&known.isr);
            told.pending.clone_from(&known.pending);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_none()
    }

    /// What is known of a follower that the actor was told of.
    pub(crate) fn take(&self, id: NodeId) -> Option<ReplicaState> {
        let mut known = self.lock();
        let follower = known.as_mut()?.get_mut(id)?;
        follower.told = false;
        Some(follower.state)
    }

    /// What is known of all.
    pub(crate) fn all(&self) -> Vec<(NodeId, ReplicaState)> {
        let known = self.lock();
        let each = known.iter().flat_map(|known| &known.each);
        each.map(|follower| (follower.id, follower.state)).collect()
    }

    /// Where the logs of those begin that live.
    pub(crate) fn low_watermark(&self, log_start: i64, lives: impl Fn(NodeId) -> bool) -> i64 {
        let known = self.lock();
        let each = known.iter().flat_map(|known| &known.each);
        let starts = each.filter(|f| lives(f.id)).map(|f| f.state.log_start_offset);
        starts.fold(log_start, i64::min)
    }
}

impl PartitionHandle {
    /// Whether this leader, in the epoch that was read in, knows of the replica. `told` is the leader epoch it asked with.
    pub fn check_replica(
        &self,
        replica: NodeId,
        leader_epoch: LeaderEpoch,
        told: Option<LeaderEpoch>,
    ) -> Result<(), NotServed> {
        let known = self.followers().lock();
        let known = known.as_ref().filter(|known| known.leader_epoch == leader_epoch);
        match known.is_some_and(|known| known.each.iter().any(|f| f.id == replica)) {
            true => Ok(()),
            // It may know of an assignment that this leader does not know yet.
            false if told.is_some() => Err(NotServed::UnknownReplica { replica }),
            false => Err(NotServed::NotLeader),
        }
    }

    /// Notes how far a replica has come.
    pub fn replica_fetched(
        &self,
        replica: NodeId,
        leader_epoch: LeaderEpoch,
        fetch: &ReplicaFetch,
    ) {
        let (tell, starts_later) = {
            let mut known = self.followers().lock();
            let known = known.as_mut().filter(|known| known.leader_epoch == leader_epoch);
            let Some(known) = known else { return };
            let in_sync = known.isr.contains(&replica);
            let Some(follower) = known.get_mut(replica) else { return };
            let before = follower.state;
            follower.state.fetched(fetch);
            let after = &follower.state;
            let news = !in_sync
                || before.log_end_offset != after.log_end_offset
                || before.broker_epoch != after.broker_epoch;
            let starts_later = before.log_start_offset != after.log_start_offset;
            let tell = news && !follower.told;
            follower.told |= news;
            (tell, starts_later)
        };
        if tell {
            // One that starts anew looks by itself.
            let _ = self.address().send_now(PartitionMsg::ReplicaFetched { replica });
        }
        if starts_later {
            self.publish();
        }
    }

    /// Whether the replica is in the ISR, as far as this leader knows.
    pub fn is_in_sync(&self, replica: NodeId) -> bool {
        self.followers().lock().as_ref().is_some_and(|known| known.isr.contains(&replica))
    }

    /// Of the in-sync followers which `may` serve and have the offset, the one that is caught up most.
    pub fn most_caught_up(
        &self,
        leader_epoch: LeaderEpoch,
        offset: i64,
        now: Duration,
        may: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let known = self.followers().lock();
        let known = known.as_ref().filter(|known| known.leader_epoch == leader_epoch)?;
        let has = |state: &ReplicaState| {
            state.log_end_offset >= offset && state.log_start_offset <= offset
        };
        let able = |f: &&Follower| known.isr.contains(&f.id) && has(&f.state) && may(f.id);
        let rank =
            |f: &&Follower| (f.state.log_end_offset, Reverse(f.state.since_caught_up(now)), f.id);
        known.each.iter().filter(able).max_by_key(rank).map(|f| f.id)
    }

    /// Everything below is gone from this leader and from the followers that live.
    pub fn low_watermark(&self, lives: impl Fn(NodeId) -> bool) -> i64 {
        self.followers().low_watermark(self.log_start_offset(), lives)
    }
}

//! What a leader decides of the other replicas: how far the log is committed, and who is in sync.
//!
//! Source: `Partition.maybeIncrementLeaderHW`, `maybeExpandIsr`, `maybeShrinkIsr`, `handleAlterPartitionUpdate`,
//! `handleAlterPartitionError`; KIP-497, KIP-841, KIP-903.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, NodeId, Now};

use super::{Effect, Partition, ReplicaState};

/// What the controller says of a partition to its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    pub node: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub min_insync_replicas: usize,
    /// The brokers of the other replicas, as far as they are not fenced.
    pub live: Vec<LiveBroker>,
    /// `replica.lag.time.max.ms`.
    pub max_lag: Duration,
    /// The controller was asked for this, by a leader of the same epoch before.
    pub pending: Option<IsrChange>,
}

/// A broker that is not fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveBroker {
    pub id: NodeId,
    pub epoch: i64,
    pub in_controlled_shutdown: bool,
}

/// The ISR that a leader asks the controller for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrChange {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// With the epochs of their brokers, -1 where it is not known; the leader's own is for whoever asks to fill in.
    pub isr: Vec<(NodeId, i64)>,
}

/// What the controller made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredIsr {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<NodeId>,
}

/// What is to be done after an answer of the controller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    Nothing,
    /// The ISR is another.
    Altered,
    AskAgain,
}

#[derive(Debug)]
pub(super) struct Leading {
    /// Its ISR is the one that the controller has committed, as far as is known here.
    pub(super) leadership: Leadership,
    epoch_start: i64,
    /// All but this one.
    replicas: BTreeMap<NodeId, ReplicaState>,
}

impl Leading {
    pub(super) fn new(leadership: Leadership, epoch_start: i64, now: Duration) -> Leading {
        let mut leading = Leading { leadership, epoch_start, replicas: BTreeMap::new() };
        leading.assign(now);
        leading
    }

    /// It leads on: under another epoch, or with another assignment, ISR or setting.
    pub(super) fn again(&mut self, told: Leadership, log_end: i64, now: Duration) {
        let known = std::mem::replace(&mut self.leadership, told);
        let told = &mut self.leadership;
        if told.leader_epoch > known.leader_epoch {
            self.epoch_start = log_end;
            if told.leader_epoch.0 > known.leader_epoch.0 + 1 {
                // Another may have led between, by whose log followers cut what they told of here: until they tell again they have nothing.
                self.replicas.clear();
            }
            for (id, replica) in &mut self.replicas {
                replica.reelected(told.isr.contains(id), now, log_end);
            }
        } else if told.partition_epoch == known.partition_epoch {
            // Nothing is said of the ISR that this leader does not know.
            (told.isr, told.pending) = (known.isr, known.pending);
        }
        self.assign(now);
    }

    fn assign(&mut self, now: Duration) {
        let Leadership { node, replicas, isr, .. } = &self.leadership;
        self.replicas.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| *id != node) {
            let unheard = || ReplicaState::unheard(isr.contains(id), now);
            self.replicas.entry(*id).or_insert_with(unheard);
        }
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = (NodeId, ReplicaState)> {
        self.replicas.iter().map(|(id, state)| (*id, *state))
    }

    /// `min.insync.replicas`, where there are so many replicas.
    pub(super) fn required(&self) -> usize {
        self.leadership.min_insync_replicas.min(self.leadership.replicas.len())
    }

    pub(super) fn in_sync(&self) -> usize {
        self.leadership.isr.len()
    }

    /// The largest ISR that may be in force: what was asked for may be granted already.
    fn may_be_in_sync(&self, id: NodeId) -> bool {
        let asked = |change: &IsrChange| change.isr.iter().any(|(asked, _)| *asked == id);
        self.leadership.isr.contains(&id) || self.leadership.pending.as_ref().is_some_and(asked)
    }

    /// Everything below is on all replicas that count; none while too few are in sync.
    pub(super) fn committed_end(&self, log_end: i64, now: Duration) -> Option<i64> {
        if self.in_sync() < self.required() {
            return None;
        }
        let max_lag = self.leadership.max_lag;
        // One that is about to join the ISR is waited for: it could not catch up with a watermark that runs ahead of it.
        let counts = |id: NodeId, replica: &ReplicaState| {
            self.may_be_in_sync(id)
                || replica.is_caught_up(log_end, now, max_lag) && self.is_eligible(id, replica)
        };
        let behind = self.replicas.iter().filter(|(_, replica)| replica.log_end_offset < log_end);
        let ends = behind.filter(|(id, replica)| counts(**id, replica));
        Some(ends.map(|(_, replica)| replica.log_end_offset).fold(log_end, i64::min))
    }

    fn live(&self, id: NodeId) -> Option<&LiveBroker> {
        self.leadership.live.iter().find(|broker| broker.id == id)
    }

    fn is_eligible(&self, id: NodeId, replica: &ReplicaState) -> bool {
        let of_epoch = |epoch: i64| replica.broker_epoch.is_some_and(|e| e == -1 || e == epoch);
        let able = |broker: &LiveBroker| !broker.in_controlled_shutdown && of_epoch(broker.epoch);
        self.live(id).is_some_and(able)
    }

    /// Whether the replica is assigned, and what was known of it.
    pub(super) fn fetched(&mut self, id: NodeId, state: ReplicaState) -> bool {
        self.replicas.get_mut(&id).map(|known| *known = state).is_some()
    }

    /// Asks for the replica to be in the ISR, if it has caught up.
    pub(super) fn expand(&mut self, id: NodeId, high_watermark: i64) -> Option<IsrChange> {
        let replica = self.replicas.get(&id)?;
        let reached = high_watermark.max(self.epoch_start);
        if self.leadership.pending.is_some()
            || self.leadership.isr.contains(&id)
            || !self.is_eligible(id, replica)
            || replica.log_end_offset < reached
        {
            return None;
        }
        let isr = self.leadership.isr.iter().copied().chain([id]).collect();
        Some(self.ask(isr))
    }

    /// Asks for an ISR without those that have not caught up for too long.
    pub(super) fn shrink(&mut self, log_end: i64, now: Duration) -> Option<IsrChange> {
        let Leadership { node, isr, max_lag, pending, .. } = &self.leadership;
        let stays = |id: &NodeId| {
            let replica = self.replicas.get(id);
            id == node || replica.is_some_and(|r| r.is_caught_up(log_end, now, *max_lag))
        };
        if pending.is_some() || isr.iter().all(stays) {
            return None;
        }
        let isr = isr.iter().copied().filter(stays).collect();
        Some(self.ask(isr))
    }

    fn ask(&mut self, isr: Vec<NodeId>) -> IsrChange {
        let epoch = |id| self.replicas.get(&id).and_then(|replica| replica.broker_epoch);
        let change = IsrChange {
            leader_epoch: self.leadership.leader_epoch,
            partition_epoch: self.leadership.partition_epoch,
            isr: isr.into_iter().map(|id| (id, epoch(id).unwrap_or(-1))).collect(),
        };
        self.leadership.pending = Some(change.clone());
        change
    }

    /// Where it is not known whether the change was made, it stays pending until the metadata tells.
    pub(super) fn answered(
        &mut self,
        asked: &IsrChange,
        answer: Result<AlteredIsr, ErrorCode>,
    ) -> AfterAnswer {
        if self.leadership.pending.as_ref() != Some(asked) {
            return AfterAnswer::Nothing;
        }
        match answer {
            Ok(altered) => self.altered(altered),
            // The controller knows this partition epoch, and has not done it.
            Err(ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica) => {
                self.leadership.pending = None;
                AfterAnswer::Nothing
            }
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => AfterAnswer::Nothing,
            Err(_) => AfterAnswer::AskAgain,
        }
    }

    fn altered(&mut self, altered: AlteredIsr) -> AfterAnswer {
        let known = &mut self.leadership;
        if altered.leader_epoch != known.leader_epoch
            || altered.partition_epoch < known.partition_epoch
        {
            return AfterAnswer::Nothing;
        }
        (known.isr, known.partition_epoch) = (altered.isr, altered.partition_epoch);
        known.pending = None;
        AfterAnswer::Altered
    }
}

impl Partition {
    pub(super) fn lead(&mut self, now: Now, told: Leadership, effects: &mut Vec<Effect>) {
        if told.partition_epoch < self.partition_epoch || told.leader_epoch < self.leader_epoch {
            return;
        }
        let new_epoch = told.leader_epoch > self.leader_epoch;
        self.leader_epoch = told.leader_epoch;
        self.partition_epoch = told.partition_epoch;
        if new_epoch {
            effects.push(Effect::StartEpoch {
                leader_epoch: self.leader_epoch,
                start_offset: self.assigned,
            });
        }
        match &mut self.leading {
            Some(leading) => leading.again(told, self.assigned, now.mono),
            None => {
                // Whether the answer came is not known any more.
                effects.extend(told.pending.clone().map(Effect::AlterIsr));
                self.leading = Some(Box::new(Leading::new(told, self.assigned, now.mono)));
            }
        }
        self.advance(now, effects);
    }

    pub(super) fn replica_fetched(
        &mut self,
        now: Now,
        replica: NodeId,
        state: ReplicaState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(leading) = &mut self.leading else { return };
        if leading.fetched(replica, state) {
            effects.extend(leading.expand(replica, self.high_watermark).map(Effect::AlterIsr));
            self.advance(now, effects);
        }
    }

    pub(super) fn replica_known(
        &mut self,
        now: Now,
        replica: NodeId,
        state: ReplicaState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(leading) = &mut self.leading else { return };
        if leading.fetched(replica, state) {
            self.advance(now, effects);
        }
    }

    pub(super) fn check_isr(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(leading) = &mut self.leading else { return };
        effects.extend(leading.shrink(self.written, now.mono).map(Effect::AlterIsr));
        // One that was waited for may have fallen behind.
        self.advance(now, effects);
    }

    pub(super) fn isr_answered(
        &mut self,
        now: Now,
        asked: IsrChange,
        answer: Result<AlteredIsr, ErrorCode>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(leading) = &mut self.leading else { return };
        match leading.answered(&asked, answer) {
            AfterAnswer::Nothing => {}
            AfterAnswer::Altered => {
                self.partition_epoch = leading.leadership.partition_epoch;
                self.advance(now, effects);
            }
            AfterAnswer::AskAgain => effects.push(Effect::AlterIsr(asked)),
        }
    }
}

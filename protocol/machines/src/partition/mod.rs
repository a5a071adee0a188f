//! The partition machine: what one replica of a topic-partition decides.
//!
//! Stepped. As leader it gives offsets, refuses what idempotence or the in-sync replicas forbid, moves the high watermark
//! and says when an append may be answered. It never sees record bytes: a batch is a [`BatchInfo`].
//!
//! Source: `Partition.scala`, `UnifiedLog`; inventory G, "Replication" and "Idempotence".

mod follow;
mod leading;
#[cfg(test)]
mod leading_tests;
mod producers;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use model::producers::{BatchInfo, CompletedTransaction, Producers, RememberedBatch};
use model::{ErrorCode, LeaderEpoch, NodeId, Now, ProducerEpoch, Ticket};

pub use follow::{EpochEnd, truncation_offset};
use leading::Leading;
pub use leading::{AlteredIsr, IsrChange, Leadership, LiveBroker};
pub use replica::{ReplicaFetch, ReplicaState};

/// Who wrote a batch: only a client's sequences are checked, and a follower takes what its leader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// A client that had sent the batch of this sequence before, which was refused and is to come again.
    ClientBehind(i32),
    Coordinator,
    Replication,
}

impl Origin {
    fn is_client(self) -> bool {
        matches!(self, Origin::Client | Origin::ClientBehind(_))
    }
}

/// How many replicas must have a batch before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    None,
    Leader,
    All,
}

impl Acks {
    /// `None` where the number is not one of Kafka's three.
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// Why an append was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("the coordinator's leader epoch {given} is not the current {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("{in_sync} in-sync replicas, but min.insync.replicas is {required}")]
    NotEnoughReplicas { in_sync: usize, required: usize },
    #[error("producer epoch {given} is older than {known}")]
    InvalidProducerEpoch { given: ProducerEpoch, known: ProducerEpoch },
    #[error("sequence {given} does not follow: {expected} was expected")]
    OutOfOrderSequence { given: i32, expected: i32 },
    #[error("{reason}")]
    InvalidTxnState { reason: &'static str },
    #[error("coordinator epoch {given} is older than {known}")]
    TransactionCoordinatorFenced { given: i32, known: i32 },
}

impl AppendError {
    /// The error code that a producer sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            AppendError::NotLeader | AppendError::FencedLeaderEpoch { .. } => {
                ErrorCode::NotLeaderOrFollower
            }
            AppendError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
            AppendError::TransactionCoordinatorFenced { .. } => {
                ErrorCode::TransactionCoordinatorFenced
            }
        }
    }
}

/// Where an acknowledged batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub log_start_offset: i64,
    /// Set for a retry of a batch that is already in the log: its own append time, where the topic uses log append time.
    pub duplicate_timestamp: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The controller made this replica the leader; its log ends at `log_end`.
    Lead(Leadership),
    /// The controller made another replica the leader.
    Follow { leader_epoch: LeaderEpoch, partition_epoch: i32 },
    /// One batch; `leader_epoch` is set by coordinators, who must not write under another epoch than they loaded.
    Append {
        ticket: Ticket,
        batch: BatchInfo,
        acks: Acks,
        origin: Origin,
        leader_epoch: Option<LeaderEpoch>,
    },
    /// Every batch below `end` is written and readable.
    Written { end: i64 },
    /// As follower: one batch as it lies in the leader's log is written next.
    Replicate { base_offset: i64, batch: BatchInfo },
    /// As follower: everything below is committed, says the leader.
    CommittedByLeader { offset: i64 },
    /// As follower: the log was cut at its end, or begun anew.
    Truncated(Opened),
    /// A follower has fetched, and this is what is known of it now.
    ReplicaFetched { replica: NodeId, state: ReplicaState },
    /// What is known of a follower since it last fetched: by that it stays in the ISR or leaves it, and never joins it.
    ReplicaKnown { replica: NodeId, state: ReplicaState },
    /// Periodic: in-sync replicas that have fallen behind are looked for.
    CheckIsr,
    /// The controller answered what was asked of it.
    IsrAnswered { asked: IsrChange, answer: Result<AlteredIsr, ErrorCode> },
    /// Records below `offset` are gone.
    LogStartAdvanced { offset: i64 },
    /// Periodic: producers that wrote nothing for so long are forgotten.
    Tick { producer_id_expiration_ms: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the batch of this ticket at `base_offset`.
    Write {
        ticket: Ticket,
        base_offset: i64,
        leader_epoch: LeaderEpoch,
    },
    Reply {
        ticket: Ticket,
        result: Result<Appended, AppendError>,
    },
    /// Readers may see everything below.
    HighWatermark(i64),
    /// read_committed readers may see everything below.
    LastStableOffset(i64),
    /// Ask the controller for this ISR, and tell its answer.
    AlterIsr(IsrChange),
    /// A new leader starts its epoch at the end of its log.
    StartEpoch {
        leader_epoch: LeaderEpoch,
        start_offset: i64,
    },
}

/// What an opened log tells the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    /// The checkpointed high watermark, bounded by the log's ends.
    pub high_watermark: i64,
    pub producers: Producers,
    /// Transactions that ended at or above that high watermark.
    pub completed: Vec<CompletedTransaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    required: i64,
    ticket: Ticket,
    appended: Appended,
}

/// One replica of a partition.
#[derive(Debug)]
pub struct Partition {
    leading: Option<Box<Leading>>,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    log_start_offset: i64,
    /// The end of what was given offsets; what is on its way to the log lies between `written` and this.
    assigned: i64,
    written: i64,
    high_watermark: i64,
    last_stable_offset: i64,
    producers: Producers,
    /// First offset of each ended transaction whose marker the high watermark has not passed, with the marker's offset.
    unreplicated: BTreeMap<i64, i64>,
    /// Answers owed once written, and once the high watermark passes; both ordered by offset.
    until_written: VecDeque<Waiting>,
    until_committed: VecDeque<Waiting>,
}

impl Partition {
    pub fn new(opened: Opened) -> Self {
        let mut partition = Partition {
            leading: None,
            leader_epoch: LeaderEpoch(-1),
            partition_epoch: -1,
            log_start_offset: opened.log_start_offset,
            assigned: opened.log_end_offset,
            written: opened.log_end_offset,
            high_watermark: opened
                .high_watermark
                .clamp(opened.log_start_offset, opened.log_end_offset),
            last_stable_offset: 0,
            producers: opened.producers,
            unreplicated: BTreeMap::new(),
            until_written: VecDeque::new(),
            until_committed: VecDeque::new(),
        };
        let completed = opened.completed.into_iter();
        partition.unreplicated =
            completed.map(|ended| (ended.first_offset, ended.last_offset)).collect();
        partition.forget_replicated();
        partition.last_stable_offset = partition.stable_end();
        partition
    }

    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    pub fn last_stable_offset(&self) -> i64 {
        self.last_stable_offset
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub fn is_leader(&self) -> bool {
        self.leading.is_some()
    }

    /// What the leader was told, with the ISR that it knows of.
    pub fn leadership(&self) -> Option<&Leadership> {
        self.leading.as_ref().map(|leading| &leading.leadership)
    }

    /// What a leader knows of the other replicas.
    pub fn replicas(&self) -> impl Iterator<Item = (NodeId, ReplicaState)> {
        self.leading.iter().flat_map(|leading| leading.replicas())
    }

    /// Fewer replicas are in sync than a write with acks=all needs.
    pub fn is_under_min_isr(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.in_sync() < leading.required())
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Lead(leadership) => self.lead(now, leadership, effects),
            Event::Follow { leader_epoch, partition_epoch } => {
                self.follow(leader_epoch, partition_epoch, effects)
            }
            Event::Append { ticket, batch, acks, origin, leader_epoch } => {
                if let Err(error) = self.append(ticket, &batch, acks, origin, leader_epoch, effects)
                {
                    effects.push(Effect::Reply { ticket, result: Err(error) });
                }
            }
            Event::Written { end } => self.written(now, end, effects),
            Event::ReplicaFetched { replica, state } => {
                self.replica_fetched(now, replica, state, effects)
            }
            Event::ReplicaKnown { replica, state } => {
                self.replica_known(now, replica, state, effects)
            }
            Event::Replicate { base_offset, batch } => self.replicate(base_offset, &batch),
            Event::CommittedByLeader { offset } => self.committed_by_leader(offset, effects),
            Event::Truncated(opened) => self.truncated(opened, effects),
            Event::CheckIsr => self.check_isr(now, effects),
            Event::IsrAnswered { asked, answer } => self.isr_answered(now, asked, answer, effects),
            Event::LogStartAdvanced { offset } => {
                self.log_start_offset = self.log_start_offset.max(offset);
                self.high_watermark = self.high_watermark.max(self.log_start_offset);
                self.publish_stable(effects);
            }
            Event::Tick { producer_id_expiration_ms } => {
                self.producers.expire(now.wall_ms, producer_id_expiration_ms)
            }
        }
        self.check_invariants();
    }

    fn follow(&mut self, epoch: LeaderEpoch, partition_epoch: i32, effects: &mut Vec<Effect>) {
        if partition_epoch < self.partition_epoch || epoch < self.leader_epoch {
            return;
        }
        self.leader_epoch = epoch;
        self.partition_epoch = partition_epoch;
        self.leading = None;
        for waiting in self.until_written.drain(..).chain(self.until_committed.drain(..)) {
            let result = Err(AppendError::NotLeader);
            effects.push(Effect::Reply { ticket: waiting.ticket, result });
        }
    }

    fn append(
        &mut self,
        ticket: Ticket,
        batch: &BatchInfo,
        acks: Acks,
        origin: Origin,
        leader_epoch: Option<LeaderEpoch>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), AppendError> {
        let leading = self.leading.as_ref().ok_or(AppendError::NotLeader)?;
        if let Some(given) = leader_epoch.filter(|given| *given != self.leader_epoch) {
            return Err(AppendError::FencedLeaderEpoch { given, current: self.leader_epoch });
        }
        let (in_sync, required) = (leading.in_sync(), leading.required());
        if acks == Acks::All && in_sync < required {
            return Err(AppendError::NotEnoughReplicas { in_sync, required });
        }
        if origin.is_client() && batch.has_producer() {
            if let Some(known) = self.producers.duplicate_of(batch) {
                self.answer_duplicate(ticket, known, acks, effects);
                return Ok(());
            }
            if batch.transactional && !self.producers.in_transaction(batch.producer_id) {
                return Err(AppendError::InvalidTxnState {
                    reason: "the transaction coordinator has not added this partition",
                });
            }
        }
        let base_offset = self.assigned;
        producers::check(&self.producers, batch, origin)?;
        if let Some(ended) = self.producers.apply(batch, base_offset) {
            self.unreplicated.insert(ended.first_offset, ended.last_offset);
        }
        self.assigned = base_offset + i64::from(batch.last_offset_delta) + 1;
        let leader_epoch = self.leader_epoch;
        effects.push(Effect::Write { ticket, base_offset, leader_epoch });
        let log_start_offset = self.log_start_offset;
        let appended = Appended { base_offset, log_start_offset, duplicate_timestamp: None };
        let waiting = Waiting { required: self.assigned, ticket, appended };
        match acks {
            Acks::All => self.until_committed.push_back(waiting),
            Acks::None | Acks::Leader => self.until_written.push_back(waiting),
        }
        Ok(())
    }

    /// A retry is answered as its first attempt is: once that is written, or committed.
    fn answer_duplicate(
        &mut self,
        ticket: Ticket,
        known: RememberedBatch,
        acks: Acks,
        effects: &mut Vec<Effect>,
    ) {
        let appended = Appended {
            base_offset: known.first_offset(),
            log_start_offset: self.log_start_offset,
            duplicate_timestamp: Some(known.timestamp),
        };
        let required = known.last_offset + 1;
        let (done, queue) = match acks {
            Acks::All => (self.high_watermark, &mut self.until_committed),
            Acks::None | Acks::Leader => (self.written, &mut self.until_written),
        };
        if required <= done {
            effects.push(Effect::Reply { ticket, result: Ok(appended) });
            return;
        }
        let at = queue.partition_point(|waiting| waiting.required <= required);
        queue.insert(at, Waiting { required, ticket, appended });
    }

    fn written(&mut self, now: Now, end: i64, effects: &mut Vec<Effect>) {
        self.written = self.written.max(end);
        release(&mut self.until_written, self.written, effects);
        self.advance(now, effects);
    }

    /// Moves the high watermark to what every in-sync replica has, and answers what waited for that.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(leading) = &self.leading else { return };
        let Some(least) = leading.committed_end(self.written, now.mono) else { return };
        if least > self.high_watermark {
            self.high_watermark = least;
            effects.push(Effect::HighWatermark(least));
            self.forget_replicated();
            release(&mut self.until_committed, least, effects);
        }
        self.publish_stable(effects);
    }

    /// Ended transactions whose marker every in-sync replica has no longer hold back the last stable offset.
    fn forget_replicated(&mut self) {
        let high_watermark = self.high_watermark;
        self.unreplicated.retain(|_, marker| *marker >= high_watermark);
    }

    fn stable_end(&self) -> i64 {
        let ongoing = self.producers.first_ongoing_offset().unwrap_or(i64::MAX);
        let unreplicated = self.unreplicated.keys().next().copied().unwrap_or(i64::MAX);
        // What an open transaction wrote may be deleted.
        self.high_watermark.min(ongoing).min(unreplicated).max(self.log_start_offset)
    }

    fn publish_stable(&mut self, effects: &mut Vec<Effect>) {
        let stable = self.stable_end();
        if stable > self.last_stable_offset {
            self.last_stable_offset = stable;
            effects.push(Effect::LastStableOffset(stable));
        }
    }

    /// PA-1 to PA-3 of docs/INVARIANTS.md.
    fn check_invariants(&self) {
        debug_assert!(self.last_stable_offset <= self.high_watermark);
        debug_assert!(self.high_watermark <= self.written.max(self.log_start_offset));
        debug_assert!(self.written <= self.assigned);
        debug_assert!(
            self.until_committed.front().is_none_or(|w| w.required > self.high_watermark)
        );
    }
}

/// Answers everything in `queue` that `done` covers.
fn release(queue: &mut VecDeque<Waiting>, done: i64, effects: &mut Vec<Effect>) {
    while let Some(waiting) = queue.front().filter(|waiting| waiting.required <= done) {
        effects.push(Effect::Reply { ticket: waiting.ticket, result: Ok(waiting.appended) });
        queue.pop_front();
    }
}

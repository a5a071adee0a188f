//! Partition: the shell around one replica of one topic-partition.
//!
//! Supervisor: `partitions`; a restart recovers the log from what its predecessor had written and rebuilds the machine.
//! Bound: an `Append` carries the memory that its sender took for it; it is given back when the batch is written.
//! Invariants: PA-1 to PA-5.

mod clean;
#[cfg(test)]
mod clean_tests;
mod flush;
mod follow;
mod open;
mod promote;
#[cfg(test)]
mod promote_tests;
mod replicate;
#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;
mod transactions;
mod trim;
#[cfg(test)]
mod trim_tests;

use std::sync::Arc;

use disk::DiskError;
use log::{DeletedSegments, Log, SyncJob};
use machines::partition::{Effect, Event, Leadership, Partition};
use model::settings::TopicConfig;
use model::{LeaderEpoch, NodeId, Ticket};
use runtime::{Actor, Counter, Cx, Failure, Lent, Map, Outcome, Reply, TimerId};
use wire::batch::RecordBatch;

use crate::assignments::IsrChanges;
use crate::cleaner::{CleanRequest, PassFailed};
use crate::future::FutureLog;
use crate::handle::{Append, AppendResult, Appending, PartitionHandle, Serving, Standing};
use crate::hosted::Hosted;
pub use clean::CleanStep;
use clean::Cleaning;
pub use flush::SyncFailed;
use follow::Unanswered;
pub use follow::{Cut, FollowError, FollowResult, FollowerEnd, Replicate, Truncate};
pub use open::PartitionArgs;
pub(crate) use open::{OpenLogError, log_config, open_log, rewrite_if_unsynced};
pub use promote::NotPromoted;
pub use replicate::IsrAnswer;
pub use transactions::OpenTransaction;
pub use trim::{DeleteRecords, DeleteRecordsError, NotRemoved};

/// Kept small, also by boxing what is rare: the actor's future, of which there are as many as partitions, holds several.
pub enum PartitionMsg {
    /// One batch from a connection or a coordinator; answered once `acks` hold (PA-1).
    Append { asked: Box<Appending> },
    /// From itself: write everything that waits.
    Flush,
    /// From itself: a sync ended.
    Synced { result: Result<Box<SyncJob>, Box<SyncFailed>> },
    /// From itself: `flush.ms` have passed since something was written.
    SyncDue,
    /// From `partitions`: the controller made this replica the leader, or changed its in-sync replicas.
    Lead { leadership: Box<Leadership> },
    /// From `partitions`: another replica leads.
    Follow { leader_epoch: LeaderEpoch, partition_epoch: i32 },
    /// From a replica fetcher: what the leader has is taken over.
    Replicate { asked: Box<Replicate> },
    /// From a replica fetcher: the log is cut.
    Truncate { asked: Box<Truncate> },
    /// From whoever served it: a follower's fetch is news.
    ReplicaFetched { replica: NodeId },
    /// From `partitions`, periodic: followers that fell behind leave the ISR.
    CheckIsr,
    /// From whoever asked the controller.
    IsrAnswered { answer: Box<IsrAnswer> },
    /// From `partitions`: the topic's settings changed.
    Configure { config: Arc<TopicConfig> },
    /// Moves the log start offset up; answers with the offset that it is at, or beyond.
    DeleteRecords { asked: Box<DeleteRecords> },
    /// Which transaction is open for longest.
    FirstTransaction { reply: Box<Reply<Option<OpenTransaction>>> },
    /// From `partitions`, periodic: forget idle producers.
    Tick { producer_id_expiration_ms: i64 },
    /// From `partitions`, periodic: delete old segments.
    Retain,
    /// From its log directory, while its disk is short of room: delete what `share` of the topic's retention gives up.
    MakeRoom { share: f64 },
    /// From itself: deleted segments have waited for `file.delete.delay.ms`.
    RemoveFiles { of: u64 },
    /// From itself: their files are gone, or not.
    Removed { result: Result<(), Box<NotRemoved>> },
    /// From the log cleaner: compact the log.
    Clean { asked: Box<CleanRequest> },
    /// From itself: a pass came so far.
    Cleaned { step: Box<CleanStep> },
    /// From itself: a pass may go on, by the rate that is allowed.
    CleanOn,
    /// From itself: a pass is over before its end.
    CleanEnded { failed: Box<PassFailed> },
    /// From itself: what a pass gave is in its place on the disk.
    Swapped { result: Result<Box<DeletedSegments>, Box<DiskError>> },
    /// From `partitions`: the copy of the log in another directory, which rests, takes its place. Answered when it
    /// has, or could not.
    Promote { future: Arc<FutureLog>, reply: Box<Reply<Result<(), NotPromoted>>> },
    /// From a test or an operator: fail as a bug would.
    Panic { message: String },
}

runtime::messages!(PartitionMsg {
    Append,
    Flush,
    Synced,
    SyncDue,
    Lead,
    Follow,
    Replicate,
    Truncate,
    ReplicaFetched,
    CheckIsr,
    IsrAnswered,
    Configure,
    DeleteRecords,
    FirstTransaction,
    Tick,
    Retain,
    MakeRoom,
    RemoveFiles,
    Removed,
    Clean,
    Cleaned,
    CleanOn,
    CleanEnded,
    Swapped,
    Promote,
    Panic
});

/// One replica.
pub struct PartitionActor {
    handle: Arc<PartitionHandle>,
    log: Lent<Log>,
    machine: Partition,
    isr_changes: Arc<IsrChanges>,
    config: Arc<TopicConfig>,
    next_ticket: u64,
    parked: Map<Ticket, Reply<AppendResult>>,
    /// Given offsets, not yet written.
    pending: Vec<RecordBatch>,
    pending_memory: Vec<runtime::Held>,
    flush_queued: bool,
    syncing: bool,
    /// A copy waits to take its place: no other sync is begun.
    promotion_waits: bool,
    /// In a row.
    failed_syncs: u32,
    /// What a failed sync left is still to be written again.
    rewrite_due: bool,
    /// The log's end at the last tick.
    ticked_end: i64,
    /// Runs from the first write that is not on the disk.
    sync_timer: Option<TimerId>,
    /// Segments whose files wait to be removed, in the order of their deletion.
    deleted: Map<u64, DeletedSegments>,
    deletions: u64,
    /// A pass of the log cleaner.
    cleaning: Option<Box<Cleaning>>,
    /// The last one ended before its end, for retention.
    pass_made_way: bool,
    producer_id_expiration_ms: i64,
    /// As follower: what was brought last, until it is written as safely as the topic wants.
    unanswered: Option<Box<Unanswered>>,
    /// For the checkpoints of its directory.
    hosted: Arc<Hosted>,
    effects: Vec<Effect>,
    appended: Counter,
    appended_bytes: Counter,
}

impl Actor for PartitionActor {
    const KIND: &'static str = "partition";
    type Msg = PartitionMsg;
    type Args = PartitionArgs;

    async fn start(cx: &mut Cx<Self>, args: PartitionArgs) -> Result<Self, Failure> {
        open::open(cx, args).await
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PartitionMsg) -> Outcome {
        match msg {
            PartitionMsg::Append { asked } => self.append(cx, *asked)?,
            PartitionMsg::Flush => self.flush(cx).await?,
            PartitionMsg::Synced { result } => Box::pin(self.synced(cx, result)).await?,
            PartitionMsg::SyncDue => Box::pin(self.sync_due(cx)).await?,
            PartitionMsg::Lead { leadership } => {
                // What was given offsets is in the log before another epoch begins.
                self.flush(cx).await?;
                self.lead(cx, *leadership)?;
            }
            PartitionMsg::Follow { leader_epoch, partition_epoch } => {
                // What was given offsets is in the log before another's records are.
                self.flush(cx).await?;
                self.log.keep_recent(None);
                self.step(cx, Event::Follow { leader_epoch, partition_epoch })?;
                self.show_followers(cx);
                self.publish_standing();
            }
            PartitionMsg::Replicate { asked } => Box::pin(self.replicate(cx, *asked)).await?,
            PartitionMsg::Truncate { asked } => Box::pin(self.truncate(cx, asked)).await?,
            PartitionMsg::ReplicaFetched { replica } => self.replica_fetched(cx, replica)?,
            PartitionMsg::CheckIsr => self.check_isr(cx)?,
            PartitionMsg::IsrAnswered { answer } => self.isr_answered(cx, *answer)?,
            PartitionMsg::Configure { config } => self.configure(cx, config),
            PartitionMsg::DeleteRecords { asked } => {
                let DeleteRecords { offset, held: _held, reply } = *asked;
                reply.send(Box::pin(self.delete_records(cx, offset)).await?)
            }
            PartitionMsg::FirstTransaction { reply } => reply.send(self.first_transaction()),
            PartitionMsg::Tick { producer_id_expiration_ms } => {
                self.sync_if_idle(cx);
                self.producer_id_expiration_ms = producer_id_expiration_ms;
                let now_ms = cx.world().now().wall_ms;
                self.log.expire_producers(now_ms, producer_id_expiration_ms);
                self.step(cx, Event::Tick { producer_id_expiration_ms })?;
            }
            PartitionMsg::Retain => Box::pin(self.delete_old_segments(cx)).await?,
            PartitionMsg::MakeRoom { share } => Box::pin(self.make_room(cx, share)).await?,
            PartitionMsg::RemoveFiles { of } => self.remove_files(cx, of),
            PartitionMsg::Removed { result } => self.removed(cx, result),
            PartitionMsg::Clean { asked } => self.clean(cx, *asked),
            PartitionMsg::Cleaned { step } => Box::pin(self.cleaned(cx, *step)).await?,
            PartitionMsg::CleanOn => self.clean_on(cx),
            PartitionMsg::CleanEnded { failed } => {
                Box::pin(self.end_pass(cx, Err(*failed))).await?;
            }
            PartitionMsg::Swapped { result } => self.swapped(cx, result)?,
            PartitionMsg::Promote { future, reply } => {
                Box::pin(self.promote_when_at_rest(cx, future, reply)).await?;
            }
            PartitionMsg::Panic { message } => panic!("{message}"),
        }
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        self.close(cx).await;
    }

    fn state_line(&self) -> String {
        let role = if self.machine.is_leader() { "leader" } else { "follower" };
        let clean = match (&self.cleaning, self.handle.cleaned()) {
            (Some(_), _) => ", being compacted".to_owned(),
            (None, Some(offset)) if offset > 0 => format!(", compacted to {offset}"),
            (None, _) => String::new(),
        };
        let stays = self.handle.called_off();
        let stays = stays.map(|why| format!(", MOVE CALLED OFF: {why}")).unwrap_or_default();
        format!(
            "{role} epoch {}, offsets {} to {}, high watermark {}{}{clean}{stays}",
            self.machine.leader_epoch(),
            self.log.log_start_offset(),
            self.log.log_end_offset(),
            self.machine.high_watermark(),
            self.isr_line(),
        )
    }
}

impl PartitionActor {
    /// Awaits nothing, so that the actor's future, of which there are as many as partitions, stays small.
    fn append(&mut self, cx: &Cx<Self>, asked: Appending) -> Outcome {
        let Appending { append, reply } = asked;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let batch = match append.batch.info() {
            Ok(batch) => batch,
            Err(error) => return Err(Failure::new(format!("an unchecked batch: {error}"))),
        };
        let Append { acks, origin, leader_epoch, .. } = append;
        // Also with acks=0: an append that is refused costs its sender the connection.
        self.parked.insert(ticket, reply);
        let mut effects = std::mem::take(&mut self.effects);
        let now = cx.world().now();
        let event = Event::Append { ticket, batch, acks, origin, leader_epoch };
        self.machine.step(now, event, &mut effects);
        let mut incoming = Some((append.batch, append.held));
        for effect in effects.drain(..) {
            if let Effect::Write { base_offset, leader_epoch, .. } = effect {
                if let Some((mut batch, held)) = incoming.take() {
                    batch.assign(base_offset, leader_epoch.0);
                    self.pending.push(batch);
                    self.pending_memory.extend(held);
                }
            } else {
                self.perform(effect)?;
            }
        }
        self.effects = effects;
        if !self.pending.is_empty() && !self.flush_queued {
            self.flush_queued = true;
            // Others that wait in the mailbox are appended first, and written together.
            let _ = cx.me().send_now(PartitionMsg::Flush);
        }
        Ok(())
    }

    fn step(&mut self, cx: &Cx<Self>, event: Event) -> Outcome {
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.step(cx.world().now(), event, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect)?;
        }
        self.effects = effects;
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Outcome {
        match effect {
            Effect::Write { .. } => return Err(Failure::new("a write without its batch")),
            Effect::Reply { ticket, result } => {
                if let Some(reply) = self.parked.remove(&ticket) {
                    reply.send(result);
                }
            }
            Effect::HighWatermark(offset) => {
                self.handle.set_high_watermark(offset);
                self.handle.publish();
            }
            Effect::LastStableOffset(offset) => {
                self.handle.set_last_stable(offset);
                self.handle.publish();
            }
            Effect::AlterIsr(change) => self.ask_for_isr(change),
            Effect::StartEpoch { leader_epoch, start_offset } => {
                debug_assert_eq!(start_offset, self.log.log_end_offset());
                self.log.begin_epoch(leader_epoch);
                self.publish_standing();
            }
        }
        Ok(())
    }

    /// Shows readers the log as it now is.
    fn publish_standing(&self) {
        let end = self.log.log_end_offset();
        if self.handle.cleaned().is_some_and(|cleaned| cleaned > end) {
            self.handle.set_cleaned(end);
        }
        let serving =
            Serving { leader_epoch: self.machine.leader_epoch(), view: Arc::new(self.log.view()) };
        self.handle.set_log_end(end);
        self.handle.set_standing(if self.machine.is_leader() {
            Standing::Leader(serving)
        } else {
            Standing::Follower(serving)
        });
    }

    fn configure(&mut self, cx: &mut Cx<Self>, config: Arc<TopicConfig>) {
        self.handle.set_config(config.clone());
        self.config = config;
        self.draw_jitter(cx);
        if let Some(timer) = self.sync_timer.take() {
            cx.cancel(timer);
        }
        self.await_sync(cx);
    }

    /// Each segment lives for a time of its own: `segment.ms`, less a part of `segment.jitter.ms`.
    fn draw_jitter(&mut self, cx: &Cx<Self>) {
        self.log.set_config(open::log_config(cx.world(), &self.handle, &self.config));
    }
}

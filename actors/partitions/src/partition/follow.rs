//! Following: what the leader has is taken over as it is, cut where it diverges, and begun anew where the leader's log begins later.
//!
//! Source: `Partition.appendRecordsToFollowerOrFutureReplica`, `UnifiedLog.appendAsFollower`, `ReplicaFetcherThread`.

use std::time::Duration;

use log::{DeletedSegments, Log, TruncateError};
use machines::partition::{EpochEnd, Event, Opened, truncation_offset};
use model::LeaderEpoch;
use runtime::{Cx, Outcome, Reply};
use wire::batch::RecordBatch;

use super::flush::must_sync;
use super::{PartitionActor, PartitionMsg};

/// While a pass of the log cleaner ends.
const CLEANER_PAUSE: Duration = Duration::from_millis(10);

/// What a fetch brought for a follower. One is under way at a time, which bounds what waits in the mailbox.
pub struct Replicate {
    /// Under which the fetch was asked.
    pub leader_epoch: LeaderEpoch,
    pub fetch_offset: i64,
    /// As they lie in the leader's log, their CRCs checked.
    pub batches: Vec<RecordBatch>,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub reply: Reply<FollowResult>,
}

/// Asks a follower to cut its log.
pub struct Truncate {
    pub leader_epoch: LeaderEpoch,
    pub to: Cut,
    pub reply: Reply<FollowResult>,
}

/// Where a follower's log is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Where it parts from the leader's, whose records of an epoch end there.
    Diverging(EpochEnd),
    /// The leader's log ends there.
    Offset(i64),
    /// The leader's log begins there, behind this one's end: nothing of this one is of use.
    StartAnew(i64),
}

/// Where the follower's log stands after it.
pub type FollowResult = Result<FollowerEnd, FollowError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerEnd {
    pub offset: i64,
    /// Everything that was brought is taken in.
    pub high_watermark: i64,
}

/// Why a follower did not do what its fetcher asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    #[error("the replica does not follow in leader epoch {given}, but is in {current}")]
    OtherEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("fetched from offset {fetched}, but the log ends at {end}")]
    OffsetMismatch { fetched: i64, end: i64 },
    #[error("a batch has base offset {base}, and offset {end} is next")]
    OutOfOrder { base: i64, end: i64 },
}

/// How batches go on from the end of a log.
enum Order {
    Gapless,
    WithGaps,
}

/// Taken in, and to be answered once it is written as safely as the topic wants.
pub(super) struct Unanswered {
    end: i64,
    high_watermark: i64,
    log_start_offset: i64,
    reply: Reply<FollowResult>,
}

impl PartitionActor {
    pub(super) async fn replicate(&mut self, cx: &mut Cx<Self>, asked: Replicate) -> Outcome {
        let Replicate { leader_epoch, fetch_offset, mut batches, .. } = asked;
        // What came to be after the fetch was asked is another leader's: see KAFKA-18723.
        let own = |batch: &RecordBatch| batch.header().leader_epoch <= leader_epoch.0;
        let taken = batches.iter().take_while(|batch| own(batch)).count();
        batches.truncate(taken);
        if let Err(error) = self.check(leader_epoch, fetch_offset) {
            asked.reply.send(Err(error));
            return Ok(());
        }
        if let Some(first) = self.begins_within(&batches) {
            self.cut_log(cx, Cut::StartAnew(first)).await?;
        }
        match self.check_order(&batches) {
            Err(error) => {
                asked.reply.send(Err(error));
                return Ok(());
            }
            // The leader's log was compacted: what is missing is no loss when this one is opened, whatever its topic's policy is now.
            Ok(Order::WithGaps) if self.handle.cleaned().is_none() => self.handle.set_cleaned(0),
            Ok(_) => {}
        }
        for batch in &batches {
            let (base_offset, info) = (batch.header().base_offset, batch.info());
            let batch = info.unwrap_or_else(|_| batch.header().info());
            self.step(cx, Event::Replicate { base_offset, batch })?;
        }
        self.pending = batches;
        self.flush(cx).await?;
        self.unanswered = Some(Box::new(Unanswered {
            end: self.log.log_end_offset(),
            high_watermark: asked.high_watermark,
            log_start_offset: asked.log_start_offset,
            reply: asked.reply,
        }));
        self.answer_if_written(cx).await
    }

    fn check(&self, given: LeaderEpoch, fetched: i64) -> Result<(), FollowError> {
        let (current, end) = (self.machine.leader_epoch(), self.log.log_end_offset());
        if self.machine.is_leader() || current != given {
            return Err(FollowError::OtherEpoch { given, current });
        }
        if fetched != end {
            return Err(FollowError::OffsetMismatch { fetched, end });
        }
        Ok(())
    }

    /// The base offset of a first batch that begins before this empty log does, and goes on in it: the leader's log start lies
    /// within it, as records before were deleted.
    fn begins_within(&self, batches: &[RecordBatch]) -> Option<i64> {
        let end = self.log.log_end_offset();
        let first = batches.first()?.header().base_offset;
        let last = batches.last()?.header().last_offset();
        let empty = self.log.log_start_offset() == end;
        (empty && (0..end).contains(&first) && last >= end).then_some(first)
    }

    fn check_order(&self, batches: &[RecordBatch]) -> Result<Order, FollowError> {
        let (mut end, mut order) = (self.log.log_end_offset(), Order::Gapless);
        for header in batches.iter().map(RecordBatch::header) {
            let base = header.base_offset;
            if base < end || header.last_offset_delta < 0 || header.next_offset() <= base {
                return Err(FollowError::OutOfOrder { base, end });
            }
            if base > end {
                order = Order::WithGaps;
            }
            end = header.next_offset();
        }
        Ok(order)
    }

    /// The next fetch tells the leader that everything before it is here: it waits for the disk where the topic does.
    pub(super) async fn answer_if_written(&mut self, cx: &mut Cx<Self>) -> Outcome {
        if self.machine.is_leader() {
            self.unanswered = None;
        }
        let written = self.machine.written_end();
        let Some(taken) = self.unanswered.take_if(|taken| taken.end <= written) else {
            return Ok(());
        };
        self.step(cx, Event::CommittedByLeader { offset: taken.high_watermark })?;
        self.follow_log_start(cx, taken.log_start_offset).await?;
        taken.reply.send(Ok(self.end()));
        Ok(())
    }

    fn end(&self) -> FollowerEnd {
        let high_watermark = self.machine.high_watermark();
        FollowerEnd { offset: self.log.log_end_offset(), high_watermark }
    }

    pub(super) async fn truncate(&mut self, cx: &mut Cx<Self>, asked: Box<Truncate>) -> Outcome {
        let (given, current) = (asked.leader_epoch, self.machine.leader_epoch());
        if self.machine.is_leader() || current != given {
            asked.reply.send(Err(FollowError::OtherEpoch { given, current }));
            return Ok(());
        }
        if self.abort_pass() {
            cx.send_after(CLEANER_PAUSE, PartitionMsg::Truncate { asked });
            return Ok(());
        }
        self.cut_log(cx, asked.to).await?;
        asked.reply.send(Ok(self.end()));
        Ok(())
    }

    /// If the power goes meanwhile: the recovery point was lowered before, durably, so that the log opens wherever the cut came to,
    /// and its fetcher finds anew where it parts from the leader's.
    async fn cut_log(&mut self, cx: &mut Cx<Self>, to: Cut) -> Outcome {
        let now_ms = cx.world().now().wall_ms;
        let partition = &self.handle.topic_partition;
        let (end, committed) = (self.log.log_end_offset(), self.machine.high_watermark());
        let target = self.cut_offset(to);
        if target < committed.min(end) {
            tracing::warn!(%partition, target, committed, ?to, "what was committed is cut off");
        }
        let anew = matches!(to, Cut::StartAnew(_));
        tracing::info!(partition = cx.path(), from = end, to = target, ?to, "the log is cut");
        let (handle, hosted) = (self.handle.clone(), self.hosted.clone());
        let (rewrite_due, flush_messages) = (self.rewrite_due, self.config.flush_messages);
        let cut = move |log: &mut Log| -> Result<Option<DeletedSegments>, TruncateError> {
            let durable = match anew {
                true => 0,
                false => log.recovery_point_if_truncated_to(target)?,
            };
            let lower = handle.lower(durable, target);
            if !lower.is_empty() {
                handle.log_dir().write_checkpoints(&hosted, &lower)?;
            }
            handle.set_truncating(true);
            let deleted = match anew {
                true => Some(log.truncate_fully_and_start_at(target, now_ms)?),
                false => log.truncate_to(target, now_ms)?,
            };
            handle.set_truncating(false);
            // The next fetch says that what is left is written.
            if !rewrite_due && must_sync(log, flush_messages) {
                log.sync()?;
            }
            Ok(deleted)
        };
        let deleted = cx.lend("cut log", &mut self.log, cut).await??;
        self.after_cut(cx, deleted)
    }

    fn cut_offset(&self, to: Cut) -> i64 {
        let (end, committed) = (self.log.log_end_offset(), self.machine.high_watermark());
        match to {
            Cut::Diverging(leader) => {
                let own = self.log.leader_epochs().end_offset(leader.epoch, end);
                let own = own.map(|own| EpochEnd { epoch: own.epoch, end_offset: own.end_offset });
                truncation_offset(leader, own, end, committed)
            }
            Cut::Offset(offset) => offset.min(end),
            Cut::StartAnew(offset) => offset,
        }
    }

    fn after_cut(&mut self, cx: &mut Cx<Self>, deleted: Option<DeletedSegments>) -> Outcome {
        if let Some(deleted) = deleted.filter(|deleted| deleted.count > 0) {
            self.remove_later(cx, deleted);
        }
        self.unanswered = None;
        let opened = opened(&self.log, self.machine.high_watermark());
        self.step(cx, Event::Truncated(opened))?;
        self.handle.set_log_start(self.log.log_start_offset());
        self.handle.set_recovery_point(self.log.recovery_point());
        self.publish_standing();
        Ok(())
    }
}

fn opened(log: &Log, high_watermark: i64) -> Opened {
    Opened {
        log_start_offset: log.log_start_offset(),
        log_end_offset: log.log_end_offset(),
        high_watermark,
        producers: log.producers().clone(),
        // The machine knows them.
        completed: Vec::new(),
    }
}

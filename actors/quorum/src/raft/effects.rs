//! What the machine decided, done to the log, the quorum-state file and the clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use log::{Log, SyncJob};
use machines::consensus::{ControlRecord, Effect, Event, OffsetAndEpoch, VoteAnswer, VotersAt};
use machines::metadata::MetadataVersion;
use runtime::{Cx, Failure, Outcome};
use wire::MetadataRecord;
use wire::batch::RecordBatch;

use super::follow::Fetching;
use super::serve::MAX_EPOCH;
use super::{Raft, RaftError, RaftMsg, RaftStatus};
use crate::files::{control_batch, unmark_newcomer, write_quorum_state};
use crate::snapshot;

/// So many in a row are borne.
const MAX_FAILED_SYNCS: u32 = 3;

/// Where a sync found no room, another is tried after this.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Why a sync failed.
#[derive(Debug)]
pub struct SyncFailed {
    /// It may succeed later, and is not the disk's fault.
    may_pass: bool,
    why: String,
}

impl Raft {
    pub(super) async fn step(&mut self, cx: &mut Cx<Self>, event: Event) -> Outcome {
        // Taken over from an answer, it would be the last: requests of such epochs are refused.
        if let Event::Heard { epoch, .. }
        | Event::VoteAnswered { answer: VoteAnswer { epoch, .. }, .. } = event
            && epoch > MAX_EPOCH
        {
            return Ok(());
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Vec::new();
            let told = matches!(event, Event::VotersChanged { .. });
            let was_newcomer = self.consensus.is_newcomer();
            self.consensus.step(cx.world().now(), event, &mut effects);
            if was_newcomer && !self.consensus.is_newcomer() {
                let (disk, dir) = (self.args.log_dir.disk().clone(), self.dir.clone());
                cx.blocking("newcomer", move || unmark_newcomer(&*disk, &dir)).await??;
            }
            for effect in effects {
                events.extend(self.perform(cx, effect).await?);
            }
            if told {
                self.publish_status();
            }
        }
        Ok(())
    }

    /// Carries out one effect; what it leads to are the machine's next events.
    async fn perform(&mut self, cx: &mut Cx<Self>, effect: Effect) -> Result<Vec<Event>, Failure> {
        match effect {
            Effect::PersistQuorumState(state) => {
                let (disk, dir) = (self.args.log_dir.disk().clone(), self.dir.clone());
                let version = self.consensus.kraft_version();
                let voters = self.consensus.voters().clone();
                let write = move || write_quorum_state(&*disk, &dir, state, version, &voters);
                cx.blocking("quorum state", write).await??;
            }
            Effect::LeaderChanged { leader_id, epoch } => {
                tracing::info!(?leader_id, epoch, "leader of the metadata log");
                self.publish_status();
                self.fetches_due = true;
                // One that was under way to another leader, or of another epoch, counts for nothing.
                self.fetching = Fetching::Nothing;
                self.feed()?;
            }
            Effect::BecameLeader { .. } => self.own_records.clear(),
            Effect::AppendControl { epoch, records } => {
                return self.append_control(cx, epoch, &records);
            }
            Effect::AdvanceHighWatermark { offset } => {
                self.committed = offset;
                self.fetches_due = true;
                self.publish_status();
                self.feed()?;
            }
            Effect::WakeAt(at) => {
                if let Some(timer) = self.wake.take() {
                    cx.cancel(timer);
                }
                let after = at.saturating_sub(cx.world().mono());
                self.wake = Some(cx.send_after(after, RaftMsg::Wake));
            }
            Effect::AskForVote { to, request } => self.ask_for_vote(cx, to, request)?,
            Effect::AnswerVote { ticket, answer } => self.answer_vote(ticket, answer),
            Effect::AnnounceLeader { to, epoch } => self.announce(cx, to, epoch)?,
            Effect::AnnounceResignation { to, epoch, successors } => {
                self.tell_resignation(cx, to, epoch, &successors)?;
            }
            Effect::AskVersions { of, endpoints } => self.ask_versions(cx, of, &endpoints)?,
            Effect::AnswerChange { ticket, refusal } => self.answer_change(ticket, refusal),
        }
        Ok(Vec::new())
    }

    pub(super) fn publish_status(&self) {
        self.args.status.publish(RaftStatus {
            leader_id: self.consensus.leader_id(),
            leader_address: self.consensus.leader_id().and_then(|id| self.address_of(id)),
            epoch: self.consensus.epoch(),
            high_watermark: self.committed,
            kraft_version: self.consensus.kraft_version(),
            voters: self.consensus.voters().len(),
            unfound: self.search.said.clone(),
        });
    }

    fn append_control(
        &mut self,
        cx: &mut Cx<Self>,
        epoch: i32,
        records: &[ControlRecord],
    ) -> Result<Vec<Event>, Failure> {
        let base_offset = self.consensus.log_end().offset;
        let now_ms = cx.world().now().wall_ms;
        let batch = control_batch(records, base_offset, epoch, now_ms)?;
        if self.last_epoch() == epoch {
            self.own_records.push(records.len() as i64);
        }
        let mut events = vec![self.write(cx, &[batch], epoch)?];
        self.sync(cx);
        let mut changed = false;
        for (offset, record) in (base_offset..).zip(records) {
            changed |= self.history.add(offset, record);
        }
        if changed {
            events.push(Event::VotersChanged { voters: self.history.newest() });
        }
        Ok(events)
    }

    /// Writes batches that have their offsets; they are to be synced beside.
    pub(super) fn write(
        &mut self,
        cx: &mut Cx<Self>,
        batches: &[RecordBatch],
        epoch: i32,
    ) -> Result<Event, Failure> {
        self.log.append(batches, cx.world().now().wall_ms)?;
        self.fetches_due = true;
        let end = OffsetAndEpoch { epoch, offset: self.log.log_end_offset() };
        Ok(Event::Appended { end })
    }

    pub(super) async fn append(
        &mut self,
        cx: &mut Cx<Self>,
        epoch: i32,
        base: i64,
        values: Vec<Bytes>,
    ) -> Result<Result<i64, RaftError>, Failure> {
        if !self.consensus.is_leader() || self.consensus.epoch() != epoch {
            return Ok(Err(RaftError::NotLeader { epoch }));
        }
        let end = self.log.log_end_offset();
        if !self.is_end(base) {
            return Ok(Err(RaftError::UnexpectedOffset { base, end }));
        }
        let now_ms = cx.world().now().wall_ms;
        let values = values.into_iter().map(Ok);
        let batches = match snapshot::value_batches(values, end, epoch, now_ms) {
            Ok(batches) => batches,
            Err(error) => return Ok(Err(error.into())),
        };
        let appended = self.write(cx, &batches, epoch)?;
        self.sync_later(cx);
        self.step(cx, appended).await?;
        Ok(Ok(self.log.log_end_offset()))
    }

    /// Whether a controller that was not told yet of the last things that raft itself appended takes the log to end here.
    fn is_end(&self, offset: i64) -> bool {
        let mut known = self.log.log_end_offset();
        let untold = self.own_records.iter().rev();
        known == offset
            || untold.into_iter().any(|records| {
                known -= records;
                known == offset
            })
    }

    /// `controller.quorum.append.linger.ms`: what else comes until then goes with it.
    fn sync_later(&mut self, cx: &mut Cx<Self>) {
        if self.args.append_linger.is_zero() {
            self.sync(cx);
        } else if !self.lingering {
            self.lingering = true;
            cx.send_after(self.args.append_linger, RaftMsg::Lingered);
        }
    }

    /// One sync at a time: what is appended meanwhile goes with the next.
    pub(super) fn sync(&mut self, cx: &mut Cx<Self>) {
        if self.syncing {
            return;
        }
        let Some(job) = self.log.sync_job() else { return };
        self.syncing = true;
        cx.job(
            "sync metadata log",
            move || {
                job.run().map(|()| Box::new(job)).map_err(|error| SyncFailed {
                    may_pass: error.may_pass(),
                    why: error.to_string(),
                })
            },
            |result| RaftMsg::Synced {
                result: result.unwrap_or_else(|lost| {
                    Err(SyncFailed { may_pass: false, why: lost.to_string() })
                }),
            },
        );
    }

    pub(super) async fn synced(
        &mut self,
        cx: &mut Cx<Self>,
        result: Result<Box<SyncJob>, SyncFailed>,
    ) -> Outcome {
        match result {
            Ok(job) => {
                (self.syncing, self.failed_syncs) = (false, 0);
                self.log.synced(&job);
                let end_offset = job.end_offset().min(self.log.recovery_point());
                self.step(cx, Event::Flushed { end_offset }).await?;
                self.write_next_snapshot(cx);
                if !self.lingering {
                    self.sync(cx);
                }
                Ok(())
            }
            Err(failed) => self.sync_failed(cx, failed).await,
        }
    }

    /// A later sync would pass over what this one left: it is written again. A disk that refuses for good is the node's end; where
    /// there is merely no room, the next sync waits for some.
    async fn sync_failed(&mut self, cx: &mut Cx<Self>, failed: SyncFailed) -> Outcome {
        let SyncFailed { may_pass, why } = failed;
        self.failed_syncs += u32::from(!may_pass);
        if self.failed_syncs > MAX_FAILED_SYNCS {
            self.args.log_dir.fail(&why);
            return Err(Failure::new(why));
        }
        tracing::error!(error = why, "a sync failed; what it left is written again");
        self.rewrite_due = true;
        if may_pass {
            self.rewrite(cx).await?;
            cx.send_after(ROOM_RETRY, RaftMsg::SyncAgain);
            return Ok(());
        }
        self.sync_again(cx).await
    }

    /// Until it comes to that, no other sync begins.
    pub(super) async fn sync_again(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.rewrite(cx).await?;
        if self.rewrite_due {
            cx.send_after(ROOM_RETRY, RaftMsg::SyncAgain);
        } else {
            self.syncing = false;
            self.sync(cx);
        }
        Ok(())
    }

    pub(super) async fn close(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.rewrite(cx).await?;
        if self.rewrite_due {
            return Err(Failure::new("there is no room for what a failed sync left"));
        }
        let close = |log: &mut Log| log.closing()?.run();
        Ok(cx.lend("close metadata log", &mut self.log, close).await??)
    }

    /// Where there is no room for it, it stays due.
    async fn rewrite(&mut self, cx: &mut Cx<Self>) -> Outcome {
        if !self.rewrite_due {
            return Ok(());
        }
        match cx.lend("rewrite metadata log", &mut self.log, Log::rewrite_unsynced).await? {
            Ok(()) => {
                self.rewrite_due = false;
                self.args.log_dir.rewritten(&self.dir);
                Ok(())
            }
            Err(error) if error.may_pass() => Ok(()),
            Err(error) => {
                self.args.log_dir.fail(&error);
                Err(error.into())
            }
        }
    }

    /// One at a time: of those that are asked for meanwhile the newest says all that the others would. Nor before the log is on disk
    /// as far: what a snapshot says is in it must not be missing there after a power loss.
    pub(super) fn write_snapshot(&mut self, cx: &mut Cx<Self>, snapshot: ToWrite) {
        let ToWrite { id, records, version, timestamp_ms } = snapshot;
        if self.snapshot_id >= Some(id) {
            return;
        }
        if self.writes_snapshot || self.log.recovery_point() < id.offset {
            let newest = self.next_snapshot.as_ref().is_none_or(|next| next.id < id);
            if newest {
                let next = ToWrite { id, records, version, timestamp_ms };
                self.next_snapshot = Some(Box::new(next));
            }
            return;
        }
        self.writes_snapshot = true;
        let VotersAt { voters, kraft_version, .. } = self.history.before(id.offset);
        let head = ControlRecord::snapshot_head(timestamp_ms, kraft_version, Some(&voters));
        let (disk, dir) = (self.args.log_dir.disk().clone(), self.dir.clone());
        let job = move || snapshot::write(&*disk, &dir, id, &head, &records, version, timestamp_ms);
        cx.job("write snapshot", job, move |result| RaftMsg::SnapshotWritten {
            id,
            result: result
                .unwrap_or_else(|lost| Err(snapshot::SnapshotError::Lost(lost.to_string()))),
        });
    }
}

impl Raft {
    /// Without it the log stays longer than it must, and nothing else is wrong: the next one may succeed.
    pub(super) async fn snapshot_written(
        &mut self,
        cx: &mut Cx<Self>,
        id: OffsetAndEpoch,
        result: Result<(), snapshot::SnapshotError>,
    ) -> Outcome {
        self.writes_snapshot = false;
        if let Err(error) = result {
            tracing::error!(?id, %error, "a snapshot of the metadata log was not written");
        } else if self.snapshot_id < Some(id) {
            self.snapshot_id = Some(id);
            self.snapshot = None;
            self.snapshots.push(id);
            self.history.forget_before(id.offset);
        }
        self.clean(cx).await?;
        self.write_next_snapshot(cx);
        Ok(())
    }

    pub(super) fn write_next_snapshot(&mut self, cx: &mut Cx<Self>) {
        if let Some(next) = self.next_snapshot.take() {
            self.write_snapshot(cx, *next);
        }
    }
}

/// A snapshot that was asked for.
pub(super) struct ToWrite {
    pub(super) id: OffsetAndEpoch,
    pub(super) records: Vec<MetadataRecord>,
    pub(super) version: MetadataVersion,
    pub(super) timestamp_ms: i64,
}

//! Writing what waits, and when it must reach the disk.

use std::time::Duration;

use disk::DiskError;
use log::{AppendError, Appended, Log, SyncJob};
use machines::partition::Event;
use runtime::{Cx, Failure, Outcome};

use super::{PartitionActor, PartitionMsg};
use crate::room::Room;

/// So many in a row are borne.
const MAX_FAILED_SYNCS: u32 = 3;

/// The `flush.ms` that means never.
const NEVER_MS: i64 = i64::MAX;

/// Where a sync found no room, another is tried after this.
pub(super) const ROOM_RETRY: Duration = Duration::from_secs(1);

/// Why a sync failed.
#[derive(Debug)]
pub struct SyncFailed {
    /// Files beside the records found no room.
    full: bool,
    /// It may succeed later, and is not the disk's fault.
    may_pass: bool,
    why: String,
}

fn flush_after(flush_ms: i64) -> Option<Duration> {
    (flush_ms != NEVER_MS).then(|| Duration::from_millis(flush_ms.max(0).unsigned_abs()))
}

/// `flush.messages`: so many records may be answered before they are on the disk.
pub(super) fn must_sync(log: &Log, flush_messages: i64) -> bool {
    log.log_end_offset() - log.recovery_point() >= flush_messages
}

impl PartitionActor {
    /// One vectored write for everything that was appended since the last.
    pub(super) async fn flush(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.flush_queued = false;
        if self.pending.is_empty() {
            return Ok(());
        }
        let now_ms = cx.world().now().wall_ms;
        let appended = match self.log.append_may_wait(&self.pending, now_ms) {
            true => Box::pin(self.append_in_a_job(cx, now_ms)).await?,
            false => self.log.append(&self.pending, now_ms),
        };
        let appended = match appended {
            Err(AppendError::Disk(error)) if error.may_pass() => {
                return Err(self.out_of_room(cx, error));
            }
            appended => appended?,
        };
        self.appended.add(self.pending.len() as u64);
        let bytes = self.pending.iter().map(|batch| batch.size() as u64).sum();
        self.appended_bytes.add(bytes);
        let records =
            self.pending.iter().map(|batch| i64::from(batch.header().last_offset_delta) + 1);
        let traffic = self.handle.traffic();
        traffic.messages_in.add(records.sum::<i64>().unsigned_abs());
        traffic.bytes_in.add(bytes);
        self.pending.clear();
        self.pending_memory.clear();
        self.publish_standing();
        if appended.rolled {
            self.draw_jitter(cx);
        }
        let must_sync = self.must_sync();
        if must_sync || appended.rolled {
            self.sync(cx);
        } else {
            self.await_sync(cx);
        }
        if !must_sync {
            self.step(cx, Event::Written { end: self.log.log_end_offset() })?;
        }
        Ok(())
    }

    /// A file that is made waits for the journal of its file system while that is being written, as with each sync of others; one
    /// that is opened for that another is synced and closed.
    async fn append_in_a_job(
        &mut self,
        cx: &mut Cx<Self>,
        now_ms: i64,
    ) -> Result<Result<Appended, AppendError>, Failure> {
        let batches = std::mem::take(&mut self.pending);
        let append = move |log: &mut Log| {
            let appended = log.append(&batches, now_ms);
            (batches, appended)
        };
        let dir = self.handle.log_dir();
        let lent = cx.lend_in(dir.appends(), "append", &mut self.log, append);
        let (batches, appended) = lent.await?;
        self.pending = batches;
        Ok(appended)
    }

    /// What waits cannot be written, and its senders try again. Of the log only opening it tells how far it came.
    fn out_of_room(&self, cx: &Cx<Self>, error: DiskError) -> Failure {
        tracing::error!(partition = cx.path(), %error, "not written");
        if error.is_full() {
            self.handle.log_dir().set_room(Room::Full);
        }
        error.into()
    }

    fn must_sync(&self) -> bool {
        must_sync(&self.log, self.config.flush_messages)
    }

    /// `flush.ms`: a write waits no longer for the disk.
    pub(super) fn await_sync(&mut self, cx: &mut Cx<Self>) {
        let waits = self.log.recovery_point() < self.log.log_end_offset();
        if let Some(after) = flush_after(self.config.flush_ms)
            && waits
            && self.sync_timer.is_none()
        {
            self.sync_timer = Some(cx.send_after(after, PartitionMsg::SyncDue));
        }
    }

    /// So that the files of a log that rests can be closed.
    pub(super) fn sync_if_idle(&mut self, cx: &mut Cx<Self>) {
        let end = self.log.log_end_offset();
        if std::mem::replace(&mut self.ticked_end, end) == end {
            self.sync(cx);
        }
    }

    /// Begins to bring the log to the disk, unless that is under way.
    pub(super) fn sync(&mut self, cx: &mut Cx<Self>) {
        if self.syncing || self.rewrite_due || self.promotion_waits {
            return;
        }
        let Some(job) = self.log.sync_job() else { return };
        self.syncing = true;
        cx.job(
            "sync",
            move || {
                job.run().map(|()| Box::new(job)).map_err(|error| {
                    let (full, may_pass) = (error.is_full(), error.may_pass());
                    Box::new(SyncFailed { full, may_pass, why: error.to_string() })
                })
            },
            |result| PartitionMsg::Synced {
                result: result.unwrap_or_else(|lost| {
                    let why = lost.to_string();
                    Err(Box::new(SyncFailed { full: false, may_pass: false, why }))
                }),
            },
        );
    }

    pub(super) async fn synced(
        &mut self,
        cx: &mut Cx<Self>,
        result: Result<Box<SyncJob>, Box<SyncFailed>>,
    ) -> Outcome {
        self.syncing = false;
        let job = match result {
            Ok(job) => job,
            Err(error) => return self.sync_failed(cx, *error).await,
        };
        self.failed_syncs = 0;
        self.log.synced(&job);
        self.handle.set_recovery_point(self.log.recovery_point());
        // Not the job's end: the log may have been cut since. What was written meanwhile may need no sync of its own any more.
        let written = match self.must_sync() {
            true => self.log.recovery_point(),
            false => self.log.log_end_offset(),
        };
        self.step(cx, Event::Written { end: written })?;
        self.answer_if_written(cx).await?;
        let (durable, end) = (self.log.recovery_point(), self.log.end());
        // Another segment may have been closed while this sync ran.
        if durable < end.segment_base || durable < end.offset && self.must_sync() {
            self.sync(cx);
        } else {
            self.await_sync(cx);
        }
        Ok(())
    }

    /// A later sync would pass over what this one left: it is written again.
    async fn sync_failed(&mut self, cx: &mut Cx<Self>, failed: SyncFailed) -> Outcome {
        let SyncFailed { full, may_pass, why } = failed;
        self.failed_syncs += u32::from(!may_pass);
        if self.failed_syncs > MAX_FAILED_SYNCS {
            self.handle.log_dir().fail(&why);
            return Err(Failure::new(why));
        }
        let partition = cx.path();
        tracing::error!(partition, why, "a sync failed; what it left is written again");
        if full {
            self.handle.log_dir().set_room(Room::Full);
        }
        self.rewrite_due = true;
        if may_pass {
            self.rewrite(cx).await?;
            cx.send_after(ROOM_RETRY, PartitionMsg::SyncDue);
            return Ok(());
        }
        self.sync_due(cx).await
    }

    pub(super) async fn sync_due(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.sync_timer = None;
        self.rewrite(cx).await?;
        if self.rewrite_due {
            cx.send_after(ROOM_RETRY, PartitionMsg::SyncDue);
        } else {
            self.sync(cx);
        }
        Ok(())
    }

    /// Before anything else is synced; where there is no room for it, later.
    async fn rewrite(&mut self, cx: &mut Cx<Self>) -> Outcome {
        if !self.rewrite_due {
            return Ok(());
        }
        match cx.lend("rewrite log", &mut self.log, Log::rewrite_unsynced).await? {
            Ok(()) => {
                self.rewrite_due = false;
                self.handle.log_dir().rewritten(&self.handle.path());
                self.publish_standing();
                Ok(())
            }
            Err(error) if error.may_pass() => Ok(()),
            Err(error) => {
                // What was written is no longer there to be written again.
                self.handle.log_dir().fail(&error);
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_flush_ms_means_never() {
        assert_eq!(flush_after(i64::MAX), None);
        for ms in [0, 1000, i64::from(u32::MAX), i64::MAX - 1] {
            assert_eq!(flush_after(ms), Some(Duration::from_millis(ms as u64)));
        }
    }
}

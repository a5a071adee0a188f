//! Writing what waits, and when it must reach the disk.

use std::time::Duration;

use log::SyncJob;
use machines::partition::Event;
use runtime::{Cx, Failure, Outcome};

use super::{PartitionActor, PartitionMsg};

/// So many in a row are borne.
const MAX_FAILED_SYNCS: u32 = 3;

/// A `flush.ms` from here on needs no timer.
const NEVER_MS: i64 = u32::MAX as i64;

impl PartitionActor {
    /// One vectored write for everything that was appended since the last.
    pub(super) fn flush(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.flush_queued = false;
        if self.pending.is_empty() {
            return Ok(());
        }
        let appended = self.log.append(&self.pending, cx.world().now().wall_ms)?;
        self.appended.add(self.pending.len() as u64);
        self.appended_bytes.add(self.pending.iter().map(|batch| batch.size() as u64).sum());
        self.pending.clear();
        self.pending_memory.clear();
        self.publish_standing();
        if appended.rolled {
            self.draw_jitter();
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

    /// `flush.messages`: so many records may be answered before they are on the disk.
    fn must_sync(&self) -> bool {
        self.log.log_end_offset() - self.log.recovery_point() >= self.config.flush_messages
    }

    /// `flush.ms`: a write waits no longer for the disk.
    pub(super) fn await_sync(&mut self, cx: &mut Cx<Self>) {
        let waits = self.log.recovery_point() < self.log.log_end_offset();
        if waits && self.sync_timer.is_none() && self.config.flush_ms < NEVER_MS {
            let after = Duration::from_millis(self.config.flush_ms.max(0).unsigned_abs());
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
        if self.syncing {
            return;
        }
        let Some(job) = self.log.sync_job() else { return };
        self.syncing = true;
        cx.job(
            "sync",
            move || {
                let result = job.run().map_err(|error| error.to_string());
                (job, result)
            },
            |result| PartitionMsg::Synced {
                result: match result {
                    Ok((job, Ok(()))) => Ok(Box::new(job)),
                    Ok((_, Err(error))) => Err(error),
                    Err(lost) => Err(lost.to_string()),
                },
            },
        );
    }

    pub(super) fn synced(
        &mut self,
        cx: &mut Cx<Self>,
        result: Result<Box<SyncJob>, String>,
    ) -> Outcome {
        self.syncing = false;
        let job = match result {
            Ok(job) => job,
            Err(error) => return self.sync_failed(cx, error),
        };
        self.failed_syncs = 0;
        self.log.synced(&job);
        self.handle.set_recovery_point(self.log.recovery_point());
        self.step(cx, Event::Written { end: job.end_offset() })?;
        if self.must_sync() && self.log.recovery_point() < self.log.log_end_offset() {
            self.sync(cx);
        }
        Ok(())
    }

    /// A later sync would pass over what this one left: it is written again.
    fn sync_failed(&mut self, cx: &mut Cx<Self>, error: String) -> Outcome {
        self.failed_syncs += 1;
        if self.failed_syncs > MAX_FAILED_SYNCS {
            return Err(Failure::new(error));
        }
        tracing::error!(
            partition = cx.path(),
            error,
            "a sync failed; what it left is written again"
        );
        self.log.rewrite_unsynced()?;
        self.sync(cx);
        Ok(())
    }
}

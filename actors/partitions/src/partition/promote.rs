//! A replica changes its directory: the copy of its log that is caught up takes its place (KIP-113).
//!
//! If the power goes meanwhile: before the copy has the replica's name, the old log is the replica, and the copy is caught up
//! anew; once it has, both logs hold the same, and the one where the metadata has the replica is used.

use std::sync::Arc;
use std::time::Duration;

use disk::DiskError;
use log::{DirKind, delete_dir_name};
use machines::partition::Event;
use runtime::{Cx, Failure, Lent, Map, Outcome, Reply};

use super::flush::ROOM_RETRY;
use super::open::{log_config, open_in_turn};
use super::{PartitionActor, PartitionMsg};
use crate::checkpoints::Checkpoint;
use crate::future::{CopyError, FutureLog, finish_copy};
use crate::log_dir::LogDirMsg;
use crate::room::Room;

/// While a pass of the log cleaner ends, or a sync.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a copy has not taken its log's place.
#[derive(Debug, PartialEq, Eq)]
pub enum NotPromoted {
    /// It lacks more than can be waited for: it is copied on.
    Behind,
    /// Also later it may.
    ForNow(String),
    ForGood(String),
}

impl PartitionActor {
    /// Not while the log cleaner swaps segments, which ends its pass soon; nor while a sync works in the directory, by names.
    pub(super) async fn promote_when_at_rest(
        &mut self,
        cx: &mut Cx<Self>,
        future: Arc<FutureLog>,
        reply: Box<Reply<Result<(), NotPromoted>>>,
    ) -> Outcome {
        self.promotion_waits = true;
        if self.cleaning.is_some() || self.syncing {
            cx.send_after(PAUSE, PartitionMsg::Promote { future, reply });
            return Ok(());
        }
        if self.handle.is_deleted() {
            return Ok(());
        }
        if let Err(failure) = self.flush(cx).await {
            reply.send(Err(NotPromoted::ForNow(failure.to_string())));
            return Err(failure);
        }
        reply.send(self.promote(cx, future).await?);
        self.promotion_waits = false;
        // What was not begun meanwhile.
        self.sync(cx);
        Ok(())
    }

    /// Where the copy cannot be brought to its end, the log stays where it is.
    async fn promote(
        &mut self,
        cx: &mut Cx<Self>,
        future: Arc<FutureLog>,
    ) -> Result<Result<(), NotPromoted>, Failure> {
        let (old_dir, old_path) = (self.handle.log_dir(), self.handle.path());
        let (source, now_ms) = (self.log.view(), cx.world().now().wall_ms);
        let config = log_config(cx.world(), &self.handle, &self.config);
        let (copy, name) = (future.clone(), self.handle.dir_name());
        let hosted = self.hosted.clone();
        let job = move || -> Result<Option<i64>, CopyError> {
            let (disk, dir) = (copy.dir.disk(), &copy.dir.path);
            if !finish_copy(disk, &copy, &hosted, &source, config, now_ms)? {
                return Ok(None);
            }
            // Before it is the replica: what was cut off the copy would be missing from it.
            copy.dir.write_checkpoints(&hosted, &Checkpoint::ALL)?;
            let named = dir.join(name);
            disk.rename(&copy.path, &named)?;
            // Where it can be tried again it goes on under the name that it had.
            disk.sync_dir(dir).inspect_err(|_| drop(disk.rename(&named, &copy.path)))?;
            Ok(Some(copy.log_end_offset()))
        };
        // It works on two directories at once, as a copy does.
        let end = match cx.blocking_in(&future.queue, "promote", job).await? {
            Ok(Some(end)) => end,
            Ok(None) => return Ok(Err(NotPromoted::Behind)),
            Err(error) => return Ok(Err(self.not_promoted(&future, &error))),
        };
        self.handle.promote(&future, end);
        self.step(cx, Event::Written { end })?;
        let unique = cx.world().random("directory names").uuid();
        let aside = delete_dir_name(&self.handle.topic_partition, DirKind::Delete, unique);
        let aside = old_dir.path.join(aside);
        let (dir, to) = (old_dir.clone(), aside.clone());
        let set_aside = move || {
            dir.disk().rename(&old_path, &to)?;
            dir.disk().sync_dir(&dir.path)
        };
        match cx.blocking("set aside", set_aside).await? {
            // Where the directory's actor is down, the next start removes it.
            Ok(()) => drop(old_dir.address().send_now(LogDirMsg::Remove { path: aside })),
            // Whoever asked for this tries again.
            Err(error) => tracing::warn!(%error, "the log that was moved is not set aside"),
        }
        self.go_on(cx).await?;
        Ok(Ok(()))
    }

    fn not_promoted(&self, future: &FutureLog, error: &CopyError) -> NotPromoted {
        let partition = &self.handle.topic_partition;
        tracing::error!(%partition, %error, "the replica stays in its log directory");
        let passes = error.disk().filter(|error| error.may_pass());
        if passes.is_some_and(DiskError::is_full) {
            future.dir.set_room(Room::Full);
        }
        let why = error.to_string();
        if passes.is_some() { NotPromoted::ForNow(why) } else { NotPromoted::ForGood(why) }
    }

    /// The copy ends where the log did: who waits for followers waits on, as what the machine knows stays true.
    async fn go_on(&mut self, cx: &mut Cx<Self>) -> Outcome {
        cx.queue_jobs_in(self.handle.log_dir().queue());
        let (mut log, no_room) =
            open_in_turn(cx, &self.handle, &self.hosted, self.producer_id_expiration_ms).await?;
        let (end, expected) = (log.log_end_offset(), self.log.log_end_offset());
        if end != expected {
            return Err(Failure::new(format!("the copy ends at {end}, the log at {expected}")));
        }
        log.take_completed();
        if self.machine.is_leader() {
            log.begin_epoch(self.machine.leader_epoch());
            log.keep_recent(Some(self.hosted.recent().clone()));
        }
        self.log = Lent::new(log);
        // Went with the old log's directory.
        self.deleted = Map::new();
        self.failed_syncs = 0;
        self.rewrite_due = no_room.is_some();
        if self.rewrite_due {
            cx.send_after(ROOM_RETRY, PartitionMsg::SyncDue);
        }
        self.handle.set_recovery_point(self.log.recovery_point());
        self.publish_standing();
        self.answer_if_written(cx).await
    }
}

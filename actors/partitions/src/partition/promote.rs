//! A replica changes its directory: the copy of its log that is caught up takes its place (KIP-113).
//!
//! If the power goes meanwhile: before the copy has the replica's name, the old log is the replica, and the copy is caught up
//! anew; once it has, both logs hold the same, and the one where the metadata has the replica is used.

use std::sync::Arc;
use std::time::Duration;

use log::{DirKind, delete_dir_name};
use machines::partition::Event;
use runtime::{Cx, Failure, Lent, Map, Outcome, Reply};

use super::flush::ROOM_RETRY;
use super::open::{log_config, open_in_turn};
use super::{PartitionActor, PartitionMsg};
use crate::checkpoints::Checkpoint;
use crate::future::{FutureLog, finish_copy};
use crate::log_dir::LogDirMsg;

/// While a pass of the log cleaner ends.
const CLEANER_PAUSE: Duration = Duration::from_millis(50);

impl PartitionActor {
    /// Not while the log cleaner swaps segments; it ends its pass soon.
    pub(super) async fn promote_when_clean(
        &mut self,
        cx: &mut Cx<Self>,
        future: Arc<FutureLog>,
        reply: Box<Reply<()>>,
    ) -> Outcome {
        if self.cleaning.is_some() {
            cx.send_after(CLEANER_PAUSE, PartitionMsg::Promote { future, reply });
            return Ok(());
        }
        if !self.handle.is_deleted() {
            self.promote(cx, future).await?;
        }
        reply.send(());
        Ok(())
    }

    /// Where the copy cannot be brought to its end, the log stays where it is.
    async fn promote(&mut self, cx: &mut Cx<Self>, future: Arc<FutureLog>) -> Outcome {
        self.flush(cx).await?;
        let (old_dir, old_path) = (self.handle.log_dir(), self.handle.path());
        let (source, now_ms) = (self.log.view(), cx.world().now().wall_ms);
        let config = log_config(cx.world(), &self.handle, &self.config);
        let (copy, name) = (future.clone(), self.handle.dir_name());
        let hosted = self.hosted.clone();
        let job = move || {
            let (disk, dir) = (copy.dir.disk(), &copy.dir.path);
            if !finish_copy(disk, &copy, &source, config, now_ms)? {
                return Ok(None);
            }
            // Before it is the replica: what was cut off the copy would be missing from it.
            copy.dir.write_checkpoints(&hosted, &Checkpoint::ALL)?;
            disk.rename(&copy.path, &dir.join(name))?;
            disk.sync_dir(dir)?;
            Ok::<_, Failure>(Some(copy.log_end_offset()))
        };
        let end = match cx.blocking("promote", job).await? {
            Ok(Some(end)) => end,
            // It is copied on.
            Ok(None) => return Ok(()),
            Err(error) => {
                let partition = &self.handle.topic_partition;
                tracing::error!(%partition, %error, "the replica stays in its log directory");
                return Ok(());
            }
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
            Err(error) => tracing::warn!(%error, "the log that was moved is left behind"),
        }
        self.go_on(cx).await
    }

    /// The copy ends where the log did: who waits for followers waits on, as what the machine knows stays true.
    async fn go_on(&mut self, cx: &mut Cx<Self>) -> Outcome {
        cx.queue_jobs_in(self.handle.log_dir().queue());
        let (mut log, no_room) =
            open_in_turn(cx, &self.handle, self.producer_id_expiration_ms).await?;
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
        self.rewrite_due = no_room.is_some();
        if self.rewrite_due {
            cx.send_after(ROOM_RETRY, PartitionMsg::SyncDue);
        }
        self.handle.set_recovery_point(self.log.recovery_point());
        self.publish_standing();
        self.answer_if_written(cx).await
    }
}

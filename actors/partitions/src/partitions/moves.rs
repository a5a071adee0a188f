//! Replicas that move between this node's log directories: asked for, resumed at a start, called off, brought to their end.

use std::path::PathBuf;
use std::sync::Arc;

use log::{DirKind, PartitionDir, delete_dir_name, partition_dir_name};
use machines::metadata::{MetadataImage, PartitionDelta};
use model::{ErrorCode, TopicPartition, Uuid};
use runtime::{Answer, Cx, Failure, Reply};

use super::Partitions;
use super::found::FoundCopy;
use super::leaving::Leaving;
use super::making::{Begun, made_key};
use crate::checkpoints::Offsets;
use crate::future::{FutureLog, FutureReplica, FutureReplicaArgs, note_called_off};
use crate::handle::{PartitionHandle, Standing};
use crate::log_dirs::LogDirState;

/// More replicas that are to come here are not remembered.
const MAX_PREFERRED: usize = 100_000;
const MAX_NAME: usize = 255;

/// Why a replica does not move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlterDirError {
    #[error("the topic's name is too long for a directory beside another")]
    TopicTooLong,
    #[error("the node has no such log directory")]
    NoSuchDirectory,
    #[error("the log directory, the replica, or another log directory is offline")]
    Offline,
    #[error("the log directory is cordoned")]
    Cordoned,
    #[error("no replica is here; should one come, it is put there")]
    NotHere,
    #[error("there is no such partition")]
    Unknown,
}

impl AlterDirError {
    pub fn code(&self) -> ErrorCode {
        match self {
            AlterDirError::TopicTooLong => ErrorCode::InvalidTopicException,
            AlterDirError::NoSuchDirectory => ErrorCode::LogDirNotFound,
            AlterDirError::Offline => ErrorCode::KafkaStorageError,
            AlterDirError::Cordoned => ErrorCode::InvalidReplicaAssignment,
            AlterDirError::NotHere => ErrorCode::ReplicaNotAvailable,
            AlterDirError::Unknown => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

const COPY: &str = ".future";

pub(super) fn child_name(handle: &PartitionHandle) -> String {
    handle.dir_name() + COPY
}

/// Of which replica the actor of this name makes a copy, if it does.
fn copied_by(child: &str) -> Option<TopicPartition> {
    let copied = PartitionDir::parse(child.strip_suffix(COPY)?)?;
    (copied.kind == DirKind::Current).then_some(copied.topic_partition)
}

impl Partitions {
    /// What the answer waits for is put into `noted`, and the copy into `begun`. Source: `ReplicaManager.alterReplicaLogDirs`.
    pub(super) async fn alter_dir(
        &mut self,
        cx: &mut Cx<Self>,
        topic: &str,
        partition: i32,
        to: &str,
        noted: &mut Vec<Answer<()>>,
        begun: &mut Vec<Begun>,
    ) -> Result<(), AlterDirError> {
        // Long ones are not copied.
        if topic.len() > MAX_NAME {
            return Err(AlterDirError::TopicTooLong);
        }
        let partition = &TopicPartition::new(topic, partition);
        let path = delete_dir_name(
            partition,
            DirKind::Future,
            cx.world().random("directory names").uuid(),
        );
        if !path.starts_with(&partition_dir_name(partition)) || path.len() > MAX_NAME {
            return Err(AlterDirError::TopicTooLong);
        }
        let dir = self.args.log_dirs.0.iter().find(|dir| dir.absolute_path() == to).cloned();
        let dir = dir.ok_or(AlterDirError::NoSuchDirectory)?;
        if !dir.is_online() {
            return Err(AlterDirError::Offline);
        }
        if dir.is_cordoned() {
            return Err(AlterDirError::Cordoned);
        }
        let hosted = self.args.hosted.get(&partition.topic, partition.partition);
        if let Some(handle) = &hosted {
            if matches!(*handle.standing(), Standing::Offline { .. }) {
                return Err(AlterDirError::Offline);
            }
            if handle.future().is_some_and(|future| !Arc::ptr_eq(&future.dir, &dir)) {
                noted.extend(self.call_off(cx, handle, true).await);
            }
        }
        let is_there = |handle: &Arc<PartitionHandle>| {
            let future = handle.future().is_some_and(|future| Arc::ptr_eq(&future.dir, &dir));
            future || Arc::ptr_eq(&handle.log_dir(), &dir)
        };
        let there = hosted.as_ref().is_some_and(is_there);
        if !there && self.preferred.len() < MAX_PREFERRED {
            self.preferred.insert(partition.clone(), dir.clone());
        }
        let known = self.applied.topics.by_name(&partition.topic);
        let known = known.is_some_and(|topic| topic.partition(partition.partition).is_some());
        let missing = if known { AlterDirError::NotHere } else { AlterDirError::Unknown };
        let handle = hosted.ok_or(missing)?;
        if there {
            return Ok(());
        }
        // One that is offline might hold another copy of it.
        if self.args.log_dirs.offline().next().is_some() {
            return Err(AlterDirError::Offline);
        }
        self.preferred.remove(partition);
        let path = dir.path.join(path);
        let future = self.begin_move(&handle, dir, path, Offsets::default());
        future.set_being_made(true);
        begun.push(Begun { handle, future, was_called_off: false });
        Ok(())
    }

    fn begin_move(
        &self,
        handle: &PartitionHandle,
        dir: Arc<LogDirState>,
        path: PathBuf,
        known: Offsets,
    ) -> Arc<FutureLog> {
        tracing::info!(partition = %handle.topic_partition, to = %path.display(), "begins to move");
        dir.count_replica();
        handle.set_called_off(None);
        let queue = self.quota.queue.clone();
        let future = Arc::new(FutureLog::new(dir, path, queue, handle.cleaned(), known));
        handle.set_future(Some(future.clone()));
        future
    }

    pub(super) fn copy(
        &self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        future: Arc<FutureLog>,
        waits: Option<String>,
    ) {
        if cx.has_child(&child_name(handle)) {
            // The end of the copy before it brings this round again: see `left`.
            return;
        }
        let args = FutureReplicaArgs {
            handle: handle.clone(),
            hosted: self.args.hosted.clone(),
            future,
            quota: self.quota.clone(),
            settings: self.args.settings.clone(),
            parent: cx.me().clone(),
            waits,
        };
        let spec = self.args.replica.clone();
        if let Err(error) = cx.spawn::<FutureReplica>(child_name(handle), spec, args) {
            tracing::error!(%error, "the copy was not begun");
        }
    }

    /// Goes on with a copy whose actor ended without closing it, or which did not take its replica's place: where it waits, why.
    pub(super) fn copy_again(
        &self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        future: &FutureLog,
        waits: Option<String>,
    ) {
        let known = future.offsets(handle);
        let (dir, path, queue) = (future.dir.clone(), future.path.clone(), future.queue.clone());
        let again = Arc::new(FutureLog::new(dir, path, queue, future.cleaned, known));
        again.set_unanswered(future.unanswered());
        handle.set_future(Some(again.clone()));
        self.copy(cx, handle, again, waits);
    }

    /// Ends a move before its end. The copy is deleted if that is wanted, once its actor has ended, which may take long: an answer
    /// comes when it is not found by the next start either. The controller is told where the replica stayed.
    pub(super) async fn call_off(
        &mut self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        delete: bool,
    ) -> Option<Answer<()>> {
        let future = handle.future()?;
        handle.set_future(None);
        if delete {
            future.set_unwanted();
        }
        let name = child_name(handle);
        cx.dismiss(&name);
        future.dir.uncount_replica();
        future.dir.set_outdated();
        // One that was to be begun when another has ended, which was called off before it, nobody works on.
        let at_work = cx.has_child(&name) && !self.leaving.contains_key(&name);
        let waits_for = match future.is_being_made() {
            true => Some(made_key(&future)),
            false => at_work.then_some(name),
        };
        let mut noted = None;
        if let Some(waits_for) = waits_for.filter(|_| delete) {
            noted = Some(tell_called_off(cx, &future));
            self.leaving.insert(waits_for, Leaving::copy(handle, &future));
        } else if delete {
            let (dir, path) = (&future.dir, &future.path);
            self.put_aside(cx, dir, path, &handle.topic_partition, DirKind::Delete).await;
        }
        if self.applied.metadata_version().directory_assignment() {
            self.args.assignments.push(name_of(handle), actual_directory(handle));
        }
        noted
    }

    /// The replica of which the actor of this name makes a copy.
    pub(super) fn copied_by(&self, child: &str) -> Option<Arc<PartitionHandle>> {
        let partition = copied_by(child)?;
        self.args.hosted.get(&partition.topic, partition.partition)
    }

    /// A copy failed too often. Whether it was one.
    pub(super) async fn copy_given_up(
        &mut self,
        cx: &mut Cx<Self>,
        child: &str,
        cause: &Failure,
    ) -> bool {
        let Some(handle) = self.copied_by(child) else { return false };
        let partition = &handle.topic_partition;
        tracing::error!(%partition, %cause, "the move is called off: the replica stays where it is");
        handle.set_called_off(Some(cause.to_string()));
        self.call_off(cx, &handle, true).await;
        true
    }

    /// A copy has everything: the controller is told where the replica will be, and when the metadata says so, it is. Or the
    /// replica itself was given up, or is back.
    pub(super) async fn settle(&mut self, cx: &mut Cx<Self>, partition: &TopicPartition) {
        if let Some(handle) = self.args.hosted.get(&partition.topic, partition.partition) {
            let known = self.known_directory(&handle);
            self.settle_directory(cx, &handle, known).await;
        }
    }

    /// Where the metadata has a replica; none where it does not say.
    pub(super) fn known_directory(&self, handle: &PartitionHandle) -> Option<Uuid> {
        let topic = self.applied.topics.by_id(handle.topic_id);
        let known = topic.and_then(|topic| topic.partition(handle.topic_partition.partition));
        let known = known.and_then(|known| known.directory(self.args.node.0));
        known.filter(|_| self.applied.metadata_version().directory_assignment())
    }

    pub(super) async fn compare_directory(
        &mut self,
        cx: &mut Cx<Self>,
        image: &MetadataImage,
        change: &PartitionDelta,
    ) {
        let hosted = self.args.hosted.get_by_id(change.topic.id, change.partition);
        let supported = image.metadata_version().directory_assignment();
        let known = change.after.directory(self.args.node.0).filter(|_| supported);
        if let Some(handle) = hosted {
            self.settle_directory(cx, &handle, known).await;
        }
    }

    /// The controller is told where the replica is, or is about to be, if it has it elsewhere (none: it does not care).
    async fn settle_directory(
        &mut self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        known: Option<Uuid>,
    ) {
        let actual = actual_directory(handle);
        let (wanted, future) = match handle.future() {
            _ if actual == Uuid::LOST_DIRECTORY => (actual, None),
            Some(future) if future.is_caught_up() => (future.dir.id, Some(future)),
            // Decided already: it will be caught up again.
            Some(future) if known == Some(future.dir.id) => return,
            _ => (actual, None),
        };
        if known.is_none_or(|known| known == wanted) {
            if let Some(future) = future {
                self.promote(cx, handle, future).await;
            }
        } else if !wanted.is_reserved_directory() {
            self.args.assignments.push(name_of(handle), wanted);
        } else if self.args.log_dirs.online().any(|dir| Some(dir.id) == known) {
            // It is given up, or in one that is offline, of which nobody knows the id.
            self.args.assignments.push(name_of(handle), Uuid::LOST_DIRECTORY);
        }
    }

    /// A copy that was found when the node started. It is the replica where the metadata has it there, and that is not here any
    /// more; else it goes on. False where nobody can say: the replica may be in a directory that is offline, and ahead of its copy.
    pub(super) async fn adopt_future(
        &mut self,
        cx: &mut Cx<Self>,
        partition: &TopicPartition,
        assigned: Uuid,
    ) -> bool {
        let name = partition_dir_name(partition);
        let held =
            |dir: &Arc<LogDirState>| dir.disk().exists(&dir.path.join(&name)).unwrap_or(true);
        let dirs = &self.args.log_dirs;
        let copies = self.futures.get(partition).map_or(&[][..], |found| found);
        let copy = copies.iter().find(|copy| copy.dir.id == assigned).cloned();
        let Some(FoundCopy { dir, path, .. }) = copy.filter(|_| !dirs.online().any(held)) else {
            return true;
        };
        if dirs.offline().next().is_some() {
            // It is not opened before the next start.
            dir.set_unclean();
            let copy = path.display();
            tracing::error!(%partition, %copy, "the replica may be in a directory that is offline");
            return false;
        }
        let (of, to, adopted) = (dir.clone(), dir.path.join(&name), path.clone());
        let rename = move || {
            of.disk().rename(&path, &to)?;
            of.disk().sync_dir(&of.path)
        };
        let renamed =
            cx.blocking_in(dir.queue(), "adopt copy", rename).await.map_err(Failure::from);
        if let Err(error) = renamed.and_then(|renamed| Ok(renamed?)) {
            // An empty log in its place would be taken for the replica.
            dir.fail(error);
            return false;
        }
        if let Some(found) = self.futures.get_mut(partition) {
            found.retain(|copy| copy.path != adopted);
        }
        true
    }

    /// Goes on with a move that the last stop, or a crash, cut short.
    pub(super) async fn resume_move(&mut self, cx: &mut Cx<Self>, handle: &Arc<PartitionHandle>) {
        let partition = &handle.topic_partition;
        for FoundCopy { dir, path, called_off } in
            self.futures.remove(partition).unwrap_or_default()
        {
            let elsewhere = !Arc::ptr_eq(&dir, &handle.log_dir());
            if elsewhere && handle.log_dir().is_online() && handle.future().is_none() {
                let known = dir.known_of(partition);
                let future = self.begin_move(handle, dir.clone(), path, known);
                dir.claimed(partition);
                if called_off {
                    // Who asks for the same move from now on is answered when that is durable.
                    future.set_being_made(true);
                    let handle = handle.clone();
                    self.make_copies(cx, vec![Begun { handle, future, was_called_off: true }]);
                } else {
                    self.copy(cx, handle, future, None);
                }
            } else if handle.log_dir().is_online() {
                self.put_aside(cx, &dir, &path, partition, DirKind::Delete).await;
            }
        }
    }

    /// After a move that was cut short at its very end, both directories hold the replica, equal.
    pub(super) async fn set_copies_aside(&mut self, cx: &mut Cx<Self>, handle: &PartitionHandle) {
        let here = handle.log_dir();
        let others = self.args.log_dirs.online().filter(|dir| !Arc::ptr_eq(dir, &here)).cloned();
        for dir in others.collect::<Vec<_>>() {
            // A directory that cannot tell is offline by now; the replica here has no part in that.
            let there = dir.disk().exists(&dir.path.join(handle.dir_name())).unwrap_or(false);
            if there && here.is_online() {
                let (partition, other) = (&handle.topic_partition, dir.path.display());
                tracing::warn!(%partition, %other, "a second copy of the replica is set aside");
                self.set_aside(cx, &dir, partition, DirKind::Stray).await;
            }
        }
    }
}

/// Beside the directory's other jobs: should its disk hang, nobody waits but who asked for it.
fn tell_called_off(cx: &mut Cx<Partitions>, future: &FutureLog) -> Answer<()> {
    let (reply, noted) = Reply::new();
    let (at, disk) = (future.path.clone(), cx.world().disk().clone());
    let note = move || note_called_off(&*disk, &at);
    let note = cx.blocking_in(future.dir.queue(), "call off", note);
    let path = future.path.clone();
    cx.spawn_task(async move {
        let done = note.await.map_err(Failure::from);
        if let Err(error) = done.and_then(|done| Ok(done?)) {
            let copy = path.display();
            tracing::error!(%copy, %error, "after a crash it may go on although it is called off");
        }
        reply.send(());
    });
    noted
}

/// One that is given up is as if in a directory that is lost: others lead it, and it leaves the ISR.
fn actual_directory(handle: &PartitionHandle) -> Uuid {
    let dir = handle.log_dir();
    let offline = matches!(*handle.standing(), Standing::Offline { .. });
    match offline && dir.is_online() && !handle.address().is_alive() {
        true => Uuid::LOST_DIRECTORY,
        false => dir.id,
    }
}

fn name_of(handle: &PartitionHandle) -> (Uuid, i32) {
    (handle.topic_id, handle.topic_partition.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_actor_is_named_after_its_replica() {
        let name = TopicPartition::new("or-ders.future", 3);
        let child = partition_dir_name(&name) + COPY;
        assert_eq!(copied_by(&child), Some(name));
        for other in ["orders-3", "orders.future", "orders-3.future-2", ".future"] {
            assert_eq!(copied_by(other), None, "{other}");
        }
    }
}

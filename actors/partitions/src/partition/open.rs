//! Opening a replica's log and rebuilding what its machine knows, and closing both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, DiskError};
use log::{
    CheckpointError, Log, LogConfig, OpenError, OpenOptions, PartitionMetadataError, ReadError,
    Survival, read_partition_metadata, write_partition_metadata,
};
use machines::partition::{Opened, Partition};
use model::Uuid;
use model::settings::TopicConfig;
use runtime::{Cx, Failure, Lent, Map, World};

use super::flush::{ROOM_RETRY, must_sync};
use super::{PartitionActor, PartitionMsg};
use crate::assignments::IsrChanges;
use crate::handle::{PartitionHandle, Role};
use crate::hosted::Hosted;
use crate::log_dirs::LogDirState;

#[derive(Clone)]
pub struct PartitionArgs {
    pub handle: Arc<PartitionHandle>,
    /// Where it asks for another ISR.
    pub isr_changes: Arc<IsrChanges>,
    /// `producer.id.expiration.ms`, for what snapshots of producers kept.
    pub producer_id_expiration_ms: i64,
    pub hosted: Arc<Hosted>,
}

pub(super) async fn open(
    cx: &mut Cx<PartitionActor>,
    args: PartitionArgs,
) -> Result<PartitionActor, Failure> {
    let PartitionArgs { handle, isr_changes, producer_id_expiration_ms, hosted } = args;
    cx.queue_jobs_in(handle.log_dir().queue());
    handle.set_closed(false);
    let config = handle.config();
    let (mut log, no_room) = open_in_turn(cx, &handle, &hosted, producer_id_expiration_ms).await?;
    let rewrite_due = no_room.is_some();
    if rewrite_due {
        cx.send_after(ROOM_RETRY, PartitionMsg::SyncDue);
    }
    let machine = Partition::new(Opened {
        log_start_offset: log.log_start_offset(),
        log_end_offset: log.log_end_offset(),
        high_watermark: handle.high_watermark(),
        producers: log.producers().clone(),
        completed: log.take_completed(),
    });
    handle.set_log_start(log.log_start_offset());
    handle.set_recovery_point(log.recovery_point());
    handle.set_high_watermark(machine.high_watermark());
    handle.set_last_stable(machine.last_stable_offset());
    if handle.looked_at_retention_ms() < 0 {
        handle.looked_at_retention(cx.world().now().wall_ms);
    }
    handle.set_opened();
    handle.set_truncating(false);
    let me = cx.me().clone();
    let tell = |message| {
        let me = me.clone();
        async move { drop(me.send(message).await) }
    };
    resume_role(&handle, tell).await;
    Ok(PartitionActor {
        appended: cx.counter("batches_appended"),
        appended_bytes: cx.counter("bytes_appended"),
        handle,
        log: Lent::new(log),
        machine,
        isr_changes,
        config,
        next_ticket: 0,
        parked: Default::default(),
        pending: Vec::new(),
        pending_memory: Vec::new(),
        flush_queued: false,
        syncing: false,
        promotion_waits: false,
        failed_syncs: 0,
        rewrite_due,
        ticked_end: -1,
        sync_timer: None,
        deleted: Map::new(),
        deletions: 0,
        cleaning: None,
        pass_made_way: false,
        producer_id_expiration_ms,
        unanswered: None,
        hosted,
        effects: Vec::new(),
    })
}

/// As many logs of a directory at a time as may be recovered.
pub(super) async fn open_in_turn(
    cx: &mut Cx<PartitionActor>,
    handle: &PartitionHandle,
    hosted: &Arc<Hosted>,
    producer_id_expiration_ms: i64,
) -> Result<(Log, Option<OpenError>), Failure> {
    let options = OpenOptions {
        producer_id_expiration_ms: Some(producer_id_expiration_ms),
        now_ms: cx.world().now().wall_ms,
        ..found(handle)
    };
    let config = log_config(cx.world(), handle, &handle.config());
    let (dir, topic_id) = (handle.log_dir(), handle.topic_id);
    let log_dir = dir.clone();
    let (path, had_it, hosted) = (handle.path(), handle.was_opened(), hosted.clone());
    // What was seen of it since the process began.
    let shown = had_it && !handle.is_truncating();
    let shown = if shown { handle.log_end_offset() } else { 0 };
    let flush_messages = handle.config().flush_messages;
    let job = move || {
        make_way(&dir, &path, had_it, &hosted)?;
        let log = open_log(dir.disk().clone(), path.clone(), config, options, topic_id)?;
        let (mut log, no_room) = rewrite_if_unsynced(&dir, &path, log, shown)?;
        let no_room = match no_room {
            None => sync_if_due(&mut log, flush_messages)?,
            no_room => no_room,
        };
        Ok::<_, OpenLogError>((log, no_room))
    };
    let opened = {
        let _turn = log_dir.recovery().turn(&handle.topic_partition).await;
        cx.blocking("open log", job).await?
    };
    // One that is refused stays what it is, and would be refused again.
    if opened.as_ref().err().is_none_or(|error| error.disk().is_none()) {
        log_dir.recovered(&handle.topic_partition);
    }
    Ok(opened?)
}

/// What the controller last said, which an actor before this one may have been told. What it says while that is told may stand
/// before it in the mailbox, and is told again.
async fn resume_role<F>(handle: &PartitionHandle, mut tell: impl FnMut(PartitionMsg) -> F)
where
    F: Future<Output = ()>,
{
    let mut told = None;
    while let Some(role) = handle.role()
        && !told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &role))
    {
        let message = match role.as_ref() {
            Role::Lead(leadership) => {
                let mut leadership = Box::new(leadership.clone());
                handle.followers().recall(&mut leadership);
                PartitionMsg::Lead { leadership }
            }
            Role::Follow { leader_epoch, partition_epoch } => PartitionMsg::Follow {
                leader_epoch: *leader_epoch,
                partition_epoch: *partition_epoch,
            },
        };
        tell(message).await;
        told = Some(role);
    }
}

/// How the log was left: by this process's own earlier actor, else by the process before.
fn found(handle: &PartitionHandle) -> OpenOptions {
    let dir = handle.log_dir();
    let unsynced = dir.is_unsynced(&handle.path());
    let no_line = handle.has_no_recovery_point();
    let checkpointed = OpenOptions {
        recovery_point: handle.recovery_point(),
        gaps_below: dir.gaps_below(no_line, handle.cleaned()),
        loss_accepted: no_line,
        log_start_offset: handle.log_start_offset(),
        high_watermark: handle.high_watermark(),
        ..OpenOptions::default()
    };
    if handle.was_opened() {
        return OpenOptions {
            clean: false,
            writes_survived: !unsynced,
            truncated_whole: !handle.is_truncating(),
            ..checkpointed
        };
    }
    OpenOptions {
        clean: dir.clean,
        writes_survived: dir.survival == Survival::All && !unsynced,
        ..checkpointed
    }
}

/// What a log obeys, with a part of the jitter drawn for its next segment.
pub(crate) fn log_config(
    world: &World,
    handle: &PartitionHandle,
    config: &TopicConfig,
) -> LogConfig {
    let positive = |n: i32| u32::try_from(n).unwrap_or(0);
    // A stream of its own for each partition would be larger than all else that is known of an idle one.
    let jitter_ms = match config.segment_jitter_ms.min(config.segment_ms) {
        ..=0 => 0,
        most => world.random("segment jitter").below(most.unsigned_abs()),
    };
    // What is to be compacted in time must leave the active segment before.
    let segment_ms = match config.cleanup_policy.compact {
        true => config.segment_ms.min(config.max_compaction_lag_ms),
        false => config.segment_ms,
    };
    LogConfig {
        segment_bytes: positive(config.segment_bytes),
        segment_ms: segment_ms.saturating_sub_unsigned(jitter_ms),
        index_interval_bytes: positive(config.index_interval_bytes),
        segment_index_bytes: positive(config.segment_index_bytes),
        preallocate: config.preallocate,
        // Also one that was: what is missing stays missing.
        compacted: config.cleanup_policy.compact || handle.cleaned().is_some(),
    }
}

/// Before anything is synced: of a log that a failed sync left, what the kernel takes for written may not be. Also why that has
/// to wait, where it has. `shown` is how far the log was shown to reach since the process began.
pub(crate) fn rewrite_if_unsynced(
    dir: &LogDirState,
    path: &Path,
    mut log: Log,
    shown: i64,
) -> Result<(Log, Option<OpenError>), OpenError> {
    if !dir.is_unsynced(path) {
        return Ok((log, None));
    }
    if log.log_end_offset() < shown {
        let end = log.log_end_offset();
        dir.fail(format!(
            "{}: after a failed sync the log ends at {end}, not {shown}",
            path.display()
        ));
    }
    match log.rewrite_unsynced() {
        Ok(()) => dir.rewritten(path),
        Err(error) if error.may_pass() => return Ok((log, Some(error))),
        Err(error) => {
            dir.fail(&error);
            return Err(error);
        }
    }
    Ok((log, None))
}

/// What one before wrote and did not sync is shown from now on, and counts as written for the leader. Also why that has to wait.
fn sync_if_due(log: &mut Log, flush_messages: i64) -> Result<Option<OpenError>, OpenError> {
    if !must_sync(log, flush_messages) {
        return Ok(None);
    }
    match log.sync() {
        Ok(()) => Ok(None),
        Err(error) if error.may_pass() => Ok(Some(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// For a log that is yet to be made. One that was here is not made anew, empty.
fn make_way(
    dir: &LogDirState,
    path: &Path,
    had_it: bool,
    hosted: &Hosted,
) -> Result<(), OpenLogError> {
    if dir.disk().exists(path)? {
        return Ok(());
    }
    if had_it {
        let gone = OpenLogError::Gone(path.to_owned());
        dir.fail(&gone);
        return Err(gone);
    }
    Ok(dir.forget_departed(hosted)?)
}

/// Why a replica's log is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenLogError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Metadata(#[from] PartitionMetadataError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0:?} is gone")]
    Gone(PathBuf),
    #[error("{path:?} belongs to topic id {found}, not {topic_id}")]
    Foreign { path: PathBuf, found: Uuid, topic_id: Uuid },
}

impl OpenLogError {
    /// What the disk said, where that is why.
    pub(crate) fn disk(&self) -> Option<&DiskError> {
        match self {
            OpenLogError::Disk(error)
            | OpenLogError::Metadata(PartitionMetadataError::Disk(error))
            | OpenLogError::Open(
                OpenError::Disk(error)
                | OpenError::Read(ReadError::Disk(error))
                | OpenError::Checkpoint(CheckpointError::Disk(error)),
            ) => Some(error),
            _ => None,
        }
    }
}

/// Opens the log of a topic. What is another's is left alone: what is known of this one is not true of that.
pub(crate) fn open_log(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    config: LogConfig,
    options: OpenOptions,
    topic_id: Uuid,
) -> Result<Log, OpenLogError> {
    let known = read_partition_metadata(&*disk, &path)?;
    if let Some(found) = known.filter(|found| *found != topic_id) {
        return Err(OpenLogError::Foreign { path, found, topic_id });
    }
    let (log, recovered) = Log::open(disk.clone(), path.clone(), config, options)?;
    if recovered.truncated_bytes > 0 || recovered.removed_segments > 0 {
        tracing::warn!(log = %path.display(), ?recovered, "the end of the log was not whole");
    }
    if known.is_none() {
        write_partition_metadata(&*disk, &path, topic_id)?;
    }
    Ok(log)
}

impl PartitionActor {
    /// Leaves the log so that the next start needs no recovery; where that fails, it will recover.
    pub(super) async fn close(&mut self, cx: &mut Cx<Self>) {
        if self.handle.is_deleted() {
            return;
        }
        let closed = async {
            self.flush(cx).await?;
            let (rewrite_due, handle) = (self.rewrite_due, self.handle.clone());
            let close = move |log: &mut Log| -> Result<(), OpenError> {
                if rewrite_due {
                    log.rewrite_unsynced()?;
                    handle.log_dir().rewritten(&handle.path());
                }
                let closing = log.closing()?;
                closing.run()?;
                log.synced(&closing);
                Ok(())
            };
            cx.lend("close log", &mut self.log, close).await??;
            self.handle.set_recovery_point(self.log.recovery_point());
            Ok::<(), Failure>(())
        };
        match closed.await {
            Ok(()) => self.handle.set_closed(true),
            Err(error) => {
                let partition = &self.handle.topic_partition;
                tracing::warn!(%partition, %error, "the log was not closed; it will be recovered");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use machines::partition::{Leadership, LiveBroker};
    use model::{LeaderEpoch, NodeId, TopicPartition};

    use super::*;

    #[tokio::test]
    async fn what_is_said_while_the_role_is_resumed_is_the_last_that_is_told() {
        let disk = disk::SimDisk::new(disk::SimDiskOptions::default()).mount();
        disk.create_dir_all(Path::new("/data")).unwrap();
        let dir = crate::read_log_dir(&disk, Path::new("/data"), Uuid([1; 16]), 1, true);
        let (dir, address) = (Arc::new(dir.unwrap().0), runtime::Address::vacant());
        let (name, config) = (TopicPartition::new("orders", 0), Arc::default());
        let handle = PartitionHandle::new(name, Uuid([2; 16]), config, dir, address);
        let leading = |live: &[i32]| {
            let live = live.iter().map(|id| LiveBroker {
                id: NodeId(*id),
                epoch: 7,
                in_controlled_shutdown: false,
            });
            Role::Lead(Leadership {
                node: NodeId(1),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                replicas: vec![NodeId(1), NodeId(2)],
                isr: vec![NodeId(1)],
                min_insync_replicas: 1,
                live: live.collect(),
                max_lag: Duration::from_secs(30),
                pending: None,
            })
        };
        handle.set_role(leading(&[]));
        let mut told = Vec::new();
        let resumed = resume_role(&handle, |message| {
            let PartitionMsg::Lead { leadership } = message else { panic!("it leads") };
            if told.is_empty() {
                handle.set_role(leading(&[2]));
            }
            told.push(leadership.live.len());
            std::future::ready(())
        });
        resumed.await;
        assert_eq!(told, [0, 1]);
    }
}

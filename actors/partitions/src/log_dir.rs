//! LogDir: the keeper of one entry of `log.dirs`: its checkpoint files, the marker of a clean stop, and what waits to be deleted.
//!
//! Supervisor: `storage`, which starts before the partitions and stops after them: so that the last checkpoints hold what they
//! closed with. An error of the disk takes this directory offline alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use disk::{Disk, DiskError};
use log::{
    CheckpointError, CleanShutdown, DirKind, HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT, PartitionDir, RECOVERY_POINT_CHECKPOINT, read_offset_checkpoint,
    write_offset_checkpoint,
};
use model::{BrokerEpoch, TopicPartition, Uuid};
use runtime::{Actor, Cx, Failure, Map, Outcome};

use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::log_dirs::{Checkpoints, LogDirState};

#[derive(Clone)]
pub struct LogDirArgs {
    pub state: Arc<LogDirState>,
    pub hosted: Arc<Hosted>,
    /// What the clean stop's marker names; -1 before the broker is registered.
    pub broker_epoch: Arc<AtomicI64>,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_interval: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_interval: Duration,
    /// `log.segment.delete.delay.ms`.
    pub delete_delay: Duration,
}

pub enum LogDirMsg {
    CheckpointRecoveryPoints,
    CheckpointHighWatermarks,
    /// A directory to be deleted once the delay has passed.
    Remove {
        path: PathBuf,
    },
    RemoveNow {
        path: PathBuf,
    },
    Done {
        what: &'static str,
        result: Result<(), String>,
    },
}

runtime::messages!(LogDirMsg {
    CheckpointRecoveryPoints,
    CheckpointHighWatermarks,
    Remove,
    RemoveNow,
    Done
});

pub struct LogDir {
    args: LogDirArgs,
    written: Offsets,
}

/// What the checkpoint files hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Offsets {
    recovery_points: Map<TopicPartition, i64>,
    log_starts: Map<TopicPartition, i64>,
    high_watermarks: Map<TopicPartition, i64>,
}

impl Actor for LogDir {
    const KIND: &'static str = "log-dir";
    type Msg = LogDirMsg;
    type Args = LogDirArgs;

    async fn start(cx: &mut Cx<Self>, args: LogDirArgs) -> Result<Self, Failure> {
        let entries = cx.world().disk().list(&args.state.path)?;
        for entry in entries {
            let found = PartitionDir::parse(&entry.name);
            if found.is_some_and(|found| found.kind == DirKind::Delete) {
                let path = args.state.path.join(entry.name);
                cx.send_after(args.delete_delay, LogDirMsg::RemoveNow { path });
            }
        }
        cx.every(args.recovery_point_interval, || LogDirMsg::CheckpointRecoveryPoints);
        cx.every(args.high_watermark_interval, || LogDirMsg::CheckpointHighWatermarks);
        Ok(LogDir { args, written: Offsets::default() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: LogDirMsg) -> Outcome {
        match msg {
            LogDirMsg::CheckpointRecoveryPoints => {
                let now = self.offsets();
                self.write(cx, "recovery points", now, true, false);
            }
            LogDirMsg::CheckpointHighWatermarks => {
                let now = self.offsets();
                self.write(cx, "high watermarks", now, false, true);
            }
            LogDirMsg::Remove { path } => {
                cx.send_after(self.args.delete_delay, LogDirMsg::RemoveNow { path });
            }
            LogDirMsg::RemoveNow { path } => {
                let disk = cx.world().disk().clone();
                let job = move || disk.remove_dir_all(&path).map_err(|error| error.to_string());
                cx.job("remove directory", job, |result| LogDirMsg::Done {
                    what: "remove directory",
                    result: result.unwrap_or_else(|lost| Err(lost.to_string())),
                });
            }
            LogDirMsg::Done { what, result } => {
                result.map_err(|error| Failure::new(format!("{what}: {error}")))?;
            }
        }
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        let (state, now) = (self.args.state.clone(), self.offsets());
        let epoch = self.args.broker_epoch.load(Ordering::Acquire);
        let disk = cx.world().disk().clone();
        let last = cx.world().blocking("last checkpoints", move || {
            write_recovery_points(&*disk, &state.path, &now)?;
            write_high_watermarks(&*disk, &state.path, &now)?;
            if !state.is_unclean() {
                CleanShutdown { broker_epoch: (epoch >= 0).then_some(BrokerEpoch(epoch)) }
                    .write(&*disk, &state.path)?;
            }
            Ok::<(), DiskError>(())
        });
        match last.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "last checkpoints not written"),
            Err(lost) => tracing::warn!(%lost, "last checkpoints not written"),
        }
    }

    fn state_line(&self) -> String {
        let state = &self.args.state;
        let line = if state.is_online() { "online" } else { "offline" };
        format!("{} {line}, {} replicas", state.path.display(), state.replicas())
    }
}

impl LogDir {
    fn offsets(&self) -> Offsets {
        let mut offsets = Offsets::default();
        let here = |handle: &PartitionHandle| handle.log_dir().id == self.args.state.id;
        for handle in self.args.hosted.all().into_iter().filter(|handle| here(handle)) {
            let name = handle.topic_partition.clone();
            if !handle.was_opened() {
                // Not known yet: what the files said stays.
                let found = &self.args.state.checkpoints;
                keep(&mut offsets.recovery_points, &found.recovery_points, &name);
                keep(&mut offsets.log_starts, &found.log_starts, &name);
                keep(&mut offsets.high_watermarks, &found.high_watermarks, &name);
                continue;
            }
            offsets.recovery_points.insert(name.clone(), handle.recovery_point());
            let start = handle.log_start_offset();
            if start > 0 {
                offsets.log_starts.insert(name.clone(), start);
            }
            offsets.high_watermarks.insert(name, handle.high_watermark());
        }
        offsets
    }

    fn write(
        &mut self,
        cx: &mut Cx<Self>,
        what: &'static str,
        now: Offsets,
        recovery_points: bool,
        high_watermarks: bool,
    ) {
        let known = &mut self.written;
        let points = recovery_points
            && (known.recovery_points != now.recovery_points || known.log_starts != now.log_starts);
        let marks = high_watermarks && known.high_watermarks != now.high_watermarks;
        if points {
            known.recovery_points = now.recovery_points.clone();
            known.log_starts = now.log_starts.clone();
        }
        if marks {
            known.high_watermarks = now.high_watermarks.clone();
        }
        if !points && !marks {
            return;
        }
        let (disk, path) = (cx.world().disk().clone(), self.args.state.path.clone());
        let job = move || {
            if points {
                write_recovery_points(&*disk, &path, &now)?;
            }
            if marks {
                write_high_watermarks(&*disk, &path, &now)?;
            }
            Ok::<(), DiskError>(())
        };
        cx.job(what, job, move |result| LogDirMsg::Done {
            what,
            result: match result {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(lost) => Err(lost.to_string()),
            },
        });
    }
}

fn keep(
    offsets: &mut Map<TopicPartition, i64>,
    found: &Map<TopicPartition, i64>,
    name: &TopicPartition,
) {
    if let Some(offset) = found.get(name) {
        offsets.insert(name.clone(), *offset);
    }
}

fn write_recovery_points(disk: &dyn Disk, path: &Path, now: &Offsets) -> Result<(), DiskError> {
    write(disk, path, RECOVERY_POINT_CHECKPOINT, &now.recovery_points)?;
    write(disk, path, LOG_START_OFFSET_CHECKPOINT, &now.log_starts)
}

fn write_high_watermarks(disk: &dyn Disk, path: &Path, now: &Offsets) -> Result<(), DiskError> {
    write(disk, path, HIGH_WATERMARK_CHECKPOINT, &now.high_watermarks)
}

fn write(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    offsets: &Map<TopicPartition, i64>,
) -> Result<(), DiskError> {
    let offsets = offsets.iter().map(|(partition, offset)| (partition, *offset));
    write_offset_checkpoint(disk, &dir.join(name), offsets)
}

/// Looks at a formatted log directory before anything in it is opened; with the broker epoch of the last clean stop, -1
/// where there was none. The marker of a clean stop is taken away: what is
/// written from now on needs recovery until the next one.
pub fn read_log_dir(
    disk: &dyn Disk,
    path: &Path,
    id: Uuid,
) -> Result<(LogDirState, i64), CheckpointError> {
    let marker = CleanShutdown::read(disk, path)?;
    let read = |name| read_offset_checkpoint(disk, &path.join(name));
    let checkpoints = Checkpoints {
        recovery_points: read(RECOVERY_POINT_CHECKPOINT)?,
        log_starts: read(LOG_START_OFFSET_CHECKPOINT)?,
        high_watermarks: read(HIGH_WATERMARK_CHECKPOINT)?,
    };
    CleanShutdown::remove(disk, path)?;
    let epoch = marker.and_then(|marker| marker.broker_epoch).map_or(-1, |epoch| epoch.0);
    Ok((LogDirState::new(id, path.to_owned(), marker.is_some(), checkpoints), epoch))
}

//! LogDir: the keeper of one entry of `log.dirs`: its checkpoint files, the marker of a clean stop, and what waits to be deleted.
//!
//! Supervisor: `storage`, which starts before the partitions and stops after them: so that the last checkpoints hold what they
//! closed with. An error of the disk takes this directory offline alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use disk::{Disk, DiskError, Space};
use log::{
    CheckpointError, CleanShutdown, DirKind, PartitionDir, Survival, expect_writes_lost,
    expect_writes_to_survive, survival,
};
use model::node_config::RoomConfig;
use model::settings::Values;
use model::{BrokerEpoch, TopicPartition, Uuid};
use runtime::{Actor, Cx, Failure, Gauge, JobLost, Outcome, Watch};

use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::log_dirs::LogDirState;
use crate::partition::PartitionMsg;
use crate::recovery::Recovery;
use crate::room::{Room, rung};

/// What could not be removed, as room or descriptors were short, is tried again after this.
pub(crate) const REMOVE_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct LogDirArgs {
    pub state: Arc<LogDirState>,
    pub hosted: Arc<Hosted>,
    /// What the clean stop's marker names; -1 before the broker is registered.
    pub broker_epoch: Arc<AtomicI64>,
    pub settings: Watch<Values>,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_start_interval: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_interval: Duration,
    /// `ottla.disk.check.interval.ms`.
    pub room_interval: Duration,
}

pub enum LogDirMsg {
    /// A checkpoint file is brought up to date.
    Write {
        checkpoint: Checkpoint,
    },
    /// A directory to be deleted once `log.segment.delete.delay.ms` have passed.
    Remove {
        path: PathBuf,
    },
    RemoveNow {
        path: PathBuf,
    },
    /// The room on the disk is to be measured.
    Measure,
    Measured {
        result: Result<Space, String>,
    },
    /// A directory was, unless there was no room for that, or no descriptor.
    Removed {
        path: PathBuf,
        result: Result<Result<(), DiskError>, JobLost>,
    },
    Done {
        result: Result<Result<(), DiskError>, JobLost>,
    },
    /// The last of the logs that needed it is recovered.
    Recovered,
}

runtime::messages!(LogDirMsg {
    Write,
    Remove,
    RemoveNow,
    Measure,
    Measured,
    Removed,
    Done,
    Recovered
});

pub struct LogDir {
    args: LogDirArgs,
    /// Directories that wait to be deleted.
    waiting: BTreeSet<PathBuf>,
    free_bytes: Gauge,
}

impl Actor for LogDir {
    const KIND: &'static str = "log-dir";
    type Msg = LogDirMsg;
    type Args = LogDirArgs;

    async fn start(cx: &mut Cx<Self>, args: LogDirArgs) -> Result<Self, Failure> {
        cx.queue_jobs_in(args.state.queue());
        let mut dir = LogDir { args, waiting: BTreeSet::new(), free_bytes: cx.gauge("free_bytes") };
        // One that cannot be read is offline by that; its actor stays, to say why.
        let entries = dir.args.state.disk().list(&dir.args.state.path);
        for entry in entries.unwrap_or_default() {
            let found = PartitionDir::parse(&entry.name);
            if found.is_some_and(|found| found.kind == DirKind::Delete) {
                let path = dir.args.state.path.join(entry.name);
                dir.remove_later(cx, path);
            }
        }
        for (checkpoint, interval) in [
            (Checkpoint::RecoveryPoints, dir.args.recovery_point_interval),
            (Checkpoint::LogStarts, dir.args.log_start_interval),
            (Checkpoint::HighWatermarks, dir.args.high_watermark_interval),
        ] {
            cx.every(interval, move || LogDirMsg::Write { checkpoint });
        }
        cx.every(dir.args.room_interval, || LogDirMsg::Measure);
        dir.measure(cx);
        Ok(dir)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: LogDirMsg) -> Outcome {
        match msg {
            LogDirMsg::Write { checkpoint } => self.write(cx, checkpoint),
            LogDirMsg::Remove { path } => self.remove_later(cx, path),
            LogDirMsg::RemoveNow { path } => self.remove_now(cx, path),
            LogDirMsg::Measure => self.measure(cx),
            LogDirMsg::Measured { result } => self.measured(cx, result).await,
            LogDirMsg::Removed { path, result } => self.removed(cx, path, result?),
            LogDirMsg::Done { result } => self.done(result?),
            LogDirMsg::Recovered => {
                let state = self.args.state.clone();
                run(cx, "all logs recovered", move || state.all_recovered());
            }
        }
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        if !self.args.state.is_online() {
            return;
        }
        let (state, hosted) = (self.args.state.clone(), self.args.hosted.clone());
        let epoch = self.args.broker_epoch.load(Ordering::Acquire);
        let last = cx.blocking("last checkpoints", move || {
            state.write_checkpoints(&hosted, &Checkpoint::ALL)?;
            if state.is_closed(&hosted) {
                state.mark_clean((epoch >= 0).then_some(BrokerEpoch(epoch)))?;
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
        let line = state.failure().map_or("online".to_owned(), |why| format!("offline: {why}"));
        let (path, room) = (state.path.display(), state.room().measures());
        let recovery = state.recovery().progress().map(|so_far| format!(", {so_far}"));
        format!(
            "{path}, {} replicas, {room}, {line}{}",
            state.replicas(),
            recovery.unwrap_or_default()
        )
    }
}

impl LogDir {
    fn remove_later(&mut self, cx: &mut Cx<Self>, path: PathBuf) {
        let delay_ms = self.args.settings.get().long("log.segment.delete.delay.ms");
        let delay = Duration::from_millis(delay_ms.max(0).unsigned_abs());
        self.remove_after(cx, delay, path);
    }

    fn remove_after(&mut self, cx: &mut Cx<Self>, delay: Duration, path: PathBuf) {
        self.waiting.insert(path.clone());
        cx.send_after(delay, LogDirMsg::RemoveNow { path });
    }

    fn remove_now(&mut self, cx: &mut Cx<Self>, path: PathBuf) {
        if self.waiting.remove(&path) {
            let (disk, of) = (self.args.state.disk().clone(), path.clone());
            let job = move || match disk.remove_dir_all(&path) {
                Err(error) if error.is_not_found() => Ok(()),
                other => other,
            };
            cx.job("remove directory", job, |result| LogDirMsg::Removed { path: of, result });
        }
    }

    fn removed(&mut self, cx: &mut Cx<Self>, path: PathBuf, result: Result<(), DiskError>) {
        if result.as_ref().is_err_and(DiskError::may_pass) {
            self.remove_after(cx, REMOVE_RETRY, path);
        }
        self.done(result);
    }

    fn measure(&mut self, cx: &mut Cx<Self>) {
        if !self.args.state.is_online() {
            return;
        }
        let (disk, path) = (self.args.state.disk().clone(), self.args.state.path.clone());
        let job = move || disk.space(&path).map_err(|error| error.to_string());
        cx.job("measure room", job, |result| LogDirMsg::Measured {
            result: result.unwrap_or_else(|lost| Err(lost.to_string())),
        });
    }

    async fn measured(&mut self, cx: &mut Cx<Self>, result: Result<Space, String>) {
        let state = &self.args.state;
        let space = match result {
            Ok(space) => space,
            Err(error) => return tracing::warn!(path = cx.path(), error, "room not measured"),
        };
        let config = RoomConfig::new(&self.args.settings.get());
        let before = state.room();
        let room = rung(&config, space, before);
        state.set_usable(space.usable_bytes);
        state.set_room(room);
        self.free_bytes.set(i64::try_from(space.usable_bytes).unwrap_or(i64::MAX));
        if room != before {
            let (dir, free) = (state.path.display(), space.usable_bytes);
            tracing::warn!(%dir, free, "{}", room.measures());
        }
        if room >= Room::Short {
            for path in self.waiting.clone() {
                self.remove_now(cx, path);
            }
            let share = config.early_retention;
            for handle in self.here() {
                // One that is down has removed what waited, and retains when it is back.
                let _ = handle.address().send(PartitionMsg::MakeRoom { share }).await;
            }
        }
    }

    fn here(&self) -> impl Iterator<Item = Arc<PartitionHandle>> {
        let id = self.args.state.id;
        self.args.hosted.all().into_iter().filter(move |handle| handle.log_dir().id == id)
    }

    fn write(&mut self, cx: &mut Cx<Self>, checkpoint: Checkpoint) {
        let (state, hosted) = (self.args.state.clone(), self.args.hosted.clone());
        run(cx, checkpoint.file_name(), move || state.write_checkpoints(&hosted, &[checkpoint]));
    }

    fn done(&self, result: Result<(), DiskError>) {
        if let Err(error) = result {
            self.args.state.checkpoints_failed(&error);
        }
    }
}

fn run(
    cx: &mut Cx<LogDir>,
    what: &'static str,
    job: impl FnOnce() -> Result<(), DiskError> + Send + 'static,
) {
    cx.job(what, job, |result| LogDirMsg::Done { result });
}

/// The metadata log, which its own actor opens.
pub(crate) const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Looks at a formatted log directory before anything in it is opened; with the broker epoch of the last clean stop, -1
/// where there was none. The marker of a clean stop is taken away: what is
/// written from now on needs recovery until the next one. `for_replicas`: not for the metadata log alone.
pub fn read_log_dir(
    disk: &Arc<dyn Disk>,
    path: &Path,
    id: Uuid,
    recovery_threads: usize,
    for_replicas: bool,
) -> Result<(LogDirState, i64), CheckpointError> {
    let marker = CleanShutdown::read(&**disk, path)?;
    let (checkpoints, whole) = Checkpoints::read(&**disk, path)?;
    let clean = marker.is_some() && whole;
    let survival = if clean { Survival::All } else { survival(&**disk, path)? };
    let logs = logs_in(&**disk, path)?;
    // Gaps below the recovery point are then no loss. Kafka opens whatever is there.
    let mut compacted = logs.clone();
    let points = checkpoints.of(Checkpoint::RecoveryPoints);
    compacted.retain(|log| survival == Survival::Unknown || points.contains_key(log));
    let told = Checkpoints::tell_of_compacted(&**disk, path)?;
    let left = if clean { BTreeSet::new() } else { logs };
    // Until what a power loss left is recovered, the next start must not take it for whole.
    if survival == Survival::All || (survival != Survival::Unsynced && left.is_empty()) {
        expect_writes_to_survive(&**disk, path)?;
    } else {
        expect_writes_lost(&**disk, path)?;
    }
    CleanShutdown::remove(&**disk, path)?;
    let epoch = marker.and_then(|marker| marker.broker_epoch).map_or(-1, |epoch| epoch.0);
    let state = LogDirState::new(id, path.to_owned(), clean, checkpoints, disk.clone());
    if for_replicas && !told {
        state.presume_compacted(&compacted)?;
    }
    Ok((state.with_recovery(Recovery::of(left, recovery_threads), survival), epoch))
}

fn logs_in(disk: &dyn Disk, path: &Path) -> Result<BTreeSet<TopicPartition>, DiskError> {
    let entries = disk.list(path)?.into_iter().filter_map(|entry| PartitionDir::parse(&entry.name));
    let logs = entries.filter(|found| found.kind == DirKind::Current);
    let logs = logs.map(|found| found.topic_partition);
    Ok(logs.filter(|log| log.topic != CLUSTER_METADATA).collect())
}

//! FutureReplica: copies a replica's log into another directory of this node, until it is caught up (KIP-113).
//!
//! Supervisor: `partitions`. It owns the log that grows, and reads the other one past its actor; the two change places while both
//! rest: see `partition/promote`. Source: `ReplicaAlterLogDirsThread`.

#[cfg(test)]
mod anew_tests;
mod copy;
mod making;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{Disk, DiskError};
use log::{Log, LogConfig, OpenOptions, PARTITION_METADATA_FILE, read_partition_metadata};
use model::Uuid;
use model::node_config::RoomConfig;
use model::settings::Values;
use runtime::{Actor, Cx, Failure, JobQueue, Outcome, Ref, Waiter, Watch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoints::{Checkpoint, Offsets};
use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::log_dirs::LogDirState;
use crate::partition::{OpenLogError, log_config, open_log, rewrite_if_unsynced};
use crate::partitions::PartitionsMsg;
use crate::room::Room;
pub(crate) use copy::{CopyError, finish_copy};
use copy::{copy_piece, has_room};
use making::CALLED_OFF;
pub(crate) use making::{note_called_off, was_called_off};

/// What was copied since reaches the disk: after a crash the copy goes on from there.
const SYNC_EVERY: u64 = 16 << 20;
/// While the log that is copied cannot be read.
const RETRY: Duration = Duration::from_millis(100);
/// While there is no room for the copy.
const ROOM_RETRY: Duration = Duration::from_secs(1);

/// A copy that is to take a replica's place, as others see it.
#[derive(Debug)]
pub struct FutureLog {
    pub dir: Arc<LogDirState>,
    pub path: PathBuf,
    /// That of all copies.
    pub queue: JobQueue,
    /// How far the log that is copied was compacted when the copy began.
    pub(crate) cleaned: Option<i64>,
    size: AtomicU64,
    log_end: AtomicI64,
    recovery_point: AtomicI64,
    caught_up: AtomicBool,
    /// Its directory is being made, and no actor works in it yet.
    being_made: AtomicBool,
    /// Its log was closed in order.
    closed: AtomicBool,
    /// It was called off, and will be deleted.
    unwanted: AtomicBool,
    /// So often in a row nobody said what became of its promotion.
    unanswered: AtomicU32,
}

impl FutureLog {
    /// One that begins, or of which something is known from before.
    pub(crate) fn new(
        dir: Arc<LogDirState>,
        path: PathBuf,
        queue: JobQueue,
        cleaned: Option<i64>,
        known: Offsets,
    ) -> FutureLog {
        let known = |checkpoint| AtomicI64::new(known.get(checkpoint).unwrap_or(0));
        FutureLog {
            dir,
            path,
            queue,
            cleaned,
            size: AtomicU64::new(0),
            log_end: known(Checkpoint::HighWatermarks),
            recovery_point: known(Checkpoint::RecoveryPoints),
            caught_up: AtomicBool::new(false),
            being_made: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
        }
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn log_end_offset(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    /// What the checkpoint files of its directory should say of it: so that it goes on there, and begins where the replica does
    /// when it takes its place.
    pub(crate) fn offsets(&self, replica: &PartitionHandle) -> Offsets {
        Offsets::new(|checkpoint| match checkpoint {
            Checkpoint::RecoveryPoints => Some(self.recovery_point.load(Ordering::Acquire)),
            Checkpoint::HighWatermarks => Some(replica.high_watermark().min(self.log_end_offset())),
            Checkpoint::LogStarts => replica.offsets().get(checkpoint),
            Checkpoint::Cleaned => self.cleaned(replica),
        })
    }

    /// What was taken in since it was begun may have had gaps.
    pub(crate) fn cleaned(&self, replica: &PartitionHandle) -> Option<i64> {
        self.cleaned.or(replica.cleaned().map(|_| 0))
    }

    fn show(&self, log: &Log) {
        self.size.store(log.size(), Ordering::Release);
        self.log_end.store(log.log_end_offset(), Ordering::Release);
        self.recovery_point.store(log.recovery_point(), Ordering::Release);
    }

    /// Before what lies behind `durable` is cut off: what is copied there then is not durable, as the checkpoint would have it. If
    /// the power goes before the cut, more is recovered than need be.
    fn lower(&self, hosted: &Hosted, durable: i64) -> Result<(), DiskError> {
        self.recovery_point.fetch_min(durable, Ordering::AcqRel);
        self.dir.write_checkpoints(hosted, &[Checkpoint::RecoveryPoints])
    }

    /// It was brought to its end, durably.
    pub(crate) fn finished(&self, end: i64) {
        self.log_end.store(end, Ordering::Release);
        self.recovery_point.store(end, Ordering::Release);
    }

    /// It had everything at some moment; since then it follows.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Acquire)
    }

    pub(crate) fn set_unanswered(&self, times: u32) {
        self.unanswered.store(times, Ordering::Release);
    }

    pub(crate) fn set_unwanted(&self) {
        self.unwanted.store(true, Ordering::Release);
    }

    fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// What all copies of a node share: so many copy at a time, and no more bytes a second.
#[derive(Debug)]
pub(crate) struct MoveQuota {
    slots: Arc<Semaphore>,
    /// Copies work on two directories at once: one that hangs holds up copies.
    pub(crate) queue: JobQueue,
    /// When the bytes copied so far may have been.
    paid_until: Mutex<Duration>,
}

impl MoveQuota {
    pub(crate) fn new(slots: usize) -> MoveQuota {
        let (slots, queue) = (Arc::new(Semaphore::new(slots.max(1))), JobQueue::new("copies"));
        MoveQuota { slots, queue, paid_until: Mutex::default() }
    }

    /// How long to wait after these bytes.
    fn delay(&self, bytes: u64, rate: u64, now: Duration) -> Duration {
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = Duration::try_from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *paid = now.max(*paid).saturating_add(cost.unwrap_or(Duration::MAX));
        paid.saturating_sub(now)
    }
}

#[derive(Clone)]
pub(crate) struct FutureReplicaArgs {
    pub(crate) handle: Arc<PartitionHandle>,
    /// For the checkpoints of its directory.
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) future: Arc<FutureLog>,
    pub(crate) quota: Arc<MoveQuota>,
    pub(crate) settings: Watch<Values>,
    pub(crate) parent: Ref<PartitionsMsg>,
    /// Why it could not take the replica's place, and waits before it is tried again.
    pub(crate) waits: Option<String>,
}

pub(crate) enum FutureReplicaMsg {
    /// It may copy.
    Permitted {
        permit: OwnedSemaphorePermit,
    },
    Copy,
}

runtime::messages!(FutureReplicaMsg { Permitted, Copy });

pub(crate) struct FutureReplica {
    args: FutureReplicaArgs,
    /// Where it is open.
    log: Option<Log>,
    /// While it copies what was there when it began.
    permit: Option<OwnedSemaphorePermit>,
    /// Bytes that were copied since the last sync.
    unsynced: u64,
    /// Why it does not go on for now.
    waits: Option<String>,
}

impl Actor for FutureReplica {
    const KIND: &'static str = "future-replica";
    type Msg = FutureReplicaMsg;
    type Args = FutureReplicaArgs;

    async fn start(cx: &mut Cx<Self>, mut args: FutureReplicaArgs) -> Result<Self, Failure> {
        cx.queue_jobs_in(&args.quota.queue);
        let waits = args.waits.take();
        let mut replica = FutureReplica { args, log: None, permit: None, unsynced: 0, waits: None };
        match waits {
            Some(why) => replica.wait(cx, why),
            None => replica.ask_for_turn(cx),
        }
        Ok(replica)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: FutureReplicaMsg) -> Outcome {
        match msg {
            FutureReplicaMsg::Permitted { permit } => self.permit = Some(permit),
            FutureReplicaMsg::Copy if self.permit.is_none() && !self.args.future.is_caught_up() => {
                self.ask_for_turn(cx);
                return Ok(());
            }
            FutureReplicaMsg::Copy => {}
        }
        let dir = self.args.future.dir.clone();
        if dir.room() == Room::Full {
            self.wait(cx, "there is no room".to_owned());
            return Ok(());
        }
        match self.go_on(cx).await {
            Err(CopyFailed::ForNow(error)) => {
                if error.is_full() {
                    dir.set_room(Room::Full);
                }
                // What it was about to write may be there in part.
                self.log = None;
                self.wait(cx, error.to_string());
                Ok(())
            }
            Err(CopyFailed::ForGood(failure)) => Err(failure),
            Ok(()) => Ok(()),
        }
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        let deleted = self.args.handle.is_deleted() || self.args.future.is_unwanted();
        let Some(mut log) = self.log.take().filter(|_| !deleted) else { return };
        let close = move || {
            let closing = log.closing()?;
            let end = closing.end_offset();
            closing.run().map(|()| end)
        };
        if let Ok(Ok(end)) = cx.blocking("close", close).await {
            self.args.future.finished(end);
            self.args.future.closed.store(true, Ordering::Release);
        }
    }

    fn state_line(&self) -> String {
        let (future, of) = (&self.args.future, self.args.handle.log_end_offset());
        let waits = self.waits.as_ref().map(|why| format!(", WAITS: {why}")).unwrap_or_default();
        format!("offset {} of {of}, to {}{waits}", future.log_end_offset(), future.path.display())
    }
}

impl FutureReplica {
    fn ask_for_turn(&self, cx: &mut Cx<Self>) {
        let (me, slots) = (cx.me().clone(), self.args.quota.slots.clone());
        cx.spawn_task(async move {
            if let Ok(permit) = slots.acquire_owned().await {
                let _ = me.send(FutureReplicaMsg::Permitted { permit }).await;
            }
        });
    }

    /// Others may have its turn meanwhile.
    fn wait(&mut self, cx: &mut Cx<Self>, why: String) {
        if self.waits.is_none() {
            let (partition, to) =
                (&self.args.handle.topic_partition, self.args.future.path.display());
            tracing::warn!(%partition, %to, why, "the move waits");
        }
        self.waits = Some(why);
        self.permit = None;
        cx.send_after(ROOM_RETRY, FutureReplicaMsg::Copy);
    }

    /// Copies a piece, if there is anything to copy.
    async fn go_on(&mut self, cx: &mut Cx<Self>) -> Result<(), CopyFailed> {
        let mut log = match self.log.take() {
            Some(log) => log,
            None => self.open(cx).await?,
        };
        let Some(source) = self.args.handle.view() else {
            self.log = Some(log);
            cx.send_after(RETRY, FutureReplicaMsg::Copy);
            return Ok(());
        };
        let (future, now_ms, before) =
            (self.args.future.clone(), cx.world().now().wall_ms, self.unsynced);
        let hosted = self.args.hosted.clone();
        let marks = RoomConfig::new(&self.args.settings.get());
        let copy = move || -> Result<_, CopyError> {
            if !has_room(&future.dir, &marks, source.size().saturating_sub(log.size())) {
                return Ok((log, None));
            }
            let lower = |durable| future.lower(&hosted, durable);
            let copied = copy_piece(&mut log, &source, &lower, now_ms)?;
            let caught_up = log.log_end_offset() >= source.log_end_offset();
            let mut unsynced = before + copied;
            if unsynced >= SYNC_EVERY || (caught_up && !future.is_caught_up()) {
                log.sync()?;
                unsynced = 0;
            }
            future.show(&log);
            Ok((log, Some((copied, unsynced, caught_up))))
        };
        let (log, done) = cx.blocking("copy a piece", copy).await.map_err(Failure::from)??;
        let end = log.log_end_offset();
        self.log = Some(log);
        let Some((copied, unsynced, caught_up)) = done else {
            self.wait(cx, "there is no room for it".to_owned());
            return Ok(());
        };
        (self.unsynced, self.waits) = (unsynced, None);
        if caught_up {
            self.caught_up(cx, end).await;
            return Ok(());
        }
        let rate = model::node_config::alter_log_dirs_rate(&self.args.settings.get());
        let delay = self.args.quota.delay(copied, rate, cx.world().mono());
        cx.send_after(delay, FutureReplicaMsg::Copy);
        Ok(())
    }

    async fn open(&self, cx: &mut Cx<Self>) -> Result<Log, CopyFailed> {
        let (handle, future) = (&self.args.handle, self.args.future.clone());
        let config = log_config(cx.world(), handle, &handle.config());
        let options = OpenOptions {
            log_start_offset: handle.log_start_offset(),
            recovery_point: future.recovery_point.load(Ordering::Acquire),
            // As it is copied segments meet; one that was Kafka's is begun anew where they do not.
            gaps_below: 0,
            now_ms: cx.world().now().wall_ms,
            ..OpenOptions::default()
        };
        let (topic_id, hosted) = (handle.topic_id, self.args.hosted.clone());
        let job = move || open_or_begin_anew(&future, &hosted, &config, options, topic_id);
        let opened = cx.blocking("open future log", job).await;
        Ok(opened.map_err(Failure::from)?.map_err(CopyError::Opened)?)
    }

    /// The next wait for a place is another's; what is appended from now on is followed.
    async fn caught_up(&mut self, cx: &mut Cx<Self>, end: i64) {
        self.permit = None;
        if !self.args.future.caught_up.swap(true, Ordering::AcqRel) {
            let partition = self.args.handle.topic_partition.clone();
            // Where it has ended, so does this one.
            let _ = self.args.parent.send(PartitionsMsg::Settle { partition }).await;
        }
        let (me, handle) = (cx.me().clone(), self.args.handle.clone());
        cx.spawn_task(async move {
            let mut waiter = Waiter::new();
            loop {
                waiter.on(handle.pulse());
                if handle.log_end_offset() != end {
                    break;
                }
                waiter.wait().await;
            }
            let _ = me.send(FutureReplicaMsg::Copy).await;
        });
    }
}

fn open_or_begin_anew(
    future: &FutureLog,
    hosted: &Hosted,
    config: &LogConfig,
    options: OpenOptions,
    topic_id: Uuid,
) -> Result<Log, OpenLogError> {
    let (disk, path) = (future.dir.disk(), &future.path);
    future.make(hosted, topic_id)?;
    let open = |options| -> Result<Log, OpenLogError> {
        let log = open_log(disk.clone(), path.clone(), config.clone(), options, topic_id)?;
        // What is gone of it is copied again; where there is no room, so is the waiting for some.
        match rewrite_if_unsynced(&future.dir, path, log, 0)? {
            (log, None) => Ok(log),
            (_, Some(error)) => Err(error.into()),
        }
    };
    let opened = match open(options) {
        Err(error) if error.disk().is_none() => {
            tracing::warn!(%error, "the copy is begun anew");
            future.lower(hosted, 0)?;
            empty(&**disk, path, topic_id)?;
            open(OpenOptions { recovery_point: 0, ..options })?
        }
        opened => opened?,
    };
    if future.is_unwanted() {
        // It was perhaps noted before the directory was there.
        note_called_off(&**disk, path)?;
    }
    Ok(opened)
}

/// But for the note that it was called off, which may be written meanwhile, and for what says whose it is, without which Kafka would not
/// start.
fn empty(disk: &dyn Disk, path: &Path, topic_id: Uuid) -> Result<(), DiskError> {
    let known = matches!(read_partition_metadata(disk, path), Ok(Some(id)) if id == topic_id);
    let stays = |name: &str| name == CALLED_OFF || known && name == PARTITION_METADATA_FILE;
    let files = disk.list(path)?.into_iter().filter(|entry| !stays(&entry.name));
    files.map(|entry| path.join(entry.name)).try_for_each(|file| disk.remove_file(&file))?;
    disk.sync_dir(path)
}

/// Why a copy does not go on.
enum CopyFailed {
    /// It is tried again.
    ForNow(DiskError),
    ForGood(Failure),
}

impl From<CopyError> for CopyFailed {
    fn from(error: CopyError) -> CopyFailed {
        match error.disk().filter(|error| error.may_pass()) {
            Some(error) => CopyFailed::ForNow(error.clone()),
            None => CopyFailed::ForGood(error.into()),
        }
    }
}

impl From<Failure> for CopyFailed {
    fn from(failure: Failure) -> CopyFailed {
        CopyFailed::ForGood(failure)
    }
}

//! FutureReplica: copies a replica's log into another directory of this node, until it is caught up (KIP-113).
//!
//! Supervisor: `partitions`. It owns the log that grows, and reads the other one past its actor; the two change places while both
//! rest: see `partition/promote`. Source: `ReplicaAlterLogDirsThread`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{Disk, DiskError};
use log::{AppendError, Log, LogConfig, LogView, OpenError, OpenOptions, ReadError, TruncateError};
use model::settings::Values;
use runtime::{Actor, Cx, Failure, Outcome, Ref, Waiter, Watch};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoints::{Checkpoint, Offsets};
use crate::handle::PartitionHandle;
use crate::log_dirs::LogDirState;
use crate::partition::{log_config, open_log};
use crate::partitions::PartitionsMsg;

/// Copied at once.
const PIECE: usize = 1 << 20;
/// What was copied since reaches the disk: after a crash the copy goes on from there.
const SYNC_EVERY: u64 = 64 << 20;
/// While the log that is copied cannot be read.
const RETRY: Duration = Duration::from_millis(100);

/// A copy that is to take a replica's place, as others see it.
#[derive(Debug)]
pub struct FutureLog {
    pub dir: Arc<LogDirState>,
    pub path: PathBuf,
    /// How far the log that is copied was compacted when the copy began.
    pub(crate) cleaned: Option<i64>,
    size: AtomicU64,
    log_end: AtomicI64,
    recovery_point: AtomicI64,
    caught_up: AtomicBool,
    /// Its log was closed in order.
    closed: AtomicBool,
}

impl FutureLog {
    /// One that begins, or of which something is known from before.
    pub(crate) fn new(
        dir: Arc<LogDirState>,
        path: PathBuf,
        cleaned: Option<i64>,
        known: Offsets,
    ) -> FutureLog {
        let known = |checkpoint| AtomicI64::new(known.get(checkpoint).unwrap_or(0));
        FutureLog {
            dir,
            path,
            cleaned,
            size: AtomicU64::new(0),
            log_end: known(Checkpoint::HighWatermarks),
            recovery_point: known(Checkpoint::RecoveryPoints),
            caught_up: AtomicBool::new(false),
            closed: AtomicBool::new(false),
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
            Checkpoint::Cleaned => self.cleaned,
        })
    }

    /// It had everything at some moment; since then it follows.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// What all copies of a node share: so many copy at a time, and no more bytes a second.
#[derive(Debug)]
pub(crate) struct MoveQuota {
    slots: Arc<Semaphore>,
    /// When the bytes copied so far may have been.
    paid_until: Mutex<Duration>,
}

impl MoveQuota {
    pub(crate) fn new(slots: usize) -> MoveQuota {
        MoveQuota { slots: Arc::new(Semaphore::new(slots.max(1))), paid_until: Mutex::default() }
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
    pub(crate) future: Arc<FutureLog>,
    pub(crate) quota: Arc<MoveQuota>,
    pub(crate) settings: Watch<Values>,
    pub(crate) parent: Ref<PartitionsMsg>,
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
    log: Log,
    /// While it copies what was there when it began.
    permit: Option<OwnedSemaphorePermit>,
    /// Bytes that were copied since the last sync.
    unsynced: u64,
}

impl Actor for FutureReplica {
    const KIND: &'static str = "future-replica";
    type Msg = FutureReplicaMsg;
    type Args = FutureReplicaArgs;

    async fn start(cx: &mut Cx<Self>, args: FutureReplicaArgs) -> Result<Self, Failure> {
        let (handle, future) = (&args.handle, args.future.clone());
        let mut jitter = cx.world().random("segment jitter");
        let config = log_config(handle, &handle.config(), &mut jitter);
        let options = OpenOptions {
            log_start_offset: handle.log_start_offset(),
            recovery_point: future.recovery_point.load(Ordering::Acquire),
            now_ms: cx.world().now().wall_ms,
            ..OpenOptions::default()
        };
        let topic_id = handle.topic_id;
        let job = move || {
            open_log(future.dir.disk().clone(), future.path.clone(), config, options, topic_id)
        };
        let log = cx.world().blocking("open future log", job).await??;
        let (me, slots) = (cx.me().clone(), args.quota.slots.clone());
        cx.spawn_task(async move {
            if let Ok(permit) = slots.acquire_owned().await {
                let _ = me.send(FutureReplicaMsg::Permitted { permit }).await;
            }
        });
        let replica = FutureReplica { args, log, permit: None, unsynced: 0 };
        replica.show();
        Ok(replica)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: FutureReplicaMsg) -> Outcome {
        if let FutureReplicaMsg::Permitted { permit } = msg {
            self.permit = Some(permit);
        }
        let Some(source) = self.args.handle.view() else {
            cx.send_after(RETRY, FutureReplicaMsg::Copy);
            return Ok(());
        };
        let copied = copy_piece(&mut self.log, &source, cx.world().now().wall_ms)?;
        self.unsynced += copied;
        if self.unsynced >= SYNC_EVERY {
            self.sync(cx).await?;
        }
        self.show();
        if self.log.log_end_offset() >= source.log_end_offset() {
            return self.caught_up(cx).await;
        }
        let rate = model::node_config::alter_log_dirs_rate(&self.args.settings.get());
        let delay = self.args.quota.delay(copied, rate, cx.world().mono());
        cx.send_after(delay, FutureReplicaMsg::Copy);
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        let closed = self
            .log
            .closing()
            .map(|job| (job.end_offset(), cx.world().blocking("close", move || job.run())));
        let closed = match closed {
            Ok((end, job)) => {
                let closed = matches!(job.await, Ok(Ok(())));
                self.args.future.log_end.store(end, Ordering::Release);
                closed
            }
            Err(_) => false,
        };
        self.args.future.closed.store(closed, Ordering::Release);
    }

    fn state_line(&self) -> String {
        let (end, of) = (self.log.log_end_offset(), self.args.handle.log_end_offset());
        format!("offset {end} of {of}, to {}", self.args.future.path.display())
    }
}

impl FutureReplica {
    fn show(&self) {
        let future = &self.args.future;
        future.size.store(self.log.size(), Ordering::Release);
        future.log_end.store(self.log.log_end_offset(), Ordering::Release);
        future.recovery_point.store(self.log.recovery_point(), Ordering::Release);
    }

    async fn sync(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.unsynced = 0;
        if let Some(job) = self.log.sync_job() {
            let synced = cx.world().blocking("sync", move || job.run().map(|()| job)).await??;
            self.log.synced(&synced);
        }
        Ok(())
    }

    /// The next wait for a place is another's; what is appended from now on is followed.
    async fn caught_up(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.permit = None;
        if !self.args.future.caught_up.swap(true, Ordering::AcqRel) {
            self.sync(cx).await?;
            self.show();
            let partition = &self.args.handle.topic_partition;
            let told = PartitionsMsg::FutureCaughtUp { partition: partition.clone() };
            // Where it has ended, so does this one.
            let _ = self.args.parent.send(told).await;
        }
        let (me, handle, end) =
            (cx.me().clone(), self.args.handle.clone(), self.log.log_end_offset());
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
        Ok(())
    }
}

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("nothing follows offset {0}, which is not the end")]
    Hole(i64),
}

/// Brings the copy nearer to the log: drops what that one does not have (any more), and appends what comes next. How many
/// bytes that was.
fn copy_piece(log: &mut Log, source: &LogView, now_ms: i64) -> Result<u64, CopyError> {
    let (start, end) = (source.log_start_offset(), source.log_end_offset());
    match log.leader_epochs().latest() {
        Some(latest) => match source.end_offset_for_epoch(latest.epoch) {
            Some(known)
                if known.epoch < latest.epoch || known.end_offset < log.log_end_offset() =>
            {
                log.truncate_to(known.end_offset.min(log.log_end_offset()), now_ms)?;
            }
            Some(_) => {}
            None => log.truncate_fully_and_start_at(start, now_ms)?,
        },
        None if log.log_end_offset() > end => log.truncate_fully_and_start_at(start, now_ms)?,
        None => {}
    }
    if log.log_end_offset() < start {
        log.truncate_fully_and_start_at(start, now_ms)?;
    }
    let mut copied = 0;
    if log.log_end_offset() < end {
        let from = log.log_end_offset();
        let bytes = source.read_bytes(from, PIECE, true, end)?;
        let mut batches = Vec::new();
        for batch in wire::batch::batches(bytes) {
            batches.extend(batch.ok().filter(|batch| batch.header().last_offset() >= from));
        }
        let first = batches.first().ok_or(CopyError::Hole(from))?.header().base_offset;
        if first < from {
            // The log starts within a batch.
            log.truncate_fully_and_start_at(first, now_ms)?;
        }
        copied = batches.iter().map(|batch| batch.size() as u64).sum();
        log.append(&batches, now_ms)?;
    }
    if log.log_start_offset() < start {
        log.advance_log_start(start);
    }
    Ok(copied)
}

/// What is left of a copy that was caught up, closed and rests: the rest of the log is appended, and everything is durable
/// after it. Answers up to where.
pub(crate) fn finish_copy(
    disk: &Arc<dyn Disk>,
    future: &FutureLog,
    source: &LogView,
    config: LogConfig,
    now_ms: i64,
) -> Result<i64, CopyError> {
    let options = OpenOptions {
        clean: true,
        log_start_offset: source.log_start_offset(),
        recovery_point: future.log_end_offset(),
        now_ms,
        ..OpenOptions::default()
    };
    let (mut log, _) = Log::open(disk.clone(), future.path.clone(), config, options)?;
    loop {
        copy_piece(&mut log, source, now_ms)?;
        if log.log_end_offset() >= source.log_end_offset() {
            let closing = log.closing()?;
            closing.run()?;
            return Ok(closing.end_offset());
        }
    }
}

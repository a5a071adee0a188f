//! LogCleaner: decides which compacted log of a log directory is cleaned next, and remembers those that cannot be. The passes
//! themselves run with the partitions.
//!
//! Supervisor: `storage`. Bound: as many passes at a time, over all directories, as `log.cleaner.threads` says.
//! Source: `LogCleaner`, `LogCleanerManager`. Departs: each directory has its own, so that one whose disk hangs holds up no other;
//! of several logs those that are overdue come first.

mod pick;
mod throttle;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use log::{CleanerStats, CompactionError, LogToClean, ReadError};
use model::TopicPartition;
use model::node_config::CleanerConfig;
use model::settings::Values;
use runtime::{
    Actor, Counter, Cx, Dropped, Failure, Gauge, JobLost, Map, Outcome, Reply, TimerId, Watch,
};

use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::log_dirs::LogDirState;
use crate::partition::PartitionMsg;
use crate::room::Room;
use crate::uncleanable::Uncleanable;
use pick::{Candidate, Dirty, due};
pub use throttle::{Throttle, names_replica};
pub use turns::CleanerTurns;
pub(crate) use turns::Turn;

/// Where room is short what is dirty is looked for as often, at least, unless a pass failed.
const SHORT_OF_ROOM: Duration = Duration::from_secs(1);

/// So many logs that were given up are named in its line.
const MOST_SHOWN: usize = 20;

#[derive(Clone)]
pub struct LogCleanerArgs {
    /// The place of its directory in `log.dirs`.
    pub index: usize,
    pub dir: Arc<LogDirState>,
    /// One for all.
    pub turns: Arc<CleanerTurns>,
    pub hosted: Arc<Hosted>,
    pub settings: Watch<Values>,
}

/// What the cleaner asks of a partition.
pub struct CleanRequest {
    pub(crate) to_clean: LogToClean,
    /// What `to_clean` was worked out with.
    pub(crate) checkpoint: Option<i64>,
    pub(crate) buffers: Buffers,
    pub(crate) turn: Turn,
    pub(crate) reply: Reply<PassResult>,
}

/// One pass's share of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffers {
    pub dedupe_bytes: usize,
    pub load_factor: f64,
    pub io_bytes: usize,
}

pub type PassResult = Result<CleanerStats, PassFailed>;

/// Why a pass ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassFailed {
    /// The log changed under it, or its partition went away: another may come.
    #[error("the log has changed")]
    Aborted,
    /// Nothing is wrong with the log.
    #[error("{0}")]
    NoRoom(String),
    /// It would fail again: the partition is uncleanable until the node starts anew.
    #[error("{0}")]
    Uncleanable(String),
}

impl From<CompactionError> for PassFailed {
    fn from(error: CompactionError) -> PassFailed {
        match &error {
            CompactionError::Disk(inner) | CompactionError::Read(ReadError::Disk(inner))
                if inner.may_pass() =>
            {
                PassFailed::NoRoom(error.to_string())
            }
            CompactionError::MapTooSmall { .. } => PassFailed::NoRoom(error.to_string()),
            _ => PassFailed::Uncleanable(error.to_string()),
        }
    }
}

impl From<JobLost> for PassFailed {
    fn from(lost: JobLost) -> PassFailed {
        match lost {
            JobLost::Stopping => PassFailed::Aborted,
            JobLost::Panicked(_) => PassFailed::Uncleanable(lost.to_string()),
        }
    }
}

pub enum LogCleanerMsg {
    /// Settings may have changed.
    Resettled,
    /// The backoff is over.
    Look,
    /// A pass is over, perhaps another directory's: who waits may have its turn.
    Freed,
    /// From itself: how dirty the logs are.
    Found { dirty: Vec<Dirty> },
    /// A pass is over.
    Ended { partition: TopicPartition, result: PassResult },
}

runtime::messages!(LogCleanerMsg { Resettled, Look, Freed, Found, Ended });

pub struct LogCleaner {
    args: LogCleanerArgs,
    config: CleanerConfig,
    /// Under way.
    passes: Map<TopicPartition, ()>,
    looking: bool,
    /// There is something to do, and others have their turn.
    waits: bool,
    timer: Option<TimerId>,
    last_failure: Option<String>,
    numbers: Numbers,
}

struct Numbers {
    passes: Counter,
    bytes_read: Counter,
    bytes_written: Counter,
    max_dirty_percent: Gauge,
    uncleanable_partitions: Gauge,
    max_compaction_delay_ms: Gauge,
    buffer_utilization_percent: Gauge,
}

impl Actor for LogCleaner {
    const KIND: &'static str = "log-cleaner";
    type Msg = LogCleanerMsg;
    type Args = LogCleanerArgs;

    async fn start(cx: &mut Cx<Self>, args: LogCleanerArgs) -> Result<Self, Failure> {
        cx.queue_jobs_in(args.dir.queue());
        let (me, mut settings) = (cx.me().clone(), args.settings.clone());
        cx.spawn_task(async move {
            loop {
                settings.changed().await;
                if me.send(LogCleanerMsg::Resettled).await.is_err() {
                    return;
                }
            }
        });
        let (me, mut freed) = (cx.me().clone(), args.turns.freed());
        cx.spawn_task(async move {
            loop {
                freed.changed().await;
                if me.send(LogCleanerMsg::Freed).await.is_err() {
                    return;
                }
            }
        });
        let config = CleanerConfig::new(&args.settings.get());
        args.turns.leave(args.index);
        // What one before this had given up is tried again.
        args.dir.uncleanable.clear();
        args.turns.throttle.hold_to(config.io_max_bytes_per_second);
        let mut cleaner = LogCleaner {
            config,
            args,
            passes: Map::new(),
            looking: false,
            waits: false,
            timer: None,
            last_failure: None,
            numbers: Numbers {
                passes: cx.counter("passes"),
                bytes_read: cx.counter("bytes_read"),
                bytes_written: cx.counter("bytes_written"),
                max_dirty_percent: cx.gauge("max_dirty_percent"),
                uncleanable_partitions: cx.gauge("uncleanable_partitions"),
                max_compaction_delay_ms: cx.gauge("max_compaction_delay_ms"),
                buffer_utilization_percent: cx.gauge("buffer_utilization_percent"),
            },
        };
        cleaner.rest(cx);
        Ok(cleaner)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: LogCleanerMsg) -> Outcome {
        match msg {
            LogCleanerMsg::Resettled => {
                let config = CleanerConfig::new(&self.args.settings.get());
                if config != self.config {
                    self.config = config;
                    self.args.turns.throttle.hold_to(config.io_max_bytes_per_second);
                    self.rest(cx);
                }
            }
            LogCleanerMsg::Look => {
                self.timer = None;
                self.look(cx);
            }
            LogCleanerMsg::Freed => {
                if self.waits {
                    self.look(cx);
                }
            }
            LogCleanerMsg::Found { dirty } => self.found(cx, dirty).await,
            LogCleanerMsg::Ended { partition, result } => self.ended(cx, partition, result),
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        if !self.config.enabled {
            return "off: log.cleaner.enable is false".to_owned();
        }
        let passes: Vec<String> = self.passes.keys().map(ToString::to_string).collect();
        let mut line = match (passes.is_empty(), self.waits) {
            (true, false) => "at rest".to_owned(),
            (true, true) => "waits for its turn".to_owned(),
            (false, _) => format!("compacting {}", passes.join(", ")),
        };
        if let Some(failure) = &self.last_failure {
            line += &format!("; last pass: {failure}");
        }
        for (partition, given_up) in self.args.dir.uncleanable.first(MOST_SHOWN) {
            line += &format!("; UNCLEANABLE {partition}: {}", given_up.why);
        }
        line
    }
}

impl LogCleaner {
    /// Looks again after `log.cleaner.backoff.ms`, or sooner.
    fn rest(&mut self, cx: &mut Cx<Self>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        let mut backoff = Duration::from_millis(self.config.backoff_ms.max(1).unsigned_abs());
        if self.args.dir.room() >= Room::Short && self.last_failure.is_none() {
            backoff = backoff.min(SHORT_OF_ROOM);
        }
        self.timer = Some(cx.send_after(backoff, LogCleanerMsg::Look));
    }

    fn look(&mut self, cx: &mut Cx<Self>) {
        if !self.config.enabled || self.looking || self.passes.len() >= self.config.threads {
            return;
        }
        let hosted = &self.args.hosted;
        self.args.dir.uncleanable.retain(|partition, given_up| {
            let handle = hosted.get_by_id(given_up.topic_id, partition.partition);
            handle.is_some_and(|handle| {
                let is_here = Arc::ptr_eq(&handle.log_dir(), &self.args.dir);
                is_here && handle.config().cleanup_policy.compact
            })
        });
        self.count_uncleanable();
        let candidates: Vec<Candidate> = hosted
            .all()
            .into_iter()
            .filter(|handle| Arc::ptr_eq(&handle.log_dir(), &self.args.dir))
            .filter(|handle| !self.passes.contains_key(&handle.topic_partition))
            .filter(|handle| !self.args.dir.uncleanable.has(&handle.topic_partition))
            .filter_map(Candidate::of)
            .collect();
        if candidates.is_empty() {
            self.waits = false;
            self.args.turns.leave(self.args.index);
            return self.rest(cx);
        }
        self.looking = true;
        let now_ms = cx.world().now().wall_ms;
        let job =
            move || candidates.into_iter().map(|found| found.measure(now_ms)).collect::<Vec<_>>();
        cx.job("look for dirty logs", job, |dirty| LogCleanerMsg::Found {
            dirty: dirty.unwrap_or_default(),
        });
    }

    async fn found(&mut self, cx: &mut Cx<Self>, dirty: Vec<Dirty>) {
        self.looking = false;
        let percent = |dirty: &Dirty| (100.0 * dirty.ratio()) as i64;
        self.numbers.max_dirty_percent.set(dirty.iter().map(percent).max().unwrap_or(0));
        let delay = dirty.iter().map(Dirty::delay_ms).max().unwrap_or(0);
        self.numbers.max_compaction_delay_ms.set(delay);
        for Dirty { candidate, found } in &dirty {
            match found {
                Err(PassFailed::Uncleanable(why)) => {
                    self.give_up(cx, &candidate.handle, why.clone());
                }
                Err(PassFailed::NoRoom(why)) => {
                    self.put_off(&candidate.handle.topic_partition, why)
                }
                Err(PassFailed::Aborted) | Ok(_) => {}
            }
            // As deletions of compacted logs are the cleaner's to see to. One that is down does so when it is back.
            let _ = candidate.handle.address().send(PartitionMsg::Retain).await;
            if candidate.waits_for_sync() {
                let _ = candidate.handle.address().send(PartitionMsg::SyncDue).await;
            }
        }
        let dirty = due(dirty, self.args.dir.room() == Room::Full);
        self.waits = false;
        if dirty.is_empty() {
            self.args.turns.leave(self.args.index);
            return self.rest(cx);
        }
        for dirty in dirty {
            let (now, most) = (cx.world().mono(), self.config.threads);
            let Some(turn) = self.args.turns.take(self.args.index, most, now) else {
                self.waits = true;
                return self.rest(cx);
            };
            self.clean(cx, dirty, turn).await;
        }
        self.look(cx);
    }

    async fn clean(&mut self, cx: &mut Cx<Self>, dirty: Dirty, turn: Turn) {
        let Dirty { candidate: Candidate { handle, checkpoint, .. }, found } = dirty;
        let Ok(to_clean) = found else { return };
        let partition = handle.topic_partition.clone();
        let (me, of) = (cx.me().clone(), partition.clone());
        let sink = move |_, result: Result<PassResult, Dropped>| {
            let result = result.unwrap_or(Err(PassFailed::Aborted));
            // A successor finds out by itself.
            let _ = me.send_now(LogCleanerMsg::Ended { partition: of.clone(), result });
        };
        let reply = Reply::to_sink(Arc::new(sink), 0);
        let threads = self.config.threads.max(1);
        let share = |bytes: i64| usize::try_from(bytes).unwrap_or(0) / threads;
        let buffers = Buffers {
            dedupe_bytes: share(self.config.dedupe_buffer_bytes),
            load_factor: self.config.load_factor,
            io_bytes: share(i64::from(self.config.io_buffer_bytes)),
        };
        let asked = Box::new(CleanRequest { to_clean, checkpoint, buffers, turn, reply });
        self.passes.insert(partition, ());
        // One that cannot be sent drops its reply, which ends the pass.
        let _ = handle.address().send(PartitionMsg::Clean { asked }).await;
    }

    fn ended(&mut self, cx: &mut Cx<Self>, partition: TopicPartition, result: PassResult) {
        self.passes.remove(&partition);
        self.last_failure = None;
        match result {
            Ok(stats) => {
                self.numbers.passes.add(1);
                self.numbers.bytes_read.add(stats.map_bytes_read + stats.bytes_read);
                self.numbers.bytes_written.add(stats.bytes_written);
                let utilization = (100.0 * stats.buffer_utilization) as i64;
                self.numbers.buffer_utilization_percent.set(utilization);
                // Where there was nothing to do there is no hurry.
                if stats.bytes_read > 0 {
                    return self.look(cx);
                }
            }
            Err(PassFailed::Aborted) => {}
            Err(PassFailed::NoRoom(why)) => self.put_off(&partition, &why),
            Err(PassFailed::Uncleanable(why)) => {
                if let Some(handle) = self.args.hosted.get(&partition.topic, partition.partition) {
                    self.give_up(cx, &handle, why);
                }
            }
        }
        self.rest(cx);
    }

    fn put_off(&mut self, partition: &TopicPartition, why: &str) {
        tracing::warn!(%partition, why, "not compacted");
        self.last_failure = Some(format!("{partition}: {why}"));
    }

    fn give_up(&mut self, cx: &Cx<Self>, handle: &PartitionHandle, why: String) {
        let partition = &handle.topic_partition;
        let since_ms = cx.world().now().wall_ms;
        tracing::error!(%partition, why, "the log cannot be compacted, and is left alone");
        let given_up = Uncleanable { topic_id: handle.topic_id, why, since_ms };
        self.args.dir.uncleanable.add(partition.clone(), given_up);
        self.count_uncleanable();
    }

    fn count_uncleanable(&self) {
        self.numbers.uncleanable_partitions.set(self.args.dir.uncleanable.count());
    }
}

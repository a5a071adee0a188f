//! What others hold of a partition: it outlives the restarts of the partition's actor.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use log::{LogView, partition_dir_name};
use machines::partition::{Acks, AppendError, Appended, Leadership, Origin, ReplicaState};
use model::settings::TopicConfig;
use model::{LeaderEpoch, NodeId, TopicPartition, Uuid};
use runtime::{Address, Answer, Dead, Held, Pulse, Reply};
use wire::batch::RecordBatch;

use crate::assignments::ReplicaName;
use crate::checkpoints::{Checkpoint, Offsets};
use crate::followers::FollowersCell;
use crate::future::FutureLog;
use crate::log_dirs::LogDirState;
use crate::partition::PartitionMsg;
use crate::traffic::TopicTraffic;

/// One batch for a leader.
pub struct Append {
    pub batch: RecordBatch,
    pub acks: Acks,
    pub origin: Origin,
    /// Set by coordinators: append under this leader epoch or not at all.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Keeps the memory of the bytes accounted for until they are written.
    pub held: Option<Held>,
}

/// An [`Append`], and whom to answer.
pub struct Appending {
    pub append: Append,
    pub reply: Reply<AppendResult>,
}

pub type AppendResult = Result<Appended, AppendError>;

/// What a replica is at the moment.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Its actor starts, recovers its log, or restarts after a failure.
    Starting,
    Leader(Serving),
    Follower(Serving),
    /// It cannot be served until somebody intervenes.
    Offline {
        reason: String,
    },
}

/// The log that readers may read, and under which leader epoch.
#[derive(Debug, Clone)]
pub struct Serving {
    pub leader_epoch: LeaderEpoch,
    pub view: Arc<LogView>,
}

/// One replica of a partition on this node.
#[derive(Debug)]
pub struct PartitionHandle {
    pub topic_partition: TopicPartition,
    pub topic_id: Uuid,
    address: Address<PartitionMsg>,
    standing: ArcSwap<Standing>,
    config: ArcSwap<TopicConfig>,
    leader_epoch: AtomicI32,
    log_start: AtomicI64,
    log_end: AtomicI64,
    high_watermark: AtomicI64,
    last_stable: AtomicI64,
    followers: FollowersCell,
    /// Published when any of the offsets, or the standing, has moved.
    pulse: Pulse,
    /// Everything below is on the disk.
    recovery_point: AtomicI64,
    /// No checkpoint said how far that is, and the log was not opened yet.
    no_recovery_point: AtomicBool,
    /// Everything below was compacted; -1 where it never was.
    cleaned: AtomicI64,
    /// When it was last looked what retention gives up, or the log was opened first; unix milliseconds.
    looked: AtomicI64,
    log_dir: ArcSwap<LogDirState>,
    /// Where it is being moved to.
    future: ArcSwapOption<FutureLog>,
    /// Why the last move was given up.
    called_off: ArcSwapOption<String>,
    /// Why its fetcher does not fetch it.
    trouble: ArcSwapOption<Trouble>,
    /// What the controller last said, for an actor that starts.
    role: ArcSwapOption<Role>,
    /// An actor of this process has opened the log before: what it wrote needs no recovery from a crash.
    opened: AtomicBool,
    /// Nobody has to do with the log, and it needs no recovery.
    closed: AtomicBool,
    /// Its log is being cut: where an actor failed amid that, the directory may not know yet.
    truncating: AtomicBool,
    deleted: AtomicBool,
    /// Of its topic, from when it is in the directory of replicas.
    traffic: OnceLock<Arc<TopicTraffic>>,
}

/// Why a follower is not fetched, and since when, unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub why: String,
    pub since_ms: i64,
}

/// What the controller wants of a replica.
#[derive(Debug, Clone)]
pub enum Role {
    Lead(Leadership),
    Follow { leader_epoch: LeaderEpoch, partition_epoch: i32 },
}

impl Role {
    fn leader_epoch(&self) -> LeaderEpoch {
        match self {
            Role::Lead(leadership) => leadership.leader_epoch,
            Role::Follow { leader_epoch, .. } => *leader_epoch,
        }
    }
}

impl PartitionHandle {
    pub(crate) fn new(
        topic_partition: TopicPartition,
        topic_id: Uuid,
        config: Arc<TopicConfig>,
        log_dir: Arc<LogDirState>,
        address: Address<PartitionMsg>,
    ) -> PartitionHandle {
        PartitionHandle {
            topic_partition,
            topic_id,
            address,
            standing: ArcSwap::from_pointee(Standing::Starting),
            config: ArcSwap::new(config),
            leader_epoch: AtomicI32::new(-1),
            log_start: AtomicI64::new(0),
            log_end: AtomicI64::new(0),
            high_watermark: AtomicI64::new(0),
            last_stable: AtomicI64::new(0),
            followers: FollowersCell::default(),
            pulse: Pulse::new(),
            recovery_point: AtomicI64::new(0),
            no_recovery_point: AtomicBool::new(true),
            cleaned: AtomicI64::new(-1),
            looked: AtomicI64::new(-1),
            closed: AtomicBool::new(log_dir.clean),
            log_dir: ArcSwap::new(log_dir),
            future: ArcSwapOption::empty(),
            called_off: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
            role: ArcSwapOption::empty(),
            opened: AtomicBool::new(false),
            truncating: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            traffic: OnceLock::new(),
        }
    }

    /// Puts a batch into the leader's mailbox. The answer comes when `acks` hold; it is dropped if the actor fails before.
    pub async fn append(&self, append: Append) -> Result<Answer<AppendResult>, AppendError> {
        let (reply, answer) = Reply::new();
        let asked = Box::new(Appending { append, reply });
        let sent = self.address.send(PartitionMsg::Append { asked }).await;
        sent.map_err(|Dead(_)| AppendError::NotLeader)?;
        Ok(answer)
    }

    pub fn address(&self) -> &Address<PartitionMsg> {
        &self.address
    }

    /// With its directory a replica is offline, whatever its actor says.
    pub fn standing(&self) -> Arc<Standing> {
        match self.log_dir.load().failure() {
            Some(why) => Arc::new(Standing::Offline { reason: why.to_owned() }),
            None => self.standing.load_full(),
        }
    }

    /// The log as readers see it; none while its actor starts, or when it is offline.
    pub fn view(&self) -> Option<Arc<LogView>> {
        match &*self.standing() {
            Standing::Leader(serving) | Standing::Follower(serving) => Some(serving.view.clone()),
            Standing::Starting | Standing::Offline { .. } => None,
        }
    }

    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    pub fn log_end_offset(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    pub fn last_stable_offset(&self) -> i64 {
        self.last_stable.load(Ordering::Acquire)
    }

    /// For long polls: wakes when there may be more to read.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub fn log_dir(&self) -> Arc<LogDirState> {
        self.log_dir.load_full()
    }

    /// The copy in another directory that is to take its place; shown by DescribeLogDirs meanwhile.
    pub fn future(&self) -> Option<Arc<FutureLog>> {
        self.future.load_full()
    }

    pub(crate) fn set_future(&self, future: Option<Arc<FutureLog>>) {
        self.future.store(future);
    }

    /// Why the last move was given up, until another begins.
    pub(crate) fn called_off(&self) -> Option<Arc<String>> {
        self.called_off.load_full()
    }

    pub(crate) fn set_called_off(&self, why: Option<String>) {
        self.called_off.store(why.map(Arc::new));
    }

    /// The copy is the replica's log from here on, and durable up to its end.
    pub(crate) fn promote(&self, future: &FutureLog, end: i64) {
        self.log_dir.store(future.dir.clone());
        self.future.store(None);
        self.set_recovery_point(end);
        self.set_cleaned(future.cleaned(self).unwrap_or(-1));
    }

    pub(crate) fn count_in(&self, traffic: Arc<TopicTraffic>) {
        let _ = self.traffic.set(traffic);
    }

    /// Where what goes in and out of it is counted.
    pub fn traffic(&self) -> &TopicTraffic {
        self.traffic.get_or_init(Arc::default)
    }

    pub fn trouble(&self) -> Option<Arc<Trouble>> {
        self.trouble.load_full()
    }

    /// One that lasts keeps its beginning, whatever comes of it.
    pub(crate) fn set_trouble(&self, why: Option<&str>, now_ms: i64) {
        let before = self.trouble.load();
        let same = before.as_ref().map(|trouble| trouble.why.as_str()) == why;
        if !same {
            let since_ms = before.as_ref().map_or(now_ms, |trouble| trouble.since_ms);
            let trouble = |why: &str| Arc::new(Trouble { why: why.to_owned(), since_ms });
            self.trouble.store(why.map(trouble));
        }
    }

    pub fn looked_at_retention_ms(&self) -> i64 {
        self.looked.load(Ordering::Acquire)
    }

    pub(crate) fn looked_at_retention(&self, now_ms: i64) {
        self.looked.store(now_ms, Ordering::Release);
    }

    /// What a leader knows of the others.
    pub fn known_followers(&self) -> Vec<(NodeId, ReplicaState)> {
        self.followers.all()
    }

    pub(crate) fn followers(&self) -> &FollowersCell {
        &self.followers
    }

    pub(crate) fn name(&self) -> ReplicaName {
        (self.topic_id, self.topic_partition.partition)
    }

    pub(crate) fn dir_name(&self) -> String {
        partition_dir_name(&self.topic_partition)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.log_dir.load().path.join(self.dir_name())
    }

    pub fn recovery_point(&self) -> i64 {
        self.recovery_point.load(Ordering::Acquire)
    }

    /// What the checkpoint files should say of it.
    pub(crate) fn offsets(&self) -> Offsets {
        Offsets::new(|checkpoint| match checkpoint {
            Checkpoint::RecoveryPoints => {
                Some(self.recovery_point()).filter(|_| !self.has_no_recovery_point())
            }
            Checkpoint::LogStarts => Some(self.log_start_offset()).filter(|offset| *offset > 0),
            Checkpoint::HighWatermarks => Some(self.high_watermark()),
            Checkpoint::Cleaned => self.cleaned(),
        })
    }

    /// What they said of it, until its log is opened.
    pub(crate) fn recall(&self, known: Offsets) {
        let recovery_point = known.get(Checkpoint::RecoveryPoints);
        self.no_recovery_point.store(recovery_point.is_none(), Ordering::Release);
        self.set_recovery_point(recovery_point.unwrap_or(0));
        self.set_log_start(known.get(Checkpoint::LogStarts).unwrap_or(0));
        self.set_high_watermark(known.get(Checkpoint::HighWatermarks).unwrap_or(0));
        self.set_cleaned(known.get(Checkpoint::Cleaned).unwrap_or(-1));
    }

    /// Where the part of a compacted log begins that was not compacted yet.
    pub(crate) fn cleaned(&self) -> Option<i64> {
        Some(self.cleaned.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// Before the log is cut to `end`, and durable up to `durable` then: the checkpoints that are to say so, durably.
    pub(crate) fn lower(&self, durable: i64, end: i64) -> Vec<Checkpoint> {
        let mut lowered = Vec::new();
        if durable < self.recovery_point() {
            self.set_recovery_point(durable);
            lowered.push(Checkpoint::RecoveryPoints);
        }
        if self.cleaned().is_some_and(|cleaned| cleaned > end) {
            // What is appended there next was never compacted.
            self.set_cleaned(end);
            lowered.push(Checkpoint::Cleaned);
        }
        lowered
    }

    pub(crate) fn set_cleaned(&self, offset: i64) {
        self.cleaned.store(offset, Ordering::Release);
    }

    pub(crate) fn role(&self) -> Option<Arc<Role>> {
        self.role.load_full()
    }

    /// That of its role, also where no actor takes it on.
    pub(crate) fn wanted_epoch(&self) -> LeaderEpoch {
        self.role().map_or(self.leader_epoch(), |role| role.leader_epoch())
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.role.store(Some(Arc::new(role)));
        self.pulse.publish();
    }

    /// Whether this is the first time that an actor opens the log.
    pub(crate) fn was_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    pub(crate) fn set_opened(&self) {
        self.opened.store(true, Ordering::Release);
        self.no_recovery_point.store(false, Ordering::Release);
    }

    pub(crate) fn has_no_recovery_point(&self) -> bool {
        self.no_recovery_point.load(Ordering::Acquire)
    }

    pub(crate) fn is_truncating(&self) -> bool {
        self.truncating.load(Ordering::Acquire)
    }

    pub(crate) fn set_truncating(&self, truncating: bool) {
        self.truncating.store(truncating, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Release);
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.pulse.publish();
    }

    pub(crate) fn set_recovery_point(&self, offset: i64) {
        self.recovery_point.store(offset, Ordering::Release);
    }

    pub(crate) fn set_config(&self, config: Arc<TopicConfig>) {
        self.config.store(config);
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        if let Standing::Leader(serving) | Standing::Follower(serving) = &standing {
            self.leader_epoch.store(serving.leader_epoch.0, Ordering::Release);
        }
        self.standing.store(Arc::new(standing));
        self.pulse.publish();
    }

    pub(crate) fn set_log_start(&self, offset: i64) {
        self.log_start.store(offset, Ordering::Release);
    }

    pub(crate) fn set_log_end(&self, offset: i64) {
        self.log_end.store(offset, Ordering::Release);
    }

    pub(crate) fn set_high_watermark(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
    }

    pub(crate) fn set_last_stable(&self, offset: i64) {
        self.last_stable.store(offset, Ordering::Release);
    }

    pub(crate) fn publish(&self) {
        self.pulse.publish();
    }
}

//! The log directories of a node: what each was found to hold, and which of them can still be used.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskError, DiskWatch, WatchedDisk};
use log::{CleanShutdown, Survival, expect_others_to_write};
use model::node_config::cordoned_log_dirs;
use model::settings::Values;
use model::{BrokerEpoch, TopicPartition, Uuid};
use runtime::{Address, JobQueue, Publisher, Watch};

use crate::checkpoints::{Checkpoint, CheckpointFiles, Checkpoints, Offsets};
use crate::handle::PartitionHandle;
use crate::hosted::Hosted;
use crate::log_dir::LogDirMsg;
use crate::recovery::Recovery;
use crate::room::Room;
use crate::uncleanable::UncleanableLogs;
use crate::unsynced::Unsynced;

/// One entry of `log.dirs`, as it was found when the node started.
#[derive(Debug)]
pub struct LogDirState {
    /// Zero where it could not be read when the node started.
    pub id: Uuid,
    pub path: PathBuf,
    absolute_path: String,
    /// The last stop was a clean one: logs need no recovery.
    pub clean: bool,
    /// If not: what it left.
    pub(crate) survival: Survival,
    recovery: Recovery,
    checkpoints: CheckpointFiles,
    health: Arc<Health>,
    disk: Arc<dyn Disk>,
    /// `cordoned.log.dirs` has it: new replicas go elsewhere.
    cordoned: AtomicBool,
    /// A log in it that nobody stands for any more was not closed: the next start must recover.
    unclean: AtomicBool,
    replicas: AtomicU64,
    room: AtomicU8,
    /// Bytes that its disk had left, as last measured.
    usable: AtomicU64,
    pub uncleanable: UncleanableLogs,
    address: Address<LogDirMsg>,
    queue: JobQueue,
    appends: JobQueue,
}

/// Whether a directory can be used.
#[derive(Debug)]
struct Health {
    path: PathBuf,
    failed: OnceLock<String>,
    changes: Publisher<()>,
    unsynced: Unsynced,
}

impl Health {
    fn fail(&self, why: &dyn Display) {
        if self.failed.set(why.to_string()).is_ok() {
            tracing::error!(log_dir = %self.path.display(), %why, "the log directory has failed");
            self.changes.publish(());
        }
    }
}

impl DiskWatch for Health {
    fn ended(&self) -> Option<String> {
        let why = self.failed.get()?;
        Some(format!("the log directory is offline: {why}"))
    }

    fn failed(&self, error: &DiskError) {
        self.fail(error);
    }

    fn sync_failed(&self, error: &DiskError) {
        if let Err(error) = self.unsynced.sync_failed(error)
            && !error.may_pass()
        {
            self.fail(&error);
        }
    }
}

impl LogDirState {
    pub fn new(
        id: Uuid,
        path: PathBuf,
        clean: bool,
        checkpoints: Checkpoints,
        disk: Arc<dyn Disk>,
    ) -> LogDirState {
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let changes = runtime::watch(()).0;
        let unsynced = Unsynced::new(disk.clone(), path.clone());
        let failed = OnceLock::new();
        let health = Arc::new(Health { path: absolute.clone(), failed, changes, unsynced });
        let watch: Arc<dyn DiskWatch> = health.clone();
        disk.watch_syncs(&path, Arc::downgrade(&watch));
        LogDirState {
            id,
            queue: JobQueue::new(&absolute.to_string_lossy()),
            appends: JobQueue::new(&absolute.to_string_lossy()),
            absolute_path: absolute.to_string_lossy().into_owned(),
            path,
            clean,
            survival: Survival::Synced,
            recovery: Recovery::of(BTreeSet::new(), 1),
            checkpoints: CheckpointFiles::new(checkpoints),
            disk: Arc::new(WatchedDisk::new(disk, health.clone())),
            health,
            cordoned: AtomicBool::new(false),
            unclean: AtomicBool::new(false),
            replicas: AtomicU64::new(0),
            room: AtomicU8::new(Room::Enough as u8),
            usable: AtomicU64::new(0),
            uncleanable: UncleanableLogs::default(),
            address: Address::vacant(),
        }
    }

    /// Where jobs that work on it wait: should its device hang, no others wait with them.
    pub fn queue(&self) -> &JobQueue {
        &self.queue
    }

    /// Where appends do for which files are made or opened: not behind all that takes long.
    pub(crate) fn appends(&self) -> &JobQueue {
        &self.appends
    }

    /// With logs that the last stop left for recovery.
    pub(crate) fn with_recovery(self, recovery: Recovery, survival: Survival) -> LogDirState {
        LogDirState { recovery, survival, ..self }
    }

    /// Whether what the log in `dir` holds may be lost although it is read, and later syncs succeed: it is recovered as after a
    /// loss of power, and [rewritten](log::Log::rewrite_unsynced) before it is synced.
    pub fn is_unsynced(&self, dir: &Path) -> bool {
        self.survival == Survival::Unsynced || self.health.unsynced.has(dir)
    }

    /// Below which offset the cleaner may have left gaps between segments of a log: below the recovery point, which is
    /// checkpointed before it does, unless the checkpoint has `no_line` of it, or Kafka was the last to write here.
    pub(crate) fn gaps_below(&self, no_line: bool, cleaned: Option<i64>) -> i64 {
        match cleaned {
            _ if self.survival == Survival::Unknown => i64::MAX,
            Some(_) if no_line => i64::MAX,
            Some(cleaned) => cleaned,
            None => 0,
        }
    }

    /// The log in `dir` is written anew since a sync of it failed.
    pub fn rewritten(&self, dir: &Path) {
        self.health.unsynced.rewritten(dir);
    }

    /// All logs are recovered: the next start need not look at more than their ends.
    pub(crate) fn all_recovered(&self) -> Result<(), DiskError> {
        self.health.unsynced.all_recovered()
    }

    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A log needs no recovery any more, or not here.
    pub(crate) fn recovered(&self, log: &TopicPartition) {
        if self.recovery.done(log) {
            // Without its actor the next unclean start recovers once more.
            let _ = self.address.send_now(LogDirMsg::Recovered);
        }
    }

    /// One that cannot be used from the start; nobody knows its id.
    pub fn offline(path: PathBuf, disk: Arc<dyn Disk>, why: impl Display) -> LogDirState {
        let state = LogDirState::new(Uuid::ZERO, path, false, Checkpoints::default(), disk);
        state.fail(why);
        state
    }

    pub fn address(&self) -> &Address<LogDirMsg> {
        &self.address
    }

    /// As tools name it and requests find it.
    pub fn absolute_path(&self) -> &str {
        &self.absolute_path
    }

    /// The disk, for the files in this directory: an error of the device takes the directory offline, and nothing is written
    /// to it from then on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Acquire)
    }

    /// Whether it was another before.
    fn set_cordoned(&self, cordoned: bool) -> bool {
        let changed = self.cordoned.swap(cordoned, Ordering::AcqRel) != cordoned;
        if changed {
            self.health.changes.publish(());
        }
        changed
    }

    pub fn is_online(&self) -> bool {
        self.failure().is_none()
    }

    /// Why it is offline.
    pub fn failure(&self) -> Option<&str> {
        self.health.failed.get().map(String::as_str)
    }

    /// Takes the directory offline until the node starts anew; the first cause stands.
    pub fn fail(&self, why: impl Display) {
        self.health.fail(&why);
    }

    /// Tells when the directory goes offline, is cordoned, or is no longer.
    pub fn changes(&self) -> Watch<()> {
        self.health.changes.subscribe()
    }

    /// How much room its disk has, as last measured.
    pub fn room(&self) -> Room {
        Room::from_number(self.room.load(Ordering::Acquire))
    }

    /// From a measurement, or because a write found no room before there was one.
    pub fn set_room(&self, room: Room) {
        self.room.store(room as u8, Ordering::Release);
    }

    /// Where the disk is full a pass of the log cleaner may take so much of it, to give back more: the rest is for who goes on writing.
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.usable.load(Ordering::Acquire) / 2
    }

    pub(crate) fn set_usable(&self, bytes: u64) {
        self.usable.store(bytes, Ordering::Release);
    }

    /// Measured again where it is full, for who takes and gives back much at a time: a job that blocks.
    pub(crate) fn look_at_room(&self) {
        if self.room() == Room::Full
            && let Ok(space) = self.disk.space(&self.path)
        {
            self.set_usable(space.usable_bytes);
        }
    }

    pub(crate) fn set_unclean(&self) {
        self.unclean.store(true, Ordering::Release);
    }

    /// The next to write here may be Kafka: what was noted of this life would not be true of that.
    pub(crate) fn mark_clean(&self, broker_epoch: Option<BrokerEpoch>) -> Result<(), DiskError> {
        expect_others_to_write(&*self.disk, &self.path)?;
        CleanShutdown { broker_epoch }.write(&*self.disk, &self.path)
    }

    /// No log in it needs recovery: each is closed, or nobody has touched it since a clean stop.
    pub(crate) fn is_closed(&self, hosted: &Hosted) -> bool {
        let recovered = self.recovery.progress().is_none();
        let left_open = self.unclean.load(Ordering::Acquire);
        let copied = |handle: &PartitionHandle| {
            let copy = handle.future().filter(|copy| self.is(&copy.dir));
            copy.is_none_or(|copy| copy.is_closed())
        };
        let of = |handle: &PartitionHandle| !self.is(&handle.log_dir()) || handle.is_closed();
        let closed = || hosted.all().iter().all(|handle| of(handle) && copied(handle));
        recovered && !left_open && closed()
    }

    fn is(&self, other: &Arc<LogDirState>) -> bool {
        std::ptr::eq(self, &**other)
    }

    /// What the checkpoint files said of a log, or its copy, that nobody has claimed.
    pub(crate) fn known_of(&self, log: &TopicPartition) -> Offsets {
        self.checkpoints.unclaimed().offsets(log)
    }

    /// Nobody says which logs were compacted: written down at once, as those that are made from now on were not.
    pub(crate) fn presume_compacted(
        &self,
        logs: &BTreeSet<TopicPartition>,
    ) -> Result<(), DiskError> {
        let now = || {
            let mut unclaimed = self.checkpoints.unclaimed();
            logs.iter().for_each(|log| unclaimed.presume_compacted(log));
            unclaimed.clone()
        };
        match self.checkpoints.write(&*self.disk, &self.path, &[Checkpoint::Cleaned], now) {
            // The first checkpoint that finds room begins with it.
            Err(error) if error.may_pass() => Ok(()),
            written => written,
        }
    }

    /// From now on somebody else knows.
    pub(crate) fn claimed(&self, log: &TopicPartition) {
        self.checkpoints.unclaimed().set(log, Offsets::default());
    }

    /// Nobody stands for a log any more for now, but it is still there.
    pub(crate) fn remember(&self, log: &TopicPartition, offsets: Offsets) {
        self.checkpoints.unclaimed().set(log, offsets);
    }

    /// Forgets what the checkpoint files said of all unclaimed logs but these. Whether there were any.
    pub(crate) fn forget_but(&self, keep: impl Fn(&TopicPartition) -> bool) -> bool {
        self.checkpoints.retain(keep)
    }

    /// A log, or a copy of one, has left it.
    pub(crate) fn set_outdated(&self) {
        self.checkpoints.departed();
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.checkpoints.are_outdated()
    }

    /// What the checkpoint files say of logs that have left would be taken for what is known of others of the same name: a job
    /// that blocks, before one is made.
    pub(crate) fn forget_departed(&self, hosted: &Hosted) -> Result<(), DiskError> {
        let now = || self.offsets(hosted, &Checkpoint::ALL);
        self.checkpoints.forget_departed(&*self.disk, &self.path, now)
    }

    /// Brings checkpoint files up to date: a job that blocks. Before recovery points the cleaner's, which alone says below which
    /// of them a log may have gaps.
    pub(crate) fn write_checkpoints(
        &self,
        hosted: &Hosted,
        which: &[Checkpoint],
    ) -> Result<(), DiskError> {
        let mut which = which.to_vec();
        if which.contains(&Checkpoint::RecoveryPoints) {
            which.retain(|other| *other != Checkpoint::Cleaned);
            which.insert(0, Checkpoint::Cleaned);
        }
        let now = || self.offsets(hosted, &which);
        self.checkpoints.write(&*self.disk, &self.path, &which, now)
    }

    /// A directory that cannot keep its checkpoints is of no use; where it is merely full, or descriptors are short, they are
    /// written again later.
    pub(crate) fn checkpoints_failed(&self, error: &DiskError) {
        if !error.may_pass() {
            return self.fail(error);
        }
        tracing::warn!(%error, "tried again later");
        if error.is_full() {
            self.set_room(Room::Full);
        }
    }

    /// Only those that are asked for count.
    fn offsets(&self, hosted: &Hosted, which: &[Checkpoint]) -> Checkpoints {
        let unclaimed = self.checkpoints.unclaimed();
        let mut offsets = unclaimed.clone();
        for handle in hosted.all() {
            let future = handle.future().filter(|future| self.is(&future.dir));
            let known = match future {
                Some(future) => future.offsets(&handle),
                None if self.is(&handle.log_dir()) => handle.offsets(),
                None => continue,
            };
            offsets.set_some(which, &handle.topic_partition, known);
        }
        offsets
    }

    pub(crate) fn count_replica(&self) {
        self.replicas.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uncount_replica(&self) {
        self.replicas.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nobody counts on what was counted so far.
    pub(crate) fn count_anew(&self) {
        self.replicas.store(0, Ordering::Relaxed);
    }

    pub fn replicas(&self) -> u64 {
        self.replicas.load(Ordering::Relaxed)
    }
}

/// All directories of the node.
#[derive(Debug, Clone, Default)]
pub struct LogDirs(pub Vec<Arc<LogDirState>>);

impl LogDirs {
    pub fn online(&self) -> impl Iterator<Item = &Arc<LogDirState>> {
        self.0.iter().filter(|dir| dir.is_online())
    }

    pub fn offline(&self) -> impl Iterator<Item = &Arc<LogDirState>> {
        self.0.iter().filter(|dir| !dir.is_online())
    }

    /// Follows `cordoned.log.dirs`.
    pub fn cordon(&self, settings: &Values) {
        let paths: Vec<PathBuf> = self.0.iter().map(|dir| dir.path.clone()).collect();
        // What names others was refused where it was set.
        let named = cordoned_log_dirs(settings.list("cordoned.log.dirs"), &paths);
        let named = named.unwrap_or_default();
        for dir in &self.0 {
            let cordoned = named.contains(&dir.path.as_path());
            if dir.set_cordoned(cordoned) {
                tracing::info!(log_dir = %dir.path.display(), cordoned, "log directory");
            }
        }
    }

    pub fn cordoned(&self) -> impl Iterator<Item = &Arc<LogDirState>> {
        self.0.iter().filter(|dir| dir.is_cordoned())
    }

    /// Where a replica goes: the directory that holds it already, of several that which the metadata names; else the one that
    /// was asked for before it came, or that the metadata names; else, of those in use, the one with the fewest replicas. While a directory
    /// is offline, a replica that belongs in none that is online may be in it: that one is the answer then, and the replica is offline with
    /// it.
    pub(crate) fn place(
        &self,
        assigned: Uuid,
        preferred: Option<&Arc<LogDirState>>,
        holds: impl Fn(&LogDirState) -> bool,
    ) -> Option<Arc<LogDirState>> {
        let named = || self.online().find(|dir| dir.id == assigned);
        let held = named().filter(|dir| holds(dir)).or_else(|| self.online().find(|d| holds(d)));
        let lost = || {
            let known = self.offline().find(|dir| dir.id == assigned);
            let open = assigned == Uuid::UNASSIGNED_DIRECTORY;
            known.or_else(|| self.offline().next()).filter(|_| !open)
        };
        // Where all are cordoned, the first.
        let rank = |dir: &&Arc<LogDirState>| match dir.is_cordoned() {
            true => (true, 0),
            false => (false, dir.replicas()),
        };
        let emptiest = || self.online().min_by_key(rank);
        let preferred = preferred.filter(|dir| dir.is_online());
        let new = || match named() {
            Some(named) => Some(preferred.unwrap_or(named)),
            None => lost().or(preferred).or_else(emptiest),
        };
        held.or_else(new).cloned()
    }
}

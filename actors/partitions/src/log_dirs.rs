//! The log directories of a node: what each was found to hold, and which of them can still be used.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use log::{
    CLEANER_OFFSET_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
};
use model::{TopicPartition, Uuid};
use runtime::{Address, Map};

use crate::log_dir::LogDirMsg;
use crate::room::Room;

/// One entry of `log.dirs`, as it was found when the node started.
#[derive(Debug)]
pub struct LogDirState {
    pub id: Uuid,
    pub path: PathBuf,
    absolute_path: String,
    /// The last stop was a clean one: logs need no recovery.
    pub clean: bool,
    pub checkpoints: Checkpoints,
    online: AtomicBool,
    /// `cordoned.log.dirs` has it: new replicas go elsewhere.
    cordoned: AtomicBool,
    /// A log in it was not closed: the next start must recover.
    unclean: AtomicBool,
    replicas: AtomicU64,
    room: AtomicU8,
    address: Address<LogDirMsg>,
}

/// A file in each log directory with one offset for each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    RecoveryPoints,
    LogStarts,
    HighWatermarks,
    /// How far compacted logs are clean.
    Cleaned,
}

impl Checkpoint {
    pub(crate) const ALL: [Checkpoint; 4] = [
        Checkpoint::RecoveryPoints,
        Checkpoint::LogStarts,
        Checkpoint::HighWatermarks,
        Checkpoint::Cleaned,
    ];

    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoints => RECOVERY_POINT_CHECKPOINT,
            Checkpoint::LogStarts => LOG_START_OFFSET_CHECKPOINT,
            Checkpoint::HighWatermarks => HIGH_WATERMARK_CHECKPOINT,
            Checkpoint::Cleaned => CLEANER_OFFSET_CHECKPOINT,
        }
    }
}

/// What the checkpoint files say, by partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checkpoints([Map<TopicPartition, i64>; Checkpoint::ALL.len()]);

impl Checkpoints {
    pub fn of(&self, checkpoint: Checkpoint) -> &Map<TopicPartition, i64> {
        &self.0[checkpoint as usize]
    }

    pub fn of_mut(&mut self, checkpoint: Checkpoint) -> &mut Map<TopicPartition, i64> {
        &mut self.0[checkpoint as usize]
    }
}

impl LogDirState {
    pub fn new(id: Uuid, path: PathBuf, clean: bool, checkpoints: Checkpoints) -> LogDirState {
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        LogDirState {
            id,
            absolute_path: absolute.to_string_lossy().into_owned(),
            path,
            clean,
            checkpoints,
            online: AtomicBool::new(true),
            cordoned: AtomicBool::new(false),
            unclean: AtomicBool::new(false),
            replicas: AtomicU64::new(0),
            room: AtomicU8::new(Room::Enough as u8),
            address: Address::vacant(),
        }
    }

    pub fn address(&self) -> &Address<LogDirMsg> {
        &self.address
    }

    /// As tools name it and requests find it.
    pub fn absolute_path(&self) -> &str {
        &self.absolute_path
    }

    pub fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Acquire)
    }

    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    pub fn set_offline(&self) {
        self.online.store(false, Ordering::Release);
    }

    /// How much room its disk has, as last measured.
    pub fn room(&self) -> Room {
        Room::from_number(self.room.load(Ordering::Acquire))
    }

    /// From a measurement, or because a write found no room before there was one.
    pub(crate) fn set_room(&self, room: Room) {
        self.room.store(room as u8, Ordering::Release);
    }

    pub(crate) fn set_unclean(&self) {
        self.unclean.store(true, Ordering::Release);
    }

    pub(crate) fn is_unclean(&self) -> bool {
        self.unclean.load(Ordering::Acquire)
    }

    pub(crate) fn count_replica(&self) {
        self.replicas.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uncount_replica(&self) {
        self.replicas.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn replicas(&self) -> u64 {
        self.replicas.load(Ordering::Relaxed)
    }
}

/// All directories of the node.
#[derive(Debug, Clone, Default)]
pub struct LogDirs(pub Vec<Arc<LogDirState>>);

impl LogDirs {
    /// Where a replica goes: the directory that the metadata names; else the one that holds it already; else, of those in
    /// use, the one with the fewest replicas.
    pub(crate) fn place(
        &self,
        assigned: Uuid,
        holds: impl Fn(&LogDirState) -> bool,
    ) -> Option<Arc<LogDirState>> {
        let online = || self.0.iter().filter(|dir| dir.is_online());
        let named = online().find(|dir| dir.id == assigned);
        let held = || online().find(|dir| holds(dir));
        let emptiest = || online().min_by_key(|dir| dir.replicas());
        named.or_else(held).or_else(emptiest).cloned()
    }
}

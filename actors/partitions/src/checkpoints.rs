//! The checkpoint files of a log directory: what they said when the node started, what they are to say, and their writing.
//!
//! An entry has the name of its partition, not the id of its topic: one that outlived its log would be taken for what is
//! known of the next log of that name. So an entry goes, durably, before such a log is made; where there is no room for
//! that, it waits.
//! Source: `LogManager`, `ReplicaManager.checkpointHighWatermarks`, `LogCleanerManager.updateCheckpoints`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::{Disk, DiskError};
use log::{
    CLEANER_OFFSET_CHECKPOINT, CheckpointError, HIGH_WATERMARK_CHECKPOINT,
    LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, offset_checkpoint,
    read_offset_checkpoint,
};
use model::TopicPartition;
use runtime::Map;

/// A file in each log directory with one offset for each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// How far compacted logs are clean.
    Cleaned,
    RecoveryPoints,
    LogStarts,
    HighWatermarks,
}

impl Checkpoint {
    /// In the order in which they are written.
    pub(crate) const ALL: [Checkpoint; 4] = [
        Checkpoint::Cleaned,
        Checkpoint::RecoveryPoints,
        Checkpoint::LogStarts,
        Checkpoint::HighWatermarks,
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

/// What the files say of one partition.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offsets([Option<i64>; Checkpoint::ALL.len()]);

impl Offsets {
    pub(crate) fn new(of: impl Fn(Checkpoint) -> Option<i64>) -> Offsets {
        Offsets(Checkpoint::ALL.map(of))
    }

    pub(crate) fn get(&self, checkpoint: Checkpoint) -> Option<i64> {
        self.0[checkpoint as usize]
    }
}

/// What the files say, by partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checkpoints([Map<TopicPartition, i64>; Checkpoint::ALL.len()]);

impl Checkpoints {
    pub fn of(&self, checkpoint: Checkpoint) -> &Map<TopicPartition, i64> {
        &self.0[checkpoint as usize]
    }

    fn of_mut(&mut self, checkpoint: Checkpoint) -> &mut Map<TopicPartition, i64> {
        &mut self.0[checkpoint as usize]
    }

    pub(crate) fn offsets(&self, partition: &TopicPartition) -> Offsets {
        Offsets::new(|checkpoint| self.of(checkpoint).get(partition).copied())
    }

    pub(crate) fn set(&mut self, partition: &TopicPartition, offsets: Offsets) {
        self.set_some(&Checkpoint::ALL, partition, offsets);
    }

    pub(crate) fn set_some(
        &mut self,
        which: &[Checkpoint],
        partition: &TopicPartition,
        offsets: Offsets,
    ) {
        for checkpoint in which.iter().copied() {
            match offsets.get(checkpoint) {
                Some(offset) => self.of_mut(checkpoint).insert(partition.clone(), offset),
                None => self.of_mut(checkpoint).remove(partition),
            };
        }
    }

    /// Offsets may be missing in a log, which was perhaps compacted.
    pub(crate) fn presume_compacted(&mut self, log: &TopicPartition) {
        self.of_mut(Checkpoint::Cleaned).entry(log.clone()).or_insert(0);
    }

    /// Whether the cleaner's checkpoint of a directory tells which logs were compacted: not where it is gone, or nothing is in it
    /// yet, as when Kafka has just made it.
    pub(crate) fn tell_of_compacted(disk: &dyn Disk, dir: &Path) -> Result<bool, DiskError> {
        match disk.metadata(&dir.join(Checkpoint::Cleaned.file_name())) {
            Err(error) if error.is_not_found() => Ok(false),
            found => Ok(found?.len > 0),
        }
    }

    /// Reads the files of a directory. Also whether all that matters for recovery could be made sense of: without, logs are
    /// recovered from their beginning.
    pub(crate) fn read(
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<(Checkpoints, bool), CheckpointError> {
        let (mut checkpoints, mut whole) = (Checkpoints::default(), true);
        for checkpoint in Checkpoint::ALL {
            let read = read_offset_checkpoint(disk, &dir.join(checkpoint.file_name()));
            *checkpoints.of_mut(checkpoint) = match read {
                Err(error @ CheckpointError::Malformed { .. })
                    if checkpoint != Checkpoint::HighWatermarks =>
                {
                    tracing::warn!(%error, "the checkpoint is made anew");
                    whole &= checkpoint == Checkpoint::Cleaned;
                    Map::new()
                }
                other => other?,
            };
        }
        Ok((checkpoints, whole))
    }
}

/// The files of one directory, and what of them is known.
#[derive(Debug)]
pub(crate) struct CheckpointFiles {
    /// Of logs that nothing in this process stands for yet: what the files said.
    unclaimed: Mutex<Checkpoints>,
    /// What each holds now, where that is known: as text, there may be many partitions. Held while they are written, so
    /// that none goes back to what was.
    written: Mutex<Written>,
    /// So many logs, or copies, have left the directory.
    departed: AtomicU64,
    /// And of so many of them the files say nothing any more.
    forgotten: AtomicU64,
}

type Written = [Option<String>; Checkpoint::ALL.len()];

impl CheckpointFiles {
    pub(crate) fn new(read: Checkpoints) -> CheckpointFiles {
        // One that is empty may not be there at all.
        let written = read
            .0
            .each_ref()
            .map(|entries| Some(entries).filter(|some| !some.is_empty()).map(offset_checkpoint));
        CheckpointFiles {
            unclaimed: Mutex::new(read),
            written: Mutex::new(written),
            departed: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Held while it is looked at who stands for which log: what is claimed meanwhile is there once, or twice.
    pub(crate) fn unclaimed(&self) -> MutexGuard<'_, Checkpoints> {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the entries of these. Whether there were others.
    pub(crate) fn retain(&self, keep: impl Fn(&TopicPartition) -> bool) -> bool {
        let mut unclaimed = self.unclaimed();
        let count = |all: &Checkpoints| all.0.iter().map(Map::len).sum::<usize>();
        let before = count(&unclaimed);
        unclaimed.0.iter_mut().for_each(|entries| entries.retain(|partition, _| keep(partition)));
        count(&unclaimed) < before
    }

    pub(crate) fn departed(&self) {
        self.departed.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the files may still name logs that are gone.
    pub(crate) fn are_outdated(&self) -> bool {
        self.forgotten.load(Ordering::Acquire) < self.departed.load(Ordering::Acquire)
    }

    /// Has them name such logs no more. Who finds that they do not knows that nobody is about to write so.
    pub(crate) fn forget_departed(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        now: impl FnOnce() -> Checkpoints,
    ) -> Result<(), DiskError> {
        let mut written = self.written();
        let departed = self.departed.load(Ordering::Acquire);
        if self.are_outdated() {
            write(&mut written, disk, dir, &Checkpoint::ALL, &now())?;
            self.forgotten.store(departed, Ordering::Release);
        }
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings files up to date, where anything is new in them.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        which: &[Checkpoint],
        now: impl FnOnce() -> Checkpoints,
    ) -> Result<(), DiskError> {
        let mut written = self.written();
        write(&mut written, disk, dir, which, &now())
    }
}

fn write(
    written: &mut Written,
    disk: &dyn Disk,
    dir: &Path,
    which: &[Checkpoint],
    now: &Checkpoints,
) -> Result<(), DiskError> {
    for checkpoint in which {
        let known = &mut written[*checkpoint as usize];
        let now = offset_checkpoint(now.of(*checkpoint));
        if known.as_ref() == Some(&now) {
            continue;
        }
        *known = None;
        // After a crash there is the old one or the new.
        disk.replace(&dir.join(checkpoint.file_name()), now.as_bytes())?;
        *known = Some(now);
    }
    Ok(())
}

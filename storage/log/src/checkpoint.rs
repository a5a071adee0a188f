//! Checkpoint files: a version, a count, and as many lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use disk::{Disk, DiskError, Open};
use model::{LeaderEpoch, TopicPartition};

use crate::epochs::{EpochEntry, LeaderEpochs};

pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_OFFSET_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
/// The end of each partition's last pass of the log cleaner.
pub const CLEANER_OFFSET_CHECKPOINT: &str = "cleaner-offset-checkpoint";
const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// Of a log directory's checkpoints.
const MAX_FILE: usize = 256 << 20;
/// Millions of epochs: more than a log that is written ever has.
const MAX_EPOCHS_FILE: usize = 64 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("checkpoint {path:?} has no sense in line {line}")]
    Malformed { path: PathBuf, line: usize },
}

/// The offsets in a checkpoint of a log directory; none where there is no such file.
pub fn read_offset_checkpoint(
    disk: &dyn Disk,
    path: &Path,
) -> Result<BTreeMap<TopicPartition, i64>, CheckpointError> {
    read_lines(disk, path, MAX_FILE, |fields| match fields {
        [topic, partition, offset] => {
            let partition = TopicPartition::new(*topic, partition.parse().ok()?);
            Some((partition, offset.parse().ok()?))
        }
        _ => None,
    })
}

/// What a checkpoint of a log directory holds that says this.
pub fn offset_checkpoint(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    text(
        offsets.len(),
        offsets.iter().map(|(TopicPartition { topic, partition }, offset)| {
            format!("{topic} {partition} {offset}")
        }),
    )
}

pub(crate) fn read_epochs(disk: &dyn Disk, dir: &Path) -> Result<LeaderEpochs, CheckpointError> {
    let path = dir.join(LEADER_EPOCH_CHECKPOINT);
    let entries: Vec<EpochEntry> =
        read_lines(disk, &path, MAX_EPOCHS_FILE, |fields| match fields {
            [epoch, start] => {
                let epoch = LeaderEpoch(epoch.parse().ok()?);
                Some(EpochEntry { epoch, start_offset: start.parse().ok()? })
            }
            _ => None,
        })?;
    Ok(LeaderEpochs::from_entries(entries))
}

pub(crate) fn write_epochs(
    disk: &dyn Disk,
    dir: &Path,
    epochs: &LeaderEpochs,
) -> Result<(), DiskError> {
    // After a crash there is the old one or the new.
    disk.replace(&dir.join(LEADER_EPOCH_CHECKPOINT), epochs_text(epochs).as_bytes())
}

/// Of a log without records, of which they say nothing: not synced. After a power loss there may be none.
pub(crate) fn leave_epochs(
    disk: &dyn Disk,
    dir: &Path,
    epochs: &LeaderEpochs,
) -> Result<(), DiskError> {
    let file = disk.open(&dir.join(LEADER_EPOCH_CHECKPOINT), Open::Truncate)?;
    match epochs.latest() {
        Some(_) => file.write_at(epochs_text(epochs).as_bytes(), 0),
        None => Ok(()),
    }
}

fn epochs_text(epochs: &LeaderEpochs) -> String {
    let lines = epochs.entries().map(|entry| format!("{} {}", entry.epoch, entry.start_offset));
    text(epochs.entries().count(), lines)
}

fn read_lines<T, C: FromIterator<T>>(
    disk: &dyn Disk,
    path: &Path,
    max_len: usize,
    parse: impl Fn(&[&str]) -> Option<T>,
) -> Result<C, CheckpointError> {
    let bytes = match disk.read(path, max_len) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(std::iter::empty().collect()),
        Err(error) => return Err(error.into()),
    };
    let malformed = |line| CheckpointError::Malformed { path: path.to_owned(), line };
    let text = String::from_utf8(bytes).map_err(|_| malformed(0))?;
    // Kafka makes the file empty before it first writes it; one that was not synced may have got its length alone.
    if text.bytes().all(|byte| byte == 0) {
        return Ok(std::iter::empty().collect());
    }
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(malformed(1));
    }
    let count: usize =
        lines.next().and_then(|line| line.parse().ok()).ok_or_else(|| malformed(2))?;
    let mut entries = 0;
    let parsed = lines.enumerate().map(|(index, line)| {
        entries += 1;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        parse(&fields).ok_or_else(|| malformed(index + 3))
    });
    let parsed = parsed.collect::<Result<C, _>>()?;
    if entries != count { Err(malformed(2)) } else { Ok(parsed) }
}

fn text(count: usize, lines: impl Iterator<Item = String>) -> String {
    let mut text = format!("0\n{count}\n");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

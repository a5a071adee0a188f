//! How dirty compacted logs are, and which comes first.

use std::cmp::Ordering;
use std::sync::Arc;

use log::{CompactionError, CompactionPolicy, LogToClean, LogView, ReadError};
use model::settings::TopicConfig;
use model::topic::is_internal_topic;

use super::PassFailed;
use crate::handle::{PartitionHandle, Standing};
use crate::room::Room;

/// A compacted log that can be looked at.
pub struct Candidate {
    pub(super) handle: Arc<PartitionHandle>,
    view: Arc<LogView>,
    pub(super) checkpoint: Option<i64>,
    last_stable_offset: i64,
    policy: CompactionPolicy,
}

/// What was found of it; or why it cannot be known.
pub struct Dirty {
    pub(super) candidate: Candidate,
    pub(super) found: Result<LogToClean, PassFailed>,
}

impl Candidate {
    pub(super) fn of(handle: Arc<PartitionHandle>) -> Option<Candidate> {
        let config = handle.config();
        let dir = handle.log_dir();
        let fit = dir.is_online();
        // One that is being copied stays as it is, and would only stand before others.
        if !config.cleanup_policy.compact || !fit || handle.future().is_some() {
            return None;
        }
        // Before the view: it never lies beyond the view that is loaded after it.
        let last_stable_offset = handle.last_stable_offset();
        let checkpoint = handle.cleaned();
        let view = match &*handle.standing() {
            Standing::Leader(serving) | Standing::Follower(serving) => serving.view.clone(),
            Standing::Starting | Standing::Offline { .. } => return None,
        };
        // A pass needs room for what it writes, before it gives any back.
        if dir.room() == Room::Full && view.first_segment_bytes() > dir.spare_bytes() {
            return None;
        }
        let policy = policy(&config);
        Some(Candidate { handle, view, checkpoint, last_stable_offset, policy })
    }

    /// Whether there are closed segments that no pass takes yet, as the disk may lose them.
    pub(super) fn waits_for_sync(&self) -> bool {
        self.handle.recovery_point() < self.view.end().segment_base
    }

    pub(super) fn measure(self, now_ms: i64) -> Dirty {
        let Candidate { view, checkpoint, last_stable_offset, policy, .. } = &self;
        let dir = self.handle.log_dir();
        let disk = &**dir.disk();
        // A pass ends before what the disk may yet lose.
        let stable = (*last_stable_offset).min(self.handle.recovery_point());
        let found = view.to_clean(policy, *checkpoint, stable, disk, now_ms);
        Dirty { found: found.map_err(not_measured), candidate: self }
    }
}

fn not_measured(error: ReadError) -> PassFailed {
    match &error {
        // A segment of the view was cut or deleted meanwhile.
        ReadError::Disk(inner) if inner.is_unexpected_end() || inner.is_not_found() => {
            PassFailed::NoRoom(error.to_string())
        }
        _ => CompactionError::from(error).into(),
    }
}

fn policy(config: &TopicConfig) -> CompactionPolicy {
    CompactionPolicy {
        min_compaction_lag_ms: config.min_compaction_lag_ms,
        max_compaction_lag_ms: config.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
    }
}

impl Dirty {
    pub(super) fn ratio(&self) -> f64 {
        self.found.as_ref().map_or(0.0, LogToClean::cleanable_ratio)
    }

    /// How long it has waited beyond `max.compaction.lag.ms`.
    pub(super) fn delay_ms(&self) -> i64 {
        self.found.as_ref().map_or(0, |found| found.compaction_delay_ms)
    }

    fn is_due(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| found.is_due(&self.candidate.policy))
    }

    fn urgency(&self, other: &Dirty) -> Ordering {
        let by_delay = other.delay_ms().cmp(&self.delay_ms());
        by_delay.then_with(|| other.ratio().total_cmp(&self.ratio()))
    }
}

/// Those that are to be compacted: the overdue first, of those the longest; then the dirtiest. On a full disk before them internal
/// topics, which are written to all the same.
pub(super) fn due(mut dirty: Vec<Dirty>, full: bool) -> Vec<Dirty> {
    dirty.retain(Dirty::is_due);
    dirty.sort_by(Dirty::urgency);
    if full {
        dirty
            .sort_by_key(|dirty| !is_internal_topic(&dirty.candidate.handle.topic_partition.topic));
    }
    dirty
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::path::Path;

    use disk::{Disk, DiskError, DiskOp, SimDisk, SimDiskOptions};
    use log::{Log, LogConfig, OpenOptions};
    use model::{TopicPartition, Uuid};
    use runtime::Address;
    use wire::batch::BatchError;

    use super::*;
    use crate::LogDirState;
    use crate::checkpoints::Checkpoints;

    /// Of so many parts of a hundred, and waiting for so long beyond its time.
    fn dirty(dir: &Arc<LogDirState>, topic: &str, percent: u64, delay_ms: i64) -> Dirty {
        let (log, disk) = (TopicPartition::new(topic, 0), dir.disk().clone());
        let path = dir.path.join(topic);
        let (opened, _) =
            Log::open(disk, path, LogConfig::default(), OpenOptions::default()).unwrap();
        let config = Arc::new(TopicConfig::default());
        let policy = policy(&config);
        let address = Address::vacant();
        let handle = PartitionHandle::new(log, Uuid::ZERO, config, dir.clone(), address);
        let found = LogToClean {
            first_dirty_offset: 0,
            first_uncleanable_offset: 0,
            checkpoint_is_invalid: false,
            clean_bytes: 100 - percent,
            cleanable_bytes: percent,
            compaction_delay_ms: delay_ms,
        };
        let (handle, view) = (Arc::new(handle), Arc::new(opened.view()));
        let candidate = Candidate { handle, view, checkpoint: None, last_stable_offset: 0, policy };
        Dirty { candidate, found: Ok(found) }
    }

    #[test]
    fn the_overdue_come_first_and_then_the_dirtiest() {
        let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
        let state =
            LogDirState::new(Uuid::ZERO, "/data".into(), true, Checkpoints::default(), disk);
        let dir = Arc::new(state);
        let mut unknown = dirty(&dir, "unknown", 99, 9);
        unknown.found = Err(PassFailed::Aborted);
        let found = [
            ("cleaner", 60, 0),
            ("dirtier", 90, 0),
            ("half", 50, 0),
            ("overdue", 1, 5),
            ("longer", 1, 6),
            ("nothing", 0, 7),
        ];
        let found = found.map(|(topic, percent, delay)| dirty(&dir, topic, percent, delay));
        let due = due(found.into_iter().chain([unknown]).collect(), false);
        assert_eq!(topics(&due), ["longer", "overdue", "dirtier", "cleaner"]);
    }

    fn topics(due: &[Dirty]) -> Vec<&str> {
        due.iter().map(|dirty| dirty.candidate.handle.topic_partition.topic.as_str()).collect()
    }

    #[test]
    fn on_a_full_disk_internal_topics_come_first() {
        let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
        let state =
            LogDirState::new(Uuid::ZERO, "/data".into(), true, Checkpoints::default(), disk);
        let dir = Arc::new(state);
        let found = [("users", 90, 5), ("more", 80, 0), ("__consumer_offsets", 70, 0)];
        let found = || found.map(|(topic, percent, delay)| dirty(&dir, topic, percent, delay));
        for (full, expected) in [
            (false, ["users", "more", "__consumer_offsets"]),
            (true, ["__consumer_offsets", "users", "more"]),
        ] {
            assert_eq!(topics(&due(found().into(), full)), expected);
        }
    }

    #[test]
    fn what_passes_makes_no_log_uncleanable() {
        let path = Path::new("/a/t-0/0.log");
        let disk = |error: Error| ReadError::Disk(DiskError::new(DiskOp::Open, path, error));
        const EMFILE: i32 = 24;
        const ENOMEM: i32 = 12;
        for error in [
            Error::from_raw_os_error(EMFILE),
            Error::from_raw_os_error(ENOMEM),
            ErrorKind::UnexpectedEof.into(),
            ErrorKind::NotFound.into(),
        ] {
            let found = not_measured(disk(error));
            assert!(matches!(found, PassFailed::NoRoom(_)), "{found:?}");
        }
        let source = BatchError::InvalidHeader("torn");
        let corrupt = ReadError::Corrupt { path: path.to_owned(), position: 0, source };
        assert!(matches!(not_measured(corrupt), PassFailed::Uncleanable(_)));
        let broken = disk(Error::other("input/output error"));
        assert!(matches!(not_measured(broken), PassFailed::Uncleanable(_)));
    }
}

//! Giving up old snapshots, and the segments before those that stay: what Kafka's KafkaRaftLog.maybeClean does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use disk::{Disk, DiskError};
use log::{DeletedSegments, Log};
use machines::consensus::OffsetAndEpoch;
use runtime::{Cx, Failure, Outcome};

use super::{Raft, RaftMsg};
use crate::snapshot;

/// Between two looks, as in Kafka's KafkaRaftClient. A new snapshot is reason to look at once.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// How long the metadata log and its snapshots stay. The newest snapshot, and what follows it, always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataRetention {
    /// `metadata.max.retention.bytes`: the log with its snapshots; negative for no limit.
    pub bytes: i64,
    /// `metadata.max.retention.ms`: of a snapshot's newest record; negative for no limit.
    pub ms: i64,
    /// `internal.metadata.delete.delay.millis`: until a file that was given up is removed.
    pub delete_delay: Duration,
}

/// Files that were given up, under other names, for those who still read them.
#[derive(Debug, Default)]
pub struct Deleted {
    segments: Vec<DeletedSegments>,
    snapshots: Vec<PathBuf>,
}

impl Deleted {
    pub(super) fn remove(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        self.segments.iter().try_for_each(|segments| segments.remove(disk))?;
        self.snapshots.iter().try_for_each(|file| snapshot::remove_if_there(disk, file))
    }
}

/// One look.
pub(super) struct Cleaning<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) log: &'a mut Log,
    pub(super) committed: i64,
    pub(super) retention: MetadataRetention,
    pub(super) now_ms: i64,
}

impl Cleaning<'_> {
    /// After a power loss at any point the log is one that was not cleaned, or not as far.
    pub(super) fn run(&mut self) -> Result<Deleted, Failure> {
        let mut sized = Vec::new();
        let mut deleted = Deleted::default();
        for id in snapshot::list(self.disk, self.dir)? {
            // The log was given up for a later one.
            if id.offset < self.log.log_start_offset() {
                deleted.snapshots.push(snapshot::set_aside(self.disk, self.dir, id)?);
            } else {
                sized.push((id, self.disk.metadata(&snapshot::path(self.dir, id))?.len));
            }
        }
        let mut kept = &sized[..];
        while let [(oldest, _), rest @ ..] = kept
            && let Some((next, _)) = rest.first()
        {
            let bytes = self.log.size() + kept.iter().map(|(_, size)| size).sum::<u64>();
            let too_much = u64::try_from(self.retention.bytes).is_ok_and(|limit| bytes > limit);
            if !(too_much || self.too_old(*oldest)) || !self.can_start_at(next.offset) {
                break;
            }
            self.start_at(next.offset, &mut deleted)?;
            deleted.snapshots.push(snapshot::set_aside(self.disk, self.dir, *oldest)?);
            tracing::info!(?oldest, start = next.offset, "snapshot deleted");
            kept = rest;
        }
        Ok(deleted)
    }

    fn too_old(&self, id: OffsetAndEpoch) -> bool {
        if self.retention.ms < 0 {
            return false;
        }
        match snapshot::newest_record_ms(self.disk, self.dir, id) {
            Ok(newest) => self.now_ms.saturating_sub(newest) > self.retention.ms,
            Err(error) => {
                tracing::warn!(%error, "the age of a snapshot cannot be told; it stays");
                false
            }
        }
    }

    fn can_start_at(&self, offset: i64) -> bool {
        self.log.log_start_offset() < offset && offset <= self.committed
    }

    /// The oldest segment goes first, and durably before the next does: there is never a hole in the log.
    fn start_at(&mut self, offset: i64, deleted: &mut Deleted) -> Result<(), Failure> {
        while let Some(base) = self.log.second_segment_base().filter(|base| *base <= offset) {
            deleted.segments.push(self.log.delete_segments_below(base, self.now_ms)?);
            self.disk.sync_dir(self.dir)?;
        }
        self.log.advance_log_start(offset);
        Ok(())
    }
}

impl Raft {
    pub(super) async fn clean(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let (retention, committed) = (self.args.retention, self.committed);
        let (disk, dir) = (self.args.log_dir.disk().clone(), self.dir.clone());
        let now_ms = cx.world().now().wall_ms;
        let clean = move |log: &mut Log| -> Result<_, Failure> {
            let (disk, dir) = (&*disk, &*dir);
            let deleted = Cleaning { disk, dir, log, committed, retention, now_ms }.run()?;
            let left = match deleted.snapshots.is_empty() {
                true => None,
                false => Some(snapshot::list(disk, dir)?),
            };
            Ok((deleted, left))
        };
        let (deleted, left) = cx.lend("clean metadata log", &mut self.log, clean).await??;
        if let Some(left) = left {
            self.snapshots = left;
            cx.send_after(retention.delete_delay, RaftMsg::RemoveFiles { deleted });
        }
        Ok(())
    }

    pub(super) fn remove_files(&self, cx: &mut Cx<Self>, deleted: Deleted) {
        let disk = self.args.log_dir.disk().clone();
        let job = move || deleted.remove(&*disk).map_err(|error| error.to_string());
        cx.job("remove old metadata", job, |result| RaftMsg::Removed {
            result: result.unwrap_or_else(|lost| Err(lost.to_string())),
        });
    }
}

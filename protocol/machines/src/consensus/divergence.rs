//! Where the logs of a leader and of a replica that fetches from it part.

use super::OffsetAndEpoch;

/// What a leader says to a fetch from some offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPosition {
    /// All before the offset is the same in both logs.
    Valid,
    /// This is where the leader's log has its last record of the replica's last epoch, or of the one before it: the replica is to
    /// cut its log back.
    Diverging(OffsetAndEpoch),
    /// The leader's log has no such offset any more: the replica is to fetch this snapshot.
    Snapshot(OffsetAndEpoch),
}

/// A leader's log, as far as a fetch needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    pub start_offset: i64,
    pub earliest_snapshot: Option<OffsetAndEpoch>,
    pub latest_snapshot: Option<OffsetAndEpoch>,
}

impl LogBounds {
    /// Judges a fetch from `offset` by a replica whose last record is of `last_epoch`. `end_of` says where the records of an epoch
    /// end in the leader's log, with the epoch that it means: the largest one there that is not above; for one above all, the log's
    /// end.
    pub fn judge(
        &self,
        offset: i64,
        last_epoch: i32,
        end_of: impl Fn(i32) -> OffsetAndEpoch,
    ) -> FetchPosition {
        let is_bootstrap = |id: &OffsetAndEpoch| *id == OffsetAndEpoch::EMPTY;
        if offset == 0
            && let Some(latest) = self.latest_snapshot.filter(|id| !is_bootstrap(id))
        {
            return FetchPosition::Snapshot(latest);
        }
        if self.start_offset == 0 && offset == 0 {
            return FetchPosition::Valid;
        }
        if let (Some(earliest), Some(latest)) = (self.earliest_snapshot, self.latest_snapshot)
            && !is_bootstrap(&latest)
            && (offset < self.start_offset
                || offset == self.start_offset && last_epoch != earliest.epoch
                || last_epoch < earliest.epoch)
        {
            return FetchPosition::Snapshot(latest);
        }
        let end = end_of(last_epoch);
        if end.epoch != last_epoch || end.offset < offset {
            FetchPosition::Diverging(end)
        } else {
            FetchPosition::Valid
        }
    }
}

/// Where a replica cuts its log, told that the leader's records of an epoch end at `diverging`. `end_of` as for
/// [`LogBounds::judge`], of the replica's own log.
pub fn truncation_offset(diverging: OffsetAndEpoch, end_of: impl Fn(i32) -> OffsetAndEpoch) -> i64 {
    if diverging.epoch == 0 {
        return diverging.offset;
    }
    let own = end_of(diverging.epoch);
    if own.epoch == diverging.epoch { own.offset.min(diverging.offset) } else { own.offset }
}

//! What a follower decides: it takes what its leader gave offsets, and believes it how far that is committed.
//!
//! Source: `ReplicaFetcherThread.processPartitionData`, `AbstractFetcherThread.getOffsetTruncationState`; KIP-101, KIP-279.

use model::LeaderEpoch;
use model::producers::BatchInfo;

use super::{Effect, Opened, Partition};

impl Partition {
    /// Everything below is written.
    pub fn written_end(&self) -> i64 {
        self.written
    }

    /// A batch that lies at `base_offset` in the leader's log is on its way to this one.
    pub(super) fn replicate(&mut self, base_offset: i64, batch: &BatchInfo) {
        if self.is_leader() {
            return;
        }
        debug_assert!(base_offset >= self.assigned);
        if let Some(ended) = self.producers.apply(batch, base_offset) {
            self.unreplicated.insert(ended.first_offset, ended.last_offset);
        }
        self.assigned = base_offset + i64::from(batch.last_offset_delta) + 1;
    }

    /// The leader's high watermark, as far as this log goes. What was committed once stays so, also where a new leader does
    /// not know it yet.
    pub(super) fn committed_by_leader(&mut self, offset: i64, effects: &mut Vec<Effect>) {
        if self.is_leader() {
            return;
        }
        let offset = offset.min(self.written);
        if offset > self.high_watermark {
            self.high_watermark = offset;
            effects.push(Effect::HighWatermark(offset));
            self.forget_replicated();
        }
        self.publish_stable(effects);
    }

    /// The log was cut, or begun anew.
    pub(super) fn truncated(&mut self, opened: Opened, effects: &mut Vec<Effect>) {
        if self.is_leader() {
            return;
        }
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let mut unreplicated = std::mem::take(&mut self.unreplicated);
        unreplicated.retain(|_, marker| *marker < opened.log_end_offset);
        *self = Partition { leader_epoch, partition_epoch, ..Partition::new(opened) };
        self.unreplicated = unreplicated;
        self.forget_replicated();
        self.last_stable_offset = self.stable_end();
        effects.push(Effect::HighWatermark(self.high_watermark));
        effects.push(Effect::LastStableOffset(self.last_stable_offset));
    }
}

/// Where an epoch ends in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end_offset: i64,
}

/// Where a follower cuts its log, told where the leader's records of the last epoch that both may know end. `own` is the end of
/// that epoch in the follower's log, or of the largest one below it. -1 stands for what the leader does not know.
pub fn truncation_offset(
    leader: EpochEnd,
    own: Option<EpochEnd>,
    log_end: i64,
    high_watermark: i64,
) -> i64 {
    let offset = match own {
        _ if leader.end_offset < 0 => high_watermark,
        // The leader is asked about that epoch next.
        Some(own) if leader.epoch.0 >= 0 && own.epoch != leader.epoch => own.end_offset,
        Some(own) if leader.epoch.0 >= 0 => own.end_offset.min(leader.end_offset),
        _ => leader.end_offset,
    };
    offset.min(log_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_where_both_agree_last() {
        let end = |epoch, end_offset| EpochEnd { epoch: LeaderEpoch(epoch), end_offset };
        let table = [
            // Both know the epoch: the shorter one counts.
            (end(3, 20), Some(end(3, 15)), 15),
            (end(3, 20), Some(end(3, 25)), 20),
            // The follower has nothing of the epoch: its own end of the one before.
            (end(3, 20), Some(end(2, 12)), 12),
            // Its log is shorter than all that.
            (end(3, 200), Some(end(3, 150)), 40),
            // It knows no epoch so low.
            (end(1, 8), None, 8),
            // The leader knows an end, but of which epoch it cannot say.
            (end(-1, 18), Some(end(3, 15)), 18),
            // The leader knows nothing.
            (end(-1, -1), Some(end(3, 15)), 7),
        ];
        for (leader, own, offset) in table {
            assert_eq!(truncation_offset(leader, own, 40, 7), offset, "{leader:?} {own:?}");
        }
    }
}

//! Which leader epoch began at which offset (`leader-epoch-checkpoint`).

use model::LeaderEpoch;
use wire::batch::BatchHeader;

/// An epoch and the first offset written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start_offset: i64,
}

/// Where the records of an epoch end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest one below it that has records.
    pub epoch: LeaderEpoch,
    pub end_offset: i64,
}

/// Both epochs and start offsets ascend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    /// A list, as most logs have one or two, and every log has this.
    starts: Vec<EpochEntry>,
}

impl LeaderEpochs {
    pub(crate) fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    pub fn entries(&self) -> impl DoubleEndedIterator<Item = EpochEntry> + '_ {
        self.starts.iter().copied()
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries().next_back()
    }

    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries().next()
    }

    /// Notes that `epoch` begins at `start_offset`, dropping what contradicts it. True if anything changed.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start_offset: i64) -> bool {
        if epoch.0 < 0 || start_offset < 0 {
            return false;
        }
        if let Some(latest) = self.latest()
            && latest.epoch == epoch
            && start_offset >= latest.start_offset
        {
            return false;
        }
        // Both ascend: what contradicts is at the end.
        while let Some(last) = self.starts.last()
            && (last.epoch >= epoch || last.start_offset >= start_offset)
        {
            self.starts.pop();
        }
        if self.starts.is_empty() {
            self.starts.reserve_exact(1);
        }
        self.starts.push(EpochEntry { epoch, start_offset });
        true
    }

    /// Takes in what a batch that lies in the log tells, in ascending order. What contradicts it was of records that are cut
    /// off since.
    pub(crate) fn note(&mut self, batch: &BatchHeader) {
        let (epoch, start_offset) = (LeaderEpoch(batch.leader_epoch), batch.base_offset);
        if epoch.0 < 0 || start_offset < 0 {
            return;
        }
        let from = self.starts.partition_point(|known| match known.epoch {
            known_epoch if known_epoch == epoch => known.start_offset <= start_offset,
            known_epoch => known_epoch < epoch && known.start_offset < start_offset,
        });
        let to = self.starts.partition_point(|known| {
            known.epoch <= epoch || known.start_offset <= batch.last_offset()
        });
        let is_known = from > 0 && self.starts[from - 1].epoch == epoch;
        if is_known && from == to {
            return;
        }
        if self.starts.is_empty() {
            self.starts.reserve_exact(1);
        }
        let told = (!is_known).then_some(EpochEntry { epoch, start_offset });
        self.starts.splice(from..to, told);
    }

    /// Forgets epochs that begin at or after `end_offset`.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.starts.len();
        self.starts.retain(|known| known.start_offset < end_offset);
        self.starts.len() != before
    }

    /// Forgets epochs that ended before `start_offset`; the one it falls into begins there now.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let Some(covering) = self.entries().rfind(|entry| entry.start_offset <= start_offset)
        else {
            return false;
        };
        if self.earliest() == Some(covering) && covering.start_offset == start_offset {
            return false;
        }
        self.starts.retain(|known| known.epoch > covering.epoch);
        self.starts.insert(0, EpochEntry { start_offset, ..covering });
        true
    }

    /// Where the records of `epoch` end in a log that ends at `log_end`; `None` for an epoch above all known ones.
    pub fn end_offset(&self, epoch: LeaderEpoch, log_end: i64) -> Option<EpochEnd> {
        if epoch.0 < 0 {
            return None;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        let (upto, above) =
            self.starts.split_at(self.starts.partition_point(|known| known.epoch <= epoch));
        let end_offset = above.first()?.start_offset;
        // Below all known epochs: their records are gone, so the answer is where the known ones begin.
        let floor = upto.last().map_or(epoch, |floor| floor.epoch);
        Some(EpochEnd { epoch: floor, end_offset })
    }

    pub fn epoch_for_offset(&self, offset: i64) -> Option<LeaderEpoch> {
        self.entries().take_while(|entry| entry.start_offset <= offset).last().map(|e| e.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::from_entries(
            entries.iter().map(|(epoch, start)| EpochEntry {
                epoch: LeaderEpoch(*epoch),
                start_offset: *start,
            }),
        )
    }

    fn end(epochs: &LeaderEpochs, epoch: i32) -> Option<(i32, i64)> {
        epochs.end_offset(LeaderEpoch(epoch), 100).map(|end| (end.epoch.0, end.end_offset))
    }

    #[test]
    fn ends_follow_from_the_next_start() {
        let known = epochs(&[(2, 10), (4, 20), (7, 50)]);
        let answers = [
            (-1, None),
            (0, Some((0, 10))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (4, Some((4, 50))),
            (6, Some((4, 50))),
            (7, Some((7, 100))),
            (8, None),
        ];
        for (epoch, answer) in answers {
            assert_eq!(end(&known, epoch), answer, "epoch {epoch}");
        }
        assert_eq!(end(&epochs(&[]), 0), None);
        assert_eq!(known.epoch_for_offset(9), None);
        assert_eq!(known.epoch_for_offset(19), Some(LeaderEpoch(2)));
        assert_eq!(known.epoch_for_offset(20), Some(LeaderEpoch(4)));
    }

    #[test]
    fn a_contradicting_entry_replaces() {
        let mut known = epochs(&[(2, 10), (4, 20), (7, 50)]);
        assert!(!known.assign(LeaderEpoch(7), 60));
        assert!(known.assign(LeaderEpoch(5), 20));
        assert_eq!(known, epochs(&[(2, 10), (5, 20)]));
        assert!(known.assign(LeaderEpoch(6), 0));
        assert_eq!(known, epochs(&[(6, 0)]));
    }

    #[test]
    fn what_batches_tell_counts() {
        // Of an epoch, from an offset to another; what is known then.
        for ((epoch, first, last), expected) in [
            ((2, 12, 15), vec![(2, 10), (4, 20), (7, 50)]),
            ((4, 20, 49), vec![(2, 10), (4, 20), (7, 50)]),
            ((7, 50, 60), vec![(2, 10), (4, 20), (7, 50)]),
            ((9, 80, 80), vec![(2, 10), (4, 20), (7, 50), (9, 80)]),
            ((2, 20, 30), vec![(2, 10), (7, 50)]),
            ((2, 15, 50), vec![(2, 10)]),
            ((7, 20, 30), vec![(2, 10), (7, 20)]),
            ((5, 20, 30), vec![(2, 10), (5, 20), (7, 50)]),
            ((5, 30, 40), vec![(2, 10), (4, 20), (5, 30), (7, 50)]),
            ((1, 5, 9), vec![(1, 5), (2, 10), (4, 20), (7, 50)]),
            ((4, 15, 18), vec![(2, 10), (4, 15), (7, 50)]),
            ((-1, 0, 90), vec![(2, 10), (4, 20), (7, 50)]),
        ] {
            let mut known = epochs(&[(2, 10), (4, 20), (7, 50)]);
            let batch = crate::testing::batch(first, last + 1 - first, epoch, 0);
            known.note(batch.header());
            assert_eq!(known, epochs(&expected), "{epoch} {first} {last}");
        }
    }

    #[test]
    fn truncation_cuts_either_end() {
        let mut known = epochs(&[(2, 10), (4, 20), (7, 50)]);
        assert!(!known.truncate_from_end(51));
        assert!(known.truncate_from_end(50));
        assert!(!known.truncate_from_start(5));
        assert!(!known.truncate_from_start(10));
        assert!(known.truncate_from_start(15));
        assert_eq!(known, epochs(&[(2, 15), (4, 20)]));
        assert!(known.truncate_from_start(25));
        assert_eq!(known, epochs(&[(4, 25)]));
    }
}

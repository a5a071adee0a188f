//! In which leader epochs what was read of a partition was written: by these a log that was cut is known also where it has grown again.
//!
//! Source: KIP-595's truncation on fetch; `AbstractFetcherThread.truncateOnFetchResponse`.

use std::collections::VecDeque;

/// So many are remembered. What was read before these is taken for lost where the log parts before them.
const MOST: usize = 64;

/// Each epoch, and the first offset that was read of it.
#[derive(Debug, Default)]
pub(super) struct Epochs(VecDeque<(i32, i64)>);

impl Epochs {
    pub(super) fn read(&mut self, epoch: i32, from: i64) {
        if self.0.back().is_none_or(|(last, _)| *last < epoch) {
            self.0.push_back((epoch, from));
        }
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<i32> {
        self.0.back().map(|(epoch, _)| *epoch)
    }

    /// The leader has records of this epoch and none of those between it and the last that was read; they end before `end`. Up to where
    /// what was read before `position` can be in its log.
    pub(super) fn part(&mut self, epoch: i32, end: i64, position: i64) -> i64 {
        let mut to = position;
        while let Some((_, from)) = self.0.pop_back_if(|(read, _)| *read > epoch) {
            to = from;
        }
        to = to.min(end);
        while self.0.pop_back_if(|(_, from)| *from >= to).is_some() {}
        to
    }

    /// The leader knows none as new as the last that was read.
    pub(super) fn part_from_last(&mut self) -> Option<i64> {
        self.0.pop_back().map(|(_, from)| from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(all: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        all.iter().for_each(|(epoch, from)| epochs.read(*epoch, *from));
        epochs
    }

    #[test]
    fn one_goes_back_to_where_the_logs_part() {
        // The epoch is the leader's, too, and ends earlier there.
        let mut epochs = read(&[(1, 0), (1, 5), (3, 10)]);
        assert_eq!((epochs.last(), epochs.part(3, 15, 20), epochs.last()), (Some(3), 15, Some(3)));
        // The leader has none of it: back to where it began here, then to where the one before ends there.
        let mut epochs = read(&[(1, 0), (3, 10)]);
        assert_eq!((epochs.part(2, 31, 20), epochs.last()), (10, Some(1)));
        assert_eq!((epochs.part(1, 6, 10), epochs.last()), (6, Some(1)));
        // The whole log is another.
        assert_eq!((epochs.part(0, 4, 6), epochs.last()), (0, None));
        let mut epochs = read(&[(4, 10)]);
        assert_eq!((epochs.part(4, 10, 20), epochs.last()), (10, None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut epochs = Epochs::default();
        (0..1000).for_each(|n| epochs.read(n, i64::from(n)));
        assert_eq!((epochs.0.len(), epochs.last()), (MOST, Some(999)));
        assert_eq!(epochs.part(0, 1, 1000), 1);
        assert_eq!(epochs.part_from_last(), None);
    }
}

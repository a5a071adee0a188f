//! What becomes of a partition that could not be read, and of one whose log was cut.

use std::time::Duration;

use model::{ErrorCode, TopicPartition};
use runtime::Map;

use super::{ConsumeError, Consumer, Position, Reset, Start, positions};

impl Consumer {
    /// It notices where a log is not the one that it has read, though it reaches as far: [`ConsumeError::Parted`].
    pub(crate) fn noticing_cuts(mut self) -> Consumer {
        self.epochs = Some(Map::new());
        self
    }

    /// Since when a partition could not be read, and why.
    pub(crate) fn trouble(&self, partition: &TopicPartition) -> Option<&(Duration, ConsumeError)> {
        self.trouble.get(partition)
    }

    pub(crate) fn note_trouble(&mut self, partition: &TopicPartition, error: ConsumeError) {
        let now = self.client.world().mono();
        let (_, last) =
            self.trouble.entry(partition.clone()).or_insert_with(|| (now, error.clone()));
        *last = error;
    }

    /// Looks at a partition again after a while, with fresh metadata.
    pub(super) fn pause(&mut self, partition: &TopicPartition, why: ConsumeError) {
        self.note_trouble(partition, why);
        self.client.0.metadata.mark_stale(&partition.topic);
        let until = self.client.world().mono() + self.client.backoff(self.tries);
        self.tries = self.tries.saturating_add(1);
        self.paused_until.insert(partition.clone(), until);
    }

    /// An answer had records of these epochs, each from this offset on, or none.
    pub(super) fn was_read(&mut self, partition: &TopicPartition, epochs: &[(i32, i64)]) {
        self.trouble.remove(partition);
        let Some(all) = self.epochs.as_mut().filter(|_| !epochs.is_empty()) else { return };
        let known = all.entry(partition.clone()).or_default();
        epochs.iter().for_each(|(epoch, from)| known.read(*epoch, *from));
    }

    /// -1 where none is known, or nobody wants to know.
    pub(super) fn last_epoch(&self, partition: &TopicPartition) -> i32 {
        let known = self.epochs.as_ref().and_then(|all| all.get(partition));
        known.and_then(|epochs| epochs.last()).unwrap_or(-1)
    }

    /// Where what was read before `position` goes on in the log that is there now.
    pub(crate) fn part(
        &mut self,
        partition: &TopicPartition,
        (epoch, end): (i32, i64),
        position: i64,
    ) -> i64 {
        let known = self.epochs.as_mut().and_then(|all| all.get_mut(partition));
        known.map_or(end, |epochs| epochs.part(epoch, end, position)).min(position)
    }

    /// As [`Consumer::part`], where the log tells nothing of the last epoch that was read; none where none was.
    pub(crate) fn part_from_last(&mut self, partition: &TopicPartition) -> Option<i64> {
        self.epochs.as_mut()?.get_mut(partition)?.part_from_last()
    }

    /// What it read says nothing of where it goes on.
    pub(crate) fn forget_epochs(&mut self, partition: &TopicPartition) {
        if let Some(all) = &mut self.epochs {
            all.remove(partition);
        }
    }

    /// Goes on where that is possible.
    pub(super) fn mend(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        error: ConsumeError,
    ) -> Result<(), ConsumeError> {
        let out_of_range = matches!(&error, ConsumeError::Refused { refused, .. }
            if refused.code == ErrorCode::OffsetOutOfRange);
        let start = match self.config.reset {
            Reset::Earliest => Start::Earliest,
            Reset::Latest => Start::Latest,
            Reset::Fail if out_of_range => {
                return Err(ConsumeError::OutOfRange { partition: partition.clone(), offset });
            }
            Reset::Fail => Start::Latest,
        };
        if out_of_range {
            self.positions.insert(partition.clone(), Position::Unknown(start));
            return Ok(());
        }
        if positions::retriable(&error) {
            self.pause(partition, error);
            return Ok(());
        }
        Err(error)
    }
}

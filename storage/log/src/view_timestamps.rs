//! Offsets by timestamp.

use model::LeaderEpoch;
use wire::batch::{BatchHeader, NO_TIMESTAMP, RecordBatch};

use crate::error::ReadError;
use crate::scan::BatchScan;
use crate::view::{LogView, TimestampOffset};

const BLOCK: usize = 64 * 1024;

impl LogView {
    /// The first record at or after the log start whose timestamp is at or after `timestamp`.
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        for index in 0..self.segments.len() {
            if self.max_of(index)?.timestamp < timestamp {
                continue;
            }
            let segment = &self.segments[index];
            let size = self.size_of(index);
            // All before the entry's batch is older than the time asked for.
            let older = segment.index.floor_time(timestamp).map_or(0, |entry| entry.relative);
            let from = self.log_start.max(segment.base + i64::from(older));
            let mut scan =
                BatchScan::new(&*segment.file, segment.start_for(from, size), size, BLOCK);
            while let Some((position, batch)) = scan.next()? {
                if batch.header().max_timestamp < timestamp {
                    continue;
                }
                let wanted = |offset, at| at >= timestamp && offset >= self.log_start;
                let found = find(&batch, wanted).map_err(|source| ReadError::Corrupt {
                    path: segment.file.path().to_owned(),
                    position,
                    source,
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp of all.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let mut best = (0, self.max_of(0)?);
        for index in 1..self.segments.len() {
            let max = self.max_of(index)?;
            if max.timestamp > best.1.timestamp {
                best = (index, max);
            }
        }
        let (index, max) = best;
        if max.timestamp == NO_TIMESTAMP {
            return Ok(None);
        }
        let segment = &self.segments[index];
        let size = self.size_of(index);
        let mut scan =
            BatchScan::new(&*segment.file, segment.start_for(max.offset, size), size, BLOCK);
        while let Some((position, batch)) = scan.next()? {
            if batch.header().max_timestamp != max.timestamp {
                continue;
            }
            return find(&batch, |_, timestamp| timestamp == max.timestamp).map_err(|source| {
                ReadError::Corrupt { path: segment.file.path().to_owned(), position, source }
            });
        }
        Ok(None)
    }

    /// The largest timestamp in a segment, and the last offset of its batch.
    pub(crate) fn max_of(&self, index: usize) -> Result<TimestampOffset, ReadError> {
        if index + 1 == self.segments.len() {
            return Ok(self.active_max);
        }
        self.segments[index].max_timestamp()
    }
}

fn find(
    batch: &RecordBatch,
    wanted: impl Fn(i64, i64) -> bool,
) -> Result<Option<TimestampOffset>, wire::batch::BatchError> {
    let leader_epoch = epoch_of(batch.header());
    let found = batch.find_record(wanted)?;
    Ok(found.map(|(offset, timestamp)| TimestampOffset { timestamp, offset, leader_epoch }))
}

pub(crate) fn epoch_of(header: &BatchHeader) -> Option<LeaderEpoch> {
    (header.leader_epoch >= 0).then_some(LeaderEpoch(header.leader_epoch))
}

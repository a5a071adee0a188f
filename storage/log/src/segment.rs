//! One segment, as readers and the writer share it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use disk::DiskFile;
use wire::batch::{BatchHeader, NO_TIMESTAMP};

use crate::error::ReadError;
use crate::index::Index;
use crate::scan::HeaderScan;
use crate::txn_index::TxnIndex;
use crate::view::TimestampOffset;

#[derive(Debug)]
pub(crate) struct Segment {
    pub base: i64,
    pub file: Arc<dyn DiskFile>,
    pub index: Index,
    pub txn_index: Arc<TxnIndex>,
    /// Bytes it has, once closed; those of the segment in use are its view's to say.
    pub size: u64,
    /// Its largest timestamp, once closed and asked for.
    pub max: OnceLock<TimestampOffset>,
    /// Its name in the directory is known to be durable.
    pub name_synced: Arc<AtomicBool>,
}

impl Segment {
    /// The largest timestamp of a closed segment, and the last offset of its batch.
    pub fn max_timestamp(&self) -> Result<TimestampOffset, ReadError> {
        if let Some(max) = self.max.get() {
            return Ok(*max);
        }
        let none =
            TimestampOffset { timestamp: NO_TIMESTAMP, offset: self.base, leader_epoch: None };
        let mut max = none;
        if self.index.has_times() {
            if let Some(last) = self.index.last_time_entry() {
                let offset = self.base + i64::from(last.relative);
                max = TimestampOffset { timestamp: last.timestamp, offset, ..none };
            }
        } else {
            let mut scan = HeaderScan::new(&*self.file, 0, self.size);
            while let Some((_, header)) = scan.next()? {
                if header.max_timestamp > max.timestamp {
                    let offset = header.last_offset();
                    max = TimestampOffset { timestamp: header.max_timestamp, offset, ..none };
                }
            }
        }
        Ok(*self.max.get_or_init(|| max))
    }

    /// The offset as the indexes hold it, at most the largest that they can.
    pub fn relative(&self, offset: i64) -> u32 {
        offset.saturating_sub(self.base).clamp(0, i64::from(i32::MAX)) as u32
    }

    /// Where to begin looking for the batch with this offset.
    pub fn start_for(&self, offset: i64, size: u64) -> u64 {
        if offset <= self.base {
            return 0;
        }
        let found = self.index.floor_offset(self.relative(offset));
        found
            .map(|entry| u64::from(entry.position))
            .filter(|position| *position < size)
            .unwrap_or(0)
    }

    /// The first batch that ends at or after `offset`, in a segment of `size` bytes.
    pub fn locate(&self, offset: i64, size: u64) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let mut scan = HeaderScan::new(&*self.file, self.start_for(offset, size), size);
        while let Some((position, header)) = scan.next()? {
            if header.last_offset() >= offset {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// Where offsets from `bound` on begin; the size if there are none.
    pub fn position_of(&self, bound: i64, size: u64) -> Result<u64, ReadError> {
        Ok(self.locate(bound, size)?.map_or(size, |(position, _)| position))
    }
}

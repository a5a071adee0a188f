//! The oldest segment of a log, and what decides whether it stays.

use disk::Disk;
use wire::batch::NO_TIMESTAMP;

use crate::error::ReadError;
use crate::scan::HeaderScan;
use crate::view::LogView;

/// Retention gives up whole segments, the oldest first, each by its newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldestSegment {
    pub base: i64,
    /// Where the next one begins, or the log ends.
    pub upper: i64,
    pub size: u64,
    /// Nothing is behind it.
    pub is_last: bool,
    /// The timestamp of its first batch; none where that has none, or there is no batch.
    pub first_ms: Option<i64>,
    /// Its largest timestamp; the file's, where its records have none.
    pub newest_ms: Option<i64>,
    pub by_file: bool,
}

impl LogView {
    /// Reads a little of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn oldest_segment(&self, disk: &dyn Disk) -> Result<OldestSegment, ReadError> {
        let (segment, size) = (&self.segments[0], self.size_of(0));
        let next = self.segments.get(1);
        let stamped = |ms: i64| Some(ms).filter(|ms| *ms != NO_TIMESTAMP);
        let first = HeaderScan::new(&*segment.file, 0, size).next()?;
        let first_ms = first.and_then(|(_, header)| stamped(header.max_timestamp));
        let newest_ms = stamped(self.max_of(0)?.timestamp);
        Ok(OldestSegment {
            base: segment.base,
            upper: next.map_or(self.end.offset, |next| next.base),
            size,
            is_last: next.is_none(),
            first_ms,
            newest_ms: newest_ms.or_else(|| self.modified_ms(0, disk)),
            by_file: newest_ms.is_none(),
        })
    }
}

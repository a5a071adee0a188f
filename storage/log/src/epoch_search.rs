//! The leader epochs of a segment whose batches need not all be looked at: epochs only ascend, so that between two batches of one
//! epoch there is no other.

use disk::DiskFile;
use wire::batch::BatchHeader;

use crate::epochs::LeaderEpochs;
use crate::error::ReadError;
use crate::index::{Index, Offsets};
use crate::scan::HeaderScan;

/// Brings what is known in line with the batches up to that of the index's last entry, and with `size` those behind it.
pub(crate) fn collect_epochs(
    file: &dyn DiskFile,
    index: &Index,
    size: Option<u64>,
    epochs: &mut LeaderEpochs,
) -> Result<(), ReadError> {
    let index = index.offsets();
    let entries = index.len();
    let mut search = Search { file, index, end: size.map_or_else(|| file.len(), Ok)?, epochs };
    if entries > 0 {
        let first = search.batch(0)?;
        search.note(first);
        search.between(0, entries)?;
    }
    if size.is_some() {
        search.walk(search.position(entries), u64::MAX)?;
    }
    Ok(())
}

struct Search<'a> {
    file: &'a dyn DiskFile,
    index: Offsets<'a>,
    end: u64,
    epochs: &'a mut LeaderEpochs,
}

impl Search<'_> {
    /// Of the segment's first batch, and then of the index's entries.
    fn position(&self, point: usize) -> u64 {
        let entry = point.checked_sub(1).map(|entry| self.index.get(entry));
        entry.map_or(0, |entry| u64::from(entry.position))
    }

    fn batch(&self, point: usize) -> Result<Option<BatchHeader>, ReadError> {
        let mut scan = HeaderScan::new(self.file, self.position(point), self.end);
        Ok(scan.next()?.map(|(_, header)| header))
    }

    fn between(&mut self, low: usize, high: usize) -> Result<(), ReadError> {
        let epoch = |header: Option<BatchHeader>| header.map(|header| header.leader_epoch);
        if epoch(self.batch(low)?) == epoch(self.batch(high)?) {
            return Ok(());
        }
        if high - low == 1 {
            return self.walk(self.position(low), self.position(high));
        }
        let middle = low + (high - low) / 2;
        self.between(low, middle)?;
        self.between(middle, high)
    }

    fn walk(&mut self, from: u64, to: u64) -> Result<(), ReadError> {
        let mut scan = HeaderScan::new(self.file, from, self.end);
        while let Some((position, header)) = scan.next()? {
            self.note(Some(header));
            // What lies behind the last entry may be torn.
            if position >= to {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, header: Option<BatchHeader>) {
        if let Some(header) = header {
            self.epochs.note(&header);
        }
    }
}

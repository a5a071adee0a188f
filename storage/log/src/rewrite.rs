//! After a sync that failed: writing again what it left.
//!
//! The kernel takes such pages for written. It may keep them, and then no later sync brings them to the disk; or drop them, and
//! then what is read is older than what was written. So all that is not durable is written again, and only then held against what
//! the log knows: from there on it cannot be dropped unseen. Kafka takes the directory offline at the first failure.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use disk::{DiskError, DiskFile};
use wire::batch::{BatchError, NO_LEADER_EPOCH, NO_TIMESTAMP};

use crate::error::{OpenError, ReadError};
use crate::index::{ClosedIndex, Index};
use crate::log::Log;
use crate::names::{TXN_INDEX, file_name};
use crate::producer_snapshot::{
    ProducerSnapshotError, encode_producer_snapshot, read_producer_snapshot,
    write_producer_snapshot,
};
use crate::recover::Scan;
use crate::scan::HeaderScan;
use crate::segment::Segment;
use crate::truncate::remove_if_there;
use crate::txn_index::TxnIndex;

const PIECE: usize = 1 << 20;

impl Log {
    /// Writes again what is not known to be durable, records from their file, after which they must be whole, and all beside
    /// them from the records; views given out before keep the old files. Where it fails the log directory is not to be used.
    pub fn rewrite_unsynced(&mut self) -> Result<(), OpenError> {
        self.finish_swap()?;
        self.rewrite_snapshots()?;
        let (view, first) = (self.view(), self.first_unsynced());
        let aborted = self.segments[first..].iter().any(|segment| segment.txn_index.exists());
        if aborted {
            // First: whoever opens the log finds that the indexes of transactions are to be made.
            let base = self.segments[first].base;
            self.drop_snapshots(|offset| offset > base)?;
        }
        let mut segments = self.segments[..first].to_vec();
        for (index, segment) in self.segments.iter().enumerate().skip(first) {
            let size = view.size_of(index);
            let position = segment.position_of(self.recovery_point, size)?;
            rewrite(&*segment.file, position, size)?;
            self.verify(index, position, size)?;
            let (segment, indexed_timestamp) = self.remade(segment, size)?;
            segments.push(Arc::new(segment));
            // In the end that of the segment in use.
            self.active.indexed_timestamp = indexed_timestamp;
        }
        self.segments = Arc::new(segments);
        if aborted {
            let from = self.restore_producers()?;
            self.replay_producers(from, |_| {})?;
        }
        Ok(())
    }

    /// Those that were not synced yet; one that is not whole tells nothing.
    fn rewrite_snapshots(&mut self) -> Result<(), DiskError> {
        let mut unsynced = self.sync_state.unsynced_snapshots().clone();
        unsynced.retain(|offset| self.snapshots.contains(offset));
        for offset in unsynced {
            match read_producer_snapshot(&*self.disk, &self.dir, offset) {
                Ok(producers) => {
                    let bytes = encode_producer_snapshot(&producers);
                    write_producer_snapshot(&*self.disk, &self.dir, offset, &bytes)?;
                }
                Err(ProducerSnapshotError::Disk(error)) if !error.is_too_large() => {
                    return Err(error);
                }
                Err(_) => self.drop_snapshots(|found| found == offset)?,
            }
        }
        Ok(())
    }

    /// Whether what a segment holds from `position` on is what was appended.
    fn verify(&self, index: usize, position: u64, size: u64) -> Result<(), ReadError> {
        let segment = &self.segments[index];
        let next = self.segments.get(index + 1);
        let end = next.map_or(self.active.next_offset, |next| next.base);
        let mut expected = (position == 0).then_some(segment.base);
        let follows = |expected: Option<i64>, base| {
            expected.is_none_or(|expected| {
                base == expected || (base > expected && self.config.compacted)
            })
        };
        let corrupt = |position, why| ReadError::Corrupt {
            path: segment.file.path().to_owned(),
            position,
            source: BatchError::InvalidHeader(why),
        };
        let mut scan = HeaderScan::verified(&*segment.file, position, size);
        while let Some((at, header)) = scan.next()? {
            // Neither is under the CRC.
            let epoch = self.epochs.epoch_for_offset(header.last_offset());
            let of_epoch = epoch.is_none_or(|epoch| epoch.0 == header.leader_epoch);
            if !follows(expected, header.base_offset) {
                return Err(corrupt(at, "its offset does not follow"));
            }
            if header.leader_epoch != NO_LEADER_EPOCH && !of_epoch {
                return Err(corrupt(at, "its leader epoch is another's"));
            }
            expected = Some(header.next_offset());
        }
        if follows(expected, end) { Ok(()) } else { Err(corrupt(size, "there were more")) }
    }

    /// The segment with its index from its records, and without one of transactions; and the last timestamp that is indexed.
    fn remade(&self, segment: &Segment, size: u64) -> Result<(Segment, i64), OpenError> {
        let base = segment.base;
        let in_use = base == self.active_segment().base;
        let mut indexed_timestamp = NO_TIMESTAMP;
        let index = match &segment.index {
            Index::Active(index) => {
                index.retire();
                let mut scanned = self.rescan(segment, size, 0)?;
                if let (Index::Active(index), false) = (&scanned.index, in_use) {
                    scanned.active.index_timestamp(index, base);
                }
                indexed_timestamp = scanned.active.indexed_timestamp;
                scanned.index
            }
            Index::Closed(index) => {
                index.replace();
                let scan = Scan {
                    file: &*segment.file,
                    base,
                    size,
                    config: &self.config,
                    now_ms: 0,
                    verify: false,
                    min_epoch: NO_LEADER_EPOCH,
                };
                let mut scanned = scan.run(Index::Active(Box::default()), None)?;
                if let Index::Active(index) = &scanned.index {
                    scanned.active.index_timestamp(index, base);
                    index.write(&*self.disk, &self.dir, base)?;
                }
                Index::Closed(ClosedIndex::new(self.disk.clone(), self.dir.clone(), base))
            }
        };
        let path = self.dir.join(file_name(base, TXN_INDEX));
        remove_if_there(&*self.disk, &path)?;
        let remade = Segment {
            base,
            file: segment.file.clone(),
            index,
            txn_index: Arc::new(TxnIndex::none(path)),
            size: segment.size,
            max: segment.max.get().map_or_else(OnceLock::new, |max| OnceLock::from(*max)),
            name_synced: Arc::new(AtomicBool::new(false)),
        };
        Ok((remade, indexed_timestamp))
    }
}

fn rewrite(file: &dyn DiskFile, mut position: u64, size: u64) -> Result<(), ReadError> {
    let mut piece = vec![0; (size - position).min(PIECE as u64) as usize];
    while position < size {
        let count = (size - position).min(PIECE as u64) as usize;
        let piece = &mut piece[..count];
        file.read_exact_at(piece, position)?;
        file.write_at(piece, position)?;
        position += count as u64;
    }
    Ok(())
}

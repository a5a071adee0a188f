//! The first reading of a pass (Kafka: `Cleaner.buildOffsetMap`): the dirty section, as far as its keys fit.

use wire::batch::{BatchError, BatchHeader};

use super::offset_map::OffsetMap;
use super::pass::{Source, Work};
use super::reader::BatchReader;
use super::records::{Runs, control_kind, payload};
use super::transactions::CleanedTransactions;
use super::{CleanerStats, CompactionError};

#[derive(Debug)]
pub(crate) struct Mapping {
    pub map: OffsetMap,
    transactions: CleanedTransactions,
    /// Offsets below it are clean.
    from: i64,
    /// The segment at hand.
    segment: usize,
    reader: Option<BatchReader>,
    memory: Vec<u8>,
    /// See [`CompactionOptions::uncompressed_bytes`](super::CompactionOptions::uncompressed_bytes).
    most: usize,
}

impl Mapping {
    pub fn new(map: OffsetMap, source: &Source) -> Result<Mapping, CompactionError> {
        let from = source.first_dirty;
        let mut transactions = CleanedTransactions::default();
        if from < source.bound {
            transactions.add_aborted(source.view.aborted_transactions(from, source.bound)?);
        }
        let segment = source.view.segment_index(from);
        let (memory, most) = (Vec::new(), source.options.uncompressed_bytes);
        Ok(Mapping { map, transactions, from, segment, reader: None, memory, most })
    }

    /// Reads a buffer's worth. True when all is in the map, or the map is full.
    pub fn step(&mut self, source: &Source, work: &mut Work) -> Result<bool, CompactionError> {
        let segment = &source.view.segments[self.segment];
        if segment.base >= source.bound || self.from >= source.bound {
            return Ok(true);
        }
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => source.reader(self.segment, segment.start_for(self.from, segment.size)),
        };
        let read = reader.fill()?;
        work.io += read as u64;
        while let Some((header, batch)) = reader.next()? {
            let full = self.read(&header, batch, &mut work.stats);
            if full.map_err(|why| reader.corrupt(why))? {
                return Ok(true);
            }
        }
        if read > 0 {
            self.reader = Some(reader);
            return Ok(false);
        }
        // Where offsets are missing at the segment's end there is nothing to look at.
        self.map.set_latest_offset(source.next_base(self.segment).min(source.bound) - 1);
        self.segment += 1;
        Ok(false)
    }

    /// True if the map is full: the batch counts as far as the map's latest offset.
    fn read(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        stats: &mut CleanerStats,
    ) -> Result<bool, BatchError> {
        stats.map_bytes_read += batch.len() as u64;
        stats.map_messages_read += header.count as u64;
        if header.is_control() {
            let records = payload(header, batch, &mut self.memory, self.most)?;
            let kind = control_kind(header, records)?;
            self.transactions.on_control_batch(header, kind);
        } else if !self.transactions.on_batch(header) && self.put_keys(header, batch)? {
            return Ok(true);
        }
        if header.last_offset() >= self.from {
            self.map.set_latest_offset(header.last_offset());
        }
        Ok(false)
    }

    fn put_keys(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<bool, BatchError> {
        let records = match payload(header, batch, &mut self.memory, self.most) {
            Err(error) if error.grows_too_large() => return Ok(false),
            records => records?,
        };
        let mut runs = Runs::new(header, records);
        loop {
            let run = runs.next(Some(&self.map))?;
            if run.is_empty() {
                return Ok(false);
            }
            for record in run {
                let counts = record.has_key && record.offset >= self.from;
                if counts && !self.map.put(record.hash, record.offset) {
                    return Ok(true);
                }
            }
        }
    }
}

//! Walking over the batches of a file that may be damaged, as Kafka's `FileLogInputStream` does.

use disk::{Disk, DiskFile, Open};
use std::path::Path;
use std::sync::Arc;
use wire::batch::{BatchError, BatchHeader, HEADER_LEN, RecordBatch, Records, crc};

use super::DumpError;

/// Up to the magic: with no more than this left Kafka looks for no further batch.
const UP_TO_MAGIC: u64 = 17;
const LOG_OVERHEAD: u64 = 12;
/// What the shortest entry counts: one of the oldest format.
const LEAST: i32 = 14;
const CRC_FROM: u64 = 21;
const BLOCK: usize = 64 * 1024;
/// The largest batch whose records are read, and the largest they may become when decompressed.
const LARGEST: usize = 64 << 20;

/// A log, or a part of it.
pub(super) struct Batches {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

/// A batch whose bytes all are there.
pub(super) struct Found {
    file: Arc<dyn DiskFile>,
    pub position: u64,
    pub header: BatchHeader,
}

impl Batches {
    pub fn open(disk: &dyn Disk, path: &Path, max_bytes: Option<u64>) -> Result<Self, DumpError> {
        let file = disk.open(path, Open::Read)?;
        let len = file.len()?;
        let end = max_bytes.map_or(len, |max| max.min(len));
        Ok(Batches { file, at: 0, end })
    }

    /// Those from a position on, in no more than `max` bytes; none where the position lies outside.
    pub fn from(&self, position: i64, max: u64) -> Option<Batches> {
        let at = u64::try_from(position).ok().filter(|at| *at <= self.end)?;
        let end = self.end.min(at.saturating_add(max));
        Some(Batches { file: self.file.clone(), at, end })
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// `None` where what is left is no whole batch.
    pub fn next(&mut self) -> Result<Option<Found>, DumpError> {
        let (at, left) = (self.at, self.end - self.at);
        if left <= UP_TO_MAGIC {
            return Ok(None);
        }
        let mut head = [0; HEADER_LEN];
        let head = &mut head[..left.min(HEADER_LEN as u64) as usize];
        self.file.read_exact_at(head, at)?;
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if length < LEAST {
            let why = format!("a batch of length {length}, less than the smallest, {LEAST}");
            return Err(self.corrupt(why));
        }
        let size = LOG_OVERHEAD + length as u64;
        if size > left {
            return Ok(None);
        }
        let header = BatchHeader::parse(head).map_err(|error| self.corrupt(error.to_string()))?;
        self.at += size;
        Ok(Some(Found { file: self.file.clone(), position: at, header }))
    }

    fn corrupt(&self, why: String) -> DumpError {
        DumpError::Corrupt { path: self.file.path().to_owned(), position: self.at, why }
    }
}

impl Found {
    pub fn size(&self) -> u64 {
        self.header.size() as u64
    }

    /// Whether the checksum is that of the bytes.
    pub fn is_valid(&self) -> Result<bool, DumpError> {
        let (mut at, end) = (self.position + CRC_FROM, self.position + self.size());
        let (mut sum, mut block) = (0, vec![0; BLOCK.min(self.header.size())]);
        while at < end {
            let len = block.len().min((end - at) as usize);
            self.file.read_exact_at(&mut block[..len], at)?;
            sum = crc::crc32c_append(sum, &block[..len]);
            at += len as u64;
        }
        Ok(sum == self.header.crc)
    }

    pub fn records(&self) -> Result<Records, DumpError> {
        let size = self.header.size();
        if size > LARGEST {
            let why = format!("its {size} bytes are more than the {LARGEST} that are read at once");
            return Err(self.corrupt(why));
        }
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.position)?;
        let records = RecordBatch::parse(&bytes.into()).and_then(|batch| batch.records(LARGEST));
        records.map_err(|error| self.broken(&error))
    }

    pub fn broken(&self, error: &BatchError) -> DumpError {
        self.corrupt(error.to_string())
    }

    fn corrupt(&self, why: String) -> DumpError {
        let path = self.file.path().to_owned();
        DumpError::Corrupt { path, position: self.position, why }
    }
}

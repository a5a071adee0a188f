//! Walking over the batches of a segment file.

use bytes::Bytes;
use disk::DiskFile;
use wire::batch::{BatchError, BatchHeader, Batches, HEADER_LEN, RecordBatch, batches, crc};

use crate::error::ReadError;

fn corrupt(file: &dyn DiskFile, position: u64, source: BatchError) -> ReadError {
    ReadError::Corrupt { path: file.path().to_owned(), position, source }
}

fn cut_off(file: &dyn DiskFile, position: u64, end: u64) -> ReadError {
    let have = (end - position) as usize;
    corrupt(file, position, BatchError::Truncated { need: have + 1, have })
}

/// Reads at once this much, which at most index intervals holds the headers looked for.
const HEADER_BLOCK: usize = 4096;

/// Where in a batch the bytes begin that its CRC covers.
const CRC_FROM: u64 = 21;

/// Where every byte is looked at.
const VERIFIED_BLOCK: usize = 1 << 20;

/// Reads headers, and perhaps CRCs, through one block, whatever sizes the headers tell of. `end` is the end of a batch.
pub(crate) struct HeaderScan<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    block: Vec<u8>,
    block_at: u64,
    max_block: usize,
    verify: bool,
}

impl<'a> HeaderScan<'a> {
    pub fn new(file: &'a dyn DiskFile, at: u64, end: u64) -> Self {
        let (block, max_block) = (Vec::new(), HEADER_BLOCK);
        HeaderScan { file, at, end, block, block_at: 0, max_block, verify: false }
    }

    /// Gives no batch that is not what was appended: by its header's own sense, and its CRC.
    pub fn verified(file: &'a dyn DiskFile, at: u64, end: u64) -> Self {
        HeaderScan { max_block: VERIFIED_BLOCK, verify: true, ..HeaderScan::new(file, at, end) }
    }

    /// The next batch's position and header.
    pub fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let position = self.at;
        self.load(position, (self.end - position).min(HEADER_LEN as u64) as usize)?;
        let header = BatchHeader::parse(&self.block[(position - self.block_at) as usize..])
            .map_err(|source| corrupt(self.file, position, source))?;
        self.at = position + header.size() as u64;
        if self.at > self.end {
            return Err(cut_off(self.file, position, self.end));
        }
        if self.verify {
            header.validate().map_err(|source| corrupt(self.file, position, source))?;
            let computed = self.crc(position + CRC_FROM)?;
            if computed != header.crc {
                let source = BatchError::Crc { stored: header.crc, computed };
                return Err(corrupt(self.file, position, source));
            }
        }
        Ok(Some((position, header)))
    }

    /// Has `len` bytes from `position` on in the block.
    fn load(&mut self, position: u64, len: usize) -> Result<(), ReadError> {
        let block_end = self.block_at + self.block.len() as u64;
        if position < self.block_at || position + len as u64 > block_end {
            let len = (self.end - position).min(self.max_block as u64) as usize;
            self.block.resize(len, 0);
            self.block_at = position;
            self.file.read_exact_at(&mut self.block, position)?;
        }
        Ok(())
    }

    /// Of what lies from `at` to the end of the batch at hand.
    fn crc(&mut self, mut at: u64) -> Result<u32, ReadError> {
        let mut crc = 0;
        while at < self.at {
            self.load(at, 1)?;
            let to = self.block.len().min((self.at - self.block_at) as usize);
            crc = crc::crc32c_append(crc, &self.block[(at - self.block_at) as usize..to]);
            at = self.block_at + to as u64;
        }
        Ok(crc)
    }
}

/// Reads whole batches, in blocks.
pub(crate) struct BatchScan<'a> {
    file: &'a dyn DiskFile,
    /// Where what `batches` has left begins.
    at: u64,
    end: u64,
    block: usize,
    batches: Batches,
}

impl<'a> BatchScan<'a> {
    pub fn new(file: &'a dyn DiskFile, at: u64, end: u64, block: usize) -> Self {
        BatchScan { file, at, end, block, batches: batches(Bytes::new()) }
    }

    /// The next batch and its position. A batch that reaches beyond the end is corrupt.
    pub fn next(&mut self) -> Result<Option<(u64, RecordBatch)>, ReadError> {
        let mut block = self.block;
        loop {
            if let Some(next) = self.batches.next() {
                let batch = next.map_err(|source| corrupt(self.file, self.at, source))?;
                let position = self.at;
                self.at += batch.size() as u64;
                return Ok(Some((position, batch)));
            }
            if self.at >= self.end {
                return Ok(None);
            }
            let left = self.end - self.at;
            if self.batches.remaining() as u64 == left {
                return Err(cut_off(self.file, self.at, self.end));
            }
            // A batch that the last block held only in part: the next one is made to hold it.
            if self.batches.remaining() > 0 {
                block = block.max(self.size_of_next(left)?);
            }
            let mut bytes = vec![0; left.min(block as u64) as usize];
            self.file.read_exact_at(&mut bytes, self.at)?;
            self.batches = batches(bytes.into());
            block = block.saturating_mul(2);
        }
    }

    fn size_of_next(&self, left: u64) -> Result<usize, ReadError> {
        let mut head = [0; HEADER_LEN];
        if left < HEADER_LEN as u64 {
            return Err(cut_off(self.file, self.at, self.end));
        }
        self.file.read_exact_at(&mut head, self.at)?;
        let header =
            BatchHeader::parse(&head).map_err(|source| corrupt(self.file, self.at, source))?;
        if header.size() as u64 > left {
            return Err(cut_off(self.file, self.at, self.end));
        }
        Ok(header.size())
    }
}

//! Reading a segment's batches through one buffer, which grows only for a batch that is larger.

use std::ops::Range;
use std::sync::Arc;

use disk::DiskFile;
use wire::batch::{BatchError, BatchHeader, HEADER_LEN, crc};

use crate::error::ReadError;
use crate::scan::HeaderScan;

/// Where the bytes begin that the CRC covers.
const CRC_FROM: usize = 21;

#[derive(Debug)]
pub(crate) struct BatchReader {
    file: Arc<dyn DiskFile>,
    /// Where the batches that were not yet given begin, in the file.
    position: u64,
    /// Where the batch begins that was looked at last.
    looked_at: u64,
    end: u64,
    /// Those that may still come.
    offsets: Range<i64>,
    io_buffer: usize,
    buffer: Vec<u8>,
    /// Of the buffer, what was given and what is there.
    given: usize,
    filled: usize,
}

impl BatchReader {
    /// Of a segment of `end` bytes whose batches have offsets within `offsets`.
    pub fn new(
        file: Arc<dyn DiskFile>,
        position: u64,
        end: u64,
        offsets: Range<i64>,
        io_buffer: usize,
    ) -> BatchReader {
        BatchReader {
            file,
            position,
            looked_at: position,
            end,
            offsets,
            io_buffer: io_buffer.max(HEADER_LEN),
            buffer: Vec::new(),
            given: 0,
            filled: 0,
        }
    }

    /// Reads on, at least one whole batch; how many bytes, 0 at the end.
    pub fn fill(&mut self) -> Result<usize, ReadError> {
        (self.given, self.filled) = (0, 0);
        if self.position >= self.end {
            return Ok(0);
        }
        let left = self.end - self.position;
        self.looked_at = self.position;
        self.read(left.min(self.io_buffer as u64) as usize)?;
        let header = self.header()?;
        if header.size() > self.filled {
            if header.size() as u64 > left {
                let have = left as usize;
                return Err(self.corrupt(BatchError::Truncated { need: header.size(), have }));
            }
            // No memory for a length that is not a whole batch's.
            let end = self.position + header.size() as u64;
            HeaderScan::verified(&*self.file, self.position, end).next()?;
            self.read(header.size())?;
        } else if self.buffer.len() > self.io_buffer {
            self.buffer.truncate(self.io_buffer);
            self.buffer.shrink_to_fit();
        }
        Ok(self.filled)
    }

    /// Bytes that were not given yet.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    fn read(&mut self, len: usize) -> Result<(), ReadError> {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        self.file.read_exact_at(&mut self.buffer[..len], self.position)?;
        self.filled = len;
        Ok(())
    }

    fn header(&self) -> Result<BatchHeader, ReadError> {
        BatchHeader::parse(&self.buffer[self.given..self.filled]).map_err(|why| self.corrupt(why))
    }

    /// The next whole batch of what was read, checked: header, length, offsets, CRC.
    pub fn next(&mut self) -> Result<Option<(BatchHeader, &[u8])>, ReadError> {
        if self.filled - self.given < HEADER_LEN {
            return Ok(None);
        }
        self.looked_at = self.position;
        let header = self.header()?;
        let end = self.given + header.size();
        if end > self.filled {
            return Ok(None);
        }
        let bytes = &self.buffer[self.given..end];
        self.check(&header, bytes).map_err(|why| self.corrupt(why))?;
        self.offsets.start = header.next_offset();
        self.given = end;
        self.position += header.size() as u64;
        Ok(Some((header, &self.buffer[end - header.size()..end])))
    }

    fn check(&self, header: &BatchHeader, bytes: &[u8]) -> Result<(), BatchError> {
        header.validate()?;
        // The base offset is not under the CRC.
        if header.base_offset < self.offsets.start || header.last_offset() >= self.offsets.end {
            return Err(BatchError::InvalidHeader(
                "its offsets do not lie between its neighbours'",
            ));
        }
        match crc::crc32c(&bytes[CRC_FROM..]) {
            computed if computed != header.crc => {
                Err(BatchError::Crc { stored: header.crc, computed })
            }
            _ => Ok(()),
        }
    }

    /// An error in the batch that was looked at last.
    pub fn corrupt(&self, source: BatchError) -> ReadError {
        let path = self.file.path().to_owned();
        ReadError::Corrupt { path, position: self.looked_at, source }
    }
}

//! Records read out of compressed data, of which a window is held at a time.

use super::BatchError;
use super::records::RawRecord;
use super::varint::{Cursor, Fields};
use crate::compression::{Codec, Inflater};

/// What [`InflatedRecords`] tells of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
}

impl From<RawRecord> for Head {
    fn from(record: RawRecord) -> Head {
        Head {
            timestamp_delta: record.timestamp_delta,
            offset_delta: record.offset_delta,
            has_key: !record.key.is_null(),
        }
    }
}

/// Reads the structure of each record, checks it, and passes over what it holds.
pub(super) struct InflatedRecords<'a> {
    inflater: Inflater<'a>,
    /// In the window.
    at: usize,
    /// Bytes before the window.
    before: usize,
    /// Of the record that is being read.
    end: usize,
    left: i32,
}

impl<'a> InflatedRecords<'a> {
    pub fn new(
        codec: Codec,
        payload: &'a [u8],
        count: i32,
        limit: usize,
    ) -> Result<Self, BatchError> {
        let inflater = Inflater::new(codec, payload, limit)?;
        Ok(InflatedRecords { inflater, at: 0, before: 0, end: usize::MAX, left: count })
    }

    #[inline]
    pub fn next(&mut self) -> Result<Option<Head>, BatchError> {
        if self.left <= 0 {
            return Ok(None);
        }
        self.end = usize::MAX;
        let size = usize::try_from(self.varint()?)
            .map_err(|_| BatchError::InvalidRecord("its size is negative"))?;
        let here = &self.inflater.window()[self.at..];
        let record = if let Some(whole) = here.get(..size) {
            self.at += size;
            RawRecord::fields(&mut Cursor::new(whole, 0), size)?
        } else {
            self.end = self.position() + size;
            RawRecord::fields(self, self.end)?
        };
        self.left -= 1;
        if self.left == 0 && (!self.is_read() || self.advance()?) {
            return Err(BatchError::InvalidRecord("bytes are left after the last record"));
        }
        Ok(Some(record.into()))
    }

    fn is_read(&self) -> bool {
        self.at == self.inflater.window().len()
    }

    fn advance(&mut self) -> Result<bool, BatchError> {
        self.before += self.inflater.window().len();
        self.at = 0;
        Ok(self.inflater.advance()?)
    }
}

impl Fields for InflatedRecords<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, BatchError> {
        if self.position() == self.end || (self.is_read() && !self.advance()?) {
            return Err(BatchError::InvalidRecord("it ends too early"));
        }
        let byte = self.inflater.window()[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, len: usize) -> Result<(), BatchError> {
        let mut left = len;
        if left > self.end - self.position() {
            return Err(BatchError::InvalidRecord("a length points past its end"));
        }
        loop {
            let here = (self.inflater.window().len() - self.at).min(left);
            self.at += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if !self.advance()? {
                return Err(BatchError::InvalidRecord("a length points past its end"));
            }
        }
    }

    #[inline]
    fn position(&self) -> usize {
        self.before + self.at
    }
}

//! The records inside a batch.

use bytes::Bytes;

use super::varint::{Cursor, Fields, Span};
use super::{BatchError, BatchHeader, TimestampType};

/// One record; key, value and headers are slices of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// The batch's append time if the batch is of that type.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// The headers of a record, in order and with duplicates; decoded as they are iterated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Their count and they, as encoded; empty if there are none.
    bytes: Bytes,
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Text by convention only.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Headers {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header> + '_ {
        let mut cursor = Cursor::new(&self.bytes, 0);
        let _count = cursor.varint();
        (0..self.count).map_while(move |_| {
            let key = cursor.nullable_span().ok()?.range()?;
            let value = cursor.nullable_span().ok()?.range();
            Some(Header {
                key: self.bytes.slice(key),
                value: value.map(|range| self.bytes.slice(range)),
            })
        })
    }
}

/// Where the parts of a record lie in an uncompressed payload; found without copying or allocating anything.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// Where all lies that depends neither on the batch's base timestamp nor on its base offset: key, value, headers.
    pub fields_start: usize,
    pub key: Span,
    pub value: Span,
    pub header_count: usize,
    /// Where the count of headers lies, and they behind it.
    pub headers_start: usize,
    pub end: usize,
}

impl RawRecord {
    /// Reads the record that begins at `at`, and all its structure.
    #[inline]
    pub fn parse(bytes: &[u8], at: usize) -> Result<RawRecord, BatchError> {
        let mut cursor = Cursor::new(bytes, at);
        let size = cursor.varint()?;
        if size < 0 || size as usize > cursor.remaining() {
            return Err(BatchError::InvalidRecord("its size points past the batch's end"));
        }
        let end = cursor.position() + size as usize;
        RawRecord::fields(&mut Cursor::new(&bytes[..end], cursor.position()), end)
    }

    /// Reads what follows the size of a record that ends at `end`.
    #[inline]
    pub(super) fn fields(cursor: &mut impl Fields, end: usize) -> Result<RawRecord, BatchError> {
        cursor.byte()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let fields_start = cursor.position();
        let key = cursor.nullable_span()?;
        let value = cursor.nullable_span()?;
        let headers_start = cursor.position();
        let header_count = cursor.varint()?;
        if header_count < 0 {
            return Err(BatchError::InvalidRecord("its number of headers is negative"));
        }
        for _ in 0..header_count {
            if cursor.nullable_span()?.is_null() {
                return Err(BatchError::InvalidRecord("a header's key is null"));
            }
            cursor.nullable_span()?;
        }
        if cursor.position() != end {
            return Err(BatchError::InvalidRecord("its size is larger than its fields"));
        }
        Ok(RawRecord {
            timestamp_delta,
            offset_delta,
            fields_start,
            key,
            value,
            header_count: header_count as usize,
            headers_start,
            end,
        })
    }
}

/// Iterates over the raw records of an uncompressed payload, and checks that it holds exactly the
/// declared number.
pub struct RawRecords<'a> {
    bytes: &'a [u8],
    at: usize,
    left: i32,
}

impl<'a> RawRecords<'a> {
    pub fn new(bytes: &'a [u8], count: i32) -> Self {
        RawRecords { bytes, at: 0, left: count }
    }

    #[inline]
    #[expect(clippy::should_implement_trait, reason = "its error comes first")]
    pub fn next(&mut self) -> Result<Option<RawRecord>, BatchError> {
        if self.left <= 0 {
            return Ok(None);
        }
        let record = RawRecord::parse(self.bytes, self.at)?;
        self.at = record.end;
        self.left -= 1;
        if self.left == 0 && self.at != self.bytes.len() {
            return Err(BatchError::InvalidRecord("bytes are left after the last record"));
        }
        Ok(Some(record))
    }
}

/// See [`super::RecordBatch::records`]. Ends after an error.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    at: usize,
    left: i32,
}

impl Records {
    pub(super) fn new(header: BatchHeader, bytes: Bytes) -> Records {
        Records { header, bytes, at: 0, left: header.count }
    }

    /// Bytes of all of them, decompressed.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn advance(&mut self) -> Result<Option<Record>, BatchError> {
        let mut raw = RawRecords { bytes: &self.bytes, at: self.at, left: self.left };
        let Some(found) = raw.next()? else { return Ok(None) };
        (self.at, self.left) = (raw.at, raw.left);
        let slice = |span: Span| span.range().map(|range| self.bytes.slice(range));
        let headers = Headers {
            bytes: if found.header_count == 0 {
                Bytes::new()
            } else {
                self.bytes.slice(found.headers_start..found.end)
            },
            count: found.header_count,
        };
        Ok(Some(Record {
            offset: self.header.base_offset.wrapping_add(i64::from(found.offset_delta)),
            timestamp: record_timestamp(&self.header, found.timestamp_delta),
            key: slice(found.key),
            value: slice(found.value),
            headers,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.left = 0;
        }
        next.transpose()
    }
}

pub(super) fn record_timestamp(header: &BatchHeader, delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

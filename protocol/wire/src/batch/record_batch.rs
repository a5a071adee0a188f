//! One batch and the run of batches in a buffer.

use bytes::Bytes;

use super::header::{LOG_OVERHEAD, TimestampType, peek_length_and_magic};
use super::inflated::{Head, InflatedRecords};
use super::records::{RawRecords, Records, record_timestamp};
use super::{BatchError, BatchHeader, HEADER_LEN};
use crate::compression;

/// A whole batch: its header, as it now stands, and the bytes it arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
    /// The header differs from the first 61 of `bytes`.
    patched: bool,
}

impl RecordBatch {
    /// Takes the batch that `bytes` begins with. The CRC is not looked at.
    pub fn parse(bytes: &Bytes) -> Result<RecordBatch, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size();
        if bytes.len() < size {
            return Err(BatchError::Truncated { need: size, have: bytes.len() });
        }
        Ok(RecordBatch { header, bytes: bytes.slice(..size), patched: false })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes on disk and on the wire.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The records as they lie, compressed if they are.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN..)
    }

    /// Checks the CRC against the bytes.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = if self.patched {
            self.header.compute_crc(&self.bytes[HEADER_LEN..])
        } else {
            super::crc::crc32c(&self.bytes[21..])
        };
        if computed != self.header.crc {
            return Err(BatchError::Crc { stored: self.header.crc, computed });
        }
        Ok(())
    }

    /// What a leader writes over every batch it appends. Neither field is under the CRC.
    pub fn assign(&mut self, base_offset: i64, leader_epoch: i32) {
        if self.header.base_offset != base_offset || self.header.leader_epoch != leader_epoch {
            self.header.base_offset = base_offset;
            self.header.leader_epoch = leader_epoch;
            self.patched = true;
        }
    }

    /// Sets timestamp type and maximum, and the CRC with them when they change.
    pub fn set_max_timestamp(&mut self, kind: TimestampType, max_timestamp: i64) {
        if self.header.timestamp_type() == kind && self.header.max_timestamp == max_timestamp {
            return;
        }
        self.header.set_timestamps(kind, max_timestamp);
        self.header.crc = self.header.compute_crc(&self.bytes[HEADER_LEN..]);
        self.patched = true;
    }

    /// The header to write in place of the one in the bytes, if they differ, and the bytes that follow it.
    pub fn parts(&self) -> (Option<[u8; HEADER_LEN]>, Bytes) {
        if self.patched {
            (Some(self.header.encode()), self.bytes.slice(HEADER_LEN..))
        } else {
            (None, self.bytes.clone())
        }
    }

    /// The batch in one piece; copies only if the header was patched.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts() {
            (None, whole) => whole,
            (Some(head), rest) => {
                let mut out = Vec::with_capacity(self.size());
                out.extend_from_slice(&head);
                out.extend_from_slice(&rest);
                out.into()
            }
        }
    }

    /// Iterates over the records. Compressed ones are decompressed here, to at most `limit` bytes;
    /// of uncompressed ones nothing is copied.
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        self.header.validate()?;
        if self.header.count == 0 {
            return Ok(Records::new(self.header, Bytes::new()));
        }
        let payload = match self.header.codec()? {
            compression::Codec::None => self.payload(),
            codec => compression::decompress(codec, &self.bytes[HEADER_LEN..], limit)?.into(),
        };
        Ok(Records::new(self.header, payload))
    }

    /// Offset and timestamp of the first record that is `wanted` by them. However much comes out of a compressed batch, little
    /// of it is held at a time.
    pub fn find_record(
        &self,
        wanted: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<(i64, i64)>, BatchError> {
        let header = &self.header;
        header.validate()?;
        if header.count == 0 {
            return Ok(None);
        }
        let payload = &self.bytes[HEADER_LEN..];
        let found = |head: Head| {
            let offset = header.base_offset.wrapping_add(i64::from(head.offset_delta));
            let timestamp = record_timestamp(header, head.timestamp_delta);
            wanted(offset, timestamp).then_some((offset, timestamp))
        };
        match header.codec()? {
            compression::Codec::None => {
                let mut records = RawRecords::new(payload, header.count);
                first(found, || Ok(records.next()?.map(Head::from)))
            }
            codec => {
                let mut records = InflatedRecords::new(codec, payload, header.count, usize::MAX)?;
                first(found, || records.next())
            }
        }
    }

    /// A batch of the same records, whose bytes are no slice of a larger buffer.
    pub fn detached(&self) -> RecordBatch {
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(&self.header.encode());
        out.extend_from_slice(&self.bytes[HEADER_LEN..]);
        RecordBatch { header: self.header, bytes: out.into(), patched: false }
    }
}

fn first<T>(
    found: impl Fn(Head) -> Option<T>,
    mut next: impl FnMut() -> Result<Option<Head>, BatchError>,
) -> Result<Option<T>, BatchError> {
    while let Some(head) = next()? {
        if let Some(found) = found(head) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The batches in `bytes`, one after the other.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes, failed: false }
}

/// Ends where the bytes end, at a batch that is cut off (as the last one of a fetch may be: see
/// [`Batches::remaining`]), or after an error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// Bytes not consumed: after the iteration has ended, those of a batch that is cut off.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match peek_length_and_magic(&self.rest) {
            Err(BatchError::Truncated { .. }) => return None,
            Ok((length, _)) if length as usize + LOG_OVERHEAD > self.rest.len() => return None,
            _ => {}
        }
        let parsed = RecordBatch::parse(&self.rest);
        match &parsed {
            Ok(batch) => self.rest = self.rest.slice(batch.size()..),
            Err(_) => self.failed = true,
        }
        Some(parsed)
    }
}

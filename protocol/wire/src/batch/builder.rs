//! Building a batch from records.

use super::header::{
    NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{BatchError, BatchHeader, HEADER_LEN, LOG_OVERHEAD, RecordBatch, TimestampType};
use crate::compression::{self, Codec, Compression, CompressionError};

/// A header to write: key and value.
pub type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Collects records, then compresses them and puts the header in front.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    transactional: bool,
    control: bool,
    log_append_time: Option<i64>,
    /// Room for the header, then the records uncompressed.
    out: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: 0,
            length: 0,
            leader_epoch: NO_LEADER_EPOCH,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            count: 0,
        };
        BatchBuilder {
            header,
            compression,
            transactional: false,
            control: false,
            log_append_time: None,
            out: vec![0; HEADER_LEN],
        }
    }

    pub fn base_offset(mut self, offset: i64) -> Self {
        self.header.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self, transactional: bool) -> Self {
        self.transactional = transactional;
        self
    }

    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// All records get this timestamp when read, whatever they carry.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.log_append_time = Some(now_ms);
        self
    }

    /// Adds a record with the next offset. A timestamp before the epoch is written as none (-1).
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) {
        self.append_raw(timestamp_ms, key, value, &encoded_headers(headers));
    }

    /// As [`BatchBuilder::append`]; `headers` is their count and they, encoded.
    pub(super) fn append_raw(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[u8],
    ) {
        let timestamp = timestamp_ms.max(NO_TIMESTAMP);
        if self.header.count == 0 {
            self.header.base_timestamp = timestamp;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        let delta = timestamp.wrapping_sub(self.header.base_timestamp);
        let offset_delta = self.header.count;
        put_record(&mut self.out, (delta, offset_delta), key, value, headers);
        self.header.count += 1;
        self.header.last_offset_delta = offset_delta;
    }

    pub fn count(&self) -> usize {
        self.header.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// What the batch would take if it were not compressed.
    pub fn uncompressed_size(&self) -> usize {
        self.out.len()
    }

    pub fn build(mut self) -> Result<RecordBatch, BatchError> {
        if self.header.count == 0 {
            return Err(BatchError::InvalidHeader("a batch needs at least one record"));
        }
        if self.compression.codec != Codec::None {
            let mut out = vec![0; HEADER_LEN];
            compression::compress(self.compression, &self.out[HEADER_LEN..], &mut out)?;
            self.out = out;
        }
        self.header.set_flags(self.compression.codec, self.transactional, self.control);
        if let Some(now) = self.log_append_time {
            self.header.set_timestamps(TimestampType::LogAppendTime, now);
        }
        self.header.length = i32::try_from(self.out.len() - LOG_OVERHEAD)
            .map_err(|_| CompressionError::TooLarge { limit: i32::MAX as usize })?;
        self.header.crc = self.header.compute_crc(&self.out[HEADER_LEN..]);
        self.out[..HEADER_LEN].copy_from_slice(&self.header.encode());
        RecordBatch::parse(&self.out.into())
    }
}

/// A record by its deltas of timestamp and offset; `headers` is their count and they, encoded.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i32),
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[u8],
) {
    let size = 1
        + varlong_len(timestamp_delta)
        + varint_len(offset_delta)
        + nullable_len(key)
        + nullable_len(value)
        + headers.len();
    put_varint(out, size as i32);
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
    put_nullable(out, key);
    put_nullable(out, value);
    out.extend_from_slice(headers);
}

pub(super) fn encoded_headers(headers: &[HeaderRef<'_>]) -> Vec<u8> {
    let mut encoded = Vec::new();
    put_varint(&mut encoded, headers.len() as i32);
    for (key, value) in headers {
        put_nullable(&mut encoded, Some(key));
        put_nullable(&mut encoded, *value);
    }
    encoded
}

fn nullable_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint_len(bytes.len() as i32) + bytes.len())
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

//! What a leader checks of a produced batch before it appends it, and puts right in it.
//!
//! Kafka's rules (`LogValidator`), with one difference: offset deltas that do not count up from 0 make Kafka rewrite
//! a compressed batch and keep an uncompressed one as it is; here both are rewritten, so that none reaches the log.

use bytes::Bytes;

use super::inflated::{Head, InflatedRecords};
use super::records::{RawRecords, record_timestamp};
use super::varint::Fields;
use super::{BatchBuilder, BatchError, BatchHeader, NO_TIMESTAMP, RecordBatch, TimestampType};
use crate::compression::{self, Codec, Compression};

/// As many records at fault as a producer is told of; a batch may have millions.
const TOLD_ERRORS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    Client,
    /// The node itself: may write control batches, and sequences are not looked at.
    Coordinator,
}

#[derive(Clone, Copy, Debug)]
pub struct ValidationRules {
    pub origin: AppendOrigin,
    pub now_ms: i64,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// Every record needs a key.
    pub compacted: bool,
    /// The topic's compression; `None` leaves the producer's.
    pub compression: Option<Compression>,
    pub max_batch_size: usize,
    /// A compressed batch that grows beyond this is refused. It is not held: checking takes a small window.
    pub max_uncompressed_size: usize,
    /// The same for one that must be built anew, which is held whole.
    pub max_rebuilt_size: usize,
}

/// A batch that may be appended once its base offset and leader epoch are assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    pub batch: RecordBatch,
    /// It had to be built anew.
    pub rebuilt: bool,
    /// Bytes of its records that were looked at, decompressed.
    pub looked_at: usize,
}

/// Why one record, by its index in the batch, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("Compacted topic cannot accept message without key")]
    MissingKey { index: i32 },
    #[error(
        "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within [{min}, {max}]"
    )]
    TimestampOutOfRange { index: i32, timestamp: i64, min: i64, max: i64 },
    #[error("Producer should not set timestamp type to LogAppendTime")]
    LogAppendTimeFromProducer { index: i32 },
}

impl RecordError {
    pub fn index(&self) -> i32 {
        match *self {
            RecordError::MissingKey { index }
            | RecordError::TimestampOutOfRange { index, .. }
            | RecordError::LogAppendTimeFromProducer { index } => index,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// CORRUPT_MESSAGE.
    #[error(transparent)]
    Corrupt(BatchError),
    /// INVALID_RECORD, of the batch as a whole.
    #[error("{0}")]
    Invalid(BatchError),
    /// UNKNOWN_SERVER_ERROR: its checksum holds, and it cannot be decompressed.
    #[error("{0}")]
    Undecodable(BatchError),
    /// MESSAGE_TOO_LARGE.
    #[error("the record batch size of {size} bytes exceeds the maximum of {max}")]
    TooLarge { size: usize, max: usize },
    /// INVALID_TIMESTAMP.
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamp(Vec<RecordError>),
    /// INVALID_RECORD, of single records.
    #[error("One or more records have been rejected due to {} record errors in total", .0.len())]
    InvalidRecords(Vec<RecordError>),
}

impl ProduceError {
    /// It is whole, but more than is allowed when decompressed.
    pub fn grows_too_large(&self) -> bool {
        matches!(self, ProduceError::Undecodable(error) if error.grows_too_large())
    }
}

impl From<BatchError> for ProduceError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::LegacyMagic(_)
            | BatchError::InvalidHeader(_)
            | BatchError::InvalidRecord(_) => ProduceError::Invalid(error),
            BatchError::UnknownCodec(_) | BatchError::Compression(_) => {
                ProduceError::Undecodable(error)
            }
            BatchError::Truncated { .. }
            | BatchError::InvalidLength(_)
            | BatchError::UnknownMagic(_)
            | BatchError::Crc { .. } => ProduceError::Corrupt(error),
        }
    }
}

fn invalid<T>(why: &'static str) -> Result<T, ProduceError> {
    Err(ProduceError::Invalid(BatchError::InvalidHeader(why)))
}

/// The one batch that a partition's part of a produce request must be. What is cut off behind it is, to Kafka, not there.
pub fn produced_batch(records: &Bytes) -> Result<RecordBatch, ProduceError> {
    if records.is_empty() {
        return invalid("a produce request must contain exactly one record batch per partition");
    }
    let batch = RecordBatch::parse(records)?;
    match RecordBatch::parse(&records.slice(batch.size()..)) {
        Err(BatchError::Truncated { .. }) => Ok(batch),
        Err(error) => Err(error.into()),
        Ok(_) => invalid("a produce request must contain exactly one record batch per partition"),
    }
}

/// Checks the batch whole, its CRC and every record; sets its timestamps; rewrites it if the topic's compression
/// differs. Uncompressed batches that are in order are neither copied nor allocated for.
pub fn validate_produce(
    mut batch: RecordBatch,
    rules: &ValidationRules,
) -> Result<ValidatedBatch, ProduceError> {
    let client = rules.origin == AppendOrigin::Client;
    if client && batch.header().base_offset != 0 {
        return invalid("the base offset of a produced batch must be 0");
    }
    check_size(&batch, rules)?;
    batch.verify_crc()?;
    let header = *batch.header();
    check_header(&header, client)?;

    let source = header.codec()?;
    let payload = batch.payload();
    let target = match rules.compression {
        _ if source == Codec::None && header.is_control() => Compression::NONE,
        None => Compression::of(source),
        Some(compression) => compression,
    };
    let (checked, looked_at) = match source {
        Codec::None => {
            let mut records = RawRecords::new(&payload, header.count);
            let checked = check_records(&header, rules, || Ok(records.next()?.map(Head::from)))?;
            (checked, payload.len())
        }
        codec => {
            let limit = rules.max_uncompressed_size;
            let mut records = InflatedRecords::new(codec, &payload, header.count, limit)?;
            let checked = check_records(&header, rules, || records.next())?;
            (checked, records.position())
        }
    };
    if !checked.sequential || target.codec != source {
        let rebuilt = match source {
            Codec::None => rebuild(&header, &payload, target, rules)?,
            codec => {
                let whole = compression::decompress(codec, &payload, rules.max_rebuilt_size)
                    .map_err(BatchError::Compression)?;
                rebuild(&header, &whole, target, rules)?
            }
        };
        check_size(&rebuilt, rules)?;
        return Ok(ValidatedBatch { batch: rebuilt, rebuilt: true, looked_at });
    }
    match rules.timestamp_type {
        TimestampType::LogAppendTime => {
            batch.set_max_timestamp(TimestampType::LogAppendTime, rules.now_ms);
        }
        TimestampType::CreateTime => {
            batch.set_max_timestamp(TimestampType::CreateTime, checked.max_timestamp);
        }
    }
    Ok(ValidatedBatch { batch, rebuilt: false, looked_at })
}

fn check_size(batch: &RecordBatch, rules: &ValidationRules) -> Result<(), ProduceError> {
    if batch.size() > rules.max_batch_size {
        return Err(ProduceError::TooLarge { size: batch.size(), max: rules.max_batch_size });
    }
    Ok(())
}

fn check_header(header: &BatchHeader, client: bool) -> Result<(), ProduceError> {
    header.validate()?;
    if !client {
        return Ok(());
    }
    if header.count == 0 {
        return invalid("it declares no records");
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.count) {
        return invalid("its offset range and its count of records differ");
    }
    if header.is_control() {
        return invalid("clients are not allowed to write control records");
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return invalid("it has a producer id and an invalid sequence number");
    }
    Ok(())
}

struct Checked {
    max_timestamp: i64,
    /// The offset deltas count up from 0.
    sequential: bool,
}

fn check_records(
    header: &BatchHeader,
    rules: &ValidationRules,
    mut next: impl FnMut() -> Result<Option<Head>, BatchError>,
) -> Result<Checked, ProduceError> {
    let mut errors = Vec::new();
    let mut checked = Checked { max_timestamp: NO_TIMESTAMP, sequential: true };
    let mut index = 0;
    while let Some(record) = next()? {
        let timestamp = record_timestamp(header, record.timestamp_delta);
        checked.max_timestamp = checked.max_timestamp.max(timestamp);
        checked.sequential &= record.offset_delta == index;
        if errors.len() < TOLD_ERRORS {
            errors.extend(if rules.compacted && !record.has_key {
                Some(RecordError::MissingKey { index })
            } else {
                timestamp_error(header, index, timestamp, rules)
            });
        }
        index += 1;
    }
    if errors.is_empty() {
        return Ok(checked);
    }
    if errors.iter().all(|error| matches!(error, RecordError::MissingKey { .. })) {
        return Err(ProduceError::InvalidRecords(errors));
    }
    Err(ProduceError::InvalidTimestamp(errors))
}

fn timestamp_error(
    header: &BatchHeader,
    index: i32,
    timestamp: i64,
    rules: &ValidationRules,
) -> Option<RecordError> {
    if rules.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
        let age = rules.now_ms.saturating_sub(timestamp);
        if age > rules.timestamp_before_max_ms
            || age < rules.timestamp_after_max_ms.saturating_neg()
        {
            return Some(RecordError::TimestampOutOfRange {
                index,
                timestamp,
                min: rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
                max: rules.now_ms.saturating_add(rules.timestamp_after_max_ms),
            });
        }
        return None;
    }
    (header.timestamp_type() == TimestampType::LogAppendTime)
        .then_some(RecordError::LogAppendTimeFromProducer { index })
}

fn rebuild(
    header: &BatchHeader,
    payload: &[u8],
    compression: Compression,
    rules: &ValidationRules,
) -> Result<RecordBatch, ProduceError> {
    let mut builder = BatchBuilder::new(compression)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .transactional(header.is_transactional());
    if header.is_control() {
        builder = builder.control();
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        builder = builder.log_append_time(rules.now_ms);
    }
    let mut records = RawRecords::new(payload, header.count);
    while let Some(record) = records.next()? {
        builder.append_raw(
            record_timestamp(header, record.timestamp_delta),
            record.key.range().map(|range| &payload[range]),
            record.value.range().map(|range| &payload[range]),
            &payload[record.headers_start..record.end],
        );
    }
    Ok(builder.build()?)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

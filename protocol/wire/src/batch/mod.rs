//! Record batches of magic 2: parsed without copying, patched without re-encoding.
//!
//! A [`RecordBatch`] is a decoded header beside the bytes it came in. What a leader changes (base offset, leader
//! epoch, at times the timestamps) changes in the header alone; the records stay where the socket put them.

mod builder;
mod control;
pub mod crc;
mod edit;
mod filter;
mod header;
mod inflated;
mod info;
mod record_batch;
mod records;
mod validate;
mod varint;

#[cfg(test)]
mod property_tests;

pub use builder::{BatchBuilder, HeaderRef};
pub use control::{ControlRecordType, EndTxnMarker, control_batch, parse_control_type};
pub use edit::BatchEditor;
pub use filter::{empty_batch, rebuild_batch};
pub use header::{
    BatchHeader, HEADER_LEN, LOG_OVERHEAD, MAGIC, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, peek_length_and_magic,
};
pub use model::producers::increment_sequence;
pub use record_batch::{Batches, RecordBatch, batches};
pub use records::{Header, Headers, RawRecord, RawRecords, Record, Records};
pub use validate::{
    AppendOrigin, ProduceError, RecordError, ValidatedBatch, ValidationRules, produced_batch,
    validate_produce,
};
pub use varint::Span;

use crate::compression::CompressionError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("record batch is cut off: {need} bytes are needed, {have} are there")]
    Truncated { need: usize, have: usize },
    #[error("record batch has the impossible length {0}")]
    InvalidLength(i32),
    #[error("message format {0} is no longer supported, only 2 is")]
    LegacyMagic(i8),
    #[error("unknown message format {0}")]
    UnknownMagic(i8),
    #[error("record batch is corrupt (stored crc = {stored}, computed crc = {computed})")]
    Crc { stored: u32, computed: u32 },
    #[error("unknown compression type id {0}")]
    UnknownCodec(u8),
    #[error("invalid record batch: {0}")]
    InvalidHeader(&'static str),
    #[error("invalid record: {0}")]
    InvalidRecord(&'static str),
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

impl BatchError {
    /// It is whole, but more than is allowed when decompressed.
    pub fn grows_too_large(&self) -> bool {
        matches!(self, BatchError::Compression(CompressionError::TooLarge { .. }))
    }
}

//! The 61 bytes in front of a record batch's records.

use model::producers::increment_sequence;

use super::{BatchError, crc};
use crate::compression::Codec;

pub const HEADER_LEN: usize = 61;
/// Base offset and length: what precedes the counted part of a batch.
pub const LOG_OVERHEAD: usize = 12;
pub const MAGIC: i8 = 2;

pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub const NO_TIMESTAMP: i64 = -1;
pub const NO_LEADER_EPOCH: i32 = -1;

/// Where the bytes begin that the CRC covers.
const CRC_FROM: usize = 21;
const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// A decoded header. Encoding it again gives the very bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field: the whole batch is 12 longer.
    pub length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header of a batch of magic 2. Only the length is checked; of the batch itself
    /// nothing but the header needs to be there.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let (length, magic) = peek_length_and_magic(bytes)?;
        match magic {
            MAGIC => {}
            0 | 1 => return Err(BatchError::LegacyMagic(magic)),
            _ => return Err(BatchError::UnknownMagic(magic)),
        }
        if (length as i64) + (LOG_OVERHEAD as i64) < HEADER_LEN as i64 {
            return Err(BatchError::InvalidLength(length));
        }
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::Truncated { need: HEADER_LEN, have: bytes.len() });
        }
        Ok(BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            length,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..].copy_from_slice(&self.count.to_be_bytes());
        out
    }

    /// The whole batch, header included.
    pub fn size(&self) -> usize {
        self.length as usize + LOG_OVERHEAD
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        increment_sequence(self.base_sequence, self.last_offset_delta)
    }

    pub fn codec(&self) -> Result<Codec, BatchError> {
        let id = (self.attributes & CODEC_MASK) as u8;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When the cleaner may drop this batch's tombstones and markers; it takes the base timestamp's place.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// What an iterator over the records needs of the header to be sound, whoever wrote the batch.
    pub fn validate(&self) -> Result<(), BatchError> {
        self.codec()?;
        if self.count < 0 {
            return Err(BatchError::InvalidHeader("the record count is negative"));
        }
        if self.last_offset_delta < 0 {
            return Err(BatchError::InvalidHeader("the last offset delta is negative"));
        }
        if self.base_offset < 0
            || self.base_offset.checked_add(1 + i64::from(self.last_offset_delta)).is_none()
        {
            return Err(BatchError::InvalidHeader("the base offset is out of range"));
        }
        Ok(())
    }

    pub(super) fn set_timestamps(&mut self, kind: TimestampType, max_timestamp: i64) {
        self.attributes = match kind {
            TimestampType::CreateTime => self.attributes & !LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes | LOG_APPEND_TIME,
        };
        self.max_timestamp = max_timestamp;
    }

    /// All flags but the delete horizon's, which then is this time or none, and stands in the base timestamp's place.
    pub(super) fn set_delete_horizon(&mut self, horizon_ms: Option<i64>) {
        self.attributes &= CODEC_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL;
        if let Some(horizon_ms) = horizon_ms {
            self.attributes |= DELETE_HORIZON;
            self.base_timestamp = horizon_ms;
        }
    }

    pub(super) fn clear_codec(&mut self) {
        self.attributes &= !CODEC_MASK;
    }

    pub(super) fn set_flags(&mut self, codec: Codec, transactional: bool, control: bool) {
        self.attributes = i16::from(codec.id())
            | if transactional { TRANSACTIONAL } else { 0 }
            | if control { CONTROL } else { 0 };
    }

    /// The CRC that this header and `records` ought to carry.
    pub fn compute_crc(&self, records: &[u8]) -> u32 {
        crc::crc32c_append(crc::crc32c(&self.encode()[CRC_FROM..]), records)
    }
}

/// Length and magic of the next batch, whatever its version.
pub fn peek_length_and_magic(bytes: &[u8]) -> Result<(i32, i8), BatchError> {
    // Legacy entries have their magic at the same place.
    const NEEDED: usize = 17;
    if bytes.len() < NEEDED {
        return Err(BatchError::Truncated { need: NEEDED, have: bytes.len() });
    }
    let length = i32::from_be_bytes(field(bytes, 8));
    // The smallest entry that ever was: a legacy record without its offset and length.
    if length < 14 {
        return Err(BatchError::InvalidLength(length));
    }
    Ok((length, bytes[16] as i8))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

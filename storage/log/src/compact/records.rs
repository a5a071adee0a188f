//! What both readings of a pass share: the records of a batch, uncompressed, and the keys of a run of them hashed at once.

use wire::batch::{
    BatchError, BatchHeader, ControlRecordType, HEADER_LEN, RawRecords, parse_control_type,
};
use wire::compression::{Codec, decompress_into};

use super::offset_map::{KeyHash, OffsetMap};

/// So many records are hashed before the first is looked up: the memory of their slots is then fetched side by side.
pub(crate) const RUN: usize = 32;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyedRecord {
    pub hash: KeyHash,
    pub offset: i64,
    pub has_key: bool,
    pub has_value: bool,
}

/// The records of a batch: where they lie, or decompressed into `memory`, unless they grow to more than `most`.
pub(crate) fn payload<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    memory: &'a mut Vec<u8>,
    most: usize,
) -> Result<&'a [u8], BatchError> {
    let packed = &batch[HEADER_LEN..];
    match header.codec()? {
        // Some writers of empty batches leave the codec's bits.
        _ if header.count == 0 => Ok(&[]),
        Codec::None => Ok(packed),
        codec => {
            memory.clear();
            decompress_into(codec, packed, most, memory)?;
            Ok(memory)
        }
    }
}

/// Steps over a batch's records in runs.
pub(crate) struct Runs<'a> {
    header: &'a BatchHeader,
    records: RawRecords<'a>,
    payload: &'a [u8],
    run: [KeyedRecord; RUN],
}

impl<'a> Runs<'a> {
    pub fn new(header: &'a BatchHeader, payload: &'a [u8]) -> Runs<'a> {
        let records = RawRecords::new(payload, header.count);
        Runs { header, records, payload, run: [KeyedRecord::default(); RUN] }
    }

    /// The next records, none at the end. Without `map` nothing is hashed.
    pub fn next(&mut self, map: Option<&OffsetMap>) -> Result<&[KeyedRecord], BatchError> {
        let mut count = 0;
        while count < RUN {
            let Some(record) = self.records.next()? else { break };
            if !(0..=self.header.last_offset_delta).contains(&record.offset_delta) {
                return Err(BatchError::InvalidRecord("its offset is none of its batch's"));
            }
            let key = record.key.range().map(|range| &self.payload[range]);
            let hash = match (map, key) {
                (Some(map), Some(key)) => map.hash(key),
                _ => KeyHash::default(),
            };
            self.run[count] = KeyedRecord {
                hash,
                offset: self.header.base_offset.wrapping_add(i64::from(record.offset_delta)),
                has_key: key.is_some(),
                has_value: !record.value.is_null(),
            };
            count += 1;
        }
        Ok(&self.run[..count])
    }
}

/// The kind of a control batch; `None` if its record was cleaned away, `Some(None)` for a kind not known.
pub(crate) fn control_kind(
    header: &BatchHeader,
    payload: &[u8],
) -> Result<Option<Option<ControlRecordType>>, BatchError> {
    let Some(record) = RawRecords::new(payload, header.count).next()? else { return Ok(None) };
    let key = record.key.range().map_or(&[][..], |range| &payload[range]);
    parse_control_type(key).map(Some)
}

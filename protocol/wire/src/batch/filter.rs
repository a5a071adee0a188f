//! Batches with some of their records left out, as a log cleaner writes them (Kafka: `MemoryRecords.filterTo`).

use super::records::{RawRecords, record_timestamp};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{BatchError, BatchHeader, HEADER_LEN, LOG_OVERHEAD, NO_TIMESTAMP, TimestampType};
use crate::compression::{self, Codec, Compression, CompressionError};

/// Appends to `out` the batch without the records for whose index `keep` says no; at least one must stay. Base and last
/// offset, sequences, epochs and codec remain; `payload` is its records, uncompressed. With `delete_horizon_ms` the batch
/// carries that horizon from now on; without, the one it has. `scratch` is memory to work in.
pub fn rebuild_batch(
    header: &BatchHeader,
    payload: &[u8],
    keep: impl Fn(usize) -> bool,
    delete_horizon_ms: Option<i64>,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<BatchHeader, BatchError> {
    let start = out.len();
    out.resize(start + HEADER_LEN, 0);
    let codec = header.codec()?;
    let mut rebuilt = *header;
    let horizon = delete_horizon_ms.or(header.delete_horizon_ms()).filter(|horizon| *horizon >= 0);
    rebuilt.set_delete_horizon(horizon);
    if codec == Codec::None {
        write_records(header, payload, keep, horizon, &mut rebuilt, out)?;
    } else {
        scratch.clear();
        write_records(header, payload, keep, horizon, &mut rebuilt, scratch)?;
        compression::compress(Compression::of(codec), scratch, out)?;
    }
    rebuilt.length = i32::try_from(out.len() - start - LOG_OVERHEAD)
        .map_err(|_| CompressionError::TooLarge { limit: i32::MAX as usize })?;
    rebuilt.crc = rebuilt.compute_crc(&out[start + HEADER_LEN..]);
    out[start..start + HEADER_LEN].copy_from_slice(&rebuilt.encode());
    Ok(rebuilt)
}

fn write_records(
    header: &BatchHeader,
    payload: &[u8],
    keep: impl Fn(usize) -> bool,
    horizon: Option<i64>,
    rebuilt: &mut BatchHeader,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let create_time = header.timestamp_type() == TimestampType::CreateTime;
    let (mut count, mut max_timestamp) = (0, NO_TIMESTAMP);
    let mut records = RawRecords::new(payload, header.count);
    let (mut index, mut at) = (0, 0);
    while let Some(record) = records.next()? {
        let begin = std::mem::replace(&mut at, record.end);
        index += 1;
        if !keep(index - 1) {
            continue;
        }
        let timestamp = record_timestamp(header, record.timestamp_delta);
        if count == 0 && horizon.is_none() {
            rebuilt.base_timestamp = timestamp;
        }
        count += 1;
        max_timestamp = max_timestamp.max(timestamp);
        if create_time && rebuilt.base_timestamp == header.base_timestamp {
            out.extend_from_slice(&payload[begin..record.end]);
            continue;
        }
        let delta = timestamp.wrapping_sub(rebuilt.base_timestamp);
        let fields = &payload[record.fields_start..record.end];
        let size = 1 + varlong_len(delta) + varint_len(record.offset_delta) + fields.len();
        put_varint(out, size as i32);
        out.push(0);
        put_varlong(out, delta);
        put_varint(out, record.offset_delta);
        out.extend_from_slice(fields);
    }
    rebuilt.count = count;
    if create_time {
        rebuilt.max_timestamp = max_timestamp;
    }
    Ok(())
}

/// What is left of a batch without its records: offsets, the producer's last sequence, and its greatest timestamp.
pub fn empty_batch(header: &BatchHeader) -> BatchHeader {
    let mut empty = BatchHeader {
        length: (HEADER_LEN - LOG_OVERHEAD) as i32,
        base_timestamp: NO_TIMESTAMP,
        count: 0,
        ..*header
    };
    empty.set_delete_horizon(None);
    empty.clear_codec();
    empty.crc = empty.compute_crc(&[]);
    empty
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;

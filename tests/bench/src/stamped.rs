//! Batches that carry the time they were due, and fetches that find it again.

use crate::frames;
use bytes::Bytes;
use std::io::{Error, Result};
use wire::batch::{BatchHeader, HEADER_LEN, crc};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{FetchRequest, FetchResponse, Records};

/// The last version that names topics and has no tagged fields.
const VERSION: i16 = 11;
/// Where the bytes begin that a batch's CRC covers.
const COVERED: usize = 21;
/// As Kafka's consumer asks.
const MAX_WAIT_MS: i32 = 500;
const MAX_BYTES: i32 = 50 << 20;
const PARTITION_BYTES: i32 = 1 << 20;

/// The frame of a produce request whose first record's value begins with a time.
#[derive(Clone)]
pub struct Stamped {
    pub bytes: Vec<u8>,
    pub records: i64,
    batch: usize,
    /// Of the value, in the batch.
    value: usize,
}

/// One for each partition.
pub fn stamped(topic: &str, partitions: i32, record: usize, size: usize) -> Result<Vec<Stamped>> {
    let batch = frames::batch(record.max(8), size)?;
    let records = batch.to_bytes();
    let first = batch.records(usize::MAX).map_err(Error::other)?.next();
    let value =
        first.and_then(|record| record.ok()?.value).ok_or_else(|| Error::other("no value"))?;
    let at = |part: &[u8]| part.as_ptr() as usize - records.as_ptr() as usize;
    let value = at(&value);
    let frames = frames::produce(topic, partitions, 1, &records)?;
    let stamped = frames.into_iter().map(|bytes| Stamped {
        batch: bytes.len() - records.len(),
        bytes,
        records: i64::from(batch.header().count),
        value,
    });
    Ok(stamped.collect())
}

impl Stamped {
    pub fn stamp(&mut self, time: u64) {
        let batch = &mut self.bytes[self.batch..];
        batch[self.value..self.value + 8].copy_from_slice(&time.to_be_bytes());
        let crc = crc::crc32c(&batch[COVERED..]);
        batch[COVERED - 4..COVERED].copy_from_slice(&crc.to_be_bytes());
    }

    /// The times in whole batches that begin where `end` is, which goes on behind them.
    pub fn stamps(&self, mut records: &[u8], end: &mut i64) -> Vec<u64> {
        let mut stamps = Vec::new();
        while records.len() >= HEADER_LEN
            && let Ok(header) = BatchHeader::parse(records)
            && let Some((batch, rest)) = records.split_at_checked(header.size())
        {
            if header.base_offset >= *end
                && let Some(stamp) = batch.get(self.value..).and_then(<[u8]>::first_chunk)
            {
                stamps.push(u64::from_be_bytes(*stamp));
                *end = header.next_offset();
            }
            records = rest;
        }
        stamps
    }
}

/// What is there behind these offsets, as soon as there is anything.
pub fn fetch(topic: &str, ends: &[i64]) -> Result<Vec<u8>> {
    let partition = |(partition, end): (usize, &i64)| FetchPartition {
        partition: partition as i32,
        fetch_offset: *end,
        partition_max_bytes: PARTITION_BYTES,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: topic.to_owned(),
        partitions: ends.iter().enumerate().map(partition).collect(),
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms: MAX_WAIT_MS,
        min_bytes: 1,
        max_bytes: MAX_BYTES,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let parts = wire::encode_request(&request, VERSION, 0, Some("bench")).map_err(Error::other)?;
    Ok(parts.iter().flat_map(frames::bytes_of).copied().collect())
}

/// The records of each partition.
pub fn fetched(answer: Bytes) -> Result<Vec<(i32, Bytes)>> {
    let (_, response) =
        wire::decode_response::<FetchResponse>(answer, VERSION).map_err(Error::other)?;
    let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
    partitions
        .map(|partition| match (partition.error_code, partition.records) {
            (0, Some(Records::Bytes(records))) => Ok((partition.partition_index, records)),
            (0, _) => Ok((partition.partition_index, Bytes::new())),
            (code, _) => Err(Error::other(format!("fetch answered with error code {code}"))),
        })
        .collect()
}

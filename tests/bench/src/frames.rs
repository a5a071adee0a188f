//! Requests made before anything is measured.

use std::io::{Error, Result};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{Part, ProduceRequest, ProduceResponse, Records};

/// The last version whose header and body end with the batch, which the bare loop relies on.
pub const VERSION: i16 = 8;

/// A frame for each partition, with one batch of about `size` bytes.
pub fn produce(
    topic: &str,
    partitions: i32,
    acks: i16,
    record: usize,
    size: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut batch = BatchBuilder::new(Compression::NONE);
    let value = incompressible(record);
    while batch.is_empty() || batch.uncompressed_size() + record <= size {
        batch.append(0, None, Some(&value), &[]);
    }
    let records = batch.build().map_err(Error::other)?.to_bytes();
    let frame = |index| {
        let partition = PartitionProduceData {
            index,
            records: Some(Records::Bytes(records.clone())),
            ..Default::default()
        };
        let topic = TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let parts = wire::encode_request(&request, VERSION, index, Some("bench"))?;
        Ok(parts.iter().flat_map(bytes_of).copied().collect())
    };
    (0..partitions)
        .map(|index| frame(index).map_err(|e: wire::EncodeError| Error::other(e)))
        .collect()
}

fn bytes_of(part: &Part) -> &[u8] {
    match part {
        Part::Bytes(bytes) => bytes,
        Part::External { .. } => &[],
    }
}

/// The error of the one partition that an answer is about.
pub fn refused(answer: bytes::Bytes) -> Result<()> {
    let (_, response) =
        wire::decode_response::<ProduceResponse>(answer, VERSION).map_err(Error::other)?;
    let codes = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match codes.map(|partition| partition.error_code).find(|code| *code != 0) {
        None => Ok(()),
        Some(code) => Err(Error::other(format!("produce answered with error code {code}"))),
    }
}

fn incompressible(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

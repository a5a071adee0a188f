//! Requests made before anything is measured.

use bytes::Bytes;
use std::io::{Error, Result};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::produce_response::PartitionProduceResponse;
use wire::{Part, ProduceRequest, ProduceResponse, Records};

/// The last version whose header and body end with the batch, which the bare loop relies on.
pub const VERSION: i16 = 8;

/// A batch of about `size` bytes.
pub fn batch(record: usize, size: usize) -> Result<RecordBatch> {
    let mut batch = BatchBuilder::new(Compression::NONE);
    let value = incompressible(record);
    while batch.is_empty() || batch.uncompressed_size() + record <= size {
        batch.append(0, None, Some(&value), &[]);
    }
    batch.build().map_err(Error::other)
}

/// A frame for each partition, with this one batch at its end.
pub fn produce(topic: &str, partitions: i32, acks: i16, records: &Bytes) -> Result<Vec<Vec<u8>>> {
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

pub fn bytes_of(part: &Part) -> &[u8] {
    match part {
        Part::Bytes(bytes) => bytes,
        Part::External { .. } => &[],
    }
}

/// The offset that the one batch got.
pub fn produced_at(answer: Bytes) -> Result<i64> {
    let (_, response) =
        wire::decode_response::<ProduceResponse>(answer, VERSION).map_err(Error::other)?;
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.next() {
        Some(partition) if partition.error_code == 0 => Ok(partition.base_offset),
        Some(PartitionProduceResponse { error_code, .. }) => {
            Err(Error::other(format!("produce answered with error code {error_code}")))
        }
        None => Err(Error::other("produce answered with nothing")),
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

//! Batches as clients send them.

use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;

/// A batch of these values, with keys, all of one time.
pub fn batch(values: &[&str], timestamp: i64) -> RecordBatch {
    batch_of(BatchBuilder::new(Compression::NONE), values, timestamp)
}

pub fn batch_of(mut builder: BatchBuilder, values: &[&str], timestamp: i64) -> RecordBatch {
    for value in values {
        builder.append(timestamp, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

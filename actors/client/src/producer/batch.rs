//! A batch on its way: built once, sent until it is delivered or given up.

use std::time::Duration;

use bytes::Bytes;
use wire::batch::{BatchBuilder, HEADER_LEN, RecordBatch};
use wire::compression::Compression;

use super::{Delivered, ProduceError, ProducerRecord, Teller};

/// Who wrote a batch, so that the broker can tell that it has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
}

pub(super) struct Batch {
    content: Content,
    tellers: Vec<Teller>,
    pub(super) created: Duration,
    /// How often it was sent.
    pub(super) tries: u32,
    /// It was sent, and whether it was written is not known.
    pub(super) in_doubt: bool,
    pub(super) stamp: Option<Stamp>,
    pub(super) last_error: Option<ProduceError>,
}

enum Content {
    Open(BatchBuilder),
    Built(RecordBatch),
    Gone,
}

impl Batch {
    pub(super) fn new(compression: Compression, created: Duration) -> Batch {
        Batch {
            content: Content::Open(BatchBuilder::new(compression)),
            tellers: Vec::new(),
            created,
            tries: 0,
            in_doubt: false,
            stamp: None,
            last_error: None,
        }
    }

    pub(super) fn append(&mut self, record: &ProducerRecord, now_ms: i64, teller: Teller) {
        if let Content::Open(builder) = &mut self.content {
            let timestamp = record.timestamp_ms.unwrap_or(now_ms);
            let headers = record.header_refs();
            builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
            self.tellers.push(teller);
        }
    }

    /// Whether a record of this size still fits; one record always does.
    pub(super) fn has_room(&self, bytes: usize, limit: usize) -> bool {
        match &self.content {
            Content::Open(builder) => {
                builder.is_empty() || builder.uncompressed_size() + bytes <= limit
            }
            Content::Built(_) | Content::Gone => false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.uncompressed_size(),
            Content::Built(batch) => batch.size(),
            Content::Gone => 0,
        }
    }

    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.tellers.len()).unwrap_or(i32::MAX)
    }

    /// The batch as it is sent, under its stamp.
    pub(super) fn encoded(&mut self) -> Result<Bytes, ProduceError> {
        let wrong = |error: wire::batch::BatchError| ProduceError::Batch(error.to_string());
        let built = match std::mem::replace(&mut self.content, Content::Gone) {
            Content::Open(builder) => builder.build().map_err(wrong)?,
            Content::Built(batch) => batch,
            Content::Gone => return Err(ProduceError::Closed),
        };
        let stamped = match self.stamp {
            Some(stamp) => restamped(built, stamp).map_err(wrong)?,
            None => built,
        };
        let bytes = stamped.to_bytes();
        self.content = Content::Built(stamped);
        Ok(bytes)
    }

    pub(super) fn delivered(self, partition: i32, base_offset: Option<i64>) {
        for (index, teller) in (0_i64..).zip(self.tellers) {
            let offset = base_offset.map(|base| base + index);
            teller.tell(Ok(Delivered { partition, offset }));
        }
    }

    pub(super) fn failed(self, error: &ProduceError) {
        for teller in self.tellers {
            teller.tell(Err(error.clone()));
        }
    }
}

fn restamped(batch: RecordBatch, stamp: Stamp) -> Result<RecordBatch, wire::batch::BatchError> {
    let mut header = *batch.header();
    let same = (header.producer_id, header.producer_epoch, header.base_sequence)
        == (stamp.producer_id, stamp.epoch, stamp.sequence);
    if same {
        return Ok(batch);
    }
    header.producer_id = stamp.producer_id;
    header.producer_epoch = stamp.epoch;
    header.base_sequence = stamp.sequence;
    let records = batch.payload();
    header.crc = header.compute_crc(&records);
    let mut whole = Vec::with_capacity(HEADER_LEN + records.len());
    whole.extend_from_slice(&header.encode());
    whole.extend_from_slice(&records);
    RecordBatch::parse(&whole.into())
}

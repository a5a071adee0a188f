//! From a batch's bytes to what the partition machine must know of it.

use machines::partition::{BatchInfo, Marker};
use model::{ProducerEpoch, ProducerId};
use wire::batch::{
    BatchError, BatchHeader, ControlRecordType, EndTxnMarker, RecordBatch, parse_control_type,
};

/// A control record is a few bytes.
const CONTROL_LIMIT: usize = 64 * 1024;

pub(crate) fn batch_info(batch: &RecordBatch) -> Result<BatchInfo, BatchError> {
    let mut info = header_info(batch.header());
    if info.control {
        info.marker = marker(batch)?;
    }
    Ok(info)
}

/// Without the marker of a control batch, which is in its record.
pub(crate) fn header_info(header: &BatchHeader) -> BatchInfo {
    BatchInfo {
        last_offset_delta: header.last_offset_delta,
        max_timestamp: header.max_timestamp,
        producer_id: ProducerId(header.producer_id),
        producer_epoch: ProducerEpoch(header.producer_epoch),
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        control: header.is_control(),
        marker: None,
    }
}

fn marker(batch: &RecordBatch) -> Result<Option<Marker>, BatchError> {
    let Some(record) = batch.records(CONTROL_LIMIT)?.next() else { return Ok(None) };
    let record = record?;
    let kind = record.key.as_deref().map(parse_control_type).transpose()?.flatten();
    let commit = match kind {
        Some(ControlRecordType::Commit) => true,
        Some(ControlRecordType::Abort) => false,
        _ => return Ok(None),
    };
    let marker = EndTxnMarker::parse(record.value.as_deref().unwrap_or_default())?;
    Ok(Some(Marker { commit, coordinator_epoch: marker.coordinator_epoch }))
}

//! What a batch's bytes tell of its producer.

use model::producers::{BatchInfo, Marker};
use model::{ProducerEpoch, ProducerId};

use super::{
    BatchError, BatchHeader, ControlRecordType, EndTxnMarker, RecordBatch, parse_control_type,
};

/// A control record is a few bytes.
const CONTROL_LIMIT: usize = 64 * 1024;

impl BatchHeader {
    /// Without the marker of a control batch, which is in its record.
    pub fn info(&self) -> BatchInfo {
        BatchInfo {
            last_offset_delta: self.last_offset_delta,
            max_timestamp: self.max_timestamp,
            producer_id: ProducerId(self.producer_id),
            producer_epoch: ProducerEpoch(self.producer_epoch),
            base_sequence: self.base_sequence,
            transactional: self.is_transactional(),
            control: self.is_control(),
            marker: None,
        }
    }
}

impl RecordBatch {
    /// With the marker, where it is a control batch that has one. One whose record was compacted away has none.
    pub fn info(&self) -> Result<BatchInfo, BatchError> {
        let mut info = self.header().info();
        if info.control && info.has_producer() {
            info.marker = self.marker()?;
        }
        Ok(info)
    }

    fn marker(&self) -> Result<Option<Marker>, BatchError> {
        let Some(record) = self.records(CONTROL_LIMIT)?.next() else { return Ok(None) };
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
}

//! Control records: transaction markers, and what KRaft writes into its log beside records.

use super::{BatchBuilder, BatchError, RecordBatch};
use crate::compression::Compression;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlRecordType {
    Abort = 0,
    Commit = 1,
    LeaderChange = 2,
    SnapshotHeader = 3,
    SnapshotFooter = 4,
    KRaftVersion = 5,
    KRaftVoters = 6,
}

impl ControlRecordType {
    pub fn from_id(id: i16) -> Option<ControlRecordType> {
        use ControlRecordType::*;
        [Abort, Commit, LeaderChange, SnapshotHeader, SnapshotFooter, KRaftVersion, KRaftVoters]
            .into_iter()
            .find(|kind| *kind as i16 == id)
    }

    /// The key of a control record: its version, 0, and its type.
    pub fn key(self) -> [u8; 4] {
        let id = (self as i16).to_be_bytes();
        [0, 0, id[0], id[1]]
    }
}

/// The type in a control record's key; `None` for one that is not known and is to be ignored.
pub fn parse_control_type(key: &[u8]) -> Result<Option<ControlRecordType>, BatchError> {
    let [v0, v1, t0, t1, ..] = *key else {
        return Err(BatchError::InvalidRecord("a control record's key is shorter than 4 bytes"));
    };
    if i16::from_be_bytes([v0, v1]) < 0 {
        return Err(BatchError::InvalidRecord("a control record's version is negative"));
    }
    Ok(ControlRecordType::from_id(i16::from_be_bytes([t0, t1])))
}

/// The value of an abort or commit marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    pub fn encode(&self) -> [u8; 6] {
        let epoch = self.coordinator_epoch.to_be_bytes();
        [0, 0, epoch[0], epoch[1], epoch[2], epoch[3]]
    }

    pub fn parse(value: &[u8]) -> Result<EndTxnMarker, BatchError> {
        let [v0, v1, e0, e1, e2, e3, ..] = *value else {
            return Err(BatchError::InvalidRecord("an end transaction marker is cut off"));
        };
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(BatchError::InvalidRecord("a marker's version is negative"));
        }
        Ok(EndTxnMarker { coordinator_epoch: i32::from_be_bytes([e0, e1, e2, e3]) })
    }
}

/// A batch of one control record; `builder` has the producer's and the log's part.
pub fn control_batch(
    configure: impl FnOnce(BatchBuilder) -> BatchBuilder,
    timestamp_ms: i64,
    kind: ControlRecordType,
    value: &[u8],
) -> Result<RecordBatch, BatchError> {
    let mut builder = configure(BatchBuilder::new(Compression::NONE).control());
    builder.append(timestamp_ms, Some(&kind.key()), Some(value), &[]);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_marker_reads_back() {
        let marker = EndTxnMarker { coordinator_epoch: 7 };
        let batch = control_batch(
            |builder| builder.producer(9, 1, -1).transactional(true).base_offset(5),
            1000,
            ControlRecordType::Commit,
            &marker.encode(),
        )
        .unwrap();
        assert!(batch.header().is_control() && batch.header().is_transactional());
        let record = batch.records(0).unwrap().next().unwrap().unwrap();
        assert_eq!(record.offset, 5);
        assert_eq!(parse_control_type(&record.key.unwrap()), Ok(Some(ControlRecordType::Commit)));
        assert_eq!(EndTxnMarker::parse(&record.value.unwrap()), Ok(marker));
    }

    #[test]
    fn unknown_types_are_told_from_broken_keys() {
        assert_eq!(parse_control_type(&[0, 0, 0, 99]), Ok(None));
        assert!(parse_control_type(&[0, 0, 0]).is_err());
        assert!(parse_control_type(&[0xff, 0xff, 0, 1]).is_err());
    }
}

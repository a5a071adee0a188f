//! The small files and the control batches of a metadata log, as Kafka writes them.

use std::path::Path;

use disk::{Disk, DiskError};
use machines::consensus::{ControlRecord, QuorumState, VoterSet};
use model::Uuid;
use serde::{Deserialize, Serialize};
use wire::batch::{BatchBuilder, BatchError, Record, RecordBatch, parse_control_type};
use wire::compression::Compression;
use wire::quorum_state_data::Voter;
use wire::{DecodeError, EncodeError, MetadataRecord, QuorumStateData, Reader};

/// The metadata log's directory in its log directory.
pub const METADATA_DIR: &str = "__cluster_metadata-0";
const QUORUM_STATE: &str = "quorum-state";
const MAX_QUORUM_STATE: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    voted_directory_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied_offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_voters: Option<Vec<VoterJson>>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoterJson {
    voter_id: i32,
}

/// What the quorum-state file of a metadata log says; none where there is none, or one that says nothing.
pub fn read_quorum_state(disk: &dyn Disk, dir: &Path) -> Result<Option<QuorumState>, DiskError> {
    let bytes = match disk.read(&dir.join(QUORUM_STATE), MAX_QUORUM_STATE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(json) = serde_json::from_slice::<StateJson>(&bytes) else {
        tracing::warn!(dir = %dir.display(), "quorum-state cannot be read; the epoch is taken from the log");
        return Ok(None);
    };
    let voted_directory_id =
        json.voted_directory_id.and_then(|id| id.parse().ok()).unwrap_or(Uuid::ZERO);
    let data = QuorumStateData {
        leader_id: json.leader_id,
        leader_epoch: json.leader_epoch,
        voted_id: json.voted_id,
        voted_directory_id,
        ..Default::default()
    };
    Ok(Some(QuorumState::from_data(&data)))
}

pub(crate) fn write_quorum_state(
    disk: &dyn Disk,
    dir: &Path,
    state: QuorumState,
    kraft_version: i16,
    voters: &VoterSet,
) -> Result<(), DiskError> {
    let (data, data_version) = state.to_data(kraft_version, voters);
    let old = data_version == 0;
    let ids = |voters: Vec<Voter>| {
        voters.into_iter().map(|voter| VoterJson { voter_id: voter.voter_id }).collect()
    };
    let json = StateJson {
        cluster_id: old.then(String::new),
        leader_id: data.leader_id,
        leader_epoch: data.leader_epoch,
        voted_id: data.voted_id,
        voted_directory_id: (!old).then(|| data.voted_directory_id.to_string()),
        applied_offset: old.then_some(0),
        current_voters: data.current_voters.map(ids),
        data_version,
    };
    // Numbers and texts without surprises: this cannot fail.
    let text = serde_json::to_vec(&json).unwrap_or_default();
    disk.replace(&dir.join(QUORUM_STATE), &text)
}

/// One batch of control records.
pub(crate) fn control_batch(
    records: &[ControlRecord],
    base_offset: i64,
    epoch: i32,
    timestamp_ms: i64,
) -> Result<RecordBatch, RecordsError> {
    let mut builder =
        BatchBuilder::new(Compression::NONE).control().base_offset(base_offset).leader_epoch(epoch);
    for record in records {
        builder.append(timestamp_ms, Some(&record.kind().key()), Some(&record.value()?), &[]);
    }
    Ok(builder.build()?)
}

/// A control record of a metadata log; none where it is of a kind that has no place there.
pub(crate) fn parse_control(record: &Record) -> Result<Option<ControlRecord>, RecordsError> {
    let Some(kind) = parse_control_type(record.key.as_deref().unwrap_or_default())? else {
        return Ok(None);
    };
    Ok(ControlRecord::parse(kind, record.value.clone().unwrap_or_default())?)
}

/// A record of a metadata log or a snapshot of one, which stands at this offset there.
pub(crate) fn decode_record(offset: i64, record: Record) -> Result<MetadataRecord, RecordsError> {
    let value = record.value.unwrap_or_default();
    let decoded = MetadataRecord::decode(value.clone());
    decoded.map(|(record, _)| record).map_err(|source| {
        let mut head = Reader::new(value);
        let _frame = head.uvarint();
        let of = |n: Result<u32, _>| n.map_or_else(|_| "unknown".to_owned(), |n| n.to_string());
        let (kind, version) = (of(head.uvarint()), of(head.uvarint()));
        RecordsError::Record { offset, kind, version, source }
    })
}

/// Why records of the metadata log could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordsError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("offset {offset}: no sense in a record of type {kind}, version {version}: {source}")]
    Record { offset: i64, kind: String, version: String, source: DecodeError },
}

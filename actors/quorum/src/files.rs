//! The small files and the control batches of a metadata log, as Kafka writes them.

use std::path::{Path, PathBuf};

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
/// Beside the log of a [newcomer](machines::consensus::Consensus::is_newcomer). Kafka passes over it.
const NEWCOMER: &str = ".ottla_newcomer";

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

/// What the quorum-state file of a metadata log says; none where there is none.
///
/// # Errors
/// It cannot be read, or not be understood: what it says of this node's vote must not be passed over.
pub fn read_quorum_state(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<QuorumState>, QuorumStateError> {
    let path = dir.join(QUORUM_STATE);
    let bytes = match disk.read(&path, MAX_QUORUM_STATE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged = |why: String| QuorumStateError::Damaged { path: path.clone(), why };
    let json: StateJson =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if !(0..=1).contains(&json.data_version) {
        let version = json.data_version;
        return Err(damaged(format!("data_version is {version}, and 0 and 1 are known")));
    }
    let voted_directory_id = match &json.voted_directory_id {
        Some(id) => id.parse().map_err(|_| damaged(format!("votedDirectoryId {id:?} is no id")))?,
        None => Uuid::ZERO,
    };
    let data = QuorumStateData {
        leader_id: json.leader_id,
        leader_epoch: json.leader_epoch,
        voted_id: json.voted_id,
        voted_directory_id,
        ..Default::default()
    };
    Ok(Some(QuorumState::from_data(&data)))
}

/// Why the quorum-state file says nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuorumStateError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{path}: {why}: it says what this node has voted for, which it must not forget: restore the file; or remove it, \
         but only while all the other voters follow one leader"
    )]
    Damaged { path: PathBuf, why: String },
}

/// Notes that whether this voter has held anything is not known; the directory is there.
pub(crate) fn mark_newcomer(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    disk.replace(&dir.join(NEWCOMER), b"")
}

pub(crate) fn is_newcomer(disk: &dyn Disk, dir: &Path) -> Result<bool, DiskError> {
    disk.exists(&dir.join(NEWCOMER))
}

/// For good.
pub(crate) fn unmark_newcomer(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    match disk.remove_file(&dir.join(NEWCOMER)) {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => disk.sync_dir(dir),
    }
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

#[cfg(test)]
mod tests {
    use disk::RealDisk;
    use machines::consensus::ReplicaKey;

    use super::*;

    /// Passed over, the file would have this node vote twice in an epoch.
    #[test]
    fn a_vote_is_read_back_or_else_the_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, dir) = (RealDisk::new(), dir.path());
        assert_eq!(read_quorum_state(&disk, dir).unwrap(), None);
        let voted = ReplicaKey { id: 2, directory_id: Uuid::from_u128(77) };
        let state = QuorumState { epoch: 9, leader_id: None, voted: Some(voted) };
        let of_the_fixed = ReplicaKey { directory_id: Uuid::ZERO, ..voted };
        for (version, voted) in [(0, of_the_fixed), (1, voted)] {
            write_quorum_state(&disk, dir, state, version, &VoterSet::default()).unwrap();
            let found = read_quorum_state(&disk, dir).unwrap();
            assert_eq!(found, Some(QuorumState { voted: Some(voted), ..state }));
        }
        let whole =
            String::from_utf8(disk.read(&dir.join(QUORUM_STATE), 1 << 10).unwrap()).unwrap();
        let id = voted.directory_id.to_string();
        let no_version = whole.replace("data_version", "version");
        for damaged in [
            "",
            "{}",
            &whole[..whole.len() - 1],
            &no_version,
            &whole.replace("\"data_version\":1", "\"data_version\":2"),
            &whole.replace(&id, "?"),
        ] {
            disk.replace(&dir.join(QUORUM_STATE), damaged.as_bytes()).unwrap();
            let error = read_quorum_state(&disk, dir).unwrap_err().to_string();
            assert!(error.contains("quorum-state: ") && error.contains("restore"), "{error}");
        }
    }
}

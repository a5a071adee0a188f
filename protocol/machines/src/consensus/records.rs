//! What consensus itself writes: control records into the log, and the quorum-state file beside it.

use bytes::Bytes;
use model::Uuid;
use wire::batch::ControlRecordType;
use wire::leader_change_message::Voter as ChangeVoter;
use wire::quorum_state_data::Voter as StateVoter;
use wire::{
    DecodeError, EncodeError, KRaftVersionRecord, LeaderChangeMessage, Message, QuorumStateData,
    Reader, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord, Writer,
};

use super::voters::{ReplicaKey, VoterSet};

const VERSION: i16 = 0;

#[derive(Debug, Clone, PartialEq)]
pub enum ControlRecord {
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeaderRecord),
    SnapshotFooter(SnapshotFooterRecord),
    KRaftVersion(KRaftVersionRecord),
    Voters(VotersRecord),
}

impl ControlRecord {
    pub fn kind(&self) -> ControlRecordType {
        match self {
            ControlRecord::LeaderChange(_) => ControlRecordType::LeaderChange,
            ControlRecord::SnapshotHeader(_) => ControlRecordType::SnapshotHeader,
            ControlRecord::SnapshotFooter(_) => ControlRecordType::SnapshotFooter,
            ControlRecord::KRaftVersion(_) => ControlRecordType::KRaftVersion,
            ControlRecord::Voters(_) => ControlRecordType::KRaftVoters,
        }
    }

    /// The record's value. All are written in version 0, the only one that Kafka reads.
    pub fn value(&self) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        match self {
            ControlRecord::LeaderChange(message) => message.encode(&mut writer, VERSION),
            ControlRecord::SnapshotHeader(message) => message.encode(&mut writer, VERSION),
            ControlRecord::SnapshotFooter(message) => message.encode(&mut writer, VERSION),
            ControlRecord::KRaftVersion(message) => message.encode(&mut writer, VERSION),
            ControlRecord::Voters(message) => message.encode(&mut writer, VERSION),
        }?;
        Ok(writer.into_bytes().unwrap_or_default())
    }

    /// None where the record is no matter of the quorum, such as a transaction's marker.
    pub fn parse(
        kind: ControlRecordType,
        value: Bytes,
    ) -> Result<Option<ControlRecord>, DecodeError> {
        let reader = &mut Reader::new(value);
        Ok(Some(match kind {
            ControlRecordType::LeaderChange => {
                ControlRecord::LeaderChange(LeaderChangeMessage::decode(reader, VERSION)?)
            }
            ControlRecordType::SnapshotHeader => {
                ControlRecord::SnapshotHeader(SnapshotHeaderRecord::decode(reader, VERSION)?)
            }
            ControlRecordType::SnapshotFooter => {
                ControlRecord::SnapshotFooter(SnapshotFooterRecord::decode(reader, VERSION)?)
            }
            ControlRecordType::KRaftVersion => {
                ControlRecord::KRaftVersion(KRaftVersionRecord::decode(reader, VERSION)?)
            }
            ControlRecordType::KRaftVoters => {
                ControlRecord::Voters(VotersRecord::decode(reader, VERSION)?)
            }
            ControlRecordType::Abort | ControlRecordType::Commit => return Ok(None),
        }))
    }

    pub fn snapshot_header(last_contained_log_timestamp: i64) -> ControlRecord {
        ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
            version: 0,
            last_contained_log_timestamp,
            ..Default::default()
        })
    }

    pub fn snapshot_footer() -> ControlRecord {
        ControlRecord::SnapshotFooter(SnapshotFooterRecord::default())
    }

    pub fn kraft_version(level: i16) -> ControlRecord {
        ControlRecord::KRaftVersion(KRaftVersionRecord {
            version: 0,
            kraft_version: level,
            ..Default::default()
        })
    }

    /// What stands at the head of every snapshot of a log whose quorum is of this version.
    pub fn snapshot_head(
        timestamp: i64,
        kraft_version: i16,
        voters: Option<&VoterSet>,
    ) -> Vec<ControlRecord> {
        let mut out = vec![ControlRecord::snapshot_header(timestamp)];
        if kraft_version > 0 {
            out.push(ControlRecord::kraft_version(kraft_version));
            out.extend(voters.map(|v| ControlRecord::Voters(v.to_record())));
        }
        out
    }
}

/// Without directories: the version that has them is not written.
pub(super) fn leader_change(
    leader_id: i32,
    voters: impl Iterator<Item = ReplicaKey>,
    granting: impl Iterator<Item = ReplicaKey>,
) -> ControlRecord {
    let voter = |key: ReplicaKey| ChangeVoter { voter_id: key.id, ..Default::default() };
    ControlRecord::LeaderChange(LeaderChangeMessage {
        version: VERSION,
        leader_id,
        voters: voters.map(voter).collect(),
        granting_voters: granting.map(voter).collect(),
        ..Default::default()
    })
}

/// What a voter must not forget: the highest epoch it knows, who leads it, whom it voted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumState {
    pub epoch: i32,
    pub leader_id: Option<i32>,
    pub voted: Option<ReplicaKey>,
}

impl QuorumState {
    pub const EMPTY: QuorumState = QuorumState { epoch: 0, leader_id: None, voted: None };

    pub fn from_data(data: &QuorumStateData) -> QuorumState {
        let some = |id: i32| (id >= 0).then_some(id);
        QuorumState {
            epoch: data.leader_epoch.max(0),
            leader_id: some(data.leader_id),
            voted: some(data.voted_id)
                .map(|id| ReplicaKey { id, directory_id: data.voted_directory_id }),
        }
    }

    /// With the version to write it in, which follows kraft.version.
    pub fn to_data(self, kraft_version: i16, voters: &VoterSet) -> (QuorumStateData, i16) {
        let version = i16::from(kraft_version > 0);
        let voted = self.voted.map_or((-1, Uuid::ZERO), |key| (key.id, key.directory_id));
        let current =
            voters.iter().map(|v| StateVoter { voter_id: v.key.id, ..Default::default() });
        let data = QuorumStateData {
            leader_id: self.leader_id.unwrap_or(-1),
            leader_epoch: self.epoch,
            voted_id: voted.0,
            voted_directory_id: if version == 0 { Uuid::ZERO } else { voted.1 },
            current_voters: (version == 0).then(|| current.collect()),
            ..Default::default()
        };
        (data, version)
    }
}

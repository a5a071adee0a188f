//! What changes a shard: the records of its log, and the soft state that a reload loses.

use std::sync::Arc;

use bytes::Bytes;
use model::{Persist, StoredRecord};
use wire::{Message, Reader, Writer};

use super::GroupType;
use super::classic::ClassicGroup;

#[derive(Debug, Clone, PartialEq)]
pub enum GroupEvent {
    Record(Record),
    /// The group as the decision left it, with what its record does not hold: who waits, who is pending.
    Classic(Arc<ClassicGroup>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    OffsetCommit {
        key: wire::OffsetCommitKey,
        value: Option<wire::OffsetCommitValue>,
    },
    GroupMetadata {
        key: wire::GroupMetadataKey,
        value: Option<wire::GroupMetadataValue>,
    },
    /// A group of another protocol begins or ends. Never written here: only its id is known, so that it is not taken for
    /// a free one.
    OtherGroup {
        group_id: String,
        group_type: GroupType,
        exists: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the key of a record does not parse: {0}")]
    Key(wire::DecodeError),
    #[error("the value of a record of type {record_type} does not parse: {source}")]
    Value { record_type: i16, source: wire::DecodeError },
    #[error("a record cannot be written: {0}")]
    Write(#[from] wire::EncodeError),
}

const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

const KEY_VERSION: i16 = 0;
const GROUP_METADATA_VERSION: i16 = 3;
const OFFSET_COMMIT_VERSION: i16 = 4;
/// The only version with a time of expiry, which old clients ask for.
const OFFSET_COMMIT_EXPIRING_VERSION: i16 = 1;

impl GroupEvent {
    /// No less than what the event adds to a batch.
    pub(super) fn max_bytes(&self) -> usize {
        match self {
            GroupEvent::Record(record) => record.max_bytes(),
            GroupEvent::Classic(_) => 0,
        }
    }
}

impl Record {
    pub(super) fn max_bytes(&self) -> usize {
        /// Lengths and integers of the record, and its frame in the batch.
        const FIXED: usize = 96;
        const FIXED_PER_MEMBER: usize = 40;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Record::OffsetCommit { key, value } => {
                let metadata = value.as_ref().map_or(0, |value| value.metadata.len());
                FIXED + key.group.len() + key.topic.len() + metadata
            }
            Record::GroupMetadata { key, value: None } => FIXED + key.group.len(),
            Record::GroupMetadata { key, value: Some(value) } => {
                let members = value.members.iter().map(|member| {
                    FIXED_PER_MEMBER
                        + member.member_id.len()
                        + optional(&member.group_instance_id)
                        + member.client_id.len()
                        + member.client_host.len()
                        + member.subscription.len()
                        + member.assignment.len()
                });
                let names =
                    value.protocol_type.len() + optional(&value.protocol) + optional(&value.leader);
                FIXED + key.group.len() + names + members.sum::<usize>()
            }
            Record::OtherGroup { .. } => 0,
        }
    }
}

impl Persist for GroupEvent {
    type Error = RecordError;

    fn encode(&self) -> Result<Option<StoredRecord>, RecordError> {
        let (key, value) = match self {
            GroupEvent::Record(Record::OffsetCommit { key, value }) => {
                let written = |value: &wire::OffsetCommitValue| {
                    let version = match value.expire_timestamp {
                        -1 => OFFSET_COMMIT_VERSION,
                        _ => OFFSET_COMMIT_EXPIRING_VERSION,
                    };
                    prefixed(version, value, version)
                };
                (prefixed(OFFSET_COMMIT, key, KEY_VERSION)?, value.as_ref().map(written))
            }
            GroupEvent::Record(Record::GroupMetadata { key, value }) => {
                let written =
                    |value| prefixed(GROUP_METADATA_VERSION, value, GROUP_METADATA_VERSION);
                (prefixed(GROUP_METADATA, key, KEY_VERSION)?, value.as_ref().map(written))
            }
            GroupEvent::Record(Record::OtherGroup { .. }) | GroupEvent::Classic(_) => {
                return Ok(None);
            }
        };
        Ok(Some(StoredRecord { key, value: value.transpose()? }))
    }

    fn decode(record: &StoredRecord) -> Result<Option<GroupEvent>, RecordError> {
        use wire::GroupCoordinatorKey as Key;

        let key = match Key::decode(record.key.clone()) {
            Ok(key) => key,
            Err(wire::DecodeError::UnknownRecordType(_)) => return Ok(None),
            Err(source) => return Err(RecordError::Key(source)),
        };
        let record_type = key.record_type();
        let exists = record.value.is_some();
        let other = |group_id, group_type| Record::OtherGroup { group_id, group_type, exists };
        let decoded = match key {
            Key::LegacyOffsetCommit(key) => Record::OffsetCommit {
                key: wire::OffsetCommitKey {
                    group: key.group,
                    topic: key.topic,
                    partition: key.partition,
                    ..Default::default()
                },
                value: value(record_type, record)?.map(from_legacy),
            },
            Key::OffsetCommit(key) => {
                Record::OffsetCommit { key, value: value(record_type, record)? }
            }
            Key::GroupMetadata(key) => {
                Record::GroupMetadata { key, value: value(record_type, record)? }
            }
            Key::ConsumerGroupMetadata(key) => other(key.group_id, GroupType::Consumer),
            Key::ShareGroupMetadata(key) => other(key.group_id, GroupType::Share),
            Key::StreamsGroupMetadata(key) => other(key.group_id, GroupType::Streams),
            _ => return Ok(None),
        };
        Ok(Some(GroupEvent::Record(decoded)))
    }
}

fn from_legacy(value: wire::LegacyOffsetCommitValue) -> wire::OffsetCommitValue {
    wire::OffsetCommitValue {
        offset: value.offset,
        metadata: value.metadata,
        commit_timestamp: value.commit_timestamp,
        ..Default::default()
    }
}

/// Keys begin with the type of the record, values with their version.
fn prefixed<M: Message>(
    prefix: i16,
    message: &M,
    version: i16,
) -> Result<Bytes, wire::EncodeError> {
    let mut writer = Writer::new();
    writer.int16(prefix);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes().unwrap_or_default())
}

fn value<M: Message>(record_type: i16, record: &StoredRecord) -> Result<Option<M>, RecordError> {
    let Some(value) = &record.value else {
        return Ok(None);
    };
    let mut reader = Reader::new(value.clone());
    let decoded = reader.int16().and_then(|version| M::decode(&mut reader, version));
    decoded.map(Some).map_err(|source| RecordError::Value { record_type, source })
}

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
    pub fn group_id(&self) -> &str {
        match self {
            GroupEvent::Classic(group) => &group.id,
            GroupEvent::Record(Record::OffsetCommit { key, .. }) => &key.group,
            GroupEvent::Record(Record::GroupMetadata { key, .. }) => &key.group,
            GroupEvent::Record(Record::OtherGroup { group_id, .. }) => group_id,
        }
    }

    /// No less than what the event adds to a batch.
    pub(super) fn max_bytes(&self) -> usize {
        match self {
            GroupEvent::Record(record) => record.max_bytes(),
            GroupEvent::Classic(_) => 0,
        }
    }
}

impl Record {
    /// No less than what the record adds to a batch, and a byte or two more at most: its offset's delta is not known.
    pub(super) fn max_bytes(&self) -> usize {
        let (key, value) = match self {
            Record::OffsetCommit { key, value } => {
                (2 + text(&key.group) + text(&key.topic) + 4, value.as_ref().map(offset_bytes))
            }
            Record::GroupMetadata { key, value } => {
                (2 + text(&key.group), value.as_ref().map(group_bytes))
            }
            Record::OtherGroup { .. } => return 0,
        };
        /// Attributes, the timestamp's and the offset's delta, the number of headers.
        const FIXED: usize = 1 + 1 + 3 + 1;
        let value = value.map_or(1, |value| varint_len(value) + value);
        let body = FIXED + varint_len(key) + key + value;
        varint_len(body) + body
    }
}

fn text(text: &str) -> usize {
    2 + text.len()
}

fn offset_bytes(value: &wire::OffsetCommitValue) -> usize {
    if value.expire_timestamp != -1 {
        return 2 + 8 + text(&value.metadata) + 8 + 8;
    }
    let topic_id = if value.topic_id.is_zero() { 0 } else { 2 + 16 };
    // The length of metadata is at most that of the same as a record's.
    2 + 8 + 4 + varint_len(value.metadata.len() + 1) + value.metadata.len() + 8 + 1 + topic_id
}

fn group_bytes(value: &wire::GroupMetadataValue) -> usize {
    let optional = |name: &Option<String>| text(name.as_deref().unwrap_or_default());
    let members = value.members.iter().map(|member| {
        let names = text(&member.member_id) + text(&member.client_id) + text(&member.client_host);
        let instance_id = optional(&member.group_instance_id);
        names + instance_id + 4 + 4 + 4 + member.subscription.len() + 4 + member.assignment.len()
    });
    let names = text(&value.protocol_type) + optional(&value.protocol) + optional(&value.leader);
    2 + names + 4 + 8 + 4 + members.sum::<usize>()
}

/// Of a length as records have it, which is signed.
fn varint_len(length: usize) -> usize {
    let bits = usize::BITS - (length << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
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

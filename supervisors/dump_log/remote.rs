//! What the topic of remote log metadata tells of segments, in the words of Kafka's classes (`RemoteLogMetadataSerde`).

use std::collections::BTreeMap;

use bytes::Bytes;
use model::Uuid;
use wire::RemoteLogMetadataRecord;

use super::records::framed_error;

const SEGMENT_STATES: [&str; 4] = [
    "COPY_SEGMENT_STARTED",
    "COPY_SEGMENT_FINISHED",
    "DELETE_SEGMENT_STARTED",
    "DELETE_SEGMENT_FINISHED",
];
const PARTITION_STATES: [&str; 3] =
    ["DELETE_PARTITION_MARKED", "DELETE_PARTITION_STARTED", "DELETE_PARTITION_FINISHED"];

pub(super) fn show(value: Option<Bytes>) -> Result<String, String> {
    let value = value.ok_or("its value is null")?;
    let decoded = RemoteLogMetadataRecord::decode(value.clone());
    let (record, _) = decoded.map_err(|error| framed_error(value, &error))?;
    match record {
        RemoteLogMetadataRecord::RemoteLogSegmentMetadata(r) => {
            let (id, of) = (r.remote_log_segment_id.id, r.remote_log_segment_id.topic_id_partition);
            Ok(format!(
                "RemoteLogSegmentMetadata{{remoteLogSegmentId={}, startOffset={}, endOffset={}, brokerId={}, maxTimestampMs={}, eventTimestampMs={}, {}}}",
                segment_id(&of.name, of.id, of.partition, id),
                r.start_offset,
                r.end_offset,
                r.broker_id,
                r.max_timestamp_ms,
                r.event_timestamp_ms,
                held(
                    r.segment_leader_epochs.iter().map(|e| (e.leader_epoch, e.offset)),
                    r.segment_size_in_bytes,
                    r.custom_metadata.as_ref(),
                    r.remote_log_segment_state,
                    r.txn_index_empty
                )?,
            ))
        }
        RemoteLogMetadataRecord::RemoteLogSegmentMetadataUpdate(r) => {
            let (id, of) = (r.remote_log_segment_id.id, r.remote_log_segment_id.topic_id_partition);
            Ok(format!(
                "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={}, customMetadata={}, state={}, eventTimestampMs={}, brokerId={}}}",
                segment_id(&of.name, of.id, of.partition, id),
                custom_metadata(r.custom_metadata.as_ref()),
                segment_state(r.remote_log_segment_state)?,
                r.event_timestamp_ms,
                r.broker_id,
            ))
        }
        RemoteLogMetadataRecord::RemotePartitionDeleteMetadata(r) => {
            let partition = r.topic_id_partition;
            Ok(format!(
                "RemotePartitionDeleteMetadata{{topicPartition={}, state={}, eventTimestampMs={}, brokerId={}}}",
                partition_name(partition.id, &partition.name, partition.partition),
                partition_state(r.remote_partition_delete_state)?,
                r.event_timestamp_ms,
                r.broker_id,
            ))
        }
        RemoteLogMetadataRecord::RemoteLogSegmentMetadataSnapshot(r) => Ok(format!(
            "RemoteLogSegmentMetadataSnapshot{{segmentId={}, startOffset={}, endOffset={}, maxTimestampMs={}, {}}}",
            r.segment_id,
            r.start_offset,
            r.end_offset,
            r.max_timestamp_ms,
            held(
                r.segment_leader_epochs.iter().map(|e| (e.leader_epoch, e.offset)),
                r.segment_size_in_bytes,
                r.custom_metadata.as_ref(),
                r.remote_log_segment_state,
                r.txn_index_empty
            )?,
        )),
    }
}

fn partition_name(id: Uuid, topic: &str, partition: i32) -> String {
    format!("{id}:{topic}-{partition}")
}

/// What a segment holds and how far it is, as it ends the words for one.
fn held(
    epochs: impl Iterator<Item = (i32, i64)>,
    bytes: i32,
    custom: Option<&Bytes>,
    state: i8,
    no_transactions: bool,
) -> Result<String, &'static str> {
    Ok(format!(
        "segmentLeaderEpochs={}, segmentSizeInBytes={bytes}, customMetadata={}, state={}, txnIdxEmpty={no_transactions}",
        leader_epochs(epochs),
        custom_metadata(custom),
        segment_state(state)?,
    ))
}

fn segment_id(topic: &str, topic_id: Uuid, partition: i32, id: Uuid) -> String {
    let partition = partition_name(topic_id, topic, partition);
    format!("RemoteLogSegmentId{{topicIdPartition={partition}, id={id}}}")
}

/// Ordered, the last of an epoch counting.
fn leader_epochs(epochs: impl Iterator<Item = (i32, i64)>) -> String {
    let epochs: BTreeMap<i32, i64> = epochs.collect();
    let shown: Vec<String> =
        epochs.iter().map(|(epoch, offset)| format!("{epoch}={offset}")).collect();
    format!("{{{}}}", shown.join(", "))
}

fn custom_metadata(bytes: Option<&Bytes>) -> String {
    bytes.map_or("Optional.empty".to_owned(), |bytes| {
        format!("Optional[CustomMetadata{{{} bytes}}]", bytes.len())
    })
}

fn segment_state(id: i8) -> Result<&'static str, &'static str> {
    of(&SEGMENT_STATES, id).ok_or("state can not be null")
}

fn partition_state(id: i8) -> Result<&'static str, &'static str> {
    of(&PARTITION_STATES, id).ok_or("null")
}

fn of(states: &[&'static str], id: i8) -> Option<&'static str> {
    states.get(usize::try_from(id).ok()?).copied()
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;

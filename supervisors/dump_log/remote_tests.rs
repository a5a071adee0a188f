//! What Kafka 4.3.1's tool prints of the same records.

use wire::remote_log_segment_metadata_record::{
    RemoteLogSegmentIdEntry, SegmentLeaderEpochEntry, TopicIdPartitionEntry,
};
use wire::{
    RemoteLogSegmentMetadataRecord, RemoteLogSegmentMetadataSnapshotRecord,
    RemoteLogSegmentMetadataUpdateRecord, RemotePartitionDeleteMetadataRecord,
    remote_log_segment_metadata_update_record as update,
    remote_partition_delete_metadata_record as delete,
};

use super::*;

fn shown(record: impl Into<RemoteLogMetadataRecord>) -> Result<String, String> {
    show(Some(record.into().encode(0).unwrap()))
}

const ID: Uuid = Uuid([9; 16]);
const TOPIC: Uuid = Uuid([5; 16]);
const SEGMENT: &str =
    "RemoteLogSegmentId{topicIdPartition=BQUFBQUFBQUFBQUFBQUFBQ:t-3, id=CQkJCQkJCQkJCQkJCQkJCQ}";

#[test]
fn segments() {
    let partition =
        TopicIdPartitionEntry { name: "t".into(), id: TOPIC, partition: 3, ..Default::default() };
    let epoch = |leader_epoch, offset| SegmentLeaderEpochEntry {
        leader_epoch,
        offset,
        ..Default::default()
    };
    let segment = RemoteLogSegmentMetadataRecord {
        remote_log_segment_id: RemoteLogSegmentIdEntry {
            topic_id_partition: partition,
            id: ID,
            ..Default::default()
        },
        start_offset: 4,
        end_offset: 9,
        broker_id: 1,
        max_timestamp_ms: 77,
        event_timestamp_ms: 78,
        segment_leader_epochs: vec![epoch(2, 6), epoch(0, 4)],
        segment_size_in_bytes: 100,
        custom_metadata: Some(Bytes::from_static(b"xyz")),
        txn_index_empty: true,
        ..Default::default()
    };
    let expected = format!(
        "RemoteLogSegmentMetadata{{remoteLogSegmentId={SEGMENT}, startOffset=4, endOffset=9, brokerId=1, maxTimestampMs=77, \
         eventTimestampMs=78, segmentLeaderEpochs={{0=4, 2=6}}, segmentSizeInBytes=100, \
         customMetadata=Optional[CustomMetadata{{3 bytes}}], state=COPY_SEGMENT_STARTED, txnIdxEmpty=true}}"
    );
    assert_eq!(shown(segment), Ok(expected));
    let snapshot = RemoteLogSegmentMetadataSnapshotRecord {
        segment_id: ID,
        start_offset: 4,
        remote_log_segment_state: 3,
        ..Default::default()
    };
    let expected = "RemoteLogSegmentMetadataSnapshot{segmentId=CQkJCQkJCQkJCQkJCQkJCQ, startOffset=4, endOffset=0, maxTimestampMs=0, \
         segmentLeaderEpochs={}, segmentSizeInBytes=0, customMetadata=Optional.empty, state=DELETE_SEGMENT_FINISHED, txnIdxEmpty=false}";
    assert_eq!(shown(snapshot).as_deref(), Ok(expected));
}

#[test]
fn updates_deletions_and_what_is_none_of_them() {
    let partition = update::TopicIdPartitionEntry {
        name: "t".into(),
        id: TOPIC,
        partition: 3,
        ..Default::default()
    };
    let id = update::RemoteLogSegmentIdEntry {
        topic_id_partition: partition,
        id: ID,
        ..Default::default()
    };
    let update = |state| RemoteLogSegmentMetadataUpdateRecord {
        remote_log_segment_id: id.clone(),
        broker_id: 2,
        event_timestamp_ms: 5,
        remote_log_segment_state: state,
        ..Default::default()
    };
    let expected = format!(
        "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={SEGMENT}, customMetadata=Optional.empty, \
         state=COPY_SEGMENT_FINISHED, eventTimestampMs=5, brokerId=2}}"
    );
    assert_eq!(shown(update(1)), Ok(expected));
    assert_eq!(shown(update(4)), Err("state can not be null".to_owned()));
    let deleted = RemotePartitionDeleteMetadataRecord {
        topic_id_partition: delete::TopicIdPartitionEntry {
            name: "t".into(),
            id: TOPIC,
            partition: 3,
            ..Default::default()
        },
        remote_partition_delete_state: 0,
        ..Default::default()
    };
    let expected = "RemotePartitionDeleteMetadata{topicPartition=BQUFBQUFBQUFBQUFBQUFBQ:t-3, state=DELETE_PARTITION_MARKED, \
         eventTimestampMs=0, brokerId=0}";
    assert_eq!(shown(deleted).as_deref(), Ok(expected));
    for (bytes, why) in [
        (
            &[1, 9, 0][..],
            "org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id 9",
        ),
        (
            &[2, 9, 0],
            "Could not deserialize metadata record due to unknown frame version 2(only frame version 1 is supported)",
        ),
        (&[1, 0, 0, 5], "Failed to deserialize record with type 0"),
        (&[], "Error while reading frame version"),
    ] {
        assert_eq!(show(Some(Bytes::from_static(bytes))).as_deref(), Err(&why.to_owned()));
    }
}

//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords, InitProducerId.

use std::time::Duration;

use model::ErrorCode;
use partitions::Standing;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::list_offsets_response::ListOffsetsPartitionResponse;
use wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::{
    DeleteRecordsRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};

use crate::produce::produce;
use crate::rig::{Client, Rig, batch};

fn list_request(topic: &str, timestamps: &[i64]) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: timestamps
                .iter()
                .map(|timestamp| ListOffsetsPartition {
                    partition_index: 0,
                    timestamp: *timestamp,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn list(
    client: &mut Client,
    topic: &str,
    version: i16,
    timestamp: i64,
) -> ListOffsetsPartitionResponse {
    let response = client.call(&list_request(topic, &[timestamp]), version).await;
    response.topics[0].partitions[0].clone()
}

/// Error, timestamp, offset, leader epoch.
fn parts(found: &ListOffsetsPartitionResponse) -> (ErrorCode, i64, i64, i32) {
    let error = ErrorCode::from_code(found.error_code);
    (error, found.timestamp, found.offset, found.leader_epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_by_timestamp_in_every_version() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for (value, time) in [("a", 100), ("b", 300), ("c", 200)] {
        produce(&mut client, "t", 9, &batch(&[value, value], time)).await;
    }
    for version in 1..=11 {
        let epoch = if version >= 4 { 5 } else { -1 };
        let none = (ErrorCode::None, -1, -1, -1);
        let since = |first: i16, answer| match version >= first {
            true => answer,
            false => (ErrorCode::UnsupportedVersion, -1, -1, -1),
        };
        for (timestamp, expected) in [
            (-1, (ErrorCode::None, -1, 6, epoch)),
            (-2, (ErrorCode::None, -1, 0, epoch)),
            (-3, since(7, (ErrorCode::None, 300, 2, epoch))),
            (-4, since(8, (ErrorCode::None, -1, 0, epoch))),
            (-5, since(9, none)),
            (-6, since(11, none)),
            (-7, (ErrorCode::UnsupportedVersion, -1, -1, -1)),
            (0, (ErrorCode::None, 100, 0, epoch)),
            (101, (ErrorCode::None, 300, 2, epoch)),
            (300, (ErrorCode::None, 300, 2, epoch)),
            (301, none),
        ] {
            let found = list(&mut client, "t", version, timestamp).await;
            assert_eq!(parts(&found), expected, "{timestamp} in version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_named_twice_unknown_or_fenced_have_no_offset() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic_elsewhere("far");
    let mut client = rig.client().await;
    let twice = client.call(&list_request("t", &[-1, -2]), 7).await;
    for found in &twice.topics[0].partitions {
        assert_eq!(found.error_code, ErrorCode::InvalidRequest.code());
    }
    assert!(client.call(&list_request("t", &[]), 7).await.topics.is_empty());
    let unknown = list(&mut client, "none", 7, -1).await;
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
    let far = list(&mut client, "far", 7, -1).await;
    assert_eq!(far.error_code, ErrorCode::NotLeaderOrFollower.code());
    for (epoch, expected) in [(4, ErrorCode::FencedLeaderEpoch), (6, ErrorCode::UnknownLeaderEpoch)]
    {
        let mut request = list_request("t", &[-1]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let fenced = client.call(&request, 7).await;
        assert_eq!(fenced.topics[0].partitions[0].error_code, expected.code());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_epoch() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    produce(&mut client, "t", 9, &batch(&["a", "b"], 1)).await;
    for version in 2..=4 {
        for (current, asked, expected) in [
            (-1, 5, (ErrorCode::None, 5, 2)),
            (5, 5, (ErrorCode::None, 5, 2)),
            (-1, 3, (ErrorCode::None, 3, 0)),
            (-1, 6, (ErrorCode::None, -1, -1)),
            (4, 5, (ErrorCode::FencedLeaderEpoch, -1, -1)),
            (6, 5, (ErrorCode::UnknownLeaderEpoch, -1, -1)),
        ] {
            let request = OffsetForLeaderEpochRequest {
                replica_id: -1,
                topics: vec![OffsetForLeaderTopic {
                    topic: "t".into(),
                    partitions: vec![OffsetForLeaderPartition {
                        partition: 0,
                        current_leader_epoch: current,
                        leader_epoch: asked,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let response = client.call(&request, version).await;
            let end = &response.topics[0].partitions[0];
            let error = ErrorCode::from_code(end.error_code);
            assert_eq!((error, end.leader_epoch, end.end_offset), expected, "{current} {asked}");
        }
    }
}

fn delete_request(topic: &str, offsets: &[i64]) -> DeleteRecordsRequest {
    let partition = |offset: &i64| DeleteRecordsPartition { offset: *offset, ..Default::default() };
    let partitions = offsets.iter().map(partition).collect();
    let topic = DeleteRecordsTopic { name: topic.into(), partitions, ..Default::default() };
    // The leader is waited for, whatever it says.
    DeleteRecordsRequest { timeout_ms: 0, topics: vec![topic], ..Default::default() }
}

async fn delete(client: &mut Client, topic: &str, version: i16, offset: i64) -> (ErrorCode, i64) {
    let response = client.call(&delete_request(topic, &[offset]), version).await;
    let partition = &response.topics[0].partitions[0];
    (ErrorCode::from_code(partition.error_code), partition.low_watermark)
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_gone_for_readers() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for _ in 0..6 {
        produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    }
    for (version, offset, expected) in [
        (0, 2, (ErrorCode::None, 2)),
        (1, 1, (ErrorCode::None, 2)),
        (2, 7, (ErrorCode::OffsetOutOfRange, -1)),
        (2, -2, (ErrorCode::OffsetOutOfRange, -1)),
        (2, 4, (ErrorCode::None, 4)),
    ] {
        assert_eq!(delete(&mut client, "t", version, offset).await, expected);
    }
    assert_eq!(list(&mut client, "t", 4, -2).await.offset, 4);
    let twice = client.call(&delete_request("t", &[6, 5]), 2).await;
    let told: Vec<i64> = twice.topics[0].partitions.iter().map(|p| p.low_watermark).collect();
    assert_eq!(told, [5], "the last naming of a partition counts");
    assert!(client.call(&delete_request("t", &[]), 2).await.topics.is_empty());
    assert_eq!(delete(&mut client, "t", 2, -1).await, (ErrorCode::None, 6));
    assert_eq!(list(&mut client, "t", 4, -2).await.offset, 6);
    assert_eq!(delete(&mut client, "none", 2, 1).await, (ErrorCode::UnknownTopicOrPartition, -1));
}

/// Its mailbox is open from the first: what is sent to it then would only be handled, and its memory given back, much later.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_still_opens_its_log_is_not_asked_to_delete() {
    let mut rig = Rig::start().await;
    // What is found before is set aside: no topic's.
    rig.topic("first", 1, &[]).await;
    let dir = rig.log_dirs.0[0].path.join("t-0");
    let (pipe, held) = (dir.with_extension("pipe"), dir.join("partition.metadata"));
    std::fs::create_dir(&dir).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Who reads it waits until somebody writes.
    std::fs::hard_link(&pipe, &held).unwrap();
    let world = rig.world.clone();
    let led = world.timeout(Duration::ZERO, rig.topic("t", 1, &[])).await;
    assert!(led.is_err());
    rig.wait_for("it begins", || rig.hosted.get("t", 0).is_some()).await;
    let mut client = rig.client().await;
    let refused = (ErrorCode::NotLeaderOrFollower, -1);
    assert_eq!(delete(&mut client, "t", 2, -1).await, refused);
    let written = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    std::fs::remove_file(&held).unwrap();
    drop(written);
    rig.until("t", 0, |handle| matches!(*handle.standing(), Standing::Leader(_))).await;
    assert_eq!(delete(&mut client, "t", 2, -1).await, (ErrorCode::None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_and_internal_topics_keep_their_records() {
    let mut rig = Rig::start().await;
    rig.topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    rig.topic("both", 1, &[("cleanup.policy", "compact,delete")]).await;
    rig.topic("__consumer_offsets", 1, &[]).await;
    let mut client = rig.client().await;
    for (topic, expected) in [
        ("compacted", (ErrorCode::PolicyViolation, -1)),
        ("both", (ErrorCode::None, 0)),
        ("__consumer_offsets", (ErrorCode::InvalidTopicException, -1)),
    ] {
        assert_eq!(delete(&mut client, topic, 2, -1).await, expected, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_ids_are_given_once() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let mut given = Vec::new();
    for version in 0..=5 {
        let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let response = client.call(&request, version).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        given.push(response.producer_id);
    }
    assert_eq!(given, [1000, 1001, 1002, 1003, 1004, 1005]);
    for (transactional_id, producer_id, expected) in [
        (Some("tx"), -1, ErrorCode::CoordinatorNotAvailable),
        (Some(""), -1, ErrorCode::InvalidRequest),
        (None, 5, ErrorCode::InvalidRequest),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: transactional_id.map(str::to_owned),
            producer_id,
            ..Default::default()
        };
        let response = client.call(&request, 5).await;
        assert_eq!(response.error_code, expected.code());
        assert_eq!((response.producer_id, response.producer_epoch), (-1, -1));
    }
}

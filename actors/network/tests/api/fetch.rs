//! Fetch: what is read, what is waited for, and what a session leaves out.

use std::time::Duration;

use model::{ErrorCode, Uuid};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::fetch_response::PartitionData;
use wire::{FetchRequest, FetchResponse, Records};

use crate::produce::produce;
use crate::rig::{Client, NODE, Rig, batch, batch_of, topic_id};

const COMMITTED: i8 = 1;

pub fn asked(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }
}

pub fn fetch_request(topic: &str, version: i16, partitions: Vec<FetchPartition>) -> FetchRequest {
    let (name, id) = match version {
        13.. => (String::new(), topic_id(topic)),
        _ => (topic.to_owned(), Uuid::ZERO),
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 10 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: name, topic_id: id, partitions, ..Default::default() }],
        ..Default::default()
    }
}

pub async fn fetch(client: &mut Client, topic: &str, version: i16, offset: i64) -> PartitionData {
    let request = fetch_request(topic, version, vec![asked(0, offset)]);
    only(client.call(&request, version).await)
}

pub fn only(response: FetchResponse) -> PartitionData {
    let [topic] = &response.responses[..] else { panic!("{response:?}") };
    let [partition] = &topic.partitions[..] else { panic!("{response:?}") };
    partition.clone()
}

fn code(partition: &PartitionData) -> ErrorCode {
    ErrorCode::from_code(partition.error_code)
}

fn texts(partition: &PartitionData) -> Vec<String> {
    values(&partition.records).into_iter().map(|(_, value)| value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_gives_what_was_produced() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    produce(&mut client, "t", 9, &batch(&["a", "b"], 1)).await;
    produce(&mut client, "t", 9, &batch(&["c"], 1)).await;
    for version in 4..=18 {
        let partition = fetch(&mut client, "t", version, 0).await;
        assert_eq!(code(&partition), ErrorCode::None, "version {version}");
        let expected = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
        assert_eq!(values(&partition.records), expected, "version {version}");
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (3, 3));
        assert_eq!(partition.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(texts(&fetch(&mut client, "t", version, 2).await), ["c"]);
        let at_end = fetch(&mut client, "t", version, 3).await;
        assert_eq!((code(&at_end), texts(&at_end).len()), (ErrorCode::None, 0));
        let beyond = fetch(&mut client, "t", version, 4).await;
        assert_eq!(code(&beyond), ErrorCode::OffsetOutOfRange);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_partition_that_is_named_twice_the_last_naming_counts() {
    let mut rig = Rig::start().await;
    rig.topic("t", 2, &[]).await;
    let mut client = rig.client().await;
    produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    produce(&mut client, "t", 9, &batch(&["b"], 1)).await;
    for version in [6, 13] {
        let wanted = vec![asked(0, 0), asked(1, 0), asked(0, 1)];
        let response = client.call(&fetch_request("t", version, wanted), version).await;
        let partitions = &response.responses[0].partitions;
        let told: Vec<i32> = partitions.iter().map(|p| p.partition_index).collect();
        assert_eq!((told, texts(&partitions[0])), (vec![0, 1], vec!["b".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_reads_come_from_the_file_and_bounds_hold() {
    let mut rig = Rig::start().await;
    rig.topic("t", 3, &[]).await;
    let mut client = rig.client().await;
    let value = "x".repeat(50_000);
    for _ in 0..10 {
        for partition in 0..3 {
            let records = batch(&[&value], 1).to_bytes();
            let request = crate::produce::produce_request("t", 9, 1, vec![(partition, records)]);
            client.call(&request, 9).await;
        }
    }
    let whole = fetch(&mut client, "t", 12, 0).await;
    assert_eq!(values(&whole.records).len(), 10);
    let size = |partition: &PartitionData| partition.records.as_ref().map_or(0, |r| r.len());
    let mut request = fetch_request("t", 12, vec![asked(0, 0), asked(1, 0), asked(2, 0)]);
    request.topics[0].partitions[1].partition_max_bytes = 120_000;
    request.max_bytes = 700_000;
    let response = client.call(&request, 12).await;
    let sizes: Vec<usize> = response.responses[0].partitions.iter().map(size).collect();
    assert!(sizes[0] > 500_000, "{sizes:?}");
    assert_eq!(sizes[1], 120_000);
    assert_eq!(sizes[0] + sizes[1] + sizes[2], 700_000);
    // The first batch is given whole, however little is asked for; then the bound holds.
    request.max_bytes = 10;
    let response = client.call(&request, 12).await;
    let sizes: Vec<usize> = response.responses[0].partitions.iter().map(size).collect();
    assert_eq!((sizes[0] > 50_000 && sizes[0] < 51_000, sizes[1], sizes[2]), (true, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_own_bound_holds() {
    let mut rig = Rig::with_settings(&[("fetch.max.bytes", "2000")]).await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for _ in 0..5 {
        produce(&mut client, "t", 9, &batch(&[&"x".repeat(900)], 1)).await;
    }
    assert_eq!(values(&fetch(&mut client, "t", 12, 0).await.records).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_when_something_is_there() {
    let mut rig = Rig::start().await;
    rig.topic("t", 2, &[]).await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    let mut request = fetch_request("t", 12, vec![asked(0, 0), asked(1, 0)]);
    request.max_wait_ms = 600_000;
    for n in 0..20 {
        reader.send(&request, 12).await;
        produce(&mut writer, "t", 9, &batch(&[&n.to_string()], 1)).await;
        let response = reader.receive::<FetchRequest>(12).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!(texts(partition), [n.to_string()]);
        request.topics[0].partitions[0].fetch_offset += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_waits_for_min_bytes_or_its_time() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let (mut reader, mut writer) = (rig.client().await, rig.client().await);
    let mut request = fetch_request("t", 12, vec![asked(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (600_000, 2500);
    reader.send(&request, 12).await;
    for _ in 0..3 {
        produce(&mut writer, "t", 9, &batch(&[&"x".repeat(1000)], 1)).await;
    }
    let response = reader.receive::<FetchRequest>(12).await;
    assert_eq!(values(&only(response).records).len(), 3);
    request.max_wait_ms = 30;
    request.topics[0].partitions[0].fetch_offset = 2;
    let before = rig.world.mono();
    let response = client_call(&mut reader, &request).await;
    assert_eq!(values(&only(response).records).len(), 1, "what is there is given in the end");
    assert!(rig.world.mono() - before >= Duration::from_millis(30));
}

async fn client_call(client: &mut Client, request: &FetchRequest) -> FetchResponse {
    client.call(request, 12).await
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_answered_at_once_unless_the_partition_is_unknown() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic_elsewhere("far");
    let mut client = rig.client().await;
    let mut request = fetch_request("far", 16, vec![asked(0, 0)]);
    request.max_wait_ms = 600_000;
    let far = only(client.call(&request, 16).await);
    assert_eq!(code(&far), ErrorCode::NotLeaderOrFollower);
    assert_eq!((far.current_leader.leader_id, far.current_leader.leader_epoch), (NODE + 1, 5));
    for (version, expected) in
        [(12, ErrorCode::UnknownTopicOrPartition), (13, ErrorCode::UnknownTopicId)]
    {
        let mut request = fetch_request("none", version, vec![asked(0, 0)]);
        request.max_wait_ms = 600_000;
        let none = only(client.call(&request, version).await);
        assert_eq!(code(&none), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_epochs_fence() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for (epoch, expected) in [
        (4, ErrorCode::FencedLeaderEpoch),
        (5, ErrorCode::None),
        (6, ErrorCode::UnknownLeaderEpoch),
        (-1, ErrorCode::None),
    ] {
        let mut request = fetch_request("t", 12, vec![asked(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(code(&only(client.call(&request, 12).await)), expected, "epoch {epoch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_log_diverged_is_told_where() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    let mut request = fetch_request("t", 12, vec![asked(0, 1)]);
    request.topics[0].partitions[0].last_fetched_epoch = 5;
    let same = only(client.call(&request, 12).await);
    assert_eq!((code(&same), same.diverging_epoch.epoch), (ErrorCode::None, -1));
    request.topics[0].partitions[0].fetch_offset = 3;
    let diverged = only(client.call(&request, 12).await);
    let told = diverged.diverging_epoch;
    assert_eq!((told.epoch, told.end_offset), (5, 1));
    request.topics[0].partitions[0].last_fetched_epoch = 9;
    let unknown = only(client.call(&request, 12).await);
    assert_eq!(code(&unknown), ErrorCode::OffsetOutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_are_told_to_come_again() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let mut request = fetch_request("t", 14, vec![asked(0, 0)]);
    request.replica_id = 3;
    let refused = only(client.call(&request, 14).await);
    assert_eq!(code(&refused), ErrorCode::NotLeaderOrFollower);
    let mut request = fetch_request("t", 17, vec![asked(0, 0)]);
    request.replica_state.replica_id = 3;
    request.topics[0].partitions[0].current_leader_epoch = 5;
    let refused = only(client.call(&request, 17).await);
    assert_eq!(code(&refused), ErrorCode::UnknownLeaderEpoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_readers_are_told_of_aborted_transactions_and_there_are_none() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    let mut request = fetch_request("t", 12, vec![asked(0, 0)]);
    assert_eq!(only(client.call(&request, 12).await).aborted_transactions, None);
    request.isolation_level = COMMITTED;
    let committed = only(client.call(&request, 12).await);
    assert_eq!(committed.aborted_transactions.as_deref(), Some(&[][..]));
    assert_eq!(texts(&committed), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_answers_changes_only() {
    for version in [7, 12, 13, 18] {
        let mut rig = Rig::start().await;
        rig.topic("t", 3, &[]).await;
        let mut client = rig.client().await;
        produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
        let all = vec![asked(0, 0), asked(1, 0), asked(2, 0)];
        let mut request = fetch_request("t", version, all);
        request.session_epoch = 0;
        let opened = client.call(&request, version).await;
        assert_ne!(opened.session_id, 0);
        assert_eq!(opened.responses[0].partitions.len(), 3);
        let mut next = fetch_request("t", version, vec![asked(0, 1)]);
        (next.session_id, next.session_epoch) = (opened.session_id, 1);
        let quiet = client.call(&next, version).await;
        assert_eq!((quiet.session_id, quiet.responses.len()), (opened.session_id, 0));
        produce(&mut client, "t", 9, &batch(&["b"], 1)).await;
        next.topics.clear();
        next.session_epoch = 2;
        let changed = client.call(&next, version).await;
        assert_eq!(texts(&only(changed)), ["b"]);
        let wrong = client.call(&next, version).await;
        assert_eq!(wrong.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
        forget_all(&mut client, version, opened.session_id).await;
    }
}

async fn forget_all(client: &mut Client, version: i16, session: i32) {
    let mut request = fetch_request("t", version, vec![]);
    request.topics.clear();
    (request.session_id, request.session_epoch) = (session, 3);
    let (topic, topic_id) = match version {
        13.. => (String::new(), topic_id("t")),
        _ => ("t".to_owned(), Uuid::ZERO),
    };
    request.forgotten_topics_data =
        vec![ForgottenTopic { topic, topic_id, partitions: vec![0, 1, 2], ..Default::default() }];
    let left = client.call(&request, version).await;
    assert_eq!((left.error_code, left.session_id, left.responses.len()), (0, 0, 0));
    let gone = client.call(&request, version).await;
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_of_a_deleted_topic_ends() {
    let mut rig = Rig::start().await;
    let id = rig.topic("t", 1, &[]).await;
    let mut reader = rig.client().await;
    let mut request = fetch_request("t", 12, vec![asked(0, 0)]);
    request.max_wait_ms = 600_000;
    reader.send(&request, 12).await;
    rig.publish([wire::MetadataRecord::RemoveTopic(wire::RemoveTopicRecord {
        topic_id: id,
        ..Default::default()
    })]);
    let gone = only(reader.receive::<FetchRequest>(12).await);
    assert_eq!(code(&gone), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_given_as_they_were_produced() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let numbered = BatchBuilder::new(Compression::NONE).producer(9, 2, 0);
    produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    produce(&mut client, "t", 9, &batch_of(numbered, &["b"], 7)).await;
    let fetched = fetch(&mut client, "t", 12, 1).await;
    let bytes = fetched.records.unwrap().as_bytes().unwrap().clone();
    let header = *wire::batch::RecordBatch::parse(&bytes).unwrap().header();
    assert_eq!((header.base_offset, header.leader_epoch), (1, 5));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_too_many_partitions_closes_its_connection() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let request = fetch_request("t", 12, (0..200_001).map(|n| asked(n, 0)).collect());
    client.send(&request, 12).await;
    assert_eq!(client.frame().await, None);
}

/// The values of all whole batches in what a fetch gave, with their offsets.
pub fn values(records: &Option<Records>) -> Vec<(i64, String)> {
    let bytes = records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let mut values = Vec::new();
    for batch in wire::batch::batches(bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        for record in batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((record.offset, value));
        }
    }
    values
}

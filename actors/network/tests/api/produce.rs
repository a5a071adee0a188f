//! Produce: what is taken, what is refused, and how.

use bytes::Bytes;
use model::{ErrorCode, Uuid};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::produce_response::PartitionProduceResponse;
use wire::{DeleteRecordsRequest, ProduceRequest, ProduceResponse, Records};

use crate::rig::{Client, NODE, Rig, batch, batch_of, topic_id};

pub const ALL: i16 = -1;

pub fn produce_request(
    topic: &str,
    version: i16,
    acks: i16,
    partitions: Vec<(i32, Bytes)>,
) -> ProduceRequest {
    let partition_data = partitions
        .into_iter()
        .map(|(index, records)| PartitionProduceData {
            index,
            records: Some(Records::Bytes(records)),
            ..Default::default()
        })
        .collect();
    let (name, id) = match version {
        13.. => (String::new(), topic_id(topic)),
        _ => (topic.to_owned(), Uuid::ZERO),
    };
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name,
            topic_id: id,
            partition_data,
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub async fn produce(
    client: &mut Client,
    topic: &str,
    version: i16,
    batch: &RecordBatch,
) -> PartitionProduceResponse {
    produce_bytes(client, topic, version, batch.to_bytes()).await
}

async fn produce_bytes(
    client: &mut Client,
    topic: &str,
    version: i16,
    bytes: Bytes,
) -> PartitionProduceResponse {
    let request = produce_request(topic, version, ALL, vec![(0, bytes)]);
    only(client.call(&request, version).await)
}

fn only(response: ProduceResponse) -> PartitionProduceResponse {
    let [topic] = &response.responses[..] else { panic!("{response:?}") };
    let [partition] = &topic.partition_responses[..] else { panic!("{response:?}") };
    partition.clone()
}

fn code(response: &PartitionProduceResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_appends() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for (at, version) in (3..=13).enumerate() {
        for acks in [1, ALL] {
            let request =
                produce_request("t", version, acks, vec![(0, batch(&["a"], 1).to_bytes())]);
            let response = only(client.call(&request, version).await);
            assert_eq!(code(&response), ErrorCode::None, "version {version}");
            assert_eq!(response.base_offset, 2 * at as i64 + i64::from(acks == ALL));
            assert_eq!(response.log_append_time_ms, -1);
            assert_eq!(response.log_start_offset, if version >= 5 { 0 } else { -1 });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_append_in_their_order_and_are_answered_in_it() {
    let mut rig = Rig::start().await;
    rig.topic("t", 3, &[]).await;
    let mut client = rig.client().await;
    for n in 0..100 {
        let records = batch(&[&n.to_string()], 1).to_bytes();
        client.send(&produce_request("t", 9, ALL, vec![(n % 3, records)]), 9).await;
    }
    for n in 0..100 {
        let response = client.receive::<ProduceRequest>(9).await;
        assert_eq!(only(response).base_offset, n / 3, "request {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused_by_its_own_code() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[("max.message.bytes", "2000")]).await;
    let mut client = rig.client().await;
    let whole = batch(&["a"], 1).to_bytes();
    let mut corrupt = whole.to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    let mut legacy = whole.to_vec();
    legacy[16] = 1;
    let large = batch(&["x".repeat(3000).as_str()], 1).to_bytes();
    let old = BatchBuilder::new(Compression::NONE).log_append_time(-1);
    let mut headless = whole.to_vec();
    headless[8..12].copy_from_slice(&10i32.to_be_bytes());
    let cases: [(Bytes, ErrorCode); 8] = [
        (headless.clone().into(), ErrorCode::CorruptMessage),
        (corrupt.into(), ErrorCode::CorruptMessage),
        (legacy.into(), ErrorCode::InvalidRecord),
        (Bytes::new(), ErrorCode::InvalidRecord),
        ([&whole[..], &whole[..]].concat().into(), ErrorCode::InvalidRecord),
        (whole.slice(..40), ErrorCode::InvalidRecord),
        (large, ErrorCode::MessageTooLarge),
        (batch_of(old, &["a"], 1).to_bytes(), ErrorCode::InvalidTimestamp),
    ];
    for (bytes, expected) in cases {
        let response = produce_bytes(&mut client, "t", 9, bytes).await;
        assert_eq!(code(&response), expected);
        assert_eq!((response.base_offset, response.log_append_time_ms), (-1, -1));
    }
    let told = produce_bytes(&mut client, "t", 9, headless.into()).await.error_message;
    let told = told.expect("a message");
    assert_eq!(told, "Record size 10 is less than the minimum record overhead (14)");
    let response = produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    assert_eq!((code(&response), response.base_offset), (ErrorCode::None, 0));
    let cut: Bytes = [&whole[..], &whole[..50]].concat().into();
    let response = produce_bytes(&mut client, "t", 9, cut).await;
    assert_eq!((code(&response), response.base_offset), (ErrorCode::None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_records_are_named_from_version_8_on() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = rig.client().await;
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(1, Some(b"k"), Some(b"v"), &[]);
    builder.append(1, None, Some(b"v"), &[]);
    let bad = builder.build().unwrap();
    let response = produce(&mut client, "t", 8, &bad).await;
    assert_eq!(code(&response), ErrorCode::InvalidRecord);
    let [record] = &response.record_errors[..] else { panic!("{response:?}") };
    assert_eq!(record.batch_index, 1);
    assert!(response.error_message.is_some());
    let response = produce(&mut client, "t", 7, &bad).await;
    assert_eq!(code(&response), ErrorCode::InvalidRecord);
    assert_eq!((response.record_errors.len(), response.error_message), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_needs_version_7() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let zstd = batch_of(BatchBuilder::new(Compression::of(Codec::Zstd)), &["a"], 1);
    let refused = produce(&mut client, "t", 6, &zstd).await;
    assert_eq!(code(&refused), ErrorCode::UnsupportedCompressionType);
    assert_eq!(code(&produce(&mut client, "t", 7, &zstd).await), ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grows_too_large_when_decompressed_is_refused() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[("max.decompressed.message.bytes", "100000")]).await;
    let mut client = rig.client().await;
    for (size, expected) in [(50_000, ErrorCode::None), (200_000, ErrorCode::MessageTooLarge)] {
        let builder = BatchBuilder::new(Compression::of(Codec::Gzip));
        let bomb = batch_of(builder, &[&"x".repeat(size)], 1);
        assert_eq!(code(&produce(&mut client, "t", 9, &bomb).await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grows_large_when_decompressed_is_taken() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic("other-codec", 1, &[("compression.type", "lz4")]).await;
    let mut client = rig.client().await;
    let value = "x".repeat(40 << 20);
    let large = batch_of(BatchBuilder::new(Compression::of(Codec::Zstd)), &[&value], 1);
    assert_eq!(code(&produce(&mut client, "t", 9, &large).await), ErrorCode::None);
    let refused = produce(&mut client, "other-codec", 9, &large).await;
    assert_eq!(code(&refused), ErrorCode::MessageTooLarge, "it would be held whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_not_here() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic_elsewhere("far");
    let mut client = rig.client().await;
    for (topic, version, expected) in [
        ("none", 12, ErrorCode::UnknownTopicOrPartition),
        ("none", 13, ErrorCode::UnknownTopicId),
        ("far", 9, ErrorCode::NotLeaderOrFollower),
        ("far", 13, ErrorCode::NotLeaderOrFollower),
    ] {
        let response = produce(&mut client, topic, version, &batch(&["a"], 1)).await;
        assert_eq!(code(&response), expected, "{topic} in version {version}");
        let leader = if topic == "far" && version >= 10 { (NODE + 1, 5) } else { (-1, -1) };
        let told = response.current_leader;
        assert_eq!((told.leader_id, told.leader_epoch), leader);
    }
    let request = produce_request("t", 9, ALL, vec![(1, batch(&["a"], 1).to_bytes())]);
    let response = only(client.call(&request, 9).await);
    assert_eq!(code(&response), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_topics_are_the_admins() {
    let mut rig = Rig::start().await;
    rig.topic("__consumer_offsets", 1, &[]).await;
    let mut client = rig.client().await;
    let refused = produce(&mut client, "__consumer_offsets", 9, &batch(&["a"], 1)).await;
    assert_eq!(code(&refused), ErrorCode::InvalidTopicException);
    client.id = Some("__admin_client".into());
    let taken = produce(&mut client, "__consumer_offsets", 9, &batch(&["a"], 1)).await;
    assert_eq!(code(&taken), ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_0_is_not_answered_and_an_error_closes_the_connection() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let records = batch(&["a"], 1).to_bytes();
    client.send(&produce_request("t", 9, 0, vec![(0, records.clone())]), 9).await;
    let next = produce(&mut client, "t", 9, &batch(&["b"], 1)).await;
    assert_eq!(next.base_offset, 1, "the first was appended, and its answer left out");
    client.send(&produce_request("none", 9, 0, vec![(0, records)]), 9).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_0_learns_of_what_only_the_leader_refuses() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let gap = BatchBuilder::new(Compression::NONE).producer(9, 0, 5);
    let first = BatchBuilder::new(Compression::NONE).producer(9, 0, 0);
    assert_eq!(
        code(&produce(&mut client, "t", 9, &batch_of(first, &["a"], 1)).await),
        ErrorCode::None
    );
    let records = batch_of(gap, &["a"], 1).to_bytes();
    client.send(&produce_request("t", 9, 0, vec![(0, records)]), 9).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_must_be_one_of_three() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let request = produce_request("t", 9, 2, vec![(0, batch(&["a"], 1).to_bytes())]);
    let response = only(client.call(&request, 9).await);
    assert_eq!(code(&response), ErrorCode::InvalidRequiredAcks);
    assert_eq!(rig.handle("t", 0).log_end_offset(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_are_checked_and_retries_answered_as_before() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let numbered = |sequence| {
        let builder = BatchBuilder::new(Compression::NONE).producer(9, 0, sequence);
        batch_of(builder, &["a", "b"], 1)
    };
    assert_eq!(produce(&mut client, "t", 9, &numbered(0)).await.base_offset, 0);
    assert_eq!(produce(&mut client, "t", 9, &numbered(2)).await.base_offset, 2);
    assert_eq!(produce(&mut client, "t", 9, &numbered(0)).await.base_offset, 0, "a retry");
    let gap = produce(&mut client, "t", 9, &numbered(8)).await;
    assert_eq!(code(&gap), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(rig.handle("t", 0).log_end_offset(), 4);
}

/// Else what comes again had to be refused for good, for which librdkafka's producer ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_a_refused_batch_does_not_overtake_it() {
    let numbered = |sequence| {
        let builder = BatchBuilder::new(Compression::NONE).producer(9, 0, sequence);
        batch_of(builder, &["a", "b"], 1)
    };
    for (version, known) in [(9, true), (9, false), (13, true), (13, false)] {
        let mut rig = Rig::start().await;
        if known {
            rig.topic_elsewhere("t");
        }
        let mut client = rig.client().await;
        let early = produce(&mut client, "t", version, &numbered(0)).await;
        let expected = match (known, version) {
            (true, _) => ErrorCode::NotLeaderOrFollower,
            (false, 13) => ErrorCode::UnknownTopicId,
            (false, _) => ErrorCode::UnknownTopicOrPartition,
        };
        assert_eq!(code(&early), expected);
        if known {
            rig.takes_over("t").await;
        } else {
            rig.topic("t", 1, &[]).await;
        }
        // As many as are under way behind another; else a client that never sends that again would not hear that it must.
        for under_way in [true, true, true, true, false] {
            let behind = produce(&mut client, "t", version, &numbered(2)).await;
            let expected = match under_way {
                true => ErrorCode::NotLeaderOrFollower,
                false => ErrorCode::OutOfOrderSequenceNumber,
            };
            assert_eq!(code(&behind), expected);
        }
        for sequence in [0, 2] {
            let response = produce(&mut client, "t", version, &numbered(sequence)).await;
            assert_eq!(response.base_offset, i64::from(sequence), "{response:?}");
        }
        // Of others, and of others' partitions, nothing is known.
        let other = BatchBuilder::new(Compression::NONE).producer(10, 0, 7);
        let other = produce(&mut client, "t", version, &batch_of(other, &["c"], 1)).await;
        assert_eq!(code(&other), ErrorCode::None);
    }
}

/// As where the leadership went elsewhere, and came back.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_refused_and_is_written_by_another_way_holds_up_nothing() {
    let numbered = |sequence| {
        let builder = BatchBuilder::new(Compression::NONE).producer(9, 0, sequence);
        batch_of(builder, &["a", "b"], 1)
    };
    let mut rig = Rig::start().await;
    rig.topic_elsewhere("t");
    let (mut client, mut other) = (rig.client().await, rig.client().await);
    let early = produce(&mut client, "t", 9, &numbered(0)).await;
    assert_eq!(code(&early), ErrorCode::NotLeaderOrFollower);
    rig.takes_over("t").await;
    for sequence in [0, 2] {
        let response = produce(&mut other, "t", 9, &numbered(sequence)).await;
        assert_eq!(response.base_offset, i64::from(sequence), "{response:?}");
    }
    // One that is there already, the next, and one that is too far ahead of it.
    for sequence in [2, 4] {
        let response = produce(&mut client, "t", 9, &numbered(sequence)).await;
        assert_eq!(response.base_offset, i64::from(sequence), "{response:?}");
    }
    let gap = produce(&mut client, "t", 9, &numbered(8)).await;
    assert_eq!(code(&gap), ErrorCode::OutOfOrderSequenceNumber);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactional_batches_need_a_transactional_id_and_a_transaction() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let builder = BatchBuilder::new(Compression::NONE).producer(9, 0, 0).transactional(true);
    let records = batch_of(builder, &["a"], 1).to_bytes();
    let mut request = produce_request("t", 9, ALL, vec![(0, records)]);
    let response = only(client.call(&request, 9).await);
    assert_eq!(code(&response), ErrorCode::TransactionalIdAuthorizationFailed);
    request.transactional_id = Some("tx".into());
    let response = only(client.call(&request, 9).await);
    assert_eq!(code(&response), ErrorCode::InvalidTxnState);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_named_twice_counts_once() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let twice = vec![(0, batch(&["a"], 1).to_bytes()), (0, batch(&["b"], 1).to_bytes())];
    let response = only(client.call(&produce_request("t", 9, ALL, twice), 9).await);
    assert_eq!((code(&response), response.base_offset), (ErrorCode::None, 0));
    assert_eq!(rig.handle("t", 0).log_end_offset(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_append_time_is_told() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut client = rig.client().await;
    let before = rig.world.now().wall_ms;
    let response = produce(&mut client, "t", 9, &batch(&["a"], 1)).await;
    assert!((before..=rig.world.now().wall_ms).contains(&response.log_append_time_ms));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_another_kind_waits_for_the_produces_before_it() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    for _ in 0..10 {
        let records = batch(&["a"], 1).to_bytes();
        client.send(&produce_request("t", 9, 1, vec![(0, records)]), 9).await;
    }
    client.send(&DeleteRecordsRequest::default(), 2).await;
    for offset in 0..10 {
        assert_eq!(only(client.receive::<ProduceRequest>(9).await).base_offset, offset);
    }
    client.receive::<DeleteRecordsRequest>(2).await;
}

/// Were their memory kept for the one they wait behind, others would wait as long.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_holds_no_memory_while_its_answer_waits_for_those_before_it() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic("stuck", 1, &[]).await;
    rig.adds_a_silent_replica("stuck", 0).await;
    let mut client = rig.client().await;
    let small = batch(&["a"], 1).to_bytes();
    let never = ProduceRequest {
        timeout_ms: i32::MAX,
        ..produce_request("stuck", 9, ALL, vec![(0, small.clone())])
    };
    client.send(&never, 9).await;
    let megabyte = batch(&[&"x".repeat(1_000_000)], 1).to_bytes();
    for _ in 0..10 {
        client.send(&produce_request("t", 9, 1, vec![(0, megabyte.clone())]), 9).await;
    }
    rig.until("t", 0, |handle| handle.log_end_offset() == 10).await;
    let none = "ottla_credits_used_bytes{node=\"rig\",name=\"request-memory\"} 0\n";
    let metrics = || runtime::prometheus([("rig", rig.world.registry())]);
    rig.wait_for("memory is held", || metrics().contains(none)).await;
    assert_eq!(rig.handle("stuck", 0).high_watermark(), 0, "the first still waits");
}

/// A frame that promises more than it holds, or nothing of sense, costs its connection and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_closes_its_connection() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut other = rig.client().await;
    for garbage in [&[0, 0, 0, 9, 0, 0, 0, 0][..], &[0, 0, 0, 9, 0, 0, 0, 9, 255, 255, 1, 2, 3]] {
        let mut client = rig.client().await;
        client.send_raw(garbage).await;
        assert_eq!(client.frame().await, None);
    }
    assert_eq!(code(&produce(&mut other, "t", 9, &batch(&["a"], 1)).await), ErrorCode::None);
}

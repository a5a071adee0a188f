//! What one node does after a while.

use std::time::Duration;

use model::ErrorCode;
use ottla::runtime::World;
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::describe_topic_partitions_request::TopicRequest;
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch_request::OffsetFetchRequestTopic;
use wire::{
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest,
};

use crate::broker::beside;
use crate::requests::{create_topic, produce};
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const GROUP: &str = "g";
/// How late the node may look, and how long things travel.
const SLACK: Duration = Duration::from_secs(3);

async fn client(world: &World) -> WireClient {
    let mut wire = WireClient::new(world, "client");
    let response = wire.ask_until_answered(&create_topic(TOPIC, 1, &[]), 7).await;
    assert_eq!(response.topics[0].error_code, 0);
    let find = FindCoordinatorRequest { key: GROUP.into(), ..Default::default() };
    while wire.ask_until_answered(&find, 3).await.error_code != 0 {
        world.sleep(BACKOFF).await;
    }
    wire
}

async fn commit(wire: &mut WireClient, metadata: &str) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 7,
        committed_metadata: Some(metadata.into()),
        ..Default::default()
    };
    let (name, partitions) = (TOPIC.to_owned(), vec![partition]);
    let request = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic { name, partitions, ..Default::default() }],
        ..Default::default()
    };
    let response = wire.ask_until_answered(&request, 8).await;
    ErrorCode::from_code(response.topics[0].partitions[0].error_code)
}

/// Once the group's coordinator is there.
async fn commit_at_last(world: &World, wire: &mut WireClient, metadata: &str) -> ErrorCode {
    loop {
        match commit(wire, metadata).await {
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {
                world.sleep(BACKOFF).await;
            }
            other => return other,
        }
    }
}

async fn committed(wire: &mut WireClient) -> i64 {
    let (name, partition_indexes) = (TOPIC.to_owned(), vec![0]);
    let topic = OffsetFetchRequestTopic { name, partition_indexes, ..Default::default() };
    let request = OffsetFetchRequest {
        group_id: GROUP.into(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let response = wire.ask_until_answered(&request, 5).await;
    response.topics[0].partitions[0].committed_offset
}

#[test]
fn offsets_of_a_group_that_is_gone_are_kept_for_their_retention() {
    const KEPT: Duration = Duration::from_secs(120);
    let set = &[("offsets.retention.minutes", "2"), ("offsets.retention.check.interval.ms", "500")];
    beside(set, |world| async move {
        let mut wire = client(&world).await;
        assert_eq!(commit_at_last(&world, &mut wire, "").await, ErrorCode::None);
        let begin = world.mono();
        while committed(&mut wire).await == 7 {
            assert!(world.mono() < begin + KEPT + SLACK, "it is kept on and on");
            world.sleep(BACKOFF).await;
        }
        assert!(world.mono() > begin + KEPT - SLACK, "gone after {:?}", world.mono() - begin);
    });
}

#[test]
fn metadata_of_offsets_is_as_long_as_it_may_be() {
    beside(&[("offset.metadata.max.bytes", "4")], |world| async move {
        let mut wire = client(&world).await;
        assert_eq!(commit_at_last(&world, &mut wire, "four").await, ErrorCode::None);
        assert_eq!(commit(&mut wire, "fives").await, ErrorCode::OffsetMetadataTooLarge);
    });
}

async fn join(world: &World, wire: &mut WireClient, session_timeout_ms: i32) -> ErrorCode {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let request = JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    loop {
        // Of a version that gives a member its id with the group's generation.
        let response = wire.ask_until_answered(&request, 3).await;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {
                world.sleep(BACKOFF).await;
            }
            other => return other,
        }
    }
}

#[test]
fn a_new_group_waits_so_long_for_more_members() {
    for (delay_ms, expected) in [("0", 0..300), ("800", 800..1100), ("2500", 2500..2800)] {
        beside(&[("group.initial.rebalance.delay.ms", delay_ms)], move |world| {
            let expected = expected.clone();
            async move {
                let mut wire = client(&world).await;
                assert_eq!(commit_at_last(&world, &mut wire, "").await, ErrorCode::None);
                let begin = world.mono();
                assert_eq!(join(&world, &mut wire, 30_000).await, ErrorCode::None);
                let took = world.mono() - begin;
                assert!(expected.contains(&took.as_millis()), "{delay_ms}: {took:?}");
            }
        });
    }
}

#[test]
fn sessions_of_members_are_as_long_as_they_may_be() {
    let set = &[("group.min.session.timeout.ms", "5000"), ("group.max.session.timeout.ms", "9000")];
    beside(set, |world| async move {
        let mut wire = client(&world).await;
        for (timeout_ms, expected) in [
            (4999, ErrorCode::InvalidSessionTimeout),
            (9001, ErrorCode::InvalidSessionTimeout),
            (5000, ErrorCode::None),
            (9000, ErrorCode::None),
        ] {
            assert_eq!(join(&world, &mut wire, timeout_ms).await, expected, "{timeout_ms}");
            // Until that member is put out: the next is alone, too.
            world.sleep(Duration::from_secs(15)).await;
        }
    });
}

#[test]
fn a_group_has_as_many_members_as_it_may() {
    beside(&[("group.max.size", "1")], |world| async move {
        let mut wire = client(&world).await;
        assert_eq!(join(&world, &mut wire, 30_000).await, ErrorCode::None);
        assert_eq!(join(&world, &mut wire, 30_000).await, ErrorCode::GroupMaxSizeReached);
    });
}

/// A broker that has forgotten a producer takes whatever sequence it goes on with; before that there may be no gap.
#[test]
fn the_state_of_a_producer_that_rests_is_kept_for_so_long() {
    const KEPT: Duration = Duration::from_secs(20);
    let set = &[
        ("producer.id.expiration.ms", "20000"),
        ("producer.id.expiration.check.interval.ms", "500"),
    ];
    beside(set, |world| async move {
        let mut wire = client(&world).await;
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 1000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let id = loop {
            // Until the broker has its first block of ids.
            let id = wire.ask_until_answered(&request, 4).await;
            match ErrorCode::from_code(id.error_code) {
                ErrorCode::None => break id,
                error => assert_eq!(error, ErrorCode::CoordinatorLoadInProgress),
            }
            world.sleep(BACKOFF).await;
        };
        let send = async |wire: &mut WireClient, sequence: i32| {
            let mut batch = BatchBuilder::new(Compression::NONE).producer(
                id.producer_id,
                id.producer_epoch,
                sequence,
            );
            batch.append(world.now().wall_ms, None, Some(b"x"), &[]);
            let response = wire.ask_until_answered(&produce(TOPIC, 0, batch), 9).await;
            ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
        };
        assert_eq!(send(&mut wire, 0).await, ErrorCode::None);
        let begin = world.mono();
        loop {
            match send(&mut wire, 100).await {
                ErrorCode::None => break,
                error => assert_eq!(error, ErrorCode::OutOfOrderSequenceNumber),
            }
            assert!(world.mono() < begin + KEPT + SLACK, "it is kept on and on");
            world.sleep(BACKOFF).await;
        }
        assert!(world.mono() > begin + KEPT - SLACK, "forgotten after {:?}", world.mono() - begin);
    });
}

#[test]
fn an_answer_tells_of_as_many_partitions_as_it_may() {
    for (most, told) in [("2", 2), ("5", 3)] {
        let set = [("max.request.partition.size.limit", most)];
        beside(&set, move |world| async move {
            let mut wire = WireClient::new(&world, "client");
            let response = wire.ask_until_answered(&create_topic(TOPIC, 3, &[]), 7).await;
            assert_eq!(response.topics[0].error_code, 0);
            let topic = TopicRequest { name: TOPIC.into(), ..Default::default() };
            let request = DescribeTopicPartitionsRequest {
                topics: vec![topic],
                response_partition_limit: 1000,
                cursor: None,
                ..Default::default()
            };
            let response = wire.ask_until_answered(&request, 0).await;
            assert_eq!(response.topics[0].partitions.len(), told, "{most}");
            assert_eq!(response.next_cursor.is_some(), told < 3);
        });
    }
}

/// By default for no time at all.
#[test]
fn a_controller_gathers_records_for_as_long_as_it_is_told() {
    // Nothing else is written meanwhile.
    let idle = ("metadata.max.idle.interval.ms", "0");
    let lingers = ("controller.quorum.append.linger.ms", "1000");
    for (settings, least, most) in [(vec![idle], 0, 500), (vec![idle, lingers], 1000, 2500)] {
        beside(&settings, move |world| async move {
            let mut wire = WireClient::new(&world, "client");
            wire.ask_until_answered(&create_topic(TOPIC, 1, &[]), 7).await;
            world.sleep(SLACK).await;
            let begin = world.mono();
            wire.ask_until_answered(&create_topic("another", 1, &[]), 7).await;
            let took = (world.mono() - begin).as_millis();
            assert!((least..most).contains(&took), "{took}");
        });
    }
}

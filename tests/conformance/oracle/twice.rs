//! The same thing named twice in one request, nothing named at all, and everything.

use crate::session::{Session, batch, reading, topic, versions};
use crate::tree::Tree;
use crate::{Case, own};
use model::Uuid;
use wire::create_partitions_request::CreatePartitionsTopic;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::delete_topics_request::DeleteTopicState;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::describe_topic_partitions_request::TopicRequest;
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::list_offsets_request::ListOffsetsTopic;
use wire::metadata_request::MetadataRequestTopic;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, Records,
};

pub fn cases() -> Vec<Case> {
    let mut cases = record_cases();
    cases.extend(topic_cases());
    cases.extend(group_cases());
    cases.extend(everything());
    cases
}

fn twice<T: Clone>(one: T) -> Vec<T> {
    vec![one.clone(), one]
}

/// A topic by name or, from `first_by_id` on, by its id.
fn by(session: &Session, version: i16, first_by_id: i16) -> (String, Uuid) {
    match version < first_by_id {
        true => (topic(), Uuid::ZERO),
        false => (String::new(), session.topic_id(&topic())),
    }
}

fn record_cases() -> Vec<Case> {
    let mut cases = versions("one partition twice", |s, version| {
        let (name, topic_id) = by(s, version, 13);
        let bytes = batch().build().expect("a batch").to_bytes();
        let records = Some(Records::Bytes(bytes));
        let data = PartitionProduceData { index: 0, records, ..Default::default() };
        let partition_data = twice(data);
        let topic = TopicProduceData { name, topic_id, partition_data, ..Default::default() };
        ProduceRequest {
            acks: -1,
            timeout_ms: 5_000,
            topic_data: vec![topic],
            ..Default::default()
        }
    });
    cases.extend(versions("nothing", |_, _| ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        ..Default::default()
    }));
    let fetch = |what: &str, partitions: usize, topics: usize| {
        reading(what, move |s, version| {
            let (topic, topic_id) = by(s, version, 13);
            let partition = |offset: usize| FetchPartition {
                partition_max_bytes: 1 << 20,
                fetch_offset: 40 + offset as i64,
                ..Default::default()
            };
            let partitions = (0..partitions).map(partition).collect();
            let topic = FetchTopic { topic, topic_id, partitions, ..Default::default() };
            FetchRequest { max_bytes: 1 << 22, topics: vec![topic; topics], ..Default::default() }
        })
    };
    cases.extend(fetch("one partition twice", 2, 1));
    cases.extend(fetch("one topic twice", 1, 2));
    cases.extend(fetch("no partition", 0, 1));
    cases.extend(fetch("nothing", 0, 0));
    cases.extend(reading("nothing", |_, _| ListOffsetsRequest {
        replica_id: -1,
        ..Default::default()
    }));
    cases.extend(reading("no partition", |_, _| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic(), ..Default::default() }],
        ..Default::default()
    }));
    cases.extend(reading("one partition twice", |_, _| {
        let partition = OffsetForLeaderPartition { current_leader_epoch: -1, ..Default::default() };
        let partitions = twice(partition);
        let topic = OffsetForLeaderTopic { topic: topic(), partitions, ..Default::default() };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    }));
    cases.extend(versions("one partition twice", |_, _| {
        let partitions = twice(DeleteRecordsPartition { offset: 1, ..Default::default() });
        let topic = DeleteRecordsTopic { name: topic(), partitions, ..Default::default() };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() }
    }));
    cases.extend(versions("no partition", |_, _| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic { name: topic(), ..Default::default() }],
        timeout_ms: 5_000,
        ..Default::default()
    }));
    cases.extend(versions("nothing", |_, _| DeleteRecordsRequest {
        timeout_ms: 5_000,
        ..Default::default()
    }));
    cases
}

fn topic_cases() -> Vec<Case> {
    let named = |name: String| MetadataRequestTopic { name: Some(name), ..Default::default() };
    let mut cases = reading("one topic twice", move |_, version| MetadataRequest {
        topics: Some(twice(named(topic()))),
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    });
    cases.extend(reading("one topic twice", |_, _| DescribeTopicPartitionsRequest {
        topics: twice(TopicRequest { name: topic(), ..Default::default() }),
        response_partition_limit: 100,
        ..Default::default()
    }));
    for limit in [0, -1, 1] {
        let what = format!("at most {limit}");
        cases.extend(reading(&what, move |_, _| DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: topic(), ..Default::default() }],
            response_partition_limit: limit,
            ..Default::default()
        }));
    }
    cases.extend(versions("nothing", |_, _| CreateTopicsRequest {
        timeout_ms: 5_000,
        ..Default::default()
    }));
    cases.extend(versions("nothing", |_, _| DeleteTopicsRequest {
        timeout_ms: 5_000,
        ..Default::default()
    }));
    cases.extend(versions("one topic twice", |_, version| {
        let name = Some(own("not-there"));
        let (names, states) = match version < 6 {
            true => (twice(own("not-there")), Vec::new()),
            false => (Vec::new(), twice(DeleteTopicState { name, ..Default::default() })),
        };
        DeleteTopicsRequest {
            topics: states,
            topic_names: names,
            timeout_ms: 5_000,
            ..Default::default()
        }
    }));
    cases.extend(versions("one topic twice", |_, _| CreatePartitionsRequest {
        topics: twice(CreatePartitionsTopic { name: topic(), count: 9, ..Default::default() }),
        timeout_ms: 5_000,
        ..Default::default()
    }));
    cases.extend(reading("one topic twice", |_, _| DescribeConfigsRequest {
        resources: twice(DescribeConfigsResource {
            resource_type: 2,
            resource_name: topic(),
            configuration_keys: Some(twice("retention.ms".to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    }));
    cases.extend(reading("nothing", |_, _| DescribeConfigsRequest::default()));
    cases
}

fn group_cases() -> Vec<Case> {
    let group = || own("twice");
    let mut cases = versions("one partition twice", move |s, version| {
        let (name, topic_id) = by(s, version, 10);
        let partition = |offset| OffsetCommitRequestPartition {
            committed_offset: offset,
            ..Default::default()
        };
        let partitions = vec![partition(1), partition(2)];
        let topic = OffsetCommitRequestTopic { name, topic_id, partitions, ..Default::default() };
        OffsetCommitRequest { group_id: group(), topics: vec![topic], ..Default::default() }
    });
    cases.extend(versions("nothing", move |_, _| OffsetCommitRequest {
        group_id: group(),
        ..Default::default()
    }));
    cases.extend(reading("one partition twice", move |s, version| {
        let (name, topic_id) = by(s, version.max(8), 10);
        let partition_indexes = vec![0, 0];
        let topic =
            OffsetFetchRequestTopics { name, topic_id, partition_indexes, ..Default::default() };
        let wanted = OffsetFetchRequestGroup {
            group_id: group(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        match version < 8 {
            true => OffsetFetchRequest {
                group_id: group(),
                topics: Some(Vec::new()),
                ..Default::default()
            },
            false => OffsetFetchRequest { groups: twice(wanted), ..Default::default() },
        }
    }));
    cases.extend(reading("one group twice", move |_, _| DescribeGroupsRequest {
        groups: twice(group()),
        ..Default::default()
    }));
    cases.extend(reading("nothing", |_, _| DescribeGroupsRequest::default()));
    cases.extend(versions("one group twice", move |_, _| DeleteGroupsRequest {
        groups_names: twice(group()),
        ..Default::default()
    }));
    cases.extend(versions("nothing", |_, _| DeleteGroupsRequest::default()));
    cases.extend(reading("one group twice", move |_, version| FindCoordinatorRequest {
        key: if version < 4 { group() } else { String::new() },
        coordinator_keys: if version < 4 { Vec::new() } else { twice(group()) },
        ..Default::default()
    }));
    cases.extend(reading("nothing", |_, _| FindCoordinatorRequest::default()));
    cases
}

/// All topics, of which this run's are compared.
fn everything() -> Vec<Case> {
    let case = |version: i16| {
        let run = move |session: &mut Session| {
            let topics = if version == 0 { Some(Vec::new()) } else { None };
            let request =
                MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() };
            let mut response = session.ask(&request, version).expect("Metadata");
            let of_this_run = |name: &Option<String>| {
                name.as_ref().is_some_and(|name| name.starts_with(&own("")))
            };
            response.topics.retain(|topic| of_this_run(&topic.name));
            Tree::of(&response)
        };
        Case { name: format!("Metadata v{version} everything"), reads: true, run: Box::new(run) }
    };
    (0..=13).map(case).collect()
}

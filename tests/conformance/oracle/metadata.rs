//! What there is: APIs, brokers, topics, coordinators.

use crate::session::{Session, reading, topic, versions};
use crate::tree::Tree;
use crate::{Case, own};
use wire::create_topics_request::CreatableTopic;
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::metadata_request::MetadataRequestTopic;
use wire::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, MetadataRequest,
};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![Case {
        name: "CreateTopics v7 the topic of these cases".to_owned(),
        reads: false,
        run: Box::new(create),
    }];
    cases.extend(api_versions());
    cases.extend(topics());
    cases.extend(cluster());
    cases.extend(quorum());
    cases.extend(coordinators());
    cases
}

fn create(session: &mut Session) -> Tree {
    let creatable = CreatableTopic {
        name: topic(),
        num_partitions: 3,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![creatable], ..Default::default() };
    let tree = session.tree(&request, 7);
    session.settle(&topic(), 3);
    tree
}

/// The ranges of what both serve; which APIs there are grows with the release.
fn api_versions() -> Vec<Case> {
    let ask = |what: &str, software: &'static str, number: &'static str| {
        let case = move |version: i16| {
            let request = ApiVersionsRequest {
                client_software_name: if version < 3 { "" } else { software }.to_owned(),
                client_software_version: if version < 3 { "" } else { number }.to_owned(),
                ..Default::default()
            };
            let run = move |session: &mut Session| {
                let mut response = session.ask(&request, version).expect("ApiVersions");
                response.api_keys.retain(|api| session.compares(api.api_key));
                Tree::of(&response)
            };
            let name = format!("ApiVersions v{version} {what}");
            Case { name, reads: true, run: Box::new(run) }
        };
        (0..=5).map(case).collect::<Vec<_>>()
    };
    let mut cases = ask("ranges", "oracle", "1.0");
    cases.extend(ask("with a bad name of its software", "no good!", "1.0"));
    cases.extend(ask("with a bad version of its software", "oracle", "-1"));
    cases.extend(ask("with software of no name", "", "1.0"));
    cases
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() }
}

fn metadata(topics: Vec<MetadataRequestTopic>, version: i16) -> MetadataRequest {
    MetadataRequest {
        topics: Some(topics),
        // Versions before 4 cannot say no.
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    }
}

fn topics() -> Vec<Case> {
    let mut cases = reading("of one topic", |_, version| metadata(vec![named(&topic())], version));
    cases.extend(reading("with authorized operations", |_, version| MetadataRequest {
        include_topic_authorized_operations: version >= 8,
        include_cluster_authorized_operations: (8..=10).contains(&version),
        ..metadata(vec![named(&topic())], version)
    }));
    let only_from_4 = |what, name: &'static str| {
        let all = reading(what, move |_, version| metadata(vec![named(name)], version));
        all.into_iter().skip(4).collect::<Vec<_>>()
    };
    cases.extend(only_from_4("of a topic that is not there", "not-there"));
    cases.extend(only_from_4("of a topic of no possible name", "no good"));
    cases.extend(only_from_4("of a topic of no name", ""));
    cases.extend(reading("by id", |session, version| {
        let topic_id = if version < 10 { Default::default() } else { session.topic_id(&topic()) };
        let name = if version < 12 { Some(topic()) } else { None };
        metadata(vec![MetadataRequestTopic { topic_id, name, ..Default::default() }], version)
    }));
    cases.extend(reading("by an id that is not there", |session, version| {
        let topic_id = if version < 12 { Default::default() } else { session.topic_id("none") };
        let name = if version < 12 { Some(topic()) } else { None };
        metadata(vec![MetadataRequestTopic { topic_id, name, ..Default::default() }], version)
    }));
    cases.extend(reading("of nothing", |_, version| {
        let nothing = if version == 0 { vec![named(&topic())] } else { Vec::new() };
        metadata(nothing, version)
    }));
    cases
}

fn cluster() -> Vec<Case> {
    let mut cases = reading("plain", |_, _| DescribeClusterRequest::default());
    cases.extend(reading("in full", |_, version| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        include_fenced_brokers: version >= 2,
        ..Default::default()
    }));
    cases.extend(reading("of a wrong endpoint type", |_, version| DescribeClusterRequest {
        endpoint_type: if version < 1 { 1 } else { 9 },
        ..Default::default()
    }));
    let describe = |names: &[&str], limit, cursor: Option<(&str, i32)>| {
        let names =
            names.iter().map(|name| TopicRequest { name: (*name).into(), ..Default::default() });
        let cursor = cursor.map(|(name, partition_index)| {
            let topic_name = name.to_owned();
            Box::new(Cursor { topic_name, partition_index, ..Default::default() })
        });
        DescribeTopicPartitionsRequest {
            topics: names.collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|cursor| *cursor),
            ..Default::default()
        }
    };
    cases.extend(reading("whole", move |_, _| describe(&[&topic(), "not-there"], 2000, None)));
    cases.extend(reading("two of three", move |_, _| describe(&[&topic()], 2, None)));
    cases.extend(reading("from a cursor", move |_, _| {
        describe(&[&topic()], 2000, Some((&topic(), 1)))
    }));
    cases.extend(reading("from behind the end", move |_, _| {
        describe(&[&topic()], 2000, Some((&topic(), 9)))
    }));
    cases
}

/// How far the metadata logs of the two have come, and which of their nodes that is.
const OF_THE_QUORUM: [&str; 7] = [
    "leader_epoch",
    "high_watermark",
    "replica_id",
    "replica_directory_id",
    "log_end_offset",
    "last_fetch_timestamp",
    "last_caught_up_timestamp",
];

fn quorum() -> Vec<Case> {
    let describe = |partitions: &[(&str, i32)]| {
        let topics = partitions.iter().map(|(name, partition_index)| TopicData {
            topic_name: (*name).to_owned(),
            partitions: vec![PartitionData {
                partition_index: *partition_index,
                ..Default::default()
            }],
            ..Default::default()
        });
        DescribeQuorumRequest { topics: topics.collect(), ..Default::default() }
    };
    const LOG: &str = "__cluster_metadata";
    let mut cases = reading("of the metadata log", move |_, _| describe(&[(LOG, 0)]));
    cases.extend(reading("of another partition", move |_, _| describe(&[(LOG, 1)])));
    cases.extend(reading("of another topic", move |_, _| describe(&[(&topic(), 0)])));
    cases.extend(reading("of two", move |_, _| describe(&[(LOG, 0), (&topic(), 0)])));
    cases.extend(reading("of nothing", move |_, _| describe(&[])));
    let hiding = |case: Case| Case {
        run: Box::new(move |session| (case.run)(session).hiding(&OF_THE_QUORUM)),
        ..case
    };
    cases.into_iter().map(hiding).collect()
}

fn coordinators() -> Vec<Case> {
    let find = |keys: &[&str], key_type: i8, version: i16| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        FindCoordinatorRequest {
            key: if version < 4 { keys[0].clone() } else { String::new() },
            key_type: if version < 1 { 0 } else { key_type },
            coordinator_keys: if version < 4 { Vec::new() } else { keys },
            ..Default::default()
        }
    };
    // The first answers may be that there is no coordinator yet: its topic is being created.
    let mut cases = reading("of a group", move |_, version| find(&[&own("group")], 0, version));
    cases.extend(versions("of an empty name", move |_, version| find(&[""], 0, version)));
    cases.extend(reading("of several", move |_, version| find(&["a", "b", "c"], 0, version)));
    cases.extend(reading("of a wrong type", move |_, version| find(&["a"], 9, version)));
    cases.extend(reading("of no share group", move |_, version| find(&["a"], 2, version)));
    cases
}

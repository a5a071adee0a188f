//! What clients are told of the cluster: Metadata, DescribeCluster, DescribeTopicPartitions.

use model::{ErrorCode, Uuid};
use wire::describe_causes_request::CausesTopic;
use wire::describe_topic_partitions_request::{Cursor, TopicRequest};
use wire::metadata_request::MetadataRequestTopic;
use wire::{
    ApiVersionsRequest, DeleteGroupsRequest, DescribeCausesRequest, DescribeClusterRequest,
    DescribeLogDirsRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest,
    ListGroupsRequest, Message, MetadataRecord, MetadataRequest, MetadataResponse,
    RegisterBrokerRecord, Request, TopicRecord,
};

use crate::groups;
use crate::rig::{NODE, Rig, broker_record, topic_id};

fn by_name(names: &[&str]) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..Default::default() }
}

fn without_creating(names: &[&str]) -> MetadataRequest {
    MetadataRequest { allow_auto_topic_creation: false, ..by_name(names) }
}

fn by_id(id: Uuid) -> MetadataRequest {
    let topic = MetadataRequestTopic { topic_id: id, name: None, ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

fn names(response: &MetadataResponse) -> Vec<&str> {
    response.topics.iter().filter_map(|topic| topic.name.as_deref()).collect()
}

#[tokio::test]
async fn every_version_of_metadata_tells_of_a_topic_and_its_leader() {
    let mut rig = Rig::start().await;
    rig.topic("a", 2, &[]).await;
    let mut client = rig.client().await;
    for version in MetadataRequest::VERSIONS.min..=MetadataRequest::VERSIONS.max {
        let response = client.call(&by_name(&["a"]), version).await;
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some("a")), "{version}");
        assert_eq!(topic.topic_id, if version >= 10 { topic_id("a") } else { Uuid::ZERO });
        let partitions: Vec<_> = topic.partitions.iter().map(|p| p.partition_index).collect();
        assert_eq!(partitions, [0, 1]);
        let first = &topic.partitions[0];
        assert_eq!((first.error_code, first.leader_id), (0, NODE));
        assert_eq!(first.leader_epoch, if version >= 7 { 5 } else { -1 });
        assert_eq!(
            (first.replica_nodes.as_slice(), first.isr_nodes.as_slice()),
            (&[NODE][..], &[NODE][..])
        );
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(response.controller_id, if version >= 1 { NODE } else { -1 });
        let cluster = (version >= 2).then_some("rig");
        assert_eq!(response.cluster_id.as_deref(), cluster);
    }
}

#[tokio::test]
async fn all_topics_are_told_when_none_is_named() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    rig.topic("b", 1, &[]).await;
    let mut client = rig.client().await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    assert_eq!(names(&client.call(&all, 13).await), ["a", "b"]);
    assert_eq!(names(&client.call(&none, 0).await), ["a", "b"]);
    assert!(client.call(&none, 1).await.topics.is_empty());
}

#[tokio::test]
async fn a_cluster_without_brokers_is_told_of_until_the_one_that_answers_stops() {
    let mut rig = Rig::start().await;
    let mut client = rig.client().await;
    let fenced = |in_controlled_shutdown| {
        let record = RegisterBrokerRecord { fenced: true, ..broker_record(NODE, 1) };
        MetadataRecord::RegisterBroker(RegisterBrokerRecord { in_controlled_shutdown, ..record })
    };
    rig.publish([fenced(false)]);
    let nobody = |told: &MetadataResponse| told.brokers.is_empty();
    while !nobody(&client.call(&by_name(&["a"]), 13).await) {}
    rig.publish([fenced(true)]);
    client.send(&by_name(&["a"]), 13).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn topics_are_found_by_their_ids_from_version_12() {
    let mut rig = Rig::start().await;
    let id = rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    for version in 12..=13 {
        assert_eq!(names(&client.call(&by_id(id), version).await), ["a"]);
        let unknown = client.call(&by_id(Uuid([9; 16])), version).await;
        assert_eq!(unknown.topics[0].error_code, ErrorCode::UnknownTopicId.code());
        assert_eq!(unknown.topics[0].name, None);
    }
    let mut named = by_id(id);
    named.topics.as_mut().unwrap()[0].name = Some("a".into());
    let refused = client.call(&named, 11).await;
    assert_eq!(refused.topics[0].error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn a_topic_that_is_asked_for_is_created_and_served() {
    let rig = Rig::with_settings(&[("num.partitions", "3")]).await;
    let mut client = rig.client().await;
    let unknown = client.call(&without_creating(&["new"]), 12).await;
    assert_eq!(unknown.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let created = client.call(&by_name(&["new"]), 12).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (0, 3));
    let handle = rig.handle("new", 2);
    assert!(matches!(*handle.standing(), partitions::Standing::Leader(_)));
}

#[tokio::test]
async fn topics_that_cannot_be_created_are_told_as_kafka_does() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    // Its replication factor of 3 is more than there are brokers.
    let response = client.call(&by_name(&["a b", "__consumer_offsets"]), 12).await;
    let found: Vec<_> = response.topics.iter().map(|t| (t.error_code, t.is_internal)).collect();
    let invalid = (ErrorCode::InvalidTopicException.code(), false);
    assert_eq!(found, [invalid, (ErrorCode::UnknownTopicOrPartition.code(), true)]);

    let strict = Rig::with_settings(&[("auto.create.topics.enable", "false")]).await;
    let response = strict.client().await.call(&by_name(&["new"]), 12).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn internal_topics_are_created_with_settings_of_their_own() {
    let settings =
        [("offsets.topic.replication.factor", "1"), ("offsets.topic.num.partitions", "4")];
    let rig = Rig::with_settings(&settings).await;
    let mut client = rig.client().await;
    let response = client.call(&by_name(&["__consumer_offsets"]), 12).await;
    assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 4));
    let config = rig.handle("__consumer_offsets", 0).config();
    assert_eq!(config.segment_bytes, 100 << 20);
    assert!(config.cleanup_policy.compact);
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_told_by_the_versions_words() {
    let mut rig = Rig::start().await;
    rig.topic_elsewhere("far");
    let mut client = rig.client().await;
    for version in [0, 5, 6, 13] {
        let response = client.call(&by_name(&["far"]), version).await;
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::LeaderNotAvailable.code());
        assert_eq!(partition.leader_id, -1);
        assert_eq!(partition.replica_nodes.len(), usize::from(version > 0));
        assert_eq!(partition.offline_replicas.len(), usize::from(version >= 5));
    }
}

#[tokio::test]
async fn what_may_be_done_is_told_to_who_asks() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    let request = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..by_name(&["a"])
    };
    let response = client.call(&request, 10).await;
    assert_eq!(response.cluster_authorized_operations, 8096);
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
    let response = client.call(&by_name(&["a"]), 10).await;
    assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
}

#[tokio::test]
async fn a_cluster_is_described_to_those_on_the_right_kind_of_listener() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for version in 0..=2 {
        let response = client.call(&DescribeClusterRequest::default(), version).await;
        assert_eq!((response.error_code, response.cluster_id.as_str()), (0, "rig"));
        assert_eq!((response.controller_id, response.brokers[0].broker_id), (NODE, NODE));
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let response = client.call(&controllers, 1).await;
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType.code());
    let nobody = DescribeClusterRequest { endpoint_type: 3, ..Default::default() };
    let response = client.call(&nobody, 2).await;
    assert_eq!(response.error_code, ErrorCode::UnsupportedEndpointType.code());
}

fn page(topics: &[&str], limit: i32, from: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: topics
            .iter()
            .map(|name| TopicRequest { name: (*name).to_owned(), ..Default::default() })
            .collect(),
        response_partition_limit: limit,
        cursor: from.map(|(topic_name, partition_index)| Cursor {
            topic_name: topic_name.to_owned(),
            partition_index,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn partitions_are_described_page_by_page() {
    let mut rig = Rig::start().await;
    for (name, partitions) in [("a", 3), ("b", 2), ("c", 1)] {
        rig.topic(name, partitions, &[]).await;
    }
    let mut client = rig.client().await;
    let mut from = None;
    let mut pages = Vec::new();
    loop {
        let at = from.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index));
        let response = client.call(&page(&[], 2, at), 0).await;
        let told = response.topics.iter().flat_map(|topic| {
            let name = topic.name.clone().unwrap();
            topic.partitions.iter().map(move |p| format!("{name}{}", p.partition_index))
        });
        pages.push(told.collect::<Vec<_>>().join(" "));
        match response.next_cursor {
            Some(cursor) => from = Some((cursor.topic_name, cursor.partition_index)),
            None => break,
        }
    }
    assert_eq!(pages, ["a0 a1", "a2 b0", "b1 c0"]);
}

#[tokio::test]
async fn a_cursor_outside_of_the_topics_is_refused() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    for from in [("b", 0), ("a", -1)] {
        let response = client.call(&page(&["a"], 10, Some(from)), 0).await;
        assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest.code(), "{from:?}");
    }
    let response = client.call(&page(&["a", "no", "a b"], 10, None), 0).await;
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    let invalid = ErrorCode::InvalidTopicException.code();
    assert_eq!(codes, [0, invalid, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(response.topics[0].partitions[0].eligible_leader_replicas, Some(Vec::new()));
}

#[tokio::test]
async fn the_tree_shows_what_software_a_client_is_and_no_more_of_it_than_fits_a_line() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for name in ["apache-kafka-java".to_owned(), "told.again".to_owned()] {
        let request = ApiVersionsRequest {
            client_software_name: name,
            client_software_version: "4".repeat(30_000),
            ..Default::default()
        };
        assert_eq!(client.call(&request, 3).await.error_code, 0);
    }
    let shown = format!("apache-kafka-java {}", "4".repeat(64));
    let mut tree = rig.world.registry().look(&rig.world).await;
    while let Some(actor) = tree.pop() {
        if actor.kind == "connection" {
            assert_eq!(actor.state, shown);
            return;
        }
        tree.extend(actor.children);
    }
    panic!("no connection in the tree");
}

#[tokio::test]
async fn an_answer_of_many_topics_is_whole() {
    let mut rig = Rig::start().await;
    let names: Vec<String> = (0..3_000).map(|n| format!("{n}-{}", "t".repeat(200))).collect();
    rig.publish(names.iter().map(|name| {
        let (name, topic_id) = (name.clone(), topic_id(name));
        MetadataRecord::Topic(TopicRecord { name, topic_id, ..Default::default() })
    }));
    let mut client = rig.client().await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let response = client.call(&all, 12).await;
    assert_eq!(response.topics.len(), names.len());
    assert!(response.topics.iter().zip(&response.topics[1..]).all(|(a, b)| a.name < b.name));
}

/// How often answers had to wait, and what they hold of their budget.
fn waits_and_used(rig: &Rig, budget: &str) -> [u64; 2] {
    let told = runtime::prometheus([("rig", rig.world.registry())]);
    let told = told.lines().filter(|line| line.contains(budget)).collect::<Vec<_>>();
    ["ottla_credits_waits_total", "ottla_credits_used_bytes"].map(|name| {
        let line = told.iter().find(|line| line.starts_with(name)).expect("a budget");
        line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")
    })
}

/// What many are told who ask at once. Their answers wait for one another.
async fn told_to_many<R: Request>(rig: &Rig, request: &R, version: i16) -> Vec<R::Response> {
    told_within(rig, "cluster-answers", request, version).await
}

async fn told_within<R: Request>(
    rig: &Rig,
    budget: &str,
    request: &R,
    version: i16,
) -> Vec<R::Response> {
    let [waited, _] = waits_and_used(rig, budget);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(rig.client().await);
    }
    for client in &mut crowd {
        client.send(request, version).await;
    }
    let mut told = Vec::new();
    for client in &mut crowd {
        told.push(client.receive::<R>(version).await);
    }
    let [waits, used] = waits_and_used(rig, budget);
    assert!(waits > waited, "they wait for one another");
    assert_eq!(used, 0, "all is given back");
    told
}

/// All of them together would take some 120 MiB until they are encoded; there are 64 for them.
#[tokio::test]
async fn answers_about_many_partitions_wait_for_one_another() {
    const PARTITIONS: usize = 50_000;
    let mut rig = Rig::start().await;
    rig.large_topic_elsewhere("large", PARTITIONS as i32);
    let all = MetadataRequest { topics: None, ..Default::default() };
    for response in told_to_many(&rig, &all, 12).await {
        assert_eq!(response.topics[0].partitions.len(), PARTITIONS);
    }
}

#[tokio::test]
async fn answers_about_groups_and_directories_wait_for_one_another() {
    const PARTITIONS: i32 = 800;
    let settings = [
        ("queued.max.request.bytes", "200000"),
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
    ];
    let mut rig = Rig::with_settings(&settings).await;
    rig.topic("many", PARTITIONS, &[]).await;
    let all = DescribeLogDirsRequest { topics: None, ..Default::default() };
    for response in told_to_many(&rig, &all, 5).await {
        let topics = &response.results[0].topics;
        assert_eq!(topics[0].partitions.len(), PARTITIONS as usize);
    }
    let mut client = rig.client().await;
    client.call(&groups::find("g"), 6).await;
    let ids: Vec<String> = (0..4).map(|n| n.to_string().repeat(30_000)).collect();
    for group in &ids {
        groups::until_served(&mut client, group).await;
        let committed = client.call(&groups::commit(group, "many", &[(0, 1)], 9), 9).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    }
    for response in told_to_many(&rig, &ListGroupsRequest::default(), 5).await {
        let listed: Vec<_> = response.groups.iter().map(|group| &group.group_id).collect();
        assert_eq!(listed, ids.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_requests_that_name_much_wait_for_one_another() {
    const KEYS: usize = 20_000;
    let rig = Rig::with_settings(&[("queued.max.request.bytes", "11000000")]).await;
    // Of no type that there is: all are in error.
    let named = FindCoordinatorRequest {
        key_type: 9,
        coordinator_keys: (0..KEYS).map(|key| key.to_string()).collect(),
        ..Default::default()
    };
    for response in told_within(&rig, "named-answers", &named, 4).await {
        assert_eq!(response.coordinators.len(), KEYS);
    }
    let groups = DeleteGroupsRequest {
        groups_names: (0..KEYS).map(|group| group.to_string()).collect(),
        ..Default::default()
    };
    for response in told_within(&rig, "named-answers", &groups, 2).await {
        assert_eq!(response.results.len(), KEYS);
    }
}

#[tokio::test]
async fn causes_are_told_of_a_thousand_partitions_at_once_and_of_no_more() {
    let mut rig = Rig::start().await;
    rig.topic("a", 2, &[]).await;
    let of = |partitions: Vec<i32>| {
        let topic_id = topic_id("a");
        let topics = vec![CausesTopic { topic_id, partitions, ..Default::default() }];
        DescribeCausesRequest { topics, logs: true, ..Default::default() }
    };
    let mut client = rig.client().await;
    let told = client.call(&of((0..1_000).collect()), 0).await;
    let replicas: Vec<_> =
        told.replicas.iter().map(|r| (r.partition_index, r.state.as_str())).collect();
    assert_eq!(replicas, [(0, "leader"), (1, "leader")]);
    let log = told.replicas[0].logs.first().expect("its log");
    assert_eq!((log.upper_offset, log.is_last, log.producer_id), (0, true, -1));
    assert!(told.now_ms > 0 && told.uncleanable.is_empty());
    client.send(&of((0..1_001).collect()), 0).await;
    assert_eq!(client.frame().await, None, "the connection ends");
}

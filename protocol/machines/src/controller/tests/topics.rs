use std::collections::{BTreeMap, BTreeSet};

use model::{ErrorCode, Uuid};
use wire::create_topics_request::CreatableTopic;
use wire::{CreateTopicsRequest, MetadataRecord};

use super::*;

#[test]
fn a_topic_is_its_record_its_configs_and_its_partitions() {
    let mut cluster = Cluster::of(3);
    let before = cluster.log.len();
    let result =
        cluster.create(configured(topic("orders", 2, 3), &[("retention.ms", Some("1000"))]));
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 3));
    assert_ne!(result.topic_id, Uuid::ZERO);
    let records = &cluster.log[before..];
    assert!(
        matches!(&records[0], MetadataRecord::Topic(r) if r.name == "orders" && r.topic_id == result.topic_id)
    );
    assert!(matches!(&records[1], MetadataRecord::Config(r) if r.value.as_deref() == Some("1000")));
    assert!(matches!(&records[2], MetadataRecord::Partition(r) if r.partition_id == 0));
    assert!(matches!(&records[3], MetadataRecord::Partition(r) if r.partition_id == 1));
    assert_eq!(records.len(), 4);
    let partition = cluster.partition("orders", 0);
    assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 0));
    assert_eq!(partition.leader, partition.replicas[0]);
    let homes: Vec<Uuid> = partition.replicas.iter().map(|id| directory(*id)).collect();
    assert_eq!(partition.directories, homes);
    let configs = result.configs.unwrap();
    assert!(configs.is_sorted_by(|a, b| a.name < b.name));
    let retention = configs.iter().find(|c| c.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
}

#[test]
fn defaults_are_the_nodes() {
    let mut cluster =
        Cluster::with(&[("num.partitions", "4"), ("default.replication.factor", "2")], &[]);
    (0..3).for_each(|id| cluster.join(id));
    let result = cluster.create(topic("defaults", -1, -1));
    assert_eq!((result.num_partitions, result.replication_factor), (4, 2));
}

type Refusal = (CreatableTopic, ErrorCode, &'static str);

fn refused_names() -> Vec<Refusal> {
    use ErrorCode::{InvalidRequest, InvalidTopicException, TopicAlreadyExists};
    let too_long = "x".repeat(250);
    let cases = [
        ("", InvalidTopicException, "the empty string is not allowed"),
        ("..", InvalidTopicException, "'..' is not allowed"),
        ("a b", InvalidTopicException, "characters other than ASCII alphanumerics"),
        (too_long.as_str(), InvalidTopicException, "longer than the max allowed length 249"),
        ("a.b", InvalidTopicException, "Topic 'a.b' collides with existing topic: a_b"),
        ("a_b", TopicAlreadyExists, "Topic 'a_b' already exists."),
        (
            "__cluster_metadata",
            InvalidRequest,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
    ];
    cases.into_iter().map(|(name, code, message)| (topic(name, 1, 1), code, message)).collect()
}

fn refused_numbers() -> Vec<Refusal> {
    use ErrorCode::{InvalidPartitions, InvalidReplicationFactor, PolicyViolation};
    let partitions = "Number of partitions was set to an invalid non-positive value.";
    let factor = "Replication factor must be larger than 0, or -1 to use the default value.";
    let placed = "Unable to replicate the partition 9 time(s): The target replication factor of 9 cannot be reached because only 2 broker(s) are registered";
    let cases = [
        (0, 1, InvalidPartitions, partitions),
        (-2, 1, InvalidPartitions, partitions),
        (1, 0, InvalidReplicationFactor, factor),
        (1, -2, InvalidReplicationFactor, factor),
        (1, 9, InvalidReplicationFactor, placed),
        (10_001, 1, PolicyViolation, "Excessively large number of partitions per request."),
    ];
    cases
        .into_iter()
        .map(|(count, factor, code, message)| (topic("t", count, factor), code, message))
        .collect()
}

#[test]
fn topics_that_are_not_to_be_made_do_not_count_towards_the_most_partitions() {
    let mut cluster = Cluster::of(1);
    let asked = ["b", "a", "b", "__cluster_metadata"].map(|name| topic(name, 6_000, 1));
    let results = cluster.create_all(asked.to_vec(), false);
    let codes: BTreeMap<_, _> = results.iter().map(|r| (r.name.as_str(), r.error_code)).collect();
    let refused = ErrorCode::InvalidRequest.code();
    let expected = [("a", 0), ("b", refused), ("__cluster_metadata", refused)];
    assert_eq!(codes, BTreeMap::from(expected));
}

fn refused_configs() -> Vec<Refusal> {
    let with = |name, value, message| {
        (configured(topic("t", 1, 1), &[(name, value)]), ErrorCode::InvalidConfig, message)
    };
    vec![
        with("retention.ms", None, "Null value not supported for topic configs: retention.ms"),
        with("retention.ms", Some("soon"), "retention.ms"),
        with("no.such", Some("1"), "no.such"),
    ]
}

fn refused_assignments() -> Vec<Refusal> {
    use ErrorCode::{InvalidReplicaAssignment, InvalidRequest};
    let at = |places: [i32; 2]| {
        let mut topic = assigned("t", &[&[0], &[0]]);
        topic.assignments.iter_mut().zip(places).for_each(|(a, place)| a.partition_index = place);
        topic
    };
    let with = |set: fn(&mut CreatableTopic)| {
        let mut topic = assigned("t", &[&[0]]);
        set(&mut topic);
        topic
    };
    let specified = "A manual partition assignment was specified, but";
    vec![
        (with(|t| t.replication_factor = 1), InvalidRequest, specified),
        (with(|t| t.num_partitions = 1), InvalidRequest, specified),
        (
            at([3, 3]),
            InvalidReplicaAssignment,
            "Found multiple manual partition assignments for partition 3",
        ),
        (
            at([0, 2]),
            InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (assigned("t", &[&[]]), InvalidReplicaAssignment, "includes an empty replica list."),
        (
            assigned("t", &[&[0, 0]]),
            InvalidReplicaAssignment,
            "includes the broker 0 more than once.",
        ),
        (
            assigned("t", &[&[7]]),
            InvalidReplicaAssignment,
            "includes broker 7, but no such broker is registered.",
        ),
        (
            assigned("t", &[&[0], &[0, 1]]),
            InvalidReplicaAssignment,
            "a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).",
        ),
    ]
}

#[test]
fn what_cannot_be_created_says_why_and_writes_nothing() {
    let mut cluster = Cluster::of(2);
    cluster.create(topic("a_b", 1, 1));
    let before = cluster.log.len();
    let all = [refused_names(), refused_numbers(), refused_configs(), refused_assignments()];
    for (asked, code, message) in all.into_iter().flatten() {
        let result = cluster.create(asked.clone());
        assert_eq!(ErrorCode::from_code(result.error_code), code, "{asked:?}");
        let told = result.error_message.unwrap_or_default();
        assert!(told.contains(message), "{told}");
        assert_eq!(cluster.log.len(), before, "{asked:?}");
    }
}

#[test]
fn brokers_that_are_fenced_hold_replicas_and_are_not_in_sync() {
    let mut cluster = Cluster::of(3);
    cluster.fence(1);
    cluster.create(assigned("t", &[&[1, 0, 2]]));
    let partition = cluster.partition("t", 0);
    assert_eq!((partition.leader, partition.isr.as_slice()), (0, [0, 2].as_slice()));
    cluster.fence(0);
    cluster.fence(2);
    let all_fenced = cluster.create(assigned("u", &[&[1, 0]]));
    assert_eq!(ErrorCode::from_code(all_fenced.error_code), ErrorCode::InvalidReplicaAssignment);
    let nowhere = cluster.create(topic("v", 1, 1));
    assert_eq!(
        nowhere.error_message.as_deref(),
        Some(
            "Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log directories cordoned."
        )
    );
}

#[test]
fn validating_answers_alike_and_writes_nothing() {
    let mut cluster = Cluster::of(1);
    let before = cluster.log.len();
    let results = cluster.create_all(vec![topic("a", 3, 1), topic("b", 0, 1)], true);
    assert_eq!((results[0].error_code, results[0].num_partitions), (0, 3));
    assert_eq!(ErrorCode::from_code(results[1].error_code), ErrorCode::InvalidPartitions);
    assert_eq!(cluster.log.len(), before);
}

#[test]
fn one_bad_topic_spoils_no_other_and_a_doubled_one_is_answered_once() {
    let mut cluster = Cluster::of(1);
    let results = cluster.create_all(
        vec![topic("a", 1, 1), topic("a", 2, 1), topic("b", 1, 1), topic("c", 0, 1)],
        false,
    );
    let codes: Vec<_> =
        results.iter().map(|r| (r.name.as_str(), ErrorCode::from_code(r.error_code))).collect();
    let expected = [
        ("a", ErrorCode::InvalidRequest),
        ("b", ErrorCode::None),
        ("c", ErrorCode::InvalidPartitions),
    ];
    assert_eq!(codes, expected);
    assert_eq!(results[0].error_message.as_deref(), Some("Duplicate topic name."));
    assert_eq!(cluster.image().topics.len(), 1);
}

#[test]
fn rights_are_answered_topic_by_topic() {
    let mut cluster = Cluster::of(1);
    let only = |name: &str| Permitted::Only(BTreeSet::from([name.to_owned()]));
    let request = CreateTopicsRequest {
        topics: vec![topic("mine", 1, 1), topic("yours", 1, 1)],
        ..Default::default()
    };
    let asked = ControllerRequest::CreateTopics {
        request,
        seed: 1,
        may_create: only("mine"),
        may_describe_configs: only("yours"),
    };
    let ControllerReply::CreateTopics(response) = cluster.ask(asked) else { panic!() };
    let [mine, yours] = response.topics.as_slice() else { panic!("{response:?}") };
    assert_eq!(
        (mine.error_code, mine.topic_config_error_code),
        (0, ErrorCode::TopicAuthorizationFailed.code())
    );
    assert_eq!((mine.num_partitions, mine.configs.as_deref()), (-1, Some([].as_slice())));
    assert_eq!(ErrorCode::from_code(yours.error_code), ErrorCode::TopicAuthorizationFailed);
}

#[test]
fn a_name_is_free_again_once_its_topic_is_gone() {
    let mut cluster = Cluster::of(1);
    let first = cluster.create(topic("a.b", 1, 1));
    let request =
        wire::DeleteTopicsRequest { topic_names: vec!["a.b".into()], ..Default::default() };
    let (may_describe, may_delete) = (Permitted::All, Permitted::All);
    cluster.ask(ControllerRequest::DeleteTopics { request, version: 5, may_describe, may_delete });
    let second = cluster.create(topic("a_b", 1, 1));
    assert_eq!(second.error_code, 0);
    assert_ne!(first.topic_id, second.topic_id);
}

#[test]
fn five_thousand_partitions_in_one_request() {
    let mut cluster = Cluster::of(3);
    let result = cluster.create(topic("wide", 5000, 3));
    assert_eq!(result.num_partitions, 5000);
    let mut led = [0; 3];
    for partition in cluster.image().topics.by_name("wide").unwrap().partitions.values() {
        led[partition.leader as usize] += 1;
    }
    assert!(led.iter().all(|n| (1666..=1667).contains(n)), "{led:?}");
}

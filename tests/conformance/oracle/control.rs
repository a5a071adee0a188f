//! What operators ask of the controller: elections, features, reassignments, who is forgotten.

use crate::session::{reading, topic, versions};
use crate::{Case, own};
use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::elect_leaders_request::TopicPartitions;
use wire::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::update_features_request::FeatureUpdateKey;
use wire::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, RemoveRaftVoterRequest, UnregisterBrokerRequest,
    UnregisterControllerRequest, UpdateFeaturesRequest,
};

pub fn cases() -> Vec<Case> {
    let mut cases = election_cases();
    cases.extend(feature_cases());
    cases.extend(reassignment_cases());
    cases.extend(versions("of nobody", |_, _| UnregisterBrokerRequest {
        broker_id: 77,
        ..Default::default()
    }));
    cases.extend(versions("of nobody", |_, _| UnregisterControllerRequest {
        controller_id: 77,
        ..Default::default()
    }));
    cases.extend(voter_cases());
    cases
}

/// Of a quorum that goes on as it is.
fn voter_cases() -> Vec<Case> {
    let mut cases = versions("without an endpoint", |_, _| AddRaftVoterRequest {
        cluster_id: None,
        voter_id: 77,
        ..Default::default()
    });
    cases.extend(versions("of nobody", |_, _| RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: 77,
        ..Default::default()
    }));
    cases
}

fn election_cases() -> Vec<Case> {
    let elect = |kind: i8, version: i16, topics: Option<Vec<(String, Vec<i32>)>>| {
        let named =
            |(topic, partitions)| TopicPartitions { topic, partitions, ..Default::default() };
        ElectLeadersRequest {
            election_type: if version < 1 { 0 } else { kind },
            topic_partitions: topics.map(|topics| topics.into_iter().map(named).collect()),
            timeout_ms: 10_000,
            ..Default::default()
        }
    };
    let some = || Some(vec![(topic(), vec![0, 1, 9]), (own("none"), vec![0])]);
    let mut cases = versions("preferred", move |_, version| elect(0, version, some()));
    cases.extend(versions("unclean", move |_, version| elect(1, version, some())));
    cases.extend(versions("of no kind", move |_, version| elect(7, version, some())));
    cases.extend(versions("of nothing", move |_, version| elect(0, version, Some(Vec::new()))));
    cases.extend(versions("twice of one", move |_, version| {
        elect(1, version, Some(vec![(topic(), vec![0, 0])]))
    }));
    cases
}

fn feature_cases() -> Vec<Case> {
    // With the kind of the change: 1 up, 2 down, 3 down although something is lost.
    let update = |version: i16, changes: Vec<(&str, i16, i8)>| {
        let change = |(feature, level, kind): (&str, i16, i8)| FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level: level,
            allow_downgrade: version == 0 && kind > 1,
            upgrade_type: if version == 0 { 1 } else { kind },
            ..Default::default()
        };
        UpdateFeaturesRequest {
            feature_updates: changes.into_iter().map(change).collect(),
            timeout_ms: 10_000,
            ..Default::default()
        }
    };
    let mut cases = Vec::new();
    type Change = (&'static str, i16, i8);
    let groups: [(&str, Vec<Change>); 14] = [
        ("down", vec![("transaction.version", 1, 2)]),
        ("as it is", vec![("transaction.version", 1, 1)]),
        ("down unasked", vec![("transaction.version", 0, 1)]),
        ("up called down", vec![("transaction.version", 2, 2)]),
        ("up", vec![("transaction.version", 2, 1)]),
        ("beyond", vec![("transaction.version", 99, 1)]),
        ("below", vec![("transaction.version", -1, 2)]),
        ("unknown", vec![("no.such.feature", 1, 1)]),
        ("of no kind", vec![("transaction.version", 2, 7)]),
        ("two, one wrong", vec![("transaction.version", 2, 1), ("no.such.feature", 1, 1)]),
        ("nothing", vec![]),
        ("metadata.version far down", vec![("metadata.version", 7, 2)]),
        ("metadata.version unsafely down", vec![("metadata.version", 20, 3)]),
        ("kraft.version", vec![("kraft.version", 9, 1)]),
    ];
    for (what, changes) in groups {
        cases.extend(versions(what, move |_, version| update(version, changes.clone())));
    }
    cases.extend(versions("checked only", move |_, version| UpdateFeaturesRequest {
        validate_only: version > 0,
        ..update(version, vec![("transaction.version", 2, 1)])
    }));
    cases
}

fn reassignment_cases() -> Vec<Case> {
    let reassign = |topic: String, partition_index: i32, replicas: Option<Vec<i32>>| {
        let partition = ReassignablePartition { partition_index, replicas, ..Default::default() };
        let topic =
            ReassignableTopic { name: topic, partitions: vec![partition], ..Default::default() };
        AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            ..Default::default()
        }
    };
    let mut cases = versions("called off", move |_, _| reassign(topic(), 0, None));
    cases.extend(versions("to where it is", move |session, _| {
        let id = session.broker_id().parse().expect("an id");
        reassign(topic(), 0, Some(vec![id]))
    }));
    cases.extend(versions("to nobody", move |_, _| reassign(topic(), 0, Some(vec![77]))));
    cases.extend(versions("to none", move |_, _| reassign(topic(), 0, Some(Vec::new()))));
    cases.extend(versions("of no such partition", move |_, _| reassign(topic(), 9, None)));
    cases.extend(versions("of no such topic", move |_, _| reassign(own("none"), 0, None)));
    cases.extend(versions("to the same broker twice", move |session, _| {
        let id = session.broker_id().parse().expect("an id");
        reassign(topic(), 0, Some(vec![id, id]))
    }));
    cases.extend(versions("of nothing", |_, version| AlterPartitionReassignmentsRequest {
        allow_replication_factor_change: version < 1,
        ..Default::default()
    }));
    let list = |topics: Option<Vec<ListPartitionReassignmentsTopics>>| {
        ListPartitionReassignmentsRequest { topics, timeout_ms: 10_000, ..Default::default() }
    };
    let named = |name: String| ListPartitionReassignmentsTopics {
        name,
        partition_indexes: vec![0, 9],
        ..Default::default()
    };
    cases.extend(reading("all", move |_, _| list(None)));
    cases
        .extend(reading("named", move |_, _| list(Some(vec![named(topic()), named(own("none"))]))));
    cases
}

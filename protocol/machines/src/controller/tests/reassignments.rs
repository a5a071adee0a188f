//! Partitions move to other replicas. The steps are those of Kafka's `ReplicationControlManagerTest` and
//! `PartitionReassignmentReplicasTest`.

use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, ListPartitionReassignmentsRequest,
};

use super::*;

type Ongoing = (String, i32, Vec<i32>, Vec<i32>, Vec<i32>);

fn reassign_as(
    cluster: &mut Cluster,
    partition: i32,
    replicas: Option<&[i32]>,
    allow_replication_factor_change: bool,
) -> (ErrorCode, Option<String>) {
    let partition = ReassignablePartition {
        partition_index: partition,
        replicas: replicas.map(<[i32]>::to_vec),
        ..Default::default()
    };
    let name = "t".to_owned();
    let topic = ReassignableTopic { name, partitions: vec![partition], ..Default::default() };
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![topic],
        allow_replication_factor_change,
        ..Default::default()
    };
    match cluster.ask(ControllerRequest::AlterPartitionReassignments(request)) {
        ControllerReply::AlterPartitionReassignments(mut response) => {
            assert_eq!(response.error_message, None);
            let answer = response.responses.remove(0).partitions.remove(0);
            (ErrorCode::from_code(answer.error_code), answer.error_message)
        }
        other => panic!("{other:?}"),
    }
}

fn reassign(cluster: &mut Cluster, replicas: Option<&[i32]>) -> ErrorCode {
    reassign_as(cluster, 0, replicas, true).0
}

fn list(cluster: &mut Cluster, named: Option<(&str, &[i32])>) -> Vec<Ongoing> {
    let topics = named.map(|(name, partitions)| {
        vec![ListPartitionReassignmentsTopics {
            name: name.to_owned(),
            partition_indexes: partitions.to_vec(),
            ..Default::default()
        }]
    });
    let request = ListPartitionReassignmentsRequest { topics, ..Default::default() };
    let reply = cluster.ask(ControllerRequest::ListPartitionReassignments(request));
    let ControllerReply::ListPartitionReassignments(response) = reply else { panic!("{reply:?}") };
    let of_topic =
        |topic: wire::list_partition_reassignments_response::OngoingTopicReassignment| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |p| {
                (
                    name.clone(),
                    p.partition_index,
                    p.replicas,
                    p.adding_replicas,
                    p.removing_replicas,
                )
            })
        };
    response.topics.into_iter().flat_map(of_topic).collect()
}

/// The leader says that these are in sync.
fn in_sync(cluster: &mut Cluster, isr: &[i32]) -> ErrorCode {
    let known = cluster.partition("t", 0).clone();
    let state = |id: &i32| BrokerState { broker_id: *id, broker_epoch: -1, ..Default::default() };
    let partition = PartitionData {
        leader_epoch: known.leader_epoch,
        partition_epoch: known.partition_epoch,
        new_isr_with_epochs: isr.iter().map(state).collect(),
        ..Default::default()
    };
    let topic_id = cluster.image().topics.id_of("t").unwrap();
    let topics = vec![TopicData { topic_id, partitions: vec![partition], ..Default::default() }];
    let request = AlterPartitionRequest {
        broker_id: known.leader,
        broker_epoch: cluster.image().broker(known.leader).unwrap().epoch,
        topics,
        ..Default::default()
    };
    match cluster.ask(ControllerRequest::AlterPartition { request, version: 3 }) {
        ControllerReply::AlterPartition(mut response) => {
            ErrorCode::from_code(response.topics.remove(0).partitions.remove(0).error_code)
        }
        other => panic!("{other:?}"),
    }
}

/// t-0 on brokers 0, 1, 2, of six.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(6);
    cluster.create(assigned("t", &[&[0, 1, 2]]));
    cluster
}

#[test]
fn replicas_are_added_first_and_go_once_the_new_ones_are_in_sync() {
    let mut cluster = cluster();
    assert_eq!(reassign(&mut cluster, Some(&[3, 4, 2])), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas, p.isr, p.leader), (vec![3, 4, 2, 0, 1], vec![0, 1, 2], 0));
    assert_eq!((p.adding_replicas, p.removing_replicas), (vec![3, 4], vec![0, 1]));
    assert_eq!(p.directories[0], directory(3));
    let expected = ("t".to_owned(), 0, vec![3, 4, 2, 0, 1], vec![3, 4], vec![0, 1]);
    assert_eq!(list(&mut cluster, None), std::slice::from_ref(&expected));
    assert_eq!(list(&mut cluster, Some(("t", &[0, 1, 9]))), [expected]);
    assert_eq!(list(&mut cluster, Some(("t", &[1]))), []);
    assert_eq!(list(&mut cluster, Some(("u", &[0]))), []);
    assert_eq!(in_sync(&mut cluster, &[0, 1, 2, 3]), ErrorCode::None);
    assert!(cluster.partition("t", 0).reassigning(), "4 is still to come");
    let epoch = cluster.partition("t", 0).leader_epoch;
    assert_eq!(in_sync(&mut cluster, &[0, 1, 2, 3, 4]), ErrorCode::NewLeaderElected);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas, p.isr, p.leader), (vec![3, 4, 2], vec![2, 3, 4], 3));
    assert_eq!((p.adding_replicas, p.removing_replicas), (vec![], vec![]));
    assert_eq!((p.leader_epoch, p.directories.len()), (epoch + 1, 3));
    assert_eq!(list(&mut cluster, None), []);
}

#[test]
fn another_order_is_done_at_once() {
    let mut cluster = cluster();
    assert_eq!(reassign(&mut cluster, Some(&[2, 1, 0])), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas, p.leader, p.leader_epoch), (vec![2, 1, 0], 0, 0));
    assert!(!cluster.partition("t", 0).reassigning());
    let before = cluster.log.len();
    assert_eq!(reassign(&mut cluster, Some(&[2, 1, 0])), ErrorCode::None);
    assert_eq!(cluster.log.len(), before, "nothing to change");
}

#[test]
fn fewer_replicas_wait_until_all_that_stay_are_in_sync() {
    let mut cluster = cluster();
    assert_eq!(in_sync(&mut cluster, &[0, 1]), ErrorCode::None);
    assert_eq!(reassign(&mut cluster, Some(&[1, 2])), ErrorCode::None);
    assert_eq!(cluster.partition("t", 0).removing_replicas, [0]);
    assert_eq!(in_sync(&mut cluster, &[0, 1, 2]), ErrorCode::NewLeaderElected);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas, p.isr, p.leader), (vec![1, 2], vec![1, 2], 1));
}

#[test]
fn a_reassignment_is_called_off() {
    let mut cluster = cluster();
    assert_eq!(reassign(&mut cluster, None), ErrorCode::NoReassignmentInProgress);
    assert_eq!(reassign(&mut cluster, Some(&[3, 4, 5])), ErrorCode::None);
    assert_eq!(in_sync(&mut cluster, &[0, 1, 2, 3]), ErrorCode::None);
    let epoch = cluster.partition("t", 0).leader_epoch;
    assert_eq!(reassign(&mut cluster, None), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas, p.isr, p.leader), (vec![0, 1, 2], vec![0, 1, 2], 0));
    assert_eq!((p.adding_replicas, p.removing_replicas), (vec![], vec![]));
    assert_eq!(p.leader_epoch, epoch + 1, "who fetched or led learns that it is over");
}

#[test]
fn what_would_lose_records_is_called_off_only_where_the_topic_allows_it() {
    let mut cluster = Cluster::with(&[], &[("eligible.leader.replicas.version", 0)]);
    (0..6).for_each(|id| cluster.join(id));
    cluster.create(assigned("t", &[&[0]]));
    assert_eq!(reassign(&mut cluster, Some(&[3, 4])), ErrorCode::None);
    assert_eq!(in_sync(&mut cluster, &[0, 3]), ErrorCode::None);
    cluster.fence(0);
    assert_eq!(
        (cluster.partition("t", 0).leader, cluster.partition("t", 0).isr.clone()),
        (3, vec![3])
    );
    let (code, message) = reassign_as(&mut cluster, 0, None, true);
    assert_eq!(code, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        message.as_deref(),
        Some(
            "Unable to revert partition assignment for t:0 because it would require an unclean leader election."
        )
    );
}

#[test]
fn a_later_reassignment_takes_the_place_of_an_earlier_one() {
    let mut cluster = cluster();
    assert_eq!(reassign(&mut cluster, Some(&[3, 4, 5])), ErrorCode::None);
    assert_eq!(reassign(&mut cluster, Some(&[0, 1, 2, 3])), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!(p.replicas, [0, 1, 2, 3, 4, 5]);
    assert_eq!((p.adding_replicas, p.removing_replicas), (vec![3], vec![4, 5]));
    assert_eq!(reassign(&mut cluster, Some(&[0, 1, 2, 3, 4])), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.adding_replicas, p.removing_replicas), (vec![3], vec![5]));
    assert_eq!(in_sync(&mut cluster, &[0, 1, 2, 3]), ErrorCode::None);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.replicas.as_slice(), p.reassigning()), ([0, 1, 2, 3, 4].as_slice(), false));
}

#[test]
fn what_is_refused() {
    let mut cluster = cluster();
    let cases: [(i32, &[i32], bool, ErrorCode, &str); 6] = [
        (9, &[0], true, ErrorCode::UnknownTopicOrPartition, "Unable to find partition t:9."),
        (
            0,
            &[],
            true,
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            0,
            &[0, 77],
            true,
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 77, but no such broker is registered.",
        ),
        (
            0,
            &[0, 1, 1],
            true,
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            0,
            &[0, 1],
            false,
            ErrorCode::InvalidReplicationFactor,
            "The replication factor is changed from 3 to 2",
        ),
        (
            0,
            &[0, 1, 2, 3],
            false,
            ErrorCode::InvalidReplicationFactor,
            "The replication factor is changed from 3 to 4",
        ),
    ];
    let before = cluster.log.len();
    for (partition, replicas, allow, code, message) in cases {
        let refused = reassign_as(&mut cluster, partition, Some(replicas), allow);
        assert_eq!(refused, (code, Some(message.to_owned())));
    }
    assert_eq!(cluster.log.len(), before);
    assert_eq!(reassign_as(&mut cluster, 0, Some(&[3, 4, 5]), false).0, ErrorCode::None);
    // Three are to be left of those six.
    assert_eq!(reassign_as(&mut cluster, 0, Some(&[3, 4, 2]), false).0, ErrorCode::None);
}

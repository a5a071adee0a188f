use model::ErrorCode;
use wire::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::create_partitions_response::CreatePartitionsTopicResult;
use wire::{AllocateProducerIdsRequest, AlterPartitionRequest, CreatePartitionsRequest};

use super::*;

fn grow(
    cluster: &mut Cluster,
    topics: Vec<CreatePartitionsTopic>,
) -> Vec<CreatePartitionsTopicResult> {
    let request = CreatePartitionsRequest { topics, ..Default::default() };
    match cluster.ask(ControllerRequest::CreatePartitions {
        request,
        seed: 3,
        may_alter: Permitted::All,
    }) {
        ControllerReply::CreatePartitions(response) => response.results,
        other => panic!("{other:?}"),
    }
}

fn to(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |ids: &&[i32]| CreatePartitionsAssignment {
        broker_ids: ids.to_vec(),
        ..Default::default()
    };
    CreatePartitionsTopic {
        name: name.to_owned(),
        count,
        assignments: assignments.map(|all| all.iter().map(assignment).collect()),
        ..Default::default()
    }
}

#[test]
fn a_topic_grows() {
    let mut cluster = Cluster::of(3);
    cluster.create(topic("t", 2, 2));
    let results = grow(&mut cluster, vec![to("t", 4, Some(&[&[2, 0], &[1, 2]]))]);
    assert_eq!(results[0].error_code, 0);
    assert_eq!(cluster.partition("t", 2).replicas, [2, 0]);
    assert_eq!(cluster.partition("t", 3).replicas, [1, 2]);
    assert_eq!(grow(&mut cluster, vec![to("t", 7, None)])[0].error_code, 0);
    assert_eq!(cluster.image().topics.by_name("t").unwrap().partitions.size(), 7);
    assert_eq!(cluster.partition("t", 6).replicas.len(), 2);
}

#[test]
fn growth_that_is_refused() {
    let mut cluster = Cluster::of(2);
    cluster.create(topic("t", 2, 1));
    let cases = [
        (to("none", 2, None), ErrorCode::UnknownTopicOrPartition, None),
        (to("t", 2, None), ErrorCode::InvalidPartitions, Some("Topic already has 2 partition(s).")),
        (
            to("t", 1, None),
            ErrorCode::InvalidPartitions,
            Some("The topic t currently has 2 partition(s); 1 would not be an increase."),
        ),
        (
            to("t", -1, None),
            ErrorCode::InvalidPartitions,
            Some("The topic t currently has 2 partition(s); -1 would not be an increase."),
        ),
        (
            to("t", 4, Some(&[&[0]])),
            ErrorCode::InvalidReplicaAssignment,
            Some(
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
        ),
        (
            to("t", 3, Some(&[&[0, 1]])),
            ErrorCode::InvalidReplicaAssignment,
            Some(
                "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).",
            ),
        ),
        (
            to("t", 20_000, None),
            ErrorCode::PolicyViolation,
            Some("Excessively large number of partitions per request."),
        ),
    ];
    for (asked, code, message) in cases {
        let result = grow(&mut cluster, vec![asked]).remove(0);
        assert_eq!(ErrorCode::from_code(result.error_code), code);
        assert_eq!(result.error_message.as_deref(), message);
    }
    let doubled = grow(&mut cluster, vec![to("t", 3, None), to("t", 4, None)]);
    assert_eq!(doubled.len(), 1);
    assert_eq!(doubled[0].error_message.as_deref(), Some("Duplicate topic name."));
    assert_eq!(cluster.image().topics.by_name("t").unwrap().partitions.size(), 2);
}

/// The partition is t-0 on brokers 0, 1, 2 with all in sync, led by 0.
fn three_in_sync() -> Cluster {
    let mut cluster = Cluster::of(4);
    cluster.create(assigned("t", &[&[0, 1, 2]]));
    cluster
}

fn alter(
    cluster: &mut Cluster,
    broker: i32,
    isr: &[i32],
    set: impl FnOnce(&mut PartitionData),
) -> wire::alter_partition_response::PartitionData {
    let known = cluster.partition("t", 0).clone();
    let epoch = |id: i32| cluster.image().broker(id).map_or(-1, |b| b.epoch);
    let states = isr.iter().map(|id| BrokerState {
        broker_id: *id,
        broker_epoch: epoch(*id),
        ..Default::default()
    });
    let mut partition = PartitionData {
        leader_epoch: known.leader_epoch,
        partition_epoch: known.partition_epoch,
        new_isr_with_epochs: states.collect(),
        ..Default::default()
    };
    set(&mut partition);
    let topic_id = cluster.image().topics.id_of("t").unwrap();
    let topics = vec![TopicData { topic_id, partitions: vec![partition], ..Default::default() }];
    let broker_epoch = epoch(broker);
    let request =
        AlterPartitionRequest { broker_id: broker, broker_epoch, topics, ..Default::default() };
    match cluster.ask(ControllerRequest::AlterPartition { request, version: 3 }) {
        ControllerReply::AlterPartition(mut response) => {
            response.topics.remove(0).partitions.remove(0)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_isr_shrinks_and_grows_without_a_new_leader_epoch() {
    let mut cluster = three_in_sync();
    let answer = alter(&mut cluster, 0, &[0, 2], |_| {});
    assert_eq!((answer.error_code, answer.isr.as_slice()), (0, [0, 2].as_slice()));
    assert_eq!((answer.leader_epoch, answer.partition_epoch), (0, 1));
    let answer = alter(&mut cluster, 0, &[0, 1, 2], |_| {});
    assert_eq!((answer.isr.as_slice(), answer.partition_epoch), ([0, 1, 2].as_slice(), 2));
    let unchanged = alter(&mut cluster, 0, &[0, 1, 2], |_| {});
    assert_eq!((unchanged.error_code, unchanged.partition_epoch), (0, 2));
}

#[test]
fn what_is_wrong_first_is_answered() {
    type Set = fn(&mut PartitionData);
    let cases: [(i32, &[i32], Set, ErrorCode); 12] = [
        (0, &[0], |p| p.partition_index = 9, ErrorCode::UnknownTopicOrPartition),
        (0, &[0], |p| p.leader_epoch = 7, ErrorCode::NotController),
        (0, &[0], |p| p.partition_epoch = 7, ErrorCode::NotController),
        (1, &[9], |p| p.leader_epoch = -1, ErrorCode::FencedLeaderEpoch),
        (1, &[9], |p| p.partition_epoch = -1, ErrorCode::InvalidRequest),
        (0, &[9], |p| p.partition_epoch = -1, ErrorCode::InvalidUpdateVersion),
        (0, &[0, 3], |_| {}, ErrorCode::InvalidRequest),
        (0, &[0, 1, 1], |_| {}, ErrorCode::InvalidRequest),
        (0, &[1, 2], |_| {}, ErrorCode::InvalidRequest),
        (0, &[0, 1], |p| p.leader_recovery_state = 1, ErrorCode::InvalidRequest),
        (0, &[0], |p| p.leader_recovery_state = 1, ErrorCode::InvalidRequest),
        (0, &[0, 1], |p| p.new_isr_with_epochs[1].broker_epoch = 1, ErrorCode::IneligibleReplica),
    ];
    for (case, (broker, isr, set, code)) in cases.into_iter().enumerate() {
        let mut cluster = three_in_sync();
        let before = cluster.log.len();
        let answer = alter(&mut cluster, broker, isr, set);
        assert_eq!(ErrorCode::from_code(answer.error_code), code, "case {case}");
        assert_eq!(cluster.log.len(), before, "case {case}");
    }
}

#[test]
fn a_fenced_broker_is_not_eligible() {
    let mut cluster = three_in_sync();
    cluster.fence(2);
    assert_eq!(cluster.partition("t", 0).isr, [0, 1]);
    let answer = alter(&mut cluster, 0, &[0, 1, 2], |_| {});
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::IneligibleReplica);
}

#[test]
fn a_broker_that_stops_is_not_eligible() {
    let mut cluster = three_in_sync();
    cluster.create(assigned("moved", &[&[2, 1]]));
    cluster.heartbeat(2, |r| r.want_shut_down = true);
    let stopping = cluster.image().broker(2).unwrap();
    assert!(stopping.in_controlled_shutdown && !stopping.fenced);
    let answer = alter(&mut cluster, 0, &[0, 1, 2], |_| {});
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::IneligibleReplica);
}

#[test]
fn a_leader_that_recovers_says_when_it_has() {
    use crate::metadata::LeaderRecoveryState::{Recovered, Recovering};
    let mut cluster = Cluster::with(&[], &[("eligible.leader.replicas.version", 0)]);
    (0..2).for_each(|id| cluster.join(id));
    let unclean = [("unclean.leader.election.enable", Some("true"))];
    cluster.create(configured(assigned("t", &[&[0, 1]]), &unclean));
    cluster.fence(1);
    cluster.heartbeat(1, |_| {});
    cluster.fence(0);
    let elected = cluster.partition("t", 0);
    assert_eq!((elected.leader, elected.leader_recovery_state), (1, Recovering));
    cluster.heartbeat(0, |_| {});
    let still = alter(&mut cluster, 1, &[1], |p| p.leader_recovery_state = 1);
    assert_eq!((still.error_code, still.leader_recovery_state), (0, 1));
    let with_another = alter(&mut cluster, 1, &[1, 0], |p| p.leader_recovery_state = 1);
    assert_eq!(ErrorCode::from_code(with_another.error_code), ErrorCode::InvalidRequest);
    let done = alter(&mut cluster, 1, &[1, 0], |_| {});
    assert_eq!((done.error_code, done.leader_recovery_state), (0, 0));
    assert_eq!(cluster.partition("t", 0).leader_recovery_state, Recovered);
}

#[test]
fn a_stale_broker_epoch_alters_nothing() {
    let mut cluster = three_in_sync();
    let request = AlterPartitionRequest { broker_id: 0, broker_epoch: 1, ..Default::default() };
    let ControllerReply::AlterPartition(response) =
        cluster.ask(ControllerRequest::AlterPartition { request, version: 3 })
    else {
        panic!()
    };
    assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn producer_ids_come_in_blocks_of_a_thousand() {
    let mut cluster = Cluster::of(1);
    let ask = |cluster: &mut Cluster, broker_epoch: i64| {
        let request =
            AllocateProducerIdsRequest { broker_id: 0, broker_epoch, ..Default::default() };
        match cluster.ask(ControllerRequest::AllocateProducerIds(request)) {
            ControllerReply::AllocateProducerIds(r) => {
                (r.error_code, r.producer_id_start, r.producer_id_len)
            }
            other => panic!("{other:?}"),
        }
    };
    let epoch = cluster.image().broker(0).unwrap().epoch;
    assert_eq!(ask(&mut cluster, epoch), (0, 0, 1000));
    assert_eq!(ask(&mut cluster, epoch), (0, 1000, 1000));
    assert_eq!(ask(&mut cluster, epoch + 1).0, ErrorCode::StaleBrokerEpoch.code());
}

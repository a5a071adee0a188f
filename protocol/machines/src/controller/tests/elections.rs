use model::ErrorCode;
use wire::ElectLeadersRequest;
use wire::elect_leaders_request::TopicPartitions;

use super::*;
use crate::metadata::LeaderRecoveryState;

pub fn elect(
    cluster: &mut Cluster,
    kind: i8,
    topics: Option<&[(&str, &[i32])]>,
) -> Vec<(i32, ErrorCode)> {
    let named = |(topic, partitions): &(&str, &[i32])| TopicPartitions {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let request = ElectLeadersRequest {
        election_type: kind,
        topic_partitions: topics.map(|all| all.iter().map(named).collect()),
        ..Default::default()
    };
    let ControllerReply::ElectLeaders(response) =
        cluster.ask(ControllerRequest::ElectLeaders(request))
    else {
        panic!()
    };
    if response.error_code != 0 {
        return vec![(-1, ErrorCode::from_code(response.error_code))];
    }
    let results = response.replica_election_results.into_iter().flat_map(|r| r.partition_result);
    results.map(|r| (r.partition_id, ErrorCode::from_code(r.error_code))).collect()
}

/// t-0 on brokers 0, 1, 2, with this min.insync.replicas.
fn cluster_of_three(min_isr: &str, features: &[(&str, i16)]) -> Cluster {
    let mut cluster = Cluster::with(&[], features);
    (0..4).for_each(|id| cluster.join(id));
    cluster.create(configured(
        assigned("t", &[&[0, 1, 2]]),
        &[("min.insync.replicas", Some(min_isr))],
    ));
    cluster
}

fn back(cluster: &mut Cluster, id: i32) {
    cluster.heartbeat(id, |_| {});
}

/// The same broker as another process, which does not know the epoch from before.
fn crashed_and_back(cluster: &mut Cluster, id: i32) {
    assert_eq!(cluster.register(registration(id, 2)), ErrorCode::None);
    cluster.heartbeat(id, |_| {});
}

#[test]
fn without_enough_in_sync_who_leaves_stays_eligible() {
    let mut cluster = cluster_of_three("2", &[]);
    cluster.fence(0);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.leader, p.isr, p.elr), (1, vec![1, 2], vec![]));
    cluster.fence(1);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.leader, p.isr, p.elr), (2, vec![2], vec![1]));
    cluster.fence(2);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.leader, p.isr, p.elr, p.last_known_elr), (-1, vec![], vec![1, 2], vec![2]));
    // 0 was not eligible; 1 is, and is elected cleanly as the only one in sync.
    back(&mut cluster, 0);
    assert_eq!(cluster.partition("t", 0).leader, -1);
    back(&mut cluster, 1);
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.leader, p.isr, p.elr, p.last_known_elr), (1, vec![1], vec![2], vec![]));
    assert_eq!(p.leader_recovery_state, LeaderRecoveryState::Recovered);
}

#[test]
fn a_crash_costs_the_eligibility() {
    let mut cluster = cluster_of_three("3", &[]);
    cluster.fence(1);
    assert_eq!(cluster.partition("t", 0).elr, [1]);
    crashed_and_back(&mut cluster, 1);
    assert_eq!(cluster.partition("t", 0).elr, []);
}

#[test]
fn with_nobody_eligible_the_last_leader_is_taken_and_recovers() {
    let mut cluster = Cluster::of(1);
    cluster.create(assigned("t", &[&[0]]));
    cluster.fence(0);
    assert_eq!(cluster.partition("t", 0).last_known_elr, [0]);
    crashed_and_back(&mut cluster, 0);
    let p = cluster.partition("t", 0);
    assert_eq!((p.leader, p.isr.as_slice()), (0, [0].as_slice()));
    assert_eq!(p.leader_recovery_state, LeaderRecoveryState::Recovering);
}

#[test]
fn without_elr_the_last_in_sync_stays_in_the_isr() {
    let mut cluster = cluster_of_three("1", &[("eligible.leader.replicas.version", 0)]);
    (0..3).for_each(|id| cluster.fence(id));
    let p = cluster.partition("t", 0).clone();
    assert_eq!((p.leader, p.isr, p.elr), (-1, vec![2], vec![]));
    back(&mut cluster, 0);
    assert_eq!(cluster.partition("t", 0).leader, -1);
    back(&mut cluster, 2);
    assert_eq!(cluster.partition("t", 0).leader, 2);
}

#[test]
fn an_unclean_election_where_the_topic_allows_it() {
    let mut cluster = cluster_of_three("1", &[("eligible.leader.replicas.version", 0)]);
    (0..3).for_each(|id| cluster.fence(id));
    back(&mut cluster, 0);
    assert_eq!(cluster.fire(ControllerTimer::ElectUncleanLeaders), []);
    let allow = [("unclean.leader.election.enable", Some("true"))];
    cluster.create(configured(assigned("u", &[&[3, 0]]), &allow));
    cluster.fence(3);
    assert_eq!(cluster.partition("u", 0).leader, 0);
    assert_eq!(elect(&mut cluster, 1, Some(&[("t", &[0])])), [(0, ErrorCode::None)]);
    let p = cluster.partition("t", 0);
    assert_eq!((p.leader, p.isr.as_slice()), (0, [0].as_slice()));
    assert_eq!(p.leader_recovery_state, LeaderRecoveryState::Recovering);
}

#[test]
fn whether_an_unclean_election_is_allowed_is_read_in_any_case() {
    let features = [("eligible.leader.replicas.version", 0)];
    for (cluster_wide, topic, leader) in
        [("true", "FALSE", -1), ("false", "TRUE", 0), ("TRUE", "False", -1), ("False", "True", 0)]
    {
        let settings = [("unclean.leader.election.enable", cluster_wide)];
        let mut cluster = Cluster::with(&settings, &features);
        (0..2).for_each(|id| cluster.join(id));
        let set = [("unclean.leader.election.enable", Some(topic))];
        cluster.create(configured(assigned("t", &[&[0, 1]]), &set));
        cluster.fence(0);
        back(&mut cluster, 0);
        cluster.fence(1);
        assert_eq!(cluster.partition("t", 0).leader, leader, "{cluster_wide}, {topic}");
    }
}

#[test]
fn elections_beyond_the_first_thousand_follow_at_once() {
    let mut cluster = Cluster::with(&[], &[("eligible.leader.replicas.version", 0)]);
    (0..2).for_each(|id| cluster.join(id));
    cluster.create(assigned("t", &[[0, 1].as_slice(); 1_500]));
    // Out of sync, 0 is not elected when 1 goes.
    cluster.fence(0);
    back(&mut cluster, 0);
    cluster.fence(1);
    cluster.set_config("t", "unclean.leader.election.enable", "true");
    for (elected, at_once) in [(1_000, true), (500, false)] {
        assert_eq!(cluster.fire(ControllerTimer::ElectUncleanLeaders).len(), elected);
        let next = cluster.timers[&ControllerTimer::ElectUncleanLeaders];
        assert_eq!(next == cluster.now.mono, at_once, "after {elected}");
    }
}

#[test]
fn the_preferred_leader_on_request_and_by_itself() {
    let mut cluster = cluster_of_three("1", &[]);
    cluster.fence(0);
    back(&mut cluster, 0);
    assert_eq!(cluster.partition("t", 0).leader, 1);
    assert_eq!(
        elect(&mut cluster, 0, Some(&[("t", &[0])])),
        [(0, ErrorCode::PreferredLeaderNotAvailable)],
        "not in sync"
    );
    let epoch = cluster.partition("t", 0).leader_epoch;
    alter_isr(&mut cluster, "t", 0, &[1, 2, 0]);
    let records = cluster.fire(ControllerTimer::BalanceLeaders);
    assert_eq!(records.len(), 1);
    let p = cluster.partition("t", 0);
    assert_eq!((p.leader, p.leader_epoch), (0, epoch + 1));
    assert_eq!(elect(&mut cluster, 0, Some(&[("t", &[0])])), [(0, ErrorCode::ElectionNotNeeded)]);
    assert_eq!(elect(&mut cluster, 0, None), [], "all topics: what needs none is left out");
}

/// Its leader asks for this ISR.
pub fn alter_isr(cluster: &mut Cluster, topic: &str, id: i32, isr: &[i32]) {
    use wire::alter_partition_request::{PartitionData, TopicData};
    let p = cluster.partition(topic, id);
    let partition = PartitionData {
        partition_index: id,
        leader_epoch: p.leader_epoch,
        partition_epoch: p.partition_epoch,
        new_isr: isr.to_vec(),
        ..Default::default()
    };
    let (broker_id, topic_id) = (p.leader, cluster.image().topics.id_of(topic).unwrap());
    let topics = vec![TopicData { topic_id, partitions: vec![partition], ..Default::default() }];
    let broker_epoch = cluster.image().broker(broker_id).unwrap().epoch;
    let request =
        wire::AlterPartitionRequest { broker_id, broker_epoch, topics, ..Default::default() };
    cluster.ask(ControllerRequest::AlterPartition { request, version: 2 });
    assert_eq!(cluster.partition(topic, id).isr, isr);
}

#[test]
fn elections_of_what_does_not_exist() {
    let mut cluster = cluster_of_three("1", &[]);
    assert_eq!(
        elect(&mut cluster, 0, Some(&[("none", &[0])])),
        [(0, ErrorCode::UnknownTopicOrPartition)]
    );
    assert_eq!(
        elect(&mut cluster, 0, Some(&[("t", &[5])])),
        [(5, ErrorCode::UnknownTopicOrPartition)]
    );
    assert_eq!(elect(&mut cluster, 1, Some(&[("t", &[0])])), [(0, ErrorCode::ElectionNotNeeded)]);
    assert_eq!(elect(&mut cluster, 7, None), [(-1, ErrorCode::InvalidRequest)]);
}

#[test]
fn before_3_6_an_isr_shrink_is_a_new_leader_epoch() {
    let mut old = Cluster::with(&[], &[("metadata.version", 11)]);
    for id in 0..2 {
        old.register(registration(id, 1));
        old.heartbeat(id, |_| {});
    }
    old.create(assigned("t", &[&[0, 1]]));
    old.fence(1);
    assert_eq!((old.partition("t", 0).leader, old.partition("t", 0).leader_epoch), (0, 1));
}

use model::{ErrorCode, Uuid};
use wire::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};

use super::elections::{alter_isr, elect};
use super::*;

const FAILED: Uuid = Uuid::from_u128(0xd010);

/// Brokers 0, with two directories, and 1; t-0 and t-1 on both, led by 0, t-0 in its first directory, t-1 in the other.
fn two_brokers(configs: &[(&str, Option<&str>)], features: &[(&str, i16)]) -> Cluster {
    let mut cluster = Cluster::with(&[], features);
    let mut two_dirs = registration(0, 1);
    two_dirs.log_dirs = vec![directory(0), FAILED];
    cluster.register(two_dirs);
    cluster.heartbeat(0, |_| {});
    cluster.join(1);
    cluster.create(configured(assigned("t", &[&[0, 1], &[0, 1]]), configs));
    assign(&mut cluster, 0, directory(0));
    assign(&mut cluster, 1, FAILED);
    cluster
}

/// Broker 0 says where its replica of the partition is.
fn assign(cluster: &mut Cluster, partition_index: i32, id: Uuid) {
    let topic_id = cluster.image().topics.id_of("t").unwrap();
    let partitions = vec![PartitionData { partition_index, ..Default::default() }];
    let topics = vec![TopicData { topic_id, partitions, ..Default::default() }];
    let directories = vec![DirectoryData { id, topics, ..Default::default() }];
    let broker_epoch = cluster.image().broker(0).unwrap().epoch;
    let request = wire::AssignReplicasToDirsRequest {
        broker_id: 0,
        broker_epoch,
        directories,
        ..Default::default()
    };
    let reply = cluster.ask(ControllerRequest::AssignReplicasToDirs(request));
    let ControllerReply::AssignReplicasToDirs(response) = reply else { panic!("{reply:?}") };
    assert_eq!(response.directories[0].topics[0].partitions[0].error_code, 0);
    assert_eq!(cluster.partition("t", partition_index).directory(0), Some(id));
}

fn fail(cluster: &mut Cluster) {
    cluster.heartbeat(0, |r| r.offline_log_dirs = vec![FAILED]);
    assert_eq!(cluster.image().broker(0).unwrap().directories, [directory(0)]);
}

fn leader_and_isr(cluster: &Cluster, id: i32) -> (i32, Vec<i32>) {
    let p = cluster.partition("t", id);
    (p.leader, p.isr.clone())
}

#[test]
fn a_directory_that_fails_takes_its_replicas_out_of_sync() {
    let mut cluster = two_brokers(&[], &[]);
    fail(&mut cluster);
    assert_eq!(leader_and_isr(&cluster, 0), (0, vec![0, 1]));
    assert_eq!(leader_and_isr(&cluster, 1), (1, vec![1]));
}

#[test]
fn a_replica_in_a_directory_that_is_gone_is_not_elected() {
    let mut cluster = two_brokers(&[("min.insync.replicas", Some("2"))], &[]);
    fail(&mut cluster);
    assert_eq!(cluster.partition("t", 1).elr, [0], "eligible, were its directory there");
    alter_isr(&mut cluster, "t", 1, &[1, 0]);
    assert_eq!(
        elect(&mut cluster, 0, Some(&[("t", &[1])])),
        [(1, ErrorCode::PreferredLeaderNotAvailable)]
    );
    cluster.fence(0);
    cluster.fence(1);
    cluster.heartbeat(0, |_| {});
    assert_eq!((cluster.partition("t", 0).leader, cluster.partition("t", 1).leader), (0, -1));
    assert_eq!(
        elect(&mut cluster, 1, Some(&[("t", &[1])])),
        [(1, ErrorCode::EligibleLeadersNotAvailable)]
    );
}

#[test]
fn an_assignment_to_a_directory_that_is_not_there_moves_the_leader() {
    let unknown = Uuid::from_u128(0xd999);
    for directory in [unknown, FAILED, Uuid::LOST_DIRECTORY] {
        let mut cluster = two_brokers(&[], &[]);
        fail(&mut cluster);
        assign(&mut cluster, 0, directory);
        assert_eq!(leader_and_isr(&cluster, 0), (1, vec![1]), "{directory}");
    }
}

#[test]
fn an_assignment_to_a_failed_directory_elects_uncleanly_where_the_topic_allows_it() {
    for (allowed, leader) in [("true", 1), ("false", -1)] {
        let mut cluster = two_brokers(
            &[("unclean.leader.election.enable", Some(allowed))],
            &[("eligible.leader.replicas.version", 0)],
        );
        alter_isr(&mut cluster, "t", 0, &[0]);
        assign(&mut cluster, 0, Uuid::LOST_DIRECTORY);
        assert_eq!(cluster.partition("t", 0).leader, leader, "{allowed}");
    }
}

#[test]
fn a_replica_that_comes_back_to_a_directory_leads_where_nobody_else_may() {
    for elr in [0, 1] {
        let mut cluster = two_brokers(&[], &[("eligible.leader.replicas.version", elr)]);
        alter_isr(&mut cluster, "t", 0, &[0]);
        assign(&mut cluster, 0, Uuid::LOST_DIRECTORY);
        assert_eq!(cluster.partition("t", 0).leader, -1);
        assign(&mut cluster, 0, directory(0));
        assert_eq!(leader_and_isr(&cluster, 0), (0, vec![0]), "elr {elr}");
        assign(&mut cluster, 1, Uuid::LOST_DIRECTORY);
        assign(&mut cluster, 1, directory(0));
        assert_eq!(leader_and_isr(&cluster, 1), (1, vec![1]), "another leads");
    }
}

#[test]
fn cordoned_directories_take_no_new_replicas() {
    let mut cluster = Cluster::of(2);
    cluster.heartbeat(0, |r| r.cordoned_log_dirs = Some(vec![directory(0)]));
    cluster.create(topic("t", 4, 1));
    assert!(
        cluster.image().topics.by_name("t").unwrap().partitions.values().all(|p| p.leader == 1)
    );
    let refused = cluster.create(assigned("u", &[&[0]]));
    assert!(refused.error_message.unwrap().contains("all its log directories are cordoned"));
    let before = cluster.log.len();
    cluster.heartbeat(0, |r| r.cordoned_log_dirs = Some(vec![directory(0)]));
    assert_eq!(cluster.log.len(), before, "nothing new, nothing written");
}

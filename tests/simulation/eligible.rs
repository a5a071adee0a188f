//! A broker that comes back after an orderly stop is trusted with what it held, and leads; one that died is not, as its last records
//! may be lost (KIP-966). The controller knows them apart by the previous broker epoch that a registration names.

use std::sync::Arc;
use std::time::Duration;

use machines::metadata::PartitionRegistration;
use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, NodeIndex, SimFault, SimOptions};
use wire::CreateTopicsRequest;
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};

use crate::cluster::LIMIT;

const TOPIC: &str = "held";
/// The first votes, and holds nothing; the others have a replica each.
const LEADER: i32 = 2;
const FOLLOWER: i32 = 3;
const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

fn file() -> String {
    let node = |id: i32, rest: &str| {
        format!("[[node]]\nid = {id}\nlisten = \"n{id}:9092\"\ndata = \"/data\"\n{rest}\n")
    };
    let broker = "roles = [\"broker\"]";
    node(1, "controller = \"n1:9093\"") + &node(LEADER, broker) + &node(FOLLOWER, broker)
}

/// One partition, of which a record is committed when two replicas have it.
pub async fn create(life: Life, name: &str, broker_ids: Vec<i32>) {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let value = Some("2".to_owned());
    let min = CreatableTopicConfig {
        name: "min.insync.replicas".to_owned(),
        value,
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { broker_ids, ..Default::default() }],
        configs: vec![min],
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
    loop {
        if let Ok(connection) = Connection::open(&life.world, "n1", 9092, &config).await {
            let answer = connection.request(&request, LIMIT).await;
            if answer.is_ok_and(|answer| answer.topics.iter().all(|topic| topic.error_code == 0)) {
                return;
            }
        }
        life.world.sleep(Duration::from_millis(10)).await;
    }
}

fn partition(cluster: &Cluster) -> Option<Arc<PartitionRegistration>> {
    let image = cluster.view(1)?.metadata();
    image.topics.by_name(TOPIC)?.partitions.get(&0).cloned()
}

fn until(cluster: &mut Cluster, what: &str, is_so: impl Fn(&PartitionRegistration) -> bool) {
    let reached = cluster.run_until(SOON, |cluster| partition(cluster).is_some_and(|p| is_so(&p)));
    assert!(reached, "not {what}: {:?}", partition(cluster));
}

/// The epoch of a broker that serves.
fn serving(cluster: &Cluster, id: i32) -> Option<i64> {
    let image = cluster.view(1)?.metadata();
    image.broker(id).filter(|broker| !broker.fenced).map(|broker| broker.epoch)
}

/// Both replicas go, the follower before its leader; the follower comes back alone.
fn follower_alone(clean: bool) -> Cluster {
    let mut cluster = Cluster::new(SimOptions::seed(5), &file()).expect("a cluster's file");
    cluster.world.add_node("admin", |life| create(life, TOPIC, vec![LEADER, FOLLOWER]));
    until(&mut cluster, "in sync", |p| p.isr.len() == 2);
    let before = serving(&cluster, FOLLOWER);
    let node = |id: i32| NodeIndex(id as usize - 1);
    cluster.world.inject(match clean {
        true => SimFault::Stop { node: node(FOLLOWER) },
        false => SimFault::Kill { node: node(FOLLOWER), down: Duration::from_secs(2) },
    });
    until(&mut cluster, "eligible", |p| p.isr == [LEADER] && p.elr == [FOLLOWER]);
    cluster.world.inject(SimFault::Kill { node: node(LEADER), down: LONG });
    until(&mut cluster, "without a leader", |p| p.leader == -1 && p.isr.is_empty());
    let is_back =
        |cluster: &Cluster| serving(cluster, FOLLOWER).is_some_and(|now| Some(now) != before);
    assert!(cluster.run_until(SOON, is_back), "the follower does not come back");
    cluster
}

#[test]
fn who_stopped_in_order_leads_and_who_died_waits_for_one_that_held_all() {
    let mut trusted = follower_alone(true);
    until(&mut trusted, "led by the follower", |p| p.leader == FOLLOWER && p.isr == [FOLLOWER]);

    let mut distrusted = follower_alone(false);
    distrusted.run_for(SOON);
    let left = partition(&distrusted).expect("a partition");
    assert_eq!((left.leader, left.isr.len()), (-1, 0), "{left:?}");
    assert_eq!(left.elr, [LEADER], "who led last may still have all");
    assert!(distrusted.run_until(LONG, |cluster| serving(cluster, LEADER).is_some()));
    until(&mut distrusted, "led by who led last", |p| p.leader == LEADER);
}

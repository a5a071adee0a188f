//! A leader whose actor fails again and again is given up: others lead what it led, and it is back after a while.

use std::time::Duration;

use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, NodeIndex, SimFault, SimOptions};

use crate::cluster::{LIMIT, NODES, file};
use crate::gone::{TOPIC, create, leader};

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(90);

async fn make(life: Life) {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    loop {
        life.world.sleep(Duration::from_millis(100)).await;
        if let Ok(any) = Connection::open(&life.world, "n4", 9092, &config).await {
            create(&any).await;
            if leader(&any).await.is_some_and(|id| id > 0) {
                return;
            }
        }
    }
}

/// Who leads and who is in sync, as a node knows that has nothing to do with it.
fn known(cluster: &Cluster, asked: i32) -> Option<(i32, Vec<i32>)> {
    let metadata = cluster.view(asked)?.metadata();
    let partition = metadata.topics.by_name(TOPIC)?.partition(0)?;
    Some((partition.leader, partition.isr.clone()))
}

#[test]
fn what_a_broker_gave_up_others_lead_until_it_is_back() {
    let mut cluster = Cluster::new(SimOptions::seed(0), &file()).expect("a cluster's file");
    cluster.world.add_node("maker", make);
    let all_in_sync = |cluster: &Cluster| {
        known(cluster, 1).is_some_and(|(leader, isr)| leader > 0 && isr.len() == NODES.len())
    };
    assert!(cluster.run_until(SOON, all_in_sync), "{:?}", known(&cluster, 1));
    let (first, _) = known(&cluster, 1).expect("a leader");
    let other = if first == 1 { 2 } else { 1 };
    let node = NodeIndex(usize::try_from(first - 1).expect("a leader"));
    let served = |cluster: &Cluster| {
        let view = cluster.view(first).expect("it is up");
        view.replica(TOPIC, 0).is_some_and(|replica| replica.leads)
    };
    let others_lead =
        |cluster: &Cluster| known(cluster, other).is_some_and(|(leader, _)| leader != first);
    while !others_lead(&cluster) {
        let path_contains = format!("partitions/{TOPIC}-0");
        cluster.world.inject(SimFault::Panic { node, path_contains, skip: 0 });
        assert!(cluster.run_until(LATER, |cluster| !served(cluster)), "its actor goes on");
        let led = cluster.run_until(SOON, |cluster| served(cluster) || others_lead(cluster));
        assert!(led, "broker {first} leads for good");
    }
    let (leader, isr) = known(&cluster, other).expect("a leader");
    assert!(leader > 0 && !isr.contains(&first), "{leader} leads, {isr:?} in sync");
    assert!(cluster.run_until(LATER, all_in_sync), "{:?}", known(&cluster, other));
}

//! The process of the active controller dies: another one is active long before any timeout has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use ottla::client::ClientConfig;
use ottla::sim::{Cluster, Life, LinkOptions, NodeIndex, SimFault, SimOptions};

use crate::cluster::{LIMIT, describe, file};

/// Until an observer knows, too; where no segment is lost, each of which costs the 200 ms until it is sent again.
const AT_MOST: Duration = Duration::from_millis(500);
/// A new cluster has its first leader so soon, though the nodes start one after the other.
const FIRST: Duration = Duration::from_millis(500);
const DOWN: Duration = Duration::from_secs(3);

/// Keeps up whom an observer of the quorum takes for its leader.
async fn watch(life: Life, leader: Arc<AtomicI32>) {
    let config = ClientConfig { connect_timeout: LIMIT, ..ClientConfig::default() };
    loop {
        if let Some(described) = describe(&life, &config).await {
            leader.store(described.leader_id, Ordering::Relaxed);
        }
        life.world.sleep(Duration::from_millis(1)).await;
    }
}

/// How long until another one than `old` leads.
fn until_led(cluster: &mut Cluster, leader: &AtomicI32, old: i32, limit: Duration) -> Duration {
    let begin = cluster.world.now();
    cluster.run_until(limit, |_| leader.load(Ordering::Relaxed) != old);
    cluster.world.now() - begin
}

#[test]
fn a_controller_that_dies_is_replaced_at_once() {
    let mut most = Duration::ZERO;
    for seed in 0..6 {
        let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
        let options = SimOptions { link, ..SimOptions::seed(seed) };
        let mut cluster = Cluster::new(options, &file()).expect("a cluster's file");
        let leader = Arc::new(AtomicI32::new(-1));
        let kept = leader.clone();
        cluster.world.add_node("client", move |life| watch(life, kept.clone()));
        let took = until_led(&mut cluster, &leader, -1, LIMIT);
        assert!(took < FIRST, "seed {seed}: {took:?} until the first one leads");
        for kill in 0..3 {
            // Until all have what it says, and who was killed is back.
            cluster.run_for(DOWN + Duration::from_secs(1));
            let old = leader.load(Ordering::Relaxed);
            let node = NodeIndex(usize::try_from(old - 1).expect("a leader"));
            cluster.world.inject(SimFault::Kill { node, down: DOWN });
            let took = until_led(&mut cluster, &leader, old, LIMIT);
            assert!(took < AT_MOST, "seed {seed}, kill {kill}: {took:?} until another one leads");
            most = most.max(took);
        }
    }
    println!("another one led after {most:?} at most");
}

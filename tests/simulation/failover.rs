//! The process of the active controller dies: another one is active long before any timeout has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use ottla::client::ClientConfig;
use ottla::runtime::sim::{Life, LinkOptions, NodeIndex, SimFault, SimOptions, Simulation};

use crate::quorum::{LIMIT, NODES, describe, serve};

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
fn until_led(world: &mut Simulation, leader: &AtomicI32, old: i32, limit: Duration) -> Duration {
    let begin = world.now();
    while leader.load(Ordering::Relaxed) == old && world.now() < begin + limit {
        world.run_for(Duration::from_millis(1));
    }
    world.now() - begin
}

#[test]
fn a_controller_that_dies_is_replaced_at_once() {
    let mut most = Duration::ZERO;
    for seed in 0..6 {
        let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
        let mut world = Simulation::new(SimOptions { link, ..SimOptions::seed(seed) });
        for (index, name) in NODES.iter().enumerate() {
            world.add_node(name, move |life| serve(life, index, Arc::default()));
        }
        let leader = Arc::new(AtomicI32::new(-1));
        let kept = leader.clone();
        world.add_node("client", move |life| watch(life, kept.clone()));
        let took = until_led(&mut world, &leader, -1, LIMIT);
        assert!(took < FIRST, "seed {seed}: {took:?} until the first one leads");
        for kill in 0..3 {
            // Until all have what it says, and who was killed is back.
            world.run_for(DOWN + Duration::from_secs(1));
            let old = leader.load(Ordering::Relaxed);
            let node = NodeIndex(usize::try_from(old - 1).expect("a leader"));
            world.inject(SimFault::Kill { node, down: DOWN });
            let took = until_led(&mut world, &leader, old, LIMIT);
            assert!(took < AT_MOST, "seed {seed}, kill {kill}: {took:?} until another one leads");
            most = most.max(took);
        }
    }
    println!("another one led after {most:?} at most");
}

//! A broker whose process dies is fenced at once, whoever leads the metadata log; one that is stopped or cut off when its session ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, LinkOptions, NodeIndex, SimFault, SimOptions};
use wire::MetadataRequest;

use crate::cluster::{LIMIT, NODES, file};

/// Where no segment is lost: each one costs the 200 ms until it is sent again.
const AT_ONCE: Duration = Duration::from_millis(300);
/// With the death of the active controller, whose successor must be elected first.
const WITH_ELECTION: Duration = Duration::from_millis(800);
/// `broker.session.timeout.ms`
const SESSION: Duration = Duration::from_secs(9);
/// Of a session some may have passed when the broker is last heard of, and it ends by a look once in an eighth of it.
const HEARTBEAT: Duration = Duration::from_secs(2);
const DOWN: Duration = Duration::from_secs(20);

/// Which brokers a node tells its clients of.
#[derive(Default, Clone)]
struct Seen(Arc<Mutex<BTreeSet<i32>>>);

impl Seen {
    fn get(&self) -> BTreeSet<i32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn watch(life: Life, name: &'static str, seen: Seen) {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    loop {
        if let Ok(connection) = Connection::open(&life.world, name, 9092, &config).await {
            while let Ok(answer) = connection.request(&none, LIMIT).await {
                let brokers = answer.brokers.iter().map(|broker| broker.node_id).collect();
                *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = brokers;
                life.world.sleep(Duration::from_millis(1)).await;
            }
        }
        life.world.sleep(Duration::from_millis(1)).await;
    }
}

struct Watched {
    cluster: Cluster,
    seen: Vec<Seen>,
}

impl Watched {
    fn start(seed: u64) -> Watched {
        let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
        let options = SimOptions { link, ..SimOptions::seed(seed) };
        let mut cluster = Cluster::new(options, &file()).expect("a cluster's file");
        let seen: Vec<Seen> = NODES.iter().map(|_| Seen::default()).collect();
        for (name, seen) in NODES.into_iter().zip(&seen) {
            let seen = seen.clone();
            cluster.world.add_node(&format!("client-of-{name}"), move |life| {
                watch(life, name, seen.clone())
            });
        }
        let mut watched = Watched { cluster, seen };
        watched.until_all_serve();
        watched
    }

    fn until_all_serve(&mut self) {
        let all = BTreeSet::from([1, 2, 3, 4]);
        let begin = self.cluster.world.now();
        while self.seen.iter().any(|seen| seen.get() != all) {
            assert!(self.cluster.world.now() < begin + 3 * DOWN, "{:?}", self.seen[0].get());
            self.cluster.run_for(Duration::from_millis(1));
        }
        // Until the controllers have greeted them.
        self.cluster.run_for(Duration::from_secs(1));
    }

    /// How long until all others tell their clients of it no more.
    fn until_fenced(&mut self, node: usize, limit: Duration) -> Duration {
        let begin = self.cluster.world.now();
        let id = node as i32 + 1;
        let told = |seen: &[Seen]| {
            seen.iter().enumerate().any(|(at, seen)| at != node && seen.get().contains(&id))
        };
        while told(&self.seen) && self.cluster.world.now() < begin + limit {
            self.cluster.run_for(Duration::from_millis(1));
        }
        self.cluster.world.now() - begin
    }
}

#[test]
fn a_broker_that_dies_is_fenced_at_once_also_with_the_controller() {
    for seed in 0..3 {
        let mut watched = Watched::start(seed);
        // One of the first three is the active controller.
        for node in [3, 0, 1, 2] {
            watched.cluster.world.inject(SimFault::Kill { node: NodeIndex(node), down: DOWN });
            let took = watched.until_fenced(node, 2 * SESSION);
            let limit = if node == 3 { AT_ONCE } else { WITH_ELECTION };
            assert!(took < limit, "{took:?} until broker {} is fenced", node + 1);
            println!("broker {} was fenced after {took:?}", node + 1);
            watched.cluster.run_for(DOWN);
            watched.until_all_serve();
        }
    }
}

#[test]
fn a_broker_that_is_stopped_or_cut_off_keeps_its_session() {
    let mut watched = Watched::start(7);
    let node = NodeIndex(3);
    let stopped = SimFault::Pause { node, lasting: DOWN };
    let cut_off: Vec<SimFault> = (0..3)
        .flat_map(|other| {
            let (lasting, other) = (DOWN, NodeIndex(other));
            [
                SimFault::Partition { from: node, to: other, lasting },
                SimFault::Partition { from: other, to: node, lasting },
            ]
        })
        .collect();
    for faults in [vec![stopped], cut_off] {
        faults.into_iter().for_each(|fault| watched.cluster.world.inject(fault));
        let took = watched.until_fenced(3, 2 * SESSION);
        assert!(took >= SESSION - HEARTBEAT && took < 2 * SESSION, "fenced after {took:?}");
        watched.cluster.run_for(DOWN);
        watched.until_all_serve();
    }
}

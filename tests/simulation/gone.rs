//! A broker whose process dies is fenced at once, whoever leads the metadata log; one that is stopped or cut off when its session ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla::client::{ClientConfig, Connection};
use ottla::runtime::ListenOptions;
use ottla::sim::{Cluster, Life, LinkOptions, NodeIndex, SimFault, SimOptions};
use wire::create_topics_request::CreatableTopic;
use wire::metadata_request::MetadataRequestTopic;
use wire::{CreateTopicsRequest, DescribeClusterRequest, MetadataRequest};

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
/// Longer than one that begins to serve is looked for at first.
const LATE: Duration = Duration::from_secs(6);

/// Which brokers are not fenced, by what a node says.
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
    let request = DescribeClusterRequest::default();
    loop {
        if let Ok(connection) = Connection::open(&life.world, name, 9092, &config).await {
            while let Ok(answer) = connection.request(&request, LIMIT).await {
                let brokers = answer.brokers.iter().map(|broker| broker.broker_id).collect();
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
        Watched::start_of(seed, &file())
    }

    fn start_of(seed: u64, file: &str) -> Watched {
        let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
        let options = SimOptions { link, ..SimOptions::seed(seed) };
        let mut cluster = Cluster::new(options, file).expect("a cluster's file");
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
        self.cluster.run_for(Duration::from_millis(300));
    }

    /// What is found in the end, and how long that took.
    fn until<T>(&mut self, look: impl Fn() -> Option<T>) -> (T, Duration) {
        let begin = self.cluster.world.now();
        loop {
            let took = self.cluster.world.now() - begin;
            if let Some(found) = look() {
                return (found, took);
            }
            assert!(took < DOWN, "nothing is found");
            self.cluster.run_for(Duration::from_millis(1));
        }
    }

    /// How long until it is fenced, as all others know.
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

/// Where broker 4 says that it is reached: something before it, which begins to listen later, and lives as long.
async fn listen_late(life: Life) {
    life.world.sleep(LATE).await;
    let options = ListenOptions::default();
    let listener = life.world.net().listen("late", 9092, options).await.expect("a listener");
    while listener.accept().await.is_ok() {}
}

#[test]
fn one_that_is_reached_only_later_is_fenced_at_once_too() {
    let last = "listen = \"n4:9092\"\n";
    let mut watched =
        Watched::start_of(3, &file().replace(last, &format!("{last}advertised = \"late:9092\"\n")));
    let late = watched.cluster.world.add_node("late", listen_late);
    watched.cluster.run_for(2 * LATE);
    for node in [NodeIndex(3), late] {
        watched.cluster.world.inject(SimFault::Kill { node, down: DOWN });
    }
    let took = watched.until_fenced(3, 2 * SESSION);
    assert!(took < AT_ONCE, "{took:?}");
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

pub const TOPIC: &str = "led";

/// Who leads, as a client is told that asks one node as soon as another has ended its connection.
async fn told_at_once(life: &Life, asked: &Connection, dying: &Connection) -> Option<i32> {
    while dying.request(&DescribeClusterRequest::default(), LIMIT).await.is_ok() {
        life.world.sleep(Duration::from_millis(1)).await;
    }
    leader(asked).await
}

pub async fn leader(asked: &Connection) -> Option<i32> {
    let named = MetadataRequestTopic { name: Some(TOPIC.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
    let answer = asked.request(&request, LIMIT).await.ok()?;
    answer.topics.first()?.partitions.first().map(|partition| partition.leader_id)
}

pub async fn create(asked: &Connection) {
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 4,
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
    drop(asked.request(&request, LIMIT).await);
}

#[derive(Default, Clone)]
struct Told(Arc<Mutex<(Option<i32>, Option<i32>)>>);

impl Told {
    fn get(&self) -> (Option<i32>, Option<i32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes who leads, and who does when that node has ended its connection.
async fn lose_the_leader(life: Life, told: Told) {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let connect = async |id: i32| {
        let name = NODES.get(usize::try_from(id - 1).ok()?)?;
        Connection::open(&life.world, name, 9092, &config).await.ok()
    };
    loop {
        life.world.sleep(Duration::from_millis(10)).await;
        let Some(any) = connect(4).await else { continue };
        create(&any).await;
        let Some(first) = leader(&any).await.filter(|id| *id > 0) else { continue };
        let other = if first == 4 { 3 } else { 4 };
        let (Some(asked), Some(dying)) = (connect(other).await, connect(first).await) else {
            continue;
        };
        // It was reached while it lived.
        if leader(&asked).await != Some(first) {
            continue;
        }
        told.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(first);
        let next = told_at_once(&life, &asked, &dying).await;
        told.0.lock().unwrap_or_else(PoisonError::into_inner).1 = next;
        return;
    }
}

#[test]
fn who_asks_at_once_when_a_leader_dies_is_told_of_the_next() {
    for seed in 0..4 {
        let mut watched = Watched::start(seed);
        let told = Told::default();
        let client = told.clone();
        watched.cluster.world.add_node("loser", move |life| lose_the_leader(life, client.clone()));
        let (first, _) = watched.until(|| told.get().0);
        let node = NodeIndex(first as usize - 1);
        watched.cluster.world.inject(SimFault::Kill { node, down: DOWN });
        let (next, until_told) = watched.until(|| told.get().1);
        assert!(
            next > 0 && next != first,
            "broker {first} died, and broker {next} is said to lead"
        );
        assert!(until_told < WITH_ELECTION, "{until_told:?}");
    }
}

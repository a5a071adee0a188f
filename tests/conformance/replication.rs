//! Three nodes, each a process, and topics with a replica on each: what was acknowledged by all is there whoever dies, and in the end
//! all replicas hold the very same bytes.

use crate::clients;
use crate::cluster::{self, NODES};
use crate::flights::{self, Flight, digest};
use crate::node::{self, Node};
use crate::requests;
use rdkafka::consumer::Consumer;
use rdkafka::producer::Producer;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A dead broker is noticed soon, and a live one is asked again soon.
const SETTINGS: [&str; 4] = [
    "\"broker.session.timeout.ms\" = 2000",
    "\"broker.heartbeat.interval.ms\" = 200",
    "\"replica.fetch.backoff.ms\" = 100",
    "\"replica.lag.time.max.ms\" = 2000",
];

fn is_foreign() -> bool {
    let foreign = std::env::var_os("OTTLA_BOOTSTRAP").is_some();
    if foreign {
        eprintln!("SKIPPED: it needs processes of its own, OTTLA_BOOTSTRAP is set");
    }
    foreign
}

/// All that a replica's segments hold, one after the other.
fn log_of(home: &Path, index: usize, topic: &str, partition: i32) -> Vec<u8> {
    let dir = home.join(format!("data-{index}")).join(format!("{topic}-{partition}"));
    let Ok(entries) = fs::read_dir(&dir) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|ext| ext == "log");
    let mut segments: Vec<_> = paths.filter(is_log).collect();
    segments.sort();
    segments.iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect()
}

/// Until all replicas of a partition hold the same, which is something.
fn wait_until_equal(home: &Path, topic: &str, partition: i32) -> Vec<u8> {
    let begin = Instant::now();
    loop {
        let logs: Vec<_> = (0..NODES).map(|node| log_of(home, node, topic, partition)).collect();
        if logs.iter().all(|log| *log == logs[0]) && !logs[0].is_empty() {
            return logs.into_iter().next().expect("three");
        }
        let sizes: Vec<usize> = logs.iter().map(Vec::len).collect();
        let limit = Duration::from_secs(60);
        assert!(begin.elapsed() < limit, "{topic}-{partition} differs: {sizes:?} bytes");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Produces until it is told to stop; answers what was produced, all of it acknowledged.
fn produce_until(
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
    bootstrap: &str,
    topic: &str,
) -> Vec<Flight> {
    let producer = clients::producer(bootstrap, &[("acks", "all"), ("linger.ms", "5")]);
    let context = producer.context().clone();
    let all = flights::make_up(20_000);
    let mut flights = all.iter().cycle();
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for flight in flights.by_ref().take(50) {
            clients::send(&producer, topic, flight);
            sent.push(flight.clone());
        }
        producer.poll(Duration::from_millis(10));
        acknowledged.store(context.acknowledged.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    producer.flush(clients::LIMIT).expect("all acknowledged");
    assert_eq!(context.refused.load(Ordering::Relaxed), 0);
    assert_eq!(context.acknowledged.load(Ordering::Relaxed), sent.len());
    sent
}

/// Also where the test fails: else its producer would go on.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Until so many more are acknowledged.
fn wait_for_more(acknowledged: &AtomicUsize) {
    let before = acknowledged.load(Ordering::Relaxed);
    let begin = Instant::now();
    while acknowledged.load(Ordering::Relaxed) < before + 500 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is acknowledged any more");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn acknowledged_records_outlive_the_death_of_each_replica_and_all_hold_the_same_bytes() {
    if is_foreign() {
        return;
    }
    let _turn = node::turn();
    let (mut nodes, home) = cluster::start(&SETTINGS);
    let topic = crate::unique("replicated");
    let configs = [("min.insync.replicas", "2"), ("segment.bytes", "1048576")];
    let shape = (clients::PARTITIONS, NODES as i16);
    requests::create_replicated(&mut nodes[1].connect(), &topic, shape, &configs);
    let bootstrap: Vec<String> = nodes.iter().map(Node::bootstrap).collect();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flights = thread::scope(|scope| {
        let _stop = Stop(&stop);
        let producing =
            scope.spawn(|| produce_until(&stop, &acknowledged, &bootstrap.join(","), &topic));
        wait_for_more(&acknowledged);
        for victim in (0..NODES).chain(0..NODES) {
            // Others lead what it led.
            nodes[victim].kill_and_restart_after(|_| wait_for_more(&acknowledged));
            wait_for_more(&acknowledged);
        }
        stop.store(true, Ordering::Relaxed);
        producing.join().expect("a producer")
    });
    cluster::wait_until_led(&bootstrap[0], &topic);
    for partition in 0..clients::PARTITIONS {
        wait_until_equal(home.path(), &topic, partition);
    }
    let read = clients::in_order(clients::read_topic(&bootstrap[0], &topic));
    assert_eq!(digest(read.iter().map(|r| &r.flight)), digest(&flights));
}

fn leader_of(bootstrap: &str, topic: &str) -> usize {
    let client = clients::member(bootstrap, "observer", &[]);
    let begin = Instant::now();
    loop {
        let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10));
        let led = metadata.as_ref().ok().and_then(|m| m.topics().first()).and_then(|topic| {
            topic.partitions().first().filter(|p| p.leader() > 0).map(|p| p.leader() as usize - 1)
        });
        if let Some(leader) = led {
            return leader;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{topic} has no leader");
    }
}

pub fn pid_of(node: &Node) -> Pid {
    node.pid().and_then(|pid| Pid::from_raw(pid as i32)).expect("a process")
}

fn flight(value: &str) -> Flight {
    Flight { key: "N1".to_owned(), value: value.to_owned() }
}

#[test]
fn a_leader_that_nobody_followed_gives_up_what_it_alone_has() {
    if is_foreign() {
        return;
    }
    let _turn = node::turn();
    let (mut nodes, home) = cluster::start(&SETTINGS);
    let topic = crate::unique("diverging");
    requests::create_replicated(&mut nodes[0].connect(), &topic, (1, NODES as i16), &[]);
    let bootstrap: Vec<String> = nodes.iter().map(Node::bootstrap).collect();
    let all = bootstrap.join(",");
    let leader = leader_of(&all, &topic);
    let produce = |to: &str, acks: &str, values: &[&str]| {
        let settings = [("acks", acks), ("enable.idempotence", "false"), ("linger.ms", "0")];
        let producer = clients::producer(to, &settings);
        for value in values {
            clients::produce(&producer, &topic, &[flight(value)]);
        }
    };
    produce(&all, "all", &["common"]);
    let followers: Vec<Pid> =
        (0..NODES).filter(|node| *node != leader).map(|node| pid_of(&nodes[node])).collect();
    let tell = |signal| {
        for follower in &followers {
            kill_process(*follower, signal).expect("the signal is sent");
        }
    };
    tell(Signal::STOP);
    // What answers the fetches that were under way is on its way to them; what comes after it is not.
    produce(&bootstrap[leader], "1", &["perhaps", "lost one", "lost two", "lost three"]);
    nodes[leader].kill_and_restart_after(|_| tell(Signal::CONT));
    assert_ne!(leader_of(&all, &topic), leader);
    produce(&all, "all", &["kept one", "kept two"]);
    let log = wait_until_equal(home.path(), &topic, 0);
    let holds = |value: &str| log.windows(value.len()).any(|part| part == value.as_bytes());
    assert!(holds("common") && holds("kept one") && holds("kept two"));
    assert!(!holds("lost"), "what no other replica had is gone");
}

//! Each actor of a node ends as by a bug of its own, and the node goes on.

use crate::clients;
use crate::commands::is_foreign;
use crate::flights::Flight;
use crate::node::Node;
use crate::observed::{fault, find, forest, start, until};
use crate::requests::{self, create_topic};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::BaseProducer;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const TOPIC: &str = "orders";

/// Who ends, and whose paths begin so that may be started again with it.
const ENDINGS: [(&str, &str); 16] = [
    ("partitions/orders-0", "partitions/orders-0"),
    ("coordinators/group-7", "coordinators/group-7"),
    ("storage/log-cleaner-0", "storage/log-cleaner-0"),
    ("storage/log-dir-0", "storage/log-dir-0"),
    ("network/PLAINTEXT", "network/PLAINTEXT"),
    ("network/CONTROLLER", "network/CONTROLLER"),
    ("replication", "replication"),
    ("coordinators", "coordinators"),
    ("partitions", "partitions"),
    // Each of these goes by what those before it know.
    ("quorum/registrar", "quorum/"),
    ("quorum/assignments", "quorum/"),
    ("quorum/alter-isr", "quorum/"),
    ("quorum/lifecycle", "quorum/"),
    ("quorum/metadata-publisher", "quorum/"),
    ("quorum/controller", "quorum/"),
    ("quorum/raft", "quorum/"),
];

fn restarts(forest: &Value, into: &mut BTreeMap<String, u64>) {
    if let (Some(path), Some(count)) = (forest["path"].as_str(), forest["restarts"].as_u64()) {
        into.insert(path.to_owned(), count);
    }
    let below = forest.as_array().or_else(|| forest["children"].as_array());
    below.into_iter().flatten().for_each(|actor| restarts(actor, into));
}

fn counted(console: SocketAddr) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    restarts(&forest(console), &mut counts);
    counts
}

/// Clients that were there before.
struct Clients {
    producer: BaseProducer<clients::Deliveries>,
    member: BaseConsumer,
    written: usize,
}

impl Clients {
    fn of(node: &Node) -> Clients {
        let bootstrap = node.bootstrap();
        let member = clients::member(&bootstrap, "followers", &[("enable.auto.commit", "false")]);
        Clients { producer: clients::producer(&bootstrap, &[]), member, written: 0 }
    }

    /// A record is written, once, and an offset committed, by who asks again what may pass.
    fn are_served(&mut self, ended: &str) {
        let flight = Flight { key: "key".to_owned(), value: "value".to_owned() };
        clients::produce(&self.producer, TOPIC, &[flight]);
        self.written += 1;
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(self.written as i64);
        offsets.add_partition_offset(TOPIC, 0, offset).expect("an offset");
        let begun = Instant::now();
        while let Err(error) = self.member.commit(&offsets, CommitMode::Sync) {
            assert!(begun.elapsed() < LIMIT, "after {ended} ended: {error}");
        }
    }
}

#[test]
fn whatever_actor_ends_is_started_again_and_the_node_serves_on() {
    if is_foreign("whatever_actor_ends_is_started_again_and_the_node_serves_on") {
        return;
    }
    let (node, console) = start(&["ottla.faults.enable=true", "offsets.topic.num.partitions=8"]);
    create_topic(&mut node.connect(), TOPIC, 1);
    let mut clients = Clients::of(&node);
    clients.are_served("nothing");
    for (path, group) in ENDINGS {
        let (path, group) = (format!("node-1/{path}"), format!("node-1/{group}"));
        let before = counted(console);
        fault(console, &["kill", &path]).expect("it is there");
        let begun = Instant::now();
        let after = loop {
            let after = counted(console);
            if after.get(&path) > before.get(&path) {
                break after;
            }
            assert!(begun.elapsed() < LIMIT, "{path} is not started again");
        };
        let also =
            after.iter().filter(|(path, count)| before.get(*path).is_some_and(|b| b < count));
        let strangers: Vec<_> = also.filter(|(path, _)| !path.starts_with(&group)).collect();
        assert!(strangers.is_empty(), "{path} ended, and so did {strangers:?}");
        clients.are_served(&path);
    }
    let (error, end) = requests::list_offsets(&mut node.connect(), TOPIC, 0);
    assert_eq!((error, end), (0, clients.written as i64), "each record once");
    let (status, said, _) = node.terminate();
    assert!(status.success(), "{said}");
}

#[test]
fn a_connection_that_fails_ends_alone() {
    if is_foreign("a_connection_that_fails_ends_alone") {
        return;
    }
    let (node, console) = start(&["ottla.faults.enable=true"]);
    let (mut first, mut second) = (node.connect(), node.connect());
    assert!(first.is_served() && second.is_served());
    let shown = until(console, "PLAINTEXT", |listener| {
        listener["children"].as_array().is_some_and(|children| children.len() == 2)
    });
    let name = format!("{}#", first.stream().local_addr().expect("an address"));
    let children = shown["children"].as_array().expect("a list");
    let mut path = children.iter().filter_map(|child| child["path"].as_str());
    let path = path.rfind(|path| path.contains(&name)).expect("its path");
    fault(console, &["kill", path]).expect("it is there");
    until(console, "PLAINTEXT", |listener| find(listener, "connection").is_some());
    let begun = Instant::now();
    while first.is_served() {
        assert!(begun.elapsed() < LIMIT, "it goes on");
    }
    assert!(second.is_served());
    assert!(node.connect().is_served());
}

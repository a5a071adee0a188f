//! What a node takes when it rests: at first, and after clients have worked with it.

use crate::clients;
use crate::flights;
use crate::node::{self, Node};
use crate::requests;
use crate::round_trip::read_together;
use std::thread;
use std::time::{Duration, Instant};

/// Beyond what it took at first: what the allocator keeps of what was there, and the topics that are there now. Of a release build that
/// is at first 20 MB; a debug build takes twice as much.
const KEPT: u64 = 10 << 20;
const LIMIT: Duration = Duration::from_secs(40);

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// A group of three reads what one has produced, and commits.
fn work(node: &Node) {
    let topic = crate::unique("worked");
    requests::create_topic(&mut node.connect(), &topic, clients::PARTITIONS);
    let flights = flights::load(60_000);
    let member = || clients::subscribed(&node.bootstrap(), &topic, &topic, &[]);
    let members = [member(), member(), member()];
    clients::settle(&members.each_ref());
    clients::produce(&clients::producer(&node.bootstrap(), &[]), &topic, &flights);
    assert_eq!(read_together(&members, flights.len()).len(), flights.len());
}

#[test]
fn a_node_that_has_worked_is_small_again_when_it_rests() {
    let _turn = node::turn();
    let test = "a_node_that_has_worked_is_small_again_when_it_rests";
    let Some(node) = Node::start_own(test) else { return };
    let resident = || node.resident().unwrap_or_default();
    let fresh = resident();
    work(&node);
    let worked = resident();
    let begin = Instant::now();
    while resident() > fresh + KEPT && begin.elapsed() < LIMIT {
        thread::park_timeout(Duration::from_millis(100));
    }
    let rests = resident();
    eprintln!(
        "MEASURED: resident {:.1} MiB at first, {:.1} MiB after the load, rested {:.1} MiB",
        mebibytes(fresh),
        mebibytes(worked),
        mebibytes(rests)
    );
    assert!(rests <= fresh + KEPT, "{:.1} MiB more than at first", mebibytes(rests - fresh));
}

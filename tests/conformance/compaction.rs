//! Compacted topics of a whole node: a user's, and the one that offsets are kept in; through kill -9.

use crate::clients::{self, LIMIT};
use crate::flights::Flight;
use crate::node::Node;
use crate::requests;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const SETTINGS: [&str; 5] = [
    "log.cleaner.backoff.ms=20",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.segment.delete.delay.ms=100",
    "offsets.topic.num.partitions=1",
    "offsets.topic.segment.bytes=1048576",
];
const KEYS: usize = 100;
const ROUNDS: usize = 3;
const RECORDS: usize = 6_000;
const COMMITS: i64 = 700;

/// Bytes of records in a partition's directory.
fn log_bytes(dir: &Path) -> u64 {
    let logs = fs::read_dir(dir).expect("the partition's directory").filter_map(Result::ok);
    let logs = logs.filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
    logs.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LIMIT, "waited for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Everything from the beginning to the end of the only partition.
fn read(node: &Node, topic: &str) -> Vec<clients::Received> {
    let settings = [("enable.partition.eof", "true"), ("enable.auto.commit", "false")];
    let consumer = clients::member(&node.bootstrap(), "reader", &settings);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("an assignment");
    let begin = Instant::now();
    let mut received = Vec::new();
    loop {
        assert!(begin.elapsed() < LIMIT, "the end does not come");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => received.push(clients::Received::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => return received,
            Some(Err(error)) => eprintln!("poll: {error}"),
            None => {}
        }
    }
}

#[test]
fn the_latest_value_of_each_key_outlives_kills_while_it_is_compacted() {
    let test = "the_latest_value_of_each_key_outlives_kills_while_it_is_compacted";
    let Some(mut node) = Node::start_own_with(test, &SETTINGS) else { return };
    let topic = crate::unique("compacted");
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
    requests::create_topic_with(&mut node.connect(), &topic, 1, &configs);
    let dir = node.data().expect("a directory").join(format!("{topic}-0"));
    let mut expected = BTreeMap::new();
    let pad = "x".repeat(1000);
    for round in 0..ROUNDS {
        let flights: Vec<Flight> = (0..RECORDS)
            .map(|n| Flight { key: format!("k{}", n % KEYS), value: format!("{round}-{n}-{pad}") })
            .collect();
        clients::produce(&clients::producer(&node.bootstrap(), &[]), &topic, &flights);
        expected.extend(flights.into_iter().map(|flight| (flight.key, flight.value)));
        // It is at work all the time.
        node.kill_and_restart();
    }
    // Of 18 MB the values of a hundred keys, and two segments at most that may not be touched.
    wait_for("compaction", || log_bytes(&dir) < 3 << 20);
    let received = read(&node, &topic);
    assert!(received.is_sorted_by(|a, b| a.offset < b.offset));
    let latest = received.into_iter().map(|r| (r.flight.key, r.flight.value));
    assert!(latest.collect::<BTreeMap<_, _>>() == expected, "the latest of each key");
    let checkpoint = node.data().expect("a directory").join("cleaner-offset-checkpoint");
    wait_for("the checkpoint", || {
        fs::read_to_string(&checkpoint).is_ok_and(|text| text.contains(&format!("{topic} 0 ")))
    });
    node.kill_and_restart();
    assert!(log_bytes(&dir) < 3 << 20);
    assert!(read(&node, &topic).len() < RECORDS);
}

fn committed(consumer: &BaseConsumer, topic: &str) -> Option<Offset> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let found = consumer.committed_offsets(list, Duration::from_secs(30)).ok()?;
    Some(found.elements()[0].offset())
}

#[test]
fn committed_offsets_are_compacted_and_found_again() {
    let test = "committed_offsets_are_compacted_and_found_again";
    let Some(mut node) = Node::start_own_with(test, &SETTINGS) else { return };
    let topic = crate::unique("committed");
    requests::create_topic(&mut node.connect(), &topic, 1);
    let consumer = clients::member(&node.bootstrap(), &topic, &[("enable.auto.commit", "false")]);
    let commit = |offset| {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&topic, 0);
        element.set_offset(Offset::Offset(offset)).expect("an offset");
        element.set_metadata("m".repeat(4000));
        consumer.commit(&list, CommitMode::Sync)
    };
    let begin = Instant::now();
    while commit(0).is_err() {
        assert!(begin.elapsed() < LIMIT, "no offset is taken");
    }
    for offset in 1..COMMITS {
        commit(offset).expect("a commit");
    }
    let dir = node.data().expect("a directory").join("__consumer_offsets-0");
    // Of some 2,800,000 bytes; the segment in use is not touched.
    wait_for("compaction", || log_bytes(&dir) < 1_300_000);
    assert_eq!(committed(&consumer, &topic), Some(Offset::Offset(COMMITS - 1)));
    node.kill_and_restart();
    let again = clients::member(&node.bootstrap(), &topic, &[("enable.auto.commit", "false")]);
    wait_for("the group", || committed(&again, &topic) == Some(Offset::Offset(COMMITS - 1)));
}

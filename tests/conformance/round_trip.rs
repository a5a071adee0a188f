//! Flights in, and out again through a group of three: same count, same order for each key, same hash.

use crate::clients::{self, LIMIT, PARTITIONS, Received, assigned, in_order, poll};
use crate::flights::{self, Flight, digest};
use crate::node::{self, Node};
use crate::requests;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn topic_of_twelve(node: &Node, name: &str) -> String {
    let topic = crate::unique(name);
    requests::create_topic(&mut node.connect(), &topic, PARTITIONS);
    topic
}

/// Reads with all members at once until `count` records have come.
pub fn read_together(members: &[BaseConsumer], count: usize) -> Vec<Received> {
    let begin = Instant::now();
    let read = AtomicUsize::new(0);
    let read_one = |member: &BaseConsumer| {
        let mut received = Vec::new();
        while read.load(Ordering::Relaxed) < count {
            assert!(begin.elapsed() < LIMIT, "{} of {count} read", read.load(Ordering::Relaxed));
            if let Some(one) = poll(member) {
                read.fetch_add(1, Ordering::Relaxed);
                received.push(one);
            }
        }
        received
    };
    thread::scope(|scope| {
        let threads: Vec<_> = members.iter().map(|m| scope.spawn(move || read_one(m))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a reader")).collect()
    })
}

fn assert_same(received: Vec<Received>, sent: &[Flight]) {
    let received = in_order(received);
    let again = received
        .windows(2)
        .filter(|w| (w[0].partition, w[0].offset) == (w[1].partition, w[1].offset));
    assert_eq!(again.count(), 0, "records read twice");
    assert_eq!(digest(received.iter().map(|r| &r.flight)), digest(sent));
}

#[test]
fn flights_come_back_through_a_group_of_three() {
    let _turn = node::turn();
    let node = Node::start();
    let topic = topic_of_twelve(&node, "flights");
    let flights = flights::load(60_000);
    let member = || clients::subscribed(&node.bootstrap(), &topic, &topic, &[]);
    let members = [member(), member(), member()];
    clients::settle(&members.each_ref());
    let shares: Vec<usize> = members.iter().map(|m| assigned(m).len()).collect();
    assert_eq!(shares, [4, 4, 4]);
    let producer = clients::producer(&node.bootstrap(), &[]);
    let begin = Instant::now();
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            clients::produce(&producer, &topic, &flights);
            eprintln!("MEASURED: {} flights produced in {:?}", flights.len(), begin.elapsed());
        });
        read_together(&members, flights.len())
    });
    eprintln!("MEASURED: {} flights read back by {:?}", received.len(), begin.elapsed());
    assert_same(received, &flights);
    assert_eq!(digest(&flights), {
        let all = clients::read_topic(&node.bootstrap(), &topic);
        digest(all.iter().map(|r| &r.flight))
    });
}

#[test]
fn every_compression_comes_back() {
    let node = Node::start();
    let flights = flights::make_up(4_000);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = topic_of_twelve(&node, codec);
        let settings = [("compression.type", codec), ("linger.ms", "20")];
        clients::produce(&clients::producer(&node.bootstrap(), &settings), &topic, &flights);
        let received = clients::read_topic(&node.bootstrap(), &topic);
        assert_eq!(digest(received.iter().map(|r| &r.flight)), digest(&flights), "{codec}");
    }
}

#[test]
fn every_kind_of_acknowledgement_comes_back() {
    let node = Node::start();
    let flights = flights::make_up(2_000);
    for acks in ["0", "1", "all"] {
        let topic = topic_of_twelve(&node, "acks");
        let settings = [("acks", acks), ("enable.idempotence", "false")];
        clients::produce(&clients::producer(&node.bootstrap(), &settings), &topic, &flights);
        let received = clients::read_topic(&node.bootstrap(), &topic);
        assert_eq!(received.len(), flights.len(), "acks={acks}");
    }
}

#[test]
fn a_topic_is_created_when_first_produced_to() {
    let node = Node::start();
    let topic = crate::unique("first-use");
    let flight = &flights::make_up(1)[0];
    let producer = clients::producer(&node.bootstrap(), &[]);
    clients::produce(&producer, &topic, std::slice::from_ref(flight));
    let metadata = producer.client().fetch_metadata(Some(&topic), Duration::from_secs(10));
    assert_eq!(metadata.expect("metadata").topics()[0].partitions().len(), 1);
}

#[test]
fn a_group_goes_on_where_it_committed() {
    let node = Node::start();
    let topic = topic_of_twelve(&node, "resume");
    let flights = flights::make_up(6_000);
    clients::produce(&clients::producer(&node.bootstrap(), &[]), &topic, &flights);
    let settings = [("enable.auto.commit", "false")];
    let first = [clients::subscribed(&node.bootstrap(), &topic, &topic, &settings)];
    let mut received = read_together(&first, 2_500);
    first[0].commit_consumer_state(CommitMode::Sync).expect("a commit");
    drop(first);
    let second = [clients::subscribed(&node.bootstrap(), &topic, &topic, &settings)];
    received.extend(read_together(&second, flights.len() - received.len()));
    assert_same(received, &flights);
}

#[test]
fn offsets_are_found_by_time_and_at_both_ends() {
    let node = Node::start();
    let topic = topic_of_twelve(&node, "times");
    clients::produce(&clients::producer(&node.bootstrap(), &[]), &topic, &flights::make_up(1_000));
    let all = clients::read_topic(&node.bootstrap(), &topic);
    let consumer = clients::member(&node.bootstrap(), &topic, &[]);
    let limit = Duration::from_secs(10);
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(&topic, partition, limit).expect("watermarks");
        let held = all.iter().filter(|r| r.partition == partition).count() as i64;
        assert_eq!((low, high), (0, held), "partition {partition}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(1)).expect("a partition");
        let early = consumer.offsets_for_times(list.clone(), limit).expect("offsets");
        assert_eq!(early.elements()[0].offset(), Offset::Offset(0));
        list.set_partition_offset(&topic, partition, Offset::Offset(4_102_444_800_000))
            .expect("set");
        let late = consumer.offsets_for_times(list, limit).expect("offsets");
        assert_eq!(late.elements()[0].offset(), Offset::End);
    }
}

//! kill -9 while idempotent producers and a group are at work.

use crate::clients::{self, LIMIT, PARTITIONS, Received, in_order, poll};
use crate::flights::{self, Flight, digest};
use crate::node::{self, Node};
use crate::requests;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// After this many records of ten have been acknowledged, the node is killed.
const KILLED_AFTER_TENTHS: [usize; 3] = [2, 5, 8];

/// How far the group has come, by partition; what is read again does not count.
#[derive(Default)]
struct Progress {
    read: [AtomicI64; PARTITIONS as usize],
    done: AtomicBool,
}

impl Progress {
    fn count(&self) -> usize {
        self.read.iter().map(|end| end.load(Ordering::Relaxed) as usize).sum()
    }
}

/// What a member read, and up to where a commit of its own was acknowledged.
#[derive(Default)]
struct Journal {
    received: Vec<Received>,
    committed: BTreeMap<i32, i64>,
}

fn read_and_commit(consumer: &BaseConsumer, progress: &Progress) -> Journal {
    let mut journal = Journal::default();
    while !progress.done.load(Ordering::Relaxed) {
        let Some(received) = poll(consumer) else { continue };
        if let Some(committed) = journal.committed.get(&received.partition) {
            assert!(received.offset >= *committed, "read below what was committed");
        }
        let end = received.offset + 1;
        progress.read[received.partition as usize].fetch_max(end, Ordering::Relaxed);
        journal.received.push(received);
        if journal.received.len().is_multiple_of(500) {
            commit(consumer, &mut journal);
        }
    }
    commit(consumer, &mut journal);
    journal
}

/// Only what the broker acknowledged is written down: a commit cut off by the crash may hold or not.
fn commit(consumer: &BaseConsumer, journal: &mut Journal) {
    let Ok(position) = consumer.position() else { return };
    if consumer.commit(&position, CommitMode::Sync).is_err() {
        return;
    }
    for element in position.elements() {
        if let Offset::Offset(offset) = element.offset() {
            journal.committed.insert(element.partition(), offset);
        }
    }
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LIMIT, "waited for {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A record that is no flight.
const PROBE: &str = "is there anybody?";

fn is_flight(received: &Received) -> bool {
    received.flight.value != PROBE
}

/// Returns when each partition has taken a record.
fn take_records(node: &Node, topic: &str) {
    let mut connection = node.connect();
    let probe = crate::batch::of(&[PROBE.as_bytes()]).bytes();
    for partition in 0..PARTITIONS {
        wait_for("an acknowledgement", || {
            requests::produce(&mut connection, topic, partition, &probe).error == 0
        });
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let _turn = node::turn();
    let Some(mut node) =
        Node::start_mortal("nothing_acknowledged_is_lost_and_nothing_is_there_twice")
    else {
        return;
    };
    let topic = crate::unique("crash");
    requests::create_topic(&mut node.connect(), &topic, PARTITIONS);
    let flights = flights::load(120_000);
    let bootstrap = node.bootstrap();
    let settings = [("enable.auto.commit", "false")];
    let member = || clients::subscribed(&bootstrap, &topic, &topic, &settings);
    let members = [member(), member(), member()];
    clients::settle(&members.each_ref());
    // A short queue keeps the pace of the acknowledgements, so that the kills fall into the middle.
    let short = [("queue.buffering.max.messages", "5000"), ("linger.ms", "5")];
    let producer = clients::producer(&bootstrap, &short);
    let progress = Progress::default();
    let journals = thread::scope(|scope| {
        let reading = |m| {
            scope.spawn({
                let progress = &progress;
                move || read_and_commit(m, progress)
            })
        };
        let readers = members.each_ref().map(reading);
        let producing = scope.spawn(|| clients::produce(&producer, &topic, &flights));
        for tenths in KILLED_AFTER_TENTHS {
            let enough = flights.len() * tenths / 10;
            let acknowledged = &producer.context().acknowledged;
            wait_for("acknowledgements", || acknowledged.load(Ordering::Relaxed) >= enough);
            assert!(!producing.is_finished(), "killed too late to matter");
            let answers = node.kill_and_restart();
            let begin = Instant::now();
            take_records(&node, &topic);
            let serves = answers + begin.elapsed();
            eprintln!(
                "MEASURED: killed after {enough} acknowledgements, answers after {answers:?}, serves again after {serves:?}"
            );
        }
        producing.join().expect("the producer");
        let probes = KILLED_AFTER_TENTHS.len() * PARTITIONS as usize;
        wait_for("readers", || progress.count() >= flights.len() + probes);
        progress.done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().expect("a reader"))
    });
    drop(members);
    assert_whole(&node, &topic, &flights, journals);
}

fn assert_whole(node: &Node, topic: &str, flights: &[Flight], journals: [Journal; 3]) {
    let mut kept = clients::read_topic(&node.bootstrap(), topic);
    kept.retain(is_flight);
    assert_eq!(digest(kept.iter().map(|r| &r.flight)), digest(flights), "what the topic holds");
    let mut committed = BTreeMap::new();
    let mut received = Vec::new();
    for journal in journals {
        received.extend(journal.received);
        for (partition, offset) in journal.committed {
            let highest = committed.entry(partition).or_insert(offset);
            *highest = offset.max(*highest);
        }
    }
    received.retain(is_flight);
    let mut received = in_order(received);
    let all = received.len();
    received.dedup_by_key(|r| (r.partition, r.offset));
    eprintln!("MEASURED: {} of {all} records were read again", all - received.len());
    assert_eq!(digest(received.iter().map(|r| &r.flight)), digest(flights), "what the group read");
    assert_resumes(node, topic, &committed);
}

/// A new member of the group is told the very offsets whose commits were acknowledged.
fn assert_resumes(node: &Node, topic: &str, committed: &BTreeMap<i32, i64>) {
    let consumer = clients::subscribed(&node.bootstrap(), topic, topic, &[]);
    clients::settle(&[&consumer]);
    let told = consumer.committed(Duration::from_secs(10)).expect("committed offsets");
    for (partition, offset) in committed {
        let element = told.find_partition(topic, *partition).expect("a partition");
        assert_eq!(element.offset(), Offset::Offset(*offset), "partition {partition}");
    }
}

#[test]
fn topics_and_their_settings_outlive_a_crash() {
    let Some(mut node) = Node::start_mortal("topics_and_their_settings_outlive_a_crash") else {
        return;
    };
    let topics: Vec<String> = (0..20).map(|_| crate::unique("kept")).collect();
    for topic in &topics {
        requests::create_topic(&mut node.connect(), topic, 3);
        let record = crate::batch::of(&[topic.as_bytes()]).bytes();
        assert_eq!(requests::produce(&mut node.connect(), topic, 2, &record).error, 0);
    }
    for _ in 0..3 {
        node.kill_and_restart();
        for topic in &topics {
            let mut connection = node.connect();
            let begin = Instant::now();
            while requests::list_offsets(&mut connection, topic, 2) != (0, 1) {
                assert!(begin.elapsed() < LIMIT, "{topic} is gone");
            }
        }
    }
}

const KAFKA_STORAGE_ERROR: i16 = 56;

#[test]
fn a_log_that_was_durable_and_is_gone_is_offline_and_not_made_anew() {
    let test = "a_log_that_was_durable_and_is_gone_is_offline_and_not_made_anew";
    let settings = ["log.flush.interval.messages=1", "log.flush.offset.checkpoint.interval.ms=10"];
    let Some(mut node) = Node::start_own_with(test, &settings) else { return };
    let topics = [crate::unique("gone"), crate::unique("emptied")];
    for topic in &topics {
        requests::create_topic(&mut node.connect(), topic, 2);
        for partition in 0..2 {
            let record = crate::batch::of(&[topic.as_bytes()]).bytes();
            assert_eq!(requests::produce(&mut node.connect(), topic, partition, &record).error, 0);
        }
    }
    let checkpoint = node.data().expect("its own").join("recovery-point-offset-checkpoint");
    let wanted: Vec<String> = topics.iter().map(|topic| format!("{topic} 1 1\n")).collect();
    wait_for("the checkpoint", || {
        let text = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        wanted.iter().all(|line| text.contains(line))
    });
    for restart in 0..2 {
        node.kill_and_restart_after(|data| {
            let [gone, emptied] = topics.each_ref().map(|topic| data.join(format!("{topic}-1")));
            if restart == 0 {
                std::fs::remove_dir_all(&gone).expect("removed");
                std::fs::remove_file(emptied.join(format!("{:020}.log", 0))).expect("removed");
            }
            assert!(!gone.exists(), "it is not made anew");
        });
        for topic in &topics {
            for (partition, expected) in [(0, 0), (1, KAFKA_STORAGE_ERROR)] {
                let mut connection = node.connect();
                wait_for("the answer", || {
                    requests::list_offsets(&mut node.connect(), topic, partition).0 == expected
                });
                let found = requests::list_offsets(&mut connection, topic, partition).0;
                assert_eq!(found, expected, "{topic}-{partition}");
            }
        }
    }
}

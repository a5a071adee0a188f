//! What topics have that say nothing themselves: the node's settings, in each of Kafka's units, as given at the start and as altered.

use crate::limits::{ALL_BROKERS, alter};
use crate::node::Node;
use crate::requests::{create_topic, create_topic_with};
use crate::settings::described;
use crate::unique;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// The node's setting, its value, the topic's setting, and its value then.
type Given = [(&'static str, &'static str, &'static str, &'static str)];

/// Those that can be altered while the node runs, too.
const FINE: &Given = &[
    ("log.segment.bytes", "2097152", "segment.bytes", "2097152"),
    ("log.roll.ms", "70001", "segment.ms", "70001"),
    ("log.roll.jitter.ms", "11", "segment.jitter.ms", "11"),
    ("log.index.size.max.bytes", "65536", "segment.index.bytes", "65536"),
    ("log.flush.interval.messages", "9", "flush.messages", "9"),
    ("log.flush.interval.ms", "8001", "flush.ms", "8001"),
    ("log.retention.bytes", "5000001", "retention.bytes", "5000001"),
    ("log.retention.ms", "90001", "retention.ms", "90001"),
    ("message.max.bytes", "900001", "max.message.bytes", "900001"),
    ("max.decompressed.message.bytes", "9000001", "max.decompressed.message.bytes", "9000001"),
    ("log.index.interval.bytes", "100", "index.interval.bytes", "100"),
    ("log.cleaner.delete.retention.ms", "7001", "delete.retention.ms", "7001"),
    ("log.cleaner.min.compaction.lag.ms", "6001", "min.compaction.lag.ms", "6001"),
    ("log.cleaner.max.compaction.lag.ms", "50001", "max.compaction.lag.ms", "50001"),
    ("log.segment.delete.delay.ms", "4001", "file.delete.delay.ms", "4001"),
    ("log.cleaner.min.cleanable.ratio", "0.25", "min.cleanable.dirty.ratio", "0.25"),
    ("log.cleanup.policy", "compact", "cleanup.policy", "compact"),
    ("unclean.leader.election.enable", "true", "unclean.leader.election.enable", "true"),
    ("min.insync.replicas", "2", "min.insync.replicas", "2"),
    ("compression.type", "gzip", "compression.type", "gzip"),
    ("compression.gzip.level", "3", "compression.gzip.level", "3"),
    ("compression.zstd.level", "5", "compression.zstd.level", "5"),
    ("log.preallocate", "true", "preallocate", "true"),
    ("log.message.timestamp.type", "LogAppendTime", "message.timestamp.type", "LogAppendTime"),
    ("log.message.timestamp.before.max.ms", "3001", "message.timestamp.before.max.ms", "3001"),
    ("log.message.timestamp.after.max.ms", "2001", "message.timestamp.after.max.ms", "2001"),
];

/// The first of two or three that mean the same goes before the others.
const COARSE: &Given = &[
    ("log.roll.hours", "2", "segment.ms", "7200000"),
    ("log.roll.jitter.hours", "1", "segment.jitter.ms", "3600000"),
    ("log.retention.minutes", "3", "retention.ms", "180000"),
    ("log.retention.hours", "4", "retention.ms", "180000"),
    ("log.flush.scheduler.interval.ms", "6000", "flush.ms", "6000"),
];

const COARSEST: &Given = &[("log.retention.hours", "4", "retention.ms", "14400000")];

fn assert_topics_have(node: &Node, given: &Given) {
    let topic = unique("defaults");
    create_topic(&mut node.connect(), &topic, 1);
    for (setting, value, name, expected) in given {
        let expected = [format!("{name}={expected}")];
        let begin = Instant::now();
        // What is altered is there once the broker has heard of it.
        while described(&mut node.connect(), &topic, &[name]) != expected {
            let late = begin.elapsed() > Duration::from_secs(20);
            assert!(!late, "{setting}={value} does not make it {expected:?}");
        }
    }
}

#[test]
fn topics_have_what_the_node_was_started_with() {
    for given in [FINE, COARSE, COARSEST] {
        let settings: Vec<String> = given.iter().map(|(s, v, ..)| format!("{s}={v}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let test = "topics_have_what_the_node_was_started_with";
        let Some(node) = Node::start_own_with(test, &settings) else { return };
        assert_topics_have(&node, given);
    }
}

#[test]
fn topics_have_what_was_altered_for_all_brokers() {
    let test = "topics_have_what_was_altered_for_all_brokers";
    let Some(node) = Node::start_own(test) else { return };
    let mut admin = node.connect();
    for (setting, value, ..) in FINE {
        alter(&mut admin, ALL_BROKERS, setting, value);
    }
    assert_topics_have(&node, FINE);
}

/// The file's length is still that of its records.
#[test]
fn a_segment_that_is_preallocated_has_room_on_the_disk_at_once() {
    let test = "a_segment_that_is_preallocated_has_room_on_the_disk_at_once";
    let Some(node) = Node::start_own(test) else { return };
    let topics = ["true", "false"].map(|preallocate| {
        let topic = unique("preallocated");
        let configs = [("preallocate", preallocate), ("segment.bytes", "1048576")];
        create_topic_with(&mut node.connect(), &topic, 1, &configs);
        topic
    });
    let data = node.data().expect("a process of the test's own");
    let room = topics.map(|topic| {
        let segment = data.join(format!("{topic}-0/{:020}.log", 0));
        fs::metadata(segment).expect("a segment").blocks() * 512
    });
    assert_eq!(room, [1_048_576, 0]);
}

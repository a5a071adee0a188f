//! The metadata log stays small, whatever happens to the cluster.

use crate::clients;
use crate::node::Node;
use crate::requests::{create_topic, list_offsets};
use crate::unique;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const TOPICS: usize = 150;
const KIB: u64 = 1024;

/// A snapshot for every few topics, a segment for even fewer, and hardly any room to keep the old ones.
const SETTINGS: [&str; 4] = [
    "metadata.log.max.record.bytes.between.snapshots=4096",
    "metadata.max.retention.bytes=65536",
    "internal.metadata.log.segment.bytes=2048",
    "internal.metadata.delete.delay.millis=100",
];

#[derive(Debug, Default)]
struct Files {
    snapshots: usize,
    segments: usize,
    given_up: usize,
    bytes: u64,
}

fn files(dir: &Path) -> Files {
    let mut found = Files::default();
    for entry in fs::read_dir(dir).expect("the metadata log").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        match name.rsplit('.').next() {
            Some("checkpoint") => found.snapshots += 1,
            Some("log") => found.segments += 1,
            Some("deleted") => found.given_up += 1,
            _ => continue,
        }
        if !name.ends_with("deleted") {
            found.bytes += size;
        }
    }
    found
}

#[test]
fn snapshots_and_segments_stay_few_and_every_topic_is_there_after_a_crash() {
    let test = "snapshots_and_segments_stay_few_and_every_topic_is_there_after_a_crash";
    let Some(mut node) = Node::start_own_with(test, &SETTINGS) else { return };
    let dir = node.data().expect("a node of the test's own").join("__cluster_metadata-0");
    let mut topics = Vec::new();
    let mut most = Files::default();
    for _ in 0..3 {
        for _ in 0..TOPICS / 3 {
            let topic = unique("kept");
            create_topic(&mut node.connect(), &topic, 2);
            topics.push(topic);
            let now = files(&dir);
            most.snapshots = most.snapshots.max(now.snapshots);
            most.segments = most.segments.max(now.segments);
            most.bytes = most.bytes.max(now.bytes);
        }
        let took = node.kill_and_restart();
        eprintln!("MEASURED: {} topics, serves again after {took:?}, {most:?}", topics.len());
        let begin = Instant::now();
        let mut connection = node.connect();
        for topic in &topics {
            while list_offsets(&mut connection, topic, 1) != (0, 0) {
                assert!(begin.elapsed() < clients::LIMIT, "{topic} is gone");
            }
        }
    }
    assert!(most.bytes < 160 * KIB, "{most:?}");
    assert!(most.snapshots < 40 && most.segments < 40, "{most:?}");
    // What was given up goes, and the log no longer begins with its first segment.
    assert!(!dir.join(format!("{:020}.log", 0)).exists());
    create_topic(&mut node.connect(), &unique("last"), 1);
    let begin = Instant::now();
    while files(&dir).given_up > 0 {
        assert!(begin.elapsed() < clients::LIMIT, "{:?}", files(&dir));
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < clients::LIMIT, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// By default each would take an hour or more.
#[test]
fn segments_and_snapshots_come_with_time_too() {
    let test = "segments_and_snapshots_come_with_time_too";
    let settings = ["metadata.log.segment.ms=100", "metadata.log.max.snapshot.interval.ms=100"];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let dir = node.data().expect("a node of the test's own").join("__cluster_metadata-0");
    let before = files(&dir).snapshots;
    wait_for("segments", || {
        create_topic(&mut node.connect(), &unique("timed"), 1);
        files(&dir).segments > 2
    });
    wait_for("snapshots", || {
        create_topic(&mut node.connect(), &unique("timed"), 1);
        files(&dir).snapshots > before + 1
    });
}

#[test]
fn the_high_watermark_moves_as_often_as_is_asked_for() {
    let test = "the_high_watermark_moves_as_often_as_is_asked_for";
    let often = "metadata.max.idle.interval.ms=10";
    let Some(node) = Node::start_own_with(test, &[often]) else { return };
    let dir = node.data().expect("a node of the test's own").join("__cluster_metadata-0");
    let log = dir.join(format!("{:020}.log", 0));
    let size = || fs::metadata(&log).map_or(0, |log| log.len());
    // By default twice a second, 80 bytes or so each: this would take half a minute.
    let before = size();
    wait_for("no-op records", || size() > before + 5_000);
}

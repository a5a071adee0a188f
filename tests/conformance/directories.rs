//! A node of several log directories, one of which cannot be used.

use crate::batch;
use crate::node::Node;
use crate::raw::{Body, Bytes, Connection};
use crate::requests::{create_topic, fetch, produce};
use crate::unique;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const DESCRIBE_LOG_DIRS: i16 = 35;
const KAFKA_STORAGE_ERROR: i16 = 56;
const LIMIT: Duration = Duration::from_secs(20);
/// The high watermarks are written often, so that a directory is found wanting soon after a record was produced.
const SETTINGS: [&str; 1] = ["replica.high.watermark.checkpoint.interval.ms=50"];

/// What is said of a directory: its error, and the partitions of the topic that it holds.
#[derive(Debug, Default, PartialEq)]
struct Held {
    error: i16,
    partitions: Vec<i32>,
}

/// By the last part of the directory's path.
fn describe(connection: &mut Connection, topic: &str) -> BTreeMap<String, Held> {
    let all = Bytes::new().i32(-1).done();
    let mut body = connection.ask(DESCRIBE_LOG_DIRS, 1, &all).body();
    body.i32();
    let mut dirs = BTreeMap::new();
    for _ in 0..body.i32() {
        let error = body.i16();
        let path = body.string();
        let partitions = read_topics(&mut body, topic);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        dirs.insert(name, Held { error, partitions });
    }
    dirs
}

fn read_topics(body: &mut Body, wanted: &str) -> Vec<i32> {
    let mut held = Vec::new();
    for _ in 0..body.i32() {
        let name = body.string();
        for _ in 0..body.i32() {
            let index = body.i32();
            body.take::<17>();
            if name == wanted {
                held.push(index);
            }
        }
    }
    held
}

fn break_directory(path: &Path) {
    fs::rename(path, path.with_extension("gone")).expect("renamed");
    fs::write(path, "no directory").expect("a file in its place");
}

fn mend_directory(path: &Path) {
    fs::remove_file(path).expect("removed");
    fs::rename(path.with_extension("gone"), path).expect("renamed back");
}

/// Produces until the answer is this error.
fn produce_until(connection: &mut Connection, topic: &str, partition: i32, error: i16) {
    let begin = Instant::now();
    let records = batch::of(&[b"more"]).bytes();
    loop {
        let produced = produce(connection, topic, partition, &records);
        if produced.error == error {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "{topic}-{partition} answers {produced:?}");
    }
}

#[test]
fn a_directory_that_fails_goes_offline_alone_and_comes_back_with_the_next_start() {
    let test = "a_directory_that_fails_goes_offline_alone_and_comes_back_with_the_next_start";
    let Some(mut node) = Node::start_on(test, &["a", "b"], &SETTINGS) else { return };
    let home = node.home().expect("a home");
    let topic = unique("directories");
    let mut connection = node.connect();
    create_topic(&mut connection, &topic, 4);
    let records = batch::of(&[b"before"]).bytes();
    for partition in 0..4 {
        assert_eq!(produce(&mut connection, &topic, partition, &records).error, 0);
    }
    let held = describe(&mut connection, &topic);
    let (kept, lost) = (held["a"].partitions.clone(), held["b"].partitions.clone());
    assert_eq!((kept.len(), lost.len()), (2, 2), "{held:?}");

    break_directory(&home.join("b"));
    for partition in &lost {
        produce_until(&mut connection, &topic, *partition, KAFKA_STORAGE_ERROR);
    }
    for partition in &kept {
        assert_eq!(produce(&mut connection, &topic, *partition, &records).error, 0);
    }
    let failed = Held { error: KAFKA_STORAGE_ERROR, partitions: Vec::new() };
    assert_eq!(describe(&mut connection, &topic)["b"], failed);

    // Its replicas are not made anew elsewhere while it is away.
    node.kill_and_restart();
    let mut connection = node.connect();
    for partition in &kept {
        produce_until(&mut connection, &topic, *partition, 0);
    }
    let held = describe(&mut connection, &topic);
    assert_eq!((&held["a"].partitions, &held["b"]), (&kept, &failed));
    for partition in &lost {
        produce_until(&mut connection, &topic, *partition, KAFKA_STORAGE_ERROR);
    }

    mend_directory(&home.join("b"));
    node.kill_and_restart();
    let mut connection = node.connect();
    for partition in &lost {
        produce_until(&mut connection, &topic, *partition, 0);
    }
    let mut held = describe(&mut connection, &topic).remove("b").expect("it is there");
    held.partitions.sort_unstable();
    assert_eq!(held, Held { error: 0, partitions: lost.clone() });
    if lost.contains(&0) {
        assert_eq!(fetch(&mut connection, &topic, 0).0, 0);
    }
}

#[test]
fn without_the_directory_of_the_metadata_log_the_node_ends_and_says_so() {
    let test = "without_the_directory_of_the_metadata_log_the_node_ends_and_says_so";
    let Some(mut node) = Node::start_on(test, &["a", "b"], &SETTINGS) else { return };
    let home = node.home().expect("a home");
    let topic = unique("directories");
    let mut connection = node.connect();
    create_topic(&mut connection, &topic, 2);
    break_directory(&home.join("a"));
    let records = batch::of(&[b"more"]).bytes();
    for partition in 0..2 {
        let body = crate::requests::produce_body(&topic, partition, -1, &records);
        drop(connection.ask(crate::requests::PRODUCE, 8, &body));
    }
    let (status, said) = node.wait_for_its_end();
    assert!(!status.success());
    assert!(said.contains("metadata log has failed") && said.contains("/a"), "{said}");
}

#[test]
fn a_copy_of_another_directory_is_refused() {
    let Some(mut node) = Node::start_on("a_copy_of_another_directory_is_refused", &["a", "b"], &[])
    else {
        return;
    };
    let home = node.home().expect("a home");
    let (a, b) = (home.join("a/meta.properties"), home.join("b/meta.properties"));
    fs::copy(a, b).expect("copied");
    let said = node.fail_to_restart();
    assert!(said.contains("directory.id") && said.contains("/b"), "{said}");
}

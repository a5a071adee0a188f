//! A node that may hold few files and sockets open, and clients that would take them all.

use crate::batch;
use crate::node::Node;
use crate::raw::{Answer, Connection};
use crate::requests::{self as ask, API_VERSIONS};

const DESCRIPTORS: u32 = 256;
const PARTITIONS: i32 = 8;
const BATCHES: i64 = 4;

fn produce(connection: &mut Connection, topic: &str, partition: i32, at: i64) {
    let batch = batch::of(&[&[at as u8; 900_000]]).bytes();
    let produced = ask::produce(connection, topic, partition, &batch);
    assert_eq!((produced.error, produced.base_offset), (0, at), "{topic}-{partition}");
}

fn read(connection: &mut Connection, topic: &str) {
    for at in (0..BATCHES).rev() {
        let (error, records) = ask::fetch(connection, topic, at);
        assert!(error == 0 && records.len() > 900_000, "{topic} at {at}: {error}");
        assert_eq!(records[..8], at.to_be_bytes(), "{topic} at {at}");
    }
}

/// Each roll opens new files, and each read from a closed segment its index.
#[test]
fn connections_leave_the_logs_their_descriptors() {
    let test = "connections_leave_the_logs_their_descriptors";
    let Some(mut node) = Node::start_limited(test, DESCRIPTORS, &[]) else { return };
    let mut client = node.connect();
    let topics = ["a", "b", "c"];
    for topic in topics {
        ask::create_topic_with(&mut client, topic, PARTITIONS, &[("segment.bytes", "1048576")]);
    }
    let mut crowd: Vec<Connection> = (0..2 * DESCRIPTORS).map(|_| node.connect()).collect();
    for connection in &mut crowd {
        connection.send(API_VERSIONS, 0, &[]);
    }
    for at in 0..BATCHES {
        for topic in topics {
            (0..PARTITIONS).for_each(|partition| produce(&mut client, topic, partition, at));
        }
    }
    topics.iter().for_each(|topic| read(&mut client, topic));
    // One after another finds a place as those before it go.
    for (at, mut connection) in crowd.into_iter().enumerate() {
        assert!(matches!(connection.receive(), Answer::Body(_)), "connection {at}");
    }
    node.kill_and_restart();
    let mut client = node.connect();
    for topic in topics {
        ask::wait_for_leaders(&mut client, topic, PARTITIONS);
        read(&mut client, topic);
        (0..PARTITIONS).for_each(|partition| produce(&mut client, topic, partition, BATCHES));
    }
}

//! Clients that send their last request and go: what came whole is done, as by Kafka.

use crate::batch;
use crate::node::Node;
use crate::raw::{Answer, Bytes, frame};
use crate::requests::{METADATA, PRODUCE, create_topic, list_offsets, produce_body};
use std::time::{Duration, Instant};

const NOT_AT_ALL: i16 = 0;

/// Metadata of one topic, which is created where it does not exist (version 4 on).
fn metadata(topic: &str) -> Vec<u8> {
    Bytes::new().i32(1).string(topic).i8(1).done()
}

fn unanswered(topic: &str) -> Vec<u8> {
    produce_body(topic, 0, NOT_AT_ALL, &batch::of(&[b"last words"]).bytes())
}

/// In the log in the end, though nobody is told.
fn assert_arrive(node: &Node, topic: &str, records: i64) {
    let mut reader = node.connect();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, end) = list_offsets(&mut reader, topic, 0);
        if end == records {
            return;
        }
        assert!(Instant::now() < deadline, "{end} records of {records} arrived");
        std::thread::yield_now();
    }
}

#[test]
fn records_that_nobody_waits_for_are_kept_when_their_producer_closes() {
    let node = Node::start();
    let topic = crate::unique("farewell");
    create_topic(&mut node.connect(), &topic, 1);
    let mut producer = node.connect();
    for _ in 0..1000 {
        producer.send(PRODUCE, 8, &unanswered(&topic));
    }
    drop(producer);
    assert_arrive(&node, &topic, 1000);
}

#[test]
fn a_request_behind_an_unread_answer_is_done_when_the_client_closes() {
    let node = Node::start();
    let topic = crate::unique("unread-answer");
    create_topic(&mut node.connect(), &topic, 1);
    let mut producer = node.connect();
    producer.send(METADATA, 4, &metadata(&topic));
    producer.send(PRODUCE, 8, &unanswered(&topic));
    drop(producer);
    assert_arrive(&node, &topic, 1);
}

#[test]
fn a_client_that_has_finished_sending_is_answered() {
    let node = Node::start();
    let mut connection = node.connect();
    for correlation in [1, 2] {
        connection.send_bytes(&frame(METADATA, 1, correlation, &Bytes::new().i32(0).done()));
    }
    connection.finish_sending();
    for _ in 0..2 {
        connection.expect_next();
        assert!(matches!(connection.receive(), Answer::Body(_)));
    }
    assert_eq!(connection.receive(), Answer::Closed);
}

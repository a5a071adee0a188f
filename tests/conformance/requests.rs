//! The few requests that the tests about bad input need, in their last versions that are not flexible.

use crate::raw::{Answer, Body, Bytes, Connection};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as never.
const LIMIT: Duration = Duration::from_secs(60);

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const API_VERSIONS: i16 = 18;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;

pub fn create_topic(connection: &mut Connection, name: &str, partitions: i32) {
    create_topic_with(connection, name, partitions, &[]);
}

pub fn create_topic_with(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) {
    create_topic_anywhere(connection, name, partitions, configs);
    wait_for_leaders(connection, name, partitions);
}

/// Its partitions may be led by others than the one that is asked.
pub fn create_topic_anywhere(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) {
    create_replicated(connection, name, (partitions, 1), configs);
}

/// With so many partitions, and replicas of each.
pub fn create_replicated(
    connection: &mut Connection,
    name: &str,
    (partitions, replicas): (i32, i16),
    configs: &[(&str, &str)],
) {
    let topic = Bytes::new().i32(1).string(name).i32(partitions).i16(replicas).i32(0);
    let configs = configs.iter().fold(topic.i32(configs.len() as i32), |topic, (key, value)| {
        topic.string(key).string(value)
    });
    let request = configs.i32(10_000).i8(0).done();
    let mut body = connection.ask(CREATE_TOPICS, 4, &request).body();
    body.take::<8>();
    body.string();
    let error = body.i16();
    assert!(error == 0 || error == 36, "CreateTopics {name}: error {error}");
}

/// Kafka answers CreateTopics before the brokers have come to lead: until then they say 3 or 6.
pub fn wait_for_leaders(connection: &mut Connection, name: &str, partitions: i32) {
    let begin = Instant::now();
    for partition in 0..partitions {
        while list_offsets(connection, name, partition).0 != 0 {
            assert!(begin.elapsed() < LIMIT, "{name}-{partition} has no leader");
        }
    }
}

pub fn init_producer_id(connection: &mut Connection) -> (i64, i16) {
    let request = Bytes::new().i16(-1).i32(60_000).done();
    let begin = Instant::now();
    loop {
        let mut body = connection.ask(INIT_PRODUCER_ID, 1, &request).body();
        body.i32();
        match body.i16() {
            0 => return (body.i64(), body.i16()),
            // COORDINATOR_LOAD_IN_PROGRESS: Kafka's broker is fetching its first block of ids.
            14 => assert!(begin.elapsed() < LIMIT, "no producer id comes"),
            error => panic!("InitProducerId: error {error}"),
        }
    }
}

pub fn produce_body(topic: &str, partition: i32, acks: i16, records: &[u8]) -> Vec<u8> {
    let head = Bytes::new().i16(-1).i16(acks).i32(10_000);
    head.i32(1).string(topic).i32(1).i32(partition).bytes(records).done()
}

/// What a broker says to one partition of a Produce request.
#[derive(Debug, PartialEq)]
pub struct Produced {
    pub error: i16,
    pub base_offset: i64,
}

pub fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    records: &[u8],
) -> Produced {
    read_produced(connection.ask(PRODUCE, 8, &produce_body(topic, partition, -1, records)))
}

pub fn read_produced(answer: Answer) -> Produced {
    let mut body = answer.body();
    assert_eq!(body.i32(), 1, "topics");
    body.string();
    assert_eq!(body.i32(), 1, "partitions");
    body.i32();
    let error = body.i16();
    Produced { error, base_offset: body.i64() }
}

pub fn fetch_body(topic: &str, partition: i32, offset: i64, max_bytes: i32) -> Vec<u8> {
    let head = Bytes::new().i32(-1).i32(0).i32(0).i32(max_bytes).i8(0).i32(0).i32(-1);
    let topic = head.i32(1).string(topic).i32(1).i32(partition);
    topic.i32(-1).i64(offset).i64(-1).i32(max_bytes).i32(0).string("").done()
}

/// Error code and record bytes of one partition.
pub fn fetch(connection: &mut Connection, topic: &str, offset: i64) -> (i16, Vec<u8>) {
    let mut body = connection.ask(FETCH, 11, &fetch_body(topic, 0, offset, 1 << 20)).body();
    body.take::<10>();
    assert_eq!(body.i32(), 1, "topics");
    body.string();
    assert_eq!(body.i32(), 1, "partitions");
    body.i32();
    let error = body.i16();
    body.take::<24>();
    let aborted = body.i32();
    assert!(aborted <= 0, "aborted transactions");
    body.i32();
    let length = body.i32().max(0) as usize;
    (error, body.rest()[..length].to_vec())
}

pub fn delete_records(connection: &mut Connection, topic: &str, partition: i32, below: i64) {
    let head = Bytes::new().i32(1).string(topic).i32(1).i32(partition).i64(below);
    let mut body = connection.ask(DELETE_RECORDS, 1, &head.i32(10_000).done()).body();
    body.i32();
    skip_names(&mut body);
    body.i64();
    assert_eq!(body.i16(), 0, "DeleteRecords {topic}");
}

/// Error code and the offset after the last.
pub fn list_offsets(connection: &mut Connection, topic: &str, partition: i32) -> (i16, i64) {
    offset_of(connection, topic, partition, -1)
}

/// Error code and the first offset.
pub fn earliest(connection: &mut Connection, topic: &str, partition: i32) -> (i16, i64) {
    offset_of(connection, topic, partition, -2)
}

fn offset_of(connection: &mut Connection, topic: &str, partition: i32, time: i64) -> (i16, i64) {
    let head = Bytes::new().i32(-1).i32(1).string(topic).i32(1);
    let mut body = connection.ask(LIST_OFFSETS, 1, &head.i32(partition).i64(time).done()).body();
    skip_names(&mut body);
    let error = body.i16();
    body.i64();
    (error, body.i64())
}

fn skip_names(body: &mut Body) {
    assert_eq!(body.i32(), 1, "topics");
    body.string();
    assert_eq!(body.i32(), 1, "partitions");
    body.i32();
}

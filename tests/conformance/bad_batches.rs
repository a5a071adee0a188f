//! Produce requests that Kafka refuses, each with its error code; and reads of what is not there.

use crate::bad_frames::Bystander;
use crate::batch::{self, Batch};
use crate::node::{self, Node};
use crate::raw::{Answer, Bytes, Connection};
use crate::requests::{self as ask, API_VERSIONS, PRODUCE, produce_body, read_produced};
use std::io::Write;
use std::time::Duration;

const UNKNOWN_SERVER_ERROR: i16 = -1;
const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
const INVALID_RECORD: i16 = 87;

struct Bed {
    node: Node,
    connection: Connection,
    topic: String,
}

impl Bed {
    fn new() -> Bed {
        let node = Node::start();
        let mut connection = node.connect();
        let topic = crate::unique("bad");
        ask::create_topic(&mut connection, &topic, 1);
        Bed { node, connection, topic }
    }

    fn error_of(&mut self, records: &[u8]) -> i16 {
        ask::produce(&mut self.connection, &self.topic, 0, records).error
    }

    /// Each is refused with its code, on one connection that goes on, and nothing of it is kept.
    fn assert_refused(mut self, table: Vec<(&str, Vec<u8>, &[i16])>) {
        let mut bystander = Bystander::of(&self.node);
        let before = ask::list_offsets(&mut self.connection, &self.topic, 0);
        for (what, records, allowed) in table {
            let error = self.error_of(&records);
            assert!(allowed.contains(&error), "{what}: error {error}, Kafka answers {allowed:?}");
        }
        let after = ask::list_offsets(&mut self.connection, &self.topic, 0);
        assert_eq!(before, after, "something refused was kept");
        assert_eq!(self.error_of(&batch::of(&[b"sound"]).bytes()), NONE);
        bystander.assert_served();
    }
}

fn one() -> Batch {
    batch::of(&[b"x"])
}

fn with(change: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = one();
    change(&mut batch);
    batch.bytes()
}

fn spoilt(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = batch::of(&[b"one", b"two"]).bytes();
    change(&mut bytes);
    bytes
}

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 1;
}

#[test]
fn a_wrong_checksum_is_corrupt() {
    Bed::new().assert_refused(vec![
        ("a flipped bit in a record", spoilt(|b| flip(b, 70)), &[CORRUPT_MESSAGE]),
        ("a flipped bit in the CRC", spoilt(|b| flip(b, 17)), &[CORRUPT_MESSAGE]),
        ("a flipped bit in the attributes", spoilt(|b| flip(b, 22)), &[CORRUPT_MESSAGE]),
    ]);
}

#[test]
fn what_is_not_one_whole_batch_is_invalid() {
    let length = |to: i32| spoilt(|b| b[8..12].copy_from_slice(&to.to_be_bytes()));
    Bed::new().assert_refused(vec![
        ("nothing", Vec::new(), &[INVALID_RECORD]),
        ("five bytes", spoilt(|b| b.truncate(5)), &[INVALID_RECORD]),
        ("offset and length", spoilt(|b| b.truncate(12)), &[INVALID_RECORD]),
        ("a third of the header", spoilt(|b| b.truncate(20)), &[INVALID_RECORD]),
        ("the header alone", spoilt(|b| b.truncate(61)), &[INVALID_RECORD]),
        ("a byte too few", spoilt(|b| b.truncate(b.len() - 1)), &[INVALID_RECORD]),
        ("two batches", spoilt(|b| b.extend(one().bytes())), &[INVALID_RECORD]),
        ("length -1", length(-1), &[CORRUPT_MESSAGE]),
        ("length 10", length(10), &[CORRUPT_MESSAGE]),
        // Kafka falls over its own arithmetic here; Ottla says what it says of the other lengths.
        ("length 2^31 - 1", length(i32::MAX), &[UNKNOWN_SERVER_ERROR, INVALID_RECORD]),
    ]);
}

#[test]
fn old_and_unheard_of_magic_is_refused() {
    Bed::new().assert_refused(vec![
        ("magic 0", with(|b| b.magic = 0), &[INVALID_RECORD]),
        ("magic 1", with(|b| b.magic = 1), &[INVALID_RECORD]),
        ("magic 3", with(|b| b.magic = 3), &[CORRUPT_MESSAGE]),
        ("magic -1", with(|b| b.magic = -1), &[CORRUPT_MESSAGE]),
    ]);
}

#[test]
fn a_header_that_contradicts_the_records_is_invalid() {
    let two_as_one = Batch { count: 1, last_offset_delta: 0, ..batch::of(&[b"x", b"y"]) };
    let huge = |b: &mut Batch| (b.count, b.last_offset_delta) = (i32::MAX, i32::MAX - 1);
    Bed::new().assert_refused(vec![
        ("more than there are", with(|b| b.count = 3), &[INVALID_RECORD]),
        ("2^31 - 1", with(|b| b.count = i32::MAX), &[INVALID_RECORD]),
        ("2^31 - 1, and the offsets agree", with(huge), &[INVALID_RECORD]),
        ("fewer than there are", two_as_one.bytes(), &[INVALID_RECORD]),
        ("-1", with(|b| b.count = -1), &[INVALID_RECORD]),
        ("none", with(|b| (b.count, b.last_offset_delta) = (0, -1)), &[INVALID_RECORD]),
        ("one, and no records", with(|b| b.records.clear()), &[INVALID_RECORD]),
        ("last offset delta", with(|b| b.last_offset_delta = 7), &[INVALID_RECORD]),
    ]);
}

#[test]
fn records_that_lie_about_their_lengths_are_invalid() {
    let last = |to: u8| with(|b| *b.records.last_mut().expect("a header count") = to);
    Bed::new().assert_refused(vec![
        ("a record longer than the batch", with(|b| b.records[0] = 0x7e), &[INVALID_RECORD]),
        ("a record of length -1", with(|b| b.records[0] = 1), &[INVALID_RECORD]),
        ("more headers than there are", last(8), &[INVALID_RECORD]),
        ("a header count of -1", last(1), &[INVALID_RECORD]),
        ("a byte behind the last record", with(|b| b.records.push(9)), &[INVALID_RECORD]),
    ]);
}

#[test]
fn what_clients_must_not_write_is_refused() {
    let transactional = with(|b| b.attributes = 1 << 4);
    let no_sequence = one().by((5, 0), -1).bytes();
    Bed::new().assert_refused(vec![
        ("a control batch", with(|b| b.attributes = 1 << 5), &[INVALID_RECORD]),
        ("transactional, without an id", transactional, &[TRANSACTIONAL_ID_AUTHORIZATION_FAILED]),
        ("a producer without a sequence", no_sequence, &[INVALID_RECORD]),
    ]);
}

#[test]
fn what_cannot_be_decompressed_is_refused() {
    let coded = |codec: i16| with(|b| b.attributes = codec);
    let refused: &[i16] = &[UNKNOWN_SERVER_ERROR];
    Bed::new().assert_refused(vec![
        ("no gzip", coded(1), refused),
        ("no snappy", coded(2), refused),
        ("no lz4", coded(3), refused),
        ("no zstd", coded(4), refused),
        ("codec 5", coded(5), refused),
        ("codec 7", coded(7), refused),
    ]);
}

#[test]
fn a_batch_over_the_limit_is_too_large() {
    let frame = batch::of(&[&[7; 1_000_000]]).bytes().len() - 1_000_000;
    let sized = |bytes: usize| batch::of(&[&vec![7; bytes - frame]]).bytes();
    let limit = 1_048_588;
    let mut bed = Bed::new();
    assert_eq!(sized(limit).len(), limit);
    assert_eq!(bed.error_of(&sized(limit)), NONE, "what is just allowed");
    bed.assert_refused(vec![
        ("one byte over", sized(limit + 1), &[MESSAGE_TOO_LARGE]),
        ("twice and more", sized(2 * limit + 7), &[MESSAGE_TOO_LARGE]),
    ]);
}

/// A quarter of a megabyte that becomes a quarter of a gibibyte is taken: its bytes on the wire are within the limit.
#[test]
fn a_bomb_is_taken_and_not_kept_in_memory() {
    let _turn = node::turn();
    let mut bed = Bed::new();
    let mut bystander = Bystander::of(&bed.node);
    let before = bed.node.resident();
    let bomb = gzip_of_one_record(1 << 28);
    assert!(bomb.len() < 1_048_588);
    assert_eq!(bed.error_of(&bomb), NONE);
    bystander.assert_served();
    bed.node.assert_grew_less(before, 32 << 20);
}

/// Requests of many batches that grow, on more connections than there are threads: between two batches others are served.
#[test]
fn many_bombs_in_one_request_let_others_be_served() {
    const BOMBS: i32 = 24;
    let _turn = node::turn();
    let mut bed = Bed::new();
    let topic = crate::unique("bombs");
    ask::create_topic(&mut bed.connection, &topic, BOMBS);
    let bomb = gzip_of_one_record(4 << 20);
    let mut bystander = Bystander::of(&bed.node);
    let head = Bytes::new().i16(-1).i16(1).i32(60_000).i32(1).string(&topic).i32(BOMBS);
    let body = (0..BOMBS).fold(head, |body, index| body.i32(index).bytes(&bomb)).done();
    let mut crowd: Vec<Connection> = (0..4).map(|_| bed.node.connect()).collect();
    crowd.iter_mut().for_each(|connection| connection.send(PRODUCE, 8, &body));
    let served = bystander.served_before(&crowd);
    assert!(served >= BOMBS as usize / 3, "{served} requests served meanwhile");
    for mut connection in crowd {
        connection.stream().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        connection.receive().body();
    }
}

fn gzip_of_one_record(value: i64) -> Vec<u8> {
    let mut head = vec![0, 0];
    for number in [0, -1, value] {
        batch::varint(number, &mut head);
    }
    let mut record = Vec::new();
    batch::varint(head.len() as i64 + value + 1, &mut record);
    record.extend(head);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&record).expect("memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..value >> 20 {
        gzip.write_all(&zeros).expect("memory");
    }
    gzip.write_all(&[0]).expect("memory");
    let records = gzip.finish().expect("memory");
    Batch { attributes: 1, records, ..one() }.bytes()
}

#[test]
fn sequences_are_held() {
    let mut bed = Bed::new();
    let (id, epoch) = ask::init_producer_id(&mut bed.connection);
    let two = |sequence| batch::of(&[b"x", b"y"]).by((id, epoch), sequence).bytes();
    let topic = bed.topic.clone();
    let mut produce = |records: Vec<u8>| {
        let produced = ask::produce(&mut bed.connection, &topic, 0, &records);
        (produced.error, produced.base_offset)
    };
    assert_eq!(produce(two(0)), (NONE, 0));
    assert_eq!(produce(two(0)), (NONE, 0), "a retry is acknowledged with its first offset");
    assert_eq!(produce(two(1)), (OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "an overlap");
    assert_eq!(produce(two(9)), (OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "a gap");
    assert_eq!(produce(two(2)), (NONE, 2));
    assert_eq!(produce(two(0)), (NONE, 0), "an older retry, still in the cache");
    let next = |sequence| one().by((id, epoch + 1), sequence).bytes();
    assert_eq!(produce(next(5)), (OUT_OF_ORDER_SEQUENCE_NUMBER, -1), "a new epoch begins at 0");
    assert_eq!(produce(next(0)), (NONE, 4));
    assert_eq!(produce(two(4)), (INVALID_PRODUCER_EPOCH, -1), "the epoch before");
    let unknown = one().by((id + 900_000, 0), 7).bytes();
    assert_eq!(produce(unknown), (NONE, 5), "a producer never seen may begin anywhere");
}

#[test]
fn the_sixth_batch_back_is_no_duplicate_any_more() {
    let mut bed = Bed::new();
    let producer = ask::init_producer_id(&mut bed.connection);
    for sequence in 0..6 {
        assert_eq!(bed.error_of(&one().by(producer, sequence).bytes()), NONE);
    }
    assert_eq!(bed.error_of(&one().by(producer, 1).bytes()), NONE, "the fifth back");
    let error = bed.error_of(&one().by(producer, 0).bytes());
    assert_eq!(error, OUT_OF_ORDER_SEQUENCE_NUMBER, "the sixth back");
}

#[test]
fn producing_to_what_is_not_there_is_refused() {
    let mut bed = Bed::new();
    let topic = bed.topic.clone();
    let long = "x".repeat(250);
    let places = [(topic.as_str(), 1), (&topic, -1), (&topic, i32::MAX), ("not there", 0)];
    let names = ["", ".", "..", &long, "__cluster_metadata"].map(|name| (name, 0));
    for (topic, partition) in places.into_iter().chain(names) {
        let produced = ask::produce(&mut bed.connection, topic, partition, &one().bytes());
        assert_eq!(produced.error, UNKNOWN_TOPIC_OR_PARTITION, "{topic:?}-{partition}");
    }
}

#[test]
fn acks_are_held() {
    let mut bed = Bed::new();
    let mut ask = |acks| {
        let body = produce_body(&bed.topic, 0, acks, &one().bytes());
        read_produced(bed.connection.ask(PRODUCE, 8, &body)).error
    };
    assert_eq!([2, -2, 1, -1].map(&mut ask), [INVALID_REQUIRED_ACKS, INVALID_REQUIRED_ACKS, 0, 0]);
}

#[test]
fn without_acks_an_error_closes_the_connection_and_success_says_nothing() {
    let mut bed = Bed::new();
    bed.connection.send(PRODUCE, 8, &produce_body(&bed.topic, 0, 0, &one().bytes()));
    assert!(bed.connection.is_served(), "the next answer is the next request's");
    assert_eq!(ask::list_offsets(&mut bed.connection, &bed.topic, 0), (NONE, 1));
    bed.connection.send(PRODUCE, 8, &produce_body("not there", 0, 0, &one().bytes()));
    assert_eq!(bed.connection.ask(API_VERSIONS, 0, &[]), Answer::Closed);
}

#[test]
fn reading_what_is_not_there_is_refused() {
    let mut bed = Bed::new();
    assert_eq!(bed.error_of(&one().bytes()), NONE);
    let connection = &mut bed.connection;
    let mut fetch = |topic: &str, offset| ask::fetch(connection, topic, offset);
    assert_eq!(fetch(&bed.topic, 1), (NONE, Vec::new()), "the end");
    for offset in [-1, 2, i64::MAX, i64::MIN] {
        assert_eq!(fetch(&bed.topic, offset).0, OFFSET_OUT_OF_RANGE, "offset {offset}");
    }
    for topic in ["not there", "..", ""] {
        assert_eq!(fetch(topic, 0).0, UNKNOWN_TOPIC_OR_PARTITION, "{topic:?}");
    }
    let unknown = (UNKNOWN_TOPIC_OR_PARTITION, -1);
    assert_eq!(ask::list_offsets(connection, &bed.topic, 3), unknown);
    assert_eq!(ask::list_offsets(connection, "not there", 0), unknown);
}

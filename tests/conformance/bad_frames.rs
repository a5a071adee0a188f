//! What is no request, or none that can be served.

use crate::node::Node;
use crate::raw::{Answer, Bytes, Connection, frame};
use crate::requests::{self, API_VERSIONS, METADATA, PRODUCE, produce_body};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A build that is not optimised, among other tests on two cores, takes some milliseconds; clients' patience is 10 s.
const NOTICED: Duration = Duration::from_secs(2);

/// Another client, which must be served whatever the bad one does.
pub struct Bystander {
    address: SocketAddr,
    connection: Connection,
    topic: String,
}

impl Bystander {
    pub fn of(node: &Node) -> Bystander {
        let mut connection = node.connect();
        let topic = crate::unique("bystander");
        requests::create_topic(&mut connection, &topic, 1);
        let mut bystander = Bystander { address: node.address, connection, topic };
        bystander.assert_served();
        bystander
    }

    /// On the connection held since before, and on a new one; each answer within [`NOTICED`].
    pub fn assert_served(&mut self) {
        let begin = Instant::now();
        let record = crate::batch::of(&[b"I am served"]).bytes();
        let first = requests::produce(&mut self.connection, &self.topic, 0, &record);
        assert_eq!(first.error, 0, "produce on a connection held");
        let mut fresh = Connection::open(self.address);
        let second = requests::produce(&mut fresh, &self.topic, 0, &record);
        assert_eq!((second.error, second.base_offset), (0, first.base_offset + 1));
        let (error, records) = requests::fetch(&mut fresh, &self.topic, second.base_offset);
        assert_eq!((error, records.len()), (0, record.len()), "fetch on a new connection");
        let took = begin.elapsed();
        assert!(took < NOTICED, "it notices: three answers took {took:?}");
    }

    /// How often this one is answered before any of those is, who have asked before.
    pub fn served_before(&mut self, crowd: &[Connection]) -> usize {
        let answered = |connection: &Connection| {
            connection.stream().set_nonblocking(true).expect("a socket");
            let answered = connection.stream().peek(&mut [0]).is_ok();
            connection.stream().set_nonblocking(false).expect("a socket");
            answered
        };
        let mut served = 0;
        while !crowd.iter().any(answered) {
            assert!(self.connection.is_served());
            served += 1;
        }
        eprintln!("MEASURED: {served} requests served before the first of {}", crowd.len());
        served
    }
}

/// Sends bytes as they are; answers what is done with the connection.
fn after(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(address);
    connection.send_bytes(bytes);
    connection.receive()
}

/// Of what no listener serves: the controller's closes it too.
fn assert_closes(bytes: &[u8]) {
    let node = Node::start();
    // Where another's is, is not known.
    let controller = node.pid().map(|_| node.controller());
    assert_closed_by(&node, bytes, &[Some(node.address), controller]);
}

fn assert_closed_by(node: &Node, bytes: &[u8], listeners: &[Option<SocketAddr>]) {
    let mut bystander = Bystander::of(node);
    let before = node.resident();
    for listener in listeners.iter().flatten() {
        for _ in 0..20 {
            assert_eq!(after(*listener, bytes), Answer::Closed, "{listener}");
        }
    }
    bystander.assert_served();
    node.assert_grew_less(before, 64 << 20);
}

#[test]
fn another_protocol_is_closed() {
    assert_closes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

#[test]
fn a_tls_hello_is_closed() {
    assert_closes(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn garbage_in_a_sound_frame_is_closed() {
    let garbage: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(151).wrapping_add(89)).collect();
    assert_closes(&Bytes::new().bytes(&garbage).done());
}

#[test]
fn a_frame_of_two_gibibytes_is_closed_before_its_bytes_come() {
    assert_closes(&i32::MAX.to_be_bytes());
}

#[test]
fn a_frame_one_byte_over_the_limit_is_closed() {
    assert_closes(&(100 * 1024 * 1024 + 1i32).to_be_bytes());
}

#[test]
fn a_negative_length_is_closed() {
    assert_closes(&(-1i32).to_be_bytes());
    assert_closes(&i32::MIN.to_be_bytes());
}

#[test]
fn an_empty_frame_is_closed() {
    assert_closes(&0i32.to_be_bytes());
}

#[test]
fn a_frame_of_half_a_header_is_closed() {
    assert_closes(&Bytes::new().bytes(&[0, 18, 0, 0, 0]).done());
}

#[test]
fn half_a_frame_is_waited_for_and_dropped_with_its_connection() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let whole = frame(METADATA, 1, 1, &Bytes::new().i32(0).done());
    let mut connection = node.connect();
    let (first, second) = whole.split_at(whole.len() - 2);
    connection.send_bytes(first);
    bystander.assert_served();
    connection.send_bytes(second);
    connection.expect_next();
    assert!(matches!(connection.receive(), Answer::Body(_)), "the other half was waited for");
    connection.send_bytes(first);
    connection.finish_sending();
    assert_eq!(connection.receive(), Answer::Closed);
    bystander.assert_served();
}

#[test]
fn a_body_shorter_than_its_lengths_say_is_closed() {
    let topics = i32::MAX;
    assert_closes(&frame(METADATA, 1, 1, &Bytes::new().i32(topics).done()));
    assert_closes(&frame(METADATA, 1, 1, &Bytes::new().i32(1).i16(i16::MAX).done()));
    assert_closes(&frame(METADATA, 1, 1, &Bytes::new().i32(1).i16(-7).done()));
    let whole = produce_body("topic", 0, -1, &[0; 100]);
    assert_closes(&frame(PRODUCE, 8, 1, &whole[..whole.len() - 50]));
}

/// Kafka reads such bytes as replacement characters, and no topic may be called that.
#[test]
fn a_topic_name_that_is_no_text_is_an_invalid_topic() {
    let node = Node::start();
    let mut connection = node.connect();
    let name = [0xff, 0xfe];
    let mut body =
        connection.ask(METADATA, 1, &Bytes::new().i32(1).i16(2).raw(&name).done()).body();
    let topic = body.rest().len() - (2 + 2 + 6 + 1 + 4);
    let answered = Bytes::new().i16(17).string("\u{fffd}\u{fffd}").done();
    assert_eq!(body.rest()[topic..][..10], answered, "INVALID_TOPIC_EXCEPTION");
    assert_eq!(body.i32(), 1, "brokers");
}

#[test]
fn bytes_behind_the_body_are_passed_over() {
    let node = Node::start();
    let mut connection = node.connect();
    let answer = connection.ask(METADATA, 1, &Bytes::new().i32(0).i64(7).done());
    assert!(matches!(answer, Answer::Body(_)));
    assert!(connection.is_served());
}

#[test]
fn an_unknown_api_key_is_closed() {
    for key in [95, 999, -1, i16::MAX, i16::MIN] {
        assert_closes(&frame(key, 0, 1, &[]));
    }
}

/// LeaderAndIsr, StopReplica, UpdateMetadata and ControlledShutdown lost their last version with ZooKeeper.
#[test]
fn a_removed_api_is_closed() {
    for key in 4..=7 {
        assert_closes(&frame(key, 0, 1, &[]));
    }
}

/// Vote, BeginQuorumEpoch and the like are served to controllers, on their listener.
#[test]
fn a_controllers_api_is_closed() {
    for key in [52, 62, 63] {
        let node = Node::start();
        assert_closed_by(&node, &frame(key, 0, 1, &[0; 32]), &[Some(node.address)]);
    }
}

#[test]
fn a_version_never_heard_of_is_closed() {
    for (key, version) in [(METADATA, 99), (METADATA, -1), (PRODUCE, 2), (PRODUCE, 14)] {
        assert_closes(&frame(key, version, 1, &[0; 16]));
    }
}

#[test]
fn api_versions_answers_a_version_never_heard_of_in_version_0() {
    let node = Node::start();
    let mut connection = node.connect();
    for version in [6, 99, i16::MAX, -1] {
        let answer = connection.ask(API_VERSIONS, version, &[0, 0, 0, 0]);
        let only_itself = Bytes::new().i16(35).i32(1).i16(API_VERSIONS).i16(0).i16(5).done();
        assert_eq!(answer, Answer::Body(only_itself), "UNSUPPORTED_VERSION, and what is");
    }
    assert!(connection.is_served(), "the connection goes on");
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let node = Node::start();
    let mut connection = node.connect();
    let frames: Vec<u8> = (1..=100).flat_map(|id| frame(API_VERSIONS, 0, id, &[])).collect();
    connection.send_bytes(&frames);
    for _ in 1..=100 {
        connection.expect_next();
        assert!(matches!(connection.receive(), Answer::Body(_)));
    }
}

#[test]
fn a_request_byte_by_byte_is_answered() {
    let node = Node::start();
    let mut connection = node.connect();
    connection.expect_next();
    for byte in frame(API_VERSIONS, 0, 1, &[]) {
        connection.send_bytes(&[byte]);
    }
    assert!(matches!(connection.receive(), Answer::Body(_)));
}

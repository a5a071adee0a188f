//! Many connections, and clients that take and give nothing.

use crate::bad_frames::Bystander;
use crate::batch;
use crate::node::{self, Node};
use crate::raw::{Answer, Bytes, Connection, frame};
use crate::requests::{self as ask, API_VERSIONS, FETCH, METADATA, fetch_body};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MEBIBYTE: u64 = 1 << 20;
const DESCRIBE_CONFIGS: i16 = 32;

/// Raises the limit of open files, which the node inherits; answers how many connections a test may hold.
fn room_for_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
    // The node accepts as many as three eighths of its descriptors, of which controllers and brokers have a part.
    let room = (limit.maximum.unwrap_or(u64::MAX) / 10 * 3).saturating_sub(10) as usize;
    if room < wanted {
        let demanded = std::env::var_os("OTTLA_DEMAND_CONNECTIONS").is_some();
        assert!(!demanded, "the limit of open files allows {room} connections of {wanted}");
        eprintln!("SKIPPED in part: {room} connections of {wanted}, the limit of open files");
    }
    wanted.min(room)
}

#[test]
fn five_thousand_connections_at_once_are_served() {
    let _turn = node::turn();
    let count = room_for_connections(5_000);
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let before = node.resident();
    let begin = Instant::now();
    let mut connections: Vec<Connection> = (0..count).map(|_| node.connect()).collect();
    bystander.assert_served();
    for connection in &mut connections {
        connection.send(18, 0, &[]);
    }
    for connection in &mut connections {
        assert!(matches!(connection.receive(), Answer::Body(_)));
    }
    eprintln!("MEASURED: {count} connections opened and answered in {:?}", begin.elapsed());
    bystander.assert_served();
    node.assert_grew_less(before, 200 * MEBIBYTE);
    drop(connections);
    bystander.assert_served();
}

/// Of those that knock while the node accepts nobody, as many as the kernel has let in by then.
fn let_in(test: &str, settings: &[&str], knocking: usize) -> Option<usize> {
    let node = Node::start_own_with(test, &[&["max.connections=1"], settings].concat())?;
    let mut only = node.connect();
    assert!(only.is_served());
    let address = node.address.into();
    let sockets: Vec<Socket> = (0..knocking)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("a socket that does not block");
            let _ = socket.connect(&address);
            socket
        })
        .collect();
    Some(sockets.iter().filter(|socket| socket.peer_addr().is_ok()).count())
}

#[test]
fn as_many_wait_to_be_accepted_as_is_said() {
    let test = "as_many_wait_to_be_accepted_as_is_said";
    let Some(few) = let_in(test, &["socket.listen.backlog.size=1"], 30) else { return };
    assert!(few <= 5, "{few} wait behind a backlog of one");
}

/// Who finds no room knocks again a second later, and Kafka's default, 50, is full as soon as hundreds connect one after the other.
#[test]
fn a_hundred_wait_to_be_accepted_where_nothing_is_said() {
    let test = "a_hundred_wait_to_be_accepted_where_nothing_is_said";
    let Some(node) = Node::start_own_with(test, &["max.connections=1"]) else { return };
    let mut only = node.connect();
    assert!(only.is_served());
    let knock = |_| TcpStream::connect_timeout(&node.address, Duration::from_secs(20));
    let waiting: Vec<_> = (0..100).map(|n| knock(n).expect("it is let in")).collect();
    assert!(only.is_served());
    drop(waiting);
}

/// Apache Kafka takes the memory when the length has come: 2,000 times 100 MiB, and with its default heap it stops serving.
#[test]
fn frames_promised_and_never_sent_take_no_memory() {
    let _turn = node::turn();
    let count = room_for_connections(2_000);
    let test = "frames_promised_and_never_sent_take_no_memory";
    let Some(node) = Node::start_own(test) else { return };
    let mut bystander = Bystander::of(&node);
    let (before, reserved) = (node.resident(), node.reserved());
    let promise = (100i32 << 20).to_be_bytes();
    let mut connections: Vec<Connection> = (0..count).map(|_| node.connect()).collect();
    for connection in &mut connections {
        connection.send_bytes(&promise);
    }
    bystander.assert_served();
    node.assert_grew_less(before, 100 * MEBIBYTE);
    for connection in &mut connections {
        connection.send_bytes(&[0; 1024]);
    }
    bystander.assert_served();
    node.assert_grew_less(before, 100 * MEBIBYTE);
    // What is set aside and not written to is not resident; of what was promised it would be 200 GiB.
    let aside = node.reserved().zip(reserved).map_or(0, |(now, before)| now.saturating_sub(before));
    assert!(aside < 4096 * MEBIBYTE, "{} MiB set aside", aside >> 20);
}

/// They are covered by the node's budget as they arrive: beyond it they are left to the kernel, and small requests go on.
#[test]
fn half_frames_are_held_only_within_the_budget() {
    half_frames_are_held("half_frames_are_held_only_within_the_budget", |_| {});
}

/// What a connection has sent before gives it nothing on top.
#[test]
fn half_frames_behind_long_ones_are_held_only_within_the_budget() {
    let test = "half_frames_behind_long_ones_are_held_only_within_the_budget";
    half_frames_are_held(test, |connection| {
        assert!(matches!(connection.ask(API_VERSIONS, 0, &[0; 100_000]), Answer::Body(_)));
    });
}

fn half_frames_are_held(test: &str, before_that: impl Fn(&mut Connection)) {
    let _turn = node::turn();
    let count = room_for_connections(1_000);
    let budget = ["queued.max.request.bytes=16777216", "socket.request.max.bytes=16777216"];
    let Some(node) = Node::start_own_with(test, &budget) else { return };
    let mut bystander = Bystander::of(&node);
    let before = node.resident();
    let half = [&(16i32 << 20).to_be_bytes()[..], &[0; 126 * 1024]].concat();
    let mut connections: Vec<Connection> = (0..count).map(|_| node.connect()).collect();
    connections.iter_mut().for_each(before_that);
    for connection in &connections {
        let mut stream = connection.stream();
        stream.set_nonblocking(true).expect("a socket that does not block");
        let mut sent = 0;
        while let Ok(more) = stream.write(&half[sent..]) {
            sent += more;
            if sent == half.len() {
                break;
            }
        }
    }
    for _ in 0..10 {
        bystander.assert_served();
    }
    node.assert_grew_less(before, 64 * MEBIBYTE);
}

/// Sends until the broker stops reading; answers how many frames it took.
fn stuff(connection: &Connection, frame: &[u8], limit: u64) -> u64 {
    let mut stream = connection.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut sent = 0;
    while sent < limit {
        match stream.write_all(frame) {
            Ok(()) => sent += 1,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("closed after {sent} frames: {error}"),
        }
    }
    sent
}

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    let _turn = node::turn();
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let mut writer = node.connect();
    let topic = crate::unique("unread");
    ask::create_topic(&mut writer, &topic, 1);
    let batch = batch::of(&[&[7; 900_000]]).bytes();
    for _ in 0..20 {
        assert_eq!(ask::produce(&mut writer, &topic, 0, &batch).error, 0);
    }
    let before = node.resident();
    let fetch = frame(FETCH, 11, 1, &fetch_body(&topic, 0, 0, 16 << 20));
    let deaf: Vec<Connection> = (0..8).map(|_| node.connect()).collect();
    for connection in &deaf {
        SockRef::from(connection.stream()).set_recv_buffer_size(4096).expect("a small buffer");
        let frames = 10 * MEBIBYTE / fetch.len() as u64;
        let sent = stuff(connection, &fetch, frames);
        assert!(sent < frames, "the broker went on reading: {sent} requests, none answered");
    }
    bystander.assert_served();
    node.assert_grew_less(before, 150 * MEBIBYTE);
}

#[test]
fn small_requests_without_end_and_unread_answers_take_no_memory() {
    let node = Node::start();
    let mut bystander = Bystander::of(&node);
    let before = node.resident();
    let connection = node.connect();
    let ask_for_all = frame(METADATA, 1, 1, &(-1i32).to_be_bytes());
    let frames = 64 * MEBIBYTE / ask_for_all.len() as u64;
    let sent = stuff(&connection, &ask_for_all, frames);
    assert!(sent < frames, "the broker went on reading: {sent} requests, none answered");
    bystander.assert_served();
    node.assert_grew_less(before, 64 * MEBIBYTE);
}

/// The node's configuration, told as often as it is named: more than a MiB.
fn ask_for_much(connection: &mut Connection) {
    SockRef::from(connection.stream()).set_recv_buffer_size(4096).expect("a small buffer");
    let times = 60;
    let broker = Bytes::new().i8(4).string("1").i32(-1).done().repeat(times);
    connection.send(DESCRIBE_CONFIGS, 1, &Bytes::new().i32(times as i32).raw(&broker).i8(1).done());
    connection.stream().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    connection.stream().peek(&mut [0]).expect("the answer's first byte");
}

/// Beyond the budget, those whose answers have been unread for longest make room.
#[test]
fn answers_that_nobody_reads_are_held_only_within_the_budget() {
    let _turn = node::turn();
    let test = "answers_that_nobody_reads_are_held_only_within_the_budget";
    let budget = ["queued.max.request.bytes=2097152", "socket.request.max.bytes=2097152"];
    let Some(node) = Node::start_own_with(test, &budget) else { return };
    let mut bystander = Bystander::of(&node);
    let before = node.resident();
    let mut deaf: Vec<Connection> = (0..6).map(|_| node.connect()).collect();
    deaf.iter_mut().for_each(ask_for_much);
    bystander.assert_served();
    node.assert_grew_less(before, 64 * MEBIBYTE);
    let mut last = deaf.pop().expect("a connection");
    let Answer::Body(answer) = last.receive() else { panic!("the newest is there") };
    assert!(answer.len() as u64 > MEBIBYTE, "{} bytes", answer.len());
    assert_eq!(deaf[0].receive(), Answer::Closed, "the oldest made room");
    assert!(last.is_served());
}

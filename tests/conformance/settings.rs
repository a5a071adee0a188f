//! Settings that are honoured, seen from outside: what they bound or pace is looked for.

use crate::batch;
use crate::limits::{ALL_BROKERS, alter, reset};
use crate::node::{Node, free_address};
use crate::raw::{Bytes, Connection};
use crate::requests::{CREATE_TOPICS, FETCH, create_topic, earliest, list_offsets, produce};
use crate::starting::home;
use crate::unique;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Less than the defaults of what is waited for here.
const LIMIT: Duration = Duration::from_secs(20);
const REQUEST_TIMED_OUT: i16 = 7;
const MESSAGE_TOO_LARGE: i16 = 10;

pub fn until(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LIMIT, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn a_record(connection: &mut Connection, topic: &str, value: &[u8]) -> i16 {
    produce(connection, topic, 0, &batch::of(&[value]).bytes()).error
}

/// The records of the metadata log, as `ottla dump-log` shows them.
fn metadata_records(data: &Path) -> String {
    let log = data.join("__cluster_metadata-0/00000000000000000000.log");
    let args = ["dump-log", "--cluster-metadata-decoder", "--files", &log.to_string_lossy()];
    let (status, said) = crate::node::ended(&args.map(str::to_owned));
    assert!(status.success(), "{said}");
    said
}

/// A broker that asks to go is fenced before it is gone; with one broker this shows in the metadata log alone.
#[test]
fn a_stop_is_announced_to_the_controller_where_that_is_enabled() {
    let test = "a_stop_is_announced_to_the_controller_where_that_is_enabled";
    for enabled in [true, false] {
        let setting = format!("controlled.shutdown.enable={enabled}");
        let Some(node) = Node::start_own_with(test, &[&setting]) else { return };
        let (status, said, home) = node.terminate();
        assert!(status.success(), "{said}");
        let records = metadata_records(&home.path().join("data"));
        assert!(records.contains("REGISTER_BROKER_RECORD"), "{records}");
        assert_eq!(records.contains("\"fenced\":1"), enabled, "{records}");
    }
}

#[test]
fn a_client_is_answered_within_request_timeout_ms() {
    let test = "a_client_is_answered_within_request_timeout_ms";
    let Some(node) = Node::start_own_with(test, &["request.timeout.ms=1"]) else { return };
    // More than a millisecond's work; the client itself would wait for ten seconds.
    let topic = Bytes::new().i32(1).string("large").i32(5000).i16(1).i32(0).i32(0);
    let mut body = node.connect().ask(CREATE_TOPICS, 4, &topic.i32(10_000).i8(0).done()).body();
    body.take::<8>();
    body.string();
    assert_eq!(body.i16(), REQUEST_TIMED_OUT);
}

/// The id of a new fetch session over the topic, 0 where there is no room for one.
fn fetch_session(connection: &mut Connection, topic: &str) -> i32 {
    let head = Bytes::new().i32(-1).i32(0).i32(0).i32(1 << 20).i8(0).i32(0).i32(0);
    let topic = head.i32(1).string(topic).i32(1).i32(0);
    let body = topic.i32(-1).i64(0).i64(-1).i32(1 << 20).i32(0).string("").done();
    let mut answer = connection.ask(FETCH, 11, &body).body();
    answer.i32();
    assert_eq!(answer.i16(), 0);
    answer.i32()
}

#[test]
fn fetch_sessions_are_as_many_as_there_are_slots() {
    let test = "fetch_sessions_are_as_many_as_there_are_slots";
    let setting = ["max.incremental.fetch.session.cache.slots=2"];
    let Some(node) = Node::start_own_with(test, &setting) else { return };
    let topic = unique("sessions");
    create_topic(&mut node.connect(), &topic, 1);
    let ids = [(); 4].map(|()| fetch_session(&mut node.connect(), &topic));
    assert!(ids[0] != 0 && ids[1] != 0 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(ids[2..], [0, 0], "a session can only be replaced when it has rested");
}

/// The node's own end of a connection with these ports, its own and the other's; none where it has none such.
pub fn socket_between(
    node: &Node,
    own: Option<u16>,
    other: Option<u16>,
) -> Option<rustix::fd::OwnedFd> {
    let pid = node.pid().expect("a process of the test's own");
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("/proc");
    let is_wanted = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let mut is = |wanted: Option<u16>| {
            let port = words.next().and_then(|word| word.split_once(':'));
            let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            wanted.is_none_or(|wanted| port == Some(wanted))
        };
        is(own) & is(other)
    };
    let inode =
        |line: &str| line.split_whitespace().nth(9).map(|inode| format!("socket:[{inode}]"));
    let inodes: Vec<String> = table.lines().filter(is_wanted).filter_map(inode).collect();
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc");
    let is_it = |fd: &fs::DirEntry| {
        fs::read_link(fd.path()).is_ok_and(|to| inodes.iter().any(|inode| to == Path::new(inode)))
    };
    let fd = fds.flatten().find(is_it)?.file_name();
    let fd: i32 = fd.to_string_lossy().parse().expect("a number");
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a child");
    Some(pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).expect("a child's descriptor"))
}

#[test]
fn sockets_have_the_buffers_that_are_asked_for() {
    let test = "sockets_have_the_buffers_that_are_asked_for";
    let settings = ["socket.send.buffer.bytes=65536", "socket.receive.buffer.bytes=50000"];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let mut connection = node.connect();
    assert!(connection.is_served());
    let client = connection.stream().local_addr().expect("an address").port();
    let socket = socket_between(&node, Some(node.address.port()), Some(client)).expect("its end");
    // Linux doubles what is asked for, for its own bookkeeping: socket(7).
    let sent = rustix::net::sockopt::socket_send_buffer_size(&socket).expect("a socket");
    let received = rustix::net::sockopt::socket_recv_buffer_size(&socket).expect("a socket");
    assert_eq!((sent, received), (131_072, 100_000));
}

#[test]
fn checkpoints_are_written_as_often_as_is_asked_for() {
    let test = "checkpoints_are_written_as_often_as_is_asked_for";
    // By default each minute.
    let settings = [
        "log.flush.offset.checkpoint.interval.ms=50",
        "log.flush.start.offset.checkpoint.interval.ms=50",
        "log.flush.interval.messages=1",
    ];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let topic = unique("checkpoints");
    let mut connection = node.connect();
    create_topic(&mut connection, &topic, 1);
    for _ in 0..3 {
        assert_eq!(a_record(&mut connection, &topic, b"a record"), 0);
    }
    let data = node.data().expect("a node of the test's own");
    let says = |file: &str, line: &str| {
        fs::read_to_string(data.join(file)).is_ok_and(|text| text.lines().any(|l| l == line))
    };
    let line = format!("{topic} 0 3");
    until("the recovery point", || says("recovery-point-offset-checkpoint", &line));
    let body = Bytes::new().i32(1).string(&topic).i32(1).i32(0).i64(2).i32(10_000).done();
    connection.ask(21, 0, &body).body();
    let line = format!("{topic} 0 2");
    until("the log start", || says("log-start-offset-checkpoint", &line));
}

#[test]
fn a_broker_beats_as_often_as_is_asked_for() {
    let test = "a_broker_beats_as_often_as_is_asked_for";
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        eprintln!("SKIPPED {test}: it needs a process of its own, OTTLA_BOOTSTRAP is set");
        return;
    }
    let (home, address, console) = (home(), free_address(), free_address());
    let (data, at) = (home.path().join("data").to_string_lossy().into_owned(), console.to_string());
    let listen = address.to_string();
    let args = ["start", "--data", &data, "--listen", &listen, "--console", &at];
    let set = ["--set", "broker.heartbeat.interval.ms=10"];
    let args: Vec<String> = args.into_iter().chain(set).map(str::to_owned).collect();
    let _node = Node::start_by(home, address, args);
    let beats = || {
        let metrics = crate::commands::get(console, "/metrics").body;
        let answered = metrics.lines().find_map(|line| {
            line.strip_prefix("ottla_messages_handled_total{node=\"1\",kind=\"broker-lifecycle\",message=\"Beaten\"} ")
        });
        answered.and_then(|count| count.parse::<u32>().ok()).unwrap_or(0)
    };
    // By default one in two seconds: these would take forty.
    until("twenty answered heartbeats", || beats() >= 20);
}

#[test]
fn the_metadata_log_gives_up_what_is_old() {
    let test = "the_metadata_log_gives_up_what_is_old";
    let settings = [
        "metadata.log.max.record.bytes.between.snapshots=4096",
        "metadata.max.retention.ms=100",
        "internal.metadata.log.segment.bytes=2048",
        "internal.metadata.delete.delay.millis=100",
    ];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let dir = node.data().expect("a node of the test's own").join("__cluster_metadata-0");
    let first = dir.join("00000000000000000000.log");
    until("the first segment to go", || {
        create_topic(&mut node.connect(), &unique("old"), 10);
        !first.exists()
    });
}

#[test]
fn threads_are_as_many_as_are_asked_for() {
    let test = "threads_are_as_many_as_are_asked_for";
    let settings = ["num.network.threads=9", "num.io.threads=6", "ottla.control.threads=3"];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let pid = node.pid().expect("a process of the test's own");
    let tasks = || fs::read_dir(format!("/proc/{pid}/task")).expect("/proc").flatten();
    let names = || tasks().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let count = |wanted: &str| names().filter(|name| name.trim_end() == wanted).count();
    for (name, threads) in [("ottla-network", 9), ("ottla-storage", 6), ("ottla-control", 3)] {
        assert_eq!(count(name), threads, "threads of {name}");
    }
}

#[test]
fn what_is_altered_for_one_broker_goes_before_what_holds_for_all() {
    let test = "what_is_altered_for_one_broker_goes_before_what_holds_for_all";
    let Some(node) = Node::start_own(test) else { return };
    let mut connection = node.connect();
    let topic = unique("altered");
    create_topic(&mut connection, &topic, 1);
    let large = [b'x'; 5000];
    assert_eq!(a_record(&mut connection, &topic, &large), 0);
    let mut until_answered = |wanted: i16| {
        let begin = Instant::now();
        while a_record(&mut connection, &topic, &large) != wanted {
            assert!(begin.elapsed() < LIMIT, "waited for {wanted}");
        }
    };
    let mut admin = node.connect();
    alter(&mut admin, ALL_BROKERS, "message.max.bytes", "1000");
    until_answered(MESSAGE_TOO_LARGE);
    alter(&mut admin, "1", "message.max.bytes", "100000");
    until_answered(0);
    reset(&mut admin, "1", "message.max.bytes");
    until_answered(MESSAGE_TOO_LARGE);
    reset(&mut admin, ALL_BROKERS, "message.max.bytes");
    until_answered(0);
}

#[test]
fn retention_altered_while_the_node_runs_holds_from_then_on() {
    let test = "retention_altered_while_the_node_runs_holds_from_then_on";
    let settings = [
        "log.retention.ms=-1",
        "log.retention.check.interval.ms=50",
        "log.initial.task.delay.ms=50",
    ];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let topic = unique("retained");
    let mut connection = node.connect();
    create_topic(&mut connection, &topic, 1);
    let mut old = batch::of(&[b"old"]);
    old.time = 1_700_000_000_000;
    assert_eq!(produce(&mut connection, &topic, 0, &old.bytes()).error, 0);
    assert_eq!(earliest(&mut connection, &topic, 0), (0, 0));
    alter(&mut connection, "1", "log.retention.ms", "1000");
    let begin = Instant::now();
    while earliest(&mut connection, &topic, 0) != (0, 1) {
        assert!(begin.elapsed() < LIMIT, "it is still there");
    }
}

pub fn described(connection: &mut Connection, topic: &str, names: &[&str]) -> Vec<String> {
    const DESCRIBE_CONFIGS: i16 = 32;
    let body = Bytes::new().i32(1).i8(2).string(topic).i32(names.len() as i32);
    let body = names.iter().fold(body, |body, name| body.string(name)).i8(0).done();
    let mut answer = connection.ask(DESCRIBE_CONFIGS, 1, &body).body();
    answer.i32();
    assert_eq!((answer.i32(), answer.i16()), (1, 0), "{topic}");
    answer.string();
    answer.take::<1>();
    answer.string();
    let found = (0..answer.i32()).map(|_| {
        let (name, value) = (answer.string(), answer.string());
        answer.take::<7>();
        format!("{name}={value}")
    });
    found.collect()
}

/// Kafka creates the topics of coordinators when one is looked for.
#[test]
fn topics_of_coordinators_are_as_they_are_set() {
    let test = "topics_of_coordinators_are_as_they_are_set";
    let settings = [
        "offsets.topic.num.partitions=3",
        "offsets.topic.replication.factor=1",
        "offsets.topic.segment.bytes=1048576",
        "transaction.state.log.num.partitions=3",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.segment.bytes=1048576",
        "transaction.state.log.min.isr=1",
        "share.coordinator.state.topic.num.partitions=3",
        "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.segment.bytes=1048576",
        "share.coordinator.state.topic.min.isr=1",
    ];
    let Some(node) = Node::start_own_with(test, &settings) else { return };
    let mut connection = node.connect();
    const FIND_COORDINATOR: i16 = 10;
    let share = "group:AAAAAAAAAAAAAAAAAAAAAQ:0";
    // Of version 6, flexible, one key; its header ends with no tags.
    let of_shares = Bytes::new().i8(0).i8(2).i8(2).i8(share.len() as i8 + 1).raw(share.as_bytes());
    let topics = [
        ("__consumer_offsets", 1, Bytes::new().string("group").i8(0)),
        ("__transaction_state", 1, Bytes::new().string("transaction").i8(1)),
        ("__share_group_state", 6, of_shares.i8(0)),
    ];
    for (topic, version, body) in topics {
        let body = body.done();
        until(topic, || {
            let mut connection = node.connect();
            connection.ask(FIND_COORDINATOR, version, &body).body();
            list_offsets(&mut connection, topic, 2).0 == 0
        });
        assert_ne!(list_offsets(&mut connection, topic, 3).0, 0, "{topic} has three partitions");
        let found = described(&mut connection, topic, &["segment.bytes", "min.insync.replicas"]);
        assert_eq!(found, ["segment.bytes=1048576", "min.insync.replicas=1"], "{topic}");
    }
}

/// What lies in a segment's file instead of its records is not seen by who reads what is still in memory.
#[test]
fn the_newest_batches_are_in_memory_as_far_as_there_is_room_for_them() {
    let test = "the_newest_batches_are_in_memory_as_far_as_there_is_room_for_them";
    for (room, in_memory) in [("33554432", true), ("0", false)] {
        let setting = format!("ottla.recent.bytes={room}");
        let Some(node) = Node::start_own_with(test, &[&setting]) else { return };
        let topic = unique("recent");
        let mut connection = node.connect();
        create_topic(&mut connection, &topic, 1);
        assert_eq!(a_record(&mut connection, &topic, b"as it came"), 0);
        let data = node.data().expect("a node of the test's own");
        let log = data.join(format!("{topic}-0/{:020}.log", 0));
        let mut bytes = fs::read(&log).expect("a segment");
        let at = bytes.windows(10).position(|w| w == b"as it came").expect("the record");
        bytes[at..at + 10].copy_from_slice(b"overwitten");
        fs::write(&log, &bytes).expect("a segment");
        let (error, told) = crate::requests::fetch(&mut connection, &topic, 0);
        let found = told.windows(10).any(|w| w == b"as it came");
        assert_eq!((error, found), (0, in_memory), "{setting}");
    }
}

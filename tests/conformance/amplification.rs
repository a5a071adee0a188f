//! Small requests whose answers would be large: Kafka answers a thing as often as it is named. Here there is an end to it.

mod groups;

use crate::bad_frames::Bystander;
use crate::clients;
use crate::node::{self, Node};
use crate::raw::{Answer, Bytes, Connection, frame};
use crate::requests::{self as ask, METADATA};
use std::thread;
use std::time::{Duration, Instant};

const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const SYNC_GROUP: i16 = 14;
const DESCRIBE_GROUPS: i16 = 15;
const LIST_GROUPS: i16 = 16;
const DESCRIBE_CONFIGS: i16 = 32;
const OFFSET_DELETE: i16 = 47;
const MEBIBYTE: u64 = 1 << 20;
/// What a request may leave behind in the memory of the node: an answer of 100 MiB in building, and what the allocator keeps.
const LIMIT: u64 = 250 * MEBIBYTE;

/// Kafka answers these as long as its heap lasts; here the connection is closed, others are served, and the memory is bounded.
fn assert_refused(node: &Node, key: i16, version: i16, body: &[u8]) {
    let mut bystander = Bystander::of(node);
    let before = node.resident();
    let mut connection = node.connect();
    connection.stream().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    connection.send(key, version, body);
    assert_eq!(connection.receive(), Answer::Closed);
    bystander.assert_served();
    node.assert_grew_less(before, LIMIT);
}

/// `head`, then a list that names the same thing `times` times, then `tail`.
fn repeated(head: Bytes, times: i32, thing: &[u8], tail: &[u8]) -> Vec<u8> {
    head.i32(times).raw(&thing.repeat(times as usize)).raw(tail).done()
}

#[test]
fn configurations_named_without_end() {
    let _turn = node::turn();
    let test = "configurations_named_without_end";
    let Some(node) = Node::start_own(test) else { return };
    let broker = Bytes::new().i8(4).string("1").i32(-1).done();
    let body = |times| repeated(Bytes::new(), times, &broker, &[1]);
    let answer = node.connect().ask(DESCRIBE_CONFIGS, 1, &body(3));
    let mut body_of_three = answer.body();
    body_of_three.i32();
    assert_eq!(body_of_three.i32(), 3, "what is named thrice is described thrice");
    assert_refused(&node, DESCRIBE_CONFIGS, 1, &body(5_000));
}

/// Each of them would be told of some 50 MiB while it is built: all at once took more than a GiB.
#[test]
fn large_answers_are_made_one_at_a_time() {
    let _turn = node::turn();
    let Some(node) = Node::start_own("large_answers_are_made_one_at_a_time") else { return };
    let mut bystander = Bystander::of(&node);
    let broker = Bytes::new().i8(4).string("1").i32(-1).done();
    let body = repeated(Bytes::new(), 500, &broker, &[1]);
    let address = node.address;
    let ask = || {
        let mut connection = Connection::open(address);
        connection.stream().set_read_timeout(Some(clients::LIMIT)).expect("a timeout");
        connection.ask(DESCRIBE_CONFIGS, 1, &body).body().rest().len()
    };
    let sizes: Vec<usize> = thread::scope(|scope| {
        let crowd: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        bystander.assert_served();
        crowd.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let peak = node.peak().expect("a process of the test's own");
    eprintln!(
        "MEASURED: {} answers of {} MiB, peak {} MiB",
        sizes.len(),
        sizes[0] >> 20,
        peak >> 20
    );
    assert!(peak < 400 * MEBIBYTE, "{} MiB", peak >> 20);
    bystander.assert_served();
}

/// Makes a stable group of one member with so long an assignment.
fn settle(connection: &mut Connection, group: &str, assignment: &[u8]) {
    let head = Bytes::new().string(group).i32(60_000).i32(60_000).string("").string("consumer");
    let body = head.i32(1).string("range").bytes(b"metadata").done();
    let mut joined = connection.ask(JOIN_GROUP, 2, &body).body();
    joined.i32();
    assert_eq!(joined.i16(), 0, "JoinGroup");
    let generation = joined.i32();
    joined.string();
    joined.string();
    let member = joined.string();
    let head = Bytes::new().string(group).i32(generation).string(&member).i32(1);
    let body = head.string(&member).bytes(assignment).done();
    let mut synced = connection.ask(SYNC_GROUP, 1, &body).body();
    synced.i32();
    assert_eq!(synced.i16(), 0, "SyncGroup");
}

/// The coordinator loads at first.
fn until_loaded(connection: &mut Connection, group: &str) {
    let find = Bytes::new().string(group).i8(0).done();
    let heartbeat = Bytes::new().string(group).i32(1).string("nobody").done();
    let begin = Instant::now();
    loop {
        let found = connection.ask(10, 1, &find).body().rest()[4..6].to_vec();
        let mut beat = connection.ask(12, 1, &heartbeat).body();
        beat.i32();
        // UNKNOWN_MEMBER_ID
        if found == [0, 0] && beat.i16() == 25 {
            return;
        }
        assert!(begin.elapsed() < clients::LIMIT, "the coordinator does not load");
    }
}

#[test]
fn groups_named_without_end() {
    let _turn = node::turn();
    let Some(node) = Node::start_own("groups_named_without_end") else { return };
    let mut member = node.connect();
    let group = crate::unique("large");
    until_loaded(&mut member, &group);
    settle(&mut member, &group, &vec![7; 400_000]);
    let name = Bytes::new().string(&group).done();
    let body = |times| repeated(Bytes::new(), times, &name, &[]);
    let mut three = member.ask(DESCRIBE_GROUPS, 1, &body(3)).body();
    three.i32();
    assert_eq!(three.i32(), 3, "what is named thrice is described thrice");
    assert_refused(&node, DESCRIBE_GROUPS, 1, &body(1_500));
}

#[test]
fn committed_offsets_named_without_end() {
    let _turn = node::turn();
    let Some(node) = Node::start_own("committed_offsets_named_without_end") else { return };
    let mut client = node.connect();
    let topic = crate::unique("committed");
    let group = crate::unique("named");
    ask::create_topic(&mut client, &topic, 1);
    until_loaded(&mut client, &group);
    let metadata = "m".repeat(4_000);
    let head = Bytes::new().string(&group).i32(-1).string("").i64(-1);
    let commit = head.i32(1).string(&topic).i32(1).i32(0).i64(5).string(&metadata).done();
    let committed = client.ask(OFFSET_COMMIT, 2, &commit).body();
    assert!(committed.rest().ends_with(&[0, 0]), "OffsetCommit");
    let topic = |times| {
        let head = Bytes::new().string(&group).i32(1).string(&topic);
        repeated(head, times, &[0; 4], &[])
    };
    let mut three = client.ask(OFFSET_FETCH, 2, &topic(3)).body();
    three.i32();
    three.string();
    assert_eq!(three.i32(), 3, "what is named thrice is answered thrice");
    assert_refused(&node, OFFSET_FETCH, 2, &topic(60_000));
    // The whole group, named again and again: 36 KB that would be answered by 160 MB.
    let name = compact(&group);
    let one = [&name[..], &[0], &[0]].concat();
    let groups = |times: u32| {
        let mut body = varint(times + 1);
        body.extend(one.repeat(times as usize));
        body.extend([0, 0]);
        [vec![0], body].concat()
    };
    assert_refused(&node, OFFSET_FETCH, 8, &groups(40_000));
}

/// Two bytes become a value of half a hundred: 24 MiB of empty names would take 700 MB, four times at once.
#[test]
fn bodies_that_grow_when_they_are_decoded() {
    let _turn = node::turn();
    let test = "bodies_that_grow_when_they_are_decoded";
    let Some(node) = Node::start_own_with(test, &["queued.max.request.bytes=134217728"]) else {
        return;
    };
    let mut bystander = Bystander::of(&node);
    let before = node.peak();
    let names = 12 << 20;
    let frame = frame(METADATA, 1, 1, &repeated(Bytes::new(), names, &[0, 0], &[]));
    let mut connections: Vec<Connection> = (0..4).map(|_| node.connect()).collect();
    std::thread::scope(|scope| {
        for connection in &mut connections {
            scope.spawn(|| {
                connection.send_bytes(&frame);
                connection.expect_next();
                assert_eq!(connection.receive(), Answer::Closed);
            });
        }
        bystander.assert_served();
    });
    bystander.assert_served();
    let grown = node.peak_above(before);
    eprintln!("MEASURED: {} MiB at the most beyond those before", grown >> 20);
    assert!(grown < 450 * MEBIBYTE, "grew by {} MiB", grown >> 20);
}

fn compact(text: &str) -> Vec<u8> {
    [varint(text.len() as u32 + 1), text.as_bytes().to_vec()].concat()
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn topics_and_keys_named_without_end() {
    let _turn = node::turn();
    let Some(node) = Node::start_own("topics_and_keys_named_without_end") else { return };
    let many = 1 << 20;
    assert_refused(&node, METADATA, 1, &repeated(Bytes::new(), many, &[0, 0], &[]));
    for (key, version) in [(DESCRIBE_GROUPS, 1), (42, 0)] {
        assert_refused(&node, key, version, &repeated(Bytes::new(), many, &[0, 1, b'g'], &[]));
    }
    let configs = [2, 0, 1, b't', 0, 0, 0, 0];
    assert_refused(&node, 33, 0, &repeated(Bytes::new(), many, &configs, &[0]));
    assert_refused(&node, 44, 0, &repeated(Bytes::new(), many, &configs, &[0]));
    assert_refused(&node, 35, 1, &repeated(Bytes::new(), many, &[0, 1, b't', 0, 0, 0, 0], &[]));
    let mut keys = vec![0, 0];
    keys.extend(varint(many as u32 + 1));
    keys.extend([2, b'k'].repeat(many as usize));
    keys.push(0);
    assert_refused(&node, FIND_COORDINATOR, 4, &keys);
    let mut topics = vec![0];
    topics.extend(varint(many as u32 + 1));
    topics.extend([2, b't', 0].repeat(many as usize));
    topics.extend([0, 0, 7, 208, 0xff, 0]);
    assert_refused(&node, 75, 0, &topics);
}

/// Each would take some 60 MiB until it is encoded.
#[test]
fn answers_to_requests_that_name_much_share_their_memory() {
    let _turn = node::turn();
    let test = "answers_to_requests_that_name_much_share_their_memory";
    let Some(node) = Node::start_own_with(test, &["queued.max.request.bytes=134217728"]) else {
        return;
    };
    let mut bystander = Bystander::of(&node);
    let before = node.peak();
    let many: u32 = 199_000;
    // Of a type that is none, which each of the keys is told.
    let keys = [&[0, 9][..], &varint(many + 1), &[2, b'k'].repeat(many as usize), &[0]].concat();
    let address = node.address;
    let ask = || {
        let mut connection = Connection::open(address);
        connection.stream().set_read_timeout(Some(clients::LIMIT)).expect("a timeout");
        connection.ask(FIND_COORDINATOR, 4, &keys).body().rest().len()
    };
    thread::scope(|scope| {
        let crowd: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        bystander.assert_served();
        for one in crowd {
            assert!(one.join().expect("an answer") > many as usize * 10);
        }
    });
    let grown = node.peak_above(before);
    eprintln!("MEASURED: {} MiB at the most beyond those before", grown >> 20);
    assert!(grown < 400 * MEBIBYTE, "grew by {} MiB", grown >> 20);
    bystander.assert_served();
}

/// One name of 32 KiB with many partitions: a copy of it for each of them would be 650 MB.
const NAMED: i32 = 20_000;
const LONG: usize = 32_767;

/// It is answered like any other, and takes no memory for each partition but a few hundred bytes.
fn assert_answered_within(node: &Node, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bystander = Bystander::of(node);
    let before = node.peak();
    let mut connection = node.connect();
    connection.stream().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let answer = connection.ask(key, version, body).body();
    bystander.assert_served();
    let grown = node.peak_above(before);
    eprintln!("MEASURED: key {key} version {version}: {} MiB at the most", grown >> 20);
    assert!(grown < 100 * MEBIBYTE, "key {key} version {version}: {} MiB", grown >> 20);
    answer.rest().to_vec()
}

fn each_of(partitions: i32, named: impl Fn(Bytes, i32) -> Bytes) -> Vec<u8> {
    (0..partitions).fold(Bytes::new().i32(partitions), named).done()
}

#[test]
fn a_long_topic_is_not_copied_for_each_of_its_partitions() {
    let _turn = node::turn();
    let test = "a_long_topic_is_not_copied_for_each_of_its_partitions";
    let Some(node) = Node::start_own(test) else { return };
    let topic = Bytes::new().string(&"t".repeat(LONG)).done();
    let one_topic = |partitions: &[u8]| [&[0, 0, 0, 1], &topic[..], partitions].concat();

    let partitions = each_of(NAMED, |body, index| body.i32(index).i64(0).i32(1_000));
    let head = Bytes::new().i32(-1).i32(0).i32(1).i32(1_000).i8(0).done();
    let body = [head, one_topic(&partitions)].concat();
    let told = assert_answered_within(&node, 1, 4, &body);
    assert!(told.len() > NAMED as usize * 30, "each partition is told of");
    // With a session, which no such name gets.
    let partitions = each_of(NAMED, |body, index| body.i32(index).i64(0).i64(-1).i32(1_000));
    let head = Bytes::new().i32(-1).i32(0).i32(1).i32(1_000).i8(0).i32(0).i32(0).done();
    let body = [&head, &one_topic(&partitions)[..], &[0; 4]].concat();
    let told = assert_answered_within(&node, 1, 7, &body);
    assert_eq!(told[4..10], [0; 6], "no error, and no session");

    let partitions = each_of(NAMED, |body, index| body.i32(index / 2).i64(-1));
    let body = [&[0xff; 4], &one_topic(&partitions)[..]].concat();
    let told = assert_answered_within(&node, 2, 1, &body);
    let told_of = i32::from_be_bytes(told[4 + topic.len()..][..4].try_into().expect("4 bytes"));
    assert_eq!(told_of, NAMED / 2, "what is named twice is told once");

    let path = Bytes::new().string(&"/".repeat(LONG)).done();
    let partitions = each_of(NAMED, |body, index| body.i32(index));
    let body = [&[0, 0, 0, 1], &path[..], &one_topic(&partitions)].concat();
    assert_answered_within(&node, 34, 1, &body);
}

#[test]
fn a_long_group_is_not_copied_for_each_partition_that_it_commits() {
    let _turn = node::turn();
    let test = "a_long_group_is_not_copied_for_each_partition_that_it_commits";
    let Some(node) = Node::start_own(test) else { return };
    let mut client = node.connect();
    let (topic, group) = (crate::unique("committed"), "g".repeat(LONG));
    ask::create_topic(&mut client, &topic, 1);
    until_loaded(&mut client, &group);
    let commit = |times| {
        let head = Bytes::new().string(&group).i32(-1).string("").i64(-1).i32(1).string(&topic);
        let partition = Bytes::new().i32(0).i64(5).string("").done();
        repeated(head, times, &partition, &[])
    };
    let error =
        |answer: &[u8]| i16::from_be_bytes([answer[answer.len() - 2], answer[answer.len() - 1]]);
    let committed = client.ask(OFFSET_COMMIT, 2, &commit(3)).body();
    assert_eq!(error(committed.rest()), 0, "what is named thrice is committed thrice");
    // UNKNOWN_SERVER_ERROR: more than fits one batch, of which Kafka says the same.
    let told = assert_answered_within(&node, OFFSET_COMMIT, 2, &commit(NAMED));
    assert_eq!(error(&told), -1);

    let delete = |times| {
        let head = Bytes::new().string(&group).i32(1).string(&topic);
        repeated(head, times, &[0; 4], &[])
    };
    let told = assert_answered_within(&node, OFFSET_DELETE, 0, &delete(NAMED));
    assert_eq!(told[..2], [0xff; 2]);
    let mut deleted = client.ask(OFFSET_DELETE, 0, &delete(1)).body();
    assert_eq!(deleted.i16(), 0);
}

/// Fifty coordinators are asked, each for the groups of its own. Nothing that the filter names is a state: no group is listed.
#[test]
fn a_filter_of_groups_is_not_copied_for_each_coordinator() {
    let _turn = node::turn();
    let test = "a_filter_of_groups_is_not_copied_for_each_coordinator";
    let Some(node) = Node::start_own(test) else { return };
    let mut client = node.connect();
    until_loaded(&mut client, &crate::unique("filtered"));
    let filter = |names: u32| {
        let mut body = [vec![0], varint(names + 1)].concat();
        body.extend(vec![1; names as usize]);
        body.push(0);
        body
    };
    let told = assert_answered_within(&node, LIST_GROUPS, 4, &filter(199_000));
    // Tags, throttle time, error, no groups, tags.
    assert_eq!(told, [0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_refused(&node, LIST_GROUPS, 4, &filter(1 << 20));
}

/// Whoever asks for what cannot be had would fill the disk with it.
#[test]
fn topics_that_cannot_be_created_are_one_line_of_the_log() {
    let test = "topics_that_cannot_be_created_are_one_line_of_the_log";
    let replicas = ["default.replication.factor=3"];
    let Some(mut node) = Node::start_own_with(test, &replicas) else { return };
    let mut client = node.connect();
    let names = |head: &str, count: i32| {
        each_of(count, |body, index| body.string(&format!("{head}-{index}")))
    };
    client.ask(METADATA, 1, &names("many", 100)).body();
    // What follows is said after it.
    client.ask(METADATA, 1, &names("last", 1)).body();
    node.wait_to_hear("last-0");
    let said = node.said();
    let lines = said.lines().filter(|line| line.contains("many-")).count();
    assert_eq!(lines, 1, "{said}");
}

/// Fetches of 200,000 partitions that wait for weeks. What they keep is bounded, and takes nobody else's memory.
#[test]
fn polls_that_wait_for_weeks() {
    let _turn = node::turn();
    let test = "polls_that_wait_for_weeks";
    let limits = ["socket.request.max.bytes=33554432", "queued.max.request.bytes=33554432"];
    let Some(node) = Node::start_own_with(test, &limits) else { return };
    let mut client = node.connect();
    let topic = crate::unique("quiet");
    ask::create_topic(&mut client, &topic, 1);
    let named = each_of(200_000, |body, index| body.i32(index).i64(0).i32(1_000));
    let head = Bytes::new().i32(-1).i32(i32::MAX).i32(1).i32(1_000).i8(0).i32(1).string(&topic);
    let body = head.raw(&named).done();
    let mut polls: Vec<Connection> = (0..4).map(|_| node.connect()).collect();
    polls.iter_mut().for_each(|poll| poll.send(ask::FETCH, 4, &body));
    // More than a MiB when it is decoded, of one topic.
    let names = repeated(Bytes::new(), 40_000, &Bytes::new().string(&topic).done(), &[]);
    client.ask(METADATA, 1, &names).body();
    // There is room for some of them to wait; the others are told at once that there is nothing yet.
    let told = |poll: &&mut Connection| {
        poll.stream().set_nonblocking(true).expect("a socket");
        let told = poll.stream().peek(&mut [0]).is_ok();
        poll.stream().set_nonblocking(false).expect("a socket");
        told
    };
    let begin = Instant::now();
    while !polls.iter_mut().any(|poll| told(&poll)) {
        assert!(begin.elapsed() < clients::LIMIT, "they wait");
    }
    let record = crate::batch::of(&[b"news"]).bytes();
    assert_eq!(ask::produce(&mut client, &topic, 0, &record).error, 0);
    let answers = polls.iter_mut().map(|poll| poll.receive().body().rest().len());
    let (least, most) = answers.fold((usize::MAX, 0), |(a, b), size| (a.min(size), b.max(size)));
    assert_eq!(most - least, record.len(), "some have the record, some were told before");
}

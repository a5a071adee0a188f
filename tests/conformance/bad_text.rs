//! Bytes that are no text where text is expected. Decoded, each may come to three bytes, and so to more than a string may have
//! where it is written: in a response, in a record.

use crate::node::Node;
use crate::raw::{Answer, Bytes, Connection, frame_of};
use crate::requests::create_topic;
use crate::unique;

const OFFSET_COMMIT: i16 = 8;
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const SYNC_GROUP: i16 = 14;
const ALTER_CONFIGS: i16 = 33;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// More often than an actor may fail before its supervisor gives it up.
const OFTEN: usize = 20;

/// A string of bytes none of which is UTF-8.
fn no_text(length: usize) -> Vec<u8> {
    Bytes::new().i16(length as i16).raw(&vec![0xff; length]).done()
}

fn text(text: &str) -> Vec<u8> {
    Bytes::new().string(text).done()
}

fn commit(group: &[u8], topic: &str) -> Vec<u8> {
    let head = Bytes::new().raw(group).i32(-1).string("").i64(-1).i32(1).string(topic);
    head.i32(1).i32(0).i64(7).string("").done()
}

/// JoinGroup version 2, of a group, a type and one protocol.
fn join([group, protocol_type, protocol]: [&[u8]; 3]) -> Vec<u8> {
    let head = Bytes::new().raw(group).i32(30_000).i32(30_000).string("").raw(protocol_type);
    head.i32(1).raw(protocol).bytes(b"").done()
}

/// The one member of a group, whose coordinator the hostile ask as well: there is one partition for all groups.
struct Member {
    connection: Connection,
    group: String,
    member: String,
    topic: String,
}

impl Member {
    fn of(node: &Node, topic: &str) -> Member {
        let (mut connection, group) = (node.connect(), unique("beside"));
        let find = Bytes::new().string(&group).done();
        let find = |connection: &mut Connection| {
            connection.ask(FIND_COORDINATOR, 0, &find).body().i16() == 0
        };
        while !find(&mut connection) {}
        let names = [&text(&group)[..], &text("consumer"), &text("range")];
        let (member, topic) = loop {
            let mut body = connection.ask(JOIN_GROUP, 2, &join(names)).body();
            body.i32();
            // Until its coordinator has loaded.
            if body.i16() == 0 {
                body.i32();
                body.string();
                body.string();
                break (body.string(), topic.to_owned());
            }
        };
        let sync = Bytes::new().string(&group).i32(1).string(&member).i32(1).string(&member);
        let mut body = connection.ask(SYNC_GROUP, 1, &sync.bytes(b"all").done()).body();
        body.i32();
        assert_eq!(body.i16(), 0, "SyncGroup");
        Member { connection, group, member, topic }
    }

    /// Neither its session nor its group has noticed anything.
    fn assert_undisturbed(&mut self, by: &str) {
        let beat = Bytes::new().string(&self.group).i32(1).string(&self.member).done();
        let mut body = self.connection.ask(HEARTBEAT, 1, &beat).body();
        body.i32();
        assert_eq!(body.i16(), 0, "Heartbeat after {by}");
        let head = Bytes::new().string(&self.group).i32(1).string(&self.member).i64(-1);
        let head = head.i32(1).string(&self.topic).i32(1).i32(0).i64(7).string("");
        let mut body = self.connection.ask(OFFSET_COMMIT, 2, &head.done()).body();
        body.take::<4>();
        body.string();
        body.take::<8>();
        assert_eq!(body.i16(), 0, "OffsetCommit after {by}");
    }
}

fn coordinated(test: &str) -> Option<(Node, String)> {
    let node = Node::start_own_with(test, &["offsets.topic.num.partitions=1"])?;
    let topic = unique("text");
    create_topic(&mut node.connect(), &topic, 1);
    Some((node, topic))
}

/// Kafka takes them, and fails over the record or the response: its clients are told UNKNOWN_SERVER_ERROR, or nothing at all.
#[test]
fn a_group_is_not_disturbed_by_names_that_are_no_text() {
    let test = "a_group_is_not_disturbed_by_names_that_are_no_text";
    let Some((node, topic)) = coordinated(test) else { return };
    let mut member = Member::of(&node, &topic);
    let (own, sound) = (text("sound"), text("other"));
    for length in [10_923, 11_000, 32_767] {
        let bad = no_text(length);
        let hostile = [
            ("a group of OffsetCommit", OFFSET_COMMIT, 2, &sound, commit(&bad, &topic)),
            ("a group of JoinGroup", JOIN_GROUP, 2, &sound, join([&bad, &own, &own])),
            ("a protocol type", JOIN_GROUP, 2, &sound, join([&own, &bad, &own])),
            ("a protocol", JOIN_GROUP, 2, &sound, join([&own, &own, &bad])),
            ("a client id", JOIN_GROUP, 2, &bad, join([&own, &own, &own])),
        ];
        for (name, key, version, client, body) in hostile {
            for _ in 0..OFTEN {
                let mut connection = node.connect();
                connection.send_bytes(&frame_of(key, version, 1, client, &body));
                connection.expect_next();
                assert_eq!(connection.receive(), Answer::Closed, "{length} bytes as {name}");
            }
            member.assert_undisturbed(&format!("{length} bytes as {name}"));
        }
    }
}

/// What fits where it is written is replaced and served, as Kafka does.
#[test]
fn names_of_any_bytes_that_fit_are_served() {
    let Some((node, topic)) = coordinated("names_of_any_bytes_that_fit_are_served") else { return };
    let mut member = Member::of(&node, &topic);
    for group in [no_text(10_922), text(&"g".repeat(32_767))] {
        let mut body = node.connect().ask(OFFSET_COMMIT, 2, &commit(&group, &topic)).body();
        body.take::<4>();
        body.string();
        body.take::<8>();
        assert_eq!(body.i16(), 0, "OffsetCommit");
    }
    // Its member's id has a uuid behind the client's.
    let client = text(&"c".repeat(32_767));
    let names = [&text("long")[..], &text("consumer"), &text("range")];
    let mut connection = node.connect();
    connection.send_bytes(&frame_of(JOIN_GROUP, 2, 1, &client, &join(names)));
    connection.expect_next();
    let mut body = connection.receive().body();
    body.i32();
    assert_eq!(body.i16(), 0, "JoinGroup");
    member.assert_undisturbed("long names");
}

/// Of groups and client metrics any name may be configured, and stands in a record of the metadata log then.
#[test]
fn the_controller_is_not_disturbed_by_names_that_are_no_text() {
    let test = "the_controller_is_not_disturbed_by_names_that_are_no_text";
    let Some(node) = Node::start_own(test) else { return };
    const GROUP: i8 = 32;
    const CLIENT_METRICS: i8 = 16;
    let configs = [
        (GROUP, "consumer.session.timeout.ms", "45000"),
        (CLIENT_METRICS, "interval.ms", "300000"),
    ];
    for _ in 0..OFTEN {
        for (kind, name, value) in configs {
            let named = || Bytes::new().i32(1).i8(kind).raw(&no_text(11_000)).i32(1).string(name);
            let all = named().string(value).i8(0).done();
            let some = named().i8(0).string(value).i8(0).done();
            for (key, body) in [(ALTER_CONFIGS, all), (INCREMENTAL_ALTER_CONFIGS, some)] {
                assert_eq!(node.connect().ask(key, 0, &body), Answer::Closed);
            }
        }
        create_topic(&mut node.connect(), &unique("beside"), 1);
    }
}

/// Kafka answers UNKNOWN_SERVER_ERROR for all that the request names; here each keeps its own error.
#[test]
fn an_error_message_with_a_long_name_is_cut_short() {
    let test = "an_error_message_with_a_long_name_is_cut_short";
    let Some(node) = Node::start_own(test) else { return };
    const DESCRIBE_CONFIGS: i16 = 32;
    const BROKER: i8 = 4;
    const BROKER_LOGGER: i8 = 8;
    let mut connection = node.connect();
    let mut describe = |kind: i8, name: &str| {
        let named = Bytes::new().i32(2).i8(kind).string(name).i32(-1);
        let body = named.i8(BROKER).string("1").i32(0).i8(0).done();
        let mut body = connection.ask(DESCRIBE_CONFIGS, 2, &body).body();
        body.take::<4>();
        assert_eq!(body.i32(), 2, "results");
        let (error, message) = (body.i16(), body.string());
        assert_eq!((body.take(), body.string(), body.i32()), ([kind as u8], name.to_owned(), 0));
        assert_eq!(body.i16(), 0, "the other one is described");
        (error, message)
    };
    for kind in [BROKER, BROKER_LOGGER] {
        let (error, short) = describe(kind, "é");
        assert!(short.contains("é"), "{short}");
        for long in ["n".repeat(32_767), "é".repeat(16_383), "x".to_owned() + &"é".repeat(16_383)]
        {
            let (found, message) = describe(kind, &long);
            let whole = short.replacen("é", &long, 1);
            assert_eq!(found, error);
            assert!(whole.starts_with(&message), "{message}");
            assert!(matches!(message.len(), 32_766 | 32_767), "{} bytes", message.len());
        }
    }
}

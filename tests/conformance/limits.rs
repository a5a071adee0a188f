//! Limits that are altered while the node runs, and hold from then on.

use crate::node::Node;
use crate::raw::{Answer, Bytes, Connection};
use crate::requests::API_VERSIONS;
use std::io::ErrorKind;
use std::io::Read;

const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const BROKER: i8 = 4;

/// In place of the id of one.
pub const ALL_BROKERS: &str = "";

/// Sets a setting for a broker.
pub fn alter(admin: &mut Connection, broker: &str, name: &str, value: &str) {
    change(admin, broker, name, 0, value);
}

/// Takes a broker's setting away.
pub fn reset(admin: &mut Connection, broker: &str, name: &str) {
    change(admin, broker, name, 1, "");
}

fn change(admin: &mut Connection, broker: &str, name: &str, op: i8, value: &str) {
    let resource = Bytes::new().i32(1).i8(BROKER).string(broker).i32(1);
    let body = resource.string(name).i8(op).string(value).i8(0).done();
    let Answer::Body(answer) = admin.ask(INCREMENTAL_ALTER_CONFIGS, 0, &body) else {
        panic!("{name}={value} is not answered");
    };
    // The throttle time, the number of results, and the code of the first.
    assert_eq!(answer[8..10], [0, 0], "{name}={value}: {}", String::from_utf8_lossy(&answer));
}

fn ask(connection: &mut Connection) -> Answer {
    connection.ask(API_VERSIONS, 0, &[])
}

/// What a new connection's first request comes to.
fn newcomer(node: &Node) -> (Answer, Connection) {
    let mut connection = node.connect();
    (ask(&mut connection), connection)
}

fn until(node: &Node, wanted: fn(&Answer) -> bool) -> Connection {
    loop {
        match newcomer(node) {
            (Answer::Silent, _) => panic!("neither served nor closed"),
            (answer, connection) if wanted(&answer) => return connection,
            _ => {}
        }
    }
}

fn is_served(answer: &Answer) -> bool {
    matches!(answer, Answer::Body(_))
}

/// The other one, with which there are as many as there may be.
fn the_longest_unused_makes_room(node: &Node, admin: &mut Connection) -> Connection {
    alter(admin, ALL_BROKERS, "max.connections", "100");
    let [mut older, mut younger] = [(); 2].map(|()| node.connect());
    assert!(is_served(&ask(&mut younger)) && is_served(&ask(&mut older)));
    alter(admin, ALL_BROKERS, "max.connections", "2");
    assert_eq!(younger.receive(), Answer::Closed, "the one that was longest unused makes room");
    assert!(is_served(&ask(&mut older)));
    older
}

#[test]
fn limits_on_connections_hold_as_they_were_altered_last() {
    let test = "limits_on_connections_hold_as_they_were_altered_last";
    let Some(node) = Node::start_own(test) else { return };
    let mut admin = node.connect();
    let mut other = the_longest_unused_makes_room(&node, &mut admin);
    for _ in 0..30 {
        drop(other);
        other = the_longest_unused_makes_room(&node, &mut admin);
    }
    let mut waiting = node.connect();
    waiting.send(API_VERSIONS, 0, &[]);
    for _ in 0..100 {
        assert!(is_served(&ask(&mut admin)));
    }
    waiting.stream().set_nonblocking(true).expect("a socket");
    let early = waiting.stream().read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "it waits for a place");
    waiting.stream().set_nonblocking(false).expect("a socket");
    drop(other);
    assert!(is_served(&waiting.receive()), "a place is free");

    alter(&mut admin, ALL_BROKERS, "max.connections.per.ip", "2");
    alter(&mut admin, ALL_BROKERS, "max.connections", "100");
    until(&node, |answer| *answer == Answer::Closed);
    alter(&mut admin, ALL_BROKERS, "max.connections.per.ip.overrides", "127.0.0.1:3");
    let _third = until(&node, is_served);
    assert_eq!(newcomer(&node).0, Answer::Closed);
    assert!(is_served(&ask(&mut admin)) && is_served(&ask(&mut waiting)));
}

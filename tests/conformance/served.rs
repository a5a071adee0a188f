//! What is advertised: no API is lost unseen, and none comes before it is meant to.

use crate::node::Node;
use crate::raw::Connection;
use crate::requests::API_VERSIONS;
use std::net::SocketAddr;

/// Keys of APIs, as Kafka's `ApiKeys` numbers them.
const TO_CLIENTS: &[i16] = &[
    0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 37, 42,
    43, 44, 45, 46, 47, 55, 57, 60, 64, 75, 80, 81, 94,
];
const TO_CONTROLLERS: &[i16] = &[
    1, 18, 19, 20, 32, 33, 37, 43, 44, 45, 46, 52, 53, 54, 55, 56, 57, 58, 59, 60, 62, 63, 64, 67,
    70, 73, 80, 81, 82, 94,
];

fn advertised(address: SocketAddr) -> Vec<i16> {
    let mut body = Connection::open(address).ask(API_VERSIONS, 0, &[]).body();
    assert_eq!(body.i16(), 0);
    let keys = (0..body.i32()).map(|_| (body.i16(), body.i16(), body.i16()));
    keys.map(|(key, _, _)| key).collect()
}

#[test]
fn each_listener_advertises_what_is_served_there() {
    let Some(node) = Node::start_own("each_listener_advertises_what_is_served_there") else {
        return;
    };
    let controller = SocketAddr::new(node.address.ip(), node.address.port() + 1);
    assert_eq!(advertised(node.address), TO_CLIENTS);
    assert_eq!(advertised(controller), TO_CONTROLLERS);
}

const INIT_PRODUCER_ID: i16 = 22;

/// Of one API, which alone has a version that is not released.
#[test]
fn versions_that_are_not_released_are_for_who_asks_for_them() {
    let test = "versions_that_are_not_released_are_for_who_asks_for_them";
    for (setting, newest) in
        [("unstable.api.versions.enable=false", 5), ("unstable.api.versions.enable=true", 6)]
    {
        let Some(node) = Node::start_own_with(test, &[setting]) else { return };
        let mut body = node.connect().ask(API_VERSIONS, 0, &[]).body();
        body.i16();
        let mut keys = (0..body.i32()).map(|_| (body.i16(), body.i16(), body.i16()));
        let found = keys.find(|(key, ..)| *key == INIT_PRODUCER_ID).expect("it is served");
        assert_eq!(found.2, newest, "{setting}");
    }
}

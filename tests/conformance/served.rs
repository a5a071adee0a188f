//! What is advertised: no API is lost unseen, and none comes before it is meant to.

use crate::node::Node;
use crate::raw::Connection;
use crate::requests::API_VERSIONS;
use std::net::SocketAddr;

/// Key, lowest and highest version of each API, as Kafka 4.4's definitions of messages number them.
const TO_CLIENTS: &[(i16, i16, i16)] = &[
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (8, 2, 10),
    (9, 1, 10),
    (10, 0, 6),
    (11, 0, 9),
    (12, 0, 4),
    (13, 0, 5),
    (14, 0, 5),
    (15, 0, 6),
    (16, 0, 5),
    (18, 0, 5),
    (19, 2, 7),
    (20, 1, 6),
    (21, 0, 2),
    (22, 0, 5),
    (23, 2, 4),
    (32, 1, 4),
    (33, 0, 2),
    (34, 1, 2),
    (35, 1, 5),
    (37, 0, 3),
    (42, 0, 3),
    (43, 0, 2),
    (44, 0, 1),
    (45, 0, 1),
    (46, 0, 0),
    (47, 0, 0),
    (55, 0, 2),
    (57, 0, 2),
    (60, 0, 2),
    (64, 0, 0),
    (75, 0, 0),
    (80, 0, 1),
    (81, 0, 0),
    (94, 0, 0),
];
const TO_CONTROLLERS: &[(i16, i16, i16)] = &[
    (1, 4, 18),
    (18, 0, 5),
    (19, 2, 7),
    (20, 1, 6),
    (32, 1, 4),
    (33, 0, 2),
    (37, 0, 3),
    (43, 0, 2),
    (44, 0, 1),
    (45, 0, 1),
    (46, 0, 0),
    (52, 0, 2),
    (53, 0, 1),
    (54, 0, 1),
    (55, 0, 2),
    (56, 2, 3),
    (57, 0, 2),
    (58, 0, 0),
    (59, 0, 1),
    (60, 0, 2),
    (62, 0, 4),
    (63, 0, 2),
    (64, 0, 0),
    (67, 0, 0),
    (70, 0, 0),
    (73, 0, 0),
    (80, 0, 1),
    (81, 0, 0),
    (82, 0, 0),
    (94, 0, 0),
];

fn advertised(address: SocketAddr) -> Vec<(i16, i16, i16)> {
    let mut body = Connection::open(address).ask(API_VERSIONS, 0, &[]).body();
    assert_eq!(body.i16(), 0);
    (0..body.i32()).map(|_| (body.i16(), body.i16(), body.i16())).collect()
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

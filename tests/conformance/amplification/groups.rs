//! Groups of which there are many, and members whose clients are gone.

use super::{JOIN_GROUP, LIST_GROUPS, MEBIBYTE, OFFSET_COMMIT, until_loaded};
use crate::bad_frames::Bystander;
use crate::node::{self, Node};
use crate::raw::{Answer, Bytes, Connection};
use crate::requests as ask;
use std::thread;
use std::time::Duration;

/// Joins a group as a new member with so much metadata; answers the error, and the member's id.
fn join(connection: &mut Connection, group: &str, metadata: &[u8]) -> (i16, String) {
    let head = Bytes::new().string(group).i32(600_000).i32(600_000).string("").string("consumer");
    let body = head.i32(1).string("range").bytes(metadata).done();
    let mut joined = connection.ask(JOIN_GROUP, 2, &body).body();
    joined.i32();
    let error = joined.i16();
    joined.i32();
    joined.string();
    joined.string();
    (error, joined.string())
}

/// Whoever joins and hangs up stays a member until its session ends. Kafka takes ever more of them, until its heap is full.
#[test]
fn members_that_join_and_hang_up() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    const GROUP_MAX_SIZE_REACHED: i16 = 81;
    const LEAVE_GROUP: i16 = 13;
    let _turn = node::turn();
    let settings = [
        "socket.request.max.bytes=33554432",
        "queued.max.request.bytes=33554432",
        "offsets.topic.num.partitions=1",
    ];
    let Some(node) = Node::start_own_with("members_that_join_and_hang_up", &settings) else {
        return;
    };
    let mut bystander = Bystander::of(&node);
    let mut client = node.connect();
    let groups: Vec<String> = (0..100).map(|_| crate::unique("hung-up")).collect();
    until_loaded(&mut client, &groups[0]);
    let before = node.resident();
    let metadata = vec![7; 3 << 20];
    let joined: Vec<_> =
        groups.iter().map(|group| join(&mut node.connect(), group, &metadata)).collect();
    let taken = joined.iter().take_while(|(error, _)| *error == 0).count();
    assert_eq!(taken, 10, "as many as fit what requests may take");
    assert!(joined[taken..].iter().all(|(error, _)| *error == COORDINATOR_NOT_AVAILABLE));
    bystander.assert_served();
    node.assert_grew_less(before, 120 * MEBIBYTE);

    let leave = Bytes::new().string(&groups[0]).string(&joined[0].1).done();
    assert_eq!(client.ask(LEAVE_GROUP, 1, &leave).body().rest()[4..6], [0, 0]);
    assert_eq!(join(&mut client, &groups[50], &metadata).0, 0, "its room is another's");
    let (error, _) = join(&mut client, &groups[1], &metadata);
    assert_eq!(error, COORDINATOR_NOT_AVAILABLE, "the node is full");
    let leave = Bytes::new().string(&groups[2]).string(&joined[2].1).done();
    client.ask(LEAVE_GROUP, 1, &leave).body();
    let (error, _) = join(&mut client, &groups[1], &metadata);
    assert_eq!(error, GROUP_MAX_SIZE_REACHED, "the group is");
    assert_eq!(join(&mut client, &groups[51], &metadata).0, 0, "who was refused holds nothing");
}

/// Each is told of 3 MB of groups. Who reads too slowly meanwhile may be closed for others, but somebody is always answered.
#[test]
fn lists_of_groups_share_their_memory() {
    const GROUPS: usize = 100;
    const CROWD: usize = 200;
    let _turn = node::turn();
    let settings = [
        "socket.request.max.bytes=4194304",
        "queued.max.request.bytes=4194304",
        "offsets.topic.num.partitions=1",
    ];
    let Some(node) = Node::start_own_with("lists_of_groups_share_their_memory", &settings) else {
        return;
    };
    let mut client = node.connect();
    let topic = crate::unique("listed");
    ask::create_topic(&mut client, &topic, 1);
    until_loaded(&mut client, &topic);
    for group in 0..GROUPS {
        let head = Bytes::new().string(&format!("{group:032000}")).i32(-1).string("").i64(-1);
        let commit = head.i32(1).string(&topic).i32(1).i32(0).i64(5).string("").done();
        let committed = client.ask(OFFSET_COMMIT, 2, &commit).body();
        assert!(committed.rest().ends_with(&[0, 0]), "OffsetCommit");
    }
    let before = node.peak();
    let address = node.address;
    let ask = || {
        let mut connection = Connection::open(address);
        connection.stream().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        match connection.ask(LIST_GROUPS, 2, &[]) {
            Answer::Body(told) => {
                assert!(told.len() > GROUPS * 32_000, "all of them are told");
                1
            }
            answer => {
                assert_eq!(answer, Answer::Closed);
                0
            }
        }
    };
    let mut bystander = Bystander::of(&node);
    let told: usize = thread::scope(|scope| {
        let crowd: Vec<_> = (0..CROWD).map(|_| scope.spawn(ask)).collect();
        bystander.assert_served();
        crowd.into_iter().map(|one| one.join().expect("an answer")).sum()
    });
    let grown = node.peak_above(before);
    eprintln!("MEASURED: {told} of {CROWD} told, {} MiB at the most", grown >> 20);
    assert!(told > 0 && grown < 200 * MEBIBYTE, "{told} told, grew by {} MiB", grown >> 20);
}

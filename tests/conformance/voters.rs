//! Who votes, of controllers that come to a quorum kept in its log.

use crate::format::{Place, uvarint};
use crate::node::{self, Node};
use crate::raw::{Body, Bytes};
use std::time::{Duration, Instant};

const DESCRIBE_QUORUM: i16 = 55;

fn replicas(body: &mut Body) -> Vec<i32> {
    let replica = |body: &mut Body| {
        let id = body.i32();
        // Its log's end and tagged fields.
        body.take::<9>();
        id
    };
    (1..uvarint(body)).map(|_| replica(body)).collect()
}

/// Who votes, and who only follows.
fn quorum(node: &Node) -> (Vec<i32>, Vec<i32>) {
    // The header's tagged fields, one topic, one partition, and tagged fields.
    let topic = Bytes::new().raw(&[0, 2, 19]).raw(b"__cluster_metadata").raw(&[2]);
    let request = topic.i32(0).raw(&[0, 0, 0]).done();
    let mut body = node.connect().ask(DESCRIBE_QUORUM, 0, &request).body();
    assert_eq!(body.take::<1>(), [0], "the header's tagged fields");
    assert_eq!(body.i16(), 0);
    assert_eq!(body.take::<2>(), [2, 19], "one topic");
    body.take::<18>();
    assert_eq!(body.take::<1>(), [2], "one partition");
    // Index, error, leader, its epoch, high watermark.
    body.take::<22>();
    (replicas(&mut body), replicas(&mut body))
}

fn until(node: &Node, wanted: impl Fn(&[i32], &[i32]) -> bool) {
    let begin = Instant::now();
    loop {
        let (voters, observers) = quorum(node);
        if wanted(&voters, &observers) {
            return;
        }
        let late = begin.elapsed() > Duration::from_secs(60);
        assert!(!late, "voters {voters:?}, observers {observers:?}");
    }
}

#[test]
fn a_controller_becomes_a_voter_by_itself_where_that_is_said() {
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        eprintln!("SKIPPED: it needs processes of its own, OTTLA_BOOTSTRAP is set");
        return;
    }
    let _turn = node::turn();
    let first = Place::dynamic();
    first.format(&["--standalone"]).expect("formatted");
    let controller = first.address.port() + 1;
    let first = first.start();
    let another = |id: i32, joins: bool| {
        let place = Place::of(
            id,
            &format!(
                "controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
                 controller.quorum.auto.join.enable={joins}"
            ),
        );
        place.format(&["--no-initial-controllers"]).expect("formatted");
        place.start()
    };
    let _observer = another(3, false);
    until(&first, |voters, observers| voters == [1] && observers.contains(&3));
    let _voter = another(2, true);
    until(&first, |voters, _| voters == [1, 2]);
    until(&first, |_, observers| observers.contains(&3));
}

//! A topic of which nobody could read all.

use super::{Asked, contains};
use crate::rig::turn;
use crate::{asks, wait_for};

const PARTITIONS: usize = 1_500;

#[test]
fn a_topic_of_many_partitions_is_told_of_in_a_few_lines() {
    let _turn = turn();
    let mut asked = Asked::start();
    let [dead, lives] = asked.followers();
    let (id, other) = (asked.cluster.id(dead), asked.cluster.id(lives));
    let replicas = [other, id];
    asked.create("many", &[&replicas[..]; PARTITIONS], 1);
    let at = asked.cluster.broker_address(lives);
    wait_for("a reassignment", || asks::reassign(at, "many", 7, &[id]).then_some(()));
    wait_for("its end", || (asks::partitions(at, "many")[7].replica_nodes == [id]).then_some(()));
    asked.cluster.kill(dead);
    let of = "of 1500 partitions, 1 without a leader, 1499 under-replicated";
    let said = asked.until(lives, &["topic", "many"], &[of]);
    let same =
        format!("many-0, many-1, many-2, many-3, many-4 and 994 more: broker {id} is not in sync");
    contains(&said, &["many-7: no leader", &same, "the worst 1000 of 1500 are explained"]);
    contains(&said, &[&format!("broker {id} lacks in 1500 of them")]);
    assert!(said.lines().count() < 30, "{said}");
    let worst = said.find("many-7: no leader").expect("it is there");
    assert!(worst < said.find(&same).expect("it is there"), "the worst comes first: {said}");
}

//! Classic groups whole: members that come, go, fall silent and come back under their own name.

use crate::clients::{self, PARTITIONS, assigned, settle};
use crate::flights;
use crate::node::Node;
use crate::requests;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::{Duration, Instant};

struct Bed {
    node: Node,
    topic: String,
}

impl Bed {
    fn new() -> Bed {
        let node = Node::start();
        let topic = crate::unique("group");
        requests::create_topic(&mut node.connect(), &topic, PARTITIONS);
        Bed { node, topic }
    }

    fn member(&self, settings: &[(&str, &str)]) -> BaseConsumer {
        clients::subscribed(&self.node.bootstrap(), &self.topic, &self.topic, settings)
    }

    /// State of the group and its members' client ids, as ListGroups and DescribeGroups tell.
    fn described(&self) -> (String, usize) {
        let client = clients::member(&self.node.bootstrap(), "observer", &[]);
        let list = client.fetch_group_list(Some(&self.topic), Duration::from_secs(10));
        let list = list.expect("a group list");
        let group = list.groups().iter().find(|g| g.name() == self.topic).expect("the group");
        assert!(group.members().is_empty() || group.protocol_type() == "consumer");
        (group.state().to_owned(), group.members().len())
    }
}

fn assert_shared_out_when_members_come_and_go(strategy: &str) {
    let bed = Bed::new();
    let settings = [("partition.assignment.strategy", strategy)];
    let first = bed.member(&settings);
    settle(&[&first]);
    let second = bed.member(&settings);
    settle(&[&first, &second]);
    let third = bed.member(&settings);
    settle(&[&first, &second, &third]);
    assert_eq!(bed.described(), ("Stable".to_owned(), 3));
    let mut all: Vec<i32> = [&first, &second, &third].into_iter().flat_map(assigned).collect();
    all.sort_unstable();
    assert_eq!(all, (0..PARTITIONS).collect::<Vec<_>>(), "each partition has one owner");
    drop(first);
    settle(&[&second, &third]);
    drop(second);
    settle(&[&third]);
    drop(third);
    assert_eq!(bed.described(), ("Empty".to_owned(), 0));
}

#[test]
fn range_shares_out_when_members_come_and_go() {
    assert_shared_out_when_members_come_and_go("range");
}

#[test]
fn round_robin_shares_out_when_members_come_and_go() {
    assert_shared_out_when_members_come_and_go("roundrobin");
}

#[test]
fn cooperative_sticky_shares_out_when_members_come_and_go() {
    assert_shared_out_when_members_come_and_go("cooperative-sticky");
}

/// A static member that comes back within its session has its partitions again, and the others notice nothing.
#[test]
fn a_static_member_comes_back_to_its_share() {
    let bed = Bed::new();
    let named = |name| bed.member(&[("group.instance.id", name), ("session.timeout.ms", "30000")]);
    let (first, second) = (named("first"), named("second"));
    settle(&[&first, &second]);
    let (share, other) = (assigned(&first), assigned(&second));
    drop(first);
    assert_eq!(bed.described(), ("Stable".to_owned(), 2));
    let again = named("first");
    settle(&[&again, &second]);
    assert_eq!((assigned(&again), assigned(&second)), (share, other));
}

/// A member that leaves the network without a word is put out when its session has passed.
#[test]
fn a_silent_member_is_put_out_when_its_session_expires() {
    let bed = Bed::new();
    let stays = bed.member(&[]);
    // A member of a static name does not take its leave when it closes: to the group it falls silent.
    let silent = bed.member(&[("group.instance.id", "silent"), ("session.timeout.ms", "6000")]);
    settle(&[&stays, &silent]);
    drop(silent);
    let gone = Instant::now();
    assert_eq!(bed.described(), ("Stable".to_owned(), 2));
    settle(&[&stays]);
    assert!(gone.elapsed() > Duration::from_secs(4), "put out after {:?}", gone.elapsed());
    assert!(gone.elapsed() < Duration::from_secs(15), "put out after {:?}", gone.elapsed());
}

#[test]
fn groups_of_one_topic_do_not_disturb_each_other() {
    let bed = Bed::new();
    let flights = flights::make_up(500);
    clients::produce(&clients::producer(&bed.node.bootstrap(), &[]), &bed.topic, &flights);
    for group in ["a", "b"] {
        let group = format!("{}-{group}", bed.topic);
        let consumer = clients::subscribed(&bed.node.bootstrap(), &group, &bed.topic, &[]);
        let mut count = settle(&[&consumer]).len();
        let begin = Instant::now();
        while count < flights.len() {
            assert!(begin.elapsed() < Duration::from_secs(30), "{count} read by {group}");
            count += usize::from(clients::poll(&consumer).is_some());
        }
    }
}

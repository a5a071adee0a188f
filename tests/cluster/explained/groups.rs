//! Groups that do not get on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Asked, SOON, contains};
use crate::asks;
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::rig::turn;
use crate::wait_for;

pub(super) const GROUP: [&str; 2] = ["group", "workers"];

/// A member that polls, unless it is told not to, and commits nothing by itself.
pub(super) struct Member {
    consumer: Arc<BaseConsumer>,
    polls: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    pub(super) fn join(bootstrap: &str, client: &str) -> Member {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("group.id", "workers");
        config.set("client.id", client).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&["orders"]).expect("a subscription");
        let (consumer, polls) = (Arc::new(consumer), Arc::new(AtomicBool::new(true)));
        let ends = Arc::<AtomicBool>::default();
        let (polling, may, end) = (consumer.clone(), polls.clone(), ends.clone());
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match may.load(Ordering::Relaxed) {
                    true => drop(polling.poll(Duration::from_millis(50))),
                    false => thread::park_timeout(Duration::from_millis(50)),
                }
            }
        });
        Member { consumer, polls, ends, thread: Some(thread) }
    }

    pub(super) fn wait_for_assignment(&self) {
        wait_for("an assignment", || {
            let assigned = self.consumer.assignment().expect("an assignment");
            (assigned.count() > 0).then_some(())
        });
    }

    pub(super) fn commit(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("orders", partition, Offset::Offset(offset)).expect("a place");
        wait_for("the commit", || self.consumer.commit(&list, CommitMode::Sync).ok());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread that polls");
        }
    }
}

#[test]
fn a_group_that_lags_one_that_does_not_come_together_and_one_that_is_left() {
    let _turn = turn();
    let asked = Asked::start();
    asked.create("orders", &[&[1, 2, 3], &[2, 3, 1]], 2);
    asked.produce("orders", "all");
    let (well, said) = asked.by_console(0, &GROUP);
    assert!(!well && said.contains("there is no group workers"), "{said}");

    let bootstrap = asked.cluster.bootstrap();
    let first = Member::join(&bootstrap, "first");
    first.wait_for_assignment();
    let said = asked.until(1, &GROUP, &["has it, and has committed nothing"]);
    contains(&said, &["orders-0: first at /127.", "10 records, up to 10", "Stable", "1 members"]);
    first.commit(0, 4);
    let said = asked.until(2, &GROUP, &["is behind, and commits nothing any more"]);
    contains(&said, &["since: 20", "6 records behind: committed 4 ", "the log ends at 10"]);
    first.commit(0, 10);
    asked.until(0, &GROUP, &["verdict: all is well: stable, 0 records behind"]);
    let (well, said) = asked.by_console(0, &["group", "worker"]);
    assert!(!well && said.contains("there is no group worker, did you mean workers?"), "{said}");

    // It is called back, and does not come.
    let second = Member::join(&bootstrap, "second\u{1b}[2J\u{9b}31m");
    second.wait_for_assignment();
    second.polls.store(false, Ordering::Relaxed);
    let third = Member::join(&bootstrap, "third");
    let said = asked.until(1, &GROUP, &["it rebalances: 1 of 3 members have not joined again"]);
    let who = r"(client second\u{1b}[2J\u{9b}31m at /127.";
    contains(&said, &[who, "rebalance timeout 300000 ms", "was called back, and has not joined"]);
    contains(&said, &["since: 20", "unblock: let them poll", "the group goes on without them"]);
    assert!(!said.contains("client first") && !said.contains("client third"), "{said}");
    let json = asked.explain(1, &[GROUP[0], GROUP[1], "--json"]);
    for said in [said, json] {
        let steers = |c: &char| c.is_control() && *c != '\n';
        assert_eq!(said.chars().find(steers), None, "it steers the terminal: {said:?}");
    }
    second.polls.store(true, Ordering::Relaxed);
    asked.until(1, &GROUP, &["verdict: all is well: stable"]);

    drop((first, second, third));
    let said = asked.until(2, &GROUP, &["verdict: no members: nobody subscribes in it"]);
    contains(&said, &["Empty in generation", "since: 20"]);

    wait_for("its coordinator to take it in", || {
        let brokers = (0..BROKERS).map(|node| asked.cluster.broker_address(node));
        brokers.map(|at| asks::join_and_leave_it_at_that(at, "assigned")).find(|there| *there)
    });
    let said = asked.until(0, &["group", "assigned"], &["has not sent the assignment"]);
    let leader = "verdict: it rebalances: its leader, member chaos-";
    contains(&said, &[leader, "has not synced", "since: 20", "the group goes on without them"]);
}

#[test]
fn a_group_whose_coordinator_is_gone() {
    let _turn = turn();
    let one = ["\"offsets.topic.replication.factor\" = 1", "\"offsets.topic.num.partitions\" = 4"];
    let cluster = Cluster::start(Shape::Combined, None, &[SOON, &one].concat());
    let mut asked = Asked { cluster };
    asked.create("orders", &[&[1, 2, 3]], 2);
    let member = Member::join(&asked.cluster.bootstrap(), "first");
    member.wait_for_assignment();
    member.commit(0, 0);
    drop(member);

    let said = asked.until(0, &GROUP, &["no members"]);
    let place = said.split_once("which leads ").and_then(|(_, rest)| rest.lines().next());
    let place = place.expect("the coordinator's partition").to_owned();
    let number: usize = place.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).expect("a number");
    let at = asked.cluster.broker_address(0);
    let id = asks::partitions(at, "__consumer_offsets")[number].leader_id;
    let dead = asked.cluster.index_of(id);
    asked.cluster.kill(dead);
    let gone = format!("no coordinator: {place}, whose leader that is, has none");
    for node in (0..BROKERS).filter(|node| *node != dead) {
        let said = asked.until(node, &GROUP, &[&gone, "refused"]);
        contains(&said, &["since: 20", &format!("unblock: start broker {id}")]);
    }
    asked.cluster.launch(dead);
    asked.until(dead, &GROUP, &["no members"]);
}

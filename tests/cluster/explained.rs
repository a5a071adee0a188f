//! What `ottla explain` says of things that are stuck, and of those that are not.

mod absent;
mod groups;
mod logs;
mod many;

use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;

use crate::asks::{self, Replicas};
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::rig::turn;
use crate::wait_for;

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
const SOON: &[&str] = &[
    "\"ottla.faults.enable\" = true",
    "\"replica.lag.time.max.ms\" = 1000",
    "\"broker.session.timeout.ms\" = 2000",
    "\"broker.heartbeat.interval.ms\" = 500",
];

/// Whether it ended well, and what it said.
fn ottla(words: &[&str]) -> (bool, String) {
    let ended = Command::new(OTTLA).args(words).stdin(Stdio::null()).output().expect("ottla");
    let (said, complained) = (ended.stdout, ended.stderr);
    (ended.status.success(), String::from_utf8_lossy(&[said, complained].concat()).into_owned())
}

struct Asked {
    cluster: Cluster,
}

impl Asked {
    fn start() -> Asked {
        Asked { cluster: Cluster::start(Shape::Combined, None, SOON) }
    }

    fn by_console(&self, node: usize, what: &[&str]) -> (bool, String) {
        let console = self.cluster.console(node).to_string();
        ottla(&[&["explain"], what, &["--console", &console]].concat())
    }

    fn explain(&self, node: usize, what: &[&str]) -> String {
        let (well, said) = self.by_console(node, what);
        assert!(well, "{what:?}: {said}");
        said
    }

    /// Until it says all of this.
    fn until(&self, node: usize, what: &[&str], parts: &[&str]) -> String {
        let mut last = String::new();
        wait_for(&format!("{what:?} to say {parts:?}"), || {
            let said = self.by_console(node, what).1;
            let lacks = parts.iter().find(|part| !said.contains(*part));
            if let Some(lacks) = lacks.filter(|_| last != said) {
                println!("it does not say {lacks:?} yet:\n{said}");
            }
            last = said;
            lacks.is_none().then(|| last.clone())
        })
    }

    fn create(&self, name: &str, replicas: &[&[i32]], min_isr: i32) {
        let at = self.cluster.broker_address(0);
        let on = Replicas::On(replicas);
        wait_for("the topic", || asks::create(at, name, &on, min_isr).then_some(()));
        for node in 0..BROKERS {
            let at = self.cluster.broker_address(node);
            wait_for("its leaders", || {
                let there = asks::partitions(at, name);
                let led = |p: &wire::metadata_response::MetadataResponsePartition| {
                    p.leader_id >= 0 && p.isr_nodes.len() == p.replica_nodes.len()
                };
                (there.len() == replicas.len() && there.iter().all(led)).then_some(())
            });
        }
    }

    /// The place of one that is not the active controller, and of one more.
    fn followers(&self) -> [usize; 2] {
        let at = self.cluster.broker_address(0);
        let leader = wait_for("a controller", || asks::active_controller(at));
        let leader = self.cluster.index_of(leader);
        [(leader + 1) % BROKERS, (leader + 2) % BROKERS]
    }

    fn fault(&self, node: usize, words: &[&str]) {
        let console = self.cluster.console(node).to_string();
        let (well, said) = ottla(&[&["fault"], words, &["--console", &console]].concat());
        assert!(well, "{words:?}: {said}");
    }

    fn produce(&self, topic: &str, acks: &str) {
        let mut config = ClientConfig::new();
        let config = config.set("bootstrap.servers", self.cluster.bootstrap()).set("acks", acks);
        let producer: BaseProducer = config.create().expect("a producer");
        for _ in 0..10 {
            let record = BaseRecord::<(), str>::to(topic).partition(0).payload("a record");
            producer.send(record).expect("room");
        }
        producer.flush(Duration::from_secs(30)).expect("they are sent");
    }
}

fn contains(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn what_is_well_and_what_is_not_there() {
    let _turn = turn();
    let asked = Asked::start();
    asked.create("orders", &[&[1, 2, 3], &[2, 3, 1]], 2);
    for node in 0..BROKERS {
        for what in
            [&["topic", "orders"][..], &["partition", "orders-1"], &["broker", "2"], &["quorum"]]
        {
            asked.until(node, what, &["verdict: all is well"]);
        }
    }
    let said = asked.explain(0, &["partition", "orders-1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (json["well"].as_bool(), json["findings"].as_array().map(Vec::len)),
        (Some(true), Some(0))
    );
    let address = asked.cluster.broker_address(2).to_string();
    let (well, said) = ottla(&["explain", "--bootstrap", &address, "topic", "orders"]);
    assert!(well && said.contains("all is well: each of 2 partitions"), "{said}");

    for (what, meant) in [
        (&["topic", "order"][..], "there is no topic order, did you mean orders?"),
        (&["partition", "orders-2"], "there is no partition orders-2, did you mean orders-1?"),
        (&["partition", "orders"], "\"orders\" is no partition"),
        (&["broker", "7"], "there is no broker 7, did you mean brokers 1, 2 and 3?"),
    ] {
        let (well, said) = asked.by_console(0, what);
        assert!(!well && said.contains(meant), "{what:?}: {said}");
    }
}

#[test]
fn a_broker_that_died() {
    let _turn = turn();
    let mut asked = Asked::start();
    let [dead, lives] = asked.followers();
    let (id, other) = (asked.cluster.id(dead), asked.cluster.id(lives));
    asked.create("orders", &[&[other, id], &[other, id]], 1);
    asked.create("strict", &[&[other, id]], 2);
    asked.create("alone", &[&[id], &[other]], 1);
    asked.produce("orders", "all");
    asked.cluster.kill(dead);

    let gone = format!("start broker {id}");
    let fenced = format!("broker {id} is fenced since 20");
    let refused = "it does not answer at 127.";
    let out = format!("orders-0: broker {id} is not in sync");
    for node in asked.cluster.all().filter(|node| *node != dead) {
        let what = ["partition", "orders-0"];
        let said = asked.until(node, &what, &[&out, &fenced, "refused"]);
        contains(&said, &["since: 20", "by: the controller", refused, "it lacks 0 records", &gone]);
        assert!(said.contains(&format!("verdict: {out}")), "{said}");
    }
    let said = asked.explain(lives, &["topic", "orders"]);
    contains(
        &said,
        &["of 2 partitions, 2 under-replicated", &format!("broker {id} lacks in 2 of them")],
    );
    let said = asked.explain(lives, &["topic", "strict"]);
    let refuses = "strict-0: refuses writes with acks=all: 1 in sync, min.insync.replicas=2";
    contains(&said, &["of 1 partitions, 1 below min.insync.replicas", refuses]);
    let said = asked.until(lives, &["topic", "alone"], &["of 2 partitions, 1 without a leader"]);
    let only = format!("only broker {id} may lead");
    contains(
        &said,
        &["alone-0: no leader, so that nothing is written or read", &only, &gone, "since: 20"],
    );

    let said = asked.explain(lives, &["broker", &id.to_string()]);
    contains(
        &said,
        &[&format!("verdict: broker {id} is fenced, and does not answer"), "since: 20", &gone],
    );
    let silent = format!("voter {id} does not follow the leader");
    let said = asked.until(lives, &["quorum"], &[&silent]);
    contains(
        &said,
        &["2 of 3 voters are there; 2 are a majority", "none of it may be lost", refused],
    );

    let at = asked.cluster.broker_address(lives);
    wait_for("it to be unregistered", || asks::unregister(at, id).then_some(()));
    let gone = format!("broker {id} is not registered");
    let said = asked.until(lives, &["broker", &id.to_string()], &[&format!("verdict: {gone}")]);
    contains(&said, &["since: 20", "by: who asked for it (UnregisterBroker)", "start broker"]);
    asked.until(lives, &["partition", "orders-0"], &[&out, &format!("{gone} since 20")]);

    asked.cluster.launch(dead);
    for what in
        [&["topic", "orders"][..], &["topic", "alone"], &["broker", &id.to_string()], &["quorum"]]
    {
        asked.until(dead, what, &["verdict: all is well"]);
    }
}

#[test]
fn a_broker_that_is_frozen_and_one_whose_fetcher_is_held() {
    let _turn = turn();
    let asked = Asked::start();
    let [frozen, lives] = asked.followers();
    let (id, other) = (asked.cluster.id(frozen), asked.cluster.id(lives));
    asked.create("orders", &[&[other, id]], 1);
    asked.create("moved", &[&[other]], 1);

    // It fetches no more, and what it lacks is produced.
    let fetcher = format!("replication/leader-{other}-0");
    asked.fault(frozen, &["pause", &fetcher, "--for", "600s"]);
    asked.produce("orders", "1");
    let out = format!("orders-0: broker {id} is not in sync");
    let said =
        asked.until(lives, &["partition", "orders-0"], &[&out, "a fault is set on it: paused"]);
    let by = format!("by: broker {other}, the leader, which saw it behind");
    contains(&said, &[&by, "since: 20", "it lacks ", &fetcher, "ottla fault resume"]);
    assert!(!said.contains("it lacks 0"), "{said}");
    let at = asked.cluster.broker_address(lives);
    wait_for("the reassignment", || asks::reassign(at, "moved", 0, &[other, id]).then_some(()));
    let moving = format!("moved-0: it is being reassigned: to come {id}, to go none");
    let said = asked.until(lives, &["partition", "moved-0"], &[&moving, "since: 20"]);
    contains(
        &said,
        &[&format!("broker {id} not in sync yet"), "kafka-reassign-partitions --cancel"],
    );
    asked.fault(frozen, &["resume", &fetcher]);
    for topic in ["orders", "moved"] {
        asked.until(lives, &["topic", topic], &["verdict: all is well"]);
    }

    asked.cluster.tell(frozen, Signal::STOP);
    let fenced = format!("broker {id} is fenced since 20");
    let said = asked.until(lives, &["partition", "orders-0"], &[&out, &fenced]);
    contains(
        &said,
        &["it does not answer at 127.", "by: the controller", "did not answer ApiVersions"],
    );
    asked.cluster.tell(frozen, Signal::CONT);
    asked.until(lives, &["partition", "orders-0"], &["verdict: all is well"]);
}

#[test]
fn a_quorum_without_a_majority() {
    let _turn = turn();
    let mut asked = Asked::start();
    let all: Vec<usize> = asked.cluster.all().collect();
    asked.create("orders", &[&[1, 2, 3]], 2);
    asked.cluster.kill(all[1]);
    asked.cluster.kill(all[2]);
    let lost = ["the metadata log has no leader", "bring voters back until 2 of 3 are there"];
    let said = asked.until(0, &["quorum"], &lost);
    contains(
        &said,
        &[
            "verdict: the metadata log has no leader",
            "node 1 ",
            "node 2 does not answer: ",
            "node 3 does not",
        ],
    );
    let said = asked.explain(0, &["topic", "orders"]);
    contains(&said, &["broker 1, which tells this, finds no leader of the quorum"]);
    // One that is started alone does not serve, and its console tells.
    asked.cluster.kill(all[0]);
    asked.cluster.launch(all[0]);
    let said = asked.until(0, &["quorum"], &lost);
    contains(&said, &["3 voters, as this node knows", "node 1 "]);
    asked.cluster.launch(all[1]);
    asked.until(0, &["quorum"], &["2 of 3 voters are there"]);
    asked.cluster.launch(all[2]);
    asked.until(0, &["quorum"], &["verdict: all is well"]);
}

//! Brokers that live, and do not what they should: each for another reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;

use super::groups::{GROUP, Member};
use super::{Asked, SOON, contains};
use crate::asks::{self, Resource};
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::rig::turn;
use crate::wait_for;

impl Asked {
    /// Until it leads, as a node sees it.
    fn until_led_by(&self, node: usize, topic: &str, id: i32) {
        let at = self.cluster.broker_address(node);
        wait_for("another leader", || {
            let is_so = asks::partitions(at, topic).first().is_some_and(|p| p.leader_id == id);
            is_so.then_some(())
        });
    }

    fn produce_to_each(&self, topic: &str, partitions: i32) {
        let mut config = ClientConfig::new();
        let config = config.set("bootstrap.servers", self.cluster.bootstrap()).set("acks", "1");
        let producer: BaseProducer = config.create().expect("a producer");
        for partition in 0..partitions {
            let record = BaseRecord::<(), str>::to(topic).partition(partition).payload("a record");
            producer.send(record).expect("room");
        }
        producer.flush(Duration::from_secs(30)).expect("they are sent");
    }

    /// Lets a broker lead, by making it the first replica.
    fn lead(&self, node: usize, topic: &str, replicas: &[i32]) {
        let at = self.cluster.broker_address(node);
        wait_for("the reassignment", || asks::reassign(at, topic, 0, replicas).then_some(()));
        wait_for("another leader", || {
            asks::elect_preferred(at);
            let is_so = |p: &wire::metadata_response::MetadataResponsePartition| {
                p.leader_id == replicas[0] && p.replica_nodes == replicas
            };
            asks::partitions(at, topic).first().is_some_and(is_so).then_some(())
        });
    }
}

#[test]
fn brokers_that_answer_and_do_not_serve() {
    let _turn = turn();
    let mut asked = Asked::start();
    let [lives, dead] = asked.followers();
    let leads = (0..BROKERS).find(|node| ![lives, dead].contains(node)).expect("a third");
    let [id, other, third] = [lives, dead, leads].map(|node| asked.cluster.id(node));
    asked.create("unclean", &[&[other, id]], 1);
    asked.create("fetched", &[&[other, third, id]], 1);

    // It does not hear who leads, and asks as in the leader's last but one epoch.
    asked.fault(lives, &["pause", "metadata-publisher", "--for", "600s"]);
    asked.lead(leads, "fetched", &[third, other, id]);
    asked.lead(leads, "fetched", &[other, third, id]);
    let out = format!("fetched-0: broker {id} is not in sync");
    let why = format!("broker {id} does not fetch it: the leader has a newer leader epoch");
    asked.until(leads, &["partition", "fetched-0"], &[&out, &why, "since: 20"]);
    asked.fault(lives, &["resume", "metadata-publisher"]);
    for topic in ["fetched", "unclean"] {
        asked.until(leads, &["topic", topic], &["verdict: all is well"]);
    }

    // Its heartbeats do not come.
    asked.fault(lives, &["pause", "quorum/lifecycle", "--for", "600s"]);
    let broker = id.to_string();
    let fenced = format!("verdict: broker {id} is fenced, although it answers");
    let said = asked.until(leads, &["broker", &broker], &[&fenced, "since: 20"]);
    contains(&said, &["by: the controller", "quorum/lifecycle a fault is set on it: paused"]);
    contains(&said, &[&format!("it knows node {third} as the active controller")]);

    // Only the one that lacks records lives, and cannot lead, although it might.
    asked.alter(&Resource::Topic("unclean"), "unclean.leader.election.enable", "true");
    asked.cluster.kill(dead);
    let may = format!(
        "unclean.leader.election.enable=true, but broker {id} may lack records that were acknowledged, and cannot lead now"
    );
    let said = asked.until(leads, &["partition", "unclean-0"], &["no leader", &may]);
    contains(&said, &[&format!("only broker {other} may lead"), "since: 20"]);
    asked.fault(lives, &["resume", "quorum/lifecycle"]);
    asked.until_led_by(leads, "unclean", id);
    asked.cluster.launch(dead);
    asked.until(leads, &["topic", "unclean"], &["verdict: all is well"]);
}

/// It has no other way to the voters, who know each other and their leader.
#[test]
fn a_node_that_finds_no_leader_while_others_do() {
    let _turn = turn();
    let asked = Asked::start();
    let [lost, lives] = asked.followers();
    let leads = (0..BROKERS).find(|node| ![lost, lives].contains(node)).expect("a third");
    let [id, other, leader] = [lost, lives, leads].map(|node| asked.cluster.id(node));
    asked.fault(lost, &["pause", &format!("raft/fetcher-{leader}"), "--for", "600s"]);
    let console = asked.cluster.console(lost).to_string();
    for voter in [leader, other] {
        // It is there once it has asked for votes.
        let words = ["fault", "pause", &format!("raft/peer-{voter}"), "--for", "600s"];
        let pause = || super::ottla(&[&words[..], &["--console", &console]].concat()).0;
        wait_for("a question to a voter", || pause().then_some(()));
    }
    let what = format!("node {id} does not find the leader of the metadata log");
    let leads = format!("node {leader} leads in epoch");
    asked.until(lost, &["quorum"], &[&what, &leads, "of the quorum itself ask another node"]);
}

/// Brokers that are reached are not those that clients are told of; and one of two directories of another is gone.
#[test]
fn a_broker_that_is_reached_from_elsewhere_alone_and_a_directory_that_failed() {
    let _turn = turn();
    let often = ["\"replica.high.watermark.checkpoint.interval.ms\" = 50"];
    let dirs = |data: &Path| [data.join("one"), data.join("two")];
    let each = |node: usize, data: &Path| match node {
        1 => format!("data = {:?}\n", dirs(data)),
        2 => "advertised = \"127.0.0.1:9\"\n".to_owned(),
        _ => String::new(),
    };
    let cluster = Cluster::start_each(Shape::Combined, None, &[SOON, &often].concat(), each);
    let asked = Asked { cluster };
    let [here, holds, away] = [0, 1, 2].map(|node| asked.cluster.id(node));
    asked.create("orders", &[&[here, holds][..]; 4], 1);
    asked.create("alone", &[&[holds][..]; 2], 1);

    let broker = away.to_string();
    let lives = format!("verdict: broker {away} cannot be reached from here, and lives");
    let said = asked.until(0, &["broker", &broker], &[&lives]);
    contains(&said, &["at 127.0.0.1:9: ", "the cluster counts on it: it is not fenced, and node "]);
    contains(&said, &["the active controller, heard of it ", "advertised.listeners"]);

    let [_, two] = dirs(&asked.cluster.data(1));
    let held = |topic: &str| -> Vec<String> {
        let dirs = fs::read_dir(two.with_extension("gone")).expect("a directory");
        let names = dirs.filter_map(|dir| dir.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with(topic)).collect()
    };
    fs::rename(&two, two.with_extension("gone")).expect("renamed");
    fs::write(&two, "no directory").expect("a file in its place");
    let told = |two: &PathBuf| two.display().to_string();
    let offline = format!("log directory {} of broker {holds} is offline", told(&two));
    asked.produce_to_each("orders", 4);
    asked.until(0, &["broker", &holds.to_string()], &[&format!("verdict: {offline}")]);
    let replica = format!("its replica in {} is offline", told(&two));
    let [orders, alone] = ["orders-", "alone-"].map(|topic| held(topic).remove(0));
    let out = format!("{orders}: broker {holds} is not in sync");
    let said = asked.until(0, &["partition", &orders], &[&out, &replica]);
    contains(&said, &["since: 20", "unblock: repair it and restart broker"]);
    let none = format!("{alone}: no leader");
    asked.until(0, &["partition", &alone], &[&none, &replica, "only broker"]);
}

#[test]
fn a_leader_that_is_silent_and_a_broker_that_is_told_to_stop() {
    let _turn = turn();
    let patient = ["\"broker.session.timeout.ms\" = 60000"];
    let others = SOON.iter().copied().filter(|line| !line.contains("broker.session"));
    let settings: Vec<&str> = others.chain(patient).collect();
    let asked = Asked { cluster: Cluster::start(Shape::Combined, None, &settings) };
    asked.create("orders", &[&[1], &[2], &[3]], 1);
    let member = Member::join(&asked.cluster.bootstrap(), "first");
    member.wait_for_assignment();
    member.commit(0, 0);
    let said = asked.until(0, &GROUP, &["Stable", "coordinated by broker "]);
    let by = said.split_once("coordinated by broker ").and_then(|(_, by)| by.split_once(','));
    let by: i32 = by.and_then(|(id, _)| id.parse().ok()).expect("its coordinator");
    let controller = asks::active_controller(asked.cluster.broker_address(0)).expect("one");
    let silent = (1..=3).find(|id| ![by, controller].contains(id)).expect("another");
    let (node, asks) = (asked.cluster.index_of(silent), asked.cluster.index_of(by));

    asked.cluster.tell(node, Signal::STOP);
    let partition = format!("orders-{}", silent - 1);
    let nobody = format!(
        "{partition}: how far behind it is nobody knows: its leader, broker {silent}, does not tell"
    );
    let others = "0 records behind in 2 partitions, and nobody knows how far in 1 more";
    asked.until(asks, &GROUP, &[&nobody, others, "did not answer ApiVersions"]);
    let leader = format!("{partition}: its leader, broker {silent}, does not answer");
    let counts = "counts as alive until its session ends";
    let heard = "the active controller, heard of it ";
    asked.until(asks, &["partition", &partition], &[&leader, counts, heard]);
    let broker = silent.to_string();
    let mute = format!("verdict: broker {silent} does not answer");
    asked.until(asks, &["broker", &broker], &[&mute, counts, "did not answer ApiVersions"]);
    asked.cluster.tell(node, Signal::CONT);
    asked.until(asks, &["broker", &broker], &["verdict: all is well"]);

    // It is let go only as its answers are handled.
    asked.fault(node, &["delay", "quorum/lifecycle", "--by", "3s"]);
    asked.cluster.tell(node, Signal::TERM);
    let stops = format!("verdict: broker {silent} is in controlled shutdown");
    let said = asked.until(asks, &["broker", &broker], &[&stops, "it asked to stop"]);
    contains(&said, &["since: 20", "unblock: let it stop"]);
}

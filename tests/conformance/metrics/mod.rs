//! `/metrics` as a scraper reads it, after a load whose numbers are known.

mod dashboard;
mod strict;

use crate::batch;
use crate::commands::{Page, get, get_with, is_foreign};
use crate::node::Node;
use crate::observed::{fault, find, forest, start};
use crate::raw::Connection;
use crate::requests::{create_topic, fetch, produce};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use strict::{Families, read, value};

/// Name, type and labels of what Kafka 4.4.0's broker and controller show by the JMX exporter 1.0.1 with its examples of rules
/// (kafka-2_0_0.yml; of raft-metrics and broker-metadata-metrics kafka-kraft-3_0_0.yml), in one process, after some records.
const OF_KAFKA: &str = include_str!("kafka.txt");
const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");
/// Under a name that other rules than the exporter's own examples give it.
const BY_OTHER_RULES: &str = "kafka_server_socket_server_metrics_";
const LIMIT: Duration = Duration::from_secs(30);

const OPEN_METRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn accepting(console: SocketAddr, path: &str, accept: &str) -> Page {
    get_with(console, path, &format!("Host: {console}\r\nAccept: {accept}"))
}

fn scraped(console: SocketAddr, path: &str) -> Families {
    let page = get(console, path);
    assert!(page.head.contains("200 OK"), "{}", page.head);
    read(&page.body, false)
}

/// Waits until a number is this: what is answered is counted once the answer is out.
fn until(console: SocketAddr, name: &str, labels: &[(&str, &str)], wanted: f64) -> Families {
    let begun = Instant::now();
    loop {
        let families = scraped(console, "/metrics");
        let found = value(&families, name, labels);
        if found == Some(wanted) {
            return families;
        }
        assert!(begun.elapsed() < LIMIT, "{name} {labels:?}: {found:?}, not {wanted}");
    }
}

/// Seven batches of two records to one topic and one of three to another, and what is read of the first.
fn load(node: &Node, connection: &mut Connection) -> (usize, usize, usize) {
    create_topic(connection, "orders", 2);
    create_topic(connection, "payments", 1);
    let pair = batch::of(&[b"an order", b"another"]).bytes();
    let three = batch::of(&[b"a payment", b"another", b"one more"]).bytes();
    for partition in [0, 0, 0, 0, 0, 1, 1] {
        assert_eq!(produce(connection, "orders", partition, &pair).error, 0);
    }
    assert_eq!(produce(connection, "payments", 0, &three).error, 0);
    // From the second batch on.
    let read = fetch(&mut node.connect(), "orders", 2).1.len();
    assert_eq!(read, 4 * pair.len());
    (7 * pair.len(), three.len(), read)
}

#[test]
fn a_scraper_reads_what_was_done() {
    if is_foreign("a_scraper_reads_what_was_done") {
        return;
    }
    let (node, console) = start(&[]);
    let mut connection = node.connect();
    let (orders, payments, out) = load(&node, &mut connection);
    let count = "kafka_network_requestmetrics_requests_total";
    until(console, count, &[("request", "Fetch"), ("version", "11")], 1.0);
    let all = until(console, count, &[("request", "Produce"), ("version", "8")], 8.0);
    let topics = |name: &str, expected: [Option<usize>; 3]| {
        let name = format!("kafka_server_brokertopicmetrics_{name}_total");
        let of = |labels: &[(&str, &str)]| value(&all, &name, labels).map(|value| value as usize);
        let found = [of(&[]), of(&[("topic", "orders")]), of(&[("topic", "payments")])];
        assert_eq!(found, expected, "{name}");
    };
    topics("messagesin", [Some(17), Some(14), Some(3)]);
    topics("bytesin", [Some(orders + payments), Some(orders), Some(payments)]);
    topics("bytesout", [Some(out), Some(out), Some(0)]);
    topics("totalproducerequests", [Some(8), Some(7), Some(1)]);
    topics("totalfetchrequests", [Some(1), Some(1), Some(0)]);
    topics("replicationbytesin", [Some(0), None, None]);
    for (name, expected) in [
        ("kafka_server_replicamanager_partitioncount", 3.0),
        ("kafka_server_replicamanager_leadercount", 3.0),
        ("kafka_server_replicamanager_underreplicatedpartitions", 0.0),
        ("kafka_server_replicamanager_atminisrpartitioncount", 3.0),
        ("kafka_server_kafkaserver_brokerstate", 3.0),
        ("kafka_controller_kafkacontroller_activecontrollercount", 1.0),
        ("kafka_controller_kafkacontroller_globaltopiccount", 2.0),
        ("kafka_controller_kafkacontroller_globalpartitioncount", 3.0),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", 0.0),
        ("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", 0.0),
        ("kafka_controller_kafkacontroller_activebrokercount", 1.0),
        ("kafka_controller_kafkacontroller_fencedbrokercount", 0.0),
        ("kafka_server_raft_metrics_current_leader", 1.0),
        ("kafka_server_raft_metrics_number_of_voters", 1.0),
        ("kafka_log_logmanager_offlinelogdirectorycount", 0.0),
    ] {
        assert_eq!(value(&all, name, &[]), Some(expected), "{name}");
    }
    let open = "kafka_server_socket_server_metrics_connection_count";
    until(console, open, &[("listener", "PLAINTEXT")], 1.0);
    assert_times(&all);
    assert_kafkas(&all);
    assert_same_as_open_metrics(console, &all);
    drop(connection);
}

#[test]
fn a_replica_that_was_given_up_is_offline_and_counts() {
    if is_foreign("a_replica_that_was_given_up_is_offline_and_counts") {
        return;
    }
    let (node, console) = start(&["ottla.faults.enable=true"]);
    create_topic(&mut node.connect(), "orders", 2);
    until(console, "kafka_server_replicamanager_leadercount", &[], 2.0);
    let begun = Instant::now();
    while find(&forest(console), "orders-0").is_none_or(|one| one["status"] != "offline") {
        // One that starts anew cannot be killed yet.
        let _ = fault(console, &["kill", "orders-0"]);
        assert!(begun.elapsed() < LIMIT, "it is not given up");
    }
    let all = until(console, "kafka_server_replicamanager_offlinereplicacount", &[], 1.0);
    for (name, expected) in [
        ("kafka_server_replicamanager_partitioncount", 2.0),
        ("kafka_server_replicamanager_leadercount", 1.0),
    ] {
        assert_eq!(value(&all, name, &[]), Some(expected), "{name}");
    }
}

/// Each request that was answered has a time, and fetches are told apart.
fn assert_times(all: &Families) {
    let times = "kafka_network_requestmetrics_totaltimems";
    let requests = "kafka_network_requestmetrics_requests_total";
    let consumer = [("request", "FetchConsumer"), ("version", "11")];
    assert_eq!(value(all, requests, &consumer), Some(1.0));
    for (request, count) in [("Produce", 8.0), ("Fetch", 1.0), ("FetchConsumer", 1.0)] {
        let label = ("request", request);
        let of = |suffix: &str| value(all, &format!("{times}{suffix}"), &[label]);
        assert_eq!(of("_count"), Some(count), "{request}");
        let sum = of("_sum").expect("a sum");
        let quantile = |name| value(all, times, &[label, ("quantile", name)]).expect("a quantile");
        let (half, most) = (quantile("0.50"), quantile("0.999"));
        assert!(sum > 0.0 && half > 0.0 && half <= most && most <= 1.13 * sum + 0.001, "{request}");
    }
}

/// Kafka has what is told under its name, with these labels.
fn assert_kafkas(all: &Families) {
    let told = |line: &'static str| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, kind, labels) = (word(), word(), word());
        (name, (kind, labels.split(',').filter(|label| *label != "-").collect()))
    };
    let kafkas: BTreeMap<&str, (&str, BTreeSet<&str>)> = OF_KAFKA.lines().map(told).collect();
    let mut count = 0;
    for (name, family) in all.iter().filter(|(name, _)| name.starts_with("kafka_")) {
        if name.starts_with(BY_OTHER_RULES) {
            continue;
        }
        let (kind, known) =
            kafkas.get(name.as_str()).unwrap_or_else(|| panic!("Kafka has no {name}"));
        // The exporter's rules know of no summaries.
        let told = if family.kind == "summary" { "gauge" } else { &family.kind };
        assert_eq!(told, *kind, "{name}");
        for ((_, labels), _) in &family.samples {
            let mut labels = labels.keys().map(String::as_str).filter(|label| *label != "node");
            assert!(labels.all(|label| known.contains(label)), "{name}: {known:?}");
        }
        count += 1;
    }
    assert!(count > 30, "{count}");
}

/// All of Kafka's that docs/METRICS.md has are told, and no others.
fn assert_documented(all: &Families) {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `kafka_"));
    let documented: BTreeSet<String> =
        rows.filter_map(|row| Some(format!("kafka_{}", row.split_once('`')?.0))).collect();
    let told = all.keys().filter(|name| name.starts_with("kafka_")).cloned().collect();
    assert_eq!(documented, told);
}

fn assert_same_as_open_metrics(console: SocketAddr, all: &Families) {
    let page = accepting(console, "/metrics", OPEN_METRICS);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(page.head.contains(kind), "{}", page.head);
    let open = read(&page.body, true);
    assert_eq!(open["ottla_handling_seconds"].unit.as_deref(), Some("seconds"));
    for (name, family) in all {
        let bare = match family.kind.as_str() {
            "counter" => name.strip_suffix("_total").expect("a counter's name"),
            _ => name,
        };
        assert_eq!(open.get(bare).map(|same| &same.kind), Some(&family.kind), "{name}");
    }
    let name = "kafka_server_brokertopicmetrics_bytesin_total";
    assert!(value(&open, name, &[]).is_some_and(|bytes| Some(bytes) == value(all, name, &[])));
    let page = accepting(console, "/metrics", "text/plain;version=0.0.4");
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
}

#[test]
fn lines_do_not_grow_with_partitions_and_each_replica_is_told_of_where_that_is_asked_for() {
    if is_foreign("lines_do_not_grow_with_partitions") {
        return;
    }
    let (node, console) = start(&[]);
    let mut connection = node.connect();
    load(&node, &mut connection);
    let lines = |path: &str| -> BTreeSet<String> {
        let families = scraped(console, path);
        let samples = families.values().flat_map(|family| &family.samples);
        samples.map(|((name, labels), _)| format!("{name} {labels:?}")).collect()
    };
    let count = "kafka_network_requestmetrics_requests_total";
    until(console, count, &[("request", "Produce"), ("version", "8")], 8.0);
    let before = lines("/metrics");
    create_topic(&mut connection, "many", 50);
    let after = lines("/metrics");
    // Messages of actors that there were none of before.
    let new: Vec<_> =
        after.difference(&before).filter(|line| !line.contains("_handled_total")).collect();
    assert!(new.is_empty(), "{new:?}");

    let of_one = scraped(console, "/metrics?detail=partitions&topic=orders");
    let sizes = &of_one["kafka_log_log_size"].samples;
    let total: f64 = sizes.iter().map(|(_, size)| size).sum();
    let bytes =
        value(&of_one, "kafka_server_brokertopicmetrics_bytesin_total", &[("topic", "orders")]);
    assert_eq!((sizes.len(), Some(total)), (2, bytes));
    assert_kafkas(&of_one);
    assert_documented(&of_one);
    let first = [("topic", "orders"), ("partition", "0")];
    for (name, expected) in [
        ("kafka_log_log_logendoffset", 10.0),
        ("kafka_log_log_logstartoffset", 0.0),
        ("kafka_log_log_numlogsegments", 1.0),
        ("kafka_cluster_partition_insyncreplicascount", 1.0),
        ("kafka_cluster_partition_underreplicated", 0.0),
    ] {
        assert_eq!(value(&of_one, name, &first), Some(expected), "{name}");
    }
    let of_all = scraped(console, "/metrics?detail=partitions");
    assert_eq!(of_all["kafka_log_log_size"].samples.len(), 53);
    let refused = get(console, "/metrics?detail=all");
    assert!(
        refused.head.contains("400") && refused.body.contains("detail=all"),
        "{}",
        refused.body
    );
}

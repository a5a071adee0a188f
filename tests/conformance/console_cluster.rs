//! The console of one node of several, while others are dead or hang.

use crate::clients;
use crate::cluster;
use crate::commands::is_foreign;
use crate::console::{LIMIT, api, ask, names, refused, until};
use crate::node::{self, Node, free_address};
use crate::replication::pid_of;
use crate::requests::create_replicated;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::time::Instant;

/// A group that has read nothing of a topic.
fn commit(node: &Node, group: &str, topic: &str) {
    let consumer = clients::member(&node.bootstrap(), group, &[]);
    let mut offsets = TopicPartitionList::new();
    for partition in 0..clients::PARTITIONS {
        offsets.add_partition_offset(topic, partition, Offset::Offset(0)).expect("added");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
}

#[test]
fn one_console_tells_of_the_whole_cluster_also_while_a_broker_is_dead() {
    if is_foreign("one_console_tells_of_the_whole_cluster_also_while_a_broker_is_dead") {
        return;
    }
    let _turn = node::turn();
    let console = free_address();
    let (mut nodes, _home) = cluster::start_shown(&[], Some(console));
    create_replicated(&mut nodes[0].connect(), "orders", (clients::PARTITIONS, 3), &[]);
    cluster::wait_until_led(&nodes[0].bootstrap(), "orders");
    let led: Vec<i64> = (0..clients::PARTITIONS)
        .filter_map(|partition| {
            let asked = format!("topic?name=orders&offset={partition}&limit=1");
            api(console, &asked)["partitions"][0]["leader"].as_i64()
        })
        .collect();
    assert!((1..=3).all(|id| led.contains(&id)), "{led:?}");
    let headers = format!("Origin: http://{console}\r\nContent-Type: application/json\r\n");
    for partition in 0..clients::PARTITIONS {
        let record = json!({ "topic": "orders", "partition": partition, "value": "00" });
        let answer = ask(console, "POST /api/produce", &headers, &record.to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let assert_read = || {
        for partition in 0..clients::PARTITIONS {
            let asked = format!("records?topic=orders&partition={partition}");
            let begun = Instant::now();
            // Its leader may have gone, and nobody knows it yet.
            while ask(console, &format!("GET /api/{asked}"), "", "").status != 200 {
                assert!(begun.elapsed() < LIMIT, "{asked}");
            }
            assert_eq!(api(console, &asked)["records"][0]["value"]["hex"], "00");
        }
    };
    assert_read();
    create_replicated(&mut nodes[0].connect(), "alone", (clients::PARTITIONS, 1), &[]);
    cluster::wait_until_led(&nodes[0].bootstrap(), "alone");
    commit(&nodes[0], "billing", "alone");
    until(console, "groups", |told| told["groups"][0]["lag"] == 0);
    assert_eq!(api(console, "brokers")["total"], 3);
    let quorum = until(console, "quorum", |quorum| {
        quorum["replicas"]
            .as_array()
            .is_some_and(|all| all.iter().all(|replica| replica["lag"] == 0))
    });
    assert_eq!(quorum["replicas"].as_array().map(Vec::len), Some(3));
    assert!(
        names(&api(console, "broker?broker=3"), "configs", "name").contains(&"node.id".to_owned())
    );

    drop(nodes.pop());
    let all = i64::from(clients::PARTITIONS);
    until(console, "overview", |told| {
        told["alive"] == 2 && told["under_replicated"].as_i64().is_some_and(|count| count >= all)
    });
    let troubled = api(console, "topics?only=trouble&search=orders");
    assert_eq!(troubled["topics"][0]["under_replicated"], all);
    assert_read();
    // Of what the dead one alone has nothing is known.
    let told = until(console, "groups", |told| told["groups"][0]["partitions"] == all);
    assert_eq!(told["groups"][0]["lag"], Value::Null, "{told}");
    refused(console, "broker?broker=3", 502);
}

#[test]
fn a_broker_that_hangs_leaves_open_what_it_alone_knows_and_nothing_else() {
    if is_foreign("a_broker_that_hangs_leaves_open_what_it_alone_knows_and_nothing_else") {
        return;
    }
    let _turn = node::turn();
    let console = free_address();
    // It is taken for alive as long as this lasts.
    let patient = ["\"broker.session.timeout.ms\" = 300000"];
    let (nodes, _home) = cluster::start_shown(&patient, Some(console));
    create_replicated(&mut nodes[0].connect(), "orders", (clients::PARTITIONS, 1), &[]);
    cluster::wait_until_led(&nodes[0].bootstrap(), "orders");
    // Some of them are coordinated by one that will not hang.
    (0..6).for_each(|id| commit(&nodes[0], &format!("billing-{id}"), "orders"));
    until(console, "groups", |told| {
        let groups = told["groups"].as_array().expect("a list");
        groups.len() == 6 && groups.iter().all(|group| group["lag"] == 0)
    });
    kill_process(pid_of(&nodes[2]), Signal::STOP).expect("the signal is sent");

    let topic = api(console, "topic?name=orders");
    for partition in topic["partitions"].as_array().expect("a list") {
        let known = if partition["leader"] == 3 { Value::Null } else { json!(0) };
        assert_eq!((&partition["start"], &partition["end"]), (&known, &known), "{partition}");
    }
    assert_eq!(api(console, "topics?search=orders")["topics"][0]["records"], Value::Null);
    let told = api(console, "groups");
    assert!(told["untold"].to_string().contains("broker 3"), "{told}");
    let groups = told["groups"].as_array().expect("a list");
    assert!(!groups.is_empty() && groups.len() <= 6, "{told}");
    for group in groups {
        let told = (&group["partitions"], &group["lag"]);
        assert_eq!(told, (&json!(clients::PARTITIONS), &Value::Null), "{group}");
    }
    assert_eq!(api(console, "brokers")["total"], 3);
}

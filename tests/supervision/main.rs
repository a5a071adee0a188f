//! What a failure inside a node costs: the actor that failed, for a moment, and nothing else.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests are the world outside of the node"
)]

#[expect(dead_code, reason = "the conformance tests use all of it")]
#[path = "../conformance/batch.rs"]
mod batch;
#[expect(dead_code, reason = "the conformance tests use all of it")]
#[path = "../conformance/raw.rs"]
mod raw;
#[expect(dead_code, reason = "the conformance tests use all of it")]
#[path = "../conformance/requests.rs"]
mod requests;
mod several;
mod window;

use std::time::Duration;

use ottla::Node;
use ottla::client::{ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord, Start};
use ottla::runtime::ActorTree;

const PARTITIONS: i32 = 4;
const RECORDS: usize = 4000;
const LIMIT: Duration = Duration::from_secs(30);

fn find<'a>(forest: &'a [ActorTree], name: &str) -> Option<&'a ActorTree> {
    forest.iter().find_map(|actor| match actor.name == name {
        true => Some(actor),
        false => find(&actor.children, name),
    })
}

/// That of a partition that panics. None is taken while another test's is looked up: then the next one panics.
async fn backtrace(node: &Node) -> String {
    let begun = node.world().mono();
    let in_time = || assert!(node.world().mono() < begun + LIMIT, "no backtrace");
    for partition in 0..PARTITIONS {
        while node.panic_partition("traced", partition).await.is_err() {
            in_time();
        }
        let name = format!("traced-{partition}");
        let trace = loop {
            let forest = node.tree().await;
            match find(&forest, &name).and_then(|partition| partition.backtrace.clone()) {
                Some(trace) => break trace,
                None => in_time(),
            }
        };
        if !trace.starts_with("not taken") {
            return trace;
        }
    }
    panic!("none was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_partition_loses_nothing_and_shows_in_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let client = node.client().unwrap();
    client.admin().create_topic(NewTopic::new("orders").partitions(PARTITIONS)).await.unwrap();
    let producer = client.producer(ProducerConfig::default());
    let mut deliveries = Vec::new();
    let mut failed = 0;
    for n in 0..RECORDS {
        if n % (RECORDS / 3) == RECORDS / 6 {
            // One that is down cannot fail again, and a failure drops what waits in the mailbox.
            failed += u64::from(node.panic_partition("orders", 2).await.is_ok());
        }
        let mut record = ProducerRecord::to("orders").value(format!("{n}"));
        record.partition = Some(n as i32 % PARTITIONS);
        deliveries.push(producer.send(record).await);
    }
    for delivery in deliveries {
        delivery.await.expect("a record whose partition restarted is retried");
    }

    let forest = node.tree().await;
    let partition = find(&forest, "orders-2").expect("it is in the tree");
    assert!((1..=failed).contains(&partition.restarts), "{failed} failures: {partition:?}");
    assert!(partition.last_failure.as_deref().is_some_and(|cause| cause.contains("injected")));
    assert_eq!(partition.restarted.len() as u64, partition.restarts);
    assert!(partition.restarted.iter().all(|one| one.cause.contains("injected")), "{partition:?}");
    assert!(partition.backtrace.is_some());
    client.admin().create_topic(NewTopic::new("traced").partitions(PARTITIONS)).await.unwrap();
    let trace = backtrace(&node).await;
    assert!(trace.contains("actors/partitions/src") && trace.len() < 5000, "{trace}");
    assert!(partition.age_ms <= partition.last_failure_ago_ms.unwrap());
    assert!(partition.last_failure_ago_ms.unwrap() < partition.place_age_ms, "{partition:?}");
    for other in ["orders-0", "orders-1", "orders-3", "raft", "controller"] {
        assert_eq!(find(&forest, other).map(|actor| actor.restarts), Some(0), "{other}");
    }

    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic("orders", Start::Earliest).await.unwrap();
    let mut values = Vec::new();
    let deadline = node.world().mono() + LIMIT;
    while values.len() < RECORDS && node.world().mono() < deadline {
        for batch in consumer.poll(Duration::from_millis(200)).await.unwrap() {
            values.extend(batch.records.into_iter().filter_map(|record| record.value));
        }
    }
    values.sort();
    let before = values.len();
    values.dedup();
    assert_eq!((values.len(), before), (RECORDS, RECORDS), "each once");
    node.stop().await;
}

//! What interceptors meet in logs, and leave there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::ErrorCode;
use ottla::client::{
    Connection, ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord, Start, TopicPartition,
};
use ottla::runtime::Failure;
use ottla::{Intercepted, Interceptor, Node, NodeBuilder, On, Verdict, Way};
use wire::ListOffsetsRequest;
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use crate::LIMIT;
use crate::trouble::{connect, fetch, fetched, produced};

const LOG: &str = "t-0/00000000000000000000.log";

fn quick(dir: &Path) -> NodeBuilder {
    Node::builder().quick(dir, "127.0.0.1:0", &[])
}

/// Counts what it sees.
struct Counts(Arc<AtomicUsize>);

impl Interceptor for Counts {
    const ON: On = On::Fetch;
    type Args = Arc<AtomicUsize>;

    fn start(seen: Arc<AtomicUsize>) -> Result<Self, Failure> {
        Ok(Counts(seen))
    }

    fn record(&mut self, _: &Way, record: &mut Intercepted) -> Verdict {
        self.0.fetch_add(1, Ordering::SeqCst);
        record.value = Some("changed".into());
        Verdict::Pass
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_decayed_on_the_disk_is_not_shown_to_an_interceptor_and_does_not_get_a_new_crc() {
    let (dir, seen) = (tempfile::tempdir().unwrap(), Arc::<AtomicUsize>::default());
    let node = quick(dir.path()).start().await.unwrap();
    node.handle().unwrap().admin().create_topic(NewTopic::new("t")).await.unwrap();
    let producer = node.handle().unwrap().producer(ProducerConfig::default());
    for value in ["sound", "decays"] {
        producer.send(ProducerRecord::to("t").value(value)).await.await.unwrap();
    }
    node.stop().await;
    drop(node);
    let log = dir.path().join(LOG);
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(6).position(|some| some == b"decays").expect("it is in the log");
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();

    let node = quick(dir.path()).intercept::<Counts>("t", seen.clone()).start().await.unwrap();
    let connection = connect(&node).await;
    let told = fetched(&connection, &fetch("t", &[0])).await;
    assert!(told[0].0 == ErrorCode::None && told[0].1 > 0, "what lies before it: {told:?}");
    let told = fetched(&connection, &fetch("t", &[1])).await;
    assert_eq!(told, [(ErrorCode::CorruptMessage, 0)]);
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the sound one, once");
    node.stop().await;
}

/// Leaves out what says so.
pub struct Sieve;

impl Interceptor for Sieve {
    const ON: On = On::Produce;
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Ok(Sieve)
    }

    fn record(&mut self, _: &Way, record: &mut Intercepted) -> Verdict {
        match record.value.as_deref() {
            Some(b"drop") => Verdict::Drop,
            _ => Verdict::Pass,
        }
    }
}

async fn write(connection: &Connection, timestamp: i64, value: &str) {
    let mut batch = BatchBuilder::new(Compression::NONE);
    batch.append(timestamp, None, Some(value.as_bytes()), &[]);
    let written = produced(connection, "t", 0, batch.build().expect("a batch").to_bytes()).await;
    assert_eq!(written.0, ErrorCode::None);
}

/// The first offset whose record is not older, and its timestamp.
async fn since(connection: &Connection, timestamp: i64) -> (i64, i64) {
    let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions, ..Default::default() }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let answer = connection.request_in(&request, 7, LIMIT).await.expect("an answer");
    let told = &answer.topics[0].partitions[0];
    (told.offset, told.timestamp)
}

async fn check(node: &Node, connection: &Connection) {
    assert_eq!(since(connection, 1500).await, (2, 2000), "not the batch of which nothing is left");
    assert_eq!(since(connection, 5000).await, (-1, -1));
    let mut consumer = node.client().expect("a client").consumer(ConsumerConfig::default());
    consumer.assign(TopicPartition { topic: "t".into(), partition: 0 }, Start::Earliest);
    let (mut found, deadline) = (Vec::new(), node.world().mono() + LIMIT);
    while found.len() < 2 && node.world().mono() < deadline {
        for polled in consumer.poll(LIMIT).await.expect("records") {
            found.extend(polled.records.iter().map(|record| (record.offset, record.timestamp)));
        }
    }
    assert_eq!(found, [(0, 1000), (2, 2000)]);
}

/// As Kafka's cleaner leaves them: with the greatest timestamp that they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_which_nothing_is_left_is_found_by_nobody_and_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let node = quick(dir.path()).intercept::<Sieve>("t", ()).start().await.unwrap();
    node.handle().unwrap().admin().create_topic(NewTopic::new("t")).await.unwrap();
    let connection = connect(&node).await;
    for (timestamp, value) in [(1000, "a"), (9000, "drop"), (2000, "b")] {
        write(&connection, timestamp, value).await;
    }
    check(&node, &connection).await;
    node.stop().await;
    drop(node);
    // It recovers the log, and makes its indexes anew.
    for file in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    for index in ["index", "timeindex"] {
        std::fs::remove_file(dir.path().join(LOG).with_extension(index)).unwrap();
    }
    let node = quick(dir.path()).start().await.unwrap();
    let connection = connect(&node).await;
    check(&node, &connection).await;
    write(&connection, 3000, "c").await;
    assert_eq!(since(&connection, 2500).await, (3, 3000));
    node.stop().await;
}

//! Interceptors, as librdkafka sees what they do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ErrorCode;
use ottla::client::{
    Compression, Connection, NewTopic, ProduceError, ProducerConfig, ProducerRecord,
};
use ottla::runtime::{ActorTree, Failure};
use ottla::{Intercepted, Interceptor, Node, On, StartError, Verdict, Way};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use wire::ProduceRequest;
use wire::batch::BatchBuilder;
use wire::produce_request::{PartitionProduceData, TopicProduceData};

use crate::durable::of_kind;
use crate::mask::Mask;
use crate::{Fragile, LIMIT};

/// What a value says is done to it.
struct Obey<const WAY: bool>;

const PRODUCE: bool = true;
const FETCH: bool = false;

impl<const WAY: bool> Interceptor for Obey<WAY> {
    const ON: On = if WAY { On::Produce } else { On::Fetch };
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Ok(Obey)
    }

    fn record(&mut self, way: &Way, record: &mut Intercepted) -> Verdict {
        assert_eq!((way.on, way.partition), (Self::ON, 0));
        let value = record.value.clone().unwrap_or_default();
        match &value[..] {
            b"drop" => Verdict::Drop,
            b"reject" => Verdict::Reject("it says so".into()),
            b"panic" => panic!("a bug in the interceptor"),
            b"change" => {
                record.value = Some("changed".into());
                record.headers.push(("by".into(), Some("obey".into())));
                Verdict::Pass
            }
            _ => Verdict::Pass,
        }
    }
}

/// What became of each of the records.
#[derive(Default)]
struct Told(Mutex<BTreeMap<usize, Sent>>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let sent = match result {
            Ok(message) => Ok(message.offset()),
            Err((KafkaError::MessageProduction(code), _)) => Err(*code),
            Err((error, _)) => panic!("{error}"),
        };
        self.0.lock().expect("nobody panics with it").insert(*number, sent);
    }
}

type Sent = Result<i64, RDKafkaErrorCode>;

fn producer(node: &Node, set: &[(&str, &str)]) -> BaseProducer<Told> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", node.bootstrap().to_string());
    config.set("enable.idempotence", "true").set("linger.ms", "50");
    for (name, value) in set {
        config.set(*name, *value);
    }
    config.create_with_context(Told::default()).expect("a producer")
}

/// All in flight at once; each offset, or why there is none.
fn send(producer: &BaseProducer<Told>, topic: &str, values: &[&str]) -> Vec<Sent> {
    for (number, value) in values.iter().enumerate() {
        let record = BaseRecord::<(), str, _>::with_opaque_to(topic, Box::new(number));
        let record = record.partition(0).payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("room in its queue");
    }
    producer.flush(LIMIT).expect("all are told");
    let told = std::mem::take(&mut *producer.context().0.lock().expect("nobody panics with it"));
    told.into_values().collect()
}

type Read = (i64, String, usize);

/// Offsets, values, and how many headers, up to the end; or the first error.
fn read(node: &Node, topic: &str) -> Result<Vec<Read>, RDKafkaErrorCode> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", node.bootstrap().to_string())
        .set("group.id", "none")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&all).expect("assigned");
    let (mut found, deadline) = (Vec::new(), node.world().mono() + LIMIT);
    while node.world().mono() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                let headers = message.headers().map_or(0, rdkafka::message::Headers::count);
                found.push((message.offset(), value.into_owned(), headers));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(KafkaError::MessageConsumption(code))) => return Err(code),
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    panic!("{topic} is not read to its end: {found:?}");
}

async fn start(
    build: impl FnOnce(ottla::NodeBuilder) -> ottla::NodeBuilder,
    topic: &str,
) -> (Node, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let node =
        build(Node::builder().quick(dir.path(), "127.0.0.1:0", &[])).start().await.expect("a node");
    node.client()
        .expect("a client")
        .admin()
        .create_topic(NewTopic::new(topic))
        .await
        .expect("a topic");
    (node, dir)
}

fn told(all: &[(i64, &str, usize)]) -> Vec<Read> {
    all.iter().map(|(offset, value, headers)| (*offset, (*value).to_owned(), *headers)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_masked_whatever_its_compression_and_what_is_no_json_is_refused() {
    let masked = vec!["iban".to_owned()];
    let (node, _dir) = start(|node| node.intercept::<Mask>("people", masked), "people").await;
    let mut expected = Vec::new();
    for (at, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let producer = producer(&node, &[("compression.type", codec)]);
        let value = format!(r#"{{"iban":"{}","name":"{codec}"}}"#, "DE02".repeat(1000));
        assert_eq!(send(&producer, "people", &[&value]), [Ok(at)]);
        expected.push((at, format!(r#"{{"iban":"***","name":"{codec}"}}"#), 0));
        let refused = send(&producer, "people", &["no json"]);
        assert_eq!(refused, [Err(RDKafkaErrorCode::InvalidRecord)]);
    }
    assert_eq!(read(&node, "people"), Ok(expected));
    let producer = node.client().unwrap().producer(ProducerConfig::default());
    let refused = producer.send(ProducerRecord::to("people").value("no json")).await.await;
    let Err(ProduceError::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert!(refused.message.contains("the value is no JSON"), "{}", refused.message);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_record_is_rejected_and_why_is_told_as_kafka_tells_it() {
    let (node, _dir) = start(|node| node.intercept::<Obey<PRODUCE>>("t", ()), "t").await;
    let mut batch = BatchBuilder::new(Compression::NONE);
    for value in ["a", "drop", "reject", "b"] {
        batch.append(1000, None, Some(value.as_bytes()), &[]);
    }
    let records = Some(batch.build().unwrap().to_bytes().into());
    let partition_data = vec![PartitionProduceData { records, ..Default::default() }];
    let topic_data =
        vec![TopicProduceData { name: "t".into(), partition_data, ..Default::default() }];
    let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data, ..Default::default() };
    let (world, port) = (node.world(), node.bootstrap().port());
    let connection = Connection::open(world, "127.0.0.1", port, &Default::default()).await.unwrap();
    for (version, errors) in
        [(7, vec![]), (8, vec![(2, "it says so")]), (12, vec![(2, "it says so")])]
    {
        let answer = connection.request_in(&request, version, LIMIT).await.unwrap();
        let told = &answer.responses[0].partition_responses[0];
        assert_eq!((told.error_code, told.base_offset), (ErrorCode::InvalidRecord.code(), -1));
        let records = told.record_errors.iter();
        let found: Vec<_> = records
            .map(|r| (r.batch_index, r.batch_index_error_message.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!((version, &found), (version, &errors));
        assert_eq!(told.error_message.as_deref(), errors.first().map(|(_, why)| *why));
    }
    assert_eq!(read(&node, "t"), Ok(Vec::new()), "nothing of the batch is written");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_of_produced_batches_leaves_their_offsets_and_sequences() {
    let (node, _dir) = start(|node| node.intercept::<Obey<PRODUCE>>("t", ()), "t").await;
    let producer = producer(&node, &[]);
    let sent = send(&producer, "t", &["a", "drop", "b", "change", "drop"]);
    assert_eq!(sent, (0..5).map(Ok).collect::<Vec<Sent>>());
    // A batch of which nothing is left, and more of the same idempotent producer behind it.
    assert_eq!(send(&producer, "t", &["drop", "drop"]), [Ok(5), Ok(6)]);
    assert_eq!(send(&producer, "t", &["c"]), [Ok(7)]);
    let expected = told(&[(0, "a", 0), (2, "b", 0), (3, "changed", 1), (7, "c", 0)]);
    assert_eq!(read(&node, "t"), Ok(expected.clone()));
    assert_eq!(send(&producer, "t", &["drop"]), [Ok(8)]);
    assert_eq!(read(&node, "t"), Ok(expected));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_is_changed_for_clients_and_not_in_the_log() {
    let (node, _dir) = start(|node| node.intercept::<Obey<FETCH>>("t", ()), "t").await;
    for codec in ["none", "zstd"] {
        let producer = producer(&node, &[("compression.type", codec)]);
        send(&producer, "t", &["a", "drop", "change"]);
        send(&producer, "t", &["drop"]);
    }
    let seen = [(0, "a", 0), (2, "changed", 1), (4, "a", 0), (6, "changed", 1)];
    assert_eq!(read(&node, "t"), Ok(told(&seen)));
    let handle = node.handle().unwrap();
    assert!(handle.stop_intercepting("t").await.unwrap());
    assert!(!handle.stop_intercepting("t").await.unwrap(), "there is none any more");
    let values = ["a", "drop", "change", "drop"];
    let whole: Vec<Read> = (0..8).map(|at| (at, values[at as usize % 4].to_owned(), 0)).collect();
    assert_eq!(read(&node, "t"), Ok(whole));
    handle.intercept::<Obey<FETCH>>("t", ()).await.unwrap();
    assert!(handle.intercept::<Obey<FETCH>>("t", ()).await.is_err(), "it has one");
    let producer = producer(&node, &[]);
    assert_eq!(send(&producer, "t", &["reject"]), [Ok(8)]);
    assert_eq!(read(&node, "t"), Err(RDKafkaErrorCode::TopicAuthorizationFailed));
    node.stop().await;
}

/// Panics at its first records, so many of them.
struct Flaky(Arc<AtomicI64>);

impl Interceptor for Flaky {
    const ON: On = On::Both;
    type Args = Arc<AtomicI64>;

    fn start(left: Arc<AtomicI64>) -> Result<Self, Failure> {
        Ok(Flaky(left))
    }

    fn record(&mut self, _: &Way, _: &mut Intercepted) -> Verdict {
        assert!(self.0.fetch_sub(1, Ordering::SeqCst) <= 0, "not yet");
        Verdict::Pass
    }
}

async fn interceptor(node: &Node) -> ActorTree {
    let found = of_kind(node, "interceptor").await;
    assert_eq!(found.len(), 1);
    found[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interceptor_that_panics_costs_at_most_its_batch() {
    let (node, _dir) = start(|node| node.intercept::<Obey<PRODUCE>>("t", ()), "t").await;
    let producer = producer(&node, &[]);
    assert_eq!(send(&producer, "t", &["a"]), [Ok(0)]);
    // It is asked twice: what is behind it is taken.
    assert_eq!(send(&producer, "t", &["panic"]), [Err(RDKafkaErrorCode::Unknown)]);
    assert_eq!(send(&producer, "t", &["b"]), [Ok(1)]);
    let found = interceptor(&node).await;
    let path = found.path.split_once('/').unwrap().1;
    let counted = (path, found.numbers["panics"], found.restarts);
    assert_eq!(counted, ("extensions/interceptor:t", 2, 0));
    assert!(found.state.starts_with("last failed, Produce t-0: panicked at tests/extensions/"));
    assert!(found.state.contains("a bug in the interceptor"), "{}", found.state);
    assert_eq!(send(&producer, "t", &["c", "reject"]).len(), 2);
    assert!(interceptor(&node).await.state.contains("t-0: it says so"));
    assert_eq!(read(&node, "t"), Ok(told(&[(0, "a", 0), (1, "b", 0)])));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_that_does_not_come_again_costs_nothing() {
    let left = Arc::new(AtomicI64::new(1));
    let (node, _dir) = start(|node| node.intercept::<Flaky>("t", left.clone()), "t").await;
    let producer = producer(&node, &[]);
    assert_eq!(send(&producer, "t", &["a", "b"]), [Ok(0), Ok(1)]);
    left.store(1, Ordering::SeqCst);
    assert_eq!(read(&node, "t"), Ok(told(&[(0, "a", 0), (1, "b", 0)])));
    let panics = interceptor(&node).await.numbers["panics"];
    assert_eq!(panics, 2, "one as they were written, one as they were read");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_one_name_are_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let quick = || Node::builder().quick(&data, "127.0.0.1:0", &[]);
    let flaky = Arc::new(AtomicI64::new(0));
    let twice =
        quick().intercept::<Flaky>("t", flaky.clone()).intercept::<Flaky>("t", flaky.clone());
    let named = quick().intercept::<Flaky>("t", flaky);
    let named = named.extension::<Fragile>("interceptor:t", |_| ());
    let error = twice.start().await.map(drop).unwrap_err();
    let told = "the interceptor of \"t\" cannot be: the topic t has an interceptor";
    assert!(matches!(&error, StartError::Interceptor { .. } if error.to_string() == told));
    let error = named.start().await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Extension { .. }), "{error}");
    assert!(!data.exists());
}

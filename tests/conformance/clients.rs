//! librdkafka, through the crate rdkafka: producers, members of groups, readers of a whole topic.

use crate::flights::Flight;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, util::Timeout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const LIMIT: Duration = Duration::from_secs(180);
pub const PARTITIONS: i32 = 12;

/// Counts what the broker acknowledged, and what it refused for good.
#[derive(Default)]
pub struct Deliveries {
    pub acknowledged: AtomicUsize,
    pub refused: AtomicUsize,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> BaseProducer<Deliveries> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    config.set("message.timeout.ms", "120000").set("reconnect.backoff.max.ms", "100");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create_with_context(Deliveries::default()).expect("a producer")
}

/// Produces all in their order and waits for every acknowledgement.
pub fn produce(producer: &BaseProducer<Deliveries>, topic: &str, flights: &[Flight]) {
    let (acknowledged, refused) = outcome(producer);
    for flight in flights {
        send(producer, topic, flight);
    }
    producer.flush(Timeout::After(LIMIT)).expect("all acknowledged");
    let all = (acknowledged + flights.len(), refused);
    assert_eq!(outcome(producer), all, "acknowledged and refused");
}

pub fn send(producer: &BaseProducer<Deliveries>, topic: &str, flight: &Flight) {
    let mut record = BaseRecord::to(topic).key(&flight.key).payload(&flight.value);
    while let Err((error, back)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full, "send");
        producer.poll(Duration::from_millis(10));
        record = back;
    }
    producer.poll(Duration::ZERO);
}

fn outcome(producer: &BaseProducer<Deliveries>) -> (usize, usize) {
    let context = producer.context();
    (context.acknowledged.load(Ordering::Relaxed), context.refused.load(Ordering::Relaxed))
}

pub struct Received {
    pub partition: i32,
    pub offset: i64,
    pub flight: Flight,
}

impl Received {
    pub fn of(message: &BorrowedMessage<'_>) -> Received {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(&[])).into_owned();
        let flight = Flight { key: text(message.key()), value: text(message.payload()) };
        Received { partition: message.partition(), offset: message.offset(), flight }
    }
}

pub fn member(bootstrap: &str, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "100");
    config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
    config.set("fetch.wait.max.ms", "100").set("topic.metadata.refresh.interval.ms", "2000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().expect("a consumer")
}

pub fn subscribed(
    bootstrap: &str,
    group: &str,
    topic: &str,
    settings: &[(&str, &str)],
) -> BaseConsumer {
    let consumer = member(bootstrap, group, settings);
    consumer.subscribe(&[topic]).expect("a subscription");
    consumer
}

/// One poll; errors of a broker that is away are the client's to mend.
pub fn poll(consumer: &BaseConsumer) -> Option<Received> {
    match consumer.poll(Duration::from_millis(100))? {
        Ok(message) => Some(Received::of(&message)),
        Err(error) => {
            eprintln!("poll: {error}");
            None
        }
    }
}

pub fn assigned(consumer: &BaseConsumer) -> Vec<i32> {
    let list = consumer.assignment().expect("an assignment");
    let mut partitions: Vec<i32> = list.elements().iter().map(|e| e.partition()).collect();
    partitions.sort_unstable();
    partitions
}

/// Polls all until each has a share and the shares make up the topic; what comes meanwhile is answered.
pub fn settle(consumers: &[&BaseConsumer]) -> Vec<Received> {
    let begin = Instant::now();
    let mut received = Vec::new();
    loop {
        let shares: Vec<Vec<i32>> = consumers.iter().map(|c| assigned(c)).collect();
        let whole = shares.iter().map(Vec::len).sum::<usize>() == PARTITIONS as usize;
        if whole && shares.iter().all(|share| !share.is_empty()) {
            return received;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the group does not settle: {shares:?}");
        received.extend(consumers.iter().filter_map(|c| poll(c)));
    }
}

/// The whole topic from its beginning, in the order of its partitions, without a group.
pub fn read_topic(bootstrap: &str, topic: &str) -> Vec<Received> {
    let consumer = member(bootstrap, "reader", &[("enable.auto.commit", "false")]);
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in 0..PARTITIONS {
        let marks = consumer.fetch_watermarks(topic, partition, Duration::from_secs(30));
        let (low, high) = marks.expect("watermarks");
        missing += (high - low) as usize;
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("an assignment");
    let begin = Instant::now();
    let mut received = Vec::with_capacity(missing);
    while received.len() < missing {
        assert!(begin.elapsed() < LIMIT, "read {} of {missing}", received.len());
        received.extend(poll(&consumer));
    }
    in_order(received)
}

pub fn in_order(mut received: Vec<Received>) -> Vec<Received> {
    received.sort_by_key(|r| (r.partition, r.offset));
    received
}

//! What clients do: create topics, produce idempotently, read along; and when all is calm, look at everything.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::{
    Client, ClientConfig, Connection, ConsumerConfig, NewTopic, Producer, ProducerConfig,
    ProducerRecord, RequestError, Reset, Start,
};
use ottla::runtime::Bulkhead;
use ottla::sim::Life;

use super::story::Story;
use super::{LIMIT, PARTITIONS, REPLICAS, Shape, TOPIC, admins, ending, group, reader};
use crate::chance::stream;
use model::TopicPartition;

const PRODUCERS: u8 = 2;
/// Of the consumer group.
const MEMBERS: usize = 2;
const AT_ONCE: usize = 8;

/// What everybody here works with.
#[derive(Clone)]
pub struct Tools {
    pub life: Life,
    pub seed: u64,
    pub shape: Shape,
    pub story: Arc<Story>,
    pub config: ClientConfig,
    pub client: Client,
}

pub async fn run(life: Life, seed: u64, shape: Shape, story: Arc<Story>) {
    let config = ClientConfig {
        request_timeout: LIMIT,
        operation_timeout: LIMIT,
        connect_timeout: LIMIT,
        ..ClientConfig::default()
    };
    let bootstrap = shape.names().into_iter().map(|name| format!("{name}:9092"));
    let client = Client::with_config(&life.world, bootstrap, config.clone()).expect("addresses");
    let tools = Tools { life, seed, shape, story, config, client };
    let id = tools.create_replicated().await;
    let mut tasks =
        vec![tools.spawn(admins::topics(tools.clone())), tools.spawn(admins::moves(tools.clone()))];
    if shape.throttled {
        drop(tools.spawn(admins::throttles(tools.clone())));
    }
    if shape.dynamic && !shape.wanders {
        tasks.push(tools.spawn(admins::voters(tools.clone())));
    }
    for number in 0..PRODUCERS {
        tasks.push(tools.spawn(produce(tools.clone(), number)));
    }
    tasks.push(tools.spawn(follow(tools.clone())));
    for _ in 0..MEMBERS {
        drop(tools.spawn(group::run(tools.clone(), id)));
    }
    for name in shape.names() {
        drop(tools.spawn(reader::run(tools.clone(), name, id)));
    }
    for task in tasks {
        task.join().await;
    }
    ending::until_well(&tools, id).await;
}

impl Tools {
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> ottla::runtime::Task {
        self.life.world.spawn(Bulkhead::Control, work)
    }

    pub async fn connect(&self, host: &str) -> Result<Connection, RequestError> {
        Connection::open(&self.life.world, host, self.story.port(host), &self.config).await
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.life.world.sleep(Duration::from_millis(ms)).await;
    }

    async fn create_replicated(&self) -> model::Uuid {
        let topic = || {
            let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).replication_factor(REPLICAS);
            let topic = topic.config("min.insync.replicas", "2");
            let topic = match self.shape.throttled {
                true => {
                    admins::THROTTLED.iter().fold(topic, |topic, name| topic.config(*name, "*"))
                }
                false => topic,
            };
            if self.shape.synced { topic.config("flush.messages", "1") } else { topic }
        };
        loop {
            match self.client.admin().create_topic(topic()).await {
                Ok(created) => return created.id,
                Err(error) => self.life.trace.note(format_args!("not created: {error}")),
            }
            // An attempt that was not heard of may have succeeded.
            if let Ok(found) = self.client.admin().describe_topic(TOPIC).await {
                return found.id;
            }
            self.sleep_ms(100).await;
        }
    }
}

async fn produce(tools: Tools, number: u8) {
    let mut random = stream(tools.seed, 22 + number);
    let delivery_timeout = Duration::from_secs(20);
    let config = ProducerConfig { delivery_timeout, ..ProducerConfig::default() };
    let producer = tools.client.producer(config);
    let mut next = 0;
    while !tools.story.is_calm() {
        // Also records that are batches of their own.
        let count = if random.below(2) == 0 { 1 } else { AT_ONCE };
        // Some lie in several blocks of the disk, so that what a power loss leaves of them begins well.
        let width = if random.below(4) == 0 { 1 + random.below(1500) as usize } else { 1 };
        produce_some(&tools, &producer, number, next..next + count, width).await;
        next += count;
        tools.sleep_ms(random.below(60)).await;
    }
}

/// What is not acknowledged may be there or not.
async fn produce_some(
    tools: &Tools,
    producer: &Producer,
    number: u8,
    numbers: Range<usize>,
    width: usize,
) {
    let name = char::from(b'a' + number);
    let mut deliveries = Vec::new();
    for number in numbers {
        let value = format!("{name}-{number}");
        let key = format!("{number:0width$}");
        let record = ProducerRecord::to(TOPIC).key(key).value(value.clone());
        deliveries.push((value, producer.send(record).await));
    }
    for (value, delivery) in deliveries {
        match delivery.await {
            Ok(delivered) => {
                let Some(offset) = delivered.offset else { continue };
                tools.story.acknowledged((delivered.partition, offset), &value);
            }
            Err(error) => tools.life.trace.note(format_args!("{value}: {error}")),
        }
    }
}

/// Reads along from the leaders; what it has come to is never out of range.
async fn follow(tools: Tools) {
    let config = ConsumerConfig { reset: Reset::Fail, ..ConsumerConfig::default() };
    let mut consumer = tools.client.consumer(config);
    for partition in 0..PARTITIONS {
        consumer.assign(TopicPartition::new(TOPIC, partition), Start::Earliest);
    }
    while !tools.story.is_calm() {
        // It tries again whatever may pass.
        let Ok(read) = consumer.poll(LIMIT).await else { continue };
        for records in read {
            for record in records.records {
                let at = (records.partition.partition, record.offset);
                tools.story.read(at, &String::from_utf8_lossy(&record.value.unwrap_or_default()));
            }
        }
    }
}

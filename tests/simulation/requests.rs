//! Requests that every kind of client here makes.

use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{CreateTopicsRequest, ProduceRequest};

/// Of one topic with one replica.
pub fn create_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        ..Default::default()
    });
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() }
}

/// Of one record of no producer, acknowledged by all.
pub fn produce_one(
    topic: &str,
    index: i32,
    timestamp: i64,
    key: Option<&[u8]>,
    value: &[u8],
) -> ProduceRequest {
    let mut batch = BatchBuilder::new(Compression::NONE);
    batch.append(timestamp, key, Some(value), &[]);
    produce(topic, index, batch)
}

/// Of one batch, acknowledged by all.
pub fn produce(topic: &str, index: i32, batch: BatchBuilder) -> ProduceRequest {
    let records = Some(batch.build().expect("a batch of records").to_bytes().into());
    let data = PartitionProduceData { index, records, ..Default::default() };
    let (name, partition_data) = (topic.to_owned(), vec![data]);
    let topic = TopicProduceData { name, partition_data, ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 3000, topic_data: vec![topic], ..Default::default() }
}

//! A Kafka client: connections, producer, consumer, admin; and the way to durable actors.
//!
//! A [`Client`] knows the cluster; what it makes ([`Producer`], [`Consumer`], [`Admin`]) has connections of its own, so that
//! a fetch that waits for records delays nothing else. All goes over the node's [`World`](runtime::World): it runs in
//! simulation too, and speaks to any cluster.
//!
//! ```no_run
//! use ottla_client::{Client, ConsumerConfig, ProducerConfig, ProducerRecord, Start};
//!
//! # async fn run(world: &runtime::World) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(world, ["127.0.0.1:9092"])?;
//! let producer = client.producer(ProducerConfig::default());
//! let record = ProducerRecord::to("orders").key("4711").value("two apples");
//! let delivered = producer.send(record).await.await?;
//! println!("in partition {} at offset {:?}", delivered.partition, delivered.offset);
//!
//! let mut consumer = client.consumer(ConsumerConfig::default());
//! consumer.assign_topic("orders", Start::Earliest).await?;
//! for batch in consumer.poll(std::time::Duration::from_secs(1)).await? {
//!     println!("{} records of {}", batch.records.len(), batch.partition);
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod client;
mod connection;
mod consumer;
mod durable;
mod error;
mod feed;
mod metadata;
mod offsets;
mod producer;
mod subscription;

pub use admin::{
    Admin, AdminError, ClusterDescription, ConfigEntry, ConfigSource, ConfigsOf, CreatedTopic,
    NewTopic,
};
pub use client::{BootstrapError, Client, ClientConfig};
pub use connection::{Connection, Origin};
pub use consumer::{ConsumeError, Consumer, ConsumerConfig, PartitionRecords, Reset, Start};
pub use durable::{Asker, DurableError, DurableRef, LocalOwners};
pub use error::{Refused, RequestError};
pub use feed::Fed;
pub use metadata::{MetadataError, PartitionMetadata, TopicMetadata};
pub use model::{TopicPartition, murmur2, partition_for_key};
pub use producer::{
    Acks, Delivered, Deliveries, Delivery, ProduceError, Producer, ProducerConfig, ProducerRecord,
};
pub use subscription::Appended;
pub use wire::batch::Record;
pub use wire::compression::{Codec, Compression};

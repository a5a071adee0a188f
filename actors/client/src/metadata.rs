//! Which brokers there are, and which leads what: asked for when needed, kept until it is old or found wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::node_config::HostPort;
use model::{ErrorCode, Uuid};
use runtime::Map;
use wire::metadata_request::MetadataRequestTopic;
use wire::metadata_response::MetadataResponseTopic;
use wire::{MetadataRequest, MetadataResponse};

use crate::client::Client;
use crate::error::{Refused, RequestError};

/// Why nothing is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("topic {topic}: {refused}")]
    Topic { topic: String, refused: Refused },
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: String,
    /// Zero where the broker is too old to have topic ids.
    pub id: Uuid,
    pub is_internal: bool,
    /// In order of their numbers, which run from 0.
    pub partitions: Vec<PartitionMetadata>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub partition: i32,
    /// `None` while there is no leader.
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

impl TopicMetadata {
    pub fn partition(&self, partition: i32) -> Option<&PartitionMetadata> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub fn leader(&self, partition: i32) -> Option<i32> {
        self.partition(partition)?.leader
    }
}

#[derive(Default)]
pub(crate) struct MetadataCache {
    known: Mutex<Known>,
    /// Held while one asks, so that others wait for its answer.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    brokers: Map<i32, HostPort>,
    topics: Map<String, Entry>,
}

struct Entry {
    topic: Arc<TopicMetadata>,
    at: Duration,
    /// Something in it was found to be wrong.
    stale: bool,
}

impl MetadataCache {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn addresses(&self) -> Vec<HostPort> {
        self.known().brokers.values().cloned().collect()
    }

    pub(crate) fn address(&self, id: i32) -> Option<HostPort> {
        self.known().brokers.get(&id).cloned()
    }

    pub(crate) fn learn_broker(&self, id: i32, host: &str, port: i32) {
        if let Ok(port) = u16::try_from(port) {
            self.known().brokers.insert(id, HostPort::new(host, port));
        }
    }

    /// What is known already and not too old.
    pub(crate) fn cached(&self, client: &Client, name: &str) -> Option<Arc<TopicMetadata>> {
        let oldest = client.world().mono().saturating_sub(client.config().metadata_max_age);
        let known = self.known();
        let entry = known.topics.get(name).filter(|entry| !entry.stale && entry.at >= oldest)?;
        Some(entry.topic.clone())
    }

    /// The next one who needs the topic asks anew.
    pub(crate) fn mark_stale(&self, name: &str) {
        if let Some(entry) = self.known().topics.get_mut(name) {
            entry.stale = true;
        }
    }

    /// The name of a topic by its id.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<String> {
        let known = self.known();
        let mut topics = known.topics.values();
        topics.find(|entry| entry.topic.id == id).map(|entry| entry.topic.name.clone())
    }

    pub(crate) fn id_of(&self, name: &str) -> Uuid {
        self.known().topics.get(name).map_or(Uuid::ZERO, |entry| entry.topic.id)
    }

    pub(crate) async fn topic(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<Arc<TopicMetadata>, MetadataError> {
        let mut tries = client.tries();
        loop {
            let create = client.config().create_topics;
            let error = match self.topic_once(client, name, create).await {
                Ok(topic) => return Ok(topic),
                Err(error) => error,
            };
            let retriable = match &error {
                MetadataError::Request(error) => error.retriable(),
                MetadataError::Topic { refused, .. } => refused.code.retriable(),
            };
            if !retriable || !tries.again().await {
                return Err(error);
            }
        }
    }

    /// Asked for once, where it is not known.
    pub(crate) async fn topic_once(
        &self,
        client: &Client,
        name: &str,
        create: bool,
    ) -> Result<Arc<TopicMetadata>, MetadataError> {
        if let Some(topic) = self.cached(client, name) {
            return Ok(topic);
        }
        let _asking = self.asking.lock().await;
        if let Some(topic) = self.cached(client, name) {
            return Ok(topic);
        }
        let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let response = client.ask_any(&request).await?;
        self.learn(client, &response, name)
    }

    fn learn(
        &self,
        client: &Client,
        response: &MetadataResponse,
        name: &str,
    ) -> Result<Arc<TopicMetadata>, MetadataError> {
        let refused = |refused| MetadataError::Topic { topic: name.to_owned(), refused };
        let brokers = brokers(response);
        let mut known = self.known();
        if !brokers.is_empty() {
            known.brokers = brokers;
        }
        let found = response.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
        let Some(found) = found else {
            return Err(refused(Refused::of(ErrorCode::UnknownTopicOrPartition)));
        };
        Refused::check(found.error_code, None).map_err(refused)?;
        let topic = Arc::new(topic_of(name, found));
        let entry = Entry { topic: topic.clone(), at: client.world().mono(), stale: false };
        known.topics.insert(name.to_owned(), entry);
        Ok(topic)
    }
}

pub(crate) fn brokers(response: &MetadataResponse) -> Map<i32, HostPort> {
    let brokers = response.brokers.iter().filter_map(|broker| {
        let port = u16::try_from(broker.port).ok()?;
        Some((broker.node_id, HostPort::new(broker.host.clone(), port)))
    });
    brokers.collect()
}

pub(crate) fn topic_of(name: &str, found: &MetadataResponseTopic) -> TopicMetadata {
    let partitions = found.partitions.iter().map(|partition| PartitionMetadata {
        partition: partition.partition_index,
        leader: (partition.leader_id >= 0).then_some(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
    });
    let mut partitions: Vec<PartitionMetadata> = partitions.collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicMetadata {
        name: name.to_owned(),
        id: found.topic_id,
        is_internal: found.is_internal,
        partitions,
    }
}

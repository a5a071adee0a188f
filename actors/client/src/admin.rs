//! Creates, deletes and describes.

mod configs;

use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, Uuid};
use runtime::Map;
use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::delete_topics_request::DeleteTopicState;
use wire::{CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, Request};

use crate::client::Client;
use crate::error::{Refused, RequestError};
use crate::metadata::{self, MetadataError, TopicMetadata};
pub use configs::{ConfigEntry, ConfigSource, ConfigsOf};

/// Why the cluster was not changed, or not described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{name}: {refused}")]
    Refused { name: String, refused: Refused },
}

impl AdminError {
    /// The broker's error code, where it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            AdminError::Refused { refused, .. }
            | AdminError::Metadata(MetadataError::Topic { refused, .. }) => Some(refused.code),
            AdminError::Request(_) | AdminError::Metadata(MetadataError::Request(_)) => None,
        }
    }
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1: as many as the cluster gives by default.
    pub partitions: i32,
    /// -1: as the cluster has it by default.
    pub replication_factor: i16,
    pub configs: Map<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<String>) -> NewTopic {
        NewTopic { name: name.into(), partitions: -1, replication_factor: -1, configs: Map::new() }
    }

    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// One of Kafka's topic configs, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    pub id: Uuid,
    /// -1 where the broker does not say.
    pub partitions: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: Option<String>,
    pub controller: Option<i32>,
    /// Their addresses by id.
    pub brokers: Map<i32, String>,
    pub topics: Vec<TopicMetadata>,
}

/// Creates, deletes and describes. What passes is tried again within the operation timeout.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: &Client) -> Admin {
        Admin { client: client.clone() }
    }

    /// Creates a topic and waits until a broker that is asked knows its leaders.
    ///
    /// # Errors
    /// See [`AdminError`]; `TOPIC_ALREADY_EXISTS` where it does.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        let name = topic.name;
        let configs = topic.configs.into_iter().map(|(name, value)| CreatableTopicConfig {
            name,
            value: Some(value),
            ..CreatableTopicConfig::default()
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.clone(),
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: configs.collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..CreateTopicsRequest::default()
        };
        let answer = self
            .retry(&name, &request, |answer| {
                let topic = answer.topics.first();
                topic
                    .map_or_else(nothing, |t| Refused::check(t.error_code, t.error_message.clone()))
            })
            .await?;
        let created = answer.topics.first().map_or(
            CreatedTopic { id: Uuid::ZERO, partitions: -1 },
            |topic| CreatedTopic { id: topic.topic_id, partitions: topic.num_partitions },
        );
        self.client.0.metadata.mark_stale(&name);
        self.client.topic(&name).await?;
        Ok(created)
    }

    /// # Errors
    /// See [`AdminError`]; `UNKNOWN_TOPIC_OR_PARTITION` where there is none.
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        let request = |version| match version {
            ..6 => DeleteTopicsRequest {
                topic_names: vec![name.to_owned()],
                timeout_ms: self.timeout_ms(),
                ..DeleteTopicsRequest::default()
            },
            _ => DeleteTopicsRequest {
                topics: vec![DeleteTopicState {
                    name: Some(name.to_owned()),
                    ..DeleteTopicState::default()
                }],
                timeout_ms: self.timeout_ms(),
                ..DeleteTopicsRequest::default()
            },
        };
        self.retry_with(name, request, |answer| {
            let topic = answer.responses.first();
            topic.map_or_else(nothing, |t| Refused::check(t.error_code, t.error_message.clone()))
        })
        .await?;
        self.client.0.metadata.mark_stale(name);
        Ok(())
    }

    /// # Errors
    /// See [`AdminError`].
    pub async fn describe_topic(&self, name: &str) -> Result<Arc<TopicMetadata>, AdminError> {
        self.client.0.metadata.mark_stale(name);
        Ok(self.client.topic(name).await?)
    }

    /// Brokers and topics. A topic that is broken is left out.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        // In version 0, no longer spoken, an empty list meant all; since then null does.
        let request = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self
            .retry("cluster", &request, |answer| Refused::check(answer.error_code, None))
            .await?;
        let brokers = metadata::brokers(&answer);
        let healthy = answer.topics.iter().filter(|topic| topic.error_code == 0);
        let topics = healthy.filter_map(|t| Some(metadata::topic_of(t.name.as_deref()?, t)));
        Ok(ClusterDescription {
            topics: topics.collect(),
            cluster_id: answer.cluster_id.clone(),
            controller: (answer.controller_id >= 0).then_some(answer.controller_id),
            brokers: brokers.into_iter().map(|(id, at)| (id, at.to_string())).collect(),
        })
    }

    /// The configs of a topic.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn topic_configs(&self, name: &str) -> Result<Map<String, ConfigEntry>, AdminError> {
        self.configs(name, &ConfigsOf::Topic(name.to_owned())).await
    }

    /// The configs of a broker, asked of any.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn broker_configs(&self, id: i32) -> Result<Map<String, ConfigEntry>, AdminError> {
        self.configs(&id.to_string(), &ConfigsOf::Broker(id)).await
    }

    async fn configs(
        &self,
        name: &str,
        of: &ConfigsOf,
    ) -> Result<Map<String, ConfigEntry>, AdminError> {
        let answer = self.retry(name, &of.request(), ConfigsOf::check).await?;
        ConfigsOf::told(answer)
            .map_err(|refused| AdminError::Refused { name: name.to_owned(), refused })
    }

    fn timeout_ms(&self) -> i32 {
        let timeout: Duration = self.client.config().request_timeout;
        i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
    }

    async fn retry<R: Request>(
        &self,
        name: &str,
        request: &R,
        check: impl Fn(&R::Response) -> Result<(), Refused>,
    ) -> Result<R::Response, AdminError> {
        self.retry_with(name, |_| request.clone(), check).await
    }

    /// Asks any broker, which knows whom to pass it on to.
    async fn retry_with<R: Request>(
        &self,
        name: &str,
        request: impl Fn(i16) -> R,
        check: impl Fn(&R::Response) -> Result<(), Refused>,
    ) -> Result<R::Response, AdminError> {
        let mut tries = self.client.tries();
        loop {
            let error = match self.once(&request).await {
                Ok(answer) => match check(&answer) {
                    Ok(()) => return Ok(answer),
                    Err(refused) if passes(refused.code) => {
                        AdminError::Refused { name: name.to_owned(), refused }
                    }
                    Err(refused) => {
                        return Err(AdminError::Refused { name: name.to_owned(), refused });
                    }
                },
                Err(error) if error.retriable() => error.into(),
                Err(error) => return Err(error.into()),
            };
            if !tries.again().await {
                return Err(error);
            }
        }
    }

    async fn once<R: Request>(
        &self,
        request: &impl Fn(i16) -> R,
    ) -> Result<R::Response, RequestError> {
        let connection = self.client.any().await?;
        let request = request(connection.version::<R>()?);
        connection.request(&request, self.client.config().request_timeout).await
    }
}

/// Whether asking again may help. An unknown topic is retriable for who reads or writes it; here it is the answer.
fn passes(code: ErrorCode) -> bool {
    code.retriable() && code != ErrorCode::UnknownTopicOrPartition
}

fn nothing() -> Result<(), Refused> {
    Err(Refused::of(ErrorCode::UnknownServerError))
}

//! DescribeConfigs, API key 32.
//!
//! Versions: 1–4 (v3 types and documentation).
//! Source: `ConfigHelper`.

use std::collections::BTreeSet;
use std::sync::Arc;

use machines::metadata::{ConfigResource, Configs, MetadataImage};
use model::ErrorCode;
use model::settings::{
    ConfigSource, Described, Resource, Values, Wanted, describe_broker, describe_brokers,
    describe_client_metrics, describe_group, describe_topic,
};
use model::topic::{TopicNameError, validate_topic_name};
use runtime::LogLevel;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::room::{Built, Room, TooLong, Work};
use super::{Answer, Answering, RequestContext, Staged, bounded, resources, too_many};
use crate::Broker;

pub(crate) struct DescribeConfigs;

impl Staged for DescribeConfigs {
    type Request = DescribeConfigsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: DescribeConfigsRequest,
    ) -> Answering<DescribeConfigsResponse> {
        let named = request
            .resources
            .iter()
            .map(|resource| 1 + resource.configuration_keys.as_ref().map_or(0, Vec::len));
        if let Some(why) = too_many(named.sum()) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        bounded(answer(broker.clone(), cx, request))
    }
}

/// What is named twice is described twice, as with Kafka.
async fn answer(
    broker: Arc<Broker>,
    _cx: RequestContext,
    request: DescribeConfigsRequest,
) -> Result<Built<DescribeConfigsResponse>, TooLong> {
    let unknown = |r: &DescribeConfigsResource| Resource::from_code(r.resource_type).is_none();
    let mut room = Room::new(&broker);
    if request.resources.iter().any(unknown) {
        let names = request.resources.iter().map(|resource| resource.resource_name.len() + REFUSAL);
        room.take(names.sum()).await?;
        return Ok(room.holds(refuse_all(&request)));
    }
    let image = broker.metadata.get();
    let settings = resources::settings(&broker, &image);
    let mut results = Vec::new();
    let mut work = Work::default();
    for resource in &request.resources {
        let keys = resource.configuration_keys.as_deref().unwrap_or_default();
        work.done(keys.len() * KEY).await;
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        let wanted = |name: &str| keys.is_empty() || keys.contains(name);
        let named = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        let described = match Resource::from_code(resource.resource_type) {
            Some(Resource::BrokerLogger) => describe_loggers(&broker, resource, &wanted),
            _ => describe(broker.node.0, &settings, &image, resource, &wanted)
                .map(|described| shown(described, &request)),
        };
        let result = match described {
            Ok(configs) => DescribeConfigsResult { configs, ..named },
            Err(error) => DescribeConfigsResult {
                error_code: error.code().code(),
                error_message: error.message(),
                ..named
            },
        };
        room.take(size(&result)).await?;
        results.push(result);
    }
    Ok(room.holds(DescribeConfigsResponse { results, ..Default::default() }))
}

/// What a key that is asked for costs, as bytes that are worked on.
const KEY: usize = 128;

/// What a resource that is refused takes beside its name.
const REFUSAL: usize = size_of::<DescribeConfigsResult>() + 256;

/// In memory.
fn size(result: &DescribeConfigsResult) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let synonym = |s: &DescribeConfigsSynonym| size_of_val(s) + s.name.len() + text(&s.value);
    let config = |config: &DescribeConfigsResourceResult| {
        let synonyms: usize = config.synonyms.iter().map(synonym).sum();
        let texts = config.name.len() + text(&config.value) + text(&config.documentation);
        size_of_val(config) + texts + synonyms
    };
    REFUSAL + result.resource_name.len() + result.configs.iter().map(config).sum::<usize>()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum DescribeError {
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    #[error("there is no such topic")]
    UnknownTopic,
    #[error("Broker id must be an integer, but it is: {0}")]
    NotABroker(String),
    #[error("Unexpected broker id, expected {here} or empty string, but received {name}")]
    OtherBroker { here: i32, name: String },
    #[error("Unexpected broker id, expected {here} but received {name}")]
    OtherLoggers { here: i32, name: String },
    #[error("Broker id must not be empty")]
    NoBroker,
    #[error("Client metrics subscription name must not be empty")]
    NoSubscription,
    #[error("Group name must not be empty")]
    NoGroup,
}

impl DescribeError {
    fn code(&self) -> ErrorCode {
        match self {
            DescribeError::TopicName(_) => ErrorCode::InvalidTopicException,
            DescribeError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            _ => ErrorCode::InvalidRequest,
        }
    }

    /// Kafka gives none where the topic is unknown.
    fn message(&self) -> Option<String> {
        // Kafka says nothing more of a topic that is not there.
        let silent = *self == DescribeError::UnknownTopic;
        Some(if silent { String::new() } else { self.to_string() })
    }
}

/// A type that is none makes the whole request invalid.
fn refuse_all(request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let refused = |resource: &DescribeConfigsResource| DescribeConfigsResult {
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(ErrorCode::InvalidRequest.message().to_owned()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    DescribeConfigsResponse {
        results: request.resources.iter().map(refused).collect(),
        ..Default::default()
    }
}

fn describe(
    here: i32,
    settings: &Values,
    image: &MetadataImage,
    asked: &DescribeConfigsResource,
    wanted: Wanted<'_>,
) -> Result<Vec<Described>, DescribeError> {
    let name = asked.resource_name.as_str();
    let set =
        |kind| -> &Configs { image.configs.of(&ConfigResource { kind, name: name.to_owned() }) };
    match Resource::from_code(asked.resource_type) {
        Some(Resource::Topic) => {
            validate_topic_name(name)?;
            image.topics.id_of(name).ok_or(DescribeError::UnknownTopic)?;
            Ok(describe_topic(settings, set(Resource::Topic), wanted))
        }
        Some(Resource::Broker) if name.is_empty() => Ok(describe_brokers(settings, wanted)),
        Some(Resource::Broker) => {
            if broker_id(name)? == here {
                return Ok(describe_broker(settings, wanted));
            }
            Err(DescribeError::OtherBroker { here, name: name.to_owned() })
        }
        Some(Resource::ClientMetrics) if name.is_empty() => Err(DescribeError::NoSubscription),
        Some(Resource::ClientMetrics) => {
            Ok(describe_client_metrics(set(Resource::ClientMetrics), wanted))
        }
        Some(Resource::Group) if name.is_empty() => Err(DescribeError::NoGroup),
        Some(Resource::Group) => Ok(describe_group(settings, set(Resource::Group), wanted)),
        // Loggers are no settings.
        Some(Resource::BrokerLogger) | None => Ok(Vec::new()),
    }
}

/// Every logger of this process with its level, or those asked for.
fn describe_loggers(
    broker: &Broker,
    asked: &DescribeConfigsResource,
    wanted: Wanted<'_>,
) -> Result<Vec<DescribeConfigsResourceResult>, DescribeError> {
    let (here, name) = (broker.node.0, asked.resource_name.as_str());
    if name.is_empty() {
        return Err(DescribeError::NoBroker);
    }
    if broker_id(name)? != here {
        return Err(DescribeError::OtherLoggers { here, name: name.to_owned() });
    }
    let levels = broker.world.loggers().levels().into_iter().filter(|(name, _)| wanted(name));
    let logger = |(name, level): (String, LogLevel)| DescribeConfigsResourceResult {
        name,
        value: Some(level.to_string()),
        config_source: ConfigSource::DynamicBrokerLogger.code(),
        ..Default::default()
    };
    Ok(levels.map(logger).collect())
}

fn broker_id(name: &str) -> Result<i32, DescribeError> {
    name.parse().map_err(|_| DescribeError::NotABroker(name.to_owned()))
}

/// Of each setting, what the request asks to see.
fn shown(
    described: Vec<Described>,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    let result = |setting: Described| DescribeConfigsResourceResult {
        name: setting.name.to_owned(),
        value: setting.value,
        read_only: setting.read_only,
        config_source: setting.source.code(),
        is_sensitive: setting.sensitive,
        synonyms: if request.include_synonyms {
            setting.synonyms.into_iter().map(synonym).collect()
        } else {
            Vec::new()
        },
        config_type: setting.kind.code(),
        documentation: request.include_documentation.then(|| setting.doc.to_owned()),
        ..Default::default()
    };
    described.into_iter().map(result).collect()
}

fn synonym(synonym: model::settings::DescribedSynonym) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value,
        source: synonym.source.code(),
        ..Default::default()
    }
}

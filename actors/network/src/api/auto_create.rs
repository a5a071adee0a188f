//! Topics that are created because somebody asked for them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coordinators::DurableTopic;
use machines::controller::{ControllerReply, ControllerRequest, Permitted};
use model::settings::Values;
use model::topic::{CONSUMER_OFFSETS, SHARE_GROUP_STATE, TRANSACTION_STATE, validate_topic_name};
use quorum::Origin;
use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::create_topics_response::CreatableTopicResult;
use wire::{CreateTopicsRequest, CreateTopicsResponse};

use super::create_topics::created;
use super::{RequestContext, forward};
use crate::Broker;

/// Longer than this nobody waits for a topic that is being created: it is answered as unknown, and asked for again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Says that the controller's own settings decide.
const DEFAULT: i32 = -1;

/// Names that this broker asks the controller to create.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<BTreeSet<String>>);

/// Those that one request asks for.
struct Asked<'a> {
    under_way: &'a UnderWay,
    names: Vec<&'a str>,
}

impl UnderWay {
    fn ask<'a>(&'a self, names: impl Iterator<Item = &'a str>) -> Asked<'a> {
        let mut under_way = self.lock();
        let names = names.filter(|name| under_way.insert((*name).to_owned())).collect();
        drop(under_way);
        Asked { under_way: self, names }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        for name in &self.names {
            under_way.remove(*name);
        }
    }
}

/// Creates those that can be and that nobody else creates, and waits a moment until they are served. Who asks looks at the metadata
/// again; why a topic could not be created is in the log alone, as with Kafka. Coordinators' topics are asked for in nobody's name.
pub(super) async fn create_topics(
    broker: &Broker,
    cx: &RequestContext,
    origin: Option<Origin>,
    names: &[&str],
) {
    let settings = broker.settings.get();
    let creatable = names.iter().copied().filter(|name| validate_topic_name(name).is_ok());
    let asked = broker.under_way.ask(creatable);
    let topics: Vec<CreatableTopic> =
        asked.names.iter().map(|name| creatable_topic(broker, name, &settings)).collect();
    if topics.is_empty() {
        return;
    }
    let limit = forward::request_timeout(broker).min(PATIENCE);
    let request = ControllerRequest::CreateTopics {
        request: CreateTopicsRequest {
            topics,
            timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
            ..Default::default()
        },
        seed: forward::seed(broker),
        may_create: Permitted::All,
        may_describe_configs: Permitted::All,
    };
    let deadline = broker.world.mono() + limit;
    let answered = forward::ask_once(broker, cx, origin, request, deadline, |reply| match reply {
        ControllerReply::CreateTopics(response) => Some(response),
        _ => None,
    });
    match answered.await {
        Ok(Ok(forwarded)) => log_failures(&forwarded.served(broker, created).await),
        Ok(Err(error)) => log_failure(names.iter().copied(), &error.to_string()),
        Err(error) => log_failure(names.iter().copied(), &error.to_string()),
    }
}

fn log_failures(response: &CreateTopicsResponse) {
    let exists = model::ErrorCode::TopicAlreadyExists.code();
    let failed = |topic: &&CreatableTopicResult| ![0, exists].contains(&topic.error_code);
    let failed: Vec<_> = response.topics.iter().filter(failed).collect();
    let why = failed.first().and_then(|first| first.error_message.as_deref());
    log_failure(failed.iter().map(|topic| topic.name.as_str()), why.unwrap_or_default());
}

/// One line, however many there are: who asks for what cannot be had asks again and again.
fn log_failure<'a>(names: impl ExactSizeIterator<Item = &'a str> + Clone, why: &str) {
    let count = names.len();
    let Some(first) = names.clone().next() else { return };
    tracing::warn!(count, first, why, "topics were not created");
    tracing::debug!(names = ?names.collect::<Vec<_>>(), "topics were not created");
}

fn creatable_topic(broker: &Broker, name: &str, settings: &Values) -> CreatableTopic {
    if let Some(durable) = broker.durables.topic(name) {
        let configs = DurableTopic::CONFIGS.iter();
        return CreatableTopic {
            num_partitions: i32::from(durable.partitions),
            configs: configs.map(|(name, value)| config(name, (*value).to_owned())).collect(),
            ..plain_topic(name, settings)
        };
    }
    // Where the topic's settings are, and what else is set for it.
    let (prefix, configs) = match name {
        CONSUMER_OFFSETS => ("offsets.topic", OFFSETS_CONFIGS),
        TRANSACTION_STATE => ("transaction.state.log", TRANSACTION_CONFIGS),
        SHARE_GROUP_STATE => ("share.coordinator.state.topic", SHARE_CONFIGS),
        _ => return plain_topic(name, settings),
    };
    let of = |what: &str| settings.int(&format!("{prefix}.{what}"));
    let mut configs: Vec<CreatableTopicConfig> =
        configs.iter().map(|(name, value)| config(name, (*value).to_owned())).collect();
    configs.push(config("segment.bytes", of("segment.bytes").to_string()));
    if name != CONSUMER_OFFSETS {
        configs.push(config("min.insync.replicas", of("min.isr").to_string()));
    }
    CreatableTopic { configs, ..topic(name, of("num.partitions"), of("replication.factor")) }
}

type Fixed = &'static [(&'static str, &'static str)];

const OFFSETS_CONFIGS: Fixed = &[("cleanup.policy", "compact"), ("compression.type", "producer")];
const TRANSACTION_CONFIGS: Fixed = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "uncompressed"),
    ("unclean.leader.election.enable", "false"),
];
const SHARE_CONFIGS: Fixed =
    &[("cleanup.policy", "delete"), ("compression.type", "producer"), ("retention.ms", "-1")];

/// What was given to this broker holds; else the controller's settings do.
fn plain_topic(name: &str, settings: &Values) -> CreatableTopic {
    let given = |name: &str| if settings.is_given(name) { settings.int(name) } else { DEFAULT };
    topic(name, given("num.partitions"), given("default.replication.factor"))
}

fn topic(name: &str, num_partitions: i32, replication_factor: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
        ..Default::default()
    }
}

fn config(name: &str, value: String) -> CreatableTopicConfig {
    CreatableTopicConfig { name: name.to_owned(), value: Some(value), ..Default::default() }
}

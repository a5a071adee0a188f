//! IncrementalAlterConfigs and AlterConfigs: what is set for topics, brokers, groups and client metrics.

use std::collections::{BTreeMap, BTreeSet};

use model::settings::{
    AlterError, Op, Resource, alter, refuse_unhonoured, validate_broker, validate_client_metrics,
    validate_group, validate_topic,
};
use model::{ErrorCode, topic};
use wire::alter_configs_request::AlterConfigsResource as LegacyResource;
use wire::alter_configs_response::AlterConfigsResourceResponse as LegacyOutcome;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::incremental_alter_configs_response::AlterConfigsResourceResponse as Outcome;
use wire::{
    AlterConfigsRequest, AlterConfigsResponse, ClearElrRecord, ConfigRecord,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, MetadataRecord,
};

use super::{Controller, MAX_RECORDS_PER_REQUEST};
use crate::metadata::{ConfigResource, Configs, MIN_INSYNC_REPLICAS};

const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("Unknown resource type {0}.")]
    ResourceType(i8),
    #[error("Duplicate resource.")]
    DuplicateResource,
    #[error("Unknown resource type BROKER_LOGGER")]
    BrokerLogger,
    #[error("Default topic resources are not allowed.")]
    DefaultTopic,
    #[error("Default group resources are not allowed.")]
    DefaultGroup,
    #[error(transparent)]
    TopicName(#[from] topic::TopicNameError),
    #[error("Unable to parse broker name as a base 10 number.")]
    BrokerName,
    #[error("Invalid negative broker ID.")]
    NegativeBroker,
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    #[error("No node with id {0} found.")]
    UnknownNode(i32),
    #[error("Broker-level min.insync.replicas cannot be altered while ELR is enabled.")]
    BrokerMinIsr,
    #[error("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")]
    ClusterMinIsr,
    #[error(
        "The cordoned.log.dirs configuration value cannot be set because it requires metadata.version >= 4.3-IV0"
    )]
    CordonedLogDirs,
    #[error(
        "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the current configuration value."
    )]
    CordonedUnchecked,
    #[error("{}", super::EXCESSIVE)]
    TooManyRecords,
    #[error(transparent)]
    Alter(#[from] AlterError),
}

impl ConfigError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ConfigError::ResourceType(_) => ErrorCode::UnsupportedVersion,
            ConfigError::DuplicateResource
            | ConfigError::BrokerLogger
            | ConfigError::DefaultTopic
            | ConfigError::DefaultGroup
            | ConfigError::BrokerName
            | ConfigError::NegativeBroker => ErrorCode::InvalidRequest,
            ConfigError::TopicName(_) => ErrorCode::InvalidTopicException,
            ConfigError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
            ConfigError::UnknownNode(_) => ErrorCode::BrokerIdNotRegistered,
            ConfigError::BrokerMinIsr
            | ConfigError::ClusterMinIsr
            | ConfigError::CordonedLogDirs
            | ConfigError::CordonedUnchecked => ErrorCode::InvalidConfig,
            ConfigError::TooManyRecords => ErrorCode::PolicyViolation,
            ConfigError::Alter(error) => error.code(),
        }
    }
}

/// None deletes.
type Altered = BTreeMap<String, Option<String>>;

impl Controller {
    pub(super) fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
        forwarded: bool,
    ) -> (Vec<MetadataRecord>, IncrementalAlterConfigsResponse) {
        let mut named = Counts::new();
        for asked in &request.resources {
            *named.entry((asked.resource_type, &asked.resource_name)).or_default() += 1;
        }
        if names_unknown_operation(request, &named) {
            return (Vec::new(), refuse(request, ErrorCode::UnknownServerError, None));
        }
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for asked in &request.resources {
            // A resource that was named twice is answered once.
            let key = (asked.resource_type, asked.resource_name.as_str());
            let Some(count) = named.remove(&key) else { continue };
            let outcome = known_resource(key, count).and_then(|resource| {
                let op = |config: &AlterableConfig| Op::from_code(config.config_operation);
                let ops: Vec<_> = asked
                    .configs
                    .iter()
                    .filter_map(|c| Some((c.name.as_str(), op(c)?, c.value.as_deref())))
                    .collect();
                let altered = alter(resource.kind, self.image().configs.of(&resource), &ops)?;
                if !forwarded {
                    self.check_unchecked(&resource, &altered)?;
                }
                self.records_to_alter(&resource, &altered, Existence::Required)
            });
            let (error_code, error_message) = told(outcome, &mut records);
            if records.len() > MAX_RECORDS_PER_REQUEST {
                let (code, message) = too_many_records();
                return (Vec::new(), refuse(request, code, Some(message)));
            }
            responses.push(Outcome {
                error_code,
                error_message,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        if request.validate_only {
            records.clear();
        }
        (records, IncrementalAlterConfigsResponse { responses, ..Default::default() })
    }

    /// Sets what is named and deletes the rest.
    pub(super) fn alter_configs(
        &self,
        request: &AlterConfigsRequest,
        forwarded: bool,
    ) -> (Vec<MetadataRecord>, AlterConfigsResponse) {
        let mut named = Counts::new();
        for asked in &request.resources {
            *named.entry((asked.resource_type, &asked.resource_name)).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for asked in &request.resources {
            // A resource that was named twice is answered once.
            let key = (asked.resource_type, asked.resource_name.as_str());
            let Some(count) = named.remove(&key) else { continue };
            let outcome = known_resource(key, count).and_then(|resource| {
                let ops: Vec<(&str, Op, Option<&str>)> = asked
                    .configs
                    .iter()
                    .map(|c| (c.name.as_str(), Op::Set, c.value.as_deref()))
                    .collect();
                let current = self.image().configs.of(&resource);
                let mut altered = alter(resource.kind, current, &ops)?;
                for name in current.keys() {
                    altered.entry(name.clone()).or_insert(None);
                }
                if !forwarded {
                    self.check_unchecked(&resource, &altered)?;
                }
                self.records_to_alter(&resource, &altered, Existence::Required)
            });
            let (error_code, error_message) = told(outcome, &mut records);
            if records.len() > MAX_RECORDS_PER_REQUEST {
                return (Vec::new(), refuse_legacy(request));
            }
            responses.push(LegacyOutcome {
                error_code,
                error_message,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.clone(),
                ..Default::default()
            });
        }
        if request.validate_only {
            records.clear();
        }
        (records, AlterConfigsResponse { responses, ..Default::default() })
    }

    /// The records that set a new topic's configuration.
    pub(super) fn records_for_new_topic(
        &self,
        topic: &str,
        configs: &Configs,
    ) -> Result<Vec<MetadataRecord>, ConfigError> {
        let ops: Vec<(&str, Op, Option<&str>)> = configs
            .iter()
            .map(|(name, value)| (name.as_str(), Op::Set, Some(value.as_str())))
            .collect();
        let altered = alter(Resource::Topic, &Configs::new(), &ops)?;
        self.records_to_alter(&ConfigResource::topic(topic), &altered, Existence::ToBeMade)
    }

    fn records_to_alter(
        &self,
        resource: &ConfigResource,
        altered: &Altered,
        existence: Existence,
    ) -> Result<Vec<MetadataRecord>, ConfigError> {
        let current = self.image().configs.of(resource);
        for (name, value) in altered {
            self.check_guarded(resource, name, value.as_deref())?;
        }
        let mut all = current.clone();
        for (name, value) in altered {
            match value {
                Some(value) => all.insert(name.clone(), value.clone()),
                None => all.remove(name),
            };
        }
        self.validate_configs(resource, &all, altered)?;
        if existence == Existence::Required {
            self.check_exists(resource)?;
        }
        let mut records = Vec::new();
        for (name, value) in altered {
            // A broker's is written although it says nothing new: with it, keystores are read anew.
            let changes = current.get(name) != value.as_ref();
            if changes || resource.kind == Resource::Broker {
                records.push(config_record(resource, name, value.clone()));
            }
            if changes && name == MIN_INSYNC_REPLICAS && self.image().elr_enabled() {
                let topic = resource.kind == Resource::Topic;
                let topic_name = if topic { resource.name.clone() } else { String::new() };
                records.push(MetadataRecord::ClearElr(ClearElrRecord {
                    topic_name,
                    ..Default::default()
                }));
            }
        }
        // What changes the rule by which replicas were eligible comes first, the eligible are forgotten after it.
        records.sort_by_key(|record| matches!(record, MetadataRecord::ClearElr(_)));
        Ok(records)
    }

    fn check_guarded(
        &self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ConfigError> {
        if resource.kind != Resource::Broker {
            return Ok(());
        }
        let cluster = resource.name.is_empty();
        match name {
            MIN_INSYNC_REPLICAS if self.image().elr_enabled() && !cluster => {
                Err(ConfigError::BrokerMinIsr)
            }
            MIN_INSYNC_REPLICAS if self.image().elr_enabled() && value.is_none() => {
                Err(ConfigError::ClusterMinIsr)
            }
            CORDONED_LOG_DIRS if !self.image().metadata_version().cordoned_log_dirs() => {
                Err(ConfigError::CordonedLogDirs)
            }
            _ => Ok(()),
        }
    }

    /// Of a broker's directories a controller does not know the paths: by itself it lets some of those that are cordoned go.
    fn check_unchecked(
        &self,
        resource: &ConfigResource,
        altered: &Altered,
    ) -> Result<(), ConfigError> {
        let Some(Some(wanted)) = altered.get(CORDONED_LOG_DIRS) else { return Ok(()) };
        let guarded = resource.kind == Resource::Broker
            && self.image().metadata_version().cordoned_log_dirs()
            && !wanted.trim().is_empty();
        let current = self.image().configs.of(resource).get(CORDONED_LOG_DIRS);
        let known: BTreeSet<&str> = current.into_iter().flat_map(|dirs| entries(dirs)).collect();
        if guarded && !entries(wanted).all(|dir| known.contains(dir)) {
            return Err(ConfigError::CordonedUnchecked);
        }
        Ok(())
    }

    fn validate_configs(
        &self,
        resource: &ConfigResource,
        all: &Configs,
        altered: &Altered,
    ) -> Result<(), ConfigError> {
        let name = resource.name.as_str();
        match resource.kind {
            Resource::Topic if name.is_empty() => return Err(ConfigError::DefaultTopic),
            Resource::Topic => {
                topic::validate_topic_name(name)?;
                validate_topic(&self.values, all)?;
            }
            Resource::Broker => {
                broker_id(name)?;
                validate_broker(name.is_empty(), altered)?;
            }
            Resource::ClientMetrics => validate_client_metrics(all)?,
            Resource::Group if name.is_empty() => return Err(ConfigError::DefaultGroup),
            Resource::Group => validate_group(all)?,
            Resource::BrokerLogger => return Err(ConfigError::BrokerLogger),
        }
        let set = altered.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        Ok(refuse_unhonoured(resource.kind, set)?)
    }

    fn check_exists(&self, resource: &ConfigResource) -> Result<(), ConfigError> {
        match resource.kind {
            Resource::Topic if self.image().topics.id_of(&resource.name).is_none() => {
                Err(ConfigError::UnknownTopic(resource.name.clone()))
            }
            Resource::Broker => match broker_id(&resource.name)? {
                Some(id) if !self.node_exists(id) => Err(ConfigError::UnknownNode(id)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn node_exists(&self, id: i32) -> bool {
        let image = self.image();
        image.brokers.contains_key(&id)
            || image.controllers.contains_key(&id)
            || self.config.quorum_ids.contains(&id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existence {
    Required,
    ToBeMade,
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// None for all brokers.
fn broker_id(name: &str) -> Result<Option<i32>, ConfigError> {
    if name.is_empty() {
        return Ok(None);
    }
    let id: i32 = name.parse().map_err(|_| ConfigError::BrokerName)?;
    if id < 0 { Err(ConfigError::NegativeBroker) } else { Ok(Some(id)) }
}

/// How often each resource is named.
type Counts<'a> = BTreeMap<(i8, &'a str), usize>;

fn known_resource((kind, name): (i8, &str), count: usize) -> Result<ConfigResource, ConfigError> {
    let known = Resource::from_code(kind).ok_or(ConfigError::ResourceType(kind))?;
    if count > 1 {
        return Err(ConfigError::DuplicateResource);
    }
    Ok(ConfigResource { kind: known, name: name.to_owned() })
}

/// An operation that Kafka's controller does not know makes it fail over the whole request, whatever else is in it.
fn names_unknown_operation(request: &IncrementalAlterConfigsRequest, named: &Counts) -> bool {
    let looked_at = |asked: &&AlterConfigsResource| {
        let key = (asked.resource_type, asked.resource_name.as_str());
        named.get(&key).is_some_and(|count| known_resource(key, *count).is_ok())
    };
    let unknown = |config: &AlterableConfig| Op::from_code(config.config_operation).is_none();
    request.resources.iter().filter(looked_at).any(|asked| asked.configs.iter().any(unknown))
}

fn too_many_records() -> (ErrorCode, String) {
    (ConfigError::TooManyRecords.code(), ConfigError::TooManyRecords.to_string())
}

/// The whole request; each resource is answered as often as it is named.
fn refuse(
    request: &IncrementalAlterConfigsRequest,
    code: ErrorCode,
    error_message: Option<String>,
) -> IncrementalAlterConfigsResponse {
    let outcome = |asked: &AlterConfigsResource| Outcome {
        error_code: code.code(),
        error_message: error_message.clone(),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        ..Default::default()
    };
    let responses = request.resources.iter().map(outcome).collect();
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

fn refuse_legacy(request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let (code, message) = too_many_records();
    let outcome = |asked: &LegacyResource| LegacyOutcome {
        error_code: code.code(),
        error_message: Some(message.clone()),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        ..Default::default()
    };
    let responses = request.resources.iter().map(outcome).collect();
    AlterConfigsResponse { responses, ..Default::default() }
}

fn told(
    outcome: Result<Vec<MetadataRecord>, ConfigError>,
    records: &mut Vec<MetadataRecord>,
) -> (i16, Option<String>) {
    match outcome {
        Ok(new) => {
            records.extend(new);
            (ErrorCode::None.code(), None)
        }
        Err(error) => (error.code().code(), Some(error.to_string())),
    }
}

pub(super) fn config_record(
    resource: &ConfigResource,
    name: &str,
    value: Option<String>,
) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type: resource.kind.code(),
        resource_name: resource.name.clone(),
        name: name.to_owned(),
        value,
        ..Default::default()
    })
}

//! CreateTopics.

use std::collections::{BTreeMap, BTreeSet};

use model::settings::describe_topic;
use model::{ErrorCode, Uuid, topic};
use wire::create_topics_request::CreatableTopic;
use wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use wire::{CreateTopicsRequest, CreateTopicsResponse, MetadataRecord, TopicRecord};

use super::configs::ConfigError;
use super::placement::{PlacementError, UsableBroker, place};
use super::random::Random;
use super::request::Permitted;
use super::{Controller, MAX_PARTITIONS_PER_REQUEST, MAX_RECORDS_PER_REQUEST};
use crate::metadata::{Configs, LeaderRecoveryState, PartitionRegistration};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    #[error("Duplicate topic name.")]
    DuplicateName,
    #[error("Creation of internal topic __cluster_metadata is prohibited.")]
    MetadataTopic,
    #[error("Authorization failed.")]
    NotAuthorized,
    #[error("Excessively large number of partitions per request.")]
    TooManyPartitions,
    #[error("{}", super::EXCESSIVE)]
    TooManyRecords,
    #[error(transparent)]
    Name(#[from] topic::TopicNameError),
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collision { name: String, existing: String },
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    #[error("Null value not supported for topic configs: {0}")]
    NullConfigs(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "A manual partition assignment was specified, but replication factor was not set to -1."
    )]
    FactorAndAssignment,
    #[error("A manual partition assignment was specified, but numPartitions was not set to -1.")]
    CountAndAssignment,
    #[error("Found multiple manual partition assignments for partition {0}")]
    DuplicateAssignment(i32),
    #[error("partitions should be a consecutive 0-based integer sequence")]
    NotConsecutive,
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    ReplicationFactor,
    #[error("Number of partitions was set to an invalid non-positive value.")]
    PartitionCount,
    #[error("Unable to replicate the partition {factor} time(s): {cause}")]
    Placement { factor: i32, cause: PlacementError },
    #[error(
        "Unable to replicate the partition {0} time(s): All brokers are currently fenced or in controlled shutdown."
    )]
    NoneActive(i32),
}

impl CreateTopicError {
    pub fn code(&self) -> ErrorCode {
        match self {
            CreateTopicError::DuplicateName
            | CreateTopicError::MetadataTopic
            | CreateTopicError::FactorAndAssignment
            | CreateTopicError::CountAndAssignment => ErrorCode::InvalidRequest,
            CreateTopicError::NotAuthorized => ErrorCode::TopicAuthorizationFailed,
            CreateTopicError::TooManyPartitions | CreateTopicError::TooManyRecords => {
                ErrorCode::PolicyViolation
            }
            CreateTopicError::Name(_) | CreateTopicError::Collision { .. } => {
                ErrorCode::InvalidTopicException
            }
            CreateTopicError::Exists(_) => ErrorCode::TopicAlreadyExists,
            CreateTopicError::NullConfigs(_) => ErrorCode::InvalidConfig,
            CreateTopicError::Config(error) => error.code(),
            CreateTopicError::DuplicateAssignment(_)
            | CreateTopicError::NotConsecutive
            | CreateTopicError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            CreateTopicError::ReplicationFactor
            | CreateTopicError::Placement { .. }
            | CreateTopicError::NoneActive(_) => ErrorCode::InvalidReplicationFactor,
            CreateTopicError::PartitionCount => ErrorCode::InvalidPartitions,
        }
    }
}

/// A list of brokers that a client wrote is not one to place a partition on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    #[error("The manual partition assignment includes an empty replica list.")]
    Empty,
    #[error(
        "The manual partition assignment includes broker {0}, but no such broker is registered."
    )]
    UnknownBroker(i32),
    #[error(
        "The manual partition assignment includes broker {0}, but all its log directories are cordoned."
    )]
    Cordoned(i32),
    #[error("The manual partition assignment includes the broker {0} more than once.")]
    Twice(i32),
    #[error(
        "The manual partition assignment includes a partition with {got} replica(s), but this is not consistent with previous partitions, which have {expected} replica(s)."
    )]
    Inconsistent { got: usize, expected: usize },
    #[error(
        "All brokers specified in the manual partition assignment for partition {0} are fenced or in controlled shutdown."
    )]
    NoneActive(i32),
}

struct Created {
    records: Vec<MetadataRecord>,
    result: CreatableTopicResult,
}

fn refused(topic: &CreatableTopic, error: &CreateTopicError) -> CreatableTopicResult {
    CreatableTopicResult {
        name: topic.name.clone(),
        error_code: error.code().code(),
        error_message: Some(error.to_string()),
        ..Default::default()
    }
}

/// The whole request; each topic is answered as often as it is named.
fn refuse(request: &CreateTopicsRequest, error: &CreateTopicError) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| refused(topic, error)).collect();
    CreateTopicsResponse { topics, ..Default::default() }
}

impl Controller {
    pub(super) fn create_topics(
        &self,
        request: &CreateTopicsRequest,
        seed: u64,
        may_create: &Permitted,
        may_describe_configs: &Permitted,
    ) -> (Vec<MetadataRecord>, CreateTopicsResponse) {
        let mut random = Random::new(seed);
        let mut named: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *named.entry(&topic.name).or_default() += 1;
        }
        let may_be = |topic: &&CreatableTopic| {
            named[topic.name.as_str()] == 1
                && topic.name != topic::CLUSTER_METADATA
                && may_create.allows(&topic.name)
        };
        let asked = self.total_partitions(request.topics.iter().filter(may_be));
        if asked > MAX_PARTITIONS_PER_REQUEST {
            return (Vec::new(), refuse(request, &CreateTopicError::TooManyPartitions));
        }
        let mut taken = BTreeSet::new();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for topic in &request.topics {
            // A topic that was named twice is answered once.
            let Some(count) = named.remove(topic.name.as_str()) else { continue };
            let outcome = if count > 1 {
                Err(CreateTopicError::DuplicateName)
            } else if topic.name == topic::CLUSTER_METADATA {
                Err(CreateTopicError::MetadataTopic)
            } else if !may_create.allows(&topic.name) {
                Err(CreateTopicError::NotAuthorized)
            } else {
                self.create_topic(
                    topic,
                    &mut random,
                    may_describe_configs.allows(&topic.name),
                    &mut taken,
                )
            };
            match outcome {
                Ok(created) => {
                    records.extend(created.records);
                    results.push(created.result);
                }
                Err(error) => results.push(refused(topic, &error)),
            }
            if records.len() > MAX_RECORDS_PER_REQUEST {
                return (Vec::new(), refuse(request, &CreateTopicError::TooManyRecords));
            }
        }
        if request.validate_only {
            records.clear();
        }
        (records, CreateTopicsResponse { topics: results, ..Default::default() })
    }

    fn total_partitions<'a>(&self, topics: impl Iterator<Item = &'a CreatableTopic>) -> i64 {
        let of = |topic: &CreatableTopic| match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
            -1 => i64::from(self.values.int("num.partitions")),
            count => i64::from(count.max(0)),
        };
        topics.map(of).sum()
    }

    fn create_topic(
        &self,
        asked: &CreatableTopic,
        random: &mut Random,
        may_describe_configs: bool,
        taken: &mut BTreeSet<Uuid>,
    ) -> Result<Created, CreateTopicError> {
        self.check_name(&asked.name)?;
        let configs = configs_of(asked)?;
        let config_records = self.records_for_new_topic(&asked.name, &configs)?;
        let partitions = if asked.assignments.is_empty() {
            self.place_partitions(asked, random)?
        } else {
            self.assigned_partitions(asked)?
        };
        let topic_id = self.new_topic_id(random, taken);
        let record = TopicRecord { name: asked.name.clone(), topic_id, ..Default::default() };
        let mut records = vec![MetadataRecord::Topic(record)];
        records.extend(config_records);
        let version = self.image().metadata_version();
        for (id, partition) in partitions.iter().enumerate() {
            records
                .push(MetadataRecord::Partition(partition.to_record(topic_id, id as i32, version)));
        }
        let mut result = CreatableTopicResult {
            name: asked.name.clone(),
            topic_id,
            error_message: None,
            ..Default::default()
        };
        if may_describe_configs {
            result.num_partitions = partitions.len() as i32;
            result.replication_factor = partitions.first().map_or(-1, |p| p.replicas.len() as i16);
            result.configs = Some(self.described(&configs));
        } else {
            result.topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
            result.configs = Some(Vec::new());
        }
        Ok(Created { records, result })
    }

    fn check_name(&self, name: &str) -> Result<(), CreateTopicError> {
        topic::validate_topic_name(name)?;
        if self.image().topics.id_of(name).is_some() {
            return Err(CreateTopicError::Exists(name.to_owned()));
        }
        let colliding = self.colliding.get(&topic::collision_key(name));
        match colliding.and_then(|names| names.first()) {
            Some(existing) if name.contains(['.', '_']) => Err(CreateTopicError::Collision {
                name: name.to_owned(),
                existing: existing.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn new_topic_id(&self, random: &mut Random, taken: &mut BTreeSet<Uuid>) -> Uuid {
        loop {
            let id = random.uuid();
            if self.image().topics.by_id(id).is_none() && taken.insert(id) {
                return id;
            }
        }
    }

    fn place_partitions(
        &self,
        asked: &CreatableTopic,
        random: &mut Random,
    ) -> Result<Vec<PartitionRegistration>, CreateTopicError> {
        let factor = match asked.replication_factor {
            -1 => self.values.int("default.replication.factor"),
            factor if factor > 0 => i32::from(factor),
            _ => return Err(CreateTopicError::ReplicationFactor),
        };
        let count = match asked.num_partitions {
            -1 => self.values.int("num.partitions"),
            count if count > 0 => count,
            _ => return Err(CreateTopicError::PartitionCount),
        };
        let placed = place(&self.usable_brokers(), count as usize, factor, random)
            .map_err(|cause| CreateTopicError::Placement { factor, cause })?;
        let new =
            |replicas| self.new_partition(replicas).ok_or(CreateTopicError::NoneActive(factor));
        placed.into_iter().map(new).collect()
    }

    fn assigned_partitions(
        &self,
        asked: &CreatableTopic,
    ) -> Result<Vec<PartitionRegistration>, CreateTopicError> {
        if asked.replication_factor != -1 {
            return Err(CreateTopicError::FactorAndAssignment);
        }
        if asked.num_partitions != -1 {
            return Err(CreateTopicError::CountAndAssignment);
        }
        let mut partitions: BTreeMap<i32, PartitionRegistration> = BTreeMap::new();
        let mut factor = None;
        for assignment in &asked.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                return Err(CreateTopicError::DuplicateAssignment(index));
            }
            let partition = self.assigned_partition(&assignment.broker_ids, factor, index)?;
            factor = Some(assignment.broker_ids.len());
            partitions.insert(index, partition);
        }
        if !partitions.keys().copied().eq(0..partitions.len() as i32) {
            return Err(CreateTopicError::NotConsecutive);
        }
        Ok(partitions.into_values().collect())
    }

    pub(super) fn assigned_partition(
        &self,
        replicas: &[i32],
        factor: Option<usize>,
        index: i32,
    ) -> Result<PartitionRegistration, AssignmentError> {
        self.check_assignment(replicas, factor)?;
        self.new_partition(replicas.to_vec()).ok_or(AssignmentError::NoneActive(index))
    }

    pub(super) fn check_assignment(
        &self,
        replicas: &[i32],
        factor: Option<usize>,
    ) -> Result<(), AssignmentError> {
        if replicas.is_empty() {
            return Err(AssignmentError::Empty);
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut previous = None;
        for id in &sorted {
            let broker = self.image().broker(*id).ok_or(AssignmentError::UnknownBroker(*id))?;
            if !broker.has_uncordoned_dirs() {
                return Err(AssignmentError::Cordoned(*id));
            }
            if previous.replace(*id) == Some(*id) {
                return Err(AssignmentError::Twice(*id));
            }
        }
        if let Some(expected) = factor.filter(|factor| *factor != replicas.len()) {
            return Err(AssignmentError::Inconsistent { got: replicas.len(), expected });
        }
        Ok(())
    }

    /// In sync are the active ones, and the first of them leads. None where none is.
    pub(super) fn new_partition(&self, replicas: Vec<i32>) -> Option<PartitionRegistration> {
        let isr: Vec<i32> =
            replicas.iter().copied().filter(|id| self.image().broker_active(*id)).collect();
        Some(PartitionRegistration {
            directories: replicas.iter().map(|id| self.default_dir(*id)).collect(),
            leader: *isr.first()?,
            isr,
            replicas,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: 0,
            partition_epoch: 0,
        })
    }

    pub(super) fn usable_brokers(&self) -> Vec<UsableBroker> {
        let usable =
            self.image().brokers.values().filter(|b| {
                b.has_uncordoned_dirs() && self.heartbeats.shutdown_offset(b.id).is_none()
            });
        usable.map(|b| UsableBroker { id: b.id, rack: b.rack.clone(), fenced: b.fenced }).collect()
    }

    fn described(&self, configs: &Configs) -> Vec<CreatableTopicConfigs> {
        let mut described: Vec<CreatableTopicConfigs> =
            describe_topic(&self.values, configs, &|_| true)
                .into_iter()
                .map(|setting| CreatableTopicConfigs {
                    name: setting.name.to_owned(),
                    value: setting.value,
                    read_only: setting.read_only,
                    config_source: setting.source.code(),
                    is_sensitive: setting.sensitive,
                    ..Default::default()
                })
                .collect();
        described.sort_by(|a, b| a.name.cmp(&b.name));
        described
    }
}

fn configs_of(asked: &CreatableTopic) -> Result<Configs, CreateTopicError> {
    let nulls: Vec<&str> =
        asked.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(CreateTopicError::NullConfigs(nulls.join(",")));
    }
    let set = asked.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?)));
    Ok(set.collect())
}

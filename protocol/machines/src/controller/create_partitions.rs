//! CreatePartitions: a topic gets more of them.

use std::collections::BTreeMap;

use model::ErrorCode;
use wire::create_partitions_request::CreatePartitionsTopic;
use wire::create_partitions_response::CreatePartitionsTopicResult;
use wire::{CreatePartitionsRequest, CreatePartitionsResponse, MetadataRecord};

use super::create_topics::AssignmentError;
use super::placement::{PlacementError, place};
use super::random::Random;
use super::request::Permitted;
use super::{Controller, MAX_PARTITIONS_PER_REQUEST};
use crate::metadata::PartitionRegistration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    #[error("Duplicate topic name.")]
    DuplicateName,
    #[error("not authorized")]
    NotAuthorized,
    #[error("unknown topic")]
    UnknownTopic,
    #[error("Excessively large number of partitions per request.")]
    TooMany,
    #[error("Topic already has {0} partition(s).")]
    Same(usize),
    #[error("The topic {name} currently has {has} partition(s); {asked} would not be an increase.")]
    Fewer { name: String, has: usize, asked: i32 },
    #[error(
        "Attempted to add {additional} additional partition(s), but only {given} assignment(s) were specified."
    )]
    AssignmentCount { additional: usize, given: usize },
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(
        "Unable to replicate the partition {0} time(s): All brokers are currently fenced or in controlled shutdown."
    )]
    NoneActive(usize),
}

impl CreatePartitionsError {
    pub fn code(&self) -> ErrorCode {
        match self {
            CreatePartitionsError::DuplicateName => ErrorCode::InvalidRequest,
            CreatePartitionsError::NotAuthorized => ErrorCode::TopicAuthorizationFailed,
            CreatePartitionsError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            CreatePartitionsError::TooMany => ErrorCode::PolicyViolation,
            CreatePartitionsError::Same(_) | CreatePartitionsError::Fewer { .. } => {
                ErrorCode::InvalidPartitions
            }
            CreatePartitionsError::AssignmentCount { .. }
            | CreatePartitionsError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            CreatePartitionsError::Placement(_) | CreatePartitionsError::NoneActive(_) => {
                ErrorCode::InvalidReplicationFactor
            }
        }
    }

    /// Kafka gives none where the code says it all.
    fn message(&self) -> Option<String> {
        match self {
            CreatePartitionsError::NotAuthorized | CreatePartitionsError::UnknownTopic => None,
            other => Some(other.to_string()),
        }
    }
}

impl Controller {
    pub(super) fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
        seed: u64,
        may_alter: &Permitted,
    ) -> (Vec<MetadataRecord>, CreatePartitionsResponse) {
        let mut random = Random::new(seed);
        let mut named: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *named.entry(&topic.name).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut results = Vec::new();
        for topic in &request.topics {
            let Some(count) = named.remove(topic.name.as_str()) else { continue };
            let outcome = if count > 1 {
                Err(CreatePartitionsError::DuplicateName)
            } else if !may_alter.allows(&topic.name) {
                Err(CreatePartitionsError::NotAuthorized)
            } else {
                let room = (MAX_PARTITIONS_PER_REQUEST as usize).saturating_sub(records.len());
                self.add_partitions(topic, &mut random, room)
            };
            let (error_code, error_message) = match outcome {
                Ok(added) => {
                    records.extend(added);
                    (ErrorCode::None.code(), None)
                }
                Err(error) => (error.code().code(), error.message()),
            };
            results.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code,
                error_message,
                ..Default::default()
            });
        }
        if request.validate_only {
            records.clear();
        }
        (records, CreatePartitionsResponse { results, ..Default::default() })
    }

    fn add_partitions(
        &self,
        asked: &CreatePartitionsTopic,
        random: &mut Random,
        room: usize,
    ) -> Result<Vec<MetadataRecord>, CreatePartitionsError> {
        let topic =
            self.image().topics.by_name(&asked.name).ok_or(CreatePartitionsError::UnknownTopic)?;
        let has = topic.partitions.size();
        let wanted = usize::try_from(asked.count).unwrap_or(0);
        if wanted == has {
            return Err(CreatePartitionsError::Same(has));
        }
        if wanted < has {
            let (name, asked) = (asked.name.clone(), asked.count);
            return Err(CreatePartitionsError::Fewer { name, has, asked });
        }
        let additional = wanted - has;
        if additional > room {
            return Err(CreatePartitionsError::TooMany);
        }
        let factor = topic.partitions.values().next().map_or(1, |p| p.replicas.len());
        let partitions: Vec<PartitionRegistration> = match &asked.assignments {
            Some(given) if given.len() != additional => {
                return Err(CreatePartitionsError::AssignmentCount {
                    additional,
                    given: given.len(),
                });
            }
            Some(given) => {
                let new = |(at, a): (
                    usize,
                    &wire::create_partitions_request::CreatePartitionsAssignment,
                )| {
                    self.assigned_partition(&a.broker_ids, Some(factor), (has + at) as i32)
                };
                given.iter().enumerate().map(new).collect::<Result<_, _>>()?
            }
            None => {
                let placed = place(&self.usable_brokers(), additional, factor as i32, random)?;
                let new = |replicas| {
                    self.new_partition(replicas).ok_or(CreatePartitionsError::NoneActive(factor))
                };
                placed.into_iter().map(new).collect::<Result<_, _>>()?
            }
        };
        let version = self.image().metadata_version();
        let record = |(at, p): (usize, &PartitionRegistration)| {
            MetadataRecord::Partition(p.to_record(topic.id, (has + at) as i32, version))
        };
        Ok(partitions.iter().enumerate().map(record).collect())
    }
}

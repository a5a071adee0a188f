//! AlterPartitionReassignments and ListPartitionReassignments: a partition moves to other replicas, and who asks hears which do.
//!
//! A reassignment goes on in the record that names it: the new replicas are added at once, and those that are to go leave once the ISR
//! holds the new ones (see [`PartitionChange`](super::partition_change::PartitionChange)), which an AlterPartition brings about.
//! Source: `ReplicationControlManager.alterPartitionReassignments`, `PartitionReassignmentReplicas`, `PartitionReassignmentRevert`.

use model::ErrorCode;
use wire::alter_partition_reassignments_request::ReassignablePartition;
use wire::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use wire::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, MetadataRecord,
};

use super::create_topics::AssignmentError;
use super::partition_change::Election;
use super::{Controller, MAX_RECORDS_PER_REQUEST};
use crate::metadata::{PartitionRegistration, TopicImage};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReassignmentError {
    #[error("Unable to find a topic named {0}.")]
    UnknownTopic(String),
    #[error("Unable to find partition {topic}:{partition}.")]
    UnknownPartition { topic: String, partition: i32 },
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error("The replication factor is changed from {from} to {to}")]
    Factor { from: usize, to: usize },
    #[error("No partition reassignment is in progress.")]
    NotInProgress,
    #[error(
        "Unable to revert partition assignment for {topic}:{partition} because it would require an unclean leader election."
    )]
    Unclean { topic: String, partition: i32 },
    #[error("Invalid replica assignment: addingReplicas contains all replicas.")]
    NothingLeft,
    #[error("{}", super::EXCESSIVE)]
    TooMany,
}

impl ReassignmentError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ReassignmentError::UnknownTopic(_) | ReassignmentError::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            ReassignmentError::Assignment(_)
            | ReassignmentError::Unclean { .. }
            | ReassignmentError::NothingLeft => ErrorCode::InvalidReplicaAssignment,
            ReassignmentError::Factor { .. } => ErrorCode::InvalidReplicationFactor,
            ReassignmentError::NotInProgress => ErrorCode::NoReassignmentInProgress,
            ReassignmentError::TooMany => ErrorCode::PolicyViolation,
        }
    }

    /// Kafka gives none where the code says it all.
    fn message(&self) -> Option<String> {
        (*self != ReassignmentError::NotInProgress).then(|| self.to_string())
    }
}

impl Controller {
    /// Each partition for itself: one that cannot be reassigned keeps none of the others.
    pub(super) fn alter_partition_reassignments(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> (Vec<MetadataRecord>, AlterPartitionReassignmentsResponse) {
        if request.topics.is_empty() {
            // Kafka looks at no field then: the message is empty, and not null.
            return (Vec::new(), AlterPartitionReassignmentsResponse::default());
        }
        let keep_factor = !request.allow_replication_factor_change;
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for asked in &request.topics {
            let mut partitions = Vec::new();
            for partition in &asked.partitions {
                let outcome = if records.len() < MAX_RECORDS_PER_REQUEST {
                    self.reassign(&asked.name, partition, keep_factor)
                } else {
                    Err(ReassignmentError::TooMany)
                };
                let mut answer = ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_message: None,
                    ..Default::default()
                };
                match outcome {
                    Ok(record) => records.extend(record),
                    Err(error) => {
                        answer.error_code = error.code().code();
                        answer.error_message = error.message();
                    }
                }
                partitions.push(answer);
            }
            let name = asked.name.clone();
            responses.push(ReassignableTopicResponse { name, partitions, ..Default::default() });
        }
        let error_message = None;
        let response =
            AlterPartitionReassignmentsResponse { error_message, responses, ..Default::default() };
        (records, response)
    }

    /// None where nothing is to change.
    fn reassign(
        &self,
        name: &str,
        asked: &ReassignablePartition,
        keep_factor: bool,
    ) -> Result<Option<MetadataRecord>, ReassignmentError> {
        let id = asked.partition_index;
        let topic = self
            .image()
            .topics
            .by_name(name)
            .ok_or_else(|| ReassignmentError::UnknownTopic(name.to_owned()))?;
        let unknown =
            || ReassignmentError::UnknownPartition { topic: name.to_owned(), partition: id };
        let partition = topic.partition(id).ok_or_else(unknown)?;
        match &asked.replicas {
            None => self.cancel(topic, id, partition),
            Some(target) => {
                self.check_assignment(target, None)?;
                if keep_factor {
                    check_factor(partition, target.len())?;
                }
                self.move_to(topic, id, partition, target)
            }
        }
    }

    fn move_to(
        &self,
        topic: &TopicImage,
        id: i32,
        partition: &PartitionRegistration,
        target: &[i32],
    ) -> Result<Option<MetadataRecord>, ReassignmentError> {
        let without = |ids: &[i32], others: &[i32]| {
            let mut left: Vec<i32> =
                ids.iter().copied().filter(|id| !others.contains(id)).collect();
            left.sort_unstable();
            left
        };
        let removing = without(&partition.replicas, target);
        // What an earlier reassignment added and this one wants is still being added; Kafka would also wait for what this one removes.
        let settled = without(&partition.replicas, &partition.adding_replicas);
        let adding = without(target, &settled);
        let replicas: Vec<i32> = target.iter().chain(&removing).copied().collect();
        let active = |id: i32| self.image().broker_active(id);
        Ok(self.change_partition(topic, id, partition, &active, |change| {
            change.target_replicas = replicas;
            change.target_removing = removing;
            change.target_adding = adding;
        }))
    }

    /// Those that were added go, and those that were to go stay.
    fn cancel(
        &self,
        topic: &TopicImage,
        id: i32,
        partition: &PartitionRegistration,
    ) -> Result<Option<MetadataRecord>, ReassignmentError> {
        if !partition.reassigning() {
            return Err(ReassignmentError::NotInProgress);
        }
        let stays = |id: &i32| !partition.adding_replicas.contains(id);
        let replicas: Vec<i32> = partition.replicas.iter().copied().filter(stays).collect();
        let mut isr: Vec<i32> = partition.isr.iter().copied().filter(stays).collect();
        let may_be_unclean = self.unclean_election_enabled(&topic.name);
        if isr.is_empty() {
            isr.push(*replicas.first().ok_or(ReassignmentError::NothingLeft)?);
            if !may_be_unclean {
                let topic = topic.name.clone();
                return Err(ReassignmentError::Unclean { topic, partition: id });
            }
        }
        let active = |id: i32| self.image().broker_active(id);
        Ok(self.change_partition(topic, id, partition, &active, |change| {
            if may_be_unclean {
                change.election = Election::Unclean;
            }
            change.target_isr = isr;
            change.target_replicas = replicas;
            change.target_removing.clear();
            change.target_adding.clear();
        }))
    }

    pub(super) fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let all = |topic: &TopicImage| ongoing(topic, topic.partitions.keys().copied());
        let topics = match &request.topics {
            None => self.image().topics.iter().filter_map(|topic| all(topic)).collect(),
            Some(named) => named
                .iter()
                .filter_map(|named| {
                    let topic = self.image().topics.by_name(&named.name)?;
                    ongoing(topic, named.partition_indexes.iter().copied())
                })
                .collect(),
        };
        ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() }
    }
}

/// The replicas that there will be once what is under way is done.
fn check_factor(partition: &PartitionRegistration, to: usize) -> Result<(), ReassignmentError> {
    let stays = |id: &&i32| !partition.removing_replicas.contains(id);
    let from = partition.replicas.iter().filter(stays).count();
    if from == to { Ok(()) } else { Err(ReassignmentError::Factor { from, to }) }
}

/// None where none of these is reassigned.
fn ongoing(
    topic: &TopicImage,
    partitions: impl Iterator<Item = i32>,
) -> Option<OngoingTopicReassignment> {
    let reassigned = |id: i32| {
        let partition = topic.partition(id).filter(|partition| partition.reassigning())?;
        Some(OngoingPartitionReassignment {
            partition_index: id,
            replicas: partition.replicas.clone(),
            adding_replicas: partition.adding_replicas.clone(),
            removing_replicas: partition.removing_replicas.clone(),
            ..Default::default()
        })
    };
    let partitions: Vec<_> = partitions.filter_map(reassigned).collect();
    let name = topic.name.clone();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment {
        name,
        partitions,
        ..Default::default()
    })
}

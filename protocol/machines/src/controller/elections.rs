//! Who leads, when brokers come and go and when somebody asks for it.

use std::sync::Arc;

use model::{ErrorCode, Uuid};
use wire::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use wire::{ElectLeadersRequest, ElectLeadersResponse, MetadataRecord};

use super::partition_change::{Election, PartitionChange, Surroundings};
use super::{Controller, MAX_ELECTIONS, MAX_RECORDS_PER_REQUEST};
use crate::metadata::{BrokerRegistration, NO_LEADER, PartitionRegistration, TopicImage};

/// A broker that is to be in no ISR any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaving {
    /// It goes, and keeps what it has.
    pub removed: Option<i32>,
    /// It may have lost what it had, so it is not eligible either.
    pub unclean: Option<i32>,
    /// Look at partitions where it is merely eligible, too.
    pub also_eligible: bool,
    /// Of these directories alone, if any are named.
    pub directories: Vec<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    #[error("Unknown election type {0}")]
    UnknownType(i8),
    #[error("No such topic as {0}")]
    UnknownTopic(String),
    #[error("No such partition as {topic}-{partition}")]
    UnknownPartition { topic: String, partition: i32 },
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    #[error("The preferred leader was not available.")]
    PreferredNotAvailable,
    #[error("Eligible topic partition leaders are not available.")]
    NoneEligible,
    #[error("{}", super::EXCESSIVE)]
    TooMany,
}

impl ElectionError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ElectionError::UnknownType(_) => ErrorCode::InvalidRequest,
            ElectionError::UnknownTopic(_) | ElectionError::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            ElectionError::NotNeeded => ErrorCode::ElectionNotNeeded,
            ElectionError::PreferredNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
            ElectionError::NoneEligible => ErrorCode::EligibleLeadersNotAvailable,
            ElectionError::TooMany => ErrorCode::PolicyViolation,
        }
    }
}

impl Controller {
    pub(super) fn records_for_leaving(&self, leaving: Leaving) -> Vec<MetadataRecord> {
        let gone = |id: i32| Some(id) == leaving.removed || Some(id) == leaving.unclean;
        let Some(broker) = leaving.removed.or(leaving.unclean) else { return Vec::new() };
        let eligible_too = leaving.also_eligible || leaving.unclean.is_some();
        let concerned = |p: &PartitionRegistration| {
            if leaving.directories.is_empty() {
                p.isr.contains(&broker) || eligible_too && p.elr.contains(&broker)
            } else {
                p.directory(broker).is_some_and(|d| leaving.directories.contains(&d))
            }
        };
        self.change_partitions(
            concerned,
            |id| !gone(id) && self.image().broker_active(id),
            |change| {
                change.target_isr.retain(|id| !gone(*id));
                change.unclean_shutdown.extend(leaving.unclean);
            },
        )
    }

    /// Partitions without a leader may have one again.
    pub(super) fn records_for_arrival(&self, broker: i32) -> Vec<MetadataRecord> {
        let active = |id: i32| id == broker || self.image().broker_active(id);
        self.change_partitions(|p| !p.has_leader(), active, |_| {})
    }

    fn change_partitions(
        &self,
        concerned: impl Fn(&PartitionRegistration) -> bool,
        active: impl Fn(i32) -> bool,
        adjust: impl Fn(&mut PartitionChange),
    ) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.image().topics.iter() {
            let mut partitions = topic.partitions.iter().filter(|(_, p)| concerned(p)).peekable();
            if partitions.peek().is_none() {
                continue;
            }
            let unclean = self.unclean_election_enabled(&topic.name);
            for (id, partition) in partitions {
                let record = self.change_partition(topic, *id, partition, &active, |change| {
                    if unclean {
                        change.election = Election::Unclean;
                    }
                    adjust(change);
                });
                records.extend(record);
            }
        }
        records
    }

    /// What makes of the partition what `adjust` asks for, among brokers of which these are active.
    pub(super) fn change_partition(
        &self,
        topic: &TopicImage,
        partition_id: i32,
        partition: &PartitionRegistration,
        active: &dyn Fn(i32) -> bool,
        adjust: impl FnOnce(&mut PartitionChange),
    ) -> Option<MetadataRecord> {
        let online = |id: i32| {
            let directory = partition.directory(id).unwrap_or(Uuid::UNASSIGNED_DIRECTORY);
            self.image().broker(id).is_some_and(|b| b.has_online_dir(directory))
        };
        let surroundings = Surroundings {
            acceptable: &|id| active(id) && online(id),
            metadata_version: self.image().metadata_version(),
            min_isr: self.min_isr(topic),
            elr_enabled: self.image().elr_enabled(),
            default_dir: &|id| self.default_dir(id),
        };
        let mut change = PartitionChange::new(topic.id, partition_id, partition, &surroundings);
        adjust(&mut change);
        change.build().map(MetadataRecord::PartitionChange)
    }

    pub(super) fn default_dir(&self, broker: i32) -> Uuid {
        self.image()
            .broker(broker)
            .map_or(Uuid::UNASSIGNED_DIRECTORY, BrokerRegistration::default_dir)
    }

    pub(super) fn elect_leaders(
        &self,
        request: &ElectLeadersRequest,
    ) -> (Vec<MetadataRecord>, ElectLeadersResponse) {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            other => return (Vec::new(), refuse(request, &ElectionError::UnknownType(other))),
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        match &request.topic_partitions {
            None => {
                for (name, topic) in self.image().topics.iter_by_name() {
                    let ids: Vec<i32> = topic.partitions.keys().copied().collect();
                    let mut result = self.elect_in(name, &ids, election, &mut records);
                    result
                        .partition_result
                        .retain(|r| r.error_code != ErrorCode::ElectionNotNeeded.code());
                    results.push(result);
                }
            }
            Some(topics) => {
                for topic in topics {
                    results.push(self.elect_in(
                        &topic.topic,
                        &topic.partitions,
                        election,
                        &mut records,
                    ));
                }
            }
        }
        if records.len() > MAX_RECORDS_PER_REQUEST {
            return (Vec::new(), refuse(request, &ElectionError::TooMany));
        }
        (records, ElectLeadersResponse { replica_election_results: results, ..Default::default() })
    }

    fn elect_in(
        &self,
        topic: &str,
        partitions: &[i32],
        election: Election,
        records: &mut Vec<MetadataRecord>,
    ) -> ReplicaElectionResult {
        let mut outcomes = Vec::new();
        for partition in partitions {
            let mut outcome = PartitionResult {
                partition_id: *partition,
                error_message: None,
                ..Default::default()
            };
            match self.elect_leader(topic, *partition, election) {
                Ok(record) => records.push(record),
                Err(error) => {
                    outcome.error_code = error.code().code();
                    outcome.error_message = Some(error.to_string());
                }
            }
            outcomes.push(outcome);
        }
        ReplicaElectionResult {
            topic: topic.to_owned(),
            partition_result: outcomes,
            ..Default::default()
        }
    }

    fn elect_leader(
        &self,
        name: &str,
        id: i32,
        election: Election,
    ) -> Result<MetadataRecord, ElectionError> {
        let topic = self
            .image()
            .topics
            .by_name(name)
            .ok_or_else(|| ElectionError::UnknownTopic(name.to_owned()))?;
        let unknown = || ElectionError::UnknownPartition { topic: name.to_owned(), partition: id };
        let partition = topic.partition(id).ok_or_else(unknown)?;
        let needed = match election {
            Election::Unclean => !partition.has_leader(),
            _ => partition.leader != partition.preferred_replica(),
        };
        if !needed {
            return Err(ElectionError::NotNeeded);
        }
        self.change_partition(topic, id, partition, &|b| self.image().broker_active(b), |c| {
            c.election = election
        })
        .ok_or(match election {
            Election::Unclean => ElectionError::NoneEligible,
            _ => ElectionError::PreferredNotAvailable,
        })
    }

    /// Those without a leader, of topics that would rather lose records than stand still.
    pub(super) fn elect_unclean_leaders(&self) -> Vec<MetadataRecord> {
        let wanting = |topic: &&Arc<TopicImage>| {
            topic.partitions.values().any(|p| p.leader == NO_LEADER)
                && self.unclean_election_enabled(&topic.name)
        };
        let topics = self.image().topics.iter().filter(wanting);
        topics
            .flat_map(|t| {
                t.partitions
                    .keys()
                    .filter_map(|id| self.elect_leader(&t.name, *id, Election::Unclean).ok())
            })
            .take(MAX_ELECTIONS)
            .collect()
    }

    /// The first replica leads again, wherever it can.
    pub(super) fn balance_leaders(&self) -> Vec<MetadataRecord> {
        let topics = self.image().topics.iter();
        topics
            .flat_map(|t| {
                t.partitions
                    .keys()
                    .filter_map(|id| self.elect_leader(&t.name, *id, Election::Preferred).ok())
            })
            .take(MAX_ELECTIONS)
            .collect()
    }
}

/// The whole request, and with it each partition that it names.
fn refuse(request: &ElectLeadersRequest, error: &ElectionError) -> ElectLeadersResponse {
    let refused = |partition: &i32| PartitionResult {
        partition_id: *partition,
        error_code: error.code().code(),
        error_message: Some(error.to_string()),
        ..Default::default()
    };
    let results = request.topic_partitions.iter().flatten().map(|asked| ReplicaElectionResult {
        topic: asked.topic.clone(),
        partition_result: asked.partitions.iter().map(refused).collect(),
        ..Default::default()
    });
    ElectLeadersResponse {
        error_code: error.code().code(),
        replica_election_results: results.collect(),
        ..Default::default()
    }
}

//! AssignReplicasToDirs: a broker says in which of its directories a replica is.

use model::{ErrorCode, Uuid};
use wire::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use wire::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, MetadataRecord};

use super::Controller;
use super::partition_change::Election;
use crate::metadata::{BrokerRegistration, TopicImage};

impl Controller {
    pub(super) fn assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> (Vec<MetadataRecord>, AssignReplicasToDirsResponse) {
        let refused = |code: ErrorCode| {
            (
                Vec::new(),
                AssignReplicasToDirsResponse { error_code: code.code(), ..Default::default() },
            )
        };
        if !self.image().metadata_version().directory_assignment() {
            return refused(ErrorCode::UnsupportedVersion);
        }
        let broker = match self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            Ok(broker) => broker,
            Err(error) => return refused(error.code()),
        };
        let mut records = Vec::new();
        let mut directories = Vec::new();
        for asked in &request.directories {
            let mut topics = Vec::new();
            for asked_topic in &asked.topics {
                let topic = self.image().topics.by_id(asked_topic.topic_id);
                let mut partitions = Vec::new();
                for partition in &asked_topic.partitions {
                    let index = partition.partition_index;
                    let outcome = self.assign(
                        broker,
                        asked.id,
                        topic.map(|t| t.as_ref()),
                        index,
                        &mut records,
                    );
                    let error_code = outcome.err().unwrap_or(ErrorCode::None).code();
                    partitions.push(PartitionData {
                        partition_index: index,
                        error_code,
                        ..Default::default()
                    });
                }
                topics.push(TopicData {
                    topic_id: asked_topic.topic_id,
                    partitions,
                    ..Default::default()
                });
            }
            directories.push(DirectoryData { id: asked.id, topics, ..Default::default() });
        }
        (records, AssignReplicasToDirsResponse { directories, ..Default::default() })
    }

    /// A replica in a directory that is not online leaves the ISR at once; one that is back leads where nobody else may.
    fn assign(
        &self,
        broker: &BrokerRegistration,
        directory: Uuid,
        topic: Option<&TopicImage>,
        partition_id: i32,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ErrorCode> {
        let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partition(partition_id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker.id) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let offline = !broker.has_online_dir(directory);
        let active = |id: i32| !(offline && id == broker.id) && self.image().broker_active(id);
        let moved = self.change_partition(topic, partition_id, partition, &active, |change| {
            change.set_directory(broker.id, directory);
            if offline {
                if self.unclean_election_enabled(&topic.name) {
                    change.election = Election::Unclean;
                }
                change.target_isr.retain(|id| *id != broker.id);
            }
        });
        // Kafka elects only when a broker registers anew: its directories do not come back before.
        let elected = match &moved {
            Some(MetadataRecord::PartitionChange(moved)) if !offline => {
                let there = partition.merge(moved).ok().filter(|there| !there.has_leader());
                let elect = |p| self.change_partition(topic, partition_id, p, &active, |_| {});
                there.as_ref().and_then(elect)
            }
            _ => None,
        };
        records.extend(moved.into_iter().chain(elected));
        Ok(())
    }
}

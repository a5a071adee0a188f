//! AlterPartition: a leader asks for another ISR.

use model::ErrorCode;
use wire::alter_partition_request::{BrokerState, PartitionData as RequestedPartition};
use wire::alter_partition_response::{PartitionData, TopicData};
use wire::{AlterPartitionRequest, AlterPartitionResponse, MetadataRecord};

use super::Controller;
use super::partition_change::Election;
use crate::metadata::{LeaderRecoveryState, NO_LEADER_CHANGE, PartitionRegistration, TopicImage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlterPartitionError {
    #[error("unknown topic id")]
    UnknownTopic,
    #[error("unknown partition")]
    UnknownPartition,
    #[error("the leader knows a later epoch than this controller")]
    FromTheFuture,
    #[error("the leader epoch is over")]
    FencedLeaderEpoch,
    #[error("the broker is not the leader")]
    NotLeader,
    #[error("the partition epoch is over")]
    StalePartitionEpoch,
    #[error("the ISR is not a set of replicas with the leader in it")]
    InvalidIsr,
    #[error(
        "a leader that recovers is alone in the ISR, and one that recovered does not recover again"
    )]
    InvalidRecovery,
    #[error("a replica of the ISR is fenced, stopping, gone or of another epoch")]
    IneligibleReplica,
    #[error("the change completed a reassignment and with it moved the leader")]
    NewLeaderElected,
}

impl AlterPartitionError {
    pub fn code(&self) -> ErrorCode {
        match self {
            AlterPartitionError::UnknownTopic => ErrorCode::UnknownTopicId,
            AlterPartitionError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            AlterPartitionError::FromTheFuture => ErrorCode::NotController,
            AlterPartitionError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            AlterPartitionError::NotLeader
            | AlterPartitionError::InvalidIsr
            | AlterPartitionError::InvalidRecovery => ErrorCode::InvalidRequest,
            AlterPartitionError::StalePartitionEpoch => ErrorCode::InvalidUpdateVersion,
            AlterPartitionError::IneligibleReplica => ErrorCode::IneligibleReplica,
            AlterPartitionError::NewLeaderElected => ErrorCode::NewLeaderElected,
        }
    }
}

/// From here on the ISR comes with the epochs of its brokers.
const FIRST_WITH_BROKER_EPOCHS: i16 = 3;

impl Controller {
    pub(super) fn alter_partition(
        &self,
        request: &AlterPartitionRequest,
        version: i16,
    ) -> (Vec<MetadataRecord>, AlterPartitionResponse) {
        if let Err(error) = self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            let error_code = error.code().code();
            return (Vec::new(), AlterPartitionResponse { error_code, ..Default::default() });
        }
        let mut records = Vec::new();
        let mut topics = Vec::new();
        for asked in &request.topics {
            let topic = self.image().topics.by_id(asked.topic_id);
            let mut partitions = Vec::new();
            for partition in &asked.partitions {
                let isr = if version < FIRST_WITH_BROKER_EPOCHS {
                    let of_any_epoch = |id: &i32| BrokerState {
                        broker_id: *id,
                        broker_epoch: -1,
                        ..Default::default()
                    };
                    partition.new_isr.iter().map(of_any_epoch).collect()
                } else {
                    partition.new_isr_with_epochs.clone()
                };
                let outcome = topic.ok_or(AlterPartitionError::UnknownTopic).and_then(|topic| {
                    self.alter_one(request.broker_id, topic, partition, &isr, &mut records)
                });
                partitions.push(answer(partition.partition_index, outcome));
            }
            topics.push(TopicData { topic_id: asked.topic_id, partitions, ..Default::default() });
        }
        (records, AlterPartitionResponse { topics, ..Default::default() })
    }

    fn alter_one(
        &self,
        broker: i32,
        topic: &TopicImage,
        asked: &RequestedPartition,
        isr: &[BrokerState],
        records: &mut Vec<MetadataRecord>,
    ) -> Result<PartitionRegistration, AlterPartitionError> {
        let id = asked.partition_index;
        let partition = topic.partition(id).ok_or(AlterPartitionError::UnknownPartition)?;
        let recovery = self.validate(broker, partition, asked, isr)?;
        let unclean = self.unclean_election_enabled(&topic.name);
        let record = self.change_partition(
            topic,
            id,
            partition,
            &|b| self.image().broker_active(b),
            |change| {
                if unclean {
                    change.election = Election::Unclean;
                }
                change.target_isr = isr.iter().map(|b| b.broker_id).collect();
                change.target_recovery = recovery;
            },
        );
        let Some(MetadataRecord::PartitionChange(change)) = record else {
            return Ok(partition.clone());
        };
        let (leader, after) = (change.leader, partition.merge(&change));
        records.push(MetadataRecord::PartitionChange(change));
        if leader != NO_LEADER_CHANGE && leader != broker {
            return Err(AlterPartitionError::NewLeaderElected);
        }
        after.map_err(|_| AlterPartitionError::InvalidRecovery)
    }

    /// In the order in which Kafka looks: what is answered depends on what is found first.
    fn validate(
        &self,
        broker: i32,
        partition: &PartitionRegistration,
        asked: &RequestedPartition,
        isr: &[BrokerState],
    ) -> Result<LeaderRecoveryState, AlterPartitionError> {
        use LeaderRecoveryState::{Recovered, Recovering};
        if asked.leader_epoch > partition.leader_epoch
            || asked.partition_epoch > partition.partition_epoch
        {
            return Err(AlterPartitionError::FromTheFuture);
        }
        if asked.leader_epoch < partition.leader_epoch {
            return Err(AlterPartitionError::FencedLeaderEpoch);
        }
        if broker != partition.leader {
            return Err(AlterPartitionError::NotLeader);
        }
        if asked.partition_epoch < partition.partition_epoch {
            return Err(AlterPartitionError::StalePartitionEpoch);
        }
        let mut ids: Vec<i32> = isr.iter().map(|b| b.broker_id).collect();
        ids.sort_unstable();
        let distinct = ids.windows(2).all(|pair| pair[0] != pair[1]);
        if !distinct
            || !ids.iter().all(|id| partition.replicas.contains(id))
            || !ids.contains(&partition.leader)
        {
            return Err(AlterPartitionError::InvalidIsr);
        }
        let recovery = LeaderRecoveryState::from_value(asked.leader_recovery_state)
            .ok_or(AlterPartitionError::InvalidRecovery)?;
        let again = partition.leader_recovery_state == Recovered && recovery == Recovering;
        if again || recovery == Recovering && ids.len() > 1 {
            return Err(AlterPartitionError::InvalidRecovery);
        }
        let eligible = |state: &BrokerState| {
            let of_epoch = |epoch: i64| state.broker_epoch == -1 || state.broker_epoch == epoch;
            self.image().broker(state.broker_id).is_some_and(|b| b.active() && of_epoch(b.epoch))
        };
        if isr.iter().all(eligible) {
            Ok(recovery)
        } else {
            Err(AlterPartitionError::IneligibleReplica)
        }
    }
}

fn answer(
    partition_index: i32,
    outcome: Result<PartitionRegistration, AlterPartitionError>,
) -> PartitionData {
    match outcome {
        Ok(partition) => PartitionData {
            partition_index,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            isr: partition.isr,
            leader_recovery_state: partition.leader_recovery_state.value(),
            partition_epoch: partition.partition_epoch,
            ..Default::default()
        },
        Err(error) => {
            PartitionData { partition_index, error_code: error.code().code(), ..Default::default() }
        }
    }
}

//! What each replica is told of its role.

use std::sync::Arc;
use std::time::Duration;

use machines::metadata::{ConfigResource, MetadataDelta, MetadataImage, PartitionRegistration};
use machines::partition::{Leadership, LiveBroker};
use model::settings::{TopicConfig, Values};
use model::{LeaderEpoch, NodeId};
use runtime::ChildChange;

use super::Partitions;
use crate::handle::{PartitionHandle, Role, Standing};
use crate::partition::PartitionMsg;

impl Partitions {
    /// Leaders whose followers' brokers changed.
    pub(super) async fn tell_of_brokers(&mut self, image: &MetadataImage, delta: &MetadataDelta) {
        if delta.brokers.is_empty() {
            return;
        }
        for handle in self.args.hosted.all() {
            let topic = image.topics.by_id(handle.topic_id);
            let partition = topic.and_then(|t| t.partition(handle.topic_partition.partition));
            if let (Some(topic), Some(partition)) = (topic, partition)
                && partition.leader == self.args.node.0
                && delta.brokers.iter().any(|id| partition.replicas.contains(id))
                && partition.replicas.len() > 1
            {
                let config = self.config_of(image, topic);
                tell(&handle, self.role_of(image, partition, &config)).await;
            }
        }
    }

    pub(super) fn role_of(
        &self,
        image: &MetadataImage,
        partition: &PartitionRegistration,
        config: &TopicConfig,
    ) -> Role {
        let node = self.args.node;
        let leader_epoch = LeaderEpoch(partition.leader_epoch);
        let partition_epoch = partition.partition_epoch;
        if partition.leader != node.0 {
            return Role::Follow { leader_epoch, partition_epoch };
        }
        let ids = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        let others = partition.replicas.iter().filter(|id| **id != node.0);
        let live = others.filter_map(|id| image.broker(*id).filter(|broker| !broker.fenced));
        Role::Lead(Leadership {
            node,
            leader_epoch,
            partition_epoch,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(1),
            live: live
                .map(|broker| LiveBroker {
                    id: NodeId(broker.id),
                    epoch: broker.epoch,
                    in_controlled_shutdown: broker.in_controlled_shutdown,
                })
                .collect(),
            max_lag: max_lag(&self.settings),
            pending: None,
        })
    }
}

/// `replica.lag.time.max.ms`.
pub(super) fn max_lag(settings: &Values) -> Duration {
    let ms = settings.long("replica.lag.time.max.ms").max(2);
    Duration::from_millis(ms.unsigned_abs())
}

/// Tells a replica its role, now and whenever it starts.
pub(super) async fn tell(handle: &PartitionHandle, role: Role) {
    handle.set_role(role.clone());
    let message = match role {
        Role::Lead(leadership) => PartitionMsg::Lead { leadership: Box::new(leadership) },
        Role::Follow { leader_epoch, partition_epoch } => {
            PartitionMsg::Follow { leader_epoch, partition_epoch }
        }
    };
    let _ = handle.address().send(message).await;
}

pub(super) fn led_with_followers(handle: &Arc<PartitionHandle>) -> bool {
    !handle.followers().is_empty()
}

pub(super) fn resolve(settings: &Values, image: &MetadataImage, topic: &str) -> TopicConfig {
    TopicConfig::resolve(settings, image.configs.of(&ConfigResource::topic(topic)))
}

/// While its actor is down, a replica refuses; when it is given up, it says why.
pub(super) fn follow_actor(handle: &PartitionHandle, change: &ChildChange) {
    match change {
        ChildChange::Restarting { .. } => handle.set_standing(Standing::Starting),
        ChildChange::Offline { cause } => {
            handle.set_standing(Standing::Offline { reason: cause.to_string() });
        }
        ChildChange::Spawned { .. } | ChildChange::Stopped { .. } => {}
    }
}

//! What clients are told of brokers, topics and partitions, from a metadata image and for the listener they came by.

use machines::metadata::{BrokerRegistration, MetadataImage, PartitionRegistration};
use model::ErrorCode;
use model::topic::validate_topic_name;

use super::leaders::Node;

/// Bits by the codes of operations: read, write, create, delete, alter, describe, describe and alter configurations.
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Create, alter, describe, cluster action, describe and alter configurations, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// Says that operations were not asked for.
pub(super) const OPERATIONS_OMITTED: i32 = i32::MIN;

/// An image as it looks from one listener.
pub(super) struct Topology<'a> {
    pub(super) image: &'a MetadataImage,
    pub(super) listener: &'a str,
}

impl<'a> Topology<'a> {
    pub(super) fn node(&self, broker: &BrokerRegistration) -> Option<Node> {
        let endpoint = broker.listener(self.listener)?;
        Some(Node {
            id: broker.id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
        })
    }

    /// Whom clients take for the controller: any broker that is alive, as all of them forward to it. This node spares them
    /// a connection.
    pub(super) fn controller_id(&self, this_node: i32) -> i32 {
        let alive = |id: &i32| self.image.broker(*id).is_some_and(|broker| !broker.fenced);
        let first = || self.image.alive_brokers().next().map(|broker| broker.id);
        Some(this_node).filter(alive).or_else(first).unwrap_or(-1)
    }

    fn is_reachable(&self, id: i32) -> bool {
        let broker = self.image.broker(id);
        broker.is_some_and(|broker| !broker.fenced && broker.listener(self.listener).is_some())
    }

    /// Those that can be reached, of replicas or the ISR.
    pub(super) fn reachable(&self, ids: &[i32]) -> Vec<i32> {
        ids.iter().copied().filter(|id| self.is_reachable(*id)).collect()
    }

    pub(super) fn offline_replicas(&self, partition: &PartitionRegistration) -> Vec<i32> {
        let offline = |id: &i32| {
            let in_lost_dir = || {
                let broker = self.image.broker(*id);
                let directory = partition.directory(*id);
                broker.zip(directory).is_some_and(|(broker, dir)| !broker.has_online_dir(dir))
            };
            !self.is_reachable(*id) || in_lost_dir()
        };
        partition.replicas.iter().copied().filter(offline).collect()
    }

    /// The leader, where it listens on this listener.
    pub(super) fn leader(&self, partition: &PartitionRegistration) -> Option<i32> {
        let broker = self.image.broker(partition.leader)?;
        broker.listener(self.listener).map(|_| partition.leader)
    }
}

/// What is said of a name that no topic has.
pub(super) fn missing(name: &str) -> ErrorCode {
    if validate_topic_name(name).is_ok() {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    }
}

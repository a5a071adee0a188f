//! A node as the simulation sees it from above.

use std::sync::Arc;

use machines::metadata::MetadataImage;
use model::{TopicPartition, Uuid};
use partitions::{PartitionHandle, Standing};

use crate::Node;

/// A running node: what it knows and holds, each time it is asked.
#[derive(Clone)]
pub struct View(pub(super) Arc<Node>);

/// Whom a node takes for the leader of the metadata log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumView {
    pub epoch: i32,
    pub leader: Option<i32>,
    /// Of the metadata log, as far as the node knows it; -1 before it does.
    pub high_watermark: i64,
    /// How many vote, by the newest of the metadata log that the node has.
    pub voters: usize,
}

/// A replica that may be looked at also when its node hosts it no more, or has ended: it is then as it was last.
#[derive(Debug, Clone)]
pub struct HeldReplica(Arc<PartitionHandle>);

/// One replica on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaView {
    pub topic_id: Uuid,
    pub leads: bool,
    /// -1 while its log is opened, or where that is not possible.
    pub leader_epoch: i32,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub high_watermark: i64,
}

impl View {
    /// The metadata log as this node has read it, which is committed up to there.
    pub fn metadata(&self) -> Arc<MetadataImage> {
        self.0.shared().images.get()
    }

    pub fn quorum(&self) -> QuorumView {
        let status = self.0.shared().raft_status.get();
        QuorumView {
            epoch: status.epoch,
            leader: status.leader_id,
            high_watermark: status.high_watermark,
            voters: status.voters,
        }
    }

    pub fn replica(&self, topic: &str, partition: i32) -> Option<ReplicaView> {
        self.hold(topic, partition).map(|replica| replica.view())
    }

    pub fn hold(&self, topic: &str, partition: i32) -> Option<HeldReplica> {
        self.0.shared().hosted.get(topic, partition).map(HeldReplica)
    }

    /// All replicas, sorted by topic and partition.
    pub fn replicas(&self) -> Vec<(TopicPartition, ReplicaView)> {
        let all = self.0.shared().hosted.all().into_iter();
        all.map(|handle| (handle.topic_partition.clone(), ReplicaView::of(&handle))).collect()
    }
}

impl HeldReplica {
    pub fn view(&self) -> ReplicaView {
        ReplicaView::of(&self.0)
    }
}

impl ReplicaView {
    fn of(handle: &PartitionHandle) -> ReplicaView {
        let (leads, leader_epoch) = match &*handle.standing() {
            Standing::Leader(serving) => (true, serving.leader_epoch.0),
            Standing::Follower(serving) => (false, serving.leader_epoch.0),
            Standing::Starting | Standing::Offline { .. } => (false, -1),
        };
        ReplicaView {
            topic_id: handle.topic_id,
            leads,
            leader_epoch,
            log_start_offset: handle.log_start_offset(),
            log_end_offset: handle.log_end_offset(),
            high_watermark: handle.high_watermark(),
        }
    }
}

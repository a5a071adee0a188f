//! Who fetches: a replica that follows, held to the leader's quota, or a consumer that a nearer replica may serve.
//!
//! Source: `ReplicaManager.shouldLeaderThrottle`, `findPreferredReadReplica`, `RackAwareReplicaSelector`; KIP-73, KIP-392.

use std::sync::Arc;
use std::time::Duration;

use machines::metadata::MetadataImage;
use model::settings::RACK_AWARE_SELECTOR;
use model::{LeaderEpoch, NodeId};
use partitions::{PartitionHandle, Throttle, names_replica};
use wire::FetchRequest;

use super::look::Looks;
use super::{REPLICA_STATE_SINCE, Target};
use crate::Broker;

/// The replica that fetches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    pub(super) id: NodeId,
    /// -1 where the version does not tell it.
    pub(super) broker_epoch: i64,
    /// The broker has registered anew since.
    pub(super) stale: bool,
}

impl Follower {
    pub(super) fn of(broker: &Broker, version: i16, request: &FetchRequest) -> Option<Follower> {
        let (id, broker_epoch) = match version {
            REPLICA_STATE_SINCE.. => {
                (request.replica_state.replica_id, request.replica_state.replica_epoch)
            }
            _ => (request.replica_id, -1),
        };
        if id < 0 {
            return None;
        }
        let image = broker.metadata.get();
        let now = image.broker(id).filter(|broker| !broker.fenced);
        let stale = broker_epoch != -1 && now.is_some_and(|now| now.epoch > broker_epoch);
        Some(Follower { id: NodeId(id), broker_epoch, stale })
    }

    /// One that is in sync is never held back: it would fall out of sync by that.
    pub(super) fn is_held_back(&self, broker: &Broker, handle: &PartitionHandle) -> bool {
        is_throttled(broker, handle)
            && !handle.is_in_sync(self.id)
            && !throttle(broker).wait(broker.world.mono()).is_zero()
    }

    /// What is sent of throttled partitions counts, also to those in sync.
    pub(super) fn count(&self, broker: &Broker, targets: &[Target], looks: &Looks) {
        let sent = |(target, bytes): (&Target, usize)| {
            let handle = target.handle.as_ref();
            handle.filter(|handle| bytes > 0 && is_throttled(broker, handle)).map(|_| bytes as u64)
        };
        let sizes = looks.each.iter().map(|look| look.slice.as_ref().map_or(0, |s| s.len));
        let bytes: u64 = targets.iter().zip(sizes).filter_map(sent).sum();
        if bytes > 0 {
            throttle(broker).used(bytes, broker.world.mono());
        }
    }
}

/// At the rate that is set at the moment.
fn throttle(broker: &Broker) -> &Throttle {
    let rate = broker.settings.get().long("leader.replication.throttled.rate");
    broker.leader_throttle.hold_to(rate as f64);
    &broker.leader_throttle
}

/// `leader.replication.throttled.replicas` of its topic names the leader.
fn is_throttled(broker: &Broker, handle: &PartitionHandle) -> bool {
    let config = handle.config();
    let named = &config.leader_replication_throttled_replicas;
    names_replica(named, handle.topic_partition.partition, broker.node)
}

/// Where a consumer is, and who is there.
#[derive(Debug, Clone)]
pub(super) struct Nearest {
    rack: String,
    listener: String,
    leader: NodeId,
    image: Arc<MetadataImage>,
}

impl Nearest {
    /// None where it is not to be looked for.
    pub(super) fn of(broker: &Broker, listener: &str, rack: &str) -> Option<Nearest> {
        let settings = broker.settings.get();
        let selector = settings.opt_text("replica.selector.class");
        if rack.is_empty() || selector != Some(RACK_AWARE_SELECTOR) {
            return None;
        }
        let (rack, listener) = (rack.to_owned(), listener.to_owned());
        Some(Nearest { rack, listener, leader: broker.node, image: broker.metadata.get() })
    }

    fn has(&self, id: NodeId) -> bool {
        let broker = self.image.broker(id.0).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| {
            broker.rack.as_deref() == Some(&self.rack) && broker.listener(&self.listener).is_some()
        })
    }

    /// The follower in the consumer's rack that has the offset and is caught up most; none where the leader is there too.
    pub(super) fn replica(
        &self,
        handle: &PartitionHandle,
        leader_epoch: LeaderEpoch,
        offset: i64,
        now: Duration,
    ) -> Option<NodeId> {
        if self.has(self.leader) {
            return None;
        }
        handle.most_caught_up(leader_epoch, offset, now, |id| self.has(id))
    }
}

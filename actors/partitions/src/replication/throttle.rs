//! What followers of throttled replicas take from all leaders together: `follower.replication.throttled.rate`.
//!
//! Source: `ReplicationQuotaManager`, `RemoteLeaderEndPoint.shouldFollowerThrottle`.

use std::sync::Arc;
use std::time::Duration;

use model::NodeId;
use model::settings::Values;
use runtime::Watch;

use crate::cleaner::{Throttle, names_replica};
use crate::handle::PartitionHandle;

#[derive(Clone)]
pub(super) struct FollowerThrottle {
    node: NodeId,
    settings: Watch<Values>,
    of_all: Arc<Throttle>,
}

impl FollowerThrottle {
    pub(super) fn new(node: NodeId, settings: Watch<Values>) -> FollowerThrottle {
        let of_all = Arc::new(Throttle::of_replication(&settings.get()));
        FollowerThrottle { node, settings, of_all }
    }

    /// At the rate that is set at the moment; none where `follower.replication.throttled.replicas` does not name the replica.
    fn of(&self, handle: &PartitionHandle) -> Option<&Throttle> {
        let config = handle.config();
        let named = &config.follower_replication_throttled_replicas;
        if !names_replica(named, handle.topic_partition.partition, self.node) {
            return None;
        }
        let rate = self.settings.get().long("follower.replication.throttled.rate");
        self.of_all.hold_to(rate as f64);
        Some(&self.of_all)
    }

    /// How long to wait before more is fetched for a replica that is not in sync.
    pub(super) fn wait(&self, handle: &PartitionHandle, now: Duration) -> Duration {
        self.of(handle).map_or(Duration::ZERO, |throttle| throttle.wait(now))
    }

    pub(super) fn took(&self, handle: &PartitionHandle, bytes: u64, now: Duration) {
        if bytes > 0
            && let Some(throttle) = self.of(handle)
        {
            throttle.used(bytes, now);
        }
    }
}

//! What the active controller hears of nodes: each, broker or controller, fetches the metadata log of its leader.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::quorum;
use super::text::ago;

/// Whoever lives fetches more often, and whose session has ended has not for longer.
const RECENT_MS: i64 = 1_500;
/// So many nodes are heard of.
const MOST_HEARD: usize = 10_000;

/// When a node was heard of last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// The active controller, by whose clock it is so long ago.
    by: i32,
    ago_ms: i64,
}

impl Heard {
    /// Of all nodes; none where the active controller does not say.
    pub(super) async fn ask(cluster: &Cluster) -> BTreeMap<i32, Heard> {
        let answer = cluster.ask_controller(&quorum::request()).await;
        let Some(Ok((partition, _))) = answer.ok().map(quorum::described) else {
            return BTreeMap::new();
        };
        let now_ms = quorum::leaders_clock(cluster, &partition);
        let replicas = partition.current_voters.iter().chain(&partition.observers);
        let fetched = replicas.filter(|replica| replica.last_fetch_timestamp > 0);
        let heard = fetched.take(MOST_HEARD).map(|replica| {
            let ago_ms = now_ms.saturating_sub(replica.last_fetch_timestamp).max(0);
            (replica.replica_id, Heard { by: partition.leader_id, ago_ms })
        });
        heard.collect()
    }

    pub(super) fn is_recent(self) -> bool {
        self.ago_ms <= RECENT_MS
    }

    pub(super) fn told(self) -> String {
        format!("node {}, the active controller, heard of it {}", self.by, ago(0, self.ago_ms))
    }
}

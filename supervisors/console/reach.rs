//! Where a cluster can be asked, for who knows the console of one of its nodes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use machines::metadata::MetadataImage;
use quorum::RaftStatus;
use runtime::Publisher;
use serde_json::{Value, json};

use super::Shown;
use crate::node::Node;

/// Where to begin: more brokers nobody tries.
const MOST_TOLD: usize = 16;

/// What is shown of one node.
pub(super) struct Reach {
    node: i32,
    cluster_id: String,
    /// Where clients connect; none of a controller, and of a listener on all addresses: to whoever asks from elsewhere that is another machine.
    own: Option<String>,
    /// By which brokers are told to reach each other.
    listener: String,
    images: Arc<Publisher<MetadataImage>>,
    raft: Arc<Publisher<RaftStatus>>,
}

impl Reach {
    pub(super) fn of(node: &Node) -> Reach {
        let shared = node.shared();
        Reach {
            node: shared.config.node_id.0,
            cluster_id: shared.cluster_id.clone(),
            own: shared
                .for_clients()
                .map(|bound| bound.address())
                .filter(|at| !at.ip().is_unspecified())
                .map(|at| at.to_string()),
            listener: shared.config.inter_broker_listener_name.clone(),
            images: shared.images.clone(),
            raft: shared.raft_status.clone(),
        }
    }

    fn told(&self) -> Value {
        let (image, raft) = (self.images.get(), self.raft.get());
        let brokers = image.alive_brokers().filter_map(|broker| broker.listener(&self.listener));
        let brokers = brokers.map(|at| format!("{}:{}", at.host, at.port));
        json!({
            "node": self.node,
            "cluster_id": self.cluster_id,
            "brokers": self.own.iter().cloned().chain(brokers).take(MOST_TOLD).collect::<Vec<_>>(),
            "leader_id": raft.leader_id,
            "unfound": raft.unfound,
            "voters": raft.voters,
        })
    }
}

/// Of each node of the process.
pub(super) async fn reach(State(shown): State<Arc<Shown>>) -> Json<Vec<Value>> {
    Json(shown.reach.iter().map(Reach::told).collect())
}

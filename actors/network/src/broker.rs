//! What the APIs of a node work with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use machines::fetch_session::FetchSessions;
use machines::metadata::MetadataImage;
use model::NodeId;
use model::settings::Values;
use partitions::{Hosted, LogDirs};
use runtime::{Watch, World};

use crate::connection::RequestMemory;

/// A fetch session that was not used for so long gives way to any other.
const SESSION_EVICTION_MS: i64 = 120_000;

/// Bounds on what connections may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub max_request_bytes: usize,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
    /// `queued.max.request.bytes`; all connections together.
    pub request_memory: u32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions: usize,
}

/// What a [`Broker`] is made of.
#[derive(Clone)]
pub struct BrokerParts {
    pub world: World,
    pub node: NodeId,
    pub cluster_id: String,
    pub limits: Limits,
    pub metadata: Watch<MetadataImage>,
    /// The node's settings, dynamic ones included.
    pub settings: Watch<Values>,
    pub hosted: Arc<Hosted>,
    pub log_dirs: LogDirs,
}

/// A node, as its APIs see it.
pub struct Broker {
    pub(crate) parts: BrokerParts,
    pub(crate) limits: Limits,
    pub(crate) memory: RequestMemory,
    pub(crate) sessions: Mutex<FetchSessions>,
}

impl Broker {
    pub fn new(parts: BrokerParts) -> Arc<Broker> {
        let limits = parts.limits.clone();
        let memory = RequestMemory::new(limits.request_memory);
        parts.world.registry().show_credits("request-memory", memory.credits());
        let sessions = FetchSessions::new(limits.fetch_sessions, SESSION_EVICTION_MS);
        Arc::new(Broker { limits, memory, sessions: Mutex::new(sessions), parts })
    }
}

impl std::ops::Deref for Broker {
    type Target = BrokerParts;

    fn deref(&self) -> &BrokerParts {
        &self.parts
    }
}

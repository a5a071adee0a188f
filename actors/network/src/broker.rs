//! What the APIs of a node work with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use coordinators::{Durables, Groups};
use machines::fetch_session::FetchSessions;
use machines::metadata::MetadataImage;
use model::NodeId;
use model::settings::Values;
use partitions::{Hosted, LogDirs, PartitionsMsg, Throttle};
use quorum::{ControllerHandle, QuorumHandle};
use runtime::{Address, Credits, RandomStream, Watch, World};
use wire::ListenerKind;

use crate::api::auto_create::UnderWay;
use crate::cold::ColdReads;
use crate::connection::{AnswerMemory, RequestMemory};
use crate::departed::Departed;
use crate::histories::Histories;
use crate::intercept::Interceptors;
use crate::producer_ids::{AllocateBlock, ProducerIds};
use crate::requests::RequestMetrics;
use crate::vigil::Vigil;

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
    pub request_memory: u64,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions: usize,
}

/// What a [`Broker`] is made of.
#[derive(Clone)]
pub struct BrokerParts {
    pub world: World,
    /// What it answers as: a node that is broker and controller has one of each, as Kafka has.
    pub role: ListenerKind,
    pub node: NodeId,
    pub cluster_id: String,
    /// `inter.broker.listener.name`: where brokers reach each other.
    pub inter_broker_listener: String,
    pub limits: Limits,
    pub metadata: Watch<MetadataImage>,
    pub quorum: QuorumHandle,
    /// The metadata offset up to which this node's replicas were started, told and removed.
    pub applied: Watch<i64>,
    /// The node's settings, dynamic ones included.
    pub settings: Watch<Values>,
    pub hosted: Arc<Hosted>,
    pub log_dirs: LogDirs,
    pub partitions: Address<PartitionsMsg>,
    /// For a broker the active controller, wherever that is; for a controller itself.
    pub controller: ControllerHandle,
    pub groups: Groups,
    pub durables: Durables,
    /// Of all listeners.
    pub requests: Arc<RequestMetrics>,
    pub interceptors: Interceptors,
    /// Asks the controller for this broker's next block of producer ids.
    pub producer_id_blocks: AllocateBlock,
}

/// The fetch sessions, and where their ids come from.
pub(crate) struct Sessions {
    pub(crate) table: FetchSessions,
    pub(crate) random: RandomStream,
}

/// A node, as its APIs see it.
pub struct Broker {
    pub(crate) parts: BrokerParts,
    pub(crate) limits: Limits,
    pub(crate) memory: RequestMemory,
    /// As much again for answers that are not read.
    pub(crate) answers: AnswerMemory,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) producer_ids: ProducerIds,
    /// For checking a batch that grows large when decompressed: one at a time.
    pub(crate) large_batches: Credits,
    /// For decoding a body whose values take much: one at a time.
    pub(crate) large_bodies: Credits,
    /// For building and encoding an answer that becomes large: one at a time.
    pub(crate) large_answers: Credits,
    pub(crate) histories: Arc<Histories>,
    /// What answers about the cluster may take together until they are encoded, in bytes.
    pub(crate) cluster_answers: Credits,
    /// What answers to requests that name much may take together until they are encoded, in bytes.
    pub(crate) named_answers: Credits,
    /// What the values of large bodies may take together, in bytes.
    pub(crate) decoded_memory: Credits,
    /// What the members of all groups may keep, in bytes.
    pub(crate) members_memory: Credits,
    /// What fetches may keep while they wait for records, in bytes.
    pub(crate) waiting_polls: Credits,
    /// What fetches may keep of what interceptors left them until it is on its way, in bytes.
    pub(crate) intercepted_fetches: Credits,
    /// What batches may take while interceptors see them, in bytes.
    pub(crate) intercepted_batches: Credits,
    pub(crate) cold_reads: ColdReads,
    pub(crate) departed: Departed,
    pub(crate) vigil: Vigil,
    /// `leader.replication.throttled.rate`.
    pub(crate) leader_throttle: Throttle,
    pub(crate) under_way: UnderWay,
}

impl Broker {
    pub fn new(parts: BrokerParts) -> Arc<Broker> {
        let limits = parts.limits.clone();
        let memory = RequestMemory::new(limits.request_memory);
        let answers = AnswerMemory::new(limits.request_memory);
        let [requests, decoded] = match parts.role {
            ListenerKind::Broker => ["request-memory", "decoded-memory"],
            ListenerKind::Controller => ["controller-request-memory", "controller-decoded-memory"],
        };
        parts.world.registry().show_credits(requests, memory.credits());
        let sessions = Mutex::new(Sessions {
            table: FetchSessions::new(limits.fetch_sessions, SESSION_EVICTION_MS),
            random: parts.world.random("fetch sessions"),
        });
        let producer_ids = ProducerIds::new(parts.producer_id_blocks.clone());
        let [large_batches, large_bodies, large_answers] = [(); 3].map(|()| Credits::new(1));
        let decoded_memory = Credits::new(limits.request_memory);
        parts.world.registry().show_credits(decoded, &decoded_memory);
        let cluster_answers = Credits::new(limits.request_memory);
        let named_answers = Credits::new(limits.request_memory);
        let waiting_polls = Credits::new(limits.request_memory);
        let members_memory = Credits::new(limits.request_memory);
        let intercepted_fetches = Credits::new(limits.request_memory);
        let intercepted_batches = Credits::new(limits.request_memory);
        if parts.role == ListenerKind::Broker {
            parts.world.registry().show_credits("waiting-polls", &waiting_polls);
            parts.world.registry().show_credits("cluster-answers", &cluster_answers);
            parts.world.registry().show_credits("named-answers", &named_answers);
            parts.world.registry().show_credits("members-memory", &members_memory);
            parts.world.registry().show_credits("intercepted-fetches", &intercepted_fetches);
            parts.world.registry().show_credits("intercepted-batches", &intercepted_batches);
        }
        Arc::new(Broker {
            limits,
            memory,
            answers,
            sessions,
            producer_ids,
            large_batches,
            large_bodies,
            large_answers,
            histories: Histories::new(),
            cluster_answers,
            named_answers,
            decoded_memory,
            members_memory,
            waiting_polls,
            intercepted_fetches,
            intercepted_batches,
            cold_reads: ColdReads::new(parts.world.clone()),
            departed: Departed::default(),
            vigil: Vigil::default(),
            leader_throttle: Throttle::of_replication(&parts.settings.get()),
            under_way: UnderWay::default(),
            parts,
        })
    }
}

impl Broker {
    pub fn parts(&self) -> &BrokerParts {
        &self.parts
    }
}

impl std::ops::Deref for Broker {
    type Target = BrokerParts;

    fn deref(&self) -> &BrokerParts {
        &self.parts
    }
}

//! The APIs that a broker answers: one file per key, and one table that dispatch and ApiVersions both read.

mod add_raft_voter;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod ask_durable;
mod assign_replicas_to_dirs;
pub(crate) mod auto_create;
mod begin_quorum_epoch;
mod broker_heartbeat;
mod broker_registration;
mod controller_registration;
mod create_partitions;
mod create_topics;
mod decode;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_causes;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod end_quorum_epoch;
mod envelope;
mod fetch;
mod fetch_snapshot;
mod find_coordinator;
mod forward;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod info;
mod init_producer_id;
mod join_group;
mod leaders;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod quorum;
mod remove_raft_voter;
mod resources;
mod room;
mod sync_group;
mod topology;
mod unregister_broker;
mod unregister_controller;
mod update_features;
mod update_raft_voter;
mod vote;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::quorum::Origin;
use bytes::Bytes;
use log::FileSlice;
use room::{Built, memory_for_named, names_many};
use runtime::{BoxFuture, Held, World};
use wire::{ApiKey, DecodeError, DefaultPrincipalData, EncodeError, Part, Reader, VersionRange};

use crate::Broker;
use crate::connection::{Answered, Outgoing, Pending};
pub(crate) use info::{ConnectionInfo, ListenerInfo};

/// One API: how a request becomes a response.
trait Api {
    type Request: wire::Request<Response: Send + Sync + 'static> + Send + 'static;

    /// How many things the request names, where it is a list: see [`too_many`].
    fn named(_request: &Self::Request) -> usize {
        0
    }

    /// Answers one request. Errors that concern parts of it are in the response.
    fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = <Self::Request as wire::Request>::Response> + Send + 'static;
}

/// What a request comes to.
enum Answer<R> {
    Response(R),
    /// With what it keeps of budgets until it is encoded.
    Built(R, Option<Held>),
    /// Its [`wire::Records::External`] are the slices at the index that their token names; last, see [`Outgoing::pins`].
    WithFiles(R, Vec<FileSlice>, usize),
    /// The client expects none.
    Nothing,
    /// Kafka answers by closing the connection.
    Close(String),
}

type Answering<R> = BoxFuture<'static, Answer<R>>;

/// An API in two stages: the first ends before the connection's next request begins, the second when the answer is known.
trait Staged {
    type Request: wire::Request<Response: Send + Sync + 'static> + Send + 'static;

    fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Answering<<Self::Request as wire::Request>::Response>> + Send;
}

impl<A: Api> Staged for A {
    type Request = A::Request;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: A::Request,
    ) -> Answering<<A::Request as wire::Request>::Response> {
        let named = A::named(&request);
        if let Some(why) = too_many(named) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        // The answer repeats the names: what accounts for them is kept with it.
        let names = names_many(named).then(|| (broker.clone(), cx.credit.clone()));
        let answer = A::handle(broker.clone(), cx, request);
        Box::pin(async move {
            let Some((broker, names)) = names else { return Answer::Response(answer.await) };
            let memory = memory_for_named(&broker, named).await;
            Answer::Built(answer.await, Some(Arc::new((names, memory))))
        })
    }
}

/// More partitions, topics, groups or other names than this in one request is nothing that a client of good will asks for.
const MAX_NAMED: usize = 200_000;

/// Why a request that names too much is not looked at.
fn too_many(named: usize) -> Option<String> {
    (named > MAX_NAMED)
        .then(|| format!("{named} things named in one request; at most {MAX_NAMED} are served"))
}

/// The answer of an API that must not grow without end.
fn bounded<R: Send + 'static>(
    answer: impl Future<Output = Result<Built<R>, room::TooLong>> + Send + 'static,
) -> Answering<R> {
    Box::pin(async move {
        match answer.await {
            Ok(Built { answer, alone }) => {
                Answer::Built(answer, alone.map(|alone| Arc::new(alone) as Held))
            }
            Err(too_long) => Answer::Close(too_long.to_string()),
        }
    })
}

macro_rules! table {
    ($($key:ident => $api:ty),+ $(,)?) => {
        /// The APIs that this build serves, in the order of their keys.
        const SERVED: &[ApiKey] = &[$(ApiKey::$key),+];

        async fn dispatch(broker: &Arc<Broker>, request: Request) -> Pending {
            match request.cx.key {
                $(ApiKey::$key => run::<$api>(broker, request).await,)+
                other => close(format!("{other} is not served")),
            }
        }
    };
}

table! {
    Produce => produce::Produce,
    Fetch => fetch::Fetch,
    ListOffsets => list_offsets::ListOffsets,
    Metadata => metadata::Metadata,
    OffsetCommit => offset_commit::OffsetCommit,
    OffsetFetch => offset_fetch::OffsetFetch,
    FindCoordinator => find_coordinator::FindCoordinator,
    JoinGroup => join_group::JoinGroup,
    Heartbeat => heartbeat::Heartbeat,
    LeaveGroup => leave_group::LeaveGroup,
    SyncGroup => sync_group::SyncGroup,
    DescribeGroups => describe_groups::DescribeGroups,
    ListGroups => list_groups::ListGroups,
    ApiVersions => api_versions::ApiVersions,
    CreateTopics => create_topics::CreateTopics,
    DeleteTopics => delete_topics::DeleteTopics,
    DeleteRecords => delete_records::DeleteRecords,
    InitProducerId => init_producer_id::InitProducerId,
    OffsetForLeaderEpoch => offset_for_leader_epoch::OffsetForLeaderEpoch,
    DescribeConfigs => describe_configs::DescribeConfigs,
    AlterConfigs => alter_configs::AlterConfigs,
    AlterReplicaLogDirs => alter_replica_log_dirs::AlterReplicaLogDirs,
    DescribeLogDirs => describe_log_dirs::DescribeLogDirs,
    CreatePartitions => create_partitions::CreatePartitions,
    DeleteGroups => delete_groups::DeleteGroups,
    ElectLeaders => elect_leaders::ElectLeaders,
    IncrementalAlterConfigs => incremental_alter_configs::IncrementalAlterConfigs,
    AlterPartitionReassignments => alter_partition_reassignments::AlterPartitionReassignments,
    ListPartitionReassignments => list_partition_reassignments::ListPartitionReassignments,
    OffsetDelete => offset_delete::OffsetDelete,
    Vote => vote::Vote,
    BeginQuorumEpoch => begin_quorum_epoch::BeginQuorumEpoch,
    EndQuorumEpoch => end_quorum_epoch::EndQuorumEpoch,
    DescribeQuorum => describe_quorum::DescribeQuorum,
    AlterPartition => alter_partition::AlterPartition,
    UpdateFeatures => update_features::UpdateFeatures,
    Envelope => envelope::Envelope,
    FetchSnapshot => fetch_snapshot::FetchSnapshot,
    DescribeCluster => describe_cluster::DescribeCluster,
    BrokerRegistration => broker_registration::BrokerRegistration,
    BrokerHeartbeat => broker_heartbeat::BrokerHeartbeat,
    UnregisterBroker => unregister_broker::UnregisterBroker,
    AllocateProducerIds => allocate_producer_ids::AllocateProducerIds,
    ControllerRegistration => controller_registration::ControllerRegistration,
    AssignReplicasToDirs => assign_replicas_to_dirs::AssignReplicasToDirs,
    DescribeTopicPartitions => describe_topic_partitions::DescribeTopicPartitions,
    AddRaftVoter => add_raft_voter::AddRaftVoter,
    RemoveRaftVoter => remove_raft_voter::RemoveRaftVoter,
    UpdateRaftVoter => update_raft_voter::UpdateRaftVoter,
    UnregisterController => unregister_controller::UnregisterController,
    AskDurable => ask_durable::AskDurable,
    DescribeCauses => describe_causes::DescribeCauses,
}

/// Begins a request. What must happen in the order of requests has happened when this returns.
pub(crate) async fn begin(broker: &Arc<Broker>, request: Request) -> Pending {
    dispatch(broker, request).await
}

async fn run<A: Staged>(broker: &Arc<Broker>, request: Request) -> Pending {
    let Request { mut cx, body } = request;
    let known = served(cx.key, cx.connection.listener.unstable_versions);
    if !known.is_some_and(|versions| versions.contains(cx.version)) {
        let answer = api_versions::unsupported_version();
        let encoded = wire::encode_response(&answer, 0, cx.correlation_id);
        return Box::pin(std::future::ready(respond(encoded, Vec::new(), 0)));
    }
    let decoded = decode::body::<A::Request>(broker, body.into_rest(), cx.version).await;
    let (decoded, memory) = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return close(format!("{}: {error}", cx.key)),
    };
    if let Some(memory) = memory {
        cx.credit = Arc::new((cx.credit, memory));
    }
    let (key, version, correlation_id) = (cx.key, cx.version, cx.correlation_id);
    let sent_on = key.is_forwardable().then(|| cx.connection.clone());
    let answer = A::begin(broker, cx, decoded).await;
    let world = broker.world.clone();
    Box::pin(async move {
        let answer = answer.await;
        if sent_on.is_some_and(|client| client.told_old_versions.load(Ordering::Relaxed)) {
            return Answered::Close(format!("the controller takes no {key} of version {version}"));
        }
        match answer {
            Answer::Response(response) => {
                respond(encoded(&world, response, version, correlation_id).await, Vec::new(), 0)
            }
            Answer::Built(response, held) => {
                let parts = encoded(&world, response, version, correlation_id).await;
                drop(held);
                respond(parts, Vec::new(), 0)
            }
            Answer::WithFiles(response, files, pins) => {
                respond(encoded(&world, response, version, correlation_id).await, files, pins)
            }
            Answer::Nothing => Answered::Nothing,
            Answer::Close(why) => Answered::Close(why),
        }
    })
}

fn close(why: String) -> Pending {
    Box::pin(std::future::ready(Answered::Close(why)))
}

/// So many bytes of a response are encoded on the connection's thread; a longer one on a blocking thread, from its start.
const ENCODED_IN_PLACE: usize = 256 << 10;

async fn encoded<R: wire::Response + Send + 'static>(
    world: &World,
    response: R,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Part>, EncodeError> {
    let in_place =
        wire::encode_response_within(&response, version, correlation_id, ENCODED_IN_PLACE);
    let Err(EncodeError::BeyondLimit { limit }) = in_place else { return in_place };
    let encode = move || wire::encode_response(&response, version, correlation_id);
    world.blocking("encode", encode).await.unwrap_or(Err(EncodeError::BeyondLimit { limit }))
}

fn respond(
    encoded: Result<Vec<Part>, EncodeError>,
    files: Vec<FileSlice>,
    pins: usize,
) -> Answered {
    match encoded {
        Ok(parts) => Answered::Response(Outgoing { parts, files, pins }),
        Err(error) => Answered::Close(format!("a response that cannot be encoded: {error}")),
    }
}

/// The versions of an API that this node serves; none where it does not.
fn served(key: ApiKey, unstable: bool) -> Option<VersionRange> {
    if !SERVED.contains(&key) {
        return None;
    }
    if unstable { Some(key.versions()) } else { key.stable_versions() }
}

/// What a handler knows of the request beside its body.
#[derive(Clone)]
pub(crate) struct RequestContext {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
    pub(crate) connection: Arc<ConnectionInfo>,
    /// The memory of the frame and of what was decoded from it: kept with slices of the frame, and with the request until
    /// it is answered, or waits for somebody else than the node.
    pub(crate) credit: Held,
    /// Of a request that came in an envelope.
    envelope: Option<Arc<AtomicBool>>,
}

impl RequestContext {
    /// Whether a broker sent it on, in the name of its client.
    fn is_enveloped(&self) -> bool {
        self.envelope.is_some()
    }

    /// In whose name it is sent on.
    fn origin(&self) -> Origin {
        Origin {
            client_id: self.client_id.clone(),
            correlation_id: self.correlation_id,
            version: self.key.is_forwardable().then_some(self.version),
            // Listeners are PLAINTEXT.
            principal: DefaultPrincipalData {
                r#type: "User".to_owned(),
                name: "ANONYMOUS".to_owned(),
                ..Default::default()
            },
            address: self.connection.peer.ip(),
        }
    }

    /// Whoever sent it on hears that this is not the active controller, and not from within the answer.
    fn note_not_controller(&self) {
        if let Some(not_controller) = &self.envelope {
            not_controller.store(true, Ordering::Relaxed);
        }
    }
}

/// A request whose header is read.
pub(crate) struct Request {
    cx: RequestContext,
    body: Reader,
}

/// A request that Kafka answers by closing the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Header(#[from] DecodeError),
    #[error("{key} is not served on listener {listener}")]
    NotServed { key: ApiKey, listener: String },
    #[error("{key} version {version} is not supported")]
    Version { key: ApiKey, version: i16 },
}

impl Request {
    pub(crate) fn decode(
        frame: Bytes,
        credit: Held,
        connection: &Arc<ConnectionInfo>,
    ) -> Result<Request, RequestError> {
        let mut body = Reader::new(frame);
        let (key, header) = wire::decode_request_header(&mut body)?;
        let listener = &connection.listener;
        let Some(versions) = served(key, listener.unstable_versions)
            .filter(|_| key.listeners().contains(&listener.kind))
        else {
            return Err(RequestError::NotServed { key, listener: listener.name.clone() });
        };
        let version = header.request_api_version;
        // ApiVersions answers a version it does not know, so that a newer client can go on with an older one.
        if !versions.contains(version) && key != ApiKey::ApiVersions {
            return Err(RequestError::Version { key, version });
        }
        let cx = RequestContext {
            key,
            version,
            correlation_id: header.correlation_id,
            client_id: header.client_id,
            connection: connection.clone(),
            credit,
            envelope: None,
        };
        Ok(Request { cx, body })
    }

    pub(crate) fn key(&self) -> (ApiKey, i16) {
        (self.cx.key, self.cx.version)
    }

    pub(crate) fn client_id(&self) -> &str {
        self.cx.client_id.as_deref().unwrap_or_default()
    }

    pub(crate) fn may_overlap(&self) -> bool {
        matches!(self.cx.key, ApiKey::Produce | ApiKey::AskDurable)
    }
}

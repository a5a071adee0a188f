//! Fetch, API key 1.
//!
//! Versions: 4–18 (v7 sessions, v9 leader epochs, v11 any in-sync replica, v12 divergence, v13 topic ids, v16 the current leader).
//! A fetch waits where there is less than `min_bytes`; records leave as slices of the log's files.
//! On a controller's listener there is the metadata log alone, and raft answers.
//! Source: `KafkaApis.handleFetchRequest`, `ReplicaManager.fetchMessages`, `DelayedFetch`, `FetchManager`.

mod intercepted;
mod look;
mod poll;
mod replica;
mod respond;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use machines::fetch_session::{FetchPartition, TopicKey};
use model::ErrorCode;
use partitions::{Isolation, PartitionHandle, ReadFrom};
use wire::{FetchRequest, FetchResponse, ListenerKind};

use super::leaders::{TopicRef, find};
use super::{Answer, Answering, RequestContext, Staged, quorum, too_many};
use crate::Broker;
use replica::{Follower, Nearest};

/// From this version on a consumer names its rack and may read from followers.
const ANY_REPLICA_SINCE: i16 = 11;
pub(super) const TOPIC_IDS_SINCE: i16 = 13;
/// From this version on the replica's id is in `replica_state`.
const REPLICA_STATE_SINCE: i16 = 15;

pub(crate) struct Fetch;

/// What holds for all partitions of a fetch.
#[derive(Debug, Clone)]
struct Params {
    isolation: Isolation,
    from: ReadFrom,
    follower: Option<Follower>,
    /// For a consumer that tells where it is.
    nearest: Option<Nearest>,
    max_bytes: usize,
    min_bytes: usize,
    max_wait: Duration,
}

/// A partition that a fetch asks for, and its replica here.
struct Target {
    wanted: FetchPartition,
    handle: Option<Arc<PartitionHandle>>,
    error: ErrorCode,
}

impl Staged for Fetch {
    type Request = FetchRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: FetchRequest,
    ) -> Answering<FetchResponse> {
        cx.connection.fetches_as(replica_id(cx.version, &request));
        if broker.role == ListenerKind::Controller {
            return quorum::ask(broker, cx, request);
        }
        Box::pin(serve(broker.clone(), cx, request))
    }
}

async fn serve(
    broker: Arc<Broker>,
    cx: RequestContext,
    request: FetchRequest,
) -> Answer<FetchResponse> {
    let asked = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let forgotten = request.forgotten_topics_data.iter().map(|t| t.partitions.len()).sum();
    if let Some(why) = too_many(asked).or_else(|| too_many(forgotten)) {
        return Answer::Close(why);
    }
    let params = Params::of(&broker, &cx.connection.listener.name, cx.version, &request);
    let mut session = match sessions::begin(&broker, cx.version, request) {
        Ok(begun) => begun,
        Err(error) => {
            return Answer::Response(FetchResponse {
                error_code: error.code(),
                ..Default::default()
            });
        }
    };
    let wanted = std::mem::take(&mut session.partitions);
    let targets: Vec<Target> =
        wanted.into_iter().map(|wanted| Target::find(&broker, wanted)).collect();
    targets.iter().filter_map(|target| target.handle.as_ref()).for_each(|handle| {
        handle.traffic().fetched.add(1);
    });
    let RequestContext { version, connection, credit, client_id, .. } = cx;
    let mut looks =
        poll::poll(&broker, &params, &targets, credit, &connection.listener.cold_reads).await;
    let kept = match &params.follower {
        Some(follower) => {
            follower.count(&broker, &targets, &looks);
            None
        }
        None if broker.interceptors.any() => {
            let (broker, params) = (&broker, &params);
            let cold_reads = &connection.listener.cold_reads;
            let passing = intercepted::Fetched { broker, params, client_id, cold_reads };
            Box::pin(passing.pass(&targets, &mut looks)).await
        }
        None => None,
    };
    let answer =
        respond::Responding { broker: &broker, version, listener: &connection.listener.name }
            .respond(&params, session, targets, looks);
    // From here on it is among the answers that wait to be read.
    drop(kept);
    answer
}

impl Params {
    fn of(broker: &Broker, listener: &str, version: i16, request: &FetchRequest) -> Params {
        let follower = Follower::of(broker, version, request);
        let cap = broker.settings.get().int("fetch.max.bytes");
        let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let max_bytes = size(request.max_bytes.min(cap));
        Params {
            isolation: match (follower, request.isolation_level) {
                (Some(_), _) => Isolation::LogEnd,
                (None, 1) => Isolation::Committed,
                (None, _) => Isolation::Uncommitted,
            },
            from: if follower.is_some() || version < ANY_REPLICA_SINCE {
                ReadFrom::Leader
            } else {
                ReadFrom::AnyReplica
            },
            nearest: match follower {
                None if version >= ANY_REPLICA_SINCE => {
                    Nearest::of(broker, listener, &request.rack_id)
                }
                _ => None,
            },
            follower,
            max_bytes,
            min_bytes: size(request.min_bytes).min(max_bytes),
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        }
    }
}

impl Target {
    fn find(broker: &Broker, wanted: FetchPartition) -> Target {
        match find(broker, topic_ref(&wanted.key.topic), wanted.key.partition) {
            Ok(handle) => Target { wanted, handle: Some(handle), error: ErrorCode::None },
            Err(not_here) => Target { wanted, handle: None, error: not_here.code() },
        }
    }

    /// Not in the metadata: it is answered, but no reason to answer at once.
    fn is_unknown(&self) -> bool {
        matches!(self.error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
    }
}

/// -1 of a consumer.
fn replica_id(version: i16, request: &FetchRequest) -> i32 {
    match version {
        REPLICA_STATE_SINCE.. => request.replica_state.replica_id,
        _ => request.replica_id,
    }
}

fn topic_ref(topic: &TopicKey) -> TopicRef<'_> {
    match topic {
        TopicKey::Name(name) => TopicRef::Name(name),
        TopicKey::Id(id) => TopicRef::Id(*id),
    }
}

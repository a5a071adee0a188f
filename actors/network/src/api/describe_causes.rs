//! DescribeCauses, API key 20001: Ottla's own, which no client is told of.
//!
//! Versions: 0.
//! Source: none; `ottla explain` asks it of each node that has to do with what it explains.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::quorum::{BrokerSince, History, PartitionKey, PartitionSince};
use log::OldestSegment;
use machines::groups::{GroupReply, GroupRequest};
use model::{ErrorCode, Now};
use partitions::{OpenTransaction, PartitionHandle, PartitionMsg, Standing};
use runtime::{ActorTree, JobQueue};
use wire::describe_causes_response::{
    BrokerHistory, CausesActor, CausesFollower, CausesGroup, CausesLog, CausesLogDir,
    CausesReplica, OutOfSync, PartitionHistory, UncleanableLog,
};
use wire::{DescribeCausesRequest, DescribeCausesResponse};

use super::groups::other_reply;
use super::{Answer, Answering, RequestContext, Staged};
use crate::Broker;

/// So many partitions are told of at once, and so many actors.
const MOST_PARTITIONS: usize = 1_000;
const MOST_ACTORS: usize = 100;
const MOST_UNCLEANABLE: usize = 100;
/// The beginnings of so many logs are read, each within this time.
const MOST_LOGS: usize = 5;
const LOG_LIMIT: Duration = Duration::from_millis(500);
/// For the metadata log to be found and read: who asks waits little longer for all.
const HISTORY_LIMIT: Duration = Duration::from_secs(3);

pub(crate) struct DescribeCauses;

impl Staged for DescribeCauses {
    type Request = DescribeCausesRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: DescribeCausesRequest,
    ) -> Answering<DescribeCausesResponse> {
        let named: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if named > MOST_PARTITIONS {
            let why = format!("{named} partitions; at most {MOST_PARTITIONS}");
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let broker = broker.clone();
        Box::pin(async move {
            let topics = request.topics.iter();
            let keys = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, *p)));
            let keys = keys.collect();
            let mut response = answer(&broker, keys, request.history).await;
            if request.logs {
                logs(&broker, &mut response.replicas).await;
            }
            if let Some(group_id) = request.group {
                response.groups.push(group(&broker, &cx, group_id).await);
            }
            Answer::Response(response)
        })
    }
}

async fn answer(
    broker: &Arc<Broker>,
    keys: BTreeSet<PartitionKey>,
    history: bool,
) -> DescribeCausesResponse {
    let turn = broker.causes.take(1).await;
    let (looked, of) = (broker.clone(), keys.clone());
    let look = move || {
        let looked = looks(&looked, &of);
        drop(turn);
        looked
    };
    let Ok(mut response) = broker.world.blocking("causes", look).await else {
        let error_code = ErrorCode::UnknownServerError.code();
        return DescribeCausesResponse { error_code, ..Default::default() };
    };
    if history {
        match broker.world.timeout(HISTORY_LIMIT, read_history(broker, keys)).await {
            Ok(Some(history)) => tell(history, &mut response),
            Ok(None) | Err(_) => response.error_code = ErrorCode::RequestTimedOut.code(),
        }
    }
    response
}

async fn group(broker: &Broker, cx: &RequestContext, group_id: String) -> CausesGroup {
    let groups = broker.groups.holding(cx.credit.clone());
    let request = GroupRequest::Causes { group_id: group_id.clone() };
    let mut told = match groups.ask(&group_id, request).await {
        GroupReply::Causes(told) => *told,
        _ => CausesGroup { error_code: other_reply(), ..Default::default() },
    };
    if told.error_code != 0 {
        told.reason = groups.failure(&group_id);
    }
    told
}

/// All but the history and the group.
fn looks(broker: &Broker, keys: &BTreeSet<PartitionKey>) -> DescribeCausesResponse {
    let (status, now) = (broker.quorum.status(), broker.world.now());
    DescribeCausesResponse {
        node_id: broker.node.0,
        now_ms: now.wall_ms,
        leader_id: status.leader_id.unwrap_or(-1),
        leader_epoch: status.epoch,
        voter_count: i32::try_from(status.voters).unwrap_or(i32::MAX),
        unfound: status.unfound.clone(),
        history_from_ms: -1,
        log_dirs: broker
            .log_dirs
            .0
            .iter()
            .map(|dir| CausesLogDir {
                path: dir.absolute_path().to_owned(),
                directory_id: dir.id,
                failure: dir.failure().map(str::to_owned),
                ..Default::default()
            })
            .collect(),
        replicas: keys
            .iter()
            .filter_map(|(topic, partition)| {
                Some(replica(&*broker.hosted.get_by_id(*topic, *partition)?, now))
            })
            .collect(),
        uncleanable: uncleanable(broker),
        actors: unusual(&broker.world.registry().tree()),
        ..Default::default()
    }
}

/// Reads a little of each; their disks may hang.
async fn logs(broker: &Broker, replicas: &mut [CausesReplica]) {
    for replica in replicas.iter_mut().take(MOST_LOGS) {
        let found = broker.hosted.get_by_id(replica.topic_id, replica.partition_index);
        let found = found.and_then(|handle| Some((handle.view()?, handle)));
        let Some((view, handle)) = found else { continue };
        let (dir, queue) = (handle.log_dir(), handle.log_dir().queue().clone());
        let look = move || view.oldest_segment(&**dir.disk()).map(|oldest| (oldest, view.size()));
        let looked = broker.world.blocking_in(&queue, "oldest segment", look);
        let failure = match broker.world.timeout(LOG_LIMIT, looked).await {
            Ok(Ok(Ok((oldest, bytes)))) => {
                let open = broker.world.timeout(LOG_LIMIT, open_transaction(&handle)).await;
                let open = open.ok().flatten();
                replica.logs.push(log(broker, &handle, (oldest, bytes), open));
                continue;
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(lost)) => lost.to_string(),
            Err(_) => format!("its disk does not answer within {LOG_LIMIT:?}"),
        };
        replica.logs.push(CausesLog { failure: Some(failure), ..Default::default() });
    }
}

/// Where nothing is held, or its actor is busy, none.
async fn open_transaction(handle: &PartitionHandle) -> Option<OpenTransaction> {
    if handle.last_stable_offset() >= handle.high_watermark() {
        return None;
    }
    let ask = |reply| PartitionMsg::FirstTransaction { reply: Box::new(reply) };
    handle.address().ask(LOG_LIMIT, ask).await.ok().flatten()
}

fn log(
    broker: &Broker,
    handle: &PartitionHandle,
    (oldest, bytes): (OldestSegment, u64),
    open: Option<OpenTransaction>,
) -> CausesLog {
    let config = handle.config();
    let (ms, size) =
        (|ms: Option<i64>| ms.unwrap_or(-1), |of| i64::try_from(of).unwrap_or(i64::MAX));
    CausesLog {
        failure: None,
        start_offset: handle.log_start_offset(),
        high_watermark: handle.high_watermark(),
        last_stable_offset: handle.last_stable_offset(),
        producer_id: open.map_or(-1, |open| open.producer_id),
        producer_epoch: open.map_or(-1, |open| open.producer_epoch),
        first_offset: open.map_or(-1, |open| open.first_offset),
        last_timestamp_ms: open.map_or(-1, |open| open.last_timestamp),
        bytes: size(bytes),
        base_offset: oldest.base,
        upper_offset: oldest.upper,
        segment_bytes: size(oldest.size),
        is_last: oldest.is_last,
        first_ms: ms(oldest.first_ms),
        newest_ms: ms(oldest.newest_ms),
        by_file: oldest.by_file,
        deletes: config.cleanup_policy.delete,
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        looks_ms: broker.settings.get().long("log.retention.check.interval.ms"),
        ..Default::default()
    }
}

fn uncleanable(broker: &Broker) -> Vec<UncleanableLog> {
    let all = broker.hosted.all().into_iter();
    let found = all.filter_map(|handle| {
        let trouble = handle.uncleanable()?;
        Some(UncleanableLog {
            topic: handle.topic_partition.topic.clone(),
            partition_index: handle.topic_partition.partition,
            log_dir: handle.log_dir().absolute_path().to_owned(),
            reason: trouble.why.clone(),
            since_ms: trouble.since_ms,
            ..Default::default()
        })
    });
    found.take(MOST_UNCLEANABLE).collect()
}

/// Its disk may hang: that holds up who asks for this, and nobody else.
async fn read_history(broker: &Broker, keys: BTreeSet<PartitionKey>) -> Option<History> {
    let place = broker.quorum.look(HISTORY_LIMIT).await?;
    let turn = broker.histories.take(1).await;
    let queue = JobQueue::new("metadata history");
    let read = move || {
        let read = place.history(&keys);
        drop(turn);
        read
    };
    let read = broker.world.blocking_in(&queue, "metadata history", read).await.ok()?;
    read.inspect_err(|error| tracing::warn!(%error, "the metadata log's past is not told")).ok()
}

fn tell(history: History, response: &mut DescribeCausesResponse) {
    let ms = |at: Option<i64>| at.unwrap_or(-1);
    response.history_from_ms = ms(history.from);
    let broker = |(broker_id, since): (i32, BrokerSince)| BrokerHistory {
        broker_id,
        registered_ms: ms(since.registered),
        fenced_ms: ms(since.fenced),
        stopping_ms: ms(since.stopping),
        unregistered_ms: ms(since.unregistered),
        ..Default::default()
    };
    response.brokers = history.brokers.into_iter().map(broker).collect();
    let partition = |((topic_id, partition_index), since): (PartitionKey, PartitionSince)| {
        let out = since.out.iter().map(|(broker_id, out)| OutOfSync {
            broker_id: *broker_id,
            since_ms: out.since,
            by_leader: out.by_leader.unwrap_or(-1),
            ..Default::default()
        });
        PartitionHistory {
            topic_id,
            partition_index,
            leader_ms: since.leader,
            reassigning_ms: ms(since.reassigning),
            out_of_sync: out.collect(),
            ..Default::default()
        }
    };
    response.partitions = history.partitions.into_iter().map(partition).collect();
}

fn replica(handle: &PartitionHandle, now: Now) -> CausesReplica {
    let ago = |ago: Duration| match i64::try_from(ago.as_millis()) {
        Ok(ago) => now.wall_ms - ago,
        // Never, as far as this leader knows.
        Err(_) => -1,
    };
    let (state, reason) = match &*handle.standing() {
        Standing::Starting => ("starting", None),
        Standing::Leader(_) => ("leader", None),
        Standing::Follower(_) => ("follower", None),
        Standing::Offline { reason } => ("offline", Some(reason.clone())),
    };
    let trouble = handle.trouble();
    let follower =
        |(id, known): (model::NodeId, machines::partition::ReplicaState)| CausesFollower {
            broker_id: id.0,
            end_offset: known.log_end_offset,
            fetched_ms: known.since_fetched(now.mono).map_or(-1, ago),
            caught_up_ms: ago(known.since_caught_up(now.mono)),
            ..Default::default()
        };
    CausesReplica {
        topic_id: handle.topic_id,
        partition_index: handle.topic_partition.partition,
        state: state.to_owned(),
        reason,
        end_offset: handle.log_end_offset(),
        log_dir: handle.log_dir().absolute_path().to_owned(),
        trouble_ms: trouble.as_ref().map_or(-1, |trouble| trouble.since_ms),
        trouble: trouble.map(|trouble| trouble.why.clone()),
        followers: handle.known_followers().into_iter().map(follower).collect(),
        ..Default::default()
    }
}

/// Those that do not run as they should, the first of them.
fn unusual(forest: &[ActorTree]) -> Vec<CausesActor> {
    let mut found = Vec::new();
    let mut left: Vec<&ActorTree> = forest.iter().rev().collect();
    while let Some(actor) = left.pop() {
        if found.len() == MOST_ACTORS {
            break;
        }
        if let Some(what) = trouble_of(actor) {
            found.push(CausesActor { path: actor.path.clone(), what, ..Default::default() });
        }
        left.extend(actor.children.iter().rev());
    }
    found
}

fn trouble_of(actor: &ActorTree) -> Option<String> {
    if let Some(fault) = &actor.fault {
        return Some(format!("a fault is set on it: {fault}"));
    }
    let failed = || actor.last_failure.as_deref().unwrap_or("for no reason that is known");
    match actor.status.as_str() {
        "running" if actor.stuck => {
            let message = actor.in_hand.as_deref().unwrap_or("a message");
            Some(format!("has had {message} in hand for {} ms", actor.in_hand_ms))
        }
        "running" => None,
        status => Some(format!("is {status}: {}", failed())),
    }
}

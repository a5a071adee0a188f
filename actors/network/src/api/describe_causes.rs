//! DescribeCauses, API key 20001: Ottla's own, which no client is told of.
//!
//! Versions: 0.
//! Source: none; `ottla explain` asks it of each node that has to do with what it explains.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::quorum::{BrokerSince, History, PartitionKey, PartitionSince};
use log::{LogView, OldestSegment};
use machines::groups::{GroupReply, GroupRequest};
use model::{ErrorCode, Now};
use partitions::{OpenTransaction, PartitionHandle, PartitionMsg, Standing};
use runtime::Unusual;
use wire::batch::NO_TIMESTAMP;
use wire::describe_causes_response::{
    BrokerHistory, CausesActor, CausesFollower, CausesGroup, CausesLog, CausesLogDir,
    CausesReplica, OutOfSync, PartitionHistory, UncleanableLog,
};
use wire::{DescribeCausesRequest, DescribeCausesResponse};

use super::groups::other_reply;
use super::{Answer, Answering, RequestContext, Staged};
use crate::Broker;

/// So many partitions are told of at once, of their actors so many, and as many others.
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
            let keys: BTreeSet<PartitionKey> = keys.collect();
            let mut response = looks(&broker, &keys);
            if request.history {
                read_history(&broker, &keys, &mut response).await;
            }
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
        actors: unusual(broker, keys),
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
        let of = view.clone();
        let look = move || of.oldest_segment(&**dir.disk()).map(|oldest| (oldest, of.size()));
        let looked = broker.world.blocking_in(&queue, "oldest segment", look);
        let failure = match broker.world.timeout(LOG_LIMIT, looked).await {
            Ok(Ok(Ok((oldest, bytes)))) => {
                let mut log = log(broker, &handle, (oldest, bytes));
                hold(broker, &handle, view, &mut log).await;
                replica.logs.push(log);
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

/// Tells of the transaction that holds the last stable offset, where one does.
async fn hold(broker: &Broker, handle: &PartitionHandle, view: Arc<LogView>, log: &mut CausesLog) {
    let open = broker.world.timeout(LOG_LIMIT, open_transaction(handle)).await;
    let Some(open) = open.ok().flatten() else { return };
    log.producer_id = open.producer_id;
    log.producer_epoch = open.producer_epoch;
    log.first_offset = open.first_offset;
    log.last_timestamp_ms = open.last_timestamp;
    let first = move || {
        let mut begun_ms = None;
        let read = view.batches_from(open.first_offset).for_each_header(|header| {
            begun_ms = Some(header.base_timestamp).filter(|ms| *ms != NO_TIMESTAMP);
            false
        });
        read.ok().and(begun_ms)
    };
    let (dir, name) = (handle.log_dir(), "beginning of a transaction");
    let looked = broker.world.blocking_in(dir.queue(), name, first);
    let begun_ms = broker.world.timeout(LOG_LIMIT, looked).await;
    log.begun_ms = begun_ms.ok().and_then(Result::ok).flatten().unwrap_or(-1);
}

fn log(
    broker: &Broker,
    handle: &PartitionHandle,
    (oldest, bytes): (OldestSegment, u64),
) -> CausesLog {
    let config = handle.config();
    let (ms, size) =
        (|ms: Option<i64>| ms.unwrap_or(-1), |of| i64::try_from(of).unwrap_or(i64::MAX));
    CausesLog {
        failure: None,
        start_offset: handle.log_start_offset(),
        high_watermark: handle.high_watermark(),
        last_stable_offset: handle.last_stable_offset(),
        producer_id: -1,
        begun_ms: -1,
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
        looked_ms: handle.looked_at_retention_ms(),
        looks_ms: broker.settings.get().long("log.retention.check.interval.ms"),
        ..Default::default()
    }
}

fn uncleanable(broker: &Broker) -> Vec<UncleanableLog> {
    let dirs = broker.log_dirs.0.iter();
    let found = dirs.flat_map(|dir| {
        let logs = dir.uncleanable.first(MOST_UNCLEANABLE).into_iter();
        logs.map(|(log, given_up)| UncleanableLog {
            topic: log.topic,
            partition_index: log.partition,
            log_dir: dir.absolute_path().to_owned(),
            reason: given_up.why,
            since_ms: given_up.since_ms,
            ..Default::default()
        })
    });
    found.take(MOST_UNCLEANABLE).collect()
}

async fn read_history(
    broker: &Broker,
    keys: &BTreeSet<PartitionKey>,
    response: &mut DescribeCausesResponse,
) {
    let place = async {
        let place = broker.quorum.look(HISTORY_LIMIT).await?;
        Some(move |keys: &BTreeSet<PartitionKey>| place.history(keys))
    };
    let now = || broker.metadata.get().provenance.offset;
    let read = broker.histories.of(&broker.world, keys, now, place);
    match broker.world.timeout(HISTORY_LIMIT, read).await {
        Ok(Some(history)) => tell(&history, keys, response),
        Ok(None) | Err(_) => response.error_code = ErrorCode::RequestTimedOut.code(),
    }
}

fn tell(history: &History, keys: &BTreeSet<PartitionKey>, response: &mut DescribeCausesResponse) {
    let ms = |at: Option<i64>| at.unwrap_or(-1);
    response.history_from_ms = ms(history.from);
    let broker = |(broker_id, since): (&i32, &BrokerSince)| BrokerHistory {
        broker_id: *broker_id,
        registered_ms: ms(since.registered),
        fenced_ms: ms(since.fenced),
        stopping_ms: ms(since.stopping),
        unregistered_ms: ms(since.unregistered),
        ..Default::default()
    };
    response.brokers = history.brokers.iter().map(broker).collect();
    let partition = |((topic_id, partition_index), since): (&PartitionKey, &PartitionSince)| {
        let out = since.out.iter().map(|(broker_id, out)| OutOfSync {
            broker_id: *broker_id,
            since_ms: out.since,
            by_leader: out.by_leader.unwrap_or(-1),
            ..Default::default()
        });
        PartitionHistory {
            topic_id: *topic_id,
            partition_index: *partition_index,
            leader_ms: since.leader,
            reassigning_ms: ms(since.reassigning),
            out_of_sync: out.collect(),
            ..Default::default()
        }
    };
    let asked = history.partitions.iter().filter(|(key, _)| keys.contains(key));
    response.partitions = asked.map(partition).collect();
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

/// Those that do not run as they should: first of the actors of these partitions.
fn unusual(broker: &Broker, keys: &BTreeSet<PartitionKey>) -> Vec<CausesActor> {
    let hosted = keys.iter().filter_map(|(topic, partition)| {
        broker.hosted.get_by_id(*topic, *partition)?.address().path()
    });
    let hosted: Vec<_> = hosted.collect();
    let found = broker.world.registry().unusual(&hosted, MOST_ACTORS);
    let actor =
        |Unusual { path, what }| CausesActor { path: path.to_string(), what, ..Default::default() };
    found.into_iter().map(actor).collect()
}

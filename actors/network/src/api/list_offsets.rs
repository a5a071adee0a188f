//! ListOffsets, API key 2.
//!
//! Versions: 1–11 (v2 isolation, v4 leader epochs, v5 OFFSET_NOT_AVAILABLE, v7 the largest timestamp, v8, v9 and v11 tiered storage).
//! Source: `ReplicaManager.fetchOffset`, `Partition.fetchOffsetForTimestamp`, `UnifiedLog.fetchOffsetByTimestamp`.
//! Without tiered storage the earliest local offset is the log's start, and nothing is tiered or waits to be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use log::TimestampOffset;
use model::{ErrorCode, LeaderEpoch};
use partitions::{Isolation, NotServed, ReadFrom, Readable, read_error_code};
use runtime::JobQueue;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::{ListOffsetsRequest, ListOffsetsResponse};

use super::leaders::{NotHere, TopicRef, find};
use super::room::Turns;
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

const CONSUMER: i32 = -1;
/// Asks any replica, and sees to the end of its log.
const DEBUGGER: i32 = -2;
/// From this version on clients know OFFSET_NOT_AVAILABLE.
const NOT_AVAILABLE_SINCE: i16 = 5;

pub(crate) struct ListOffsets;

/// What a timestamp asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Latest,
    Earliest,
    /// The end of what is tiered, or the begin of what waits to be.
    Tiered,
    MaxTimestamp,
    At(i64),
}

impl Wanted {
    /// None where the version does not have it.
    fn of(timestamp: i64, version: i16) -> Option<Wanted> {
        match (timestamp, version) {
            (0.., _) => Some(Wanted::At(timestamp)),
            (-1, _) => Some(Wanted::Latest),
            (-2, _) | (-4, 8..) => Some(Wanted::Earliest),
            (-3, 7..) => Some(Wanted::MaxTimestamp),
            (-5, 9..) | (-6, 11..) => Some(Wanted::Tiered),
            _ => None,
        }
    }
}

/// Why there is no offset.
#[derive(Debug, Clone, thiserror::Error)]
enum Refusal {
    #[error("the partition is named twice")]
    Duplicate,
    #[error("the version does not have this timestamp")]
    Version,
    #[error(transparent)]
    NotHere(#[from] NotHere),
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error(transparent)]
    Read(#[from] log::ReadError),
    #[error("the log's owner was lost")]
    JobLost(#[from] runtime::JobLost),
    #[error("the new leader has not yet learned how far the log is committed")]
    NotAvailable,
}

impl Refusal {
    fn code(&self, version: i16) -> ErrorCode {
        match self {
            Refusal::Duplicate => ErrorCode::InvalidRequest,
            Refusal::Version => ErrorCode::UnsupportedVersion,
            Refusal::NotHere(not_here) => not_here.code(),
            Refusal::NotServed(not_served) => not_served.code(),
            Refusal::Read(error) => read_error_code(error),
            Refusal::JobLost(_) => ErrorCode::UnknownServerError,
            Refusal::NotAvailable if version < NOT_AVAILABLE_SINCE => ErrorCode::LeaderNotAvailable,
            Refusal::NotAvailable => ErrorCode::OffsetNotAvailable,
        }
    }
}

/// What holds for all partitions.
#[derive(Debug, Clone, Copy)]
struct Params {
    version: i16,
    isolation: Isolation,
    from: ReadFrom,
}

impl Staged for ListOffsets {
    type Request = ListOffsetsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: ListOffsetsRequest,
    ) -> Answering<ListOffsetsResponse> {
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if let Some(why) = too_many(count) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let params = Params {
            version: cx.version,
            isolation: match (request.replica_id, request.isolation_level) {
                (CONSUMER, 1) => Isolation::Committed,
                (CONSUMER, _) => Isolation::Uncommitted,
                _ => Isolation::LogEnd,
            },
            from: match request.replica_id {
                DEBUGGER => ReadFrom::AnyReplica,
                _ => ReadFrom::Leader,
            },
        };
        Box::pin(list(broker.clone(), cx, params, request.topics))
    }
}

async fn list(
    broker: Arc<Broker>,
    _cx: RequestContext,
    params: Params,
    asked: Vec<ListOffsetsTopic>,
) -> Answer<ListOffsetsResponse> {
    let (mut topics, mut turns) = (Vec::with_capacity(asked.len()), Turns::default());
    for (name, asked) in each_once(asked) {
        let mut partitions = Vec::with_capacity(asked.len());
        for (index, asked) in asked {
            let found = match asked {
                Ok(partition) => find_offset(&broker, params, &name, &partition).await,
                Err(refusal) => Err(refusal),
            };
            partitions.push(answered(params.version, index, found));
            turns.made().await;
        }
        topics.push(ListOffsetsTopicResponse { name, partitions, ..Default::default() });
    }
    Answer::Response(ListOffsetsResponse { topics, ..Default::default() })
}

type Asked = Result<ListOffsetsPartition, Refusal>;

/// Each partition once, as Kafka answers it. Of a topic without partitions it says nothing.
fn each_once(topics: Vec<ListOffsetsTopic>) -> BTreeMap<String, BTreeMap<i32, Asked>> {
    let mut once: BTreeMap<String, BTreeMap<i32, Asked>> = BTreeMap::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = once.entry(topic.name).or_default();
        for partition in topic.partitions {
            match partitions.entry(partition.partition_index) {
                Entry::Vacant(free) => drop(free.insert(Ok(partition))),
                Entry::Occupied(mut twice) => drop(twice.insert(Err(Refusal::Duplicate))),
            }
        }
    }
    once
}

fn answered(
    version: i16,
    partition_index: i32,
    found: Result<Option<TimestampOffset>, Refusal>,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse {
        partition_index,
        timestamp: -1,
        offset: -1,
        ..Default::default()
    };
    match found {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: match version {
                4.. => found.leader_epoch.map_or(-1, |epoch| epoch.0),
                _ => -1,
            },
            ..answer
        },
        Ok(None) => answer,
        Err(refusal) => {
            ListOffsetsPartitionResponse { error_code: refusal.code(version).code(), ..answer }
        }
    }
}

async fn find_offset(
    broker: &Broker,
    params: Params,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<Option<TimestampOffset>, Refusal> {
    let wanted = Wanted::of(partition.timestamp, params.version).ok_or(Refusal::Version)?;
    let handle = find(broker, TopicRef::Name(topic), partition.partition_index)?;
    let known = partition.current_leader_epoch;
    let log = handle.readable((known >= 0).then_some(LeaderEpoch(known)), params.from)?;
    let end = log.end(params.isolation);
    let unsettled = params.isolation != Isolation::LogEnd
        && log.epoch_start().is_some_and(|start| start > log.high_watermark);
    let found = match wanted {
        Wanted::Latest if unsettled => return Err(Refusal::NotAvailable),
        Wanted::Latest => {
            let leader_epoch = Some(log.leader_epoch);
            return Ok(Some(TimestampOffset { timestamp: -1, offset: end, leader_epoch }));
        }
        Wanted::Earliest => return Ok(Some(log.earliest())),
        Wanted::Tiered => return Ok(None),
        Wanted::MaxTimestamp | Wanted::At(_) => {
            search(broker, handle.log_dir().queue(), log, wanted).await?
        }
    };
    match found {
        Some(found) if found.offset < end => Ok(Some(found)),
        _ if unsettled => Err(Refusal::NotAvailable),
        _ => Ok(None),
    }
}

/// Reads the log, which may take long, on a thread for that.
async fn search(
    broker: &Broker,
    queue: &JobQueue,
    log: Readable,
    wanted: Wanted,
) -> Result<Option<TimestampOffset>, Refusal> {
    let job = move || match wanted {
        Wanted::At(timestamp) => log.view.offset_for_timestamp(timestamp),
        _ => log.view.max_timestamp(),
    };
    Ok(broker.world.blocking_in(queue, "offset by timestamp", job).await??)
}

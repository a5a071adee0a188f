//! DeleteRecords, API key 21.
//!
//! Versions: 0–2. Source: `ReplicaManager.deleteRecords`, `Partition.deleteRecordsOnLeader`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use partitions::{DeleteRecordsError, PartitionMsg};
use runtime::{Dropped, Reply};
use wire::delete_records_request::DeleteRecordsTopic;
use wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::leaders::{NotHere, TopicRef, find};
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

pub(crate) struct DeleteRecords;

type Deleted = Result<i64, DeleteRecordsError>;

/// Why nothing was deleted, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotHere(#[from] NotHere),
    #[error("records of internal topics are the node's own")]
    InternalTopic,
    #[error("the replica is offline")]
    Offline,
    #[error("the leader was lost before it answered")]
    Gone,
    #[error("it took longer than the request allows")]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] DeleteRecordsError),
}

impl Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Refusal::NotHere(not_here) => not_here.code(),
            Refusal::InternalTopic => ErrorCode::InvalidTopicException,
            Refusal::Offline => ErrorCode::KafkaStorageError,
            Refusal::Gone => ErrorCode::NotLeaderOrFollower,
            Refusal::TimedOut => ErrorCode::RequestTimedOut,
            Refusal::Refused(error) => error.code(),
        }
    }
}

impl Staged for DeleteRecords {
    type Request = DeleteRecordsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        _cx: RequestContext,
        request: DeleteRecordsRequest,
    ) -> Answering<DeleteRecordsResponse> {
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if let Some(why) = too_many(count) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        Box::pin(delete(broker.clone(), limit, request.topics))
    }
}

/// All leaders are asked before the first is waited for.
async fn delete(
    broker: Arc<Broker>,
    limit: Duration,
    asked: Vec<DeleteRecordsTopic>,
) -> Answer<DeleteRecordsResponse> {
    let deadline = broker.world.mono() + limit;
    let mut waiting = Vec::with_capacity(asked.len());
    for (topic, offsets) in last_asked(asked) {
        let mut partitions = Vec::with_capacity(offsets.len());
        for (index, offset) in offsets {
            partitions.push((index, ask(&broker, &topic, index, offset).await));
        }
        waiting.push((topic, partitions));
    }
    let mut topics = Vec::with_capacity(waiting.len());
    for (name, asked) in waiting {
        let mut partitions = Vec::with_capacity(asked.len());
        for (index, answer) in asked {
            partitions.push(answered(index, settle(&broker, deadline, answer).await));
        }
        topics.push(DeleteRecordsTopicResult { name, partitions, ..Default::default() });
    }
    Answer::Response(DeleteRecordsResponse { topics, ..Default::default() })
}

/// Of a partition that is named more than once the last offset counts, as in Kafka.
fn last_asked(asked: Vec<DeleteRecordsTopic>) -> BTreeMap<String, BTreeMap<i32, i64>> {
    let mut last: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in asked.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let offsets = topic.partitions.iter().map(|asked| (asked.partition_index, asked.offset));
        last.entry(topic.name).or_default().extend(offsets);
    }
    last
}

async fn ask(
    broker: &Broker,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<runtime::Answer<Deleted>, Refusal> {
    let found = find(broker, TopicRef::Name(topic), partition);
    match &found {
        Err(not_here) if not_here.is_unknown() => return Err((*not_here).into()),
        _ if model::topic::is_internal_topic(topic) => return Err(Refusal::InternalTopic),
        _ => {}
    }
    let handle = found?;
    if !handle.log_dir().is_online() {
        return Err(Refusal::Offline);
    }
    let (reply, answer) = Reply::new();
    let sent = handle.address().send(PartitionMsg::DeleteRecords { offset, reply }).await;
    sent.map_err(|_| Refusal::Gone)?;
    Ok(answer)
}

async fn settle(
    broker: &Broker,
    deadline: Duration,
    answer: Result<runtime::Answer<Deleted>, Refusal>,
) -> Result<i64, Refusal> {
    let left = deadline.saturating_sub(broker.world.mono());
    match broker.world.timeout(left, answer?.get()).await {
        Ok(Ok(deleted)) => Ok(deleted?),
        Ok(Err(Dropped)) => Err(Refusal::Gone),
        Err(_) => Err(Refusal::TimedOut),
    }
}

fn answered(index: i32, deleted: Result<i64, Refusal>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error) = match deleted {
        Ok(low_watermark) => (low_watermark, ErrorCode::None),
        Err(refusal) => (-1, refusal.code()),
    };
    DeleteRecordsPartitionResult {
        partition_index: index,
        low_watermark,
        error_code: error.code(),
        ..Default::default()
    }
}

//! DeleteRecords, API key 21.
//!
//! Versions: 0–2. Source: `ReplicaManager.deleteRecords`, `Partition.deleteRecordsOnLeader`.
//! As in Kafka the leader itself is waited for; `timeout_ms` is for the followers whose brokers live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, NodeId};
use partitions::{DeleteRecordsError, PartitionHandle, PartitionMsg, Standing};
use runtime::{Dropped, Held, Reply, Waiter};
use wire::delete_records_request::DeleteRecordsTopic;
use wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::leaders::{NotHere, TopicRef, find};
use super::room::Turns;
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
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("the leader was lost before it answered")]
    Gone,
    #[error("followers still have records from {low_watermark} on")]
    TimedOut { low_watermark: i64 },
    #[error(transparent)]
    Refused(#[from] DeleteRecordsError),
}

/// What a leader was asked, and its answer to be.
struct Asked {
    leader: Arc<PartitionHandle>,
    answer: runtime::Answer<Deleted>,
}

impl Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Refusal::NotHere(not_here) => not_here.code(),
            Refusal::InternalTopic => ErrorCode::InvalidTopicException,
            Refusal::Offline => ErrorCode::KafkaStorageError,
            Refusal::NotLeader | Refusal::Gone => ErrorCode::NotLeaderOrFollower,
            Refusal::TimedOut { .. } => ErrorCode::RequestTimedOut,
            Refusal::Refused(error) => error.code(),
        }
    }
}

impl Staged for DeleteRecords {
    type Request = DeleteRecordsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: DeleteRecordsRequest,
    ) -> Answering<DeleteRecordsResponse> {
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if let Some(why) = too_many(count) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        Box::pin(delete(broker.clone(), cx.credit, timeout, request.topics))
    }
}

/// All leaders are asked before the first is waited for.
async fn delete(
    broker: Arc<Broker>,
    held: Held,
    timeout: Duration,
    asked: Vec<DeleteRecordsTopic>,
) -> Answer<DeleteRecordsResponse> {
    let deadline = broker.world.mono().saturating_add(timeout);
    let (mut waiting, mut turns) = (Vec::with_capacity(asked.len()), Turns::default());
    for (topic, offsets) in last_asked(asked) {
        let mut partitions = Vec::with_capacity(offsets.len());
        for (index, offset) in offsets {
            let answer = match find_leader(&broker, &topic, index) {
                Ok(leader) => ask(leader, offset, held.clone()).await,
                Err(refusal) => Err(refusal),
            };
            partitions.push((index, answer));
            turns.made().await;
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

fn find_leader(
    broker: &Broker,
    topic: &str,
    partition: i32,
) -> Result<Arc<PartitionHandle>, Refusal> {
    let found = find(broker, TopicRef::Name(topic), partition);
    match &found {
        Err(not_here) if not_here.is_unknown() => return Err((*not_here).into()),
        _ if model::topic::is_internal_topic(topic) => return Err(Refusal::InternalTopic),
        _ => {}
    }
    let handle = found?;
    still_leads(&handle)?;
    Ok(handle)
}

fn still_leads(handle: &PartitionHandle) -> Result<(), Refusal> {
    match &*handle.standing() {
        _ if handle.is_deleted() => Err(Refusal::NotHere(NotHere::Unknown)),
        Standing::Leader(_) => Ok(()),
        // One that recovers its log answers nobody before it is done.
        Standing::Starting | Standing::Follower(_) => Err(Refusal::NotLeader),
        Standing::Offline { .. } => Err(Refusal::Offline),
    }
}

async fn ask(leader: Arc<PartitionHandle>, offset: i64, held: Held) -> Result<Asked, Refusal> {
    let (reply, answer) = Reply::new();
    let asked = Box::new(partitions::DeleteRecords { offset, held, reply });
    let sent = leader.address().send(PartitionMsg::DeleteRecords { asked }).await;
    sent.map_err(|_| Refusal::Gone)?;
    Ok(Asked { leader, answer })
}

async fn settle(
    broker: &Broker,
    deadline: Duration,
    asked: Result<Asked, Refusal>,
) -> Result<i64, Refusal> {
    let Asked { leader, answer } = asked?;
    match answer.get().await {
        Ok(deleted) => reach(broker, &leader, deleted?, deadline).await,
        Err(Dropped) => Err(Refusal::Gone),
    }
}

/// Waits until no follower that lives has records below the offset; gives the low watermark.
async fn reach(
    broker: &Broker,
    leader: &PartitionHandle,
    offset: i64,
    deadline: Duration,
) -> Result<i64, Refusal> {
    let lives = |id: NodeId| broker.metadata.get().broker(id.0).is_some_and(|b| !b.fenced);
    let low_watermark = leader.low_watermark(lives);
    if low_watermark >= offset {
        return Ok(low_watermark);
    }
    let reached = async {
        let mut waiter = Waiter::new();
        loop {
            waiter.on(leader.pulse());
            still_leads(leader)?;
            let low_watermark = leader.low_watermark(lives);
            if low_watermark >= offset {
                return Ok(low_watermark);
            }
            waiter.wait().await;
        }
    };
    let left = deadline.saturating_sub(broker.world.mono());
    let waited = broker.world.timeout(left, reached).await;
    waited.unwrap_or(Err(Refusal::TimedOut { low_watermark }))
}

fn answered(index: i32, deleted: Result<i64, Refusal>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error) = match deleted {
        Ok(low_watermark) => (low_watermark, ErrorCode::None),
        Err(Refusal::TimedOut { low_watermark }) => (low_watermark, ErrorCode::RequestTimedOut),
        Err(refusal) => (-1, refusal.code()),
    };
    DeleteRecordsPartitionResult {
        partition_index: index,
        low_watermark,
        error_code: error.code(),
        ..Default::default()
    }
}

//! OffsetForLeaderEpoch, API key 23.
//!
//! Versions: 2–4. Source: `ReplicaManager.lastOffsetForLeaderEpoch`.

use std::sync::Arc;

use model::{ErrorCode, LeaderEpoch};
use partitions::ReadFrom;
use wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::leaders::{TopicRef, find};
use super::room::Turns;
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

pub(crate) struct OffsetForLeaderEpoch;

impl Staged for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    async fn begin(
        broker: &Arc<Broker>,
        _cx: RequestContext,
        request: OffsetForLeaderEpochRequest,
    ) -> Answering<OffsetForLeaderEpochResponse> {
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        if let Some(why) = too_many(count) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let broker = broker.clone();
        Box::pin(async move { Answer::Response(ends(&broker, request).await) })
    }
}

async fn ends(
    broker: &Broker,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let (mut topics, mut turns) = (Vec::with_capacity(request.topics.len()), Turns::default());
    for OffsetForLeaderTopic { topic, partitions: asked, .. } in request.topics {
        let mut partitions = Vec::with_capacity(asked.len());
        for asked in asked {
            let partition = asked.partition;
            partitions.push(match end(broker, &topic, &asked) {
                Ok(end) => EpochEndOffset { partition, ..end },
                Err(error) => {
                    EpochEndOffset { partition, error_code: error.code(), ..Default::default() }
                }
            });
            turns.made().await;
        }
        topics.push(OffsetForLeaderTopicResult { topic, partitions, ..Default::default() });
    }
    OffsetForLeaderEpochResponse { topics, ..Default::default() }
}

/// -1 and -1 where the epoch is newer than all that are known.
fn end(
    broker: &Broker,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let handle =
        find(broker, TopicRef::Name(topic), asked.partition).map_err(|error| error.code())?;
    let known = asked.current_leader_epoch;
    let log = handle
        .readable((known >= 0).then_some(LeaderEpoch(known)), ReadFrom::Leader)
        .map_err(|error| error.code())?;
    let end = log.view.end_offset_for_epoch(LeaderEpoch(asked.leader_epoch));
    Ok(end.map_or_else(Default::default, |end| EpochEndOffset {
        leader_epoch: end.epoch.0,
        end_offset: end.end_offset,
        ..Default::default()
    }))
}

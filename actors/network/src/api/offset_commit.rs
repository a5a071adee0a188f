//! OffsetCommit, API key 8.
//!
//! Versions: 2–10 (v6 leader epochs, v7 static members, v10 topic ids).
//! Source: `KafkaApis.handleOffsetCommitRequest`, `GroupCoordinatorService.commitOffsets`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use machines::metadata::MetadataImage;
use model::ErrorCode;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::{OffsetCommitRequest, OffsetCommitResponse};

use super::groups::{exists, merge};
use super::{Api, RequestContext};
use crate::Broker;

/// From this version on topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(crate) struct OffsetCommit;

impl Api for OffsetCommit {
    type Request = OffsetCommitRequest;

    fn named(request: &OffsetCommitRequest) -> usize {
        request.topics.iter().map(|each| 1 + each.partitions.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        mut request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let image = broker.metadata.get();
        let mut refused = Vec::new();
        let topics = std::mem::take(&mut request.topics);
        for topic in topics {
            let (known, unknown) = resolve(&image, topic, cx.version);
            request.topics.extend(known);
            refused.extend(unknown);
        }
        if request.topics.is_empty() {
            return OffsetCommitResponse { topics: refused, ..Default::default() };
        }
        let group_id = request.group_id.clone();
        let ask = GroupRequest::OffsetCommit { request, version: cx.version };
        match broker.groups.holding(cx.credit.clone()).ask(&group_id, ask).await {
            GroupReply::OffsetCommit(mut response) => {
                let answered = std::mem::take(&mut response.topics);
                let join = |refused: &mut OffsetCommitResponseTopic,
                            answered: OffsetCommitResponseTopic| {
                    refused.partitions.extend(answered.partitions);
                };
                response.topics = merge(refused, answered, |topic| &topic.name, join);
                response
            }
            _ => OffsetCommitResponse { topics: refused, ..Default::default() },
        }
    }
}

/// The partitions that there are, under their topic's name and id; and the answer for the others.
fn resolve(
    image: &MetadataImage,
    mut topic: OffsetCommitRequestTopic,
    version: i16,
) -> (Option<OffsetCommitRequestTopic>, Option<OffsetCommitResponseTopic>) {
    let (known, unknown) = match version {
        TOPIC_IDS_SINCE.. => (image.topics.by_id(topic.topic_id), ErrorCode::UnknownTopicId),
        _ => (image.topics.by_name(&topic.name), ErrorCode::UnknownTopicOrPartition),
    };
    let Some(known) = known else {
        let refused = refuse(&topic, &topic.partitions, unknown);
        return (None, Some(refused));
    };
    (topic.name, topic.topic_id) = (known.name.clone(), known.id);
    let (here, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
        .into_iter()
        .partition(|partition| exists(image, &known.name, partition.partition_index));
    let refused = refuse(&topic, &missing, ErrorCode::UnknownTopicOrPartition);
    topic.partitions = here;
    let refused = Some(refused).filter(|refused| !refused.partitions.is_empty());
    (Some(topic).filter(|topic| !topic.partitions.is_empty()), refused)
}

fn refuse(
    topic: &OffsetCommitRequestTopic,
    partitions: &[OffsetCommitRequestPartition],
    error: ErrorCode,
) -> OffsetCommitResponseTopic {
    let partitions = partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.code(),
        ..Default::default()
    });
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

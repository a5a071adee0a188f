//! OffsetFetch, API key 9.
//!
//! Versions: 1–10 (v2 all topics at once, v7 only what is stable, v8 several groups, v10 topic ids).
//! Source: `KafkaApis.handleOffsetFetchRequest`, `GroupCoordinatorService.fetchOffsets`.

use std::sync::Arc;

use machines::groups::{
    GroupReply, GroupRequest, fetch_groups, fetch_response, offset_fetch_error,
};
use machines::metadata::MetadataImage;
use model::ErrorCode;
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use wire::{OffsetFetchRequest, OffsetFetchResponse};

use super::{Api, RequestContext};
use crate::Broker;

/// From this version on topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(crate) struct OffsetFetch;

impl Api for OffsetFetch {
    type Request = OffsetFetchRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let version = cx.version;
        let image = broker.metadata.get();
        let require_stable = request.require_stable;
        let (mut requests, mut refused) = (Vec::new(), Vec::new());
        let mut asked = fetch_groups(request, version);
        for group in &mut asked {
            refused.push(if version >= TOPIC_IDS_SINCE {
                resolve(&image, group)
            } else {
                Vec::new()
            });
            let ask = GroupRequest::OffsetFetch { group: group.clone(), require_stable, version };
            requests.push((group.group_id.clone(), ask));
        }
        let replies = broker.groups.ask_several(requests).await;
        let answered = asked.iter().zip(refused).zip(replies);
        let groups = answered.map(|((group, refused), reply)| {
            let answer = match reply {
                GroupReply::OffsetFetch(answer) => answer,
                _ => offset_fetch_error(group, ErrorCode::UnknownServerError, version),
            };
            complete(&image, group, answer, refused, version)
        });
        fetch_response(groups.collect(), version)
    }
}

/// Names the topics; those that do not exist are taken out, and answered.
fn resolve(
    image: &MetadataImage,
    group: &mut OffsetFetchRequestGroup,
) -> Vec<OffsetFetchResponseTopics> {
    let mut refused = Vec::new();
    let Some(topics) = &mut group.topics else { return refused };
    topics.retain_mut(|topic| match image.topics.by_id(topic.topic_id) {
        Some(known) => {
            topic.name.clone_from(&known.name);
            true
        }
        None => {
            refused.push(refuse(topic, ErrorCode::UnknownTopicId));
            false
        }
    });
    refused
}

fn refuse(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions =
        topic.partition_indexes.iter().map(|partition_index| OffsetFetchResponsePartitions {
            partition_index: *partition_index,
            committed_offset: -1,
            error_code: error.code(),
            ..Default::default()
        });
    OffsetFetchResponseTopics {
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// What was refused comes last; and what was asked for as all has ids by which it can be named.
fn complete(
    image: &MetadataImage,
    group: &OffsetFetchRequestGroup,
    mut answer: OffsetFetchResponseGroup,
    refused: Vec<OffsetFetchResponseTopics>,
    version: i16,
) -> OffsetFetchResponseGroup {
    if answer.error_code != 0 {
        return answer;
    }
    if version >= TOPIC_IDS_SINCE && group.topics.is_none() {
        for topic in answer.topics.iter_mut().filter(|topic| topic.topic_id.is_zero()) {
            topic.topic_id = image.topics.id_of(&topic.name).unwrap_or_default();
        }
        answer.topics.retain(|topic| !topic.topic_id.is_zero());
    }
    answer.topics.extend(refused);
    answer
}

//! OffsetDelete, API key 47.
//!
//! Versions: 0.
//! Source: `KafkaApis.handleOffsetDeleteRequest`, `GroupCoordinatorService.deleteOffsets`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use model::ErrorCode;
use runtime::Map;
use wire::offset_delete_request::OffsetDeleteRequestPartition;
use wire::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::groups::{exists, other_reply};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct OffsetDelete;

impl Api for OffsetDelete {
    type Request = OffsetDeleteRequest;

    fn named(request: &OffsetDeleteRequest) -> usize {
        request.topics.iter().map(|each| 1 + each.partitions.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        mut request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let image = broker.metadata.get();
        let mut refused = Vec::new();
        for topic in &mut request.topics {
            let (here, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
                .into_iter()
                .partition(|partition| exists(&image, &topic.name, partition.partition_index));
            topic.partitions = here;
            if !missing.is_empty() {
                refused.push(refuse(&topic.name, &missing));
            }
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        let group_id = request.group_id.clone();
        match broker
            .groups
            .holding(cx.credit.clone())
            .ask(&group_id, GroupRequest::OffsetDelete { request })
            .await
        {
            // An error of the group is all that there is to say.
            GroupReply::OffsetDelete(response) if response.error_code != 0 => response,
            GroupReply::OffsetDelete(response) => merge(refused, response),
            _ => OffsetDeleteResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

fn refuse(name: &str, partitions: &[OffsetDeleteRequestPartition]) -> OffsetDeleteResponseTopic {
    let partitions = partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        ..Default::default()
    });
    OffsetDeleteResponseTopic {
        name: name.to_owned(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// One entry for each topic, what was refused before the coordinator was asked first.
fn merge(
    refused: Vec<OffsetDeleteResponseTopic>,
    mut response: OffsetDeleteResponse,
) -> OffsetDeleteResponse {
    let mut places: Map<String, usize> = Map::new();
    for (place, topic) in refused.iter().enumerate() {
        places.insert(topic.name.clone(), place);
    }
    let mut topics = refused;
    for topic in std::mem::take(&mut response.topics) {
        match places.get(&topic.name) {
            Some(place) => topics[*place].partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
    OffsetDeleteResponse { topics, ..response }
}

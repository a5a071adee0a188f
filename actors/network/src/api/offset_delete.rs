//! OffsetDelete, API key 47.
//!
//! Versions: 0.
//! Source: `KafkaApis.handleOffsetDeleteRequest`, `GroupCoordinatorService.deleteOffsets`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use model::ErrorCode;
use wire::offset_delete_request::OffsetDeleteRequestPartition;
use wire::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::groups::{exists, merge, other_reply};
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
            GroupReply::OffsetDelete(mut response) => {
                let answered = std::mem::take(&mut response.topics);
                let join = |refused: &mut OffsetDeleteResponseTopic,
                            answered: OffsetDeleteResponseTopic| {
                    refused.partitions.extend(answered.partitions);
                };
                response.topics = merge(refused, answered, |topic| &topic.name, join);
                response
            }
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

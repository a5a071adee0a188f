//! AlterPartitionReassignments, API key 45.
//!
//! Versions: 0–1 (v1 the replication factor may be held, KIP-860). Forwarded to the controller.
//! Source: `ControllerApis.handleAlterPartitionReassignments`, `AlterPartitionReassignmentsRequest.getErrorResponse`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use wire::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct AlterPartitionReassignments;

impl Api for AlterPartitionReassignments {
    type Request = AlterPartitionReassignmentsRequest;

    fn named(request: &AlterPartitionReassignmentsRequest) -> usize {
        request.topics.iter().map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let topics = request.topics.clone();
        let request = ControllerRequest::AlterPartitionReassignments(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::AlterPartitionReassignments(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => refuse(topics, error),
        }
    }
}

fn refuse(
    topics: Vec<ReassignableTopic>,
    error: ForwardError,
) -> AlterPartitionReassignmentsResponse {
    let refused = |partition: ReassignablePartition| ReassignablePartitionResponse {
        partition_index: partition.partition_index,
        error_code: error.code(),
        error_message: error.message(),
        ..Default::default()
    };
    let responses = topics.into_iter().map(|topic| ReassignableTopicResponse {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(refused).collect(),
        ..Default::default()
    });
    AlterPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: error.message(),
        responses: responses.collect(),
        ..Default::default()
    }
}

//! ListPartitionReassignments, API key 46.
//!
//! Versions: 0. Forwarded to the controller.
//! Source: `ControllerApis.handleListPartitionReassignments`, `ListPartitionReassignmentsRequest.getErrorResponse`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use wire::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;

    fn named(request: &ListPartitionReassignmentsRequest) -> usize {
        let topics = request.topics.iter().flatten();
        topics.map(|topic| 1 + topic.partition_indexes.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let topics = request.topics.clone();
        let request = ControllerRequest::ListPartitionReassignments(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::ListPartitionReassignments(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => refuse(topics.unwrap_or_default(), error),
        }
    }
}

fn refuse(
    topics: Vec<ListPartitionReassignmentsTopics>,
    error: ForwardError,
) -> ListPartitionReassignmentsResponse {
    let named =
        |partition_index| OngoingPartitionReassignment { partition_index, ..Default::default() };
    let topics = topics.into_iter().map(|topic| OngoingTopicReassignment {
        name: topic.name,
        partitions: topic.partition_indexes.into_iter().map(named).collect(),
        ..Default::default()
    });
    ListPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: error.message(),
        topics: topics.collect(),
        ..Default::default()
    }
}

//! ElectLeaders, API key 43.
//!
//! Versions: 0–2 (v1 unclean elections and an error of the whole). Forwarded to the controller.
//! Source: `ControllerApis.handleElectLeaders`, `ElectLeadersRequest.getErrorResponse`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use wire::elect_leaders_request::TopicPartitions;
use wire::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use wire::{ElectLeadersRequest, ElectLeadersResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

const ERROR_OF_THE_WHOLE_SINCE: i16 = 1;

pub(crate) struct ElectLeaders;

impl Api for ElectLeaders {
    type Request = ElectLeadersRequest;

    fn named(request: &ElectLeadersRequest) -> usize {
        let topics = request.topic_partitions.iter().flatten();
        topics.map(|topic| 1 + topic.partitions.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: ElectLeadersRequest,
    ) -> ElectLeadersResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let named = request.topic_partitions.clone();
        let request = ControllerRequest::ElectLeaders(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::ElectLeaders(response) => Some(response),
            _ => None,
        });
        let mut response = match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => refuse(named.unwrap_or_default(), error),
        };
        if cx.version < ERROR_OF_THE_WHOLE_SINCE {
            response.error_code = ErrorCode::None.code();
        }
        response
    }
}

fn refuse(named: Vec<TopicPartitions>, error: ForwardError) -> ElectLeadersResponse {
    let refused = |partition_id| PartitionResult {
        partition_id,
        error_code: error.code(),
        error_message: error.message(),
        ..Default::default()
    };
    let results = named.into_iter().map(|named| ReplicaElectionResult {
        topic: named.topic,
        partition_result: named.partitions.into_iter().map(refused).collect(),
        ..Default::default()
    });
    ElectLeadersResponse {
        error_code: error.code(),
        replica_election_results: results.collect(),
        ..Default::default()
    }
}

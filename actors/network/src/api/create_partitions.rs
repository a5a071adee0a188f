//! CreatePartitions, API key 37.
//!
//! Versions: 0–3. Forwarded to the controller.
//! Source: `ControllerApis.createPartitions`. Departs: answered when this node's new replicas serve, not before.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest, Permitted};
use wire::create_partitions_response::CreatePartitionsTopicResult;
use wire::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct CreatePartitions;

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;

    fn named(request: &CreatePartitionsRequest) -> usize {
        request.topics.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let request = ControllerRequest::CreatePartitions {
            request,
            seed: forward::seed(&broker),
            may_alter: Permitted::All,
        };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::CreatePartitions(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.served(&broker, grown).await,
            Err(error) => refuse(names, error),
        }
    }
}

fn grown(response: &CreatePartitionsResponse) -> Vec<&str> {
    let done = response.results.iter().filter(|topic| topic.error_code == 0);
    done.map(|topic| topic.name.as_str()).collect()
}

fn refuse(names: Vec<String>, error: ForwardError) -> CreatePartitionsResponse {
    let refused = |name| CreatePartitionsTopicResult {
        name,
        error_code: error.code(),
        error_message: error.message(),
        ..Default::default()
    };
    CreatePartitionsResponse {
        results: names.into_iter().map(refused).collect(),
        ..Default::default()
    }
}

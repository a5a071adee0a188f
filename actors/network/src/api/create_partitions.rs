//! CreatePartitions, API key 37.
//!
//! Versions: 0–3. Forwarded to the controller.
//! Source: `ControllerApis.createPartitions`. Departs: answered when this node's new replicas serve, not before.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest, Permitted};
use model::ErrorCode;
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
        mut request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        // Its keys would be in other partitions.
        let durable = |name: &str| broker.durables.topic(name).is_some();
        let fixed = request.topics.extract_if(.., |topic| durable(&topic.name));
        let fixed: Vec<_> = fixed.map(|topic| is_durable(topic.name)).collect();
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
        let mut response = match asked.await {
            Ok(forwarded) => forwarded.served(&broker, grown).await,
            Err(error) => refuse(names, error),
        };
        response.results.extend(fixed);
        response
    }
}

fn is_durable(name: String) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        error_message: Some(format!(
            "{name} is a durable actor's, whose keys keep their partitions"
        )),
        name,
        error_code: ErrorCode::InvalidTopicException.code(),
        ..Default::default()
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

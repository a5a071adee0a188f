//! CreateTopics, API key 19.
//!
//! Versions: 2–7 (v4 defaults, v5 configurations in the answer, v7 topic ids). Forwarded to the controller.
//! Source: `ControllerApis.createTopics`. Departs: answered when this node's replicas serve, not before.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest, Permitted};
use wire::create_topics_response::CreatableTopicResult;
use wire::{CreateTopicsRequest, CreateTopicsResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct CreateTopics;

impl Api for CreateTopics {
    type Request = CreateTopicsRequest;

    fn named(request: &CreateTopicsRequest) -> usize {
        request.topics.iter().map(|each| 1 + each.configs.len() + each.assignments.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let validate_only = request.validate_only;
        let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let request = ControllerRequest::CreateTopics {
            request,
            seed: forward::seed(&broker),
            may_create: Permitted::All,
            may_describe_configs: Permitted::All,
        };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::CreateTopics(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) if validate_only => forwarded.shown(&broker).await,
            Ok(forwarded) => forwarded.served(&broker, created).await,
            Err(error) => refuse(names, error),
        }
    }
}

pub(super) fn created(response: &CreateTopicsResponse) -> Vec<&str> {
    let done = response.topics.iter().filter(|topic| topic.error_code == 0);
    done.map(|topic| topic.name.as_str()).collect()
}

fn refuse(names: Vec<String>, error: ForwardError) -> CreateTopicsResponse {
    let refused = |name| CreatableTopicResult {
        name,
        error_code: error.code(),
        error_message: error.message(),
        ..Default::default()
    };
    CreateTopicsResponse { topics: names.into_iter().map(refused).collect(), ..Default::default() }
}

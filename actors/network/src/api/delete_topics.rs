//! DeleteTopics, API key 20.
//!
//! Versions: 1–6 (v3 TOPIC_DELETION_DISABLED, v5 messages, v6 by id). Forwarded to the controller.
//! Source: `ControllerApis.deleteTopics`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest, Permitted};
use model::Uuid;
use wire::delete_topics_response::DeletableTopicResult;
use wire::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::forward::{self, ForwardError};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct DeleteTopics;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;

    fn named(request: &DeleteTopicsRequest) -> usize {
        request.topics.len() + request.topic_names.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: DeleteTopicsRequest,
    ) -> DeleteTopicsResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let names = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
        let either = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let named: Vec<_> = names.chain(either).collect();
        let request = ControllerRequest::DeleteTopics {
            request,
            version: cx.version,
            may_describe: Permitted::All,
            may_delete: Permitted::All,
        };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::DeleteTopics(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => refuse(named, error),
        }
    }
}

fn refuse(named: Vec<(Option<String>, Uuid)>, error: ForwardError) -> DeleteTopicsResponse {
    let refused = |(name, topic_id)| DeletableTopicResult {
        name,
        topic_id,
        error_code: error.code(),
        ..Default::default()
    };
    DeleteTopicsResponse {
        responses: named.into_iter().map(refused).collect(),
        ..Default::default()
    }
}

//! AllocateProducerIds, API key 67.
//!
//! Versions: 0. From brokers to the active controller.
//! Source: `ControllerApis.handleAllocateProducerIdsRequest`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct AllocateProducerIds;

impl Api for AllocateProducerIds {
    type Request = AllocateProducerIdsRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AllocateProducerIdsRequest,
    ) -> AllocateProducerIdsResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::AllocateProducerIds(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::AllocateProducerIds(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => {
                AllocateProducerIdsResponse { error_code: error.code(), ..Default::default() }
            }
        }
    }
}

//! UnregisterBroker, API key 64.
//!
//! Versions: 0. Forwarded to the controller.
//! Source: `ControllerApis.handleUnregisterBroker`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct UnregisterBroker;

impl Api for UnregisterBroker {
    type Request = UnregisterBrokerRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: UnregisterBrokerRequest,
    ) -> UnregisterBrokerResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::UnregisterBroker(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::UnregisterBroker(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => UnregisterBrokerResponse {
                error_code: error.code(),
                error_message: error.message(),
                ..Default::default()
            },
        }
    }
}

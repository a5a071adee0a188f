//! UnregisterController, API key 94.
//!
//! Versions: 0. Forwarded to the controller.
//! Source: `ControllerApis.handleUnregisterController`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{UnregisterControllerRequest, UnregisterControllerResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct UnregisterController;

impl Api for UnregisterController {
    type Request = UnregisterControllerRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: UnregisterControllerRequest,
    ) -> UnregisterControllerResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::UnregisterController(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::UnregisterController(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => UnregisterControllerResponse {
                error_code: error.code(),
                error_message: error.message(),
                ..Default::default()
            },
        }
    }
}

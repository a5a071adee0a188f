//! ControllerRegistration, API key 70.
//!
//! Versions: 0. From controllers to the active one.
//! Source: `ControllerApis.handleControllerRegistration`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{ControllerRegistrationRequest, ControllerRegistrationResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct ControllerRegistration;

impl Api for ControllerRegistration {
    type Request = ControllerRegistrationRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: ControllerRegistrationRequest,
    ) -> ControllerRegistrationResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::RegisterController(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::RegisterController(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => ControllerRegistrationResponse {
                error_code: error.code(),
                error_message: error.message(),
                ..Default::default()
            },
        }
    }
}

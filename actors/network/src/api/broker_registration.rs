//! BrokerRegistration, API key 62.
//!
//! Versions: 0–4 (v2 log directories, v3 the epoch before, v4 features with a minimum of 0). From brokers to the active controller.
//! Source: `ControllerApis.handleBrokerRegistration`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{BrokerRegistrationRequest, BrokerRegistrationResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct BrokerRegistration;

impl Api for BrokerRegistration {
    type Request = BrokerRegistrationRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: BrokerRegistrationRequest,
    ) -> BrokerRegistrationResponse {
        let limit = forward::request_timeout(&broker);
        let kraft_version = broker.quorum.status().kraft_version;
        let request =
            ControllerRequest::RegisterBroker { request, version: cx.version, kraft_version };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::RegisterBroker(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => {
                BrokerRegistrationResponse { error_code: error.code(), ..Default::default() }
            }
        }
    }
}

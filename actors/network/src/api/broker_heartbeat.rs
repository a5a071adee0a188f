//! BrokerHeartbeat, API key 63.
//!
//! Versions: 0–2 (v1 offline directories, v2 cordoned ones). From brokers to the active controller.
//! Source: `ControllerApis.handleBrokerHeartBeatRequest`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct BrokerHeartbeat;

impl Api for BrokerHeartbeat {
    type Request = BrokerHeartbeatRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: BrokerHeartbeatRequest,
    ) -> BrokerHeartbeatResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::BrokerHeartbeat(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::BrokerHeartbeat(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => {
                BrokerHeartbeatResponse { error_code: error.code(), ..Default::default() }
            }
        }
    }
}

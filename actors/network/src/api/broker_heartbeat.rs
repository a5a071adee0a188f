//! BrokerHeartbeat, API key 63.
//!
//! Versions: 0–2 (v1 offline directories, v2 cordoned ones). From brokers to the active controller.
//! Source: `ControllerApis.handleBrokerHeartBeatRequest`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use quorum::Process;
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
        let (broker_id, broker_epoch) = (request.broker_id, request.broker_epoch);
        let request = ControllerRequest::BrokerHeartbeat(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::BrokerHeartbeat(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => {
                if forwarded.response.error_code == ErrorCode::None.code() {
                    cx.connection.heard_of(Process { broker_id, broker_epoch });
                }
                forwarded.response
            }
            Err(error) => {
                BrokerHeartbeatResponse { error_code: error.code(), ..Default::default() }
            }
        }
    }
}

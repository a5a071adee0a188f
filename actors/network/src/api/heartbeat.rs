//! Heartbeat, API key 12.
//!
//! Versions: 0–4 (v3 static members).
//! Source: `KafkaApis.handleHeartbeatRequest`, `GroupCoordinatorService.heartbeat`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::{HeartbeatRequest, HeartbeatResponse};

use super::groups::other_reply;
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct Heartbeat;

impl Api for Heartbeat {
    type Request = HeartbeatRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        let group_id = request.group_id.clone();
        let ask = GroupRequest::Heartbeat { request };
        match broker.groups.holding(cx.credit.clone()).ask(&group_id, ask).await {
            GroupReply::Heartbeat(response) => response,
            _ => HeartbeatResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

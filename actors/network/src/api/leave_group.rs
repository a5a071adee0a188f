//! LeaveGroup, API key 13.
//!
//! Versions: 0–5 (v3 several members at once, v5 the reason).
//! Source: `KafkaApis.handleLeaveGroupRequest`, `GroupCoordinatorService.leaveGroup`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::{LeaveGroupRequest, LeaveGroupResponse};

use super::groups::other_reply;
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct LeaveGroup;

impl Api for LeaveGroup {
    type Request = LeaveGroupRequest;

    fn named(request: &LeaveGroupRequest) -> usize {
        request.members.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let group_id = request.group_id.clone();
        let ask = GroupRequest::Leave { request, version: cx.version };
        match broker.groups.holding(cx.credit.clone()).ask(&group_id, ask).await {
            GroupReply::Leave(response) => response,
            _ => LeaveGroupResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

//! JoinGroup, API key 11.
//!
//! Versions: 0–9 (v4 an id before joining, v5 static members, v7 protocol type, v9 the leader may skip assigning).
//! Source: `KafkaApis.handleJoinGroupRequest`, `GroupCoordinatorService.joinGroup`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest, JoinGroup as Join};
use wire::{JoinGroupRequest, JoinGroupResponse};

use super::groups::{client, other_reply};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct JoinGroup;

impl Api for JoinGroup {
    type Request = JoinGroupRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        let group_id = request.group_id.clone();
        let ask = GroupRequest::Join(Box::new(Join {
            client: client(&cx),
            version: cx.version,
            member_uuid: broker.groups.member_uuid(),
            request,
        }));
        match broker.groups.ask_and_wait(&group_id, ask, cx.credit).await {
            GroupReply::Join(response) => response,
            _ => JoinGroupResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

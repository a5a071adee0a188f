//! JoinGroup, API key 11.
//!
//! Versions: 0–9 (v4 an id before joining, v5 static members, v7 protocol type, v9 the leader may skip assigning).
//! Source: `KafkaApis.handleJoinGroupRequest`, `GroupCoordinatorService.joinGroup`.
//! Departs: where the members of all groups hold as much memory as requests may, COORDINATOR_NOT_AVAILABLE; Kafka takes ever more.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest, JoinGroup as Join, Kept};
use model::ErrorCode;
use wire::{JoinGroupRequest, JoinGroupResponse};

use super::groups::{client, memory_of_members, other_reply};
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
        let mut join = Join {
            client: client(&cx),
            version: cx.version,
            member_uuid: broker.groups.member_uuid(),
            request,
            kept: Kept::default(),
        };
        let reply = match memory_of_members(&broker, join.memory()) {
            Some(kept) => {
                join.kept = kept;
                let ask = GroupRequest::Join(Box::new(join));
                broker.groups.ask_and_wait(&group_id, ask, cx.credit).await
            }
            None => GroupRequest::Join(Box::new(join)).refuse(ErrorCode::CoordinatorNotAvailable),
        };
        match reply {
            GroupReply::Join(response) => response,
            _ => JoinGroupResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

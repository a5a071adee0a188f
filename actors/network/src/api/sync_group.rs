//! SyncGroup, API key 14.
//!
//! Versions: 0–5 (v3 static members, v5 protocol type and name).
//! Source: `KafkaApis.handleSyncGroupRequest`, `GroupCoordinatorService.syncGroup`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use model::ErrorCode;
use wire::{SyncGroupRequest, SyncGroupResponse};

use super::groups::{memory_of_members, other_reply};
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct SyncGroup;

impl Api for SyncGroup {
    type Request = SyncGroupRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: SyncGroupRequest,
    ) -> SyncGroupResponse {
        let group_id = request.group_id.clone();
        let assigned = request.assignments.iter();
        let bytes =
            assigned.map(|assignment| size_of_val(assignment) + assignment.assignment.len());
        let kept = memory_of_members(&broker, bytes.sum());
        let has_room = kept.is_some();
        let ask =
            GroupRequest::Sync { request, version: cx.version, kept: kept.unwrap_or_default() };
        let reply = match has_room {
            true => broker.groups.ask_and_wait(&group_id, ask, cx.credit).await,
            false => ask.refuse(ErrorCode::CoordinatorNotAvailable),
        };
        match reply {
            GroupReply::Sync(response) => response,
            _ => SyncGroupResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

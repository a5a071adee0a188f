//! SyncGroup, API key 14.
//!
//! Versions: 0–5 (v3 static members, v5 protocol type and name).
//! Source: `KafkaApis.handleSyncGroupRequest`, `GroupCoordinatorService.syncGroup`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::{SyncGroupRequest, SyncGroupResponse};

use super::groups::other_reply;
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
        let ask = GroupRequest::Sync { request, version: cx.version };
        match broker.groups.ask_and_wait(&group_id, ask, cx.credit).await {
            GroupReply::Sync(response) => response,
            _ => SyncGroupResponse { error_code: other_reply(), ..Default::default() },
        }
    }
}

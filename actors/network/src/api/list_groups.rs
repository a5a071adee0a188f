//! ListGroups, API key 16.
//!
//! Versions: 0–5 (v4 filters by state, v5 by type).
//! Source: `KafkaApis.handleListGroupsRequest`, `GroupCoordinatorService.listGroups`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest, ListFilter};
use model::ErrorCode;
use wire::{ListGroupsRequest, ListGroupsResponse};

use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct ListGroups;

impl Api for ListGroups {
    type Request = ListGroupsRequest;

    fn named(request: &ListGroupsRequest) -> usize {
        request.states_filter.len() + request.types_filter.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: ListGroupsRequest,
    ) -> ListGroupsResponse {
        let filter = ListFilter::named(&request.states_filter, &request.types_filter);
        drop(request);
        let ask = GroupRequest::List(filter);
        let mut response = ListGroupsResponse::default();
        for reply in broker.groups.holding(cx.credit.clone()).ask_all(ask).await {
            match reply {
                GroupReply::List { error: ErrorCode::None, groups } => {
                    response.groups.extend(groups);
                }
                // What moved away meanwhile is listed elsewhere.
                GroupReply::List { error: ErrorCode::NotCoordinator, .. } => {}
                GroupReply::List { error, .. } => {
                    return ListGroupsResponse { error_code: error.code(), ..Default::default() };
                }
                _ => {}
            }
        }
        response
    }
}

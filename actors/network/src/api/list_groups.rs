//! ListGroups, API key 16.
//!
//! Versions: 0–5 (v4 filters by state, v5 by type).
//! Source: `KafkaApis.handleListGroupsRequest`, `GroupCoordinatorService.listGroups`.

use std::sync::Arc;

use coordinators::Groups;
use machines::groups::{GroupReply, GroupRequest, ListFilter};
use model::ErrorCode;
use wire::{ListGroupsRequest, ListGroupsResponse};

use super::room::memory_for;
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

pub(crate) struct ListGroups;

impl Staged for ListGroups {
    type Request = ListGroupsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: ListGroupsRequest,
    ) -> Answering<ListGroupsResponse> {
        if let Some(why) = too_many(request.states_filter.len() + request.types_filter.len()) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let filter = ListFilter::named(&request.states_filter, &request.types_filter);
        drop(request);
        let (broker, groups) = (broker.clone(), broker.groups.holding(cx.credit.clone()));
        Box::pin(async move {
            let memory = memory_for(&broker, size(&groups, filter.clone()).await).await;
            Answer::Built(list(&groups, filter).await, memory)
        })
    }
}

/// What all of them come to.
async fn size(groups: &Groups, filter: ListFilter) -> usize {
    let replies = groups.ask_all(GroupRequest::ListSize(filter)).await;
    let sizes = replies.iter().map(|reply| match reply {
        GroupReply::ListSize(bytes) => *bytes,
        _ => 0,
    });
    sizes.sum()
}

async fn list(groups: &Groups, filter: ListFilter) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    for reply in groups.ask_all(GroupRequest::List(filter)).await {
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

//! DeleteGroups, API key 42.
//!
//! Versions: 0–3 (v3 error messages).
//! Source: `KafkaApis.handleDeleteGroupsRequest`, `GroupCoordinatorService.deleteGroups`.

use std::collections::BTreeSet;
use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct DeleteGroups;

impl Api for DeleteGroups {
    type Request = DeleteGroupsRequest;

    fn named(request: &DeleteGroupsRequest) -> usize {
        request.groups_names.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut seen = BTreeSet::new();
        let mut names = request.groups_names;
        names.retain(|name| seen.insert(name.clone()));
        let ask = |group_ids| GroupRequest::Delete { group_ids };
        let replies = broker.groups.holding(cx.credit.clone()).ask_each(names, ask).await;
        let results = replies.into_iter().flat_map(|reply| match reply {
            GroupReply::Delete(results) => results,
            _ => Vec::new(),
        });
        DeleteGroupsResponse { results: results.collect(), ..Default::default() }
    }
}

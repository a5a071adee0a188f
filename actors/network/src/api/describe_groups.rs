//! DescribeGroups, API key 15.
//!
//! Versions: 0–6 (v3 authorized operations, v4 static members, v6 GROUP_ID_NOT_FOUND).
//! Source: `KafkaApis.handleDescribeGroupsRequest`, `GroupCoordinatorService.describeGroups`.

use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::groups::GROUP_OPERATIONS;
use super::{Api, RequestContext};
use crate::Broker;

pub(crate) struct DescribeGroups;

impl Api for DescribeGroups {
    type Request = DescribeGroupsRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let version = cx.version;
        let ask = |group_ids| GroupRequest::Describe { group_ids, version };
        let replies = broker.groups.ask_each(request.groups, ask).await;
        let described = replies.into_iter().flat_map(|reply| match reply {
            GroupReply::Describe(groups) => groups,
            _ => Vec::new(),
        });
        let mut groups: Vec<_> = described.collect();
        if request.include_authorized_operations {
            for group in groups.iter_mut().filter(|group| group.error_code == 0) {
                group.authorized_operations = GROUP_OPERATIONS;
            }
        }
        DescribeGroupsResponse { groups, ..Default::default() }
    }
}

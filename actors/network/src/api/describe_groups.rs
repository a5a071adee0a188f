//! DescribeGroups, API key 15.
//!
//! Versions: 0–6 (v3 authorized operations, v4 static members, v6 GROUP_ID_NOT_FOUND).
//! Source: `KafkaApis.handleDescribeGroupsRequest`, `GroupCoordinatorService.describeGroups`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machines::groups::{GroupReply, GroupRequest};
use wire::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use wire::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::groups::GROUP_OPERATIONS;
use super::room::{Built, Room, TooLong};
use super::{Answer, Answering, RequestContext, Staged, bounded, too_many};
use crate::Broker;

pub(crate) struct DescribeGroups;

impl Staged for DescribeGroups {
    type Request = DescribeGroupsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: DescribeGroupsRequest,
    ) -> Answering<DescribeGroupsResponse> {
        if let Some(why) = too_many(request.groups.len()) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        bounded(answer(broker.clone(), cx, request))
    }
}

/// A group that is named twice is asked for once and told of twice, as with Kafka.
async fn answer(
    broker: Arc<Broker>,
    cx: RequestContext,
    request: DescribeGroupsRequest,
) -> Result<Built<DescribeGroupsResponse>, TooLong> {
    let version = cx.version;
    let mut seen = BTreeSet::new();
    let once = request.groups.iter().filter(|name| seen.insert(name.as_str())).cloned().collect();
    let ask = |group_ids| GroupRequest::Describe { group_ids, version };
    let replies = broker.groups.holding(cx.credit.clone()).ask_each(once, ask).await;
    let described = replies.into_iter().flat_map(|reply| match reply {
        GroupReply::Describe(groups) => groups,
        _ => Vec::new(),
    });
    let described: BTreeMap<String, DescribedGroup> =
        described.map(|group| (group.group_id.clone(), group)).collect();
    let (mut room, mut groups) = (Room::new(&broker), Vec::new());
    for group in request.groups.iter().filter_map(|name| described.get(name)) {
        room.take(size(group)).await?;
        let mut group = group.clone();
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
        groups.push(group);
    }
    Ok(room.holds(DescribeGroupsResponse { groups, ..Default::default() }))
}

/// In memory, and of the members' own bytes on the wire.
fn size(group: &DescribedGroup) -> usize {
    let member = |member: &DescribedGroupMember| {
        let names = member.member_id.len() + member.client_id.len() + member.client_host.len();
        let instance = member.group_instance_id.as_ref().map_or(0, String::len);
        let bytes = member.member_metadata.len() + member.member_assignment.len();
        size_of_val(member) + names + instance + bytes
    };
    let texts = group.group_id.len() + group.protocol_type.len() + group.protocol_data.len();
    let message = group.error_message.as_ref().map_or(0, String::len);
    size_of_val(group) + texts + message + group.members.iter().map(member).sum::<usize>()
}

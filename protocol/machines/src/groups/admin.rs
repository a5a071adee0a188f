//! DescribeGroups, ListGroups, DeleteGroups.

use model::{Decision, ErrorCode, Ticket};
use wire::describe_groups_response::DescribedGroup;
use wire::list_groups_response::ListedGroup;

use super::classic::{self, ClassicGroup, State};
use super::event::GroupEvent;
use super::refusal::delete_error;
use super::request::{GroupReply, ListFilter};
use super::shard::{Group, GroupDecision, GroupShard, GroupType};

/// From this version on a group that does not exist is an error. Before, it is dead.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 6;
const DEAD: &str = "Dead";

pub fn describe(shard: &GroupShard, group_ids: &[String], version: i16) -> GroupReply {
    let described = group_ids.iter().map(|group_id| match shard.groups.get(group_id) {
        Some(Group::Classic(group)) => described(group),
        Some(Group::Other(_)) => {
            not_found(group_id, version, format!("Group {group_id} is not a classic group."))
        }
        None => not_found(group_id, version, format!("Group {group_id} not found.")),
    });
    GroupReply::Describe(described.collect())
}

/// Metadata is shown when all have agreed on the protocol that it is of.
fn described(group: &ClassicGroup) -> DescribedGroup {
    let protocol = match group.state {
        State::Stable => group.protocol.as_deref(),
        _ => None,
    };
    let members = group.members.values().map(|member| {
        let mut described = member.describe();
        if let Some(protocol) = protocol {
            described.member_metadata = member.metadata(protocol);
        }
        described
    });
    DescribedGroup {
        group_id: group.id.clone(),
        group_state: group.state.to_string(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
        ..Default::default()
    }
}

fn not_found(group_id: &str, version: i16, message: String) -> DescribedGroup {
    let mut described = DescribedGroup {
        group_id: group_id.to_owned(),
        group_state: DEAD.to_owned(),
        ..Default::default()
    };
    if version >= GROUP_ID_NOT_FOUND_VERSION {
        described.error_code = ErrorCode::GroupIdNotFound.code();
        described.error_message = Some(message);
    }
    described
}

fn taken<'a>(shard: &'a GroupShard, filter: &ListFilter) -> impl Iterator<Item = &'a ClassicGroup> {
    shard.groups.values().filter_map(|group| match group {
        Group::Classic(group) if filter.takes(group.state, GroupType::Classic) => Some(&**group),
        _ => None,
    })
}

pub fn list(shard: &GroupShard, filter: &ListFilter) -> GroupReply {
    let groups = taken(shard, filter).map(|group| ListedGroup {
        group_id: group.id.clone(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        group_state: group.state.to_string(),
        group_type: GroupType::Classic.to_string(),
        ..Default::default()
    });
    GroupReply::List { error: ErrorCode::None, groups: groups.collect() }
}

pub fn list_size(shard: &GroupShard, filter: &ListFilter) -> usize {
    /// The names of a state and a type.
    const NAMES: usize = 32;
    let size = |group: &ClassicGroup| {
        let protocol_type = group.protocol_type.as_ref().map_or(0, String::len);
        size_of::<ListedGroup>() + group.id.len() + protocol_type + NAMES
    };
    taken(shard, filter).map(size).sum()
}

pub fn delete(shard: &GroupShard, ticket: Ticket, group_ids: &[String]) -> GroupDecision {
    let error = |group_id: &String| match shard.groups.get(group_id) {
        None => ErrorCode::GroupIdNotFound,
        Some(Group::Classic(group)) if group.state == State::Empty => ErrorCode::None,
        Some(_) => ErrorCode::NonEmptyGroup,
    };
    let results = group_ids.iter().map(|group_id| delete_error(group_id, error(group_id)));
    let reply = GroupReply::Delete(results.collect());
    let deleted = group_ids.iter().filter(|group_id| error(group_id) == ErrorCode::None);
    let tombstones = deleted.flat_map(|group_id| {
        let group = std::iter::once_with(|| GroupEvent::Record(classic::tombstone(group_id)));
        shard.offsets.of_group(group_id).chain(group)
    });
    let events = shard.no_more_than_fit(tombstones);
    GroupDecision { events, ..Decision::reply(ticket, reply) }
}

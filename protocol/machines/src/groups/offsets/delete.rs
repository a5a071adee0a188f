//! OffsetDelete.

use model::{Decision, ErrorCode, Ticket};
use wire::offset_delete_request::OffsetDeleteRequestTopic;
use wire::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};

use super::tombstone;
use crate::groups::classic::{ClassicGroup, State};
use crate::groups::event::GroupEvent;
use crate::groups::request::GroupReply;
use crate::groups::shard::{Group, GroupDecision, GroupShard};

pub fn delete(
    shard: &GroupShard,
    ticket: Ticket,
    request: &wire::OffsetDeleteRequest,
) -> GroupDecision {
    let mut response = wire::OffsetDeleteResponse::default();
    let mut events = Vec::new();
    match admitted(shard, &request.group_id) {
        Err(error) => response.error_code = error.code(),
        Ok(group) => {
            let subscribed = |topic: &OffsetDeleteRequestTopic| group.is_subscribed_to(&topic.name);
            let topics = request.topics.iter();
            response.topics =
                topics.clone().map(|topic| answer(topic, subscribed(topic))).collect();
            let free = topics.filter(|topic| !subscribed(topic));
            let gone = free.flat_map(|topic| tombstones(shard, &request.group_id, topic));
            events = shard.no_more_than_fit(gone);
        }
    }
    GroupDecision { events, ..Decision::reply(ticket, GroupReply::OffsetDelete(response)) }
}

/// Of members that are no consumers it is not known what they are subscribed to.
fn admitted<'a>(shard: &'a GroupShard, group_id: &str) -> Result<&'a ClassicGroup, ErrorCode> {
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    match shard.groups.get(group_id) {
        None => Err(ErrorCode::GroupIdNotFound),
        Some(Group::Other(_)) => Err(ErrorCode::NonEmptyGroup),
        Some(Group::Classic(group)) => {
            match group.state == State::Empty || group.uses_consumer_protocol() {
                true => Ok(group),
                false => Err(ErrorCode::NonEmptyGroup),
            }
        }
    }
}

fn answer(topic: &OffsetDeleteRequestTopic, subscribed: bool) -> OffsetDeleteResponseTopic {
    let error = match subscribed {
        true => ErrorCode::GroupSubscribedToTopic,
        false => ErrorCode::None,
    };
    let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.code(),
        ..Default::default()
    });
    OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn tombstones<'a>(
    shard: &'a GroupShard,
    group_id: &'a str,
    topic: &'a OffsetDeleteRequestTopic,
) -> impl Iterator<Item = GroupEvent> + 'a {
    let of_topic = shard.offsets.group(group_id).and_then(|topics| topics.get(&topic.name));
    let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
    let committed =
        indexes.filter(move |i| of_topic.is_some_and(|offsets| offsets.contains_key(i)));
    committed.map(move |index| tombstone(group_id, &topic.name, index))
}

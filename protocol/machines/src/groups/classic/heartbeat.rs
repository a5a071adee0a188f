//! Heartbeat.

use model::{Decision, ErrorCode, Ticket};

use super::{Member, State, responses, session_timer};
use crate::groups::request::GroupReply;
use crate::groups::shard::{Group, GroupDecision, GroupShard};

pub fn heartbeat(
    shard: &GroupShard,
    ticket: Ticket,
    request: &wire::HeartbeatRequest,
) -> GroupDecision {
    match beat(shard, request) {
        Err(error) => Decision::reply(ticket, GroupReply::Heartbeat(responses::heartbeat(error))),
        Ok((member, error)) => GroupDecision {
            events: Vec::new(),
            replies: vec![(ticket, GroupReply::Heartbeat(responses::heartbeat(error)))],
            timers: vec![session_timer(&request.group_id, member)],
        },
    }
}

/// The member whose session goes on, and what it is told.
fn beat<'a>(
    shard: &'a GroupShard,
    request: &wire::HeartbeatRequest,
) -> Result<(&'a Member, ErrorCode), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let Some(Group::Classic(group)) = shard.groups.get(&request.group_id) else {
        return Err(ErrorCode::UnknownMemberId);
    };
    let instance_id = request.group_instance_id.as_deref();
    let member = group.validate_member(&request.member_id, instance_id)?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    match group.state {
        State::Empty => Err(ErrorCode::UnknownMemberId),
        State::PreparingRebalance => Ok((member, ErrorCode::RebalanceInProgress)),
        State::CompletingRebalance | State::Stable => Ok((member, ErrorCode::None)),
    }
}

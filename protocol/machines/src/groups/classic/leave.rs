//! LeaveGroup.

use model::{Decision, ErrorCode, Now, Ticket};
use wire::leave_group_request::MemberIdentity;
use wire::leave_group_response::MemberResponse;

use super::{Draft, MemberId, State};
use crate::groups::request::GroupReply;
use crate::groups::shard::{Group, GroupDecision, GroupShard};

/// From this version on several members may leave at once.
const BATCH_VERSION: i16 = 3;

pub fn leave(
    shard: &GroupShard,
    now: Now,
    ticket: Ticket,
    request: &wire::LeaveGroupRequest,
    version: i16,
) -> GroupDecision {
    if request.group_id.is_empty() {
        let error_code = ErrorCode::InvalidGroupId.code();
        let response = wire::LeaveGroupResponse { error_code, ..Default::default() };
        return Decision::reply(ticket, GroupReply::Leave(response));
    }
    let alone;
    let leaving = if version >= BATCH_VERSION {
        &request.members
    } else {
        let member_id = request.member_id.clone();
        alone = vec![MemberIdentity { member_id, ..Default::default() }];
        &alone
    };
    let Some(Group::Classic(group)) = shard.groups.get(&request.group_id) else {
        let unknown = leaving.iter().map(|member| left(member, ErrorCode::UnknownMemberId));
        return Decision::reply(ticket, answer(unknown.collect(), version));
    };
    let mut draft = Draft::new(&shard.settings, now, (**group).clone());
    let mut members = Vec::with_capacity(leaving.len());
    for member in leaving {
        let error = draft.leave(member).err().unwrap_or(ErrorCode::None);
        members.push(left(member, error));
    }
    if members.iter().any(|member| member.error_code == ErrorCode::None.code()) {
        match draft.group.state {
            State::Stable | State::CompletingRebalance => draft.rebalance_or_complete_join(),
            State::PreparingRebalance => draft.complete_join_if_all_joined(),
            State::Empty => {}
        }
    }
    draft.reply(ticket, answer(members, version));
    draft.finish()
}

fn left(member: &MemberIdentity, error: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: error.code(),
        ..Default::default()
    }
}

/// Before batches the one member's error is the response's.
fn answer(members: Vec<MemberResponse>, version: i16) -> GroupReply {
    let mut response = wire::LeaveGroupResponse::default();
    if version >= BATCH_VERSION {
        response.members = members;
    } else if let Some(member) = members.first() {
        response.error_code = member.error_code;
    }
    GroupReply::Leave(response)
}

impl Draft<'_> {
    fn leave(&mut self, member: &MemberIdentity) -> Result<(), ErrorCode> {
        let member_id = self.leaving(member)?;
        self.remove_member(&member_id);
        Ok(())
    }

    fn leaving(&self, member: &MemberIdentity) -> Result<MemberId, ErrorCode> {
        let instance_id = member.group_instance_id.as_deref();
        if member.member_id.is_empty() {
            // An operator removes a static member of which only the instance id is known.
            let known = instance_id.and_then(|id| self.group.static_members.get(id));
            return known.cloned().ok_or(ErrorCode::UnknownMemberId);
        }
        if let Some((pending, _)) =
            self.group.pending_joins.get_key_value(member.member_id.as_str())
        {
            return Ok(pending.clone());
        }
        self.group.validate_member(&member.member_id, instance_id).map(|member| member.id.clone())
    }
}

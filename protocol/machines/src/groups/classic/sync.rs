//! SyncGroup.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{Decision, ErrorCode, Now, Ticket};
use wire::sync_group_request::SyncGroupRequestAssignment;

use super::{ClassicGroup, Draft, MemberId, State, responses};
use crate::groups::request::{GroupReply, Kept};
use crate::groups::shard::{Group, GroupDecision, GroupShard};

/// From this version on the client says which protocol it synced for.
const PROTOCOL_REQUIRED_VERSION: i16 = 5;

pub fn sync(
    shard: &GroupShard,
    now: Now,
    ticket: Ticket,
    (request, version): (&wire::SyncGroupRequest, i16),
    kept: &Kept,
) -> GroupDecision {
    let group = match admitted(shard, request, version) {
        Ok(group) => group,
        Err(error) => {
            return Decision::reply(ticket, GroupReply::Sync(responses::sync_error(error)));
        }
    };
    let member_id: &str = &request.member_id;
    let mut draft = Draft::new(&shard.settings, now, group.clone());
    draft.note_synced(member_id);
    if group.state == State::Stable {
        draft.change_member(member_id, |member| member.synced = Some(ticket));
        draft.reply_sync(ticket, assigned(group, member_id));
    } else {
        draft.await_assignment(ticket, member_id);
        if group.is_leader(member_id) {
            draft.assign(&request.assignments, kept);
        }
    }
    draft.finish()
}

fn assigned(group: &ClassicGroup, member_id: &str) -> wire::SyncGroupResponse {
    match group.members.get(member_id) {
        Some(member) => responses::synced(group, member),
        None => responses::sync_error(ErrorCode::UnknownMemberId),
    }
}

fn admitted<'a>(
    shard: &'a GroupShard,
    request: &wire::SyncGroupRequest,
    version: i16,
) -> Result<&'a ClassicGroup, ErrorCode> {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= PROTOCOL_REQUIRED_VERSION && !names_protocol {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let Some(Group::Classic(group)) = shard.groups.get(&request.group_id) else {
        return Err(ErrorCode::UnknownMemberId);
    };
    if group.state == State::Empty {
        return Err(ErrorCode::UnknownMemberId);
    }
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    if differ(&request.protocol_type, &group.protocol_type)
        || differ(&request.protocol_name, &group.protocol)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    match group.state {
        State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
        _ => Ok(group),
    }
}

/// Whether both are known and not the same.
fn differ(requested: &Option<String>, group: &Option<String>) -> bool {
    matches!((requested, group), (Some(requested), Some(group)) if requested != group)
}

impl ClassicGroup {
    pub(super) fn assignments(&self) -> BTreeMap<MemberId, Bytes> {
        let members = self.members.values();
        members.map(|member| (member.id.clone(), member.assignment.clone())).collect()
    }
}

impl Draft<'_> {
    fn note_synced(&mut self, member_id: &str) {
        self.group.pending_syncs.remove_mut(member_id);
        if self.group.pending_syncs.is_empty() {
            self.cancel_timer(self.sync_timer());
        }
    }

    fn await_assignment(&mut self, ticket: Ticket, member_id: &str) {
        let mut earlier = None;
        self.change_member(member_id, |member| {
            earlier = member.awaiting_sync.replace(ticket);
        });
        if let Some(earlier) = earlier {
            // It gave that one up, or it would not ask again.
            self.reply_sync(earlier, responses::sync_error(ErrorCode::RebalanceInProgress));
        }
    }

    /// The leader has spoken: what it assigns is written, and everyone gets their part.
    fn assign(&mut self, assignments: &[SyncGroupRequestAssignment], kept: &Kept) {
        let mut by_member: BTreeMap<&str, &Bytes> = BTreeMap::new();
        for assignment in assignments {
            by_member.insert(&assignment.member_id, &assignment.assignment);
        }
        // Copies, as the request's bytes are slices of the whole frame.
        let retained = self.group.members.keys().map(|id| {
            let assignment = by_member.get(&**id).map(|bytes| Bytes::copy_from_slice(bytes));
            (id.clone(), assignment.unwrap_or_default())
        });
        let retained: BTreeMap<MemberId, Bytes> = retained.collect();
        let record = self.group.record(&retained);
        if !self.fits(&record) {
            self.refuse_syncs(ErrorCode::UnknownServerError);
            self.rebalance_or_complete_join();
            return;
        }
        self.write(record);
        for (member_id, assignment) in retained {
            self.hand_out(&member_id, assignment, kept);
        }
        self.transition(State::Stable);
    }

    fn hand_out(&mut self, member_id: &MemberId, assignment: Bytes, kept: &Kept) {
        let mut waiting = None;
        self.change_member(member_id, |member| {
            member.assignment = assignment;
            member.assigned_by = kept.clone();
            waiting = member.awaiting_sync.take();
            member.synced = waiting;
        });
        if let Some(ticket) = waiting {
            let response = assigned(&self.group, member_id);
            self.reply_sync(ticket, response);
            // While it waited its session did not count.
            self.restart_session(member_id);
        }
    }
}

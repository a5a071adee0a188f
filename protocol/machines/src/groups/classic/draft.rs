//! A decision in the making: a copy of the group that may be changed, and what came of it so far.
//!
//! A request can set off a chain (a member leaves, so a rebalance begins, so a join completes), each link of which looks
//! at what the last one left. The chain runs on the copy; the machine gets it as one event at the end.

use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, Now, Ticket, TimerOp};

use super::{ClassicGroup, Member, MemberId, State, responses};
use crate::groups::event::{GroupEvent, Record};
use crate::groups::request::{GroupReply, GroupTimer};
use crate::groups::settings::GroupSettings;
use crate::groups::shard::GroupDecision;

pub struct Draft<'a> {
    pub settings: &'a GroupSettings,
    pub now: Now,
    pub group: ClassicGroup,
    events: Vec<GroupEvent>,
    replies: Vec<(Ticket, GroupReply)>,
    timers: Vec<TimerOp<GroupTimer>>,
}

impl<'a> Draft<'a> {
    pub fn new(settings: &'a GroupSettings, now: Now, group: ClassicGroup) -> Draft<'a> {
        Draft { settings, now, group, events: vec![], replies: vec![], timers: vec![] }
    }

    pub fn finish(self) -> GroupDecision {
        let Draft { group, mut events, replies, timers, .. } = self;
        events.push(GroupEvent::Classic(Arc::new(group)));
        GroupDecision { events, replies, timers }
    }

    pub fn wrote_nothing(&self) -> bool {
        self.events.is_empty()
    }

    pub fn write(&mut self, record: Record) {
        self.events.push(GroupEvent::Record(record));
    }

    pub fn fits(&self, record: &Record) -> bool {
        record.max_bytes() <= self.settings.decision_bytes()
    }

    pub fn reply_join(&mut self, ticket: Ticket, response: wire::JoinGroupResponse) {
        self.replies.push((ticket, GroupReply::Join(response)));
    }

    pub fn reply_sync(&mut self, ticket: Ticket, response: wire::SyncGroupResponse) {
        self.replies.push((ticket, GroupReply::Sync(response)));
    }

    pub fn reply(&mut self, ticket: Ticket, reply: GroupReply) {
        self.replies.push((ticket, reply));
    }

    pub fn set_timer(&mut self, timer: GroupTimer, after_ms: i32) {
        let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
        self.timers.push(TimerOp::Set { timer, after });
    }

    pub fn cancel_timer(&mut self, timer: GroupTimer) {
        self.timers.push(TimerOp::Cancel { timer });
    }

    pub fn member_timer(&self, member_id: &str) -> GroupTimer {
        GroupTimer::Member { group_id: self.group.id.clone(), member_id: member_id.to_owned() }
    }

    pub fn join_timer(&self) -> GroupTimer {
        GroupTimer::Join { group_id: self.group.id.clone() }
    }

    pub fn sync_timer(&self) -> GroupTimer {
        GroupTimer::Sync { group_id: self.group.id.clone() }
    }

    /// The member must be heard of within its session timeout from now.
    pub fn restart_session(&mut self, member_id: &str) {
        if let Some(member) = self.group.members.get(member_id) {
            let timeout = member.session_timeout_ms;
            self.set_timer(self.member_timer(member_id), timeout);
        }
    }

    pub fn member_ids(&self) -> Vec<MemberId> {
        self.group.members.keys().cloned().collect()
    }

    pub fn change_member(&mut self, member_id: &str, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.group.members.get_mut(member_id) {
            change(Arc::make_mut(member));
        }
    }

    pub fn transition(&mut self, state: State) {
        self.group.previous_state = self.group.state;
        self.group.state = state;
        self.group.state_since_ms = Some(self.now.wall_ms);
    }

    pub fn add_member(&mut self, member: Member) {
        let group = &mut self.group;
        if let Some(instance_id) = &member.instance_id {
            group.static_members.insert_mut(instance_id.clone(), member.id.clone());
        }
        if group.members.is_empty() {
            group.protocol_type = Some(member.protocol_type.clone());
        }
        group.leader.get_or_insert_with(|| member.id.clone());
        group.pending_joins.remove_mut(&member.id);
        group.count_protocols(&member);
        group.members.insert_mut(member.id.clone(), Arc::new(member));
    }

    /// Whatever the member still waits for is refused: it is not one any more.
    pub fn remove_member(&mut self, member_id: &str) {
        self.cancel_timer(self.member_timer(member_id));
        if let Some(member) = self.group.members.get(member_id).cloned() {
            self.group.members.remove_mut(member_id);
            self.group.discount_protocols(&member);
            if let Some(instance_id) = &member.instance_id {
                self.group.static_members.remove_mut(instance_id);
            }
            self.answer_parked(&member, "", ErrorCode::UnknownMemberId);
        }
        if self.group.is_leader(member_id) {
            self.group.leader = self.group.members.keys().next().cloned();
        }
        self.group.pending_joins.remove_mut(member_id);
        self.group.pending_syncs.remove_mut(member_id);
    }

    pub fn answer_parked(&mut self, member: &Member, reply_id: &str, error: ErrorCode) {
        if let Some(join) = member.awaiting_join {
            self.reply_join(join.ticket, responses::join_error(reply_id, error, join.version));
        }
        if let Some(ticket) = member.awaiting_sync.or(member.synced) {
            self.reply_sync(ticket, responses::sync_error(error));
        }
    }
}

impl ClassicGroup {
    pub(super) fn count_protocols(&mut self, member: &Member) {
        self.offered_bytes += member.offered_bytes();
        for protocol in member.protocols.iter() {
            *self.supported.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    pub(super) fn discount_protocols(&mut self, member: &Member) {
        self.offered_bytes = self.offered_bytes.saturating_sub(member.offered_bytes());
        for protocol in member.protocols.iter() {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }
}

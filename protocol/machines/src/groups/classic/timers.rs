//! What the passing of time does to a classic group.

use std::time::Duration;

use model::{Decision, Now, TimerOp};

use super::{ClassicGroup, Draft, Member, State};
use crate::groups::request::GroupTimer;
use crate::groups::settings::GroupSettings;
use crate::groups::shard::{Group, GroupDecision, GroupShard};

/// The member must be heard of within its session timeout from now.
pub fn session_timer(group_id: &str, member: &Member) -> TimerOp<GroupTimer> {
    TimerOp::Set {
        timer: GroupTimer::Member {
            group_id: group_id.to_owned(),
            member_id: member.id.to_string(),
        },
        after: Duration::from_millis(u64::try_from(member.session_timeout_ms).unwrap_or(0)),
    }
}

/// A group that was just read from the log: each member is given its session timeout to show up.
pub fn loaded(settings: &GroupSettings, now: Now, group: &ClassicGroup) -> GroupDecision {
    let mut decision = Decision::nothing();
    if group.members.size() > settings.max_size {
        // The limit was lowered. Those who rejoin first stay.
        let mut draft = Draft::new(settings, now, group.clone());
        draft.prepare_rebalance();
        decision = draft.finish();
    }
    let sessions = group.members.values().map(|member| session_timer(&group.id, member));
    decision.timers.extend(sessions);
    decision
}

pub fn on_timer(shard: &GroupShard, now: Now, timer: &GroupTimer) -> GroupDecision {
    let (GroupTimer::Member { group_id, .. }
    | GroupTimer::Join { group_id }
    | GroupTimer::Sync { group_id }) = timer
    else {
        return Decision::nothing();
    };
    let Some(Group::Classic(group)) = shard.groups.get(group_id) else {
        return Decision::nothing();
    };
    let mut draft = Draft::new(&shard.settings, now, (**group).clone());
    match timer {
        GroupTimer::Member { member_id, .. } => draft.session_expired(member_id),
        GroupTimer::Join { .. } => draft.join_time_is_over(),
        GroupTimer::Sync { .. } => draft.sync_time_is_over(),
        GroupTimer::Expiration => {}
    }
    draft.finish()
}

impl Draft<'_> {
    fn session_expired(&mut self, member_id: &str) {
        if self.group.pending_joins.contains_key(member_id) {
            self.remove_member(member_id);
            self.complete_join_if_everyone_left_has_joined();
            return;
        }
        let Some(member) = self.group.members.get(member_id) else {
            return;
        };
        if member.is_heard_of() {
            return;
        }
        self.remove_member(member_id);
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.rebalance_or_complete_join(),
            State::PreparingRebalance => self.complete_join_if_everyone_left_has_joined(),
            State::Empty => {}
        }
    }

    /// Also ends the first rebalance before its delay is over.
    fn complete_join_if_everyone_left_has_joined(&mut self) {
        if self.group.state == State::PreparingRebalance && self.group.have_all_joined() {
            self.complete_join();
        }
    }

    /// Those who joined and never synced hold up nobody any longer.
    fn sync_time_is_over(&mut self) {
        let synced = self.group.pending_syncs.is_empty();
        if synced || !matches!(self.group.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for member_id in self.group.pending_syncs.clone().iter() {
            self.remove_member(member_id);
        }
        self.prepare_rebalance();
    }
}

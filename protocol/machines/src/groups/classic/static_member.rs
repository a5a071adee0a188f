//! A static member that restarted: it comes without a member id, and takes over its predecessor's place.

use std::sync::Arc;

use model::ErrorCode;

use super::join::Join;
use super::{Draft, MemberId, State, responses};

/// From this version on a leader can be told that there is nothing to assign.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

impl Draft<'_> {
    pub fn replace_static_member(&mut self, this: &Join, old_id: &MemberId, new_id: &MemberId) {
        let old_leader = self.group.leader.clone();
        if !self.swap_member(old_id, new_id) {
            return;
        }
        match self.group.state {
            State::Stable => self.rejoin_stable_group(this, new_id, old_leader),
            // The leader may be assigning to the old member id right now, so it must do it again.
            State::CompletingRebalance => {
                self.update_member(this, new_id);
                self.prepare_rebalance();
            }
            State::PreparingRebalance | State::Empty => {
                self.update_member(this, new_id);
                self.complete_join_if_all_joined();
            }
        }
    }

    fn swap_member(&mut self, old_id: &MemberId, new_id: &MemberId) -> bool {
        let Some(old) = self.group.members.get(old_id).cloned() else {
            return false;
        };
        self.group.members.remove_mut(old_id);
        self.cancel_timer(self.member_timer(old_id));
        // Two processes share the instance id, and this one came last.
        self.answer_parked(&old, old_id, ErrorCode::FencedInstanceId);
        let mut member = Arc::unwrap_or_clone(old);
        member.id = new_id.clone();
        member.awaiting_join = None;
        member.awaiting_sync = None;
        member.synced = None;
        member.is_new = false;
        if let Some(instance_id) = &member.instance_id {
            self.group.static_members.insert_mut(instance_id.clone(), new_id.clone());
        }
        if self.group.is_leader(old_id) {
            self.group.leader = Some(new_id.clone());
        }
        if self.group.pending_syncs.remove_mut(old_id) {
            self.group.pending_syncs.insert_mut(new_id.clone());
        }
        self.group.members.insert_mut(new_id.clone(), Arc::new(member));
        self.restart_session(new_id);
        true
    }

    /// A restart alone moves no partition: the newcomer goes on with the assignment of its predecessor, unless what it
    /// brings changes the protocol of all.
    fn rejoin_stable_group(
        &mut self,
        this: &Join,
        new_id: &MemberId,
        old_leader: Option<MemberId>,
    ) {
        self.update_member(this, new_id);
        if self.group.select_protocol() != self.group.protocol {
            self.rebalance_or_complete_join();
            return;
        }
        let assignments = self.group.assignments();
        let record = self.group.record(&assignments);
        if !self.fits(&record) {
            // As it was never there: the old id was fenced, and the group goes on without it.
            self.change_member(new_id, |member| member.awaiting_join = None);
            self.remove_member(new_id);
            let error = ErrorCode::UnknownServerError;
            self.reply_join(this.ticket, responses::join_error("", error, this.join.version));
            self.rebalance_or_complete_join();
            return;
        }
        self.change_member(new_id, |member| member.awaiting_join = None);
        let version = this.join.version;
        let mut response;
        if version >= SKIP_ASSIGNMENT_VERSION {
            let is_leader = self.group.is_leader(new_id);
            response = responses::joined(&self.group, new_id, is_leader, version);
            response.skip_assignment = is_leader;
        } else {
            // An older client that is told that it leads would assign, which nobody waits for: it is told of the
            // leader that was.
            response = responses::joined(&self.group, new_id, false, version);
            response.leader = old_leader.as_deref().unwrap_or_default().to_owned();
        }
        self.write(record);
        self.reply_join(this.ticket, response);
    }
}

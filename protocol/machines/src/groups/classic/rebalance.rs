//! From one generation to the next: members are called back, wait for each other, and are told who leads.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::ErrorCode;
use rpds::RedBlackTreeSetSync;

use super::{ClassicGroup, Draft, InitialDelay, MemberId, State, responses};

impl Draft<'_> {
    /// After a change among the members.
    pub fn rebalance_or_complete_join(&mut self) {
        if self.group.can_rebalance() {
            self.prepare_rebalance();
        } else {
            self.complete_join_if_all_joined();
        }
    }

    pub fn prepare_rebalance(&mut self) {
        match self.group.state {
            State::CompletingRebalance => self.refuse_syncs(ErrorCode::RebalanceInProgress),
            State::Stable => self.recall_syncs(),
            State::Empty | State::PreparingRebalance => {}
        }
        self.group.pending_syncs = RedBlackTreeSetSync::default();
        self.cancel_timer(self.sync_timer());

        let is_first = self.group.state == State::Empty;
        self.transition(State::PreparingRebalance);
        if is_first {
            let delay_ms = self.settings.initial_rebalance_delay_ms;
            let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
            self.wait_for_newcomers(InitialDelay { delay_ms, remaining_ms });
        } else if self.group.have_all_joined() {
            self.complete_join();
        } else {
            self.set_timer(self.join_timer(), self.group.rebalance_timeout_ms());
        }
    }

    fn wait_for_newcomers(&mut self, delay: InitialDelay) {
        self.group.initial_delay = Some(delay);
        self.set_timer(self.join_timer(), delay.delay_ms);
    }

    /// The first rebalance is never complete before its delay is over, as nobody knows how many will come.
    pub fn complete_join_if_all_joined(&mut self) {
        if self.group.state == State::PreparingRebalance
            && self.group.previous_state != State::Empty
            && self.group.have_all_joined()
        {
            self.complete_join();
        }
    }

    pub fn join_time_is_over(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        match self.group.initial_delay {
            Some(delay) if self.group.new_member_added && delay.remaining_ms != 0 => {
                self.group.new_member_added = false;
                let delay_ms = self.settings.initial_rebalance_delay_ms.min(delay.remaining_ms);
                let remaining_ms = (delay.remaining_ms - delay.delay_ms).max(0);
                self.wait_for_newcomers(InitialDelay { delay_ms, remaining_ms });
            }
            _ => self.complete_join(),
        }
    }

    /// Whoever is not here is out, but for static members: those are given their session timeout to come back.
    pub fn complete_join(&mut self) {
        self.cancel_timer(self.join_timer());
        self.group.initial_delay = None;
        for member_id in self.group.absent_dynamic_members() {
            self.remove_member(&member_id);
        }
        if !self.group.elect_leader_among_joined() && !self.group.members.is_empty() {
            // Only absent static members are left. Their sessions will end, or they will join.
            self.set_timer(self.join_timer(), self.group.rebalance_timeout_ms());
            return;
        }
        self.begin_generation();
        if self.group.state == State::Empty {
            let record = self.group.record(&BTreeMap::new());
            self.write(record);
            return;
        }
        for member_id in self.member_ids() {
            self.admit(&member_id);
        }
        self.set_timer(self.sync_timer(), self.group.rebalance_timeout_ms());
    }

    fn begin_generation(&mut self) {
        let group = &mut self.group;
        group.generation = group.generation.checked_add(1).unwrap_or(0);
        group.pending_syncs = RedBlackTreeSetSync::default();
        group.protocol = group.select_protocol();
        group.refresh_subscription();
        let next = match group.members.is_empty() {
            true => State::Empty,
            false => State::CompletingRebalance,
        };
        self.transition(next);
    }

    fn admit(&mut self, member_id: &MemberId) {
        let Some(member) = self.group.members.get(member_id) else {
            return;
        };
        if let Some(join) = member.awaiting_join {
            let is_leader = self.group.is_leader(member_id);
            let response = responses::joined(&self.group, member_id, is_leader, join.version);
            self.reply_join(join.ticket, response);
        }
        self.change_member(member_id, |member| {
            member.awaiting_join = None;
            member.is_new = false;
        });
        self.restart_session(member_id);
        self.group.pending_syncs.insert_mut(member_id.clone());
    }

    /// Who was not told of its assignment yet, as that is not committed, learns at once that there is another generation to come. To
    /// Kafka such a group is not stable yet.
    fn recall_syncs(&mut self) {
        let members = self.group.members.values();
        let synced: Vec<_> = members.filter_map(|m| Some((m.id.clone(), m.synced?))).collect();
        for (member_id, ticket) in synced {
            self.change_member(&member_id, |member| member.synced = None);
            self.reply_sync(ticket, responses::sync_error(ErrorCode::RebalanceInProgress));
        }
    }

    /// Nobody has an assignment any more, and those who wait for one learn why.
    pub fn refuse_syncs(&mut self, error: ErrorCode) {
        for member_id in self.member_ids() {
            let mut waiting = None;
            self.change_member(&member_id, |member| {
                member.assignment = Bytes::new();
                waiting = member.awaiting_sync.take();
            });
            if let Some(ticket) = waiting {
                self.reply_sync(ticket, responses::sync_error(error));
                self.restart_session(&member_id);
            }
        }
    }
}

impl ClassicGroup {
    fn absent_dynamic_members(&self) -> Vec<MemberId> {
        let absent = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none());
        absent.map(|member| member.id.clone()).collect()
    }

    /// The leader stays, if it is here. False where nobody can lead.
    fn elect_leader_among_joined(&mut self) -> bool {
        let Some(leader) = &self.leader else {
            return false;
        };
        let is_here = |id| self.members.get(id).is_some_and(|m| m.awaiting_join.is_some());
        if is_here(leader) {
            return true;
        }
        let joined = self.members.values().find(|member| member.awaiting_join.is_some());
        match joined.map(|member| member.id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }
}

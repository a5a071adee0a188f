//! JoinGroup.

use std::sync::Arc;

use bytes::Bytes;
use model::{Decision, ErrorCode, Now, Ticket, Uuid};

use super::member::{offered_bytes, retained};
use super::{ClassicGroup, Draft, Member, MemberId, ParkedJoin, State, responses};
use crate::groups::request::{GroupReply, JoinGroup, Kept};
use crate::groups::settings::{MAX_PENDING_MEMBERS, NEW_MEMBER_JOIN_TIMEOUT_MS};
use crate::groups::shard::{Group, GroupDecision, GroupShard};

/// From this version on a new member first gets an id, and joins when it comes back with it: so one whose reply was
/// lost is forgotten soon, instead of holding up the rebalance.
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;

/// A JoinGroup on its way through the rules.
pub struct Join<'a> {
    pub ticket: Ticket,
    pub join: &'a JoinGroup,
}

impl Join<'_> {
    pub fn instance_id(&self) -> Option<&str> {
        self.join.request.group_instance_id.as_deref()
    }

    /// The first version knows but one timeout.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        match self.join.version {
            0 => self.join.request.session_timeout_ms,
            _ => self.join.request.rebalance_timeout_ms,
        }
    }

    pub fn parked(&self) -> ParkedJoin {
        ParkedJoin { ticket: self.ticket, version: self.join.version }
    }

    fn error(&self, member_id: &str, error: ErrorCode) -> wire::JoinGroupResponse {
        responses::join_error(member_id, error, self.join.version)
    }

    fn new_member_id(&self) -> MemberId {
        let prefix = self.instance_id().unwrap_or(&self.join.client.client_id);
        member_id(prefix, self.join.member_uuid)
    }
}

pub fn join(shard: &GroupShard, now: Now, ticket: Ticket, join: &JoinGroup) -> GroupDecision {
    let this = Join { ticket, join };
    let request = &join.request;
    match admitted(shard, request) {
        Err(error) => {
            let id = match error {
                ErrorCode::InconsistentGroupProtocol => "",
                _ => &request.member_id,
            };
            Decision::reply(ticket, GroupReply::Join(this.error(id, error)))
        }
        Ok(existing) => {
            let is_new_group = existing.is_none();
            let group = match existing {
                Some(group) => group.clone(),
                None => ClassicGroup::new(&request.group_id, Some(now.wall_ms)),
            };
            let mut draft = Draft::new(&shard.settings, now, group);
            draft.join(&this);
            if is_new_group && draft.wrote_nothing() {
                let record = draft.group.first_record();
                draft.write(record);
            }
            draft.finish()
        }
    }
}

/// The group to join; none where it is to begin.
fn admitted<'a>(
    shard: &'a GroupShard,
    request: &wire::JoinGroupRequest,
) -> Result<Option<&'a ClassicGroup>, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let settings = &shard.settings;
    if offered(request) > MAX_OFFERED.saturating_mul(settings.record_bytes()) {
        return Err(ErrorCode::UnknownServerError);
    }
    let bounds = settings.min_session_timeout_ms..=settings.max_session_timeout_ms;
    if !bounds.contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    match shard.groups.get(&request.group_id) {
        Some(Group::Classic(group)) => Ok(Some(group)),
        Some(Group::Other(_)) => Err(ErrorCode::InconsistentGroupProtocol),
        None if request.member_id.is_empty() => Ok(None),
        None => Err(ErrorCode::UnknownMemberId),
    }
}

/// Members offer a few protocols, and the group's record holds the one that is chosen. What could never be written is not
/// kept until then either: in as many batches.
const MAX_OFFERED: usize = 4;

fn offered(request: &wire::JoinGroupRequest) -> usize {
    request.protocols.iter().map(|offer| offered_bytes(&offer.name, &offer.metadata)).sum()
}

impl JoinGroup {
    /// What the group takes for it, in bytes; more rather than less. Who is only given an id keeps nothing of its offer.
    pub fn memory(&self) -> usize {
        /// A member's own, with its timer and its places in the group.
        const MEMBER: usize = 1 << 10;
        /// Timers and indexes name the group and the member too.
        const TIMES: usize = 3;
        let request = &self.request;
        let instance_id = request.group_instance_id.as_deref().unwrap_or_default();
        let names = [&request.group_id, &request.member_id, instance_id, &self.client.client_id];
        let names: usize = names.iter().map(|name| name.len()).sum();
        let offered = if self.only_gets_an_id() { 0 } else { offered(request) };
        MEMBER + TIMES * names + request.protocol_type.len() + offered
    }

    fn only_gets_an_id(&self) -> bool {
        let request = &self.request;
        self.version >= MEMBER_ID_REQUIRED_VERSION
            && request.member_id.is_empty()
            && request.group_instance_id.is_none()
    }
}

impl Draft<'_> {
    fn join(&mut self, this: &Join) {
        let request = &this.join.request;
        if !self.has_room_for(&request.member_id) || !self.can_hold(request) {
            if !request.member_id.is_empty() {
                self.remove_member(&request.member_id);
            }
            self.reply_join(this.ticket, this.error("", ErrorCode::GroupMaxSizeReached));
            return;
        }
        let names = request.protocols.iter().map(|protocol| protocol.name.as_str());
        if !self.group.supports(&request.protocol_type, names) {
            let error = this.error(&request.member_id, ErrorCode::InconsistentGroupProtocol);
            self.reply_join(this.ticket, error);
        } else if request.member_id.is_empty() {
            self.join_new(this);
        } else {
            self.join_known(this);
        }
    }

    fn has_room_for(&self, member_id: &str) -> bool {
        let max_size = self.settings.max_size;
        let member = self.group.members.get(member_id);
        match self.group.state {
            State::Empty => true,
            // Those who wait are counted, not the members: the limit may have been lowered, and then the last to
            // rejoin are the ones that must go.
            State::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.group.awaiting_join() < max_size
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.group.members.size() < max_size
            }
        }
    }

    /// Members offer a few protocols: what they offer together is held as long as a record of one of each could be written.
    fn can_hold(&self, request: &wire::JoinGroupRequest) -> bool {
        let group = &self.group;
        let instance_id = request.group_instance_id.as_ref();
        let fixed = instance_id.and_then(|id| group.static_members.get(id));
        let id: &str = fixed.map_or(&request.member_id, |id| id);
        let before = group.members.get(id).map_or(0, |member| member.offered_bytes());
        let after = group.offered_bytes.saturating_sub(before) + offered(request);
        after <= MAX_OFFERED.saturating_mul(self.settings.decision_bytes())
    }

    fn join_new(&mut self, this: &Join) {
        let member_id = this.new_member_id();
        if let Some(instance_id) = this.instance_id() {
            match self.group.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static_member(this, &old_id, &member_id),
                None => self.add_and_rebalance(this, member_id),
            }
        } else if !this.join.only_gets_an_id() {
            self.add_and_rebalance(this, member_id);
        } else if self.group.pending_joins.size() >= MAX_PENDING_MEMBERS {
            self.reply_join(this.ticket, this.error("", ErrorCode::CoordinatorLoadInProgress));
        } else {
            let timer = self.member_timer(&member_id);
            self.set_timer(timer, this.join.request.session_timeout_ms);
            self.reply_join(this.ticket, this.error(&member_id, ErrorCode::MemberIdRequired));
            self.group.pending_joins.insert_mut(member_id, this.join.kept.clone());
        }
    }

    fn join_known(&mut self, this: &Join) {
        let request = &this.join.request;
        let member_id: &str = &request.member_id;
        // Only members without an instance id are ever pending.
        if this.instance_id().is_none() && self.group.pending_joins.contains_key(member_id) {
            self.add_and_rebalance(this, Arc::from(member_id));
            return;
        }
        let member = match self.group.validate_member(member_id, this.instance_id()) {
            Ok(member) => member,
            Err(error) => {
                self.reply_join(this.ticket, this.error(member_id, error));
                return;
            }
        };
        let unchanged = member.matches(&request.protocols);
        let is_leader = self.group.is_leader(member_id);
        match self.group.state {
            // The answer to its last JoinGroup was lost.
            State::CompletingRebalance if unchanged => {
                let response =
                    responses::joined(&self.group, member_id, is_leader, this.join.version);
                self.reply_join(this.ticket, response);
            }
            // Nothing changed for a follower, so it may go on and sync. A leader that joins again wants to assign anew:
            // there may be more partitions.
            State::Stable if unchanged && !is_leader => {
                let response = responses::joined(&self.group, member_id, false, this.join.version);
                self.reply_join(this.ticket, response);
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                self.update_member(this, member_id);
                self.rebalance_or_complete_join();
            }
            State::Empty => {
                self.reply_join(this.ticket, this.error(member_id, ErrorCode::UnknownMemberId));
            }
        }
    }

    fn add_and_rebalance(&mut self, this: &Join, member_id: MemberId) {
        let request = &this.join.request;
        let group = &mut self.group;
        if group.state == State::PreparingRebalance && group.previous_state == State::Empty {
            group.new_member_added = true;
        }
        self.add_member(Member {
            id: member_id.clone(),
            instance_id: request.group_instance_id.clone(),
            client_id: this.join.client.client_id.clone(),
            client_host: this.join.client.client_host.clone(),
            rebalance_timeout_ms: this.rebalance_timeout_ms(),
            session_timeout_ms: request.session_timeout_ms,
            protocol_type: request.protocol_type.clone(),
            protocols: retained(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(this.parked()),
            awaiting_sync: None,
            synced: None,
            is_new: true,
            kept: this.join.kept.clone(),
            assigned_by: Kept::default(),
        });
        // The coordinator is not told of a client that went away while its request is parked: without an end to the
        // wait, each of its attempts would stay a member.
        self.set_timer(self.member_timer(&member_id), NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete_join();
    }

    /// The member is here again, perhaps with other protocols and timeouts, and waits.
    pub fn update_member(&mut self, this: &Join, member_id: &str) {
        let request = &this.join.request;
        let Some(member) = self.group.members.get(member_id).cloned() else {
            return;
        };
        if let Some(earlier) = member.awaiting_join {
            // It gave that one up, or it would not ask again.
            let error = ErrorCode::RebalanceInProgress;
            let response = responses::join_error(member_id, error, earlier.version);
            self.reply_join(earlier.ticket, response);
        }
        self.group.discount_protocols(&member);
        self.change_member(member_id, |member| {
            member.protocols = retained(&request.protocols);
            member.kept = this.join.kept.clone();
            member.rebalance_timeout_ms = this.rebalance_timeout_ms();
            member.session_timeout_ms = request.session_timeout_ms;
            member.awaiting_join = Some(this.parked());
        });
        if let Some(member) = self.group.members.get(member_id).cloned() {
            self.group.count_protocols(&member);
        }
    }
}

/// As Kafka makes it: what the client calls itself, and a uuid as Java writes it.
fn member_id(prefix: &str, uuid: Uuid) -> MemberId {
    /// The longest string that a record can hold.
    const MAX: usize = i16::MAX as usize;
    const UUID: usize = 37;
    let mut end = prefix.len().min(MAX - UUID);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let hex: String = uuid.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Arc::from(format!("{}-{}", &prefix[..end], groups.join("-")))
}

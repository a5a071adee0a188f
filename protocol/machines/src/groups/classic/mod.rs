//! A group of the classic protocol: its members agree on a generation by joining, and its leader assigns.

mod draft;
mod heartbeat;
mod join;
mod leave;
mod member;
mod rebalance;
mod records;
pub(super) mod responses;
mod state;
mod static_member;
mod subscription;
mod sync;
mod timers;

#[cfg(test)]
mod any_order_tests;
#[cfg(test)]
mod join_tests;
#[cfg(test)]
mod membership_tests;
#[cfg(test)]
mod rebalance_tests;
#[cfg(test)]
mod static_member_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::ErrorCode;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::groups::request::Kept;

pub use member::{Member, MemberId, ParkedJoin, Protocol};
pub use state::State;

pub(super) use draft::Draft;
pub(super) use heartbeat::heartbeat;
pub(super) use join::join;
pub(super) use leave::leave;
pub(super) use records::tombstone;
pub(super) use sync::sync;
pub(super) use timers::{loaded, on_timer, session_timer};

/// The protocol type of Kafka's own consumers.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Cheap to clone, whatever its size: each decision is worked out on a copy.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassicGroup {
    pub id: String,
    pub state: State,
    pub previous_state: State,
    /// None where an old record did not tell, and for a group that only holds offsets.
    pub state_since_ms: Option<i64>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub generation: i32,
    pub leader: Option<MemberId>,
    pub members: RedBlackTreeMapSync<MemberId, Arc<Member>>,
    /// Member ids by group instance id.
    pub static_members: RedBlackTreeMapSync<String, MemberId>,
    /// Given an id, not yet back with it.
    pub pending_joins: RedBlackTreeMapSync<MemberId, Kept>,
    /// Joined this generation, not yet synced.
    pub pending_syncs: RedBlackTreeSetSync<MemberId>,
    /// How many members know each protocol.
    pub supported: BTreeMap<String, usize>,
    /// What all members offer takes, in bytes.
    pub offered_bytes: usize,
    /// None where the group does not use the consumer protocol, or it did not parse.
    pub subscribed_topics: Option<Arc<BTreeSet<String>>>,
    /// Of the first rebalance, while it waits for more members.
    pub initial_delay: Option<InitialDelay>,
    pub new_member_added: bool,
}

/// Members of a new group rarely come all at once: each newcomer extends the wait, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialDelay {
    pub delay_ms: i32,
    pub remaining_ms: i32,
}

impl ClassicGroup {
    pub fn new(id: &str, state_since_ms: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            id: id.to_owned(),
            state: State::Empty,
            previous_state: State::Empty,
            state_since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: RedBlackTreeMapSync::default(),
            static_members: RedBlackTreeMapSync::default(),
            pending_joins: RedBlackTreeMapSync::default(),
            pending_syncs: RedBlackTreeSetSync::default(),
            supported: BTreeMap::new(),
            offered_bytes: 0,
            subscribed_topics: None,
            initial_delay: None,
            new_member_added: false,
        }
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            // It may be: nobody could tell.
            None => self.uses_consumer_protocol(),
        }
    }

    pub fn awaiting_join(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub fn have_all_joined(&self) -> bool {
        self.pending_joins.is_empty()
            && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    pub fn can_rebalance(&self) -> bool {
        self.state != State::PreparingRebalance
    }

    /// The longest that any member asks for.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout_ms);
        timeouts.max().unwrap_or(0).max(0)
    }

    /// Whether such a member can be in this group: of its protocol type, and with a protocol that all others know.
    pub fn supports<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        let everyone = self.members.size();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|name| self.supported.get(name).copied().unwrap_or(0) == everyone)
    }

    /// What every request of a member must pass.
    pub fn validate_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<&Arc<Member>, ErrorCode> {
        if let Some(instance_id) = instance_id {
            let current = self.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if **current != *member_id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Whether an offset may be committed.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            // An admin client, or a consumer that assigns its partitions itself.
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if self.state != State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        match self.state {
            // Its member has joined but has no assignment yet: what it commits is of the last one.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// The protocol that most members prefer among those that all know.
    pub fn select_protocol(&self) -> Option<String> {
        let everyone = self.members.size();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|protocol| {
                self.supported.get(&protocol.name).copied().unwrap_or(0) == everyone
            });
            if let Some(protocol) = vote {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.iter().find(|(_, count)| **count == most).map(|(name, _)| (*name).to_owned())
    }
}

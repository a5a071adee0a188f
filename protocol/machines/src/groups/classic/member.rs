//! A member of a classic group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use model::Ticket;
use wire::describe_groups_response::DescribedGroupMember;
use wire::join_group_request::JoinGroupRequestProtocol;

use crate::groups::request::Kept;

pub type MemberId = Arc<str>;

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub id: MemberId,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocol_type: String,
    pub protocols: Arc<[Protocol]>,
    pub assignment: Bytes,
    /// The JoinGroup that waits for the rebalance.
    pub awaiting_join: Option<ParkedJoin>,
    /// The SyncGroup that waits for the leader's.
    pub awaiting_sync: Option<Ticket>,
    /// The last one that was given its assignment: its answer may still wait for that to be committed.
    pub synced: Option<Ticket>,
    /// Has not yet been through a rebalance: its client does not know its id and sends no heartbeats.
    pub is_new: bool,
    /// For itself and what it offers.
    pub kept: Kept,
    /// For what all members of its generation were assigned.
    pub assigned_by: Kept,
}

/// One way of assigning that a member knows, in the order of its preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedJoin {
    pub ticket: Ticket,
    pub version: i16,
}

/// What a protocol takes whose name and metadata are this long.
pub fn offered_bytes(name: &str, metadata: &[u8]) -> usize {
    size_of::<JoinGroupRequestProtocol>() + name.len() + metadata.len()
}

impl Member {
    pub fn offered_bytes(&self) -> usize {
        self.protocols.iter().map(|known| offered_bytes(&known.name, &known.metadata)).sum()
    }

    /// Empty where the member does not know the protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| known.name == protocol);
        found.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    pub fn matches(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|(known, new)| known.name == new.name && known.metadata == new.metadata)
    }

    /// A member that waits for an answer is alive, unless it is new: then its wait itself is bounded.
    pub fn is_heard_of(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub fn describe(&self) -> DescribedGroupMember {
        DescribedGroupMember {
            member_id: self.id.to_string(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            member_assignment: self.assignment.clone(),
            ..Default::default()
        }
    }
}

/// Copies, as the request's bytes are slices of the whole frame. A name that comes twice counts once.
pub fn retained(protocols: &[JoinGroupRequestProtocol]) -> Arc<[Protocol]> {
    let mut names = BTreeSet::new();
    let first = protocols.iter().filter(|protocol| names.insert(&protocol.name));
    let kept = first.map(|protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    kept.collect()
}

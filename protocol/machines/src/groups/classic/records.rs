//! A classic group's record: what outlives the coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wire::group_metadata_value::MemberMetadata;

use super::{ClassicGroup, Member, MemberId, Protocol, State};
use crate::groups::event::Record;
use crate::groups::request::Kept;

pub fn tombstone(group_id: &str) -> Record {
    Record::GroupMetadata { key: key(group_id), value: None }
}

fn key(group_id: &str) -> wire::GroupMetadataKey {
    wire::GroupMetadataKey { group: group_id.to_owned(), ..Default::default() }
}

impl ClassicGroup {
    /// The generation that its members agreed on, with what each is assigned.
    pub(super) fn record(&self, assignments: &BTreeMap<MemberId, Bytes>) -> Record {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.to_string(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
            ..Default::default()
        });
        let value = wire::GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
            ..Default::default()
        };
        Record::GroupMetadata { key: key(&self.id), value: Some(value) }
    }

    /// A group that has just begun: nobody has agreed on anything.
    pub(super) fn first_record(&self) -> Record {
        let value = wire::GroupMetadataValue {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            ..Default::default()
        };
        Record::GroupMetadata { key: key(&self.id), value: Some(value) }
    }

    /// The group that a record tells of. Its members are taken to be there until their sessions expire.
    pub fn from_record(group_id: &str, value: &wire::GroupMetadataValue) -> ClassicGroup {
        let since = value.current_state_timestamp;
        let mut group = ClassicGroup::new(group_id, (since != -1).then_some(since));
        group.generation = value.generation;
        group.protocol_type =
            Some(value.protocol_type.clone()).filter(|protocol_type| !protocol_type.is_empty());
        group.protocol = value.protocol.clone();
        group.leader = value.leader.as_deref().map(Arc::from);
        for member in &value.members {
            let member = member_from_record(value, member);
            if let Some(instance_id) = &member.instance_id {
                group.static_members.insert_mut(instance_id.clone(), member.id.clone());
            }
            group.leader.get_or_insert_with(|| member.id.clone());
            group.count_protocols(&member);
            group.members.insert_mut(member.id.clone(), Arc::new(member));
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.refresh_subscription();
        group
    }
}

/// Copies what it keeps: the record is a slice of a batch of the log.
fn member_from_record(value: &wire::GroupMetadataValue, member: &MemberMetadata) -> Member {
    let rebalance_timeout_ms = match member.rebalance_timeout {
        -1 => member.session_timeout,
        timeout => timeout,
    };
    let protocol = Protocol {
        name: value.protocol.clone().unwrap_or_default(),
        metadata: Bytes::copy_from_slice(&member.subscription),
    };
    Member {
        id: Arc::from(member.member_id.as_str()),
        instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout,
        protocol_type: value.protocol_type.clone(),
        protocols: Arc::from([protocol]),
        assignment: Bytes::copy_from_slice(&member.assignment),
        awaiting_join: None,
        awaiting_sync: None,
        synced: None,
        is_new: false,
        kept: Kept::default(),
        assigned_by: Kept::default(),
    }
}

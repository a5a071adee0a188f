//! The answers to members.

use bytes::Bytes;
use model::ErrorCode;
use wire::join_group_response::JoinGroupResponseMember;

use super::{ClassicGroup, Member};

/// Before version 7 there is no null for a protocol's name, and from then on there is no empty one.
fn protocol_name(name: Option<&str>, version: i16) -> Option<String> {
    let name = name.unwrap_or_default();
    (version < 7 || !name.is_empty()).then(|| name.to_owned())
}

pub fn join_error(member_id: &str, error: ErrorCode, version: i16) -> wire::JoinGroupResponse {
    wire::JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        protocol_type: None,
        protocol_name: protocol_name(None, version),
        leader: String::new(),
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

/// What a member is told of the generation it is in; its leader gets everyone's metadata.
pub fn joined(
    group: &ClassicGroup,
    member_id: &str,
    with_members: bool,
    version: i16,
) -> wire::JoinGroupResponse {
    wire::JoinGroupResponse {
        error_code: ErrorCode::None.code(),
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: protocol_name(group.protocol.as_deref(), version),
        leader: group.leader.as_deref().unwrap_or_default().to_owned(),
        member_id: member_id.to_owned(),
        members: if with_members { members(group) } else { Vec::new() },
        ..Default::default()
    }
}

fn members(group: &ClassicGroup) -> Vec<JoinGroupResponseMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let members = group.members.values().map(|member| JoinGroupResponseMember {
        member_id: member.id.to_string(),
        group_instance_id: member.instance_id.clone(),
        metadata: member.metadata(protocol),
        ..Default::default()
    });
    members.collect()
}

pub fn sync_error(error: ErrorCode) -> wire::SyncGroupResponse {
    wire::SyncGroupResponse {
        error_code: error.code(),
        protocol_type: None,
        protocol_name: None,
        assignment: Bytes::new(),
        ..Default::default()
    }
}

pub fn synced(group: &ClassicGroup, member: &Member) -> wire::SyncGroupResponse {
    wire::SyncGroupResponse {
        error_code: ErrorCode::None.code(),
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        assignment: member.assignment.clone(),
        ..Default::default()
    }
}

pub fn heartbeat(error: ErrorCode) -> wire::HeartbeatResponse {
    wire::HeartbeatResponse { error_code: error.code(), ..Default::default() }
}

//! The life of a classic group of one member, in each version of JoinGroup and what goes with it.

use crate::groups::commit;
use crate::session::{Session, topic, versions};
use crate::tree::Tree;
use crate::{Case, own};
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::leave_group_request::MemberIdentity;
use wire::sync_group_request::SyncGroupRequestAssignment;
use wire::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, Message, OffsetCommitRequest, SyncGroupRequest,
};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = (0..=9).map(life).collect();
    cases.extend((5..=9).map(static_life));
    cases.extend(strangers());
    cases
}

/// The version of another API that belongs to this one of JoinGroup.
fn beside<M: Message>(version: i16) -> i16 {
    version.clamp(M::VERSIONS.min, M::VERSIONS.max)
}

struct Life<'a> {
    session: &'a mut Session,
    group: String,
    version: i16,
    instance: Option<String>,
    member: String,
    told: Vec<(String, Tree)>,
}

impl Life<'_> {
    fn join(&mut self, what: &str) -> i32 {
        let request = join(&self.group, self.version, &self.member, self.instance.clone());
        let response = self.session.ask(&request, self.version).expect("JoinGroup");
        self.told.push((what.to_owned(), Tree::of(&response)));
        self.member = response.member_id;
        response.generation_id
    }

    fn sync(&mut self, what: &str, generation: i32) {
        let version = beside::<SyncGroupRequest>(self.version);
        let assignment = SyncGroupRequestAssignment {
            member_id: self.member.clone(),
            assignment: bytes::Bytes::from_static(b"what is yours"),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: generation,
            member_id: self.member.clone(),
            group_instance_id: self.instance.clone().filter(|_| version >= 3),
            protocol_type: (version >= 5).then(|| "consumer".to_owned()),
            protocol_name: (version >= 5).then(|| "range".to_owned()),
            assignments: vec![assignment],
            ..Default::default()
        };
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
    }

    fn heartbeat(&mut self, what: &str, generation: i32, member: &str) {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: generation,
            member_id: member.to_owned(),
            ..Default::default()
        };
        let version = beside::<HeartbeatRequest>(self.version);
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
    }

    fn commit(&mut self, what: &str, generation: i32) {
        let version = beside::<OffsetCommitRequest>(self.version + 1);
        let request = OffsetCommitRequest {
            member_id: self.member.clone(),
            generation_id_or_member_epoch: generation,
            ..commit(self.session, version, &self.group, (&topic(), 0, 3))
        };
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
    }

    fn describe(&mut self, what: &str) {
        let request =
            DescribeGroupsRequest { groups: vec![self.group.clone()], ..Default::default() };
        let version = beside::<DescribeGroupsRequest>(self.version);
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
        self.list(what);
    }

    /// Of all the groups only this one.
    fn list(&mut self, what: &str) {
        let version = beside::<ListGroupsRequest>(self.version);
        let answer = self.session.ask(&ListGroupsRequest::default(), version);
        let mut response = answer.expect("ListGroups");
        response.groups.retain(|listed| listed.group_id == self.group);
        self.told.push((format!("{what}, listed"), Tree::of(&response)));
    }

    fn leave(&mut self, what: &str, member: &str) {
        let version = beside::<LeaveGroupRequest>(self.version);
        let identity = MemberIdentity { member_id: member.to_owned(), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: if version < 3 { member.to_owned() } else { String::new() },
            members: if version < 3 { Vec::new() } else { vec![identity] },
            ..Default::default()
        };
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
    }

    fn delete(&mut self, what: &str) {
        let version = beside::<DeleteGroupsRequest>(self.version);
        let request =
            DeleteGroupsRequest { groups_names: vec![self.group.clone()], ..Default::default() };
        self.told.push((what.to_owned(), self.session.tree(&request, version)));
    }
}

fn join(group: &str, version: i16, member: &str, instance: Option<String>) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol {
        name: name.to_owned(),
        metadata: bytes::Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: if version < 1 { -1 } else { 10_000 },
        member_id: member.to_owned(),
        group_instance_id: instance,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..Default::default()
    }
}

fn life(version: i16) -> Case {
    let run = move |session: &mut Session| {
        let group = own(&format!("life-{version}"));
        let member = String::new();
        let mut life = Life { session, group, version, instance: None, member, told: Vec::new() };
        life.describe("before");
        let mut generation = life.join("joins");
        if version >= 4 {
            generation = life.join("joins with its id");
        }
        life.describe("joined");
        life.heartbeat("beats before it is in step", generation, &life.member.clone());
        life.commit("commits before it is in step", generation);
        life.sync("is in step with a wrong generation", generation + 1);
        life.sync("is in step", generation);
        life.sync("is in step again", generation);
        life.heartbeat("beats", generation, &life.member.clone());
        life.heartbeat("beats for another generation", generation + 5, &life.member.clone());
        life.heartbeat("beats for a stranger", generation, "stranger");
        life.commit("commits", generation);
        life.commit("commits for another generation", generation + 5);
        life.describe("stable");
        life.delete("is deleted with its member");
        let again = life.join("joins again");
        life.sync("is in step once more", again);
        life.leave("a stranger leaves", "stranger");
        life.leave("leaves", &life.member.clone());
        life.leave("leaves again", &life.member.clone());
        life.describe("empty");
        life.delete("is deleted");
        life.describe("after");
        Tree::Struct(life.told)
    };
    Case { name: format!("JoinGroup v{version} life"), reads: false, run: Box::new(run) }
}

/// A member with a name of its own comes back without its member id.
fn static_life(version: i16) -> Case {
    let run = move |session: &mut Session| {
        let group = own(&format!("static-{version}"));
        let (instance, member) = (Some("by name".to_owned()), String::new());
        let mut life = Life { session, group, version, instance, member, told: Vec::new() };
        let generation = life.join("joins");
        life.sync("is in step", generation);
        let old = std::mem::take(&mut life.member);
        let again = life.join("comes back");
        life.sync("is in step again", again);
        life.heartbeat("its old self beats", again, &old);
        life.describe("stable");
        life.leave("its old self leaves", &old);
        life.leave("leaves", &life.member.clone());
        life.describe("empty");
        Tree::Struct(life.told)
    };
    Case { name: format!("JoinGroup v{version} static"), reads: false, run: Box::new(run) }
}

/// Requests that are refused at the door.
fn strangers() -> Vec<Case> {
    let group = || own("strangers");
    let mut cases = versions("by a member nobody knows", move |_, version| {
        join(&group(), version, "stranger", None)
    });
    cases.extend(versions("of a group of no name", |_, version| join("", version, "", None)));
    cases.extend(versions("with a session too short", move |_, version| JoinGroupRequest {
        session_timeout_ms: 1,
        ..join(&group(), version, "", None)
    }));
    cases.extend(versions("with a session too long", move |_, version| JoinGroupRequest {
        session_timeout_ms: i32::MAX,
        ..join(&group(), version, "", None)
    }));
    cases.extend(versions("without protocols", move |_, version| JoinGroupRequest {
        protocols: Vec::new(),
        ..join(&group(), version, "", None)
    }));
    cases.extend(versions("of no type of protocol", move |_, version| JoinGroupRequest {
        protocol_type: String::new(),
        ..join(&group(), version, "", None)
    }));
    cases.extend(versions("with an instance id of no possible name", move |_, version| {
        let instance = (version >= 5).then(|| "no/good".to_owned());
        JoinGroupRequest {
            protocols: if version < 5 { Vec::new() } else { vec![Default::default()] },
            ..join(&group(), version, "", instance)
        }
    }));
    cases.extend(door());
    cases
}

/// The other requests of a member, of groups that are not there or of no name.
fn door() -> Vec<Case> {
    let names = [("to a group that is not there", own("none")), ("of no name", String::new())];
    let mut cases = Vec::new();
    for (what, group_id) in names {
        let (sync, beat, leave) = (group_id.clone(), group_id.clone(), group_id.clone());
        cases.extend(versions(what, move |_, version| SyncGroupRequest {
            group_id: sync.clone(),
            generation_id: 1,
            member_id: "stranger".to_owned(),
            protocol_type: (version >= 5).then(|| "consumer".to_owned()),
            protocol_name: (version >= 5).then(|| "range".to_owned()),
            ..Default::default()
        }));
        cases.extend(versions(what, move |_, _| HeartbeatRequest {
            group_id: beat.clone(),
            generation_id: 1,
            member_id: "stranger".to_owned(),
            ..Default::default()
        }));
        cases.extend(versions(what, move |_, version| leaves(&leave, version, &["stranger"])));
        cases.extend(versions(&format!("{what}, two of them"), move |_, version| {
            let both = if version < 3 { &["a"][..] } else { &["a", "b"] };
            leaves(&group_id, version, both)
        }));
    }
    cases.extend(versions("that names no protocol", |_, _| SyncGroupRequest {
        group_id: own("none"),
        generation_id: 1,
        member_id: "stranger".to_owned(),
        ..Default::default()
    }));
    cases.extend(versions("with an instance id", |_, version| HeartbeatRequest {
        group_id: own("none"),
        generation_id: 1,
        member_id: "stranger".to_owned(),
        group_instance_id: (version >= 3).then(|| "by name".to_owned()),
        ..Default::default()
    }));
    cases.extend(filtered());
    cases
}

fn leaves(group: &str, version: i16, members: &[&str]) -> LeaveGroupRequest {
    let identity = |member: &&str| MemberIdentity {
        member_id: (*member).to_owned(),
        group_instance_id: Some(format!("of {member}")),
        reason: (version >= 5).then(|| "enough".to_owned()),
        ..Default::default()
    };
    LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: if version < 3 { members[0].to_owned() } else { String::new() },
        members: if version < 3 { Vec::new() } else { members.iter().map(identity).collect() },
        ..Default::default()
    }
}

/// Groups in a state, or of a type: of all that match, this run's.
fn filtered() -> Vec<Case> {
    const FILTERS: [(&[&str], &[&str]); 9] = [
        (&[], &[]),
        (&["Empty"], &[]),
        (&["empty"], &[]),
        (&["Stable", "Empty", "Dead"], &[]),
        (&["NoSuchState"], &[]),
        (&[""], &[]),
        (&[], &["classic"]),
        (&["Empty"], &["Classic", "CONSUMER"]),
        (&[], &["no such type"]),
    ];
    let case = |version: i16, states: &'static [&str], types: &'static [&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request = ListGroupsRequest {
            states_filter: owned(states),
            types_filter: owned(types),
            ..Default::default()
        };
        let run = move |session: &mut Session| {
            let mut response = session.ask(&request, version).expect("ListGroups");
            response.groups.retain(|listed| listed.group_id.starts_with(&own("")));
            Tree::of(&response)
        };
        let name = format!("ListGroups v{version} in {states:?} of {types:?}");
        Case { name, reads: true, run: Box::new(run) }
    };
    let all = (0..=5).flat_map(|version| FILTERS.map(|(states, types)| (version, states, types)));
    let fits = |(version, states, types): &(i16, &[&str], &[&str])| {
        (*version >= 4 || states.is_empty()) && (*version >= 5 || types.is_empty())
    };
    all.filter(fits).map(|(version, states, types)| case(version, states, types)).collect()
}

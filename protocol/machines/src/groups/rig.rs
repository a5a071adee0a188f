//! A shard with a log, a clock and timers, as its actor would drive it, which checks after every step what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, Now, Persist, Replicated, StoredRecord, Ticket, TimerOp, Uuid};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::leave_group_request::MemberIdentity;
use wire::sync_group_request::SyncGroupRequestAssignment;

use super::*;

pub const GROUP: &str = "orders";
pub const SESSION_MS: i32 = 10_000;
pub const REBALANCE_MS: i32 = 60_000;
pub const INITIAL_DELAY_MS: u64 = 3_000;
/// Of members that come all at once: the delay, and once more because there were several.
pub const FIRST_REBALANCE_MS: u64 = 2 * INITIAL_DELAY_MS;

pub struct Rig {
    pub shard: GroupShard,
    pub now: Now,
    pub log: Vec<StoredRecord>,
    pub timers: BTreeMap<GroupTimer, Duration>,
    answered: BTreeMap<Ticket, GroupReply>,
    owed: BTreeSet<Ticket>,
    /// Syncs with an assignment, whose answers may be replaced by a refusal while it is not committed.
    assigned: BTreeSet<Ticket>,
    tickets: u64,
    pub rebalance_timeout_ms: i32,
}

/// What a test says of a JoinGroup; the rest is usual.
#[derive(Clone)]
pub struct Who {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub protocols: Vec<(&'static str, Bytes)>,
    pub version: i16,
}

pub fn dynamic(member_id: &str) -> Who {
    Who {
        member_id: member_id.to_owned(),
        instance_id: None,
        protocols: vec![("range", subscription(&["t"]))],
        version: 9,
    }
}

pub fn fixed(instance_id: &str) -> Who {
    Who { instance_id: Some(instance_id.to_owned()), ..dynamic("") }
}

impl Who {
    pub fn knowing(mut self, protocols: &[&'static str]) -> Who {
        self.protocols = protocols.iter().map(|name| (*name, subscription(&["t"]))).collect();
        self
    }

    pub fn with_metadata(mut self, metadata: Bytes) -> Who {
        self.protocols = vec![("range", metadata)];
        self
    }

    pub fn version(mut self, version: i16) -> Who {
        self.version = version;
        self
    }

    pub fn named(mut self, member_id: &str) -> Who {
        self.member_id = member_id.to_owned();
        self
    }
}

/// A consumer's metadata, in the first version.
pub fn subscription(topics: &[&str]) -> Bytes {
    let subscription = wire::ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Default::default()
    };
    wire::encode_prefixed(&subscription, 0).unwrap()
}

/// What a batch of these takes that is not compressed.
pub fn batch_bytes(records: &[StoredRecord]) -> usize {
    let mut batch = BatchBuilder::new(Compression::NONE);
    for record in records {
        batch.append(0, Some(&record.key), record.value.as_deref(), &[]);
    }
    batch.uncompressed_size()
}

pub fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(GroupSettings::default())
    }

    pub fn with(settings: GroupSettings) -> Rig {
        Rig {
            shard: GroupShard::new(settings),
            now: Now::new(Duration::ZERO, 1_700_000_000_000),
            log: Vec::new(),
            timers: BTreeMap::new(),
            answered: BTreeMap::new(),
            owed: BTreeSet::new(),
            assigned: BTreeSet::new(),
            tickets: 0,
            rebalance_timeout_ms: REBALANCE_MS,
        }
    }

    pub fn send(&mut self, request: GroupRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.owed.insert(ticket);
        let decision = self.shard.decide(self.now, ticket, request);
        self.perform(decision);
        ticket
    }

    fn perform(&mut self, decision: GroupDecision) {
        let written: Vec<_> =
            decision.events.iter().filter_map(|event| event.encode().unwrap()).collect();
        let bytes = batch_bytes(&written);
        assert!(bytes <= self.shard.settings.max_batch_bytes, "GR-3: {bytes} bytes in one batch");
        for event in &decision.events {
            self.shard.replay(event);
        }
        self.log.extend(written);
        for (ticket, reply) in decision.replies {
            let sync =
                if let GroupReply::Sync(sync) = &reply { Some(sync.error_code) } else { None };
            let is_refusal = sync.is_some_and(|error| error != 0);
            let is_recalled = is_refusal && self.assigned.remove(&ticket);
            assert!(self.owed.remove(&ticket) || is_recalled, "{ticket:?} is not owed");
            if sync == Some(0) {
                self.assigned.insert(ticket);
            }
            self.answered.insert(ticket, reply);
        }
        for op in decision.timers {
            match op {
                TimerOp::Set { timer, after } => {
                    self.timers.insert(timer, self.now.after(after));
                }
                TimerOp::Cancel { timer } => {
                    self.timers.remove(&timer);
                }
            }
        }
        self.check();
    }

    /// Fires what is due on the way.
    pub fn advance(&mut self, ms: u64) {
        let until = self.now.after(Duration::from_millis(ms));
        loop {
            let due = self.timers.iter().map(|(timer, at)| (*at, timer.clone())).min();
            let Some((at, timer)) = due.filter(|(at, _)| *at <= until) else {
                break;
            };
            self.timers.remove(&timer);
            self.now = self.now.advanced(at.saturating_sub(self.now.mono));
            let decision = self.shard.on_timer(self.now, timer);
            self.perform(decision);
        }
        self.now = self.now.advanced(until.saturating_sub(self.now.mono));
    }

    /// The shard as another node builds it from the log.
    pub fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.shard.settings.clone());
        for record in &self.log {
            let event = GroupEvent::decode(record).unwrap().unwrap();
            shard.replay(&event);
        }
        shard
    }

    /// The coordinator moved: soft state is gone, and with it the replies that were owed.
    pub fn fail_over(&mut self) {
        self.owed.clear();
        self.assigned.clear();
        self.shard = self.replayed();
        self.timers.clear();
        let decision = self.shard.on_loaded(self.now);
        self.perform(decision);
    }

    pub fn reply(&mut self, ticket: Ticket) -> Option<GroupReply> {
        self.answered.remove(&ticket)
    }

    pub fn is_parked(&self, ticket: Ticket) -> bool {
        self.owed.contains(&ticket)
    }

    pub fn classic(&self) -> &Arc<ClassicGroup> {
        match self.shard.group(GROUP) {
            Some(Group::Classic(group)) => group,
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self) -> State {
        self.classic().state
    }

    // Requests.

    pub fn join(&mut self, who: &Who) -> Ticket {
        let client = ClientContext { client_id: "app".into(), client_host: "/127.0.0.1".into() };
        self.join_as(client, who)
    }

    pub fn join_as(&mut self, client: ClientContext, who: &Who) -> Ticket {
        let member_uuid = Uuid::from_u128(u128::from(self.tickets) + 1);
        let protocols = who.protocols.iter().map(|(name, metadata)| JoinGroupRequestProtocol {
            name: (*name).to_owned(),
            metadata: metadata.clone(),
            ..Default::default()
        });
        self.send(GroupRequest::Join(Box::new(JoinGroup {
            client,
            request: wire::JoinGroupRequest {
                group_id: GROUP.into(),
                session_timeout_ms: SESSION_MS,
                rebalance_timeout_ms: self.rebalance_timeout_ms,
                member_id: who.member_id.clone(),
                group_instance_id: who.instance_id.clone(),
                protocol_type: "consumer".into(),
                protocols: protocols.collect(),
                ..Default::default()
            },
            version: who.version,
            member_uuid,
            kept: Kept::default(),
        })))
    }

    pub fn sync(&mut self, member_id: &str, generation: i32, parts: &[(&str, &str)]) -> Ticket {
        let assignments = parts.iter().map(|(member_id, part)| SyncGroupRequestAssignment {
            member_id: (*member_id).to_owned(),
            assignment: Bytes::copy_from_slice(part.as_bytes()),
            ..Default::default()
        });
        self.send(GroupRequest::Sync {
            request: wire::SyncGroupRequest {
                group_id: GROUP.into(),
                generation_id: generation,
                member_id: member_id.to_owned(),
                protocol_type: Some("consumer".into()),
                protocol_name: self.classic().protocol.clone().or(Some("range".into())),
                assignments: assignments.collect(),
                ..Default::default()
            },
            version: 5,
            kept: Kept::default(),
        })
    }

    pub fn heartbeat(&mut self, member_id: &str, generation: i32) -> ErrorCode {
        let ticket = self.send(GroupRequest::Heartbeat {
            request: wire::HeartbeatRequest {
                group_id: GROUP.into(),
                generation_id: generation,
                member_id: member_id.to_owned(),
                ..Default::default()
            },
        });
        match self.reply(ticket) {
            Some(GroupReply::Heartbeat(response)) => error(response.error_code),
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, member_id: &str) -> ErrorCode {
        let members =
            vec![MemberIdentity { member_id: member_id.to_owned(), ..Default::default() }];
        error(self.leave_all(members, 5).members[0].error_code)
    }

    pub fn leave_all(
        &mut self,
        members: Vec<MemberIdentity>,
        version: i16,
    ) -> wire::LeaveGroupResponse {
        let member_id = members[0].member_id.clone();
        let request = wire::LeaveGroupRequest {
            group_id: GROUP.into(),
            member_id: if version < 3 { member_id } else { String::new() },
            members: if version < 3 { Vec::new() } else { members },
            ..Default::default()
        };
        let ticket = self.send(GroupRequest::Leave { request, version });
        match self.reply(ticket) {
            Some(GroupReply::Leave(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    // Replies.

    pub fn joined(&mut self, ticket: Ticket) -> wire::JoinGroupResponse {
        match self.reply(ticket) {
            Some(GroupReply::Join(response)) => response,
            other => panic!("{ticket:?}: {other:?}"),
        }
    }

    pub fn join_error(&mut self, ticket: Ticket) -> ErrorCode {
        error(self.joined(ticket).error_code)
    }

    pub fn synced(&mut self, ticket: Ticket) -> Result<String, ErrorCode> {
        match self.reply(ticket) {
            Some(GroupReply::Sync(response)) => match error(response.error_code) {
                ErrorCode::None => Ok(String::from_utf8_lossy(&response.assignment).into_owned()),
                error => Err(error),
            },
            other => panic!("{ticket:?}: {other:?}"),
        }
    }

    // Walks.

    /// A member id of its own, as a client gets it.
    pub fn given_id(&mut self) -> String {
        let ticket = self.join(&dynamic(""));
        let response = self.joined(ticket);
        assert_eq!(error(response.error_code), ErrorCode::MemberIdRequired);
        response.member_id
    }

    /// A stable group of so many dynamic members, the leader first.
    pub fn stable(&mut self, size: usize) -> Vec<String> {
        let ids: Vec<String> = (0..size).map(|_| self.given_id()).collect();
        self.stabilize(&ids.iter().map(|id| dynamic(id)).collect::<Vec<_>>())
    }

    /// All of these join, and sync for parts named after their places.
    pub fn stabilize(&mut self, members: &[Who]) -> Vec<String> {
        let joins: Vec<Ticket> = members.iter().map(|who| self.join(who)).collect();
        self.advance(FIRST_REBALANCE_MS);
        let mut ids = Vec::new();
        let mut generation = 0;
        for ticket in joins {
            let response = self.joined(ticket);
            assert_eq!(error(response.error_code), ErrorCode::None);
            generation = response.generation_id;
            ids.push(response.member_id);
        }
        let parts: Vec<String> = (0..ids.len()).map(|place| format!("part {place}")).collect();
        let leader = self.classic().leader.as_deref().unwrap().to_owned();
        let assignments: Vec<(&str, &str)> =
            ids.iter().map(String::as_str).zip(parts.iter().map(String::as_str)).collect();
        let syncs: Vec<Ticket> = ids
            .iter()
            .map(|id| self.sync(id, generation, if *id == leader { &assignments } else { &[] }))
            .collect();
        for (ticket, part) in syncs.into_iter().zip(&parts) {
            assert_eq!(self.synced(ticket).as_ref(), Ok(part));
        }
        assert_eq!(self.state(), State::Stable);
        ids
    }

    // What must hold.

    fn check(&self) {
        let mut parked = BTreeSet::new();
        for group in self.shard.groups.values() {
            if let Group::Classic(group) = group {
                check_group(group);
                let members = || group.members.values();
                parked.extend(members().filter_map(|m| m.awaiting_join).map(|j| j.ticket));
                parked.extend(members().filter_map(|m| m.awaiting_sync));
            }
        }
        assert_eq!(
            self.owed, parked,
            "GR-1: replies that are owed, and those that members wait for"
        );
        self.check_replay();
    }

    /// RE-1, GR-2: a shard that only read the log knows the same groups, offsets and agreements.
    fn check_replay(&self) {
        let replayed = self.replayed();
        assert_eq!(replayed.offsets, self.shard.offsets);
        let ids = |shard: &GroupShard| shard.groups.keys().cloned().collect::<Vec<_>>();
        assert_eq!(ids(&replayed), ids(&self.shard));
        for (live, replayed) in self.shard.groups.values().zip(replayed.groups.values()) {
            let (Group::Classic(live), Group::Classic(replayed)) = (live, replayed) else {
                panic!("{live:?} became {replayed:?}");
            };
            match live.state {
                State::Stable | State::Empty => assert_eq!(agreed(live), agreed(replayed)),
                _ => assert!(live.generation >= replayed.generation),
            }
        }
    }
}

fn check_group(group: &ClassicGroup) {
    let mut supported: BTreeMap<String, usize> = BTreeMap::new();
    for member in group.members.values() {
        for protocol in member.protocols.iter() {
            *supported.entry(protocol.name.clone()).or_default() += 1;
        }
        if let Some(instance_id) = &member.instance_id {
            assert_eq!(group.static_members.get(instance_id), Some(&member.id));
        }
        assert!(!group.pending_joins.contains_key(&member.id));
        if member.awaiting_join.is_some() {
            assert_eq!(group.state, State::PreparingRebalance);
        }
        if member.awaiting_sync.is_some() {
            assert_eq!(group.state, State::CompletingRebalance);
        }
        if member.synced.is_some() {
            assert_eq!(group.state, State::Stable);
        }
    }
    assert_eq!(group.supported, supported);
    let offered = group.members.values().map(|member| member.offered_bytes()).sum();
    assert_eq!(group.offered_bytes, offered);
    assert_eq!(group.leader.is_some(), !group.members.is_empty(), "GR-4: {group:?}");
    for id in group.leader.iter().chain(group.static_members.values()).chain(&group.pending_syncs) {
        assert!(group.members.contains_key(id), "{id} is no member: {group:?}");
    }
    match group.state {
        State::Empty => assert!(group.members.is_empty()),
        State::CompletingRebalance | State::Stable => {
            assert!(group.supported.values().any(|count| *count == group.members.size()));
        }
        State::PreparingRebalance => {}
    }
}

/// What a generation's record holds.
type Agreed = (i32, Option<String>, Option<String>, Option<MemberId>, Vec<[Bytes; 6]>);

fn agreed(group: &ClassicGroup) -> Agreed {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let text = |text: String| Bytes::from(text);
    let members = group.members.values().map(|member| {
        [
            text(member.id.to_string()),
            text(format!("{:?}", member.instance_id)),
            text(format!("{} {}", member.client_id, member.client_host)),
            text(format!("{} {}", member.session_timeout_ms, member.rebalance_timeout_ms)),
            member.metadata(protocol),
            member.assignment.clone(),
        ]
    });
    let leader = group.leader.clone();
    let members = members.collect();
    (group.generation, group.protocol_type.clone(), group.protocol.clone(), leader, members)
}

//! The machine: the groups and offsets of one partition.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{Decision, ErrorCode, Now, Replicated, Ticket, TimerOp};

use super::admin;
use super::causes;
use super::classic::{self, ClassicGroup};
use super::event::{GroupEvent, Record};
use super::offsets::{self, Offsets, Tombstones};
use super::request::{GroupReply, GroupRequest, GroupTimer};
use super::settings::GroupSettings;

pub type GroupDecision = Decision<GroupEvent, GroupReply, GroupTimer>;

#[derive(Debug, Clone, PartialEq)]
pub struct GroupShard {
    pub(super) settings: GroupSettings,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) offsets: Offsets,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Group {
    Classic(Arc<ClassicGroup>),
    /// Of a protocol that this release does not serve, from the log of one that does.
    Other(GroupType),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupType {
    Classic,
    Consumer,
    Share,
    Streams,
}

impl GroupType {
    pub const ALL: [GroupType; 4] =
        [GroupType::Classic, GroupType::Consumer, GroupType::Share, GroupType::Streams];

    pub fn name(self) -> &'static str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
            GroupType::Share => "share",
            GroupType::Streams => "streams",
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl GroupShard {
    pub fn new(settings: GroupSettings) -> GroupShard {
        GroupShard { settings, groups: BTreeMap::new(), offsets: Offsets::default() }
    }

    pub fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub fn offset_count(&self) -> usize {
        self.offsets.len()
    }

    pub fn offset(
        &self,
        group_id: &str,
        topic: &str,
        partition: i32,
    ) -> Option<&offsets::CommittedOffset> {
        self.offsets.get(group_id, topic, partition)
    }

    fn decided(&self, now: Now, ticket: Ticket, request: &GroupRequest) -> GroupDecision {
        match request {
            GroupRequest::Join(join) => classic::join(self, now, ticket, join),
            GroupRequest::Sync { request, version, kept } => {
                classic::sync(self, now, ticket, (request, *version), kept)
            }
            GroupRequest::Heartbeat { request } => classic::heartbeat(self, ticket, request),
            GroupRequest::Leave { request, version } => {
                classic::leave(self, now, ticket, request, *version)
            }
            GroupRequest::Describe { group_ids, version } => {
                Decision::reply(ticket, admin::describe(self, group_ids, *version))
            }
            GroupRequest::Causes { group_id } => {
                Decision::reply(ticket, GroupReply::Causes(Box::new(causes::of(self, group_id))))
            }
            GroupRequest::List(filter) => Decision::reply(ticket, admin::list(self, filter)),
            GroupRequest::ListSize(filter) => {
                Decision::reply(ticket, GroupReply::ListSize(admin::list_size(self, filter)))
            }
            GroupRequest::Delete { group_ids } => admin::delete(self, ticket, group_ids),
            GroupRequest::OffsetCommit { request, version } => {
                offsets::commit(self, now, ticket, request, *version)
            }
            GroupRequest::OffsetFetch { group, .. } => {
                let fetched = offsets::fetch(self, group);
                Decision::reply(ticket, GroupReply::OffsetFetch(fetched))
            }
            GroupRequest::OffsetDelete { request } => offsets::delete(self, ticket, request),
            GroupRequest::TopicsDeleted { topics } => {
                let mut tombstones = Tombstones::up_to(self.settings.record_bytes());
                self.offsets.of_topics(topics, &mut tombstones);
                let reply = GroupReply::TopicsDeleted { done: !tombstones.more() };
                GroupDecision { events: tombstones.events, ..Decision::reply(ticket, reply) }
            }
        }
    }

    /// The events of a request up to the one that is too much: with it all of them will be refused, so
    /// that none is made behind it. Each may hold a copy of a long name.
    pub(super) fn no_more_than_fit(
        &self,
        events: impl Iterator<Item = GroupEvent>,
    ) -> Vec<GroupEvent> {
        let (mut bytes, mut taken) = (0, Vec::new());
        for event in events {
            bytes += event.max_bytes();
            taken.push(event);
            if bytes > self.settings.decision_bytes() {
                break;
            }
        }
        taken
    }

    fn expire(&self, now: Now) -> GroupDecision {
        let mut tombstones = Tombstones::up_to(self.settings.record_bytes());
        offsets::expire(self, now, &mut tombstones);
        let next = match tombstones.more() {
            true => Duration::ZERO,
            false => self.expiration_interval(),
        };
        GroupDecision {
            events: tombstones.events,
            replies: Vec::new(),
            timers: vec![TimerOp::Set { timer: GroupTimer::Expiration, after: next }],
        }
    }

    fn expiration_interval(&self) -> Duration {
        let interval_ms = u64::try_from(self.settings.retention_check_interval_ms).unwrap_or(1);
        Duration::from_millis(interval_ms.max(1))
    }
}

impl Replicated for GroupShard {
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Event = GroupEvent;
    type Timer = GroupTimer;

    fn decide(&self, now: Now, ticket: Ticket, request: GroupRequest) -> GroupDecision {
        let decision = self.decided(now, ticket, &request);
        let bytes: usize = decision.events.iter().map(GroupEvent::max_bytes).sum();
        if bytes > self.settings.decision_bytes() {
            // What a request changes is written at once or not at all.
            return Decision::reply(ticket, request.refuse(ErrorCode::MessageTooLarge));
        }
        decision
    }

    fn on_loaded(&self, now: Now) -> GroupDecision {
        let mut decision = Decision::nothing();
        let after = self.expiration_interval();
        decision.timers.push(TimerOp::Set { timer: GroupTimer::Expiration, after });
        for group in self.groups.values() {
            if let Group::Classic(group) = group {
                let loaded = classic::loaded(&self.settings, now, group);
                decision.events.extend(loaded.events);
                decision.replies.extend(loaded.replies);
                decision.timers.extend(loaded.timers);
            }
        }
        decision
    }

    fn on_timer(&self, now: Now, timer: GroupTimer) -> GroupDecision {
        match timer {
            GroupTimer::Expiration => self.expire(now),
            timer => classic::on_timer(self, now, &timer),
        }
    }

    fn replay(&mut self, event: &GroupEvent) {
        match event {
            GroupEvent::Classic(group) => {
                self.groups.insert(group.id.clone(), Group::Classic(group.clone()));
            }
            GroupEvent::Record(Record::GroupMetadata { key, value: Some(value) }) => {
                let group = Arc::new(ClassicGroup::from_record(&key.group, value));
                self.groups.insert(key.group.clone(), Group::Classic(group));
            }
            GroupEvent::Record(Record::GroupMetadata { key, value: None }) => {
                self.groups.remove(&key.group);
            }
            GroupEvent::Record(Record::OffsetCommit { key, value: Some(value) }) => {
                // Offsets belong to a group, which for a consumer that is in none begins with them.
                if !self.groups.contains_key(&key.group) {
                    let group = Arc::new(ClassicGroup::new(&key.group, None));
                    self.groups.insert(key.group.clone(), Group::Classic(group));
                }
                self.offsets.put(key, value);
            }
            GroupEvent::Record(Record::OffsetCommit { key, value: None }) => {
                self.offsets.remove(key);
            }
            GroupEvent::Record(Record::OtherGroup { group_id, group_type, exists: true }) => {
                self.groups.insert(group_id.clone(), Group::Other(*group_type));
            }
            GroupEvent::Record(Record::OtherGroup { group_id, group_type, exists: false }) => {
                // A group that changed its protocol has its new record before the old one's tombstone.
                if self.groups.get(group_id) == Some(&Group::Other(*group_type)) {
                    self.groups.remove(group_id);
                }
            }
        }
    }
}

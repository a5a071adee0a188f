//! The group machine, as a shard hosts it.

use std::hash::BuildHasher;

use machines::groups::{
    GroupDecision, GroupEvent, GroupReply, GroupRequest, GroupSettings, GroupShard, GroupTimer,
};
use model::{ErrorCode, Now, Replicated, Ticket};
use runtime::{FixedHasher, Hosted, Shard, ShardMsg, WaitsFor};

pub struct GroupCoordinator(GroupShard);

pub type GroupShardActor = Shard<GroupCoordinator>;
pub type GroupShardMsg = ShardMsg<GroupCoordinator>;

impl GroupCoordinator {
    pub fn new(settings: GroupSettings) -> GroupCoordinator {
        GroupCoordinator(GroupShard::new(settings))
    }
}

impl Hosted for GroupCoordinator {
    const KIND: &'static str = "group-coordinator";

    fn part(event: &GroupEvent) -> u64 {
        part_of(event.group_id())
    }

    /// Groups as they are now are soft state, which Kafka shows at once too, as it refuses members. Its heartbeats are writes.
    fn waits_for(reply: &GroupReply) -> WaitsFor {
        let refused = |error| ErrorCode::from_code(error) != ErrorCode::None;
        match reply {
            GroupReply::Join(join) if refused(join.error_code) => WaitsFor::Nothing,
            GroupReply::Sync(sync) if refused(sync.error_code) => WaitsFor::Nothing,
            GroupReply::Join(_)
            | GroupReply::Describe(_)
            | GroupReply::Causes(_)
            | GroupReply::List { .. }
            | GroupReply::ListSize(_) => WaitsFor::Own,
            GroupReply::OffsetFetch(group) => WaitsFor::Part(part_of(&group.group_id)),
            _ => WaitsFor::Everything,
        }
    }
}

fn part_of(group_id: &str) -> u64 {
    FixedHasher::default().hash_one(group_id)
}

impl Replicated for GroupCoordinator {
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Event = GroupEvent;
    type Timer = GroupTimer;

    fn decide(&self, now: Now, ticket: Ticket, request: GroupRequest) -> GroupDecision {
        self.0.decide(now, ticket, request)
    }

    fn on_loaded(&self, now: Now) -> GroupDecision {
        self.0.on_loaded(now)
    }

    fn on_timer(&self, now: Now, timer: GroupTimer) -> GroupDecision {
        self.0.on_timer(now, timer)
    }

    fn replay(&mut self, event: &GroupEvent) {
        self.0.replay(event);
    }
}

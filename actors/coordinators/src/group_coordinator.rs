//! The group machine, as a shard hosts it.

use machines::groups::{
    GroupDecision, GroupEvent, GroupReply, GroupRequest, GroupSettings, GroupShard, GroupTimer,
};
use model::{Now, Replicated, Ticket};
use runtime::{Hosted, Shard, ShardMsg};

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

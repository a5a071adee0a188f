//! Offsets and groups that are past their retention.

use model::Now;

use super::{CommittedOffset, Tombstones, Topics, tombstone};
use crate::groups::classic::{self, ClassicGroup, State};
use crate::groups::event::GroupEvent;
use crate::groups::shard::{Group, GroupShard};

/// Tombstones of what is over: offsets first, and an empty group when none is left.
pub fn expire(shard: &GroupShard, now: Now, tombstones: &mut Tombstones) {
    for (group_id, group) in &shard.groups {
        let Group::Classic(group) = group else {
            continue;
        };
        let nothing_left = match shard.offsets.group(group_id) {
            None => true,
            Some(topics) => expire_group(shard, now, group, topics, tombstones),
        };
        if nothing_left && group.state == State::Empty {
            tombstones.push(|| GroupEvent::Record(classic::tombstone(group_id)));
        }
    }
}

/// Whether none of the group's offsets is left.
fn expire_group(
    shard: &GroupShard,
    now: Now,
    group: &ClassicGroup,
    topics: &Topics,
    tombstones: &mut Tombstones,
) -> bool {
    let Some(retention) = Retention::of(group) else {
        return false;
    };
    let mut nothing_left = true;
    for (topic, partitions) in topics {
        let subscribed = group.is_subscribed_to(topic);
        for (partition, committed) in partitions {
            let is_over = !subscribed
                && retention.is_over(committed, now, shard.settings.offsets_retention_ms);
            let gone = is_over && tombstones.push(|| tombstone(&group.id, topic, *partition));
            nothing_left &= gone;
        }
    }
    nothing_left
}

/// From when on an offset's retention counts.
enum Retention {
    SinceCommit,
    /// Since the group has been without members.
    SinceEmpty(i64),
}

impl Retention {
    /// None where nothing expires.
    fn of(group: &ClassicGroup) -> Option<Retention> {
        if group.protocol_type.is_none() {
            // A consumer that is in no group and keeps its offsets here.
            return Some(Retention::SinceCommit);
        }
        match group.state {
            State::Empty => {
                Some(group.state_since_ms.map_or(Retention::SinceCommit, Retention::SinceEmpty))
            }
            // Of topics that the group has given up.
            State::Stable
                if group.uses_consumer_protocol() && group.subscribed_topics.is_some() =>
            {
                Some(Retention::SinceCommit)
            }
            _ => None,
        }
    }

    fn is_over(&self, committed: &CommittedOffset, now: Now, retention_ms: i64) -> bool {
        if let Some(expire_ms) = committed.expire_ms {
            return now.wall_ms >= expire_ms;
        }
        let since_ms = match self {
            Retention::SinceCommit => committed.commit_ms,
            Retention::SinceEmpty(since_ms) => *since_ms,
        };
        now.wall_ms.saturating_sub(since_ms) >= retention_ms
    }
}

//! The offsets that groups committed.

mod commit;
mod delete;
mod expire;
mod fetch;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use model::Uuid;

use super::event::{GroupEvent, Record};
use super::request::DeletedTopic;
pub(super) use commit::commit;
pub(super) use delete::delete;
pub(super) use expire::expire;
pub(super) use fetch::fetch;
pub use fetch::{fetch_groups, fetch_response};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1 where the client did not say.
    pub leader_epoch: i32,
    pub metadata: String,
    pub commit_ms: i64,
    /// Where an old client asked for a retention of its own.
    pub expire_ms: Option<i64>,
    /// Zero where the record is older than topic ids.
    pub topic_id: Uuid,
}

type Partitions = BTreeMap<i32, CommittedOffset>;
type Topics = BTreeMap<String, Partitions>;

/// By group, topic and partition. No map is kept empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets {
    by_group: BTreeMap<String, Topics>,
    len: usize,
}

impl Offsets {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn group(&self, group_id: &str) -> Option<&Topics> {
        self.by_group.get(group_id)
    }

    pub fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.by_group.get(group_id)?.get(topic)?.get(&partition)
    }

    pub fn put(&mut self, key: &wire::OffsetCommitKey, value: &wire::OffsetCommitValue) {
        let committed = CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
            commit_ms: value.commit_timestamp,
            expire_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        };
        // The names are there already for all but a partition's first commit.
        let topics = match self.by_group.get_mut(&key.group) {
            Some(topics) => topics,
            None => self.by_group.entry(key.group.clone()).or_default(),
        };
        let partitions = match topics.get_mut(&key.topic) {
            Some(partitions) => partitions,
            None => topics.entry(key.topic.clone()).or_default(),
        };
        if partitions.insert(key.partition, committed).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, key: &wire::OffsetCommitKey) {
        let Some(topics) = self.by_group.get_mut(&key.group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(&key.topic) else {
            return;
        };
        if partitions.remove(&key.partition).is_some() {
            self.len -= 1;
        }
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.by_group.remove(&key.group);
        }
    }

    /// Tombstones of all that a group committed.
    pub fn of_group<'a>(&'a self, group_id: &'a str) -> impl Iterator<Item = GroupEvent> + 'a {
        let topics = self.group(group_id).into_iter().flatten();
        topics.flat_map(move |(topic, partitions)| {
            partitions.keys().map(move |partition| tombstone(group_id, topic, *partition))
        })
    }

    /// Tombstones of what was committed for topics that are gone. An offset without a topic's id is taken to be of the
    /// one that had the name last.
    pub fn of_topics(&self, deleted: &[DeletedTopic], tombstones: &mut Tombstones) {
        for (group_id, topics) in &self.by_group {
            for topic in deleted {
                let partitions = topics.get(&topic.name).into_iter().flatten();
                let gone = partitions.filter(|(_, committed)| {
                    committed.topic_id.is_zero() || committed.topic_id == topic.id
                });
                for (partition, _) in gone {
                    tombstones.push(|| tombstone(group_id, &topic.name, *partition));
                }
            }
        }
    }
}

/// As many tombstones as fit one batch. Whoever wants the rest gone asks again.
pub struct Tombstones {
    pub events: Vec<GroupEvent>,
    left_out: bool,
    bytes_left: usize,
}

impl Tombstones {
    pub fn up_to(max_bytes: usize) -> Tombstones {
        Tombstones { events: Vec::new(), left_out: false, bytes_left: max_bytes }
    }

    /// False where it did not fit. Behind one that did not, none is made: each has a copy of its group's id.
    pub fn push(&mut self, tombstone: impl FnOnce() -> GroupEvent) -> bool {
        if self.left_out {
            return false;
        }
        let tombstone = tombstone();
        match self.bytes_left.checked_sub(tombstone.max_bytes()) {
            Some(left) => {
                self.bytes_left = left;
                self.events.push(tombstone);
            }
            None => self.left_out = true,
        }
        !self.left_out
    }

    /// Whether asking again gets on. It does not where a single tombstone is larger than a batch.
    pub fn more(&self) -> bool {
        self.left_out && !self.events.is_empty()
    }
}

fn key(group_id: &str, topic: &str, partition: i32) -> wire::OffsetCommitKey {
    wire::OffsetCommitKey {
        group: group_id.to_owned(),
        topic: topic.to_owned(),
        partition,
        ..Default::default()
    }
}

fn tombstone(group_id: &str, topic: &str, partition: i32) -> GroupEvent {
    let key = key(group_id, topic, partition);
    GroupEvent::Record(Record::OffsetCommit { key, value: None })
}

//! Topics and partitions: who has a replica, who is in sync, who leads.

use std::sync::Arc;

use model::Uuid;
use rpds::RedBlackTreeMapSync;
use wire::{PartitionChangeRecord, PartitionRecord};

use super::features::MetadataVersion;

pub const NO_LEADER: i32 = -1;
/// In a PartitionChangeRecord: the leader stays, and its epoch with it.
pub const NO_LEADER_CHANGE: i32 = -2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    Recovered,
    /// Elected although it may lack committed records; alone in the ISR until it has said that it recovered.
    Recovering,
}

impl LeaderRecoveryState {
    pub const NO_CHANGE: i8 = -1;

    pub fn from_value(value: i8) -> Option<LeaderRecoveryState> {
        match value {
            0 => Some(LeaderRecoveryState::Recovered),
            1 => Some(LeaderRecoveryState::Recovering),
            _ => None,
        }
    }

    pub fn value(self) -> i8 {
        match self {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// In order of preference.
    pub replicas: Vec<i32>,
    /// Of each replica, in the same order.
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas: out of sync, yet known to hold every committed record.
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    pub leader: i32,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartitionRecordError {
    #[error("the directories are not as many as the replicas")]
    Directories,
    #[error("unknown leader recovery state {0}")]
    LeaderRecoveryState(i8),
}

impl PartitionRegistration {
    pub fn from_record(
        record: &PartitionRecord,
    ) -> Result<PartitionRegistration, PartitionRecordError> {
        let recovery = record.leader_recovery_state;
        Ok(PartitionRegistration {
            directories: directories_of(&record.directories, record.replicas.len())?,
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: LeaderRecoveryState::from_value(recovery)
                .ok_or(PartitionRecordError::LeaderRecoveryState(recovery))?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        })
    }

    /// What it becomes by the change: a new leader epoch if the change names a leader, and always a new partition epoch.
    pub fn merge(
        &self,
        change: &PartitionChangeRecord,
    ) -> Result<PartitionRegistration, PartitionRecordError> {
        let replicas = change.replicas.clone().unwrap_or_else(|| self.replicas.clone());
        let directories = match &change.directories {
            Some(directories) => directories_of(directories, replicas.len())?,
            None if self.directories.len() == replicas.len() => self.directories.clone(),
            None => directories_of(&[], replicas.len())?,
        };
        let keeps_leader = change.leader == NO_LEADER_CHANGE;
        let leader_recovery_state = match change.leader_recovery_state {
            LeaderRecoveryState::NO_CHANGE => self.leader_recovery_state,
            value => LeaderRecoveryState::from_value(value)
                .ok_or(PartitionRecordError::LeaderRecoveryState(value))?,
        };
        let or =
            |new: &Option<Vec<i32>>, old: &Vec<i32>| new.clone().unwrap_or_else(|| old.clone());
        Ok(PartitionRegistration {
            replicas,
            directories,
            isr: or(&change.isr, &self.isr),
            removing_replicas: or(&change.removing_replicas, &self.removing_replicas),
            adding_replicas: or(&change.adding_replicas, &self.adding_replicas),
            elr: or(&change.eligible_leader_replicas, &self.elr),
            last_known_elr: or(&change.last_known_elr, &self.last_known_elr),
            leader: if keeps_leader { self.leader } else { change.leader },
            leader_recovery_state,
            leader_epoch: if keeps_leader {
                self.leader_epoch
            } else {
                self.leader_epoch.wrapping_add(1)
            },
            partition_epoch: self.partition_epoch.wrapping_add(1),
        })
    }

    pub fn to_record(
        &self,
        topic_id: Uuid,
        partition_id: i32,
        version: MetadataVersion,
    ) -> PartitionRecord {
        let elr = version.partition_record() >= 2;
        let some = |ids: &Vec<i32>| (elr && !ids.is_empty()).then(|| ids.clone());
        PartitionRecord {
            partition_id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state.value(),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: if version.directory_assignment() {
                self.directories.clone()
            } else {
                Vec::new()
            },
            eligible_leader_replicas: some(&self.elr),
            last_known_elr: some(&self.last_known_elr),
            ..Default::default()
        }
    }

    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    pub fn preferred_replica(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    pub fn directory(&self, replica: i32) -> Option<Uuid> {
        let at = self.replicas.iter().position(|r| *r == replica)?;
        self.directories.get(at).copied()
    }

    pub fn reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }
}

/// A log from before directories were assigned names none: each replica is then migrating.
fn directories_of(
    directories: &[Uuid],
    replicas: usize,
) -> Result<Vec<Uuid>, PartitionRecordError> {
    if directories.iter().all(|d| *d == Uuid::MIGRATING_DIRECTORY) {
        return Ok(vec![Uuid::MIGRATING_DIRECTORY; replicas]);
    }
    if directories.len() == replicas {
        Ok(directories.to_vec())
    } else {
        Err(PartitionRecordError::Directories)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    pub id: Uuid,
    pub name: String,
    pub partitions: RedBlackTreeMapSync<i32, Arc<PartitionRegistration>>,
}

impl TopicImage {
    pub fn new(id: Uuid, name: String) -> TopicImage {
        TopicImage { id, name, partitions: RedBlackTreeMapSync::default() }
    }

    pub fn partition(&self, id: i32) -> Option<&PartitionRegistration> {
        self.partitions.get(&id).map(Arc::as_ref)
    }
}

/// By id and by name; cheap to clone, and a clone shares what did not change since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicsImage {
    by_id: RedBlackTreeMapSync<Uuid, Arc<TopicImage>>,
    by_name: RedBlackTreeMapSync<String, Uuid>,
}

impl TopicsImage {
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    pub fn id_of(&self, name: &str) -> Option<Uuid> {
        self.by_name.get(name).copied()
    }

    pub fn partition(&self, topic_id: Uuid, partition: i32) -> Option<&PartitionRegistration> {
        self.by_id.get(&topic_id)?.partition(partition)
    }

    pub fn len(&self) -> usize {
        self.by_id.size()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_id.values()
    }

    /// In the order of their names.
    pub fn iter_by_name(&self) -> impl Iterator<Item = (&str, &Arc<TopicImage>)> {
        self.by_name.iter().filter_map(|(name, id)| Some((name.as_str(), self.by_id.get(id)?)))
    }

    /// Names from this one on, in order: what a paged description continues with.
    pub fn iter_names_from(&self, name: &str) -> impl Iterator<Item = (&str, &Arc<TopicImage>)> {
        let from = (std::ops::Bound::Included(name.to_owned()), std::ops::Bound::Unbounded);
        self.by_name.range(from).filter_map(|(name, id)| Some((name.as_str(), self.by_id.get(id)?)))
    }

    pub(super) fn map(&self) -> &RedBlackTreeMapSync<Uuid, Arc<TopicImage>> {
        &self.by_id
    }

    pub(super) fn insert(&mut self, topic: TopicImage) {
        self.by_name.insert_mut(topic.name.clone(), topic.id);
        self.by_id.insert_mut(topic.id, Arc::new(topic));
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<TopicImage>> {
        let topic = self.by_id.get(&id).cloned()?;
        self.by_id.remove_mut(&id);
        if self.by_name.get(&topic.name) == Some(&id) {
            self.by_name.remove_mut(&topic.name);
        }
        Some(topic)
    }

    /// False when there is no such topic.
    pub(super) fn put_partition(
        &mut self,
        topic_id: Uuid,
        partition: i32,
        registration: PartitionRegistration,
    ) -> bool {
        match self.by_id.get_mut(&topic_id) {
            Some(topic) => {
                Arc::make_mut(topic).partitions.insert_mut(partition, Arc::new(registration));
                true
            }
            None => false,
        }
    }
}

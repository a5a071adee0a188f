//! From what a partition shall become to the record that makes it so: elects a leader, keeps the eligible leader replicas, and
//! completes a reassignment.

use std::collections::BTreeSet;

use model::Uuid;
use wire::PartitionChangeRecord;

use crate::metadata::{
    LeaderRecoveryState, MetadataVersion, NO_LEADER, NO_LEADER_CHANGE, PartitionRegistration,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first replica, if it may.
    Preferred,
    /// The leader stays while it may.
    Online,
    /// As `Online`, but rather a replica out of sync than none: committed records may be lost.
    Unclean,
}

/// What the cluster is like around the partition.
pub struct Surroundings<'a> {
    /// Whether the broker is active and its directory online.
    pub acceptable: &'a dyn Fn(i32) -> bool,
    pub metadata_version: MetadataVersion,
    /// Of the topic, but never more than its replicas.
    pub min_isr: usize,
    pub elr_enabled: bool,
    /// Where a broker's new replica is said to be.
    pub default_dir: &'a dyn Fn(i32) -> Uuid,
}

pub struct PartitionChange<'a> {
    topic_id: Uuid,
    partition_id: i32,
    partition: &'a PartitionRegistration,
    around: &'a Surroundings<'a>,
    pub election: Election,
    pub target_isr: Vec<i32>,
    pub target_replicas: Vec<i32>,
    pub target_removing: Vec<i32>,
    pub target_adding: Vec<i32>,
    pub target_recovery: LeaderRecoveryState,
    pub directories: Vec<(i32, Uuid)>,
    /// May have lost what they had: no longer eligible.
    pub unclean_shutdown: Vec<i32>,
    target_elr: Vec<i32>,
}

struct Elected {
    node: i32,
    unclean: bool,
}

impl<'a> PartitionChange<'a> {
    pub fn new(
        topic_id: Uuid,
        partition_id: i32,
        partition: &'a PartitionRegistration,
        around: &'a Surroundings<'a>,
    ) -> PartitionChange<'a> {
        let directories =
            partition.replicas.iter().copied().zip(partition.directories.iter().copied());
        PartitionChange {
            topic_id,
            partition_id,
            partition,
            around,
            election: Election::Online,
            target_isr: partition.isr.clone(),
            target_replicas: partition.replicas.clone(),
            target_removing: partition.removing_replicas.clone(),
            target_adding: partition.adding_replicas.clone(),
            target_recovery: partition.leader_recovery_state,
            directories: directories.collect(),
            unclean_shutdown: Vec::new(),
            target_elr: partition.elr.clone(),
        }
    }

    pub fn set_directory(&mut self, broker: i32, directory: Uuid) {
        match self.directories.iter_mut().find(|(id, _)| *id == broker) {
            Some((_, known)) => *known = directory,
            None => self.directories.push((broker, directory)),
        }
    }

    /// None where nothing changes.
    pub fn build(mut self) -> Option<PartitionChangeRecord> {
        let mut record = PartitionChangeRecord {
            topic_id: self.topic_id,
            partition_id: self.partition_id,
            ..Default::default()
        };
        self.complete_reassignment();
        self.fill_target_elr();
        self.try_election(&mut record);
        self.bump_epoch_where_replicas_go(&mut record);
        self.set_elr(&mut record);
        let isr_may_be_said = !self.target_isr.is_empty() || self.around.elr_enabled;
        if record.isr.is_none() && isr_may_be_said && self.target_isr != self.partition.isr {
            record.isr = Some(self.target_isr.clone());
        }
        self.bump_epoch_where_the_isr_shrinks(&mut record);
        self.set_last_known_leader(&mut record);
        self.set_assignment(&mut record);
        if self.target_recovery != self.partition.leader_recovery_state {
            record.leader_recovery_state = self.target_recovery.value();
        }
        let untouched = PartitionChangeRecord {
            topic_id: self.topic_id,
            partition_id: self.partition_id,
            ..Default::default()
        };
        (record != untouched).then_some(record)
    }

    /// Once all that are to be added are in sync; and, where the replicas become fewer, all that stay.
    fn complete_reassignment(&mut self) {
        if self.target_removing.is_empty() && self.target_adding.is_empty() {
            return;
        }
        let stays = |id: &&i32| !self.target_removing.contains(id);
        let isr: Vec<i32> = self.target_isr.iter().filter(stays).copied().collect();
        let replicas: Vec<i32> = self.target_replicas.iter().filter(stays).copied().collect();
        let in_sync = |ids: &[i32]| ids.iter().all(|id| isr.contains(id));
        let fewer = self.target_adding.len() < self.target_removing.len();
        let nothing_left =
            !self.target_removing.is_empty() && (isr.is_empty() || replicas.is_empty());
        if nothing_left || !in_sync(&self.target_adding) || fewer && !in_sync(&replicas) {
            return;
        }
        self.target_isr = isr;
        self.target_replicas = replicas;
        self.target_removing.clear();
        self.target_adding.clear();
    }

    /// Who leaves an ISR that is too small stays eligible: nothing is committed without it.
    fn fill_target_elr(&mut self) {
        if !self.around.elr_enabled {
            return;
        }
        if self.target_isr.len() >= self.around.min_isr {
            self.target_elr.clear();
            return;
        }
        let candidates: BTreeSet<i32> =
            self.target_elr.iter().chain(&self.partition.isr).copied().collect();
        self.target_elr = candidates
            .into_iter()
            .filter(|id| !self.target_isr.contains(id) && !self.unclean_shutdown.contains(id))
            // Kafka keeps also those that a reassignment has just taken away, for whom others then wait in vain.
            .filter(|id| self.target_replicas.contains(id))
            .collect();
    }

    fn try_election(&mut self, record: &mut PartitionChangeRecord) {
        let elected = self.elect();
        if elected.node == self.partition.leader {
            return;
        }
        if self.target_elr.contains(&elected.node) {
            self.target_isr = vec![elected.node];
            self.target_elr.retain(|id| *id != elected.node);
        }
        record.leader = elected.node;
        if elected.unclean {
            record.isr = Some(vec![elected.node]);
            if self.partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                record.leader_recovery_state = LeaderRecoveryState::Recovering.value();
            }
        }
    }

    fn elect(&self) -> Elected {
        let preferred = self.target_replicas.first().copied();
        let current = Some(self.partition.leader);
        let first = match self.election {
            Election::Preferred => preferred.into_iter().chain(current),
            _ => current.into_iter().chain(preferred),
        };
        let mut candidates = first.chain(self.target_replicas.iter().skip(1).copied());
        if let Some(node) = candidates.find(|id| self.valid_leader(*id)) {
            return Elected { node, unclean: false };
        }
        if let Some(node) = self.last_known_leader() {
            return Elected { node, unclean: true };
        }
        if self.election == Election::Unclean
            && let Some(node) =
                self.target_replicas.iter().copied().find(|id| (self.around.acceptable)(*id))
        {
            return Elected { node, unclean: true };
        }
        Elected { node: NO_LEADER, unclean: false }
    }

    fn valid_leader(&self, id: i32) -> bool {
        let known_complete = self.target_isr.contains(&id)
            || self.target_isr.is_empty() && self.target_elr.contains(&id);
        known_complete && (self.around.acceptable)(id)
    }

    /// With nobody in sync or eligible, the last one that led.
    fn last_known_leader(&self) -> Option<i32> {
        if !self.around.elr_enabled || !self.target_elr.is_empty() || !self.target_isr.is_empty() {
            return None;
        }
        match self.partition.last_known_elr.as_slice() {
            [only] if (self.around.acceptable)(*only) => Some(*only),
            _ => None,
        }
    }

    /// A replica that was taken away must notice, if it still leads in its own eyes or fetches.
    fn bump_epoch_where_replicas_go(&self, record: &mut PartitionChangeRecord) {
        let gone = self.partition.replicas.iter().any(|id| !self.target_replicas.contains(id));
        if record.leader == NO_LEADER_CHANGE && gone {
            record.leader = self.partition.leader;
        }
    }

    fn bump_epoch_where_the_isr_shrinks(&self, record: &mut PartitionChangeRecord) {
        if !self.around.metadata_version.leader_epoch_bump_on_isr_shrink()
            || record.leader != NO_LEADER_CHANGE
        {
            return;
        }
        if let Some(isr) = &record.isr
            && self.partition.isr.iter().any(|id| !isr.contains(id))
        {
            record.leader = self.partition.leader;
        }
    }

    fn set_elr(&mut self, record: &mut PartitionChangeRecord) {
        let unclean = record.isr.is_some();
        if unclean || !self.around.elr_enabled {
            self.target_elr.clear();
        }
        if self.target_elr != self.partition.elr {
            record.eligible_leader_replicas = Some(self.target_elr.clone());
        }
    }

    fn set_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.around.elr_enabled {
            return;
        }
        if record.leader == NO_LEADER && self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(vec![self.partition.leader]);
        } else if record.leader >= 0 && !self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn set_assignment(&self, record: &mut PartitionChangeRecord) {
        if !self.target_replicas.is_empty() {
            if self.around.metadata_version.directory_assignment() {
                let directory = |id: &i32| {
                    let known = self.directories.iter().find(|(broker, _)| broker == id);
                    known
                        .map_or_else(|| (self.around.default_dir)(*id), |(_, directory)| *directory)
                };
                let directories: Vec<Uuid> = self.target_replicas.iter().map(directory).collect();
                if directories != self.partition.directories {
                    record.directories = Some(directories);
                }
            }
            if self.target_replicas != self.partition.replicas {
                record.replicas = Some(self.target_replicas.clone());
            }
        }
        if self.target_removing != self.partition.removing_replicas {
            record.removing_replicas = Some(self.target_removing.clone());
        }
        if self.target_adding != self.partition.adding_replicas {
            record.adding_replicas = Some(self.target_adding.clone());
        }
    }
}

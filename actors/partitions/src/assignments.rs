//! What the controller must be told of the directories that replicas are in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::Uuid;
use runtime::{Map, Pulse};

/// A replica of this node, by topic id and partition.
pub type ReplicaName = (Uuid, i32);

/// Replicas that are in another directory than the metadata says, each with the one that it is in. Bound: the node's replicas.
#[derive(Debug, Default)]
pub struct Assignments {
    waiting: Mutex<Map<ReplicaName, Uuid>>,
    pulse: Pulse,
}

impl Assignments {
    fn waiting(&self) -> MutexGuard<'_, Map<ReplicaName, Uuid>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest word on a replica stands.
    pub fn push(&self, replica: ReplicaName, directory: Uuid) {
        self.waiting().insert(replica, directory);
        self.pulse.publish();
    }

    /// Gives back what could not be told; what was said meanwhile stands.
    pub fn put_back(&self, replica: ReplicaName, directory: Uuid) {
        self.waiting().entry(replica).or_insert(directory);
    }

    pub fn take(&self, most: usize) -> Map<ReplicaName, Uuid> {
        let mut waiting = self.waiting();
        let rest = waiting.keys().nth(most).copied();
        let rest = rest.map_or_else(Map::new, |from| waiting.split_off(&from));
        std::mem::replace(&mut *waiting, rest)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }
}

//! What the controller must be told of replicas, until it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use machines::partition::IsrChange;
use model::Uuid;
use runtime::{Map, Pulse};

/// A replica of this node, by topic id and partition.
pub type ReplicaName = (Uuid, i32);

/// Replicas that are in another directory than the metadata says, each with the one that it is in.
pub type Assignments = ForController<Uuid>;

/// The ISRs that leaders ask for.
pub type IsrChanges = ForController<IsrChange>;

/// The newest word on each replica that has news. Bound: the node's replicas.
#[derive(Debug)]
pub struct ForController<W> {
    waiting: Mutex<Map<ReplicaName, W>>,
    pulse: Pulse,
}

impl<W> Default for ForController<W> {
    fn default() -> Self {
        ForController { waiting: Mutex::default(), pulse: Pulse::new() }
    }
}

impl<W> ForController<W> {
    fn waiting(&self) -> MutexGuard<'_, Map<ReplicaName, W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest word on a replica stands.
    pub fn push(&self, replica: ReplicaName, word: W) {
        self.waiting().insert(replica, word);
        self.pulse.publish();
    }

    /// Gives back what could not be told; what was said meanwhile stands.
    pub fn put_back(&self, replica: ReplicaName, word: W) {
        self.waiting().entry(replica).or_insert(word);
    }

    pub fn take(&self, most: usize) -> Map<ReplicaName, W> {
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

/// Words on their way to the controller. Where whoever tells them ends before it has an answer, they wait again.
#[derive(Debug)]
pub struct UnderWay<W> {
    from: Arc<ForController<W>>,
    /// Those that no answer came for.
    pub words: Map<ReplicaName, W>,
}

impl<W> UnderWay<W> {
    pub fn take(from: &Arc<ForController<W>>, most: usize) -> UnderWay<W> {
        UnderWay { words: from.take(most), from: from.clone() }
    }

    /// Lets them wait again, for somebody who looks for them by itself.
    pub fn put_back(mut self) {
        for (replica, word) in std::mem::take(&mut self.words) {
            self.from.put_back(replica, word);
        }
    }
}

impl<W> Drop for UnderWay<W> {
    fn drop(&mut self) {
        if !self.words.is_empty() {
            UnderWay { from: self.from.clone(), words: std::mem::take(&mut self.words) }.put_back();
            self.from.pulse.publish();
        }
    }
}

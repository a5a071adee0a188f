//! The replicas that this node hosts, by name and by topic id.

use std::sync::{Arc, Mutex, PoisonError};

use model::Uuid;
use runtime::{Directory, Map};

use crate::handle::PartitionHandle;

/// The replicas of one topic on this node.
#[derive(Debug, Clone)]
pub struct HostedTopic {
    pub id: Uuid,
    pub name: String,
    pub partitions: Map<i32, Arc<PartitionHandle>>,
}

/// The directory of this node's replicas. Reading it takes no lock for longer than a lookup.
#[derive(Debug)]
pub struct Hosted {
    by_name: Directory<String, Arc<HostedTopic>>,
    by_id: Directory<Uuid, Arc<HostedTopic>>,
    /// Held while a topic's entry is replaced by its successor.
    writing: Mutex<()>,
}

impl Default for Hosted {
    fn default() -> Self {
        Hosted { by_name: Directory::new(), by_id: Directory::new(), writing: Mutex::new(()) }
    }
}

impl Hosted {
    pub fn topic(&self, name: &str) -> Option<Arc<HostedTopic>> {
        self.by_name.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<HostedTopic>> {
        self.by_id.get(&id)
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.by_name.get(topic)?.partitions.get(&partition).cloned()
    }

    pub fn get_by_id(&self, topic: Uuid, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.by_id.get(&topic)?.partitions.get(&partition).cloned()
    }

    /// Every replica, sorted by topic and partition.
    pub fn all(&self) -> Vec<Arc<PartitionHandle>> {
        let topics = self.by_name.entries();
        topics.into_iter().flat_map(|(_, topic)| topic.partitions.clone().into_values()).collect()
    }

    pub(crate) fn insert(&self, handle: Arc<PartitionHandle>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = handle.topic_partition.topic.clone();
        let mut topic = match self.by_name.get(&name) {
            Some(topic) if topic.id == handle.topic_id => (*topic).clone(),
            _ => HostedTopic { id: handle.topic_id, name: name.clone(), partitions: Map::new() },
        };
        topic.partitions.insert(handle.topic_partition.partition, handle);
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(name, topic);
    }

    pub(crate) fn remove(&self, handle: &PartitionHandle) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = self.by_id.get(&handle.topic_id) else { return };
        let mut topic = (*topic).clone();
        topic.partitions.remove(&handle.topic_partition.partition);
        let current = self.by_name.get(&topic.name).is_some_and(|t| t.id == topic.id);
        if topic.partitions.is_empty() {
            self.by_id.remove(&topic.id);
            if current {
                self.by_name.remove(&topic.name);
            }
            return;
        }
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, topic.clone());
        if current {
            self.by_name.insert(topic.name.clone(), topic);
        }
    }
}

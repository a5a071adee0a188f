//! The replicas that this node hosts, by name and by topic id.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use log::RecentBatches;
use model::Uuid;
use runtime::{Directory, Map};

use crate::handle::PartitionHandle;
use crate::traffic::Traffic;

/// The replicas of one topic on this node, as they are now.
#[derive(Debug)]
pub struct HostedTopic {
    pub id: Uuid,
    pub name: String,
    partitions: RwLock<Map<i32, Arc<PartitionHandle>>>,
}

impl HostedTopic {
    fn read(&self) -> RwLockReadGuard<'_, Map<i32, Arc<PartitionHandle>>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map<i32, Arc<PartitionHandle>>> {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.read().get(&partition).cloned()
    }

    pub fn partitions(&self) -> Map<i32, Arc<PartitionHandle>> {
        self.read().clone()
    }
}

/// The directory of this node's replicas. Reading it takes no lock for longer than a lookup.
#[derive(Debug)]
pub struct Hosted {
    by_name: Directory<String, Arc<HostedTopic>>,
    by_id: Directory<Uuid, Arc<HostedTopic>>,
    /// Held while a replica, and with the first or the last its topic, comes or goes.
    writing: Mutex<()>,
    recent: Arc<RecentBatches>,
    traffic: Traffic,
}

impl Hosted {
    /// `recent`: where the newest batches of those led here stay.
    pub fn new(recent: RecentBatches) -> Self {
        Hosted {
            by_name: Directory::new(),
            by_id: Directory::new(),
            writing: Mutex::new(()),
            recent: Arc::new(recent),
            traffic: Traffic::default(),
        }
    }

    pub fn recent(&self) -> &Arc<RecentBatches> {
        &self.recent
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Gives back those of the newest batches that are old by now, in pieces, between which others go on.
    pub fn forget_recent(&self) -> impl Future<Output = ()> + Send + use<> {
        let (recent, old) = (self.recent.clone(), self.recent.old());
        async move {
            while recent.forget_before(old) {
                tokio::task::yield_now().await;
            }
        }
    }

    pub fn topic(&self, name: &str) -> Option<Arc<HostedTopic>> {
        self.by_name.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<HostedTopic>> {
        self.by_id.get(&id)
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.by_name.get(topic)?.get(partition)
    }

    pub fn get_by_id(&self, topic: Uuid, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.by_id.get(&topic)?.get(partition)
    }

    /// Every replica, sorted by topic and partition.
    pub fn all(&self) -> Vec<Arc<PartitionHandle>> {
        let topics = self.by_name.entries();
        topics.into_iter().flat_map(|(_, topic)| topic.partitions().into_values()).collect()
    }

    pub(crate) fn insert(&self, handle: Arc<PartitionHandle>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, name) = (handle.topic_id, &handle.topic_partition.topic);
        handle.count_in(self.traffic.of(name));
        let known = self.by_name.get(name).filter(|topic| topic.id == id);
        let topic = known.unwrap_or_else(|| {
            let (name, partitions) = (name.clone(), RwLock::default());
            let topic = Arc::new(HostedTopic { id, name: name.clone(), partitions });
            self.by_id.insert(id, topic.clone());
            self.by_name.insert(name, topic.clone());
            topic
        });
        topic.write().insert(handle.topic_partition.partition, handle);
    }

    pub(crate) fn remove(&self, handle: &PartitionHandle) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = self.by_id.get(&handle.topic_id) else { return };
        let mut partitions = topic.write();
        partitions.remove(&handle.topic_partition.partition);
        if partitions.is_empty() {
            self.by_id.remove(&topic.id);
            if self.by_name.get(&topic.name).is_some_and(|named| named.id == topic.id) {
                self.by_name.remove(&topic.name);
            }
        }
    }
}

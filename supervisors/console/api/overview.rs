//! What there is, in a few numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use machines::metadata::{MetadataImage, PartitionRegistration};
use serde_json::json;

use super::query::Asked;
use super::{All, Answer, Json};

/// Sums over all partitions.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) partitions: usize,
    pub(super) without_leader: usize,
    pub(super) under_replicated: usize,
    pub(super) by_broker: BTreeMap<i32, OfBroker>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OfBroker {
    pub(super) replicas: usize,
    pub(super) leaders: usize,
    /// Replicas out of sync.
    pub(super) behind: usize,
}

/// As of the metadata's offset: they are counted anew when it has changed.
#[derive(Default)]
pub(super) struct Counted(Mutex<Option<(i64, Arc<Counts>)>>);

impl Counted {
    pub(super) fn of(&self, image: &MetadataImage) -> Arc<Counts> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = image.provenance.offset;
        if let Some((_, counts)) = counted.as_ref().filter(|(at, _)| *at == offset) {
            return counts.clone();
        }
        let mut counts = Counts::default();
        for topic in image.topics.iter() {
            topic.partitions.values().for_each(|partition| counts.add(partition));
        }
        counted.insert((offset, Arc::new(counts))).1.clone()
    }
}

impl Counts {
    fn add(&mut self, partition: &PartitionRegistration) {
        self.partitions += 1;
        self.without_leader += usize::from(!partition.has_leader());
        self.under_replicated += usize::from(is_under_replicated(partition));
        for replica in &partition.replicas {
            let broker = self.by_broker.entry(*replica).or_default();
            broker.replicas += 1;
            broker.leaders += usize::from(partition.leader == *replica);
            broker.behind += usize::from(!partition.isr.contains(replica));
        }
    }
}

pub(super) fn is_under_replicated(partition: &PartitionRegistration) -> bool {
    partition.isr.len() < partition.replicas.len()
}

pub(super) async fn overview(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let seen = all.meant(&asked)?;
    let image = seen.image();
    let counts = seen.counted.of(&image);
    let nodes: Vec<i32> = all.0.iter().map(|seen| seen.node).collect();
    Ok(Json(json!({
        "nodes": nodes, "node": seen.node, "cluster_id": seen.cluster_id, "version": env!("CARGO_PKG_VERSION"),
        "metadata_version": image.metadata_version().name(), "metadata_offset": image.provenance.offset,
        "topics": image.topics.len(), "partitions": counts.partitions, "brokers": image.brokers.size(),
        "alive": image.alive_brokers().count(), "without_leader": counts.without_leader,
        "under_replicated": counts.under_replicated,
    })))
}

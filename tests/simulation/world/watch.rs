//! What must hold at every moment, looked at from above after every tick: docs/INVARIANTS.md says it in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use machines::metadata::{PartitionRegistration, TopicImage};
use model::Uuid;
use ottla::sim::{Cluster, MetadataImage, View};

use super::story::Story;
use super::{PARTITIONS, REPLICAS, TOPIC};

/// How many offsets of the metadata log are remembered: no node is further behind for long.
const IMAGES: usize = 4000;
const MIN_IN_SYNC: usize = 2;

pub struct Watch {
    story: Arc<Story>,
    /// By the offset that each was read to.
    images: BTreeMap<i64, Arc<MetadataImage>>,
    /// How far each node's was at the last look.
    read_to: BTreeMap<i32, i64>,
    /// By topic, partition and partition epoch.
    registrations: BTreeMap<(Uuid, i32, i32), Arc<PartitionRegistration>>,
    /// By topic, partition and leader epoch.
    leaders: BTreeMap<(Uuid, i32, i32), i32>,
    /// Who says of itself that it leads, by partition and leader epoch.
    claims: BTreeMap<(i32, i32), i32>,
    /// By epoch of the quorum.
    quorum: BTreeMap<i32, i32>,
    /// By node and partition: leader epoch and high watermark of a replica that led at the last look.
    led: BTreeMap<(i32, i32), (i32, i64)>,
    up: usize,
    nodes: usize,
}

impl Watch {
    pub fn new(story: Arc<Story>) -> Watch {
        Watch {
            story,
            images: BTreeMap::new(),
            read_to: BTreeMap::new(),
            registrations: BTreeMap::new(),
            leaders: BTreeMap::new(),
            claims: BTreeMap::new(),
            quorum: BTreeMap::new(),
            led: BTreeMap::new(),
            up: 0,
            nodes: 0,
        }
    }

    pub fn look(&mut self, cluster: &mut Cluster) {
        self.story.set_now_ms(cluster.world.now().as_millis() as u64);
        let members = cluster.members();
        self.nodes = members.len();
        self.up = 0;
        for (id, _) in members {
            match cluster.view(id) {
                Some(view) => self.look_at(id, &view),
                None => {
                    self.read_to.remove(&id);
                    self.led.retain(|(node, _), _| *node != id);
                }
            }
        }
        for panic in cluster.world.take_panics() {
            self.story.wrong(format_args!("an actor or a job panicked: {panic}"));
        }
    }

    fn look_at(&mut self, id: i32, view: &View) {
        self.up += 1;
        let quorum = view.quorum();
        if let Some(leader) = quorum.leader {
            let known = *self.quorum.entry(quorum.epoch).or_insert(leader);
            if known != leader {
                let epoch = quorum.epoch;
                self.story.wrong(format_args!(
                    "QU-1: epoch {epoch} of the quorum is led by {known}, and by {leader} says {id}"
                ));
            }
        }
        let image = view.metadata();
        let offset = image.provenance.offset;
        if offset >= 0 && self.read_to.insert(id, offset) != Some(offset) {
            self.image(id, &image);
        }
        for partition in 0..PARTITIONS {
            self.replica(id, view, partition);
        }
    }

    fn image(&mut self, id: i32, image: &Arc<MetadataImage>) {
        let offset = image.provenance.offset;
        if let Some(known) = self.images.get(&offset) {
            let differ = known.differs_in(image);
            if !differ.is_empty() || known.provenance != image.provenance {
                let what = differ.join(", ");
                self.story.wrong(format_args!(
                    "QU-2, RE-1: node {id} has other metadata at {offset} than was committed: {what}"
                ));
            }
            return;
        }
        self.images.insert(offset, image.clone());
        if self.images.len() > IMAGES {
            self.images.pop_first();
        }
        for topic in image.topics.iter() {
            for (partition, registration) in &topic.partitions {
                self.registration(topic, *partition, registration);
            }
        }
    }

    /// The rules of a partition's ISR, ELR and leader, and that no epoch means two things.
    fn registration(
        &mut self,
        topic: &TopicImage,
        partition: i32,
        found: &Arc<PartitionRegistration>,
    ) {
        let key = (topic.id, partition, found.partition_epoch);
        if let Some(known) = self.registrations.get(&key) {
            if known != found {
                self.story.wrong(format_args!(
                    "CT-1: {}-{partition} is {known:?}, and in the same epoch {found:?}",
                    topic.name
                ));
            }
            return;
        }
        self.registrations.insert(key, found.clone());
        let in_sync = |broker: &i32| found.isr.contains(broker);
        let replica = |broker: &i32| found.replicas.contains(broker);
        let rules = [
            (found.isr.iter().all(replica), "a member of the ISR is no replica"),
            (found.elr.iter().all(replica), "a member of the ELR is no replica"),
            (!found.elr.iter().any(in_sync), "a replica is in the ISR and in the ELR"),
            (found.leader < 0 || in_sync(&found.leader), "the leader is not in the ISR"),
            (
                topic.name != TOPIC || found.elr.is_empty() || found.isr.len() < MIN_IN_SYNC,
                "there is an ELR although the ISR suffices",
            ),
        ];
        for (_, rule) in rules.iter().filter(|(holds, _)| !holds) {
            let name = &topic.name;
            self.story.wrong(format_args!("CT-2: {name}-{partition}: {rule}: {found:?}"));
        }
        if found.leader >= 0 {
            let key = (topic.id, partition, found.leader_epoch);
            let known = *self.leaders.entry(key).or_insert(found.leader);
            if known != found.leader {
                let name = &topic.name;
                self.story.wrong(format_args!("CT-1: {known} leads {name}-{partition}: {found:?}"));
            }
        }
    }

    fn replica(&mut self, id: i32, view: &View, partition: i32) {
        let before = self.led.remove(&(id, partition));
        let Some(found) = view.replica(TOPIC, partition) else { return };
        if !found.leads {
            return;
        }
        let epoch = found.leader_epoch;
        let claimed = *self.claims.entry((partition, epoch)).or_insert(id);
        if claimed != id {
            self.story.wrong(format_args!(
                "CT-1: nodes {claimed} and {id} lead partition {partition} in epoch {epoch}"
            ));
        }
        if found.high_watermark > found.log_end_offset {
            self.story.wrong(format_args!("PA-2: node {id}, partition {partition}: {found:?}"));
        }
        let back = before.filter(|(led, high)| *led == epoch && *high > found.high_watermark);
        if let Some((_, high)) = back {
            self.story.wrong(format_args!(
                "PA-2: the high watermark went back from {high}: node {id}, partition {partition}: {found:?}"
            ));
        }
        self.led.insert((id, partition), (epoch, found.high_watermark));
        self.story.committed(partition, found.high_watermark);
        if let Some(registration) = view.metadata().topics.partition(found.topic_id, partition) {
            self.story.lacks(usize::try_from(REPLICAS).unwrap_or(0) - registration.isr.len());
        }
    }

    /// The partitions that are written to, as the metadata has them.
    pub fn partitions(&self) -> Vec<Arc<PartitionRegistration>> {
        let image = self.images.last_key_value().map(|(_, image)| image);
        let topic = image.and_then(|image| image.topics.by_name(TOPIC));
        topic.map(|topic| topic.partitions.values().cloned().collect()).unwrap_or_default()
    }

    /// All nodes are up and all replicas in sync, as far as is known.
    pub fn all_in_sync(&self) -> bool {
        let partitions = self.partitions();
        let full = |found: &Arc<PartitionRegistration>| found.isr.len() == found.replicas.len();
        self.up == self.nodes && !partitions.is_empty() && partitions.iter().all(full)
    }
}

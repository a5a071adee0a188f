//! What must hold at every moment, looked at from above after every tick: docs/INVARIANTS.md says it in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use machines::metadata::{PartitionRegistration, TopicImage};
use model::Uuid;
use model::topic::CONSUMER_OFFSETS;
use ottla::sim::{Cluster, HeldReplica, MetadataImage, ReplicaView, View};

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
    /// By node and partition, those of the last look: a leader may move its high watermark, answer, and be gone within one tick.
    held: BTreeMap<(i32, i32), HeldReplica>,
    /// How far the metadata log was known to reach when each node was last seen down: its process registers behind that.
    down_at: BTreeMap<i32, i64>,
}

/// A replica in sync beside its leader, each as its node has it.
#[derive(Debug)]
struct Pair {
    leader_epoch: i32,
    /// All replicas are in sync.
    is_full: bool,
    leader: Option<ReplicaView>,
    follower: Option<ReplicaView>,
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
            held: BTreeMap::new(),
            down_at: BTreeMap::new(),
        }
    }

    pub fn look(&mut self, cluster: &mut Cluster) {
        self.story.set_now_ms(cluster.world.now().as_millis() as u64);
        // Where a node lives and did not run, nothing has changed.
        let mut members = cluster.members();
        members.retain(|(_, node)| cluster.world.has_run(*node) || !cluster.world.is_up(*node));
        for (id, _) in &members {
            for ((_, partition), replica) in self.held.range((*id, 0)..(*id + 1, 0)) {
                self.story.committed(*partition, replica.view().high_watermark);
            }
        }
        for (id, node) in members {
            match cluster.view(id) {
                Some(view) => self.look_at(id, &view),
                None => {
                    let known = self.images.last_key_value().map_or(-1, |(offset, _)| *offset);
                    if !cluster.world.is_up(node) {
                        self.down_at.insert(id, known);
                    }
                    self.read_to.remove(&id);
                    self.led.retain(|(node, _), _| *node != id);
                    self.held.retain(|(node, _), _| *node != id);
                }
            }
        }
        for panic in cluster.world.take_panics() {
            let place = panic.split(": ").next().unwrap_or_default();
            self.story.wrong(&format!("a panic at {place}"), format_args!("{panic}"));
        }
    }

    fn look_at(&mut self, id: i32, view: &View) {
        let quorum = view.quorum();
        if let Some(leader) = quorum.leader {
            let known = *self.quorum.entry(quorum.epoch).or_insert(leader);
            if known != leader {
                let epoch = quorum.epoch;
                self.story.wrong(
                    "QU-1",
                    format_args!(
                        "epoch {epoch} of the quorum is led by {known}, and by {leader} says {id}"
                    ),
                );
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
                self.story.wrong(
                    "QU-2, RE-1",
                    format_args!(
                        "node {id} has other metadata at {offset} than was committed: {what}"
                    ),
                );
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
                self.story.wrong(
                    "CT-1",
                    format_args!(
                        "{}-{partition} is {known:?}, and in the same epoch {found:?}",
                        topic.name
                    ),
                );
            }
            return;
        }
        self.registrations.insert(key, found.clone());
        tracing::info!("at {} ms: {}-{partition} is {found:?}", self.story.now_ms(), topic.name);
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
            self.story.wrong("CT-2", format_args!("{name}-{partition}: {rule}: {found:?}"));
        }
        if found.leader >= 0 {
            let key = (topic.id, partition, found.leader_epoch);
            let known = *self.leaders.entry(key).or_insert(found.leader);
            if known != found.leader {
                let name = &topic.name;
                self.story
                    .wrong("CT-1", format_args!("{known} leads {name}-{partition}: {found:?}"));
            }
        }
    }

    fn replica(&mut self, id: i32, view: &View, partition: i32) {
        let before = self.led.remove(&(id, partition));
        self.held.remove(&(id, partition));
        let Some(held) = view.hold(TOPIC, partition) else { return };
        let found = held.view();
        self.held.insert((id, partition), held);
        // Whoever led in this tick may lead no more, and no follower has heard of more than was committed.
        self.story.committed(partition, found.high_watermark);
        if !found.leads {
            return;
        }
        let epoch = found.leader_epoch;
        self.story.led(partition, epoch, found.log_end_offset);
        let claimed = *self.claims.entry((partition, epoch)).or_insert(id);
        if claimed != id {
            self.story.wrong(
                "CT-1",
                format_args!(
                    "nodes {claimed} and {id} lead partition {partition} in epoch {epoch}"
                ),
            );
        }
        if found.high_watermark > found.log_end_offset {
            self.story.wrong("PA-2", format_args!("node {id}, partition {partition}: {found:?}"));
        }
        let back = before.filter(|(led, high)| *led == epoch && *high > found.high_watermark);
        if let Some((_, high)) = back {
            self.story.wrong("PA-2", format_args!(
                "the high watermark went back from {high}: node {id}, partition {partition}: {found:?}"
            ));
        }
        self.led.insert((id, partition), (epoch, found.high_watermark));
        if let Some(registration) = view.metadata().topics.partition(found.topic_id, partition) {
            // While it is reassigned it may have more.
            let wanted = usize::try_from(REPLICAS).unwrap_or(0);
            self.story.lacks(wanted.saturating_sub(registration.isr.len()));
        }
    }

    /// The partitions that are written to, as the metadata has them.
    pub fn partitions(&self) -> Vec<Arc<PartitionRegistration>> {
        let image = self.images.last_key_value().map(|(_, image)| image);
        let topics = image.into_iter().flat_map(|image| {
            [TOPIC, CONSUMER_OFFSETS].into_iter().filter_map(|name| image.topics.by_name(name))
        });
        topics.flat_map(|topic| topic.partitions.values().cloned()).collect()
    }

    /// Those in sync with a leader, of all topics: topic, partition and node.
    pub fn replicas(&self) -> Vec<(Uuid, i32, i32)> {
        let image = self.images.last_key_value().map(|(_, image)| image);
        let partitions =
            image.into_iter().flat_map(|image| image.topics.iter()).flat_map(|topic| {
                topic.partitions.iter().map(|(partition, found)| (topic.id, *partition, found))
            });
        let led = partitions.filter(|(_, _, found)| found.leader >= 0);
        led.flat_map(|(id, partition, found)| found.isr.iter().map(move |on| (id, partition, *on)))
            .collect()
    }

    /// Whether the replica has, and knows to be committed, what its leader has; or is no replica in sync any more.
    pub fn is_level(&self, cluster: &Cluster, replica: (Uuid, i32, i32)) -> bool {
        let Some(pair) = self.pair(cluster, replica) else { return true };
        let Pair { leader_epoch, is_full, leader: Some(leader), follower: Some(follower) } = pair
        else {
            return false;
        };
        let committed = |of: &ReplicaView| (of.leader_epoch, of.log_end_offset, of.high_watermark);
        leader.leads
            && leader.leader_epoch == leader_epoch
            && (leader.high_watermark == leader.log_end_offset || !is_full)
            && committed(&leader) == committed(&follower)
    }

    /// For people.
    pub fn levels(&self, cluster: &Cluster, replica: (Uuid, i32, i32)) -> String {
        format!("{replica:?}: {:?}", self.pair(cluster, replica))
    }

    fn pair(&self, cluster: &Cluster, (topic, partition, node): (Uuid, i32, i32)) -> Option<Pair> {
        let (_, image) = self.images.last_key_value()?;
        let found = image.topics.partition(topic, partition)?;
        let name = &image.topics.by_id(topic)?.name;
        let on = |node| {
            let replica = cluster.view(node)?.replica(name, partition);
            replica.filter(|replica| replica.topic_id == topic)
        };
        (found.leader >= 0 && found.isr.contains(&node)).then(|| Pair {
            leader_epoch: found.leader_epoch,
            is_full: found.isr.len() == found.replicas.len(),
            leader: on(found.leader),
            follower: on(node),
        })
    }

    /// All nodes serve and all replicas are in sync: what the metadata said before a process died is not asked.
    pub fn all_in_sync(&self) -> bool {
        let Some((_, image)) = self.images.last_key_value() else { return false };
        let serves = |(id, down_at): (&i32, &i64)| {
            image.brokers.get(id).is_some_and(|broker| !broker.fenced && broker.epoch > *down_at)
        };
        let partitions = self.partitions();
        let full = |found: &Arc<PartitionRegistration>| found.isr.len() == found.replicas.len();
        self.down_at.iter().all(serves) && !partitions.is_empty() && partitions.iter().all(full)
    }
}

//! Replication: the parent of replica fetchers. It follows the metadata, and gives each partition that another broker leads to the
//! fetcher of that broker.
//!
//! Supervisor: the node. Its children are one-for-one; a fetcher has no state that is not in the logs, so that it is started
//! again however often it fails. Source: `AbstractFetcherManager`, `ReplicaManager.applyLocalFollowersDelta`.

mod assigned;
mod fetcher;
mod leader;
mod taking;
mod throttle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use machines::metadata::{
    MetadataDelta, MetadataImage, NO_LEADER, PartitionRegistration, TopicImage,
};
use model::node_config::{ReplicationConfig, replica_fetchers};
use model::settings::Values;
use model::{LeaderEpoch, NodeId, Uuid};
use runtime::{
    Actor, Address, ChildChange, ChildEvent, ChildSpec, Cx, Failure, Map, Outcome, Seed, Watch,
};

use assigned::Assigned;
use fetcher::{FetcherArgs, FetcherMsg, ReplicaFetcher};
use throttle::FollowerThrottle;

use crate::handle::{PartitionHandle, Role};
use crate::hosted::Hosted;

#[derive(Clone)]
pub struct ReplicationArgs {
    pub node: NodeId,
    pub hosted: Arc<Hosted>,
    pub metadata: Watch<MetadataImage>,
    /// The metadata offset up to which replicas were started, told and removed.
    pub applied: Watch<i64>,
    pub settings: Watch<Values>,
    pub config: ReplicationConfig,
    /// `inter.broker.listener.name`.
    pub listener: String,
    /// What the leader holds against the epoch in the metadata; -1 before this broker is registered.
    pub broker_epoch: Arc<AtomicI64>,
    /// How a fetcher is supervised.
    pub fetcher: ChildSpec,
}

pub enum ReplicationMsg {
    /// Replicas were told of newer metadata, or there are newer settings.
    Changed,
    /// From a test or an operator: each fetcher fails as a bug would.
    PanicFetchers { message: String },
}

runtime::messages!(ReplicationMsg { Changed, PanicFetchers });

/// One fetcher: the broker whose partitions it fetches, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FetcherId {
    leader: i32,
    number: u32,
}

impl FetcherId {
    fn name(self) -> String {
        format!("leader-{}-{}", self.leader, self.number)
    }

    /// As Kafka spreads them.
    fn of(leader: i32, topic: &str, partition: i32, fetchers: u32) -> FetcherId {
        let units = topic.encode_utf16();
        let hash = units.fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let hash = hash.wrapping_mul(31).wrapping_add(partition);
        // Kafka's absolute value of the least number is 0.
        let number = hash.checked_abs().unwrap_or(0).unsigned_abs() % fetchers;
        FetcherId { leader, number }
    }
}

/// What is fetched, by topic id and partition.
type Key = (Uuid, i32);

pub struct Replication {
    args: ReplicationArgs,
    image: Arc<MetadataImage>,
    fetchers: u32,
    throttle: FollowerThrottle,
    following: BTreeMap<Key, (FetcherId, Assigned)>,
    /// Whose replicas were not told yet of what the image says, or cannot be.
    early: BTreeSet<Key>,
    running: Map<FetcherId, Address<FetcherMsg>>,
}

impl Actor for Replication {
    const KIND: &'static str = "replication";
    type Msg = ReplicationMsg;
    type Args = ReplicationArgs;

    async fn start(cx: &mut Cx<Self>, args: ReplicationArgs) -> Result<Self, Failure> {
        let (me, mut applied, mut settings) =
            (cx.me().clone(), args.applied.clone(), args.settings.clone());
        cx.spawn_task(async move {
            while me.send(ReplicationMsg::Changed).await.is_ok() {
                tokio::select! {
                    biased;
                    _ = applied.changed() => {}
                    _ = settings.changed() => {}
                }
            }
        });
        Ok(Replication {
            image: Arc::default(),
            fetchers: replica_fetchers(&args.settings.get()),
            throttle: FollowerThrottle::new(args.node, args.settings.clone()),
            following: BTreeMap::new(),
            early: BTreeSet::new(),
            running: Map::new(),
            args,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ReplicationMsg) -> Outcome {
        match msg {
            ReplicationMsg::Changed => self.apply(cx).await,
            ReplicationMsg::PanicFetchers { message } => {
                for fetcher in self.running.values() {
                    let message = message.clone();
                    let _ = fetcher.send(FetcherMsg::Panic { message }).await;
                }
                Ok(())
            }
        }
    }

    /// The next incarnation knows nothing of what its predecessor fetched.
    async fn child_changed(&mut self, _cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        let ChildChange::Spawned { .. } = event.change else { return Ok(()) };
        let Some((id, to)) = self.running.iter().find(|(id, _)| id.name() == event.name) else {
            return Ok(());
        };
        let its = self.following.values().filter(|(fetcher, _)| fetcher == id);
        let partitions = its.map(|(_, assigned)| assigned.clone()).collect();
        // Where it has ended again, its successor is told.
        let _ = to.send(FetcherMsg::Assign { partitions }).await;
        Ok(())
    }

    fn state_line(&self) -> String {
        let (partitions, fetchers) = (self.following.len(), self.running.len());
        format!("{partitions} partitions followed by {fetchers} fetchers")
    }
}

/// What is to be told to fetchers.
#[derive(Default)]
struct Changes {
    assign: Map<FetcherId, Vec<Assigned>>,
    unassign: Map<FetcherId, Vec<Key>>,
}

impl Replication {
    async fn apply(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let image = self.args.metadata.get();
        let fetchers = replica_fetchers(&self.args.settings.get());
        let mut changes = Changes::default();
        let delta = MetadataDelta::between(&self.image, &image);
        self.image = image.clone();
        for topic in &delta.deleted_topics {
            self.forget_topic(topic.id, &mut changes);
        }
        for change in &delta.partitions {
            self.place(&change.topic, change.partition, &change.after, &mut changes);
        }
        for (topic, partition) in std::mem::take(&mut self.early) {
            let Some(topic) = image.topics.by_id(topic) else { continue };
            if let Some(now) = topic.partition(partition) {
                self.place(topic, partition, now, &mut changes);
            }
        }
        if self.fetchers != fetchers {
            self.fetchers = fetchers;
            self.spread(&mut changes);
        }
        self.tell(cx, changes).await
    }

    fn forget_topic(&mut self, topic: Uuid, changes: &mut Changes) {
        let partitions = self.following.range((topic, i32::MIN)..=(topic, i32::MAX));
        let keys: Vec<Key> = partitions.map(|(key, _)| *key).collect();
        for key in keys {
            self.forget(key, changes);
        }
    }

    fn forget(&mut self, key: Key, changes: &mut Changes) {
        if let Some((fetcher, _)) = self.following.remove(&key) {
            changes.unassign.entry(fetcher).or_default().push(key);
        }
    }

    /// Where its leader epoch is the same, a partition's fetcher goes on.
    fn place(
        &mut self,
        topic: &TopicImage,
        partition: i32,
        now: &PartitionRegistration,
        changes: &mut Changes,
    ) {
        let key = (topic.id, partition);
        let node = self.args.node.0;
        let follows = now.replicas.contains(&node) && now.leader != node && now.leader != NO_LEADER;
        if !follows {
            return self.forget(key, changes);
        }
        let told = |handle: &Arc<PartitionHandle>| match handle.role().as_deref() {
            Some(Role::Follow { partition_epoch, .. }) => *partition_epoch >= now.partition_epoch,
            _ => false,
        };
        let Some(handle) = self.args.hosted.get_by_id(topic.id, partition).filter(told) else {
            self.early.insert(key);
            let epoch = LeaderEpoch(now.leader_epoch);
            let goes_on = |(_, known): &(FetcherId, Assigned)| known.leader_epoch == epoch;
            if !self.following.get(&key).is_some_and(goes_on) {
                self.forget(key, changes);
            }
            return;
        };
        let fetcher = FetcherId::of(now.leader, &topic.name, partition, self.fetchers);
        let assigned = Assigned { handle, leader_epoch: LeaderEpoch(now.leader_epoch) };
        if let Some((before, known)) = self.following.get(&key)
            && *before == fetcher
            && *known == assigned
        {
            return;
        }
        self.forget(key, changes);
        self.following.insert(key, (fetcher, assigned.clone()));
        changes.assign.entry(fetcher).or_default().push(assigned);
    }

    /// There are more fetchers for each leader now, or fewer.
    fn spread(&mut self, changes: &mut Changes) {
        for (key, (fetcher, assigned)) in &mut self.following {
            let name = &assigned.handle.topic_partition;
            let now = FetcherId::of(fetcher.leader, &name.topic, name.partition, self.fetchers);
            if now == *fetcher {
                continue;
            }
            changes.unassign.entry(*fetcher).or_default().push(*key);
            changes.assign.entry(now).or_default().push(assigned.clone());
            *fetcher = now;
        }
    }

    /// What one fetcher gives up, another begins after that.
    async fn tell(&mut self, cx: &mut Cx<Self>, changes: Changes) -> Outcome {
        for (id, partitions) in changes.unassign {
            if let Some(to) = self.running.get(&id) {
                // One that is down is told anew what it has to fetch.
                let _ = to.send(FetcherMsg::Unassign { partitions }).await;
            }
        }
        for (id, partitions) in changes.assign {
            let to = match self.running.get(&id) {
                Some(running) => running.clone(),
                None => self.start_fetcher(cx, id)?,
            };
            let _ = to.send(FetcherMsg::Assign { partitions }).await;
        }
        let idle = |id: &FetcherId| !self.following.values().any(|(fetcher, _)| fetcher == id);
        let idle: Vec<FetcherId> = self.running.keys().copied().filter(idle).collect();
        for id in idle {
            self.running.remove(&id);
            cx.stop_child(&id.name()).await;
        }
        Ok(())
    }

    fn start_fetcher(
        &mut self,
        cx: &mut Cx<Self>,
        id: FetcherId,
    ) -> Result<Address<FetcherMsg>, Failure> {
        let args = FetcherArgs {
            node: self.args.node,
            leader: id.leader,
            number: id.number,
            metadata: self.args.metadata.clone(),
            listener: self.args.listener.clone(),
            config: self.args.config,
            broker_epoch: self.args.broker_epoch.clone(),
            throttle: self.throttle.clone(),
        };
        let (seed, address) =
            Seed::of::<ReplicaFetcher>(id.name(), self.args.fetcher.clone(), args);
        cx.spawn_seed(seed)?;
        self.running.insert(id, address.clone());
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use disk::{SimDisk, SimDiskOptions};
    use model::TopicPartition;

    use super::*;

    /// Else one more would wait for it with each epoch, for as long as it is down.
    #[tokio::test]
    async fn who_waits_for_a_replica_that_is_down_goes_with_the_epoch() {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        disk.create_dir_all(Path::new("/data")).unwrap();
        let dir = crate::read_log_dir(&disk, Path::new("/data"), Uuid([1; 16]), 1, true);
        let (dir, address) = (Arc::new(dir.unwrap().0), Address::vacant());
        let (name, config) = (TopicPartition::new("orders", 0), Arc::default());
        let handle = PartitionHandle::new(name, Uuid([2; 16]), config, dir, address);
        let handle = Arc::new(handle);
        let follow = |epoch| {
            let leader_epoch = LeaderEpoch(epoch);
            handle.set_role(Role::Follow { leader_epoch, partition_epoch: epoch });
        };
        follow(3);
        let assigned = Assigned { handle: handle.clone(), leader_epoch: LeaderEpoch(3) };
        let mut waiting = std::pin::pin!(assigned::is_ready(&assigned));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it waits for nothing"),
            () = std::future::ready(()) => {}
        }
        follow(4);
        let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        assert!(!ended.expect("it still waits"));
    }

    #[test]
    fn partitions_are_spread_as_kafka_spreads_them() {
        // Utils.abs(31 * topic.hashCode() + partition) % 4.
        let number = |topic: &str, partition| FetcherId::of(1, topic, partition, 4).number;
        assert_eq!([0, 1, 2, 3].map(|partition| number("a", partition)), [3, 0, 1, 2]);
        assert_eq!([0, 1, 2, 3].map(|partition| number("orders", partition)), [1, 0, 3, 2]);
        assert_eq!(FetcherId::of(1, "any", 5, 1).number, 0);
    }
}

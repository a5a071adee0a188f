//! Coordinators: the parent of every coordinator shard on this node. A shard runs for each partition of
//! `__consumer_offsets` that is led here, for as long as nobody else leads it.
//!
//! Supervisor: the node. Its children are one-for-one; one that fails too often is offline alone.

use std::sync::Arc;
use std::time::Duration;

use machines::groups::{DeletedTopic, GroupReply, GroupRequest, GroupSettings};
use machines::metadata::{MetadataDelta, MetadataImage, TopicImage};
use model::LeaderEpoch;
use model::node_config::GroupsConfig;
use model::topic::CONSUMER_OFFSETS;
use partitions::{Hosted, NotServed, PartitionHandle, ReadFrom};
use runtime::{
    Actor, Address, AskError, ChildChange, ChildEvent, ChildSpec, Cx, Failure, Map, Outcome, Ref,
    Refused, Seed, ShardArgs, ShardLog, Waiter, Watch, World,
};

use crate::group_coordinator::{GroupCoordinator, GroupShardActor, GroupShardMsg};
use crate::groups::Groups;
use crate::partition_log::{PartitionLog, led_epoch};

/// Replies that one shard holds back: joins that wait for other members, commits that wait for replicas.
const MAX_PARKED: usize = 65_536;
const CLEANUP_LIMIT: Duration = Duration::from_secs(10);
const CLEANUP_RETRY: Duration = Duration::from_millis(200);
const SHARD_PREFIX: &str = "group-";

#[derive(Clone)]
pub struct CoordinatorsArgs {
    pub hosted: Arc<Hosted>,
    pub metadata: Watch<MetadataImage>,
    /// The metadata offset up to which replicas were started, told and removed.
    pub applied: Watch<i64>,
    pub config: GroupsConfig,
    pub groups: Groups,
    /// How a shard is supervised.
    pub shard: ChildSpec,
}

pub enum CoordinatorsMsg {
    /// This node's replicas, or its topics, have changed.
    Changed,
    /// A partition is led here, or no longer, or under another epoch.
    Leadership { partition: i32 },
}

runtime::messages!(CoordinatorsMsg { Changed, Leadership });

pub struct Coordinators {
    args: CoordinatorsArgs,
    image: Arc<MetadataImage>,
    followed: Map<i32, Followed>,
}

/// A replica of the topic on this node.
struct Followed {
    handle: Arc<PartitionHandle>,
    log: Arc<PartitionLog>,
    /// In which its shard was started, or went on.
    epoch: Option<LeaderEpoch>,
}

impl Actor for Coordinators {
    const KIND: &'static str = "coordinators";
    type Msg = CoordinatorsMsg;
    type Args = CoordinatorsArgs;

    async fn start(cx: &mut Cx<Self>, args: CoordinatorsArgs) -> Result<Self, Failure> {
        let (me, mut applied) = (cx.me().clone(), args.applied.clone());
        cx.spawn_task(async move {
            while me.send(CoordinatorsMsg::Changed).await.is_ok() {
                applied.changed().await;
            }
        });
        let image = args.metadata.get();
        Ok(Coordinators { args, image, followed: Map::new() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: CoordinatorsMsg) -> Outcome {
        match msg {
            CoordinatorsMsg::Changed => {
                self.clean_up(cx);
                self.follow(cx).await
            }
            CoordinatorsMsg::Leadership { partition } => self.reconcile(cx, partition).await,
        }
    }

    async fn child_changed(&mut self, cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        let Some(partition) = partition_of(&event.name) else { return Ok(()) };
        match event.change {
            // It saw its leadership end. Where that is back by now, nobody else will tell.
            ChildChange::Stopped { .. } => self.reconcile(cx, partition).await,
            ChildChange::Offline { cause } => {
                tracing::error!(shard = event.name, %cause, "coordinator is offline");
                self.args.groups.shards().remove(&partition);
                self.args.groups.failed().insert(partition, ());
                Ok(())
            }
            ChildChange::Spawned { .. } | ChildChange::Restarting { .. } => Ok(()),
        }
    }

    async fn stop(&mut self, _cx: &mut Cx<Self>) {
        for partition in self.followed.keys() {
            self.args.groups.shards().remove(partition);
        }
    }

    fn state_line(&self) -> String {
        let led = self.followed.values().filter(|followed| followed.epoch.is_some()).count();
        format!("{led} of {} partitions led", self.followed.len())
    }
}

impl Coordinators {
    /// Follows the replicas that are here now, and only those.
    async fn follow(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let topic = self.args.hosted.topic(CONSUMER_OFFSETS);
        let here = topic.map(|topic| topic.partitions()).unwrap_or_default();
        let is_here = |partition: &i32, followed: &Followed| {
            here.get(partition).is_some_and(|handle| Arc::ptr_eq(handle, &followed.handle))
        };
        let gone =
            self.followed.iter().filter(|(partition, followed)| !is_here(partition, followed));
        let gone: Vec<i32> = gone.map(|(partition, _)| *partition).collect();
        for partition in gone {
            self.followed.remove(&partition);
            self.stop_shard(cx, partition).await;
        }
        for (partition, handle) in here {
            if self.followed.contains_key(&partition) {
                continue;
            }
            let log = PartitionLog::new(handle.clone(), cx.world().clone(), &self.args.config);
            cx.spawn_task(tell_leadership(handle.clone(), partition, cx.me().clone()));
            self.followed.insert(partition, Followed { handle, log: Arc::new(log), epoch: None });
        }
        Ok(())
    }

    /// Lets a shard run where the partition is led, and under its epoch.
    async fn reconcile(&mut self, cx: &mut Cx<Self>, partition: i32) -> Outcome {
        let Some(followed) = self.followed.get_mut(&partition) else { return Ok(()) };
        let led = led_epoch(&followed.handle);
        let runs = cx.has_child(&shard_name(partition));
        if followed.epoch == led && runs == led.is_some() {
            return Ok(());
        }
        let before = std::mem::replace(&mut followed.epoch, led);
        let goes_on = before.zip(led).is_some_and(|(before, led)| led.follows(before));
        if runs && goes_on && self.args.groups.shards().get(&partition).is_some() {
            return Ok(());
        }
        let args = led.map(|epoch| shard_args(followed, epoch, &self.args.config));
        self.stop_shard(cx, partition).await;
        if let Some(args) = args {
            let spec = self.args.shard.clone();
            let (seed, address) = Seed::of::<GroupShardActor>(shard_name(partition), spec, args);
            cx.spawn_seed(seed)?;
            self.args.groups.shards().insert(partition, address);
        }
        Ok(())
    }

    async fn stop_shard(&self, cx: &mut Cx<Self>, partition: i32) {
        self.args.groups.shards().remove(&partition);
        self.args.groups.failed().remove(&partition);
        cx.stop_child(&shard_name(partition)).await;
    }

    /// Offsets go with their topics.
    fn clean_up(&mut self, cx: &mut Cx<Self>) {
        let image = self.args.metadata.get();
        let deleted_topics = MetadataDelta::between(&self.image, &image).deleted_topics;
        self.image = image;
        if deleted_topics.is_empty() {
            return;
        }
        let deleted =
            |topic: &Arc<TopicImage>| DeletedTopic { name: topic.name.clone(), id: topic.id };
        let topics: Vec<DeletedTopic> = deleted_topics.iter().map(deleted).collect();
        for (partition, _) in self.args.groups.shards().entries() {
            let (groups, world) = (self.args.groups.clone(), cx.world().clone());
            cx.spawn_task(delete_offsets(groups, partition, topics.clone(), world));
        }
    }
}

fn shard_args(
    followed: &Followed,
    epoch: LeaderEpoch,
    config: &GroupsConfig,
) -> ShardArgs<GroupCoordinator> {
    let (handle, log, config) = (followed.handle.clone(), followed.log.clone(), config.clone());
    let machine = move || {
        let max_batch_bytes = usize::try_from(handle.config().max_message_bytes).unwrap_or(0);
        GroupCoordinator::new(GroupSettings::new(&config, max_batch_bytes, log.compresses()))
    };
    let log: Arc<dyn ShardLog> = followed.log.clone();
    ShardArgs { log, epoch, machine: Arc::new(machine), max_parked: MAX_PARKED }
}

fn shard_name(partition: i32) -> String {
    format!("{SHARD_PREFIX}{partition}")
}

fn partition_of(shard: &str) -> Option<i32> {
    shard.strip_prefix(SHARD_PREFIX)?.parse().ok()
}

/// Tells of each change of a replica's leadership until the replica is gone.
async fn tell_leadership(handle: Arc<PartitionHandle>, partition: i32, to: Ref<CoordinatorsMsg>) {
    let mut told = None;
    loop {
        let mut waiter = Waiter::new();
        waiter.on(handle.pulse());
        let readable = handle.readable(None, ReadFrom::Leader);
        if matches!(readable, Err(NotServed::Deleted)) {
            return;
        }
        let led = readable.ok().map(|readable| readable.leader_epoch);
        if led == told {
            waiter.wait().await;
            continue;
        }
        told = led;
        if to.send(CoordinatorsMsg::Leadership { partition }).await.is_err() {
            return;
        }
    }
}

/// Asks a shard until it has nothing left of the topics, or is no longer here.
async fn delete_offsets(groups: Groups, partition: i32, topics: Vec<DeletedTopic>, world: World) {
    let mut wait = CLEANUP_RETRY;
    while let Some(shard) = groups.shards().get(&partition) {
        match ask_to_delete(&shard, topics.clone()).await {
            Ok(Ok(GroupReply::TopicsDeleted { done: false })) => {}
            Ok(Ok(_)) | Ok(Err(Refused::NotLeader)) => return,
            Ok(Err(_)) | Err(_) => {
                world.sleep(wait).await;
                wait = (wait * 2).min(CLEANUP_LIMIT);
            }
        }
    }
}

async fn ask_to_delete(
    shard: &Address<GroupShardMsg>,
    topics: Vec<DeletedTopic>,
) -> Result<Result<GroupReply, Refused>, AskError> {
    let request = GroupRequest::TopicsDeleted { topics };
    shard.ask(CLEANUP_LIMIT, |reply| GroupShardMsg::Request { request, reply, held: None }).await
}

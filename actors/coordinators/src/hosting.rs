//! Hosting: the parent of every shard of one replicated machine on this node. A shard runs for each partition of its topic that is led
//! here, for as long as nobody else leads it.
//!
//! Supervisor: the node. Its children are one-for-one; one that fails too often is offline alone.

use std::sync::Arc;

use machines::metadata::MetadataImage;
use model::LeaderEpoch;
use partitions::{Hosted, NotServed, PartitionHandle, ReadFrom};
use runtime::{
    Actor, Address, BoxFuture, ChildChange, ChildEvent, ChildSpec, Cx, Directory, Failure, Map,
    Outcome, Outside, Ref, Seed, Shard, ShardArgs, ShardLog, ShardMsg, Waiter, Watch, World,
};

use crate::partition_log::{PartitionLog, led_epoch};

/// Replies that one shard holds back: joins that wait for other members, commits that wait for replicas.
const MAX_PARKED: usize = 65_536;

/// What a machine needs to be hosted.
pub trait Host: Clone + Send + Sync + 'static {
    type Machine: runtime::Hosted;
    /// Of the parent of its shards.
    const KIND: &'static str;

    fn topic(&self) -> &str;

    /// What stands before the partition in a shard's name.
    fn prefix(&self) -> &str;

    fn log(&self, handle: Arc<PartitionHandle>, world: World) -> PartitionLog;

    /// The machine of a partition before its first record.
    fn machine(&self, log: &Arc<PartitionLog>) -> Arc<dyn Fn() -> Self::Machine + Send + Sync>;

    fn shards(&self) -> &Shards<Self::Machine>;

    /// Takes what leaves a shard unasked.
    fn outside(&self) -> Outside<Self::Machine> {
        Arc::new(|_| {})
    }

    /// What is to be done once the cluster is no longer as it was.
    fn changed(
        &self,
        _before: &MetadataImage,
        _now: &MetadataImage,
        _world: &World,
    ) -> Vec<BoxFuture<'static, ()>> {
        Vec::new()
    }
}

/// Where the shards of a node are, for those who ask them: it outlives their restarts and moves.
pub struct Shards<M: runtime::Hosted> {
    addresses: Directory<i32, Address<ShardMsg<M>>>,
    /// Those that were given up, and why, until they are revived.
    failed: Directory<i32, String>,
}

impl<M: runtime::Hosted> Default for Shards<M> {
    fn default() -> Self {
        Shards { addresses: Directory::new(), failed: Directory::new() }
    }
}

impl<M: runtime::Hosted> Shards<M> {
    pub fn get(&self, partition: i32) -> Option<Address<ShardMsg<M>>> {
        let address = self.addresses.get(&partition)?;
        self.failed.get(&partition).is_none().then_some(address)
    }

    /// By their partitions, sorted.
    pub fn all(&self) -> Vec<(i32, Address<ShardMsg<M>>)> {
        let mut all = self.addresses.entries();
        all.retain(|(partition, _)| self.failed.get(partition).is_none());
        all
    }

    /// Why the shard was given up.
    pub fn failure(&self, partition: i32) -> Option<String> {
        self.failed.get(&partition)
    }

    pub(crate) fn insert(&self, partition: i32, address: Address<ShardMsg<M>>) {
        self.addresses.insert(partition, address);
    }
}

#[derive(Clone)]
pub struct HostingArgs<H> {
    pub hosted: Arc<Hosted>,
    pub metadata: Watch<MetadataImage>,
    /// The metadata offset up to which replicas were started, told and removed.
    pub applied: Watch<i64>,
    pub host: H,
    /// How a shard is supervised.
    pub shard: ChildSpec,
}

pub enum HostingMsg {
    /// This node's replicas, or its topics, have changed.
    Changed,
    /// A partition is led here, or no longer, or under another epoch.
    Leadership { partition: i32 },
}

runtime::messages!(HostingMsg { Changed, Leadership });

pub struct Hosting<H> {
    args: HostingArgs<H>,
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

impl<H: Host> Actor for Hosting<H> {
    const KIND: &'static str = H::KIND;
    type Msg = HostingMsg;
    type Args = HostingArgs<H>;

    async fn start(cx: &mut Cx<Self>, args: HostingArgs<H>) -> Result<Self, Failure> {
        let (me, mut applied) = (cx.me().clone(), args.applied.clone());
        cx.spawn_task(async move {
            while me.send(HostingMsg::Changed).await.is_ok() {
                applied.changed().await;
            }
        });
        let image = args.metadata.get();
        Ok(Hosting { args, image, followed: Map::new() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: HostingMsg) -> Outcome {
        match msg {
            HostingMsg::Changed => {
                let now = self.args.metadata.get();
                for work in self.args.host.changed(&self.image, &now, cx.world()) {
                    cx.spawn_task(work);
                }
                self.image = now;
                self.follow(cx).await
            }
            HostingMsg::Leadership { partition } => self.reconcile(cx, partition).await,
        }
    }

    async fn child_changed(&mut self, cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        let Some(partition) = self.partition_of(&event.name) else { return Ok(()) };
        match event.change {
            // It saw its leadership end. Where that is back by now, nobody else will tell.
            ChildChange::Stopped { .. } => self.reconcile(cx, partition).await,
            ChildChange::Offline { cause } => {
                tracing::error!(shard = event.name, %cause, "coordinator is offline");
                self.shards().failed.insert(partition, cause.to_string());
                Ok(())
            }
            ChildChange::Spawned { .. } => {
                self.shards().failed.remove(&partition);
                Ok(())
            }
            ChildChange::Restarting { .. } => Ok(()),
        }
    }

    async fn stop(&mut self, _cx: &mut Cx<Self>) {
        for partition in self.followed.keys() {
            self.shards().addresses.remove(partition);
        }
    }

    fn state_line(&self) -> String {
        let led = self.followed.values().filter(|followed| followed.epoch.is_some()).count();
        format!("{led} of {} partitions led", self.followed.len())
    }
}

impl<H: Host> Hosting<H> {
    fn shards(&self) -> &Shards<H::Machine> {
        self.args.host.shards()
    }

    fn shard_name(&self, partition: i32) -> String {
        format!("{}-{partition}", self.args.host.prefix())
    }

    fn partition_of(&self, shard: &str) -> Option<i32> {
        shard.strip_prefix(self.args.host.prefix())?.strip_prefix('-')?.parse().ok()
    }

    /// Follows the replicas that are here now, and only those.
    async fn follow(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let topic = self.args.hosted.topic(self.args.host.topic());
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
            let log = self.args.host.log(handle.clone(), cx.world().clone());
            cx.spawn_task(tell_leadership(handle.clone(), partition, cx.me().clone()));
            self.followed.insert(partition, Followed { handle, log: Arc::new(log), epoch: None });
        }
        Ok(())
    }

    /// Lets a shard run where the partition is led, and under its epoch.
    async fn reconcile(&mut self, cx: &mut Cx<Self>, partition: i32) -> Outcome {
        let name = self.shard_name(partition);
        let Some(followed) = self.followed.get_mut(&partition) else { return Ok(()) };
        let led = led_epoch(&followed.handle);
        let runs = cx.has_child(&name);
        if followed.epoch == led && runs == led.is_some() {
            return Ok(());
        }
        let before = std::mem::replace(&mut followed.epoch, led);
        let goes_on = before.zip(led).is_some_and(|(before, led)| led.follows(before));
        let args = led.map(|epoch| shard_args(&self.args.host, followed, epoch));
        if runs && goes_on && self.shards().get(partition).is_some() {
            return Ok(());
        }
        self.stop_shard(cx, partition).await;
        if let Some(args) = args {
            let spec = self.args.shard.clone();
            let (seed, address) = Seed::of::<Shard<H::Machine>>(name, spec, args);
            cx.spawn_seed(seed)?;
            self.shards().insert(partition, address);
        }
        Ok(())
    }

    async fn stop_shard(&self, cx: &mut Cx<Self>, partition: i32) {
        self.shards().addresses.remove(&partition);
        self.shards().failed.remove(&partition);
        cx.stop_child(&self.shard_name(partition)).await;
    }
}

fn shard_args<H: Host>(host: &H, followed: &Followed, epoch: LeaderEpoch) -> ShardArgs<H::Machine> {
    let log: Arc<dyn ShardLog> = followed.log.clone();
    let (machine, outside) = (host.machine(&followed.log), host.outside());
    ShardArgs { log, epoch, machine, max_parked: MAX_PARKED, outside }
}

/// Tells of each change of a replica's leadership until the replica is gone.
async fn tell_leadership(handle: Arc<PartitionHandle>, partition: i32, to: Ref<HostingMsg>) {
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
        if to.send(HostingMsg::Leadership { partition }).await.is_err() {
            return;
        }
    }
}

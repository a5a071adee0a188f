//! Partitions: the parent of every replica on this node. It follows the metadata: what is assigned here is started, what
//! is no longer is removed, and each replica is told its role.
//!
//! Supervisor: the node. Its children are one-for-one; one that fails too often goes offline alone.

mod found;
mod leaving;
mod making;
mod moves;
mod promotions;
mod roles;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use log::{DirKind, partition_dir_name};
use machines::metadata::{
    ConfigResource, MetadataDelta, MetadataImage, PartitionDelta, TopicImage,
};
use model::settings::{Resource, TopicConfig, Values};
use model::{NodeId, TopicPartition, Uuid};
use runtime::{
    Actor, Address, ChildChange, ChildEvent, ChildSpec, Cx, Failure, Held, Map, Outcome, Publisher,
    Reply, Seed, Watch,
};

use crate::assignments::{Assignments, IsrChanges};
use crate::checkpoints::Checkpoint;
use crate::future::{FutureLog, MoveQuota};
use crate::handle::{PartitionHandle, Role};
use crate::hosted::Hosted;
use crate::log_dirs::{LogDirState, LogDirs};
use crate::partition::{NotPromoted, PartitionActor, PartitionArgs, PartitionMsg};
use found::FoundCopy;
use leaving::Leaving;
use making::Begun;
pub use moves::AlterDirError;
use promotions::{AlterDirs, Promotion};
use roles::{follow_actor, led_with_followers, resolve, tell};

#[derive(Clone)]
pub struct PartitionsArgs {
    pub node: NodeId,
    pub log_dirs: LogDirs,
    pub hosted: Arc<Hosted>,
    /// Where replicas are that the metadata has elsewhere.
    pub assignments: Arc<Assignments>,
    pub isr_changes: Arc<IsrChanges>,
    pub metadata: Watch<MetadataImage>,
    pub settings: Watch<Values>,
    /// The metadata offset up to which replicas were started, told and removed.
    pub applied: Arc<Publisher<i64>>,
    /// How a replica is supervised.
    pub replica: Arc<ChildSpec>,
    /// `log.initial.task.delay.ms`.
    pub initial_delay: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_interval: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub expiration_interval: Duration,
    /// `num.replica.alter.log.dirs.threads`: so many replicas move at a time.
    pub alter_dirs_threads: usize,
}

/// Batches stay in memory for so long after they were written, and at most twice as long.
const RECENT: Duration = Duration::from_secs(5);

/// By topic and partition: the log directory, by its absolute path, that the replica is to move to.
pub type DirMoves = BTreeMap<String, BTreeMap<i32, Arc<str>>>;

pub enum PartitionsMsg {
    /// There is a newer image, or newer settings, or a directory has failed.
    Changed,
    /// Old segments are looked for.
    Retain,
    /// Idle producers are looked for.
    Expire,
    /// Followers that fell behind are looked for.
    CheckIsr,
    /// What came in some time ago is let go of.
    ForgetRecent,
    /// Moves replicas to log directories; answers in the same order when they have begun.
    AlterDirs { moves: Arc<DirMoves>, held: Held, reply: Reply<Vec<Result<(), AlterDirError>>> },
    /// A copy of a replica has all that the replica has, or a replica that was given up is back.
    Settle { partition: TopicPartition },
    /// These copies have their directories, but where there was no room.
    Made { copies: Arc<[Begun]> },
    /// It has taken the replica's place, or could not.
    Promoted { partition: TopicPartition, future: Arc<FutureLog>, why_not: Option<NotPromoted> },
}

runtime::messages!(PartitionsMsg {
    Changed,
    Retain,
    Expire,
    CheckIsr,
    ForgetRecent,
    AlterDirs,
    Settle,
    Made,
    Promoted
});

pub struct Partitions {
    args: PartitionsArgs,
    applied: Arc<MetadataImage>,
    settings: Arc<Values>,
    /// One for all replicas of a topic.
    configs: Map<Uuid, Arc<TopicConfig>>,
    first: bool,
    /// The directories whose replicas were stopped because it has failed.
    failed_dirs: usize,
    quota: Arc<MoveQuota>,
    /// Where replicas go that are not here yet.
    preferred: Map<TopicPartition, Arc<LogDirState>>,
    /// Copies that were found when the node started, until their replicas are.
    futures: Map<TopicPartition, Vec<FoundCopy>>,
    promoting: Map<TopicPartition, Promotion>,
    /// Moves of replicas that are being promoted.
    put_off: Vec<AlterDirs>,
    /// By the name of their actors, which have not ended yet.
    leaving: Map<String, Leaving>,
    /// What a predecessor hosted, until it is started anew.
    earlier: Map<(Uuid, i32), Arc<PartitionHandle>>,
}

impl Actor for Partitions {
    const KIND: &'static str = "partitions";
    type Msg = PartitionsMsg;
    type Args = PartitionsArgs;

    async fn start(cx: &mut Cx<Self>, args: PartitionsArgs) -> Result<Self, Failure> {
        let earlier = found::take_over(&args.hosted, &args.log_dirs);
        let me = cx.me().clone();
        let mut metadata = args.metadata.clone();
        let mut settings = args.settings.clone();
        cx.spawn_task(async move {
            loop {
                if me.send(PartitionsMsg::Changed).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    _ = metadata.changed() => {}
                    _ = settings.changed() => {}
                }
            }
        });
        for dir in &args.log_dirs.0 {
            let (me, mut changes, dir) = (cx.me().clone(), dir.changes(), dir.clone());
            cx.spawn_task(async move {
                while dir.is_online() {
                    changes.changed().await;
                }
                let _ = me.send(PartitionsMsg::Changed).await;
            });
        }
        cx.send_after(args.initial_delay, PartitionsMsg::Retain);
        cx.every(args.expiration_interval, || PartitionsMsg::Expire);
        let settings = args.settings.get();
        cx.every(roles::max_lag(&settings) / 2, || PartitionsMsg::CheckIsr);
        cx.every(RECENT, || PartitionsMsg::ForgetRecent);
        args.log_dirs.cordon(&settings);
        let quota = Arc::new(MoveQuota::new(args.alter_dirs_threads));
        Ok(Partitions {
            quota,
            args,
            applied: Arc::default(),
            settings,
            configs: Map::new(),
            first: true,
            failed_dirs: 0,
            preferred: Map::new(),
            futures: Map::new(),
            promoting: Map::new(),
            put_off: Vec::new(),
            leaving: Map::new(),
            earlier,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PartitionsMsg) -> Outcome {
        match msg {
            PartitionsMsg::Changed => self.apply(cx).await,
            PartitionsMsg::Retain => {
                self.tell_all(|| PartitionMsg::Retain).await;
                cx.send_after(self.args.retention_interval, PartitionsMsg::Retain);
                Ok(())
            }
            PartitionsMsg::ForgetRecent => {
                cx.spawn_task(self.args.hosted.forget_recent());
                Ok(())
            }
            PartitionsMsg::Expire => {
                let producer_id_expiration_ms =
                    i64::from(self.settings.int("producer.id.expiration.ms"));
                self.tell_all(|| PartitionMsg::Tick { producer_id_expiration_ms }).await;
                Ok(())
            }
            PartitionsMsg::CheckIsr => {
                for handle in self.args.hosted.all().into_iter().filter(led_with_followers) {
                    // One that is down leads nobody.
                    let _ = handle.address().send(PartitionMsg::CheckIsr).await;
                }
                Ok(())
            }
            PartitionsMsg::AlterDirs { moves, held, reply } => {
                self.alter_dirs(cx, AlterDirs::new(moves, held, reply)).await
            }
            PartitionsMsg::Settle { partition } => {
                self.settle(cx, &partition).await;
                Ok(())
            }
            PartitionsMsg::Made { copies } => self.made(cx, &copies).await,
            PartitionsMsg::Promoted { partition, future, why_not } => {
                self.promoted(cx, &partition, &future, why_not).await
            }
        }
    }

    async fn child_changed(&mut self, cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        match event.change {
            ChildChange::Offline { cause } => {
                if !self.copy_given_up(cx, &event.name, &cause).await {
                    tracing::error!(partition = event.name, %cause, "replica is offline");
                    self.tell_of_given_up(cx, &event.name).await;
                }
            }
            ChildChange::Stopped { .. } => self.left(cx, &event.name).await?,
            ChildChange::Spawned { .. } => self.tell_when_back(cx, &event.name).await,
            ChildChange::Restarting { .. } => {}
        }
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        self.put_copies_aside(cx).await;
    }

    fn state_line(&self) -> String {
        let offset = self.applied.provenance.offset;
        format!("{} topics, metadata offset {offset}", self.applied.topics.len())
    }
}

impl Partitions {
    async fn apply(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.stop_failed(cx).await;
        let (image, settings) = (self.args.metadata.get(), self.args.settings.get());
        let delta = MetadataDelta::between(&self.applied, &image);
        let resettled = !Arc::ptr_eq(&settings, &self.settings);
        self.settings = settings;
        if resettled {
            self.args.log_dirs.cordon(&self.settings);
        }
        for topic in &delta.deleted_topics {
            self.configs.remove(&topic.id);
            for handle in self.hosted_of(topic.id) {
                self.remove(cx, &handle, DirKind::Delete).await;
            }
        }
        let first = self.first && image.provenance.offset >= 0;
        if first {
            self.first = false;
            self.look_at_logs(cx, &image).await?;
        }
        // Before a log of the same name is made.
        self.rewrite_checkpoints(cx).await?;
        for change in &delta.partitions {
            self.apply_partition(cx, &image, change).await?;
        }
        if first {
            for dir in &self.args.log_dirs.0 {
                dir.forget_but(|_| false);
            }
        }
        self.rewrite_checkpoints(cx).await?;
        self.tell_of_brokers(&image, &delta).await;
        self.reconfigure(&image, &delta.configs, resettled).await;
        self.applied = image;
        self.args.applied.publish(self.applied.provenance.offset);
        self.alter_dirs_put_off(cx).await
    }

    /// Ends the actors of replicas whose directory has failed. Clients are told so by the handles, which stay.
    async fn stop_failed(&mut self, cx: &mut Cx<Self>) {
        let failed = self.args.log_dirs.offline().count();
        if std::mem::replace(&mut self.failed_dirs, failed) == failed {
            return;
        }
        for handle in self.args.hosted.all() {
            self.stop_where_offline(cx, &handle);
            let lost = |dir: &LogDirState| !dir.is_online();
            let promoting = self.promoting.contains_key(&handle.topic_partition);
            let copy_lost = handle.future().is_some_and(|future| lost(&future.dir));
            if !promoting && (copy_lost || lost(&handle.log_dir())) {
                self.call_off(cx, &handle, false).await;
            }
        }
    }

    /// The actor of a replica whose copy takes its place may yet go on in the other directory: it is looked at after that.
    fn stop_where_offline(&mut self, cx: &mut Cx<Self>, handle: &PartitionHandle) {
        if handle.log_dir().is_online() {
            return;
        }
        if !self.promoting.contains_key(&handle.topic_partition) {
            cx.dismiss(&handle.dir_name());
        }
        handle.publish();
    }

    async fn tell_all(&self, message: impl Fn() -> PartitionMsg) {
        for handle in self.args.hosted.all() {
            // One that is down has nothing to look after.
            let _ = handle.address().send(message()).await;
        }
    }

    fn hosted_of(&self, topic: Uuid) -> Vec<Arc<PartitionHandle>> {
        let hosted = self.args.hosted.topic_by_id(topic);
        hosted.map(|topic| topic.partitions().into_values().collect()).unwrap_or_default()
    }

    async fn apply_partition(
        &mut self,
        cx: &mut Cx<Self>,
        image: &MetadataImage,
        change: &PartitionDelta,
    ) -> Outcome {
        let hosted = self.args.hosted.get_by_id(change.topic.id, change.partition);
        if !change.after.replicas.contains(&self.args.node.0) {
            if let Some(handle) = hosted {
                self.remove(cx, &handle, DirKind::Delete).await;
            }
            return Ok(());
        }
        let config = self.config_of(image, &change.topic);
        let role = self.role_of(image, &change.after, &config);
        let earlier = self.earlier.remove(&(change.topic.id, change.partition));
        match hosted {
            Some(handle) if earlier.is_none() => tell(&handle, role).await,
            _ => self.host(cx, change, config, role, earlier).await?,
        }
        self.compare_directory(cx, image, change).await;
        Ok(())
    }

    fn config_of(&mut self, image: &MetadataImage, topic: &TopicImage) -> Arc<TopicConfig> {
        if let Some(config) = self.configs.get(&topic.id) {
            return config.clone();
        }
        let config = Arc::new(resolve(&self.settings, image, &topic.name));
        self.configs.insert(topic.id, config.clone());
        config
    }

    /// Starts a replica that is new here, or goes on with one that a predecessor had.
    async fn host(
        &mut self,
        cx: &mut Cx<Self>,
        change: &PartitionDelta,
        config: Arc<TopicConfig>,
        role: Role,
        earlier: Option<Arc<PartitionHandle>>,
    ) -> Outcome {
        let topic_partition = TopicPartition::new(change.topic.name.clone(), change.partition);
        if self.leaving.contains_key(&partition_dir_name(&topic_partition)) {
            return Ok(());
        }
        let handle = match earlier {
            Some(handle) => {
                handle.set_config(config);
                handle
            }
            None => match self.place(cx, change, topic_partition, config).await {
                Some(handle) => handle,
                None => return Ok(()),
            },
        };
        handle.log_dir().count_replica();
        handle.set_role(role);
        if !handle.log_dir().is_online() {
            return Ok(());
        }
        self.set_copies_aside(cx, &handle).await;
        self.resume_move(cx, &handle).await;
        let (spec, watched) = (self.args.replica.clone(), handle.clone());
        let producer_id_expiration_ms = i64::from(self.settings.int("producer.id.expiration.ms"));
        let (name, address) = (handle.dir_name(), handle.address().clone());
        let (hosted, isr_changes) = (self.args.hosted.clone(), self.args.isr_changes.clone());
        let args = PartitionArgs { handle, isr_changes, producer_id_expiration_ms, hosted };
        let seed = Seed::at::<PartitionActor>(name, spec, args, &address);
        cx.spawn_seed(seed.on_change(move |event| follow_actor(&watched, &event.change)))?;
        Ok(())
    }

    /// Finds a replica its log directory, and shows it to others.
    async fn place(
        &mut self,
        cx: &mut Cx<Self>,
        change: &PartitionDelta,
        topic_partition: TopicPartition,
        config: Arc<TopicConfig>,
    ) -> Option<Arc<PartitionHandle>> {
        let name = partition_dir_name(&topic_partition);
        let assigned = change.after.directory(self.args.node.0);
        let assigned = assigned.unwrap_or(Uuid::UNASSIGNED_DIRECTORY);
        let is_in = |dir: &LogDirState| dir.disk().exists(&dir.path.join(&name)).unwrap_or(false);
        let dirs = &self.args.log_dirs;
        // A log that is gone is refused where it was, not made anew; unless it may be in a directory that is offline.
        let gone = assigned == Uuid::LOST_DIRECTORY
            && dirs.offline().next().is_none()
            && !dirs.online().any(|dir| is_in(dir));
        let was_in = |dir: &LogDirState| {
            dir.known_of(&topic_partition).get(Checkpoint::RecoveryPoints).is_some()
        };
        let holds = |dir: &LogDirState| if gone { was_in(dir) } else { is_in(dir) };
        let placeable = self.adopt_future(cx, &topic_partition, assigned).await;
        let preferred = self.preferred.remove(&topic_partition);
        let dir = match placeable {
            true => self.args.log_dirs.place(assigned, preferred.as_ref(), holds),
            false => self.args.log_dirs.offline().next().cloned(),
        };
        let Some(dir) = dir else {
            tracing::error!(partition = name, "no log directory is online");
            return None;
        };
        let known = dir.known_of(&topic_partition);
        let (log, topic_id, address) =
            (topic_partition.clone(), change.topic.id, Address::vacant());
        let handle = PartitionHandle::new(topic_partition, topic_id, config, dir.clone(), address);
        handle.recall(known);
        let handle = Arc::new(handle);
        self.args.hosted.insert(handle.clone());
        dir.claimed(&log);
        Some(handle)
    }

    /// Stops a replica and puts its directory out of the way, to be deleted later.
    async fn remove(&mut self, cx: &mut Cx<Self>, handle: &Arc<PartitionHandle>, kind: DirKind) {
        handle.set_deleted();
        self.args.hosted.remove(handle);
        let (name, partition) = (handle.dir_name(), handle.topic_partition.clone());
        // Before its copy is touched: see `promotions`.
        let gone = cx.stop_child(&name).await;
        let dir = handle.log_dir();
        dir.uncount_replica();
        let copies = self.end_promotion(handle);
        self.call_off(cx, handle, copies.is_empty()).await;
        let leaving = Leaving { partition, replica: Some(dir), copies, kind };
        match gone {
            true => self.put_leaving_aside(cx, leaving).await,
            false => drop(self.leaving.insert(name, leaving)),
        }
    }

    async fn reconfigure(
        &mut self,
        image: &MetadataImage,
        changed: &[ConfigResource],
        resettled: bool,
    ) {
        let named: BTreeSet<&str> = changed
            .iter()
            .filter(|resource| resource.kind == Resource::Topic)
            .map(|resource| resource.name.as_str())
            .collect();
        for topic in image.topics.iter() {
            if !resettled && !named.contains(topic.name.as_str()) {
                continue;
            }
            let config = Arc::new(resolve(&self.settings, image, &topic.name));
            let before = self.configs.insert(topic.id, config.clone());
            if before.is_some_and(|before| before == config) {
                continue;
            }
            for handle in self.hosted_of(topic.id) {
                let configure = PartitionMsg::Configure { config: config.clone() };
                // One that is down hears it when it is back.
                let _ = handle.address().send(configure).await;
                let id = handle.topic_partition.partition;
                if let Some(partition) = topic.partition(id) {
                    tell(&handle, self.role_of(image, partition, &config)).await;
                }
            }
        }
    }
}

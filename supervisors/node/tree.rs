//! The tree of a node: its root starts the branches in order, each up before the next, and stops them in reverse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use coordinators::{Coordinators, Durables, Groups, Registration};
use disk::DiskLock;
use log::RecentBatches;
use machines::metadata::{ConfigResource, MetadataImage};
use model::node_config::{NodeConfig, ReplicationConfig, RoomConfig};
use model::settings::Values;
use model::{NodeId, Uuid};
use network::{
    Bound, Broker, BrokerParts, ConnectionQuotas, Limits, ListenerActor, ListenerArgs, READ_BUFFER,
    RequestMetrics,
};
use partitions::{
    Assignments, CleanerTurns, Hosted, IsrChanges, LogCleaner, LogCleanerArgs, LogDir, LogDirArgs,
    LogDirState, LogDirs, Partitions, PartitionsArgs, PartitionsMsg, Replication, ReplicationArgs,
};
use quorum::{
    ControllerHandle, ControllerMsg, LifecycleMsg, LifecycleState, QuorumHandle, RaftStatus,
};
use runtime::{
    Actor, Address, Cx, Failure, Outcome, Publisher, Seed, Strategy, Supervisor, SupervisorArgs,
    SupervisorMsg, Watchdog, World,
};
use wire::{ListenerKind, MetadataRecord};

use super::directories::Directories;
use super::{metadata, policy, producer_ids, shards};

/// A handler that takes longer is reported.
const STUCK: Duration = Duration::from_secs(10);
const WATCHDOG_PERIOD: Duration = Duration::from_secs(1);
/// So much of what can be held open is for listeners of controllers.
const CONTROLLERS_SHARE: usize = 8;
/// Where `queued.max.request.bytes` sets no limit.
const REQUEST_MEMORY: u64 = 256 << 20;

/// What a node's actors share, and what the outside asks them through.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) cluster_id: String,
    pub(crate) log_dirs: LogDirs,
    pub(crate) directories: Arc<DirectoryFacts>,
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) assignments: Arc<Assignments>,
    pub(crate) isr_changes: Arc<IsrChanges>,
    pub(crate) images: Arc<Publisher<MetadataImage>>,
    /// Of these, those that hold this process's registration: what its replicas and coordinators do follows from them.
    pub(crate) followed: Arc<Publisher<MetadataImage>>,
    pub(crate) incarnation: Uuid,
    pub(crate) settings: Arc<Publisher<Values>>,
    pub(crate) applied: Arc<Publisher<i64>>,
    pub(crate) raft_status: Arc<Publisher<RaftStatus>>,
    pub(crate) lifecycle_state: Arc<Publisher<LifecycleState>>,
    /// Why the controller refused this broker's last registration.
    pub(crate) refusal: Arc<Publisher<String>>,
    /// The broker is to be let go.
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) broker_epoch: Arc<AtomicI64>,
    pub(crate) raft: Address<quorum::RaftMsg>,
    pub(crate) controller: Address<ControllerMsg>,
    pub(crate) lifecycle: Address<LifecycleMsg>,
    pub(crate) partitions: Address<PartitionsMsg>,
    pub(crate) extensions: Address<SupervisorMsg>,
    pub(crate) teller: Address<shards::TellerMsg>,
    pub(crate) durables: Durables,
    pub(crate) bound: Vec<Bound>,
    pub(crate) requests: Arc<RequestMetrics>,
}

/// What was found in the directories.
pub(crate) struct DirectoryFacts {
    pub(super) metadata_dir: Arc<LogDirState>,
    pub(super) bootstrap: Vec<MetadataRecord>,
    pub(super) previous_broker_epoch: i64,
    _locks: Arc<Vec<DiskLock>>,
}

impl Shared {
    pub(crate) fn new(
        world: &World,
        config: NodeConfig,
        directories: Directories,
        bound: Vec<Bound>,
        durables: &[Arc<dyn Registration>],
    ) -> Shared {
        let publisher = |offset| Arc::new(runtime::watch(offset).0);
        let (images, teller) =
            (Arc::new(runtime::watch(MetadataImage::default()).0), Address::vacant());
        let recent = RecentBatches::new(config.logs.recent_bytes, READ_BUFFER);
        Shared {
            cluster_id: directories.cluster_id,
            log_dirs: directories.log_dirs,
            directories: Arc::new(DirectoryFacts {
                metadata_dir: directories.metadata_dir,
                bootstrap: directories.bootstrap,
                previous_broker_epoch: directories.previous_broker_epoch,
                _locks: directories.locks,
            }),
            hosted: Arc::new(Hosted::new(recent)),
            assignments: Arc::default(),
            isr_changes: Arc::default(),
            durables: shards::durables(world, config.node_id, &images, &teller, durables),
            images,
            teller,
            followed: Arc::new(runtime::watch(MetadataImage::default()).0),
            incarnation: world.random("incarnation").uuid(),
            settings: Arc::new(runtime::watch(config.values.clone()).0),
            applied: publisher(-1),
            raft_status: Arc::new(runtime::watch(RaftStatus::default()).0),
            refusal: Arc::new(runtime::watch(String::new()).0),
            lifecycle_state: Arc::new(runtime::watch(LifecycleState::default()).0),
            stopping: Arc::default(),
            broker_epoch: Arc::new(AtomicI64::new(-1)),
            raft: Address::vacant(),
            controller: Address::vacant(),
            lifecycle: Address::vacant(),
            partitions: Address::vacant(),
            extensions: Address::vacant(),
            config: Arc::new(config),
            bound,
            requests: Arc::default(),
        }
    }

    /// The way to the active controller, over connections of its own.
    pub(crate) fn controller_handle(&self, world: &World) -> ControllerHandle {
        let status = self.raft_status.subscribe();
        ControllerHandle::routed(world, self.controller.clone(), self.node().0, status)
    }

    pub(crate) fn quorum_handle(&self) -> QuorumHandle {
        QuorumHandle::new(self.raft.clone(), self.raft_status.subscribe())
    }

    /// Whether leaderships of this node are moved away before it stops.
    pub(super) fn says_good_bye(&self) -> bool {
        self.config.roles.broker && self.config.quorum.controlled_shutdown
    }

    pub(super) fn node(&self) -> NodeId {
        self.config.node_id
    }
}

/// The root of a node's tree.
pub(crate) struct NodeActor {
    shared: Shared,
    watchdog: Watchdog,
}

pub(crate) enum NodeMsg {
    /// The metadata may have changed what is set for brokers.
    MetadataChanged,
    LookForStuck,
    /// A log directory went offline.
    DirectoryFailed {
        dir: Arc<LogDirState>,
    },
    /// `initial.broker.registration.timeout.ms` after the start.
    RegistrationDue,
    /// `log.dir.failure.timeout.ms` after that.
    DirectoryFailureDue {
        dir: Arc<LogDirState>,
    },
}

runtime::messages!(NodeMsg {
    MetadataChanged,
    LookForStuck,
    RegistrationDue,
    DirectoryFailed,
    DirectoryFailureDue
});

impl Actor for NodeActor {
    const KIND: &'static str = "node";
    type Msg = NodeMsg;
    type Args = Shared;

    async fn start(cx: &mut Cx<Self>, shared: Shared) -> Result<Self, Failure> {
        let (me, mut images) = (cx.me().clone(), shared.images.subscribe());
        cx.spawn_task(async move {
            while me.send(NodeMsg::MetadataChanged).await.is_ok() {
                images.changed().await;
            }
        });
        watch_directories(cx, &shared);
        cx.every(WATCHDOG_PERIOD, || NodeMsg::LookForStuck);
        if shared.config.roles.broker {
            let limit = shared.config.quorum.registration_timeout_ms;
            let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
            cx.send_after(limit, NodeMsg::RegistrationDue);
        }
        for seed in branches(cx, &shared) {
            cx.spawn_seed_and_wait(seed).await?;
        }
        let watchdog = Watchdog::new(cx.world().registry().clone(), STUCK);
        Ok(NodeActor { shared, watchdog })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: NodeMsg) -> Outcome {
        match msg {
            NodeMsg::MetadataChanged => {
                self.check_id()?;
                self.settle();
            }
            NodeMsg::LookForStuck => drop(self.watchdog.check()),
            NodeMsg::RegistrationDue => self.registration_due()?,
            NodeMsg::DirectoryFailed { dir } => self.directory_failed(cx, dir)?,
            NodeMsg::DirectoryFailureDue { dir } => self.directory_failure_due(&dir)?,
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let shared = &self.shared;
        format!("node {} of cluster {}", shared.node(), shared.cluster_id)
    }
}

impl NodeActor {
    /// Lays what the metadata sets for brokers over what the node was started with.
    fn settle(&self) {
        let image = self.shared.images.get();
        let all = image.configs.of(&ConfigResource::broker_default());
        let own = image.configs.of(&ConfigResource::broker(self.shared.node().0));
        let before = self.shared.settings.get();
        if before.has_dynamic(all, own) {
            return;
        }
        let (values, errors) = self.shared.config.values.with_dynamic(all, own);
        for error in errors {
            tracing::warn!(%error, "a dynamic setting is not used");
        }
        if *before != values {
            self.shared.settings.publish(values);
        }
    }
}

impl NodeActor {
    /// Another process has taken this broker's id: it runs on a copy of the directories, or took this one's place while it was cut off.
    fn check_id(&self) -> Outcome {
        let image = self.shared.images.get();
        let own = self.shared.broker_epoch.load(Ordering::Acquire);
        match image.broker(self.shared.node().0) {
            Some(broker)
                if own >= 0
                    && broker.epoch > own
                    && broker.incarnation_id != self.shared.incarnation =>
            {
                Err(Failure::new(format!(
                    "another process has registered as broker {}: its incarnation is {}, this one's {}; only one may use the id",
                    broker.id, broker.incarnation_id, self.shared.incarnation
                )))
            }
            _ => Ok(()),
        }
    }

    fn registration_due(&self) -> Outcome {
        if self.shared.broker_epoch.load(Ordering::Acquire) >= 0 {
            return Ok(());
        }
        let why = match self.shared.refusal.get().as_str() {
            "" => match self.shared.raft_status.get().leader_id {
                None => {
                    let unfound = &self.shared.raft_status.get().unfound;
                    format!("no leader of the quorum is found: {unfound}")
                }
                Some(id) => format!("the active controller is node {id}, which does not answer"),
            },
            refusal => format!("the controller refuses it: {refusal}"),
        };
        Err(Failure::new(format!(
            "this broker could not register with the controller within initial.broker.registration.timeout.ms={}: {why}",
            self.shared.config.quorum.registration_timeout_ms
        )))
    }

    /// The others go on; not without the metadata log, nor where none is left.
    fn directory_failed(&self, cx: &mut Cx<Self>, dir: Arc<LogDirState>) -> Outcome {
        let (path, why) = (dir.path.display(), dir.failure().unwrap_or_default());
        if Arc::ptr_eq(&dir, &self.shared.directories.metadata_dir) {
            let what = "the log directory of the metadata log has failed";
            return Err(Failure::new(format!("{what}: {path}: {why}")));
        }
        if self.shared.log_dirs.online().next().is_none() {
            return Err(Failure::new(format!(
                "no log directory is left, the last one failed: {path}: {why}"
            )));
        }
        let after = self.shared.config.logs.dir_failure_timeout_ms;
        let after = Duration::from_millis(after.unsigned_abs());
        cx.send_after(after, NodeMsg::DirectoryFailureDue { dir });
        Ok(())
    }

    /// The controller must know by now, else it goes on taking this broker's replicas for what they are not.
    fn directory_failure_due(&self, dir: &LogDirState) -> Outcome {
        let image = self.shared.images.get();
        let broker = image.broker(self.shared.node().0);
        if broker.is_some_and(|broker| broker.directories.contains(&dir.id)) {
            return Err(Failure::new(format!(
                "the controller could not be told within log.dir.failure.timeout.ms that {} has failed",
                dir.path.display()
            )));
        }
        Ok(())
    }
}

fn watch_directories(cx: &mut Cx<NodeActor>, shared: &Shared) {
    let metadata_dir = &shared.directories.metadata_dir;
    let apart = !shared.log_dirs.0.iter().any(|dir| Arc::ptr_eq(dir, metadata_dir));
    for dir in shared.log_dirs.online().chain(apart.then_some(metadata_dir)) {
        let (me, mut changes, dir) = (cx.me().clone(), dir.changes(), dir.clone());
        cx.spawn_task(async move {
            while dir.is_online() {
                changes.changed().await;
            }
            let _ = me.send(NodeMsg::DirectoryFailed { dir }).await;
        });
    }
}

/// The branches, in the order in which they start.
fn branches(cx: &Cx<NodeActor>, shared: &Shared) -> Vec<Seed> {
    let supervisor = |name: &str, strategy, children| {
        let args = SupervisorArgs { strategy, children };
        Seed::of::<Supervisor>(name, policy::branch(), args).0
    };
    let groups = shards::groups(cx, shared);
    let coordinators = shards::coordinators_args(shared, groups.clone());
    let extensions = SupervisorArgs { strategy: Strategy::OneForOne, children: Vec::new() };
    let quorum = supervisor("quorum", Strategy::RestForOne, metadata::members(cx, shared));
    let network = supervisor("network", Strategy::OneForOne, network_members(cx, shared, groups));
    let branch = policy::branch;
    let extensions = Seed::at::<Supervisor>("extensions", branch(), extensions, &shared.extensions);
    if !shared.config.roles.broker {
        // It has no replicas, and clients' listeners are not bound.
        return vec![quorum, network, extensions];
    }
    let (args, at) = (partitions_args(shared), &shared.partitions);
    let mut branches = vec![
        supervisor("storage", Strategy::OneForOne, storage(shared)),
        quorum,
        Seed::at::<Partitions>("partitions", branch(), args, at),
        Seed::of::<Replication>("replication", branch(), replication_args(shared)).0,
        Seed::of::<Coordinators>("coordinators", branch(), coordinators).0,
    ];
    let durables = shards::durable_members(shared);
    if !durables.is_empty() {
        branches.push(supervisor("durables", Strategy::OneForOne, durables));
    }
    branches.extend([network, extensions]);
    branches
}

fn storage(shared: &Shared) -> Vec<Seed> {
    let logs = &shared.config.logs;
    let ms = |ms: i64| Duration::from_millis(ms.max(1).unsigned_abs());
    let seeds = shared.log_dirs.0.iter().enumerate().map(|(index, state)| {
        let args = LogDirArgs {
            state: state.clone(),
            hosted: shared.hosted.clone(),
            broker_epoch: shared.broker_epoch.clone(),
            settings: shared.settings.subscribe(),
            log_start_interval: ms(i64::from(logs.start_offset_checkpoint_interval_ms)),
            recovery_point_interval: ms(i64::from(logs.recovery_checkpoint_interval_ms)),
            high_watermark_interval: ms(logs.high_watermark_checkpoint_interval_ms),
            room_interval: ms(i64::from(RoomConfig::new(&shared.config.values).check_interval_ms)),
        };
        let spec = policy::storage_member();
        Seed::at::<LogDir>(format!("log-dir-{index}"), spec, args, state.address())
    });
    let turns = Arc::new(CleanerTurns::default());
    let cleaners = shared.log_dirs.0.iter().enumerate().map(|(index, dir)| {
        let args = LogCleanerArgs {
            index,
            dir: dir.clone(),
            turns: turns.clone(),
            hosted: shared.hosted.clone(),
            settings: shared.settings.subscribe(),
        };
        let name = format!("log-cleaner-{index}");
        Seed::of::<LogCleaner>(name, policy::storage_member(), args).0
    });
    seeds.chain(cleaners).collect()
}

fn partitions_args(shared: &Shared) -> PartitionsArgs {
    let logs = &shared.config.logs;
    let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
    PartitionsArgs {
        node: shared.node(),
        log_dirs: shared.log_dirs.clone(),
        hosted: shared.hosted.clone(),
        assignments: shared.assignments.clone(),
        isr_changes: shared.isr_changes.clone(),
        metadata: shared.followed.subscribe(),
        settings: shared.settings.subscribe(),
        applied: shared.applied.clone(),
        replica: Arc::new(policy::partition()),
        initial_delay: ms(logs.initial_task_delay_ms),
        retention_interval: ms(logs.retention_check_interval_ms),
        expiration_interval: ms(i64::from(logs.producer_id_expiration_check_interval_ms)),
        alter_dirs_threads: logs
            .alter_dirs_threads
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(shared.log_dirs.0.len()),
    }
}

fn replication_args(shared: &Shared) -> ReplicationArgs {
    ReplicationArgs {
        node: shared.node(),
        hosted: shared.hosted.clone(),
        metadata: shared.followed.subscribe(),
        applied: shared.applied.subscribe(),
        settings: shared.settings.subscribe(),
        config: ReplicationConfig::new(&shared.config.values),
        listener: shared.config.inter_broker_listener_name.clone(),
        broker_epoch: shared.broker_epoch.clone(),
        fetcher: policy::fetcher(),
    }
}

fn network_members(cx: &Cx<NodeActor>, shared: &Shared, groups: Groups) -> Vec<Seed> {
    let network = &shared.config.network;
    let positive = |n: i32| usize::try_from(n).unwrap_or(0);
    let limits = Limits {
        max_request_bytes: positive(network.request_max_bytes),
        max_idle: match u64::try_from(network.connections_max_idle_ms) {
            Ok(ms) => Duration::from_millis(ms),
            Err(_) => Duration::from_secs(u64::from(u32::MAX)),
        },
        request_memory: u64::try_from(network.queued_max_request_bytes)
            .ok()
            .filter(|bytes| *bytes > 0)
            .unwrap_or(REQUEST_MEMORY),
        fetch_sessions: positive(network.fetch_session_slots),
    };
    let broker = Broker::new(BrokerParts {
        world: cx.world().clone(),
        role: ListenerKind::Broker,
        node: shared.node(),
        cluster_id: shared.cluster_id.clone(),
        inter_broker_listener: shared.config.inter_broker_listener_name.clone(),
        limits,
        metadata: shared.images.subscribe(),
        quorum: shared.quorum_handle(),
        applied: shared.applied.subscribe(),
        settings: shared.settings.subscribe(),
        hosted: shared.hosted.clone(),
        log_dirs: shared.log_dirs.clone(),
        partitions: shared.partitions.clone(),
        groups,
        durables: shared.durables.clone(),
        requests: shared.requests.clone(),
        controller: shared.controller_handle(cx.world()).for_clients(),
        producer_id_blocks: producer_ids::blocks(
            shared.node(),
            shared.broker_epoch.clone(),
            shared.controller_handle(cx.world()),
        ),
    });
    let controller = Broker::new(BrokerParts {
        role: ListenerKind::Controller,
        controller: ControllerHandle::new(shared.controller.clone()),
        ..broker.parts().clone()
    });
    // As in Kafka, where each role has its socket server.
    let quotas = |most| ConnectionQuotas::new(shared.settings.subscribe(), most);
    let most = cx.world().net().most_accepted();
    let of_controllers = quotas(most / CONTROLLERS_SHARE);
    let of_brokers = quotas(most - most / CONTROLLERS_SHARE);
    let seeds = shared.bound.iter().map(|bound| {
        let controllers = shared.config.is_controller_listener(bound.name());
        let args = ListenerArgs {
            bound: bound.clone(),
            broker: if controllers { controller.clone() } else { broker.clone() },
            quotas: if controllers { of_controllers.clone() } else { of_brokers.clone() },
            open: shared.lifecycle_state.subscribe(),
            connection: policy::connection(),
        };
        Seed::of::<ListenerActor>(bound.name(), policy::listener(), args).0
    });
    seeds.collect()
}

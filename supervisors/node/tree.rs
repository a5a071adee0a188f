//! The tree of a node: its root starts the branches in order, each up before the next, and stops them in reverse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use coordinators::Durables;
use disk::DiskLock;
use log::RecentBatches;
use machines::metadata::{ConfigResource, MetadataImage};
use model::node_config::NodeConfig;
use model::settings::Values;
use model::{NodeId, Uuid};
use network::{Bound, Interceptors, READ_BUFFER, RequestMetrics};
use partitions::{Assignments, Hosted, IsrChanges, LogDirState, LogDirs, PartitionsMsg};
use quorum::{
    ControllerHandle, ControllerMsg, LifecycleMsg, LifecycleState, QuorumHandle, RaftStatus,
};
use runtime::{
    Actor, Address, Cx, Failure, Outcome, Publisher, Seed, SupervisorMsg, Watchdog, World,
};
use wire::MetadataRecord;

use super::additions::Additions;
use super::branches::branches;
use super::directories::Directories;
use super::shards;

/// A handler that takes longer is reported.
const STUCK: Duration = Duration::from_secs(10);
const WATCHDOG_PERIOD: Duration = Duration::from_secs(1);

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
    pub(crate) has_served: Arc<AtomicBool>,
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
    pub(crate) interceptors: Interceptors,
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
        additions: &Additions,
    ) -> Shared {
        let publisher = |offset| Arc::new(runtime::watch(offset).0);
        let (images, teller) =
            (Arc::new(runtime::watch(MetadataImage::default()).0), Address::vacant());
        let sampled = config.telemetry.as_ref().map_or(0.0, |telemetry| telemetry.share);
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
            durables: shards::durables(
                world,
                config.node_id,
                &images,
                &teller,
                &additions.durables,
            ),
            interceptors: additions.interceptors.clone(),
            images,
            teller,
            followed: Arc::new(runtime::watch(MetadataImage::default()).0),
            incarnation: world.random("incarnation").uuid(),
            settings: Arc::new(runtime::watch(config.values.clone()).0),
            applied: publisher(-1),
            raft_status: Arc::new(runtime::watch(RaftStatus::default()).0),
            refusal: Arc::new(runtime::watch(String::new()).0),
            lifecycle_state: Arc::new(runtime::watch(LifecycleState::default()).0),
            has_served: Arc::default(),
            stopping: Arc::default(),
            broker_epoch: Arc::new(AtomicI64::new(-1)),
            raft: Address::vacant(),
            controller: Address::vacant(),
            lifecycle: Address::vacant(),
            partitions: Address::vacant(),
            extensions: Address::vacant(),
            config: Arc::new(config),
            bound,
            requests: Arc::new(RequestMetrics::new(sampled)),
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
    /// With the actors under `extensions`.
    type Args = (Shared, Vec<Seed>);

    async fn start(cx: &mut Cx<Self>, (shared, extensions): Self::Args) -> Result<Self, Failure> {
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
        for seed in branches(cx, &shared, extensions) {
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

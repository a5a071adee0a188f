//! A broker's insides without a quorum: real disk and sockets, partitions that follow an image which the test publishes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use coordinators::{Coordinators, CoordinatorsArgs, Durables, GroupHost, Groups};
use disk::{Disk, RealDisk};
use log::RecentBatches;
use machines::metadata::{MetadataImage, MetadataVersion};
use model::node_config::GroupsConfig;
use model::settings::Values;
use model::{NodeId, Uuid};
use ottla_network::{
    Bound, Broker, BrokerParts, ConnectionQuotas, Interceptors, Limits, ListenerActor,
    ListenerArgs, ListenerSpec, READ_BUFFER,
};
use partitions::{
    Assignments, Checkpoints, CleanerTurns, Hosted, IsrChanges, LogCleaner, LogCleanerArgs,
    LogDirState, LogDirs, PartitionHandle, Partitions, PartitionsArgs, Standing,
};
use quorum::{ControllerHandle, LifecycleState, QuorumHandle, RaftStatus};
use runtime::{
    Actor, Address, ChildSpec, GiveUp, Handles, ListenOptions, Publisher, Root, Seed, Strategy,
    Supervisor, SupervisorArgs, Waiter, Watch, World, spawn_root, watch,
};
use wire::register_broker_record::BrokerEndpoint;
use wire::{
    ConfigRecord, FeatureLevelRecord, ListenerKind, MetadataRecord, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, TopicRecord,
};

pub use crate::batches::{batch, batch_of};
pub use crate::client::Client;
use crate::controller::{self, Ledger};
use crate::groups_stalled::patience;

pub const NODE: i32 = 1;
pub const LISTENER: &str = "PLAINTEXT";
pub const CONTROLLER: &str = "CONTROLLER";
/// Longer than anything here takes, however busy the machine is.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Rig {
    pub world: World,
    pub hosted: Arc<Hosted>,
    pub log_dirs: LogDirs,
    pub assignments: Arc<Assignments>,
    pub isr_changes: Arc<IsrChanges>,
    address: SocketAddr,
    pub broker: Arc<Broker>,
    ledger: Arc<Ledger>,
    settings: Publisher<Values>,
    _roots: (Root<Supervisor>, Root<ListenerActor>, Root<Supervisor>, Root<Coordinators>),
    _cleaners: Vec<Root<LogCleaner>>,
    _dir: tempfile::TempDir,
}

async fn listen(
    world: &World,
    kind: ListenerKind,
    broker: Arc<Broker>,
) -> (Root<ListenerActor>, SocketAddr) {
    let quotas = ConnectionQuotas::new(broker.settings.clone(), usize::MAX);
    let bound = Bound::open(world, listener_spec(kind)).await.unwrap();
    let address = bound.address();
    let (_, open) = watch(LifecycleState::Serving);
    let args = ListenerArgs { bound, broker, quotas, open, connection: ChildSpec::temporary() };
    let listener = spawn_root::<ListenerActor>(world, &format!("listener-{kind:?}"), args).unwrap();
    listener.started().await.unwrap();
    (listener, address)
}

/// An actor under a supervisor of its own, which gives it an address.
pub async fn alone<A: Actor>(
    world: &World,
    name: &str,
    args: A::Args,
) -> (Address<A::Msg>, Root<Supervisor>) {
    let (seed, address) = Seed::of::<A>(name, ChildSpec::permanent(), args);
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![seed]);
    let root = spawn_root::<Supervisor>(world, &format!("over-{name}"), args).unwrap();
    root.started().await.unwrap();
    (address, root)
}

fn log_cleaners(
    world: &World,
    hosted: &Arc<Hosted>,
    dirs: &LogDirs,
    settings: &Watch<Values>,
) -> Vec<Root<LogCleaner>> {
    let turns = Arc::new(CleanerTurns::default());
    let cleaner = |(index, dir): (usize, &Arc<LogDirState>)| {
        let (dir, turns) = (dir.clone(), turns.clone());
        let (hosted, settings) = (hosted.clone(), settings.clone());
        let args = LogCleanerArgs { index, dir, turns, hosted, settings };
        spawn_root::<LogCleaner>(world, &format!("log-cleaner-{index}"), args).unwrap()
    };
    dirs.0.iter().enumerate().map(cleaner).collect()
}

fn first_records(address: SocketAddr, dirs: u8) -> impl Iterator<Item = MetadataRecord> {
    let several = (dirs > 1).then(keeps_track_of_directories);
    [registration(address.port())].into_iter().chain(several)
}

fn keeps_track_of_directories() -> MetadataRecord {
    MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: machines::metadata::METADATA_VERSION.into(),
        feature_level: MetadataVersion::LATEST.0,
        ..Default::default()
    })
}

fn partitions_args(metadata: Watch<MetadataImage>, settings: Watch<Values>) -> PartitionsArgs {
    let values = settings.get();
    PartitionsArgs {
        node: NodeId(NODE),
        log_dirs: LogDirs(Vec::new()),
        hosted: Arc::new(Hosted::new(RecentBatches::new(4 << 20, READ_BUFFER))),
        assignments: Arc::default(),
        isr_changes: Arc::default(),
        metadata,
        settings,
        applied: Arc::new(watch(-1).0),
        replica: Arc::new(ChildSpec::permanent()),
        initial_delay: ms(values.long("log.initial.task.delay.ms")),
        retention_interval: ms(values.long("log.retention.check.interval.ms")),
        expiration_interval: Duration::from_secs(3600),
        alter_dirs_threads: 1,
    }
}

impl Rig {
    pub async fn start() -> Rig {
        Rig::with_settings(&[]).await
    }

    pub async fn with_settings(settings: &[(&str, &str)]) -> Rig {
        Rig::with_dirs(1, settings).await
    }

    /// With so many log directories; topics go to the first.
    pub async fn with_dirs(dirs: u8, given: &[(&str, &str)]) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(Handles::current(), Arc::new(RealDisk::new()));
        let log_dirs = LogDirs((0..dirs).map(|index| log_dir(dir.path(), index)).collect());
        let assignments = Arc::new(Assignments::default());
        let isr_changes = Arc::new(IsrChanges::default());
        let (metadata, image) = watch(MetadataImage::default());
        let (settings, values) = watch(Values::new(given.iter().copied()).unwrap());
        let args = PartitionsArgs {
            log_dirs: log_dirs.clone(),
            assignments: assignments.clone(),
            isr_changes: isr_changes.clone(),
            alter_dirs_threads: usize::from(dirs),
            ..partitions_args(image.clone(), values.clone())
        };
        let hosted = args.hosted.clone();
        let applied = args.applied.subscribe();
        let (moves, partitions) = alone::<Partitions>(&world, "partitions", args).await;
        let groups = Groups::new(world.clone(), NodeId(NODE), image.clone(), patience(given));
        let args = CoordinatorsArgs {
            hosted: hosted.clone(),
            metadata: image.clone(),
            applied: applied.clone(),
            host: GroupHost { config: GroupsConfig::new(&values.get()), groups: groups.clone() },
            shard: ChildSpec::transient().give_up(GiveUp::Offline),
        };
        let coordinators = spawn_root::<Coordinators>(&world, "coordinators", args).unwrap();
        let cleaners = log_cleaners(&world, &hosted, &log_dirs, &values);
        let ledger = Arc::new(Ledger::new(metadata));
        let (asked, quorum) = controller::deciding(&world, &ledger, &values).await;
        let broker = Broker::new(BrokerParts {
            world: world.clone(),
            role: wire::ListenerKind::Broker,
            node: NodeId(NODE),
            cluster_id: "rig".into(),
            inter_broker_listener: "PLAINTEXT".into(),
            limits: limits(&values.get()),
            metadata: image,
            quorum: QuorumHandle::new(Address::vacant(), watch(RaftStatus::default()).1),
            applied,
            settings: values,
            hosted: hosted.clone(),
            log_dirs: log_dirs.clone(),
            partitions: moves,
            groups,
            durables: Durables::default(),
            interceptors: Interceptors::default(),
            controller: ControllerHandle::new(asked),
            requests: Arc::new(ottla_network::RequestMetrics::new(0.0)),
            producer_id_blocks: producer_ids(),
        });
        let (listener, address) = listen(&world, ListenerKind::Broker, broker.clone()).await;
        ledger.publish(first_records(address, dirs));
        Rig {
            world,
            hosted,
            log_dirs,
            assignments,
            isr_changes,
            address,
            broker,
            ledger,
            settings,
            _roots: (partitions, listener, quorum, coordinators),
            _cleaners: cleaners,
            _dir: dir,
        }
    }

    /// The node's settings become these.
    pub fn resettle(&self, settings: &[(&str, &str)]) {
        let given = settings.iter().map(|(name, value)| (*name, *value));
        self.settings.publish(Values::new(given).unwrap());
    }

    /// Replays the records and shows the image to the broker.
    pub fn publish(&mut self, records: impl IntoIterator<Item = MetadataRecord>) {
        self.ledger.publish(records);
    }

    /// Makes a topic whose partitions this node leads in epoch 5, and waits until it does.
    pub async fn topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let id = topic_id(name);
        let config = configs.iter().map(|(key, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: 2,
                resource_name: name.into(),
                name: (*key).into(),
                value: Some((*value).into()),
                ..Default::default()
            })
        });
        let topic = TopicRecord { name: name.into(), topic_id: id, ..Default::default() };
        let records: Vec<MetadataRecord> = config
            .chain([MetadataRecord::Topic(topic)])
            .chain((0..partitions).map(|index| partition(id, index, NODE)))
            .collect();
        self.publish(records);
        for index in 0..partitions {
            self.until_leading(name, index).await;
        }
        id
    }

    /// A topic of one partition, which is in this directory.
    pub async fn topic_in(&mut self, name: &str, directory: Uuid) -> Uuid {
        let id = topic_id(name);
        let topic = TopicRecord { name: name.into(), topic_id: id, ..Default::default() };
        self.publish([MetadataRecord::Topic(topic), partition_in(id, 0, NODE, directory)]);
        self.until_leading(name, 0).await;
        id
    }

    /// Has the controller say that the topic has this setting.
    pub fn configure(&mut self, topic: &str, name: &str, value: &str) {
        self.publish([MetadataRecord::Config(ConfigRecord {
            resource_type: 2,
            resource_name: topic.into(),
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        })]);
    }

    /// Has the controller say that the replica is in this directory.
    pub fn assign(&mut self, topic: &str, partition_id: i32, directory: Uuid) {
        self.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
            topic_id: topic_id(topic),
            partition_id,
            directories: Some(vec![directory]),
            ..Default::default()
        })]);
    }

    /// What is produced with acks=all from now on waits for a replica that never asks for it.
    pub async fn adds_a_silent_replica(&mut self, topic: &str, partition_id: i32) {
        let both = || Some(vec![NODE, NODE + 1]);
        self.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
            topic_id: topic_id(topic),
            partition_id,
            replicas: both(),
            isr: both(),
            directories: Some(vec![dir_id(0), Uuid::ZERO]),
            ..Default::default()
        })]);
        self.until(topic, partition_id, |handle| handle.is_in_sync(NodeId(NODE + 1))).await;
    }

    /// Waits until this holds.
    pub async fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let waits = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        self.world.timeout(LIMIT, waits).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// A topic whose only replica is on another broker.
    pub fn topic_elsewhere(&mut self, name: &str) -> Uuid {
        let id = topic_id(name);
        let topic = TopicRecord { name: name.into(), topic_id: id, ..Default::default() };
        self.publish([MetadataRecord::Topic(topic), partition(id, 0, NODE + 1)]);
        id
    }

    /// The only replica of such a topic is here from now on.
    pub async fn takes_over(&mut self, name: &str) {
        self.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
            topic_id: topic_id(name),
            partition_id: 0,
            leader: NODE,
            replicas: Some(vec![NODE]),
            isr: Some(vec![NODE]),
            directories: Some(vec![dir_id(0)]),
            ..Default::default()
        })]);
        self.until_leading(name, 0).await;
    }

    /// A topic of so many partitions, all of which another broker has.
    pub fn large_topic_elsewhere(&mut self, name: &str, partitions: i32) {
        let id = topic_id(name);
        let topic = TopicRecord { name: name.into(), topic_id: id, ..Default::default() };
        let partitions = (0..partitions).map(|index| partition(id, index, NODE + 1));
        self.publish([MetadataRecord::Topic(topic)].into_iter().chain(partitions));
    }

    async fn until_leading(&self, topic: &str, index: i32) {
        let led = async {
            let handle = loop {
                match self.hosted.get(topic, index) {
                    Some(handle) => break handle,
                    None => tokio::task::yield_now().await,
                }
            };
            let mut waiter = Waiter::new();
            loop {
                waiter.on(handle.pulse());
                if matches!(*handle.standing(), Standing::Leader(_)) {
                    return;
                }
                waiter.wait().await;
            }
        };
        self.world.timeout(LIMIT, led).await.unwrap();
    }

    pub fn handle(&self, topic: &str, index: i32) -> Arc<PartitionHandle> {
        self.hosted.get(topic, index).unwrap()
    }

    /// Waits until this holds of a replica.
    pub async fn until(&self, topic: &str, index: i32, holds: impl Fn(&PartitionHandle) -> bool) {
        let handle = self.handle(topic, index);
        let waits = async {
            while !holds(&handle) {
                tokio::task::yield_now().await;
            }
        };
        self.world.timeout(LIMIT, waits).await.expect("it comes to hold in time");
    }

    /// The names of the files in a replica's directory.
    pub fn files(&self, topic: &str, index: i32) -> Vec<String> {
        let dir = self.handle(topic, index).log_dir().path.join(format!("{topic}-{index}"));
        let entries = self.world.disk().list(&dir);
        entries.unwrap().into_iter().map(|entry| entry.name).collect()
    }

    /// A client of the node's controller, and the listener that it is connected to.
    pub async fn controller(&self) -> (Client, Root<ListenerActor>) {
        let role = ListenerKind::Controller;
        let (client, _, listener) =
            self.beside(BrokerParts { role, ..self.broker.parts().clone() }).await;
        (client, listener)
    }

    /// A client of another listener, which serves by these parts, and where that is.
    pub async fn beside(&self, parts: BrokerParts) -> (Client, SocketAddr, Root<ListenerActor>) {
        let role = parts.role;
        let (listener, address) = listen(&self.world, role, Broker::new(parts)).await;
        (self.client_of(address).await, address, listener)
    }

    pub async fn client(&self) -> Client {
        self.client_of(self.address).await
    }

    pub async fn client_of(&self, address: SocketAddr) -> Client {
        Client::connect(&self.world, address).await
    }
}

pub fn dir_id(index: u8) -> Uuid {
    Uuid([7 + index; 16])
}

fn log_dir(under: &Path, index: u8) -> Arc<LogDirState> {
    let path = under.join(index.to_string());
    RealDisk::new().create_dir_all(&path).unwrap();
    let disk = Arc::new(RealDisk::new());
    Arc::new(LogDirState::new(dir_id(index), path, true, Checkpoints::default(), disk))
}

pub fn topic_id(name: &str) -> Uuid {
    let mut id = [1; 16];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Uuid(id)
}

fn partition(topic_id: Uuid, partition_id: i32, leader: i32) -> MetadataRecord {
    partition_in(topic_id, partition_id, leader, dir_id(0))
}

fn partition_in(topic_id: Uuid, partition_id: i32, leader: i32, dir: Uuid) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition_id,
        topic_id,
        replicas: vec![leader],
        isr: vec![leader],
        leader,
        leader_epoch: 5,
        partition_epoch: 0,
        directories: vec![dir],
        ..Default::default()
    })
}

fn registration(port: u16) -> MetadataRecord {
    MetadataRecord::RegisterBroker(broker_record(NODE, port))
}

pub fn broker_record(id: i32, port: u16) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: id,
        fenced: false,
        end_points: vec![BrokerEndpoint {
            name: LISTENER.into(),
            host: "127.0.0.1".into(),
            port,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn limits(values: &Values) -> Limits {
    let memory = u64::try_from(values.long("queued.max.request.bytes")).ok();
    Limits {
        max_request_bytes: 16 << 20,
        max_idle: Duration::from_secs(600),
        request_memory: memory.filter(|bytes| *bytes > 0).unwrap_or(64 << 20),
        fetch_sessions: 10,
    }
}

fn listener_spec(kind: ListenerKind) -> ListenerSpec {
    ListenerSpec {
        name: if kind == ListenerKind::Broker { LISTENER } else { CONTROLLER }.into(),
        kind,
        host: "127.0.0.1".into(),
        port: 0,
        options: ListenOptions::default(),
        unstable_versions: false,
        metadata_version: MetadataVersion::LATEST,
        protected: false,
    }
}

/// Blocks of three.
fn producer_ids() -> ottla_network::AllocateBlock {
    let next = Arc::new(AtomicI64::new(1000));
    Arc::new(move || {
        let first = next.fetch_add(3, Ordering::Relaxed);
        Box::pin(async move { Ok(first..first + 3) })
    })
}

//! A node: started from a configuration, stopped in order; and users' own actors under it.

mod additions;
mod branches;
mod directories;
mod first_voters;
mod handle;
mod metadata;
mod policy;
mod producer_ids;
mod shards;
mod tree;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use machines::metadata::MetadataVersion;
use model::node_config::{Endpoint, HostPort, NodeConfig};
use network::{Bound, ListenerSpec};
use quorum::{LifecycleMsg, LifecycleState};
use runtime::{Exit, ListenOptions, Root, World, spawn_root};
use wire::ListenerKind;

use crate::config::{self, ConfigErrors, Source};
pub(crate) use additions::Additions;
pub use directories::DirectoriesError;
pub(crate) use directories::{FormatAsked, format_for};
pub(crate) use first_voters::FirstVoters;
pub use handle::NodeHandle;
use tree::{NodeActor, Shared};

/// How long the controller may take to let a broker go.
const CONTROLLED_SHUTDOWN: Duration = Duration::from_secs(30);

/// Of the threads of `ottla start`.
const OF_THE_PROGRAM: [&str; 4] =
    ["num.network.threads", "num.io.threads", "ottla.control.threads", "background.threads"];

/// How long the other voters may take to know that this node leads the metadata log no more.
const STAND_DOWN: Duration = Duration::from_secs(1);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Directories(#[from] DirectoriesError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("the node ended while it started: {0}")]
    Ended(String),
    #[error("a node of this name runs in this process")]
    Name,
    #[error("no configuration was given")]
    Nothing,
    #[error("the extension {name:?} cannot be: {reason}")]
    Extension { name: String, reason: String },
    #[error("the interceptor of {topic:?} cannot be: {reason}")]
    Interceptor { topic: String, reason: String },
    #[error("a durable actor cannot be on the topic {topic:?}: {reason}")]
    Durable { topic: String, reason: String },
}

/// Why an extension was not added.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    #[error("the extension was refused: {0}")]
    Refused(runtime::SpawnError),
    #[error("the extension {name:?} cannot be: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("the interceptor of {topic:?} cannot be: {reason}")]
    Topic { topic: String, reason: model::topic::TopicNameError },
    #[error(transparent)]
    Intercepted(#[from] network::HasInterceptor),
    #[error("the node is stopping, or `extensions` has just failed and is being restarted")]
    Stopping,
}

/// What a node is to be, before it starts.
pub struct NodeBuilder {
    world: World,
    config: Result<Option<NodeConfig>, ConfigErrors>,
    additions: Additions,
}

impl NodeBuilder {
    /// A node with nothing configured: broker and controller, its data in `data`, listening on `listen` (`host:port`).
    pub fn quick(mut self, data: impl AsRef<Path>, listen: &str, set: &[(&str, &str)]) -> Self {
        let set: Vec<_> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let data = data.as_ref().to_owned();
        self.config = match HostPort::parse(listen) {
            Ok(listen) => load_one(&Source::Nothing { data, listen }, &set),
            Err(allowed) => Err(ConfigErrors::wrong("listen", listen, allowed)),
        };
        self
    }

    /// The node of this id in a cluster's TOML file.
    pub fn config(mut self, file: impl AsRef<Path>, node: i32) -> Self {
        let source = Source::Cluster { file: file.as_ref().to_owned(), node: Some(node) };
        self.config = load_one(&source, &[]);
        self
    }

    /// Kafka's server.properties.
    pub fn properties(mut self, file: impl AsRef<Path>) -> Self {
        self.config = load_one(&Source::Properties(file.as_ref().to_owned()), &[]);
        self
    }

    /// A configuration that was read already.
    pub fn node_config(mut self, config: NodeConfig) -> Self {
        self.config = Ok(Some(config));
        self
    }

    /// Starts the node and waits until it serves.
    ///
    /// # Errors
    /// What is configured does not fit, a directory is another's, an address is in use: nothing was started then.
    pub async fn start(self) -> Result<Node, StartError> {
        let node = self.launch().await?;
        node.serving().await?;
        Ok(node)
    }

    /// Starts the node and does not wait: it can be stopped while it recovers.
    ///
    /// # Errors
    /// As [`NodeBuilder::start`], but for what happens after its actors began.
    pub async fn launch(mut self) -> Result<Node, StartError> {
        let config = self.config?.ok_or(StartError::Nothing)?;
        for setting in OF_THE_PROGRAM.iter().filter(|setting| config.values.is_given(setting)) {
            tracing::warn!(
                setting,
                "not used: the threads are those of the program that the node is in"
            );
        }
        self.additions.check()?;
        Node::launch(self.world, config, self.additions).await
    }
}

fn load_one(source: &Source, set: &[(String, String)]) -> Result<Option<NodeConfig>, ConfigErrors> {
    config::load(source, set, &config::machine_name()).map(|mut nodes| nodes.pop())
}

/// The real world, for one of so many nodes that share this process's descriptors.
pub(crate) fn real_world(handles: runtime::Handles, nodes: usize) -> World {
    let share = disk::Descriptors::of_process().share(nodes);
    let disk = disk::PooledDisk::with_thread(Arc::new(disk::RealDisk::new()), share.files);
    World::real_with(handles.with_extensions_apart(), Arc::new(disk), share.connections)
}

/// A running node. Where it is dropped it ends as by [`Node::kill`], so that its directories and ports are free again.
pub struct Node {
    world: World,
    shared: Shared,
    root: Root<NodeActor>,
}

impl Node {
    /// Builds a node on the runtime that runs the caller.
    pub fn builder() -> NodeBuilder {
        Self::builder_in(real_world(runtime::Handles::current(), 1))
    }

    /// Builds a node in a world: on runtimes of one's own, or a simulated one.
    pub fn builder_in(world: World) -> NodeBuilder {
        NodeBuilder { world, config: Ok(None), additions: Additions::default() }
    }

    pub(crate) async fn launch(
        world: World,
        config: NodeConfig,
        additions: Additions,
    ) -> Result<Node, StartError> {
        for name in config.values.not_honoured() {
            tracing::warn!(
                "{name}: not honoured yet; it is taken as it has Kafka's default, and changes nothing"
            );
        }
        let lost = |lost: runtime::JobLost| StartError::Ended(lost.to_string());
        let claiming = (world.clone(), config.clone());
        let claim = move || directories::claim_all(&**claiming.0.disk(), &claiming.1);
        let claimed = world.blocking("claim directories", claim).await.map_err(lost)??;
        // Before the marks of the last clean stop are taken away: a start that finds a port in use has changed nothing.
        let bound = match bind(&world, &config).await {
            Ok(bound) => bound,
            Err(error) => {
                let disk = world.disk().clone();
                let give_back = move || claimed.give_back(&*disk);
                world.blocking("give back directories", give_back).await.map_err(lost)?;
                return Err(error);
            }
        };
        let opening = (world.clone(), config.clone());
        let open = move || directories::open(&opening.0, &opening.1, claimed);
        let directories = world.blocking("open directories", open).await.map_err(lost)??;
        let name = format!("node-{}", config.node_id);
        let shared = Shared::new(&world, config, directories, bound, &additions);
        let args = (shared.clone(), additions.seeds(&world, &shared)?);
        let root = spawn_root::<NodeActor>(&world, &name, args).ok_or(StartError::Name)?;
        Ok(Node { world, shared, root })
    }

    /// Waits until it serves.
    pub(crate) async fn serving(&self) -> Result<(), StartError> {
        let ended = |exit| StartError::Ended(format!("{exit:?}"));
        self.root.started().await.map_err(ended)?;
        let mut state = self.shared.lifecycle_state.subscribe();
        let mut images = self.shared.images.subscribe();
        let is_broker = self.shared.config.roles.broker;
        let serves = async {
            if is_broker {
                state.until(|state| *state >= LifecycleState::Serving).await;
                for bound in &self.shared.bound {
                    bound.listens().await;
                }
            } else {
                // There is a leader of the metadata log, and this controller has read what is committed.
                images.until(|image| image.provenance.offset >= 0).await;
            }
        };
        tokio::select! {
            biased;
            exit = self.root.ended() => Err(ended(exit)),
            () = serves => Ok(()),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where a listener can be reached.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let bound = self.shared.bound.iter().find(|bound| bound.name() == listener);
        bound.map(Bound::address)
    }

    /// Where clients connect: the first listener that is no controller's. Of a node that is a controller only, where other nodes do,
    /// and Kafka's tools with `--bootstrap-controller`.
    pub fn bootstrap(&self) -> SocketAddr {
        let all = &self.shared.bound;
        let address = self.shared.for_clients().or(all.first()).map(Bound::address);
        address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Makes a partition's actor fail as a bug in it would: to see how clients, and one's own actors, bear it.
    ///
    /// # Errors
    /// This node has no such replica, or its actor is down already.
    pub async fn panic_partition(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(), runtime::Failure> {
        let replica = self.shared.hosted.get(topic, partition);
        let missing = || runtime::Failure::new(format!("no replica of {topic}-{partition} here"));
        let message = "injected: a bug in this partition".to_owned();
        let address = replica.ok_or_else(missing)?.address().clone();
        address.send(partitions::PartitionMsg::Panic { message }).await?;
        Ok(())
    }

    /// The trees of this node's actors, each asked for its state.
    pub async fn tree(&self) -> Vec<runtime::ActorTree> {
        self.world.registry().look(&self.world).await
    }

    /// Waits until the node has ended, by [`Node::stop`] or by a failure that nothing below could contain.
    pub async fn ended(&self) -> Exit {
        self.root.ended().await
    }

    /// Stops in order: leaderships move away, connections close, logs are closed, directories are marked clean.
    pub async fn stop(&self) -> Exit {
        if self.shared.says_good_bye() {
            let mut state = self.shared.lifecycle_state.subscribe();
            self.announce_stop().await;
            // Before it is registered there is nothing to be let go of, nor maybe anybody who would.
            let registered = self.shared.broker_epoch.load(Ordering::Acquire) >= 0;
            let released = async {
                tokio::select! {
                    biased;
                    _ = state.until(|state| *state == LifecycleState::Released) => {}
                    _ = self.root.ended() => {}
                }
            };
            if registered && self.world.timeout(CONTROLLED_SHUTDOWN, released).await.is_err() {
                tracing::warn!("the controller did not let this broker go; stopping all the same");
            }
        }
        // Those who go on elect another at once.
        self.shared.quorum_handle().stand_down(STAND_DOWN).await;
        self.root.stop().await
    }

    /// Tells the controller that this broker is about to stop, and does not wait: several that stop together are let go before the
    /// first of them is gone.
    pub(crate) async fn announce_stop(&self) {
        if self.shared.says_good_bye() {
            self.shared.stopping.store(true, Ordering::Release);
            // One that is down reads it when it starts.
            let _ = self.shared.lifecycle.send(LifecycleMsg::ShutDown).await;
        }
    }

    /// Ends the node as far as a process can without ending itself: nothing is closed.
    pub fn kill(&self) {
        self.root.kill();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn bind(world: &World, config: &NodeConfig) -> Result<Vec<Bound>, StartError> {
    let network = &config.network;
    let size = |bytes: i32| u32::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let mut options = ListenOptions {
        send_buffer: size(network.send_buffer_bytes),
        receive_buffer: size(network.receive_buffer_bytes),
        ..ListenOptions::default()
    };
    if let Some(given) = network.listen_backlog {
        options.backlog = u32::try_from(given).unwrap_or(u32::MAX);
    }
    let is_brokers = |l: &&Endpoint| !config.is_controller_listener(&l.name);
    let brokers = config.listeners.iter().filter(is_brokers).count();
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let kind = match config.is_controller_listener(&listener.name) {
            true => ListenerKind::Controller,
            false => ListenerKind::Broker,
        };
        let spec = ListenerSpec {
            name: listener.name.clone(),
            kind,
            host: listener.address.host.clone(),
            port: listener.address.port,
            options,
            unstable_versions: network.unstable_api_versions,
            // Controllers of Kafka's tell their features by the setting for APIs, brokers by the one for features.
            metadata_version: MetadataVersion::newest(match kind {
                ListenerKind::Controller => network.unstable_api_versions,
                ListenerKind::Broker => config.unstable_feature_versions,
            }),
            protected: listener.name == config.inter_broker_listener_name && brokers > 1,
        };
        let address = listener.address.to_string();
        let opened = Bound::open(world, spec).await;
        bound.push(opened.map_err(|source| StartError::Listen { address, source })?);
    }
    Ok(bound)
}

//! Whole clusters under one seed: real nodes, clients and one's own actors on simulated clocks, networks, disks and schedules.
//!
//! [`Simulation`] is the world of any actors; a [`Cluster`] is one whose nodes a cluster's TOML file describes. What happens to them is
//! a [`FaultPlan`], drawn beforehand from a seed or written by hand: it can be printed, and [made smaller](FaultPlan::shrink) while a run
//! still fails. What is not drawn from the seed does not happen, so that a seed that failed fails again.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//! use ottla::client::{Client, NewTopic};
//! use ottla::sim::{Cluster, FaultPlan, SimFault, SimOptions};
//!
//! let file = (1..=3).map(|id| format!(
//!     "[[node]]\nid = {id}\nlisten = \"n{id}:9092\"\ncontroller = \"n{id}:9093\"\ndata = \"/data\"\n"
//! ));
//! let mut cluster = Cluster::new(SimOptions::seed(7), &file.collect::<String>())?;
//! let created = Arc::new(AtomicBool::new(false));
//! let told = created.clone();
//! cluster.world.add_node("client", move |life| {
//!     let told = told.clone();
//!     async move {
//!         let client = Client::new(&life.world, ["n1:9092", "n2:9092", "n3:9092"]).expect("addresses");
//!         let topic = || NewTopic::new("orders").partitions(1).replication_factor(3);
//!         while client.admin().create_topic(topic()).await.is_err() {}
//!         told.store(true, Ordering::Relaxed);
//!     }
//! });
//! let kill = SimFault::Kill { node: cluster.members()[0].1, down: Duration::from_secs(1) };
//! cluster.world.plan(&FaultPlan(vec![(Duration::from_secs(2), kill)]));
//! assert!(cluster.run_until(Duration::from_secs(60), |_| created.load(Ordering::Relaxed)));
//! # Ok::<(), ottla::config::ConfigErrors>(())
//! ```

mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::node_config::NodeConfig;

pub use disk::{Crash, Fault as DiskFault, FaultKind as DiskFaultKind};
pub use machines::metadata::MetadataImage;
pub use runtime::sim::*;
pub use view::{HeldReplica, QuorumView, ReplicaView, View};

use crate::config::{self, ConfigErrors};
use crate::{Node, NodeBuilder};

/// How long whoever starts processes anew takes to do so.
const RESTART: Duration = Duration::from_millis(200);

/// A cluster's nodes in one simulated world, to which clients can be added. A process that ends by itself is started anew.
pub struct Cluster {
    pub world: Simulation,
    members: Vec<Member>,
    build: Build,
}

type Build = Arc<dyn Fn(NodeBuilder) -> NodeBuilder + Send + Sync>;

struct Member {
    id: i32,
    index: NodeIndex,
    config: Arc<Mutex<NodeConfig>>,
    process: Arc<Process>,
}

/// What is known of a node's process from outside its life.
#[derive(Default)]
struct Process {
    ended: AtomicBool,
    node: Mutex<Option<Arc<Node>>>,
}

impl Process {
    fn node(&self) -> MutexGuard<'_, Option<Arc<Node>>> {
        locked(&self.node)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// The nodes of a cluster's TOML file, booted. Each is reached by others under the host that its listener names, and has a disk of
    /// its own, so that all may have the same `data`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(options: SimOptions, file: &str) -> Result<Cluster, ConfigErrors> {
        let configs = config::from_cluster("cluster.toml", file, None, &[], "machine")?;
        Ok(Cluster::of(options, configs, Arc::new(|builder| builder)))
    }

    /// The same, but the voters are kept in the metadata log (KIP-853): the first of the controllers is the only one at first, and the
    /// others join by themselves, also after they were removed.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn with_joining_voters(options: SimOptions, file: &str) -> Result<Cluster, ConfigErrors> {
        let mut configs = config::from_cluster("cluster.toml", file, None, &[], "machine")?;
        let first = configs.iter().find(|config| config.roles.controller).map(|one| one.node_id);
        for config in &mut configs {
            let mut voters = std::mem::take(&mut config.voters);
            config.quorum.auto_join = config.roles.controller && Some(config.node_id) != first;
            // By itself it starts as the only voter where it knows of no others.
            voters.retain(|voter| Some(config.node_id) != first || Some(voter.id) == first);
            config.bootstrap_servers = voters.into_iter().map(|voter| voter.address).collect();
        }
        Ok(Cluster::of(options, configs, Arc::new(|builder| builder)))
    }

    /// The nodes of a cluster's TOML file, each built as the function says: with durable actors, for instance.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn built(
        options: SimOptions,
        file: &str,
        build: impl Fn(NodeBuilder) -> NodeBuilder + Send + Sync + 'static,
    ) -> Result<Cluster, ConfigErrors> {
        let configs = config::from_cluster("cluster.toml", file, None, &[], "machine")?;
        Ok(Cluster::of(options, configs, Arc::new(build)))
    }

    fn of(options: SimOptions, configs: Vec<NodeConfig>, build: Build) -> Cluster {
        let mut cluster = Cluster { world: Simulation::new(options), members: Vec::new(), build };
        for config in configs {
            let host = config.listeners.first().map(|listener| listener.address.host.clone());
            cluster.add(&host.unwrap_or_default(), config);
        }
        cluster
    }

    fn add(&mut self, host: &str, config: NodeConfig) {
        let process = Arc::<Process>::default();
        let (id, kept) = (config.node_id, process.clone());
        let config = Arc::new(Mutex::new(config));
        let (known, build) = (config.clone(), self.build.clone());
        let index = self.world.add_node(host, move |life| {
            let builder = Node::builder_in(life.world.clone());
            serve(life, build(builder.node_config(locked(&known).clone())), kept.clone())
        });
        self.members.push(Member { id: id.into(), index, config, process });
    }

    /// Configures a node otherwise from its next start on: with other ports, for instance.
    pub fn configure(&mut self, id: i32, change: impl FnOnce(&mut NodeConfig)) {
        let found = self.members.iter().find(|member| member.id == id);
        if let Some(member) = found {
            change(&mut locked(&member.config));
        }
    }

    /// The nodes, each with its id, in the order of the file.
    pub fn members(&self) -> Vec<(i32, NodeIndex)> {
        self.members.iter().map(|member| (member.id, member.index)).collect()
    }

    /// What a node knows and holds now; none while it is down, or opens its directories.
    pub fn view(&self, id: i32) -> Option<View> {
        let member = self.members.iter().find(|member| member.id == id)?;
        let up = self.world.is_up(member.index);
        member.process.node().as_ref().filter(|_| up).cloned().map(View)
    }

    /// Runs for a millisecond.
    pub fn tick(&mut self) {
        for member in &self.members {
            if !self.world.is_up(member.index) {
                member.process.node().take();
            } else if member.process.ended.swap(false, Ordering::Relaxed) {
                let fault = SimFault::Kill { node: member.index, down: RESTART };
                self.world.inject(fault);
            }
        }
        self.world.run_for(Duration::from_millis(1));
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until the condition holds, looked at after every tick; false where it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Cluster) -> bool) -> bool {
        let end = self.world.now() + limit;
        while self.world.now() < end {
            if done(self) {
                return true;
            }
            self.tick();
        }
        done(self)
    }

    /// Ends all lives, and the run.
    pub fn finish(self) -> TraceLog {
        self.world.finish()
    }
}

/// A node's process: to its end, or until it is told to stop.
async fn serve(life: Life, builder: NodeBuilder, process: Arc<Process>) {
    match builder.launch().await.map(Arc::new) {
        Ok(node) => {
            *process.node() = Some(node.clone());
            tokio::select! {
                biased;
                exit = run(&life, &node) => life.trace.note(format_args!("ended: {exit}")),
                () = life.told_to_stop() => {
                    let exit = node.stop().await;
                    life.trace.note(format_args!("stopped: {exit:?}"));
                }
            }
            process.node().take();
        }
        Err(error) => life.trace.note(format_args!("cannot start: {error}")),
    }
    process.ended.store(true, Ordering::Relaxed);
}

async fn run(life: &Life, node: &Node) -> String {
    if let Err(error) = node.serving().await {
        return error.to_string();
    }
    life.trace.note(format_args!("serves"));
    format!("{:?}", node.ended().await)
}

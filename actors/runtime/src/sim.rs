//! A cluster under one seed: real actors on simulated clocks, networks, disks and schedules, the same in every run.
//!
//! Each node is a paused single-threaded runtime of its own, stepped in ticks of one millisecond; ending a life is
//! dropping its runtime. Clients are nodes too. What happens is noted in a trace whose hash tells two runs apart:
//! [`check_replay`] runs a scenario twice and names the first line that differs.
//!
//! ```
//! use std::time::Duration;
//! use ottla_runtime::sim::{FaultPlan, SimOptions, Simulation, check_replay};
//!
//! check_replay(7, |seed, keep_lines| {
//!     let mut cluster = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
//!     let one = cluster.add_node("one", |life| async move {
//!         life.world.sleep(Duration::from_secs(1)).await;
//!         life.trace.note(format_args!("slept"));
//!     });
//!     cluster.plan(&FaultPlan::draw(seed, &[one], Duration::from_secs(5), 3));
//!     cluster.run_for(Duration::from_secs(10));
//!     cluster.finish()
//! })?;
//! # Ok::<(), ottla_runtime::sim::Divergence>(())
//! ```

mod clock;
mod faults;
mod gate;
mod jobs;
mod life;
mod net;
mod random;
mod stream;
mod trace;

#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod net_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod trouble_tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use disk::{Crash, SimDisk, SimDiskOptions};

use crate::map::Map;
use crate::world::{BoxFuture, RandomStream, World};
use clock::Wall;
pub use faults::{FaultPlan, SimFault};
pub use gate::Schedule;
use jobs::JobTrouble;
pub use life::Life;
use life::Living;
pub use net::LinkOptions;
use net::Network;
use random::Seeds;
use trace::Trace;
pub use trace::{Divergence, NodeTrace, TraceLog, check_replay};

/// The unix time at which every run begins, milliseconds; each node's clock is off by up to [`MAX_SKEW_MS`].
pub const START_WALL_MS: i64 = 1_700_000_000_000;
const MAX_SKEW_MS: u64 = 50;

#[derive(Debug, Clone, Copy)]
pub struct SimOptions {
    pub seed: u64,
    pub schedule: Schedule,
    pub link: LinkOptions,
    pub disk_capacity_bytes: u64,
    /// Keeps the trace's lines, not only their hash.
    pub keep_lines: bool,
}

impl SimOptions {
    pub fn seed(seed: u64) -> SimOptions {
        SimOptions {
            seed,
            schedule: Schedule::Pct,
            link: LinkOptions::default(),
            disk_capacity_bytes: SimDiskOptions::default().capacity_bytes,
            keep_lines: false,
        }
    }
}

/// Names a node of one simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIndex(pub usize);

type Boot = Arc<dyn Fn(Life) -> BoxFuture<'static, ()>>;

struct Node {
    name: String,
    boot: Boot,
    disk: SimDisk,
    wall: Wall,
    lives: u64,
    living: Option<Living>,
    /// Not run before this time.
    paused_until_ms: u64,
    trouble: Arc<JobTrouble>,
}

/// A cluster under one seed.
pub struct Simulation {
    options: SimOptions,
    seeds: Seeds,
    trace: Trace,
    network: Arc<Network>,
    nodes: Vec<Node>,
    now_ms: u64,
    /// Which nodes something has reached, and which ran, in the last tick.
    touched: Vec<bool>,
    ran: Vec<bool>,
    turns: Vec<usize>,
    plan: Map<(u64, u64), SimFault>,
    planned: u64,
    order: RandomStream,
    crashes: RandomStream,
    panics: Vec<String>,
}

impl Simulation {
    pub fn new(options: SimOptions) -> Simulation {
        let _ = crate::panics::watched();
        let seeds = Seeds::new(options.seed);
        let trace = Trace::new(options.keep_lines);
        Simulation {
            network: Arc::new(Network::new(options.link, seeds.stream("network"), trace.clone())),
            order: seeds.stream("order of nodes"),
            crashes: seeds.stream("crashes"),
            seeds,
            trace,
            nodes: Vec::new(),
            now_ms: 0,
            touched: Vec::new(),
            ran: Vec::new(),
            turns: Vec::new(),
            plan: Map::new(),
            planned: 0,
            panics: Vec::new(),
            options,
        }
    }

    /// Adds a node and boots it. Others reach it by its name. `boot` is called at each of its lives, with the same disk,
    /// and its future runs on the node until it ends or the life does.
    pub fn add_node<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &str,
        boot: impl Fn(Life) -> F + 'static,
    ) -> NodeIndex {
        let index = NodeIndex(self.nodes.len());
        let mut seeds = self.seeds.stream(&format!("node {name}"));
        let skew = seeds.below(2 * MAX_SKEW_MS + 1) as i64 - MAX_SKEW_MS as i64;
        let disk = SimDisk::new(SimDiskOptions {
            seed: seeds.next_u64(),
            capacity_bytes: self.options.disk_capacity_bytes,
            ..SimDiskOptions::default()
        });
        self.network.add_node(name);
        self.nodes.push(Node {
            name: name.to_owned(),
            boot: Arc::new(move |life| Box::pin(boot(life))),
            disk,
            wall: Wall::new(START_WALL_MS + skew),
            lives: 0,
            living: None,
            paused_until_ms: 0,
            trouble: Arc::default(),
        });
        self.boot(index);
        index
    }

    /// Since the run began.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    pub fn is_up(&self, node: NodeIndex) -> bool {
        self.nodes[node.0].living.is_some()
    }

    /// A node's world while it lives: to look at its actors, or to spawn something beside them.
    pub fn world(&self, node: NodeIndex) -> Option<&World> {
        self.nodes[node.0].living.as_ref().map(Living::world)
    }

    /// Whether a node did anything in the last tick: where it did not, nothing in it has changed.
    pub fn has_run(&self, node: NodeIndex) -> bool {
        self.ran.get(node.0).copied().unwrap_or_default()
    }

    pub fn disk(&self, node: NodeIndex) -> &SimDisk {
        &self.nodes[node.0].disk
    }

    /// The trace's hash so far.
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Adds faults, at their times from now on.
    pub fn plan(&mut self, plan: &FaultPlan) {
        for (after, fault) in &plan.0 {
            self.schedule(*after, fault.clone());
        }
    }

    fn schedule(&mut self, after: Duration, fault: SimFault) {
        self.planned += 1;
        self.plan.insert((self.now_ms + after.as_millis() as u64, self.planned), fault);
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now_ms + time.as_millis() as u64;
        while self.now_ms < end {
            self.tick();
        }
    }

    /// Runs until the condition holds, looked at after every tick; false where it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.now_ms + limit.as_millis() as u64;
        while self.now_ms < end {
            if done() {
                return true;
            }
            self.tick();
        }
        done()
    }

    /// What panicked in its nodes since the last call, with its place: bugs, also where a supervisor mended them. Panics that a plan
    /// asked for are left out, and those of jobs that were cut off as their node died.
    pub fn take_panics(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.panics);
        all.extend(crate::panics::watched());
        all.retain(|panic| !panic.ends_with(gate::PLANNED));
        all
    }

    /// Ends all lives, and the run.
    pub fn finish(mut self) -> TraceLog {
        for index in 0..self.nodes.len() {
            self.end_life(NodeIndex(index), Crash::Kill);
        }
        self.trace.log()
    }

    fn tick(&mut self) {
        while let Some(entry) = self.plan.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let fault = entry.remove();
            self.inject(fault);
        }
        self.trace.set_now(self.now_ms);
        self.network.deliver(self.now_ms, &mut self.touched);
        self.ran.clear();
        self.ran.resize(self.nodes.len(), false);
        self.turns.clear();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(living) = &mut node.living else { continue };
            if self.touched[index] {
                living.touch();
            }
            if node.paused_until_ms > self.now_ms {
                continue;
            }
            if living.is_due(self.now_ms) {
                self.turns.push(index);
            } else {
                living.rest_until(self.now_ms + 1);
            }
        }
        for i in (1..self.turns.len()).rev() {
            self.turns.swap(i, self.order.below(i as u64 + 1) as usize);
        }
        for index in &self.turns {
            let index = *index;
            let node = &mut self.nodes[index];
            let Some(living) = &mut node.living else { continue };
            node.disk.set_now_ms(node.wall.at(self.now_ms));
            living.run_until(self.now_ms + 1);
            self.ran[index] = true;
        }
        self.now_ms += 1;
    }

    /// Does now what a plan would do at its time.
    pub fn inject(&mut self, fault: SimFault) {
        self.trace.set_now(self.now_ms);
        self.trace.note("", format_args!("{fault:?}"));
        match fault {
            SimFault::Boot { node } => self.boot(node),
            SimFault::Kill { node, down } => self.crash(node, Crash::Kill, down),
            SimFault::PowerLoss { node, down } => self.crash(node, Crash::PowerLoss, down),
            SimFault::Stop { node } => {
                if let Some(living) = &self.nodes[node.0].living {
                    living.tell_to_stop();
                }
            }
            SimFault::Pause { node, lasting } => {
                let until = self.now_ms + lasting.as_millis() as u64;
                let paused = &mut self.nodes[node.0].paused_until_ms;
                *paused = until.max(*paused);
            }
            SimFault::Partition { from, to, lasting } => {
                self.network.block(from.0, to.0);
                self.schedule(lasting, SimFault::Heal { from, to });
            }
            SimFault::Heal { from, to } => self.network.unblock(from.0, to.0),
            SimFault::Reset { one, other } => self.network.reset(one.0, other.0),
            SimFault::SlowLink { one, other, by, lasting } => {
                self.network.slow_down(one.0, other.0, by);
                if !by.is_zero() {
                    let none = Duration::ZERO;
                    self.schedule(lasting, SimFault::SlowLink { one, other, by: none, lasting });
                }
            }
            SimFault::Stale { from, to, late, breaks } => {
                self.network.hold_up(from.0, to.0, late);
                if breaks {
                    self.schedule(late / 2, SimFault::Break { from, to });
                }
            }
            SimFault::Break { from, to } => self.network.break_late(from.0, to.0),
            SimFault::SlowDisk { node, by, lasting } => {
                self.nodes[node.0].trouble.slow_down(by);
                if !by.is_zero() {
                    let none = Duration::ZERO;
                    self.schedule(lasting, SimFault::SlowDisk { node, by: none, lasting });
                }
            }
            SimFault::HangDisk { node, path_contains, lasting } => {
                let hangs = !lasting.is_zero();
                self.nodes[node.0].trouble.hang(hangs.then(|| path_contains.clone()));
                if hangs {
                    let fault = SimFault::HangDisk { node, path_contains, lasting: Duration::ZERO };
                    self.schedule(lasting, fault);
                }
            }
            SimFault::Panic { node, path_contains, skip } => {
                if let Some(living) = &self.nodes[node.0].living {
                    living.gate().plan_panic(path_contains, skip);
                }
            }
            SimFault::WallJump { node, by_ms } => self.nodes[node.0].wall.jump(by_ms),
            SimFault::Disk { node, fault } => self.nodes[node.0].disk.plan(fault),
            SimFault::DiskCapacity { node, bytes } => self.nodes[node.0].disk.set_capacity(bytes),
        }
    }

    fn crash(&mut self, node: NodeIndex, how: Crash, down: Duration) {
        if self.end_life(node, how) {
            self.schedule(down, SimFault::Boot { node });
        }
    }

    /// The order is the point: what a dying node's destructors do must reach nothing any more.
    fn end_life(&mut self, index: NodeIndex, how: Crash) -> bool {
        let node = &mut self.nodes[index.0];
        let Some(living) = node.living.take() else { return false };
        self.panics.extend(crate::panics::watched());
        living.cut_jobs(&node.disk, &mut self.crashes);
        // A job dies with its node, however it takes the failing disk.
        let _ = crate::panics::watched();
        node.disk.crash(how);
        self.network.end_life(index.0, how);
        living.end();
        true
    }

    fn boot(&mut self, index: NodeIndex) {
        let node = &mut self.nodes[index.0];
        if node.living.is_some() {
            return;
        }
        node.lives += 1;
        node.paused_until_ms = 0;
        self.network.begin_life(index.0);
        let seeds = self.seeds.below(&format!("node {} life {}", node.name, node.lives));
        let birth = life::Birth {
            name: &node.name,
            number: node.lives,
            seeds,
            schedule: self.options.schedule,
            trace: &self.trace,
            network: &self.network,
            index: index.0,
            disk: &node.disk,
            wall: &node.wall,
            trouble: &node.trouble,
            now_ms: self.now_ms,
        };
        node.living = Some(Living::begin(birth, &node.boot));
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.end_life(NodeIndex(index), Crash::Kill);
        }
    }
}

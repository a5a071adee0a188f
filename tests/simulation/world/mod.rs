//! A cluster through faults of all kinds, with producers, readers and admins; what must hold is looked at after every tick, and at the
//! end everything that anybody was told.

mod admins;
mod clients;
mod ending;
mod group;
mod reader;
pub mod seeds;
mod story;
#[cfg(test)]
mod tests;
mod trouble;
mod wander;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla::sim::{Cluster, FaultPlan, NodeIndex, SimFault, SimOptions, TraceLog};

use crate::chance::stream;
use story::Story;
pub use story::Wrong;
use trouble::Permits;
use watch::Watch;

/// How long things happen; then everything must come to be well.
pub const TROUBLE: Duration = Duration::from_secs(30);
pub const RECOVERY: Duration = Duration::from_secs(60);
/// What is committed at the end is known to all replicas within this time.
const QUIET: Duration = Duration::from_secs(5);
const RESTART: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(2);
const TOPIC: &str = "replicated";
const PARTITIONS: i32 = 2;
const REPLICAS: i16 = 3;

/// What a seed makes of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// Three vote and are brokers; a fourth is a broker only.
    nodes: usize,
    /// Records are synced before they are acknowledged.
    synced: bool,
    /// Snapshots of the metadata log are made, fetched and deleted within the run.
    snapshots: bool,
    fetchers: u64,
    /// Elections of the quorum's leader come soon, and often.
    hasty: bool,
    /// The voters are kept in the metadata log, and come and go.
    dynamic: bool,
    /// Nobody is taken for dead before a time is over: elections are by chance, and two may stand at once.
    patient: bool,
    /// Each node has a second log directory, which one of them may lose.
    directories: bool,
    /// Nodes come back at other ports: brokers, and where the voters are kept in the log also a controller; the voters stay the same, then.
    wanders: bool,
    /// Replication is throttled now and then.
    throttled: bool,
}

impl Shape {
    fn of(seed: u64) -> Shape {
        let mut random = stream(seed, 20);
        Shape {
            nodes: 3 + random.below(2) as usize,
            synced: random.below(2) == 0,
            snapshots: random.below(2) == 0,
            fetchers: 1 + random.below(2),
            dynamic: random.below(3) == 0,
            hasty: random.below(2) == 0,
            patient: random.below(3) == 0,
            directories: random.below(2) == 0,
            wanders: random.below(3) == 0,
            throttled: random.below(2) == 0,
        }
    }

    fn names(self) -> Vec<String> {
        (1..=self.nodes).map(|id| format!("n{id}")).collect()
    }

    /// The ids of those that vote; a fourth node is a broker only, where the voters are fixed.
    fn controllers(self) -> Vec<i32> {
        let count = if self.dynamic { self.nodes } else { 3 };
        (1..=count as i32).collect()
    }

    /// Segments roll, brokers are fenced and leave the ISR within the run; a fetch moves little at a time.
    fn file(self) -> String {
        let mut settings = format!(
            "\"broker.session.timeout.ms\" = 1500\n\"broker.heartbeat.interval.ms\" = 200\n\
             \"replica.lag.time.max.ms\" = 1500\n\"replica.fetch.backoff.ms\" = 100\n\
             \"replica.fetch.max.bytes\" = 700\n\"replica.fetch.response.max.bytes\" = 1000\n\
             \"num.replica.fetchers\" = {}\n\"auto.create.topics.enable\" = false\n\"log.segment.bytes\" = 1048576\n\
             \"min.insync.replicas\" = 2\n\"offsets.topic.num.partitions\" = 2\n\
             \"group.min.session.timeout.ms\" = 1000\n\"group.initial.rebalance.delay.ms\" = 100\n",
            self.fetchers
        );
        if self.synced {
            settings += "\"log.flush.interval.messages\" = 1\n";
        }
        if self.patient {
            settings += "\"ottla.failover.fast\" = false\n";
        }
        if self.hasty {
            settings += "\"controller.quorum.election.timeout.ms\" = 200\n\
                \"controller.quorum.election.backoff.max.ms\" = 200\n\
                \"controller.quorum.fetch.timeout.ms\" = 600\n";
        }
        if self.snapshots {
            settings += "\"metadata.log.max.record.bytes.between.snapshots\" = 3000\n\
                \"metadata.max.retention.bytes\" = 4000\n\"internal.metadata.log.segment.bytes\" = 2000\n\
                \"internal.metadata.delete.delay.millis\" = 1000\n";
        }
        let nodes = self.names().into_iter().enumerate().map(|(index, name)| {
            let id = index + 1;
            let role = match index {
                3 if !self.dynamic => "roles = [\"broker\"]".to_owned(),
                _ => format!("controller = \"{name}:9093\""),
            };
            let data = if self.directories { "[\"/data\", \"/more\"]" } else { "\"/data\"" };
            format!("[[node]]\nid = {id}\nlisten = \"{name}:9092\"\ndata = {data}\n{role}\n")
        });
        format!("[settings]\n{settings}{}", nodes.collect::<String>())
    }
}

/// What a run came to.
pub struct Judged {
    pub log: TraceLog,
    /// What was violated, and when.
    pub wrong: Vec<Wrong>,
    pub acknowledged: usize,
    pub created: usize,
    /// How many replicas the ISRs lacked at the most.
    pub lacked: usize,
    pub took: Duration,
}

/// The faults that a seed draws.
pub fn plan(seed: u64) -> FaultPlan {
    trouble::draw(seed, Shape::of(seed))
}

pub fn run(seed: u64, plan: &FaultPlan, keep_lines: bool) -> Judged {
    let shape = Shape::of(seed);
    let options = SimOptions { keep_lines, ..SimOptions::seed(seed) };
    let cluster = match shape.dynamic {
        true => Cluster::with_joining_voters(options, &shape.file()),
        false => Cluster::new(options, &shape.file()),
    };
    let mut cluster = cluster.expect("a cluster's file");
    let story = Arc::new(Story::default());
    let told = story.clone();
    cluster.world.add_node("client", move |life| clients::run(life, seed, shape, told.clone()));
    let mut watch = Watch::new(story.clone());
    let mut permits = Permits::new(shape);
    let mut plan = plan.0.iter().peekable();
    let mut hurt = BTreeSet::new();
    while cluster.world.now() < TROUBLE + RECOVERY && !story.is_done() && !story.is_wrong() {
        let now = cluster.world.now();
        while let Some((_, fault)) = plan.next_if(|(at, _)| *at <= now) {
            let fault = permits.allow(fault, now, &watch);
            if shape.wanders {
                wander::with(&fault, shape, &mut cluster, &story);
            }
            if let SimFault::Disk { node, .. } = fault {
                hurt.insert(node);
            }
            cluster.world.inject(fault);
        }
        if now == TROUBLE {
            heal(&mut cluster, shape, &hurt);
            story.calm();
        }
        cluster.tick();
        watch.look(&mut cluster);
    }
    if story.is_done() {
        come_to_rest(&mut cluster, &mut watch, &story);
    }
    let took = cluster.world.now();
    let log = cluster.finish();
    if !story.is_done() && !story.is_wrong() {
        let (waits_for, partitions) = (story.waits_for(), watch.partitions());
        story.wrong("does not come to be well", format_args!("{waits_for}; {partitions:?}"));
    }
    let (wrong, acknowledged, created, lacked) = story.judge();
    Judged { log, wrong, acknowledged, created, lacked, took }
}

/// A directory that failed alone is used again only by another process.
fn heal(cluster: &mut Cluster, shape: Shape, hurt: &BTreeSet<NodeIndex>) {
    for (_, node) in cluster.members() {
        cluster.world.disk(node).forget_plan();
        cluster.world.inject(SimFault::DiskCapacity { node, bytes: 1 << 40 });
        if shape.directories && hurt.contains(&node) {
            cluster.world.inject(SimFault::Kill { node, down: RESTART });
        }
    }
}

/// When nobody writes any more each replica in sync comes to hold and to show what its leader does.
fn come_to_rest(cluster: &mut Cluster, watch: &mut Watch, story: &Story) {
    let end = cluster.world.now() + QUIET;
    let mut restless = watch.replicas();
    while !restless.is_empty() && !story.is_wrong() {
        restless.retain(|replica| !watch.is_level(cluster, *replica));
        let Some(replica) = restless.first() else { return };
        if cluster.world.now() >= end {
            let what = watch.levels(cluster, *replica);
            return story.wrong("PA-6", format_args!("{} replicas lag: {what}", restless.len()));
        }
        cluster.tick();
        watch.look(cluster);
    }
}

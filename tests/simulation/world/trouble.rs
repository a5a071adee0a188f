//! What befalls a cluster: drawn from the seed before its run.

use std::time::Duration;

use ottla::runtime::RandomStream;
use ottla::sim::{DiskFault, DiskFaultKind, FaultPlan, NodeIndex, SimFault};

use super::watch::Watch;
use super::{Shape, TROUBLE};
use crate::chance::stream;

/// More panics than this within a minute, and an actor stays down until its node is started anew.
const PANICS: usize = 3;
const FIRST: Duration = Duration::from_secs(3);
/// Who was down is out of the ISR by then, or was in it all the time.
const REGISTERS: Duration = Duration::from_secs(3);

pub(super) fn draw(seed: u64, shape: Shape) -> FaultPlan {
    let mut random = stream(seed, 11);
    let mut plan = Vec::new();
    let mut panics = 0;
    let mut at = FIRST;
    // A third of the runs have long waits between faults, in which all become well; in another one fault follows another.
    let pause = [800, 2500, 5000][random.below(3) as usize];
    while at < TROUBLE {
        let mut faults = one(&mut random, shape);
        if matches!(faults[0], SimFault::Panic { .. }) {
            panics += 1;
            if panics > PANICS {
                faults.clear();
            }
        }
        plan.extend(faults.into_iter().map(|fault| (at, fault)));
        at += Duration::from_millis(200 + random.below(pause));
    }
    if shape.directories {
        plan.push(loss(seed, shape));
        plan.sort_by_key(|(at, _)| *at);
    }
    FaultPlan(plan)
}

/// A node loses its second directory, until all is healed; the first serves on.
fn loss(seed: u64, shape: Shape) -> (Duration, SimFault) {
    let mut random = stream(seed, 12);
    let node = NodeIndex(random.below(shape.nodes as u64) as usize);
    let (path_contains, skip) = ("/more".to_owned(), random.below(50));
    let fault = DiskFault { kind: DiskFaultKind::Gone, path_contains, skip, times: u64::MAX };
    let within = (TROUBLE - FIRST).as_millis() as u64;
    (FIRST + Duration::from_millis(random.below(within)), SimFault::Disk { node, fault })
}

fn one(random: &mut RandomStream, shape: Shape) -> Vec<SimFault> {
    let all = || (0..shape.nodes).map(NodeIndex);
    let node = NodeIndex(random.below(shape.nodes as u64) as usize);
    // The clients' node is behind the others.
    let other =
        NodeIndex((node.0 + 1 + random.below(shape.nodes as u64) as usize) % (shape.nodes + 1));
    let lasting = Duration::from_millis(1 + random.below(5000));
    let down = Duration::from_millis(1 + random.below(4000));
    let both = |other| {
        [
            SimFault::Partition { from: node, to: other, lasting },
            SimFault::Partition { from: other, to: node, lasting },
        ]
    };
    vec![match random.below(27) {
        0..=3 => SimFault::Kill { node, down },
        4..=5 => SimFault::PowerLoss { node, down },
        6 => SimFault::Stop { node },
        7 => SimFault::Pause { node, lasting },
        8 => SimFault::Reset { one: node, other },
        9 | 10 => SimFault::Partition { from: node, to: other, lasting },
        11 => return both(other).to_vec(),
        12 => return all().filter(|other| *other != node).flat_map(both).collect(),
        13 => {
            let by = Duration::from_millis(1 + random.below(400));
            SimFault::SlowLink { one: node, other, by, lasting }
        }
        14 | 15 => {
            let breaks = random.below(2) == 0;
            let (from, to) = if random.below(2) == 0 { (node, other) } else { (other, node) };
            SimFault::Stale { from, to, late: lasting, breaks }
        }
        16 => {
            let by = Duration::from_millis(1 + random.below(600));
            SimFault::SlowDisk { node, by, lasting }
        }
        17 => SimFault::WallJump { node, by_ms: random.below(20_000) as i64 - 10_000 },
        18 | 19 => panic(random, node),
        20 => disk(random, node),
        21 => {
            let bytes = if random.below(2) == 0 { 0 } else { 1 << 40 };
            SimFault::DiskCapacity { node, bytes }
        }
        22 => return all().map(|node| SimFault::Kill { node, down }).collect(),
        23 => return all().map(|node| SimFault::PowerLoss { node, down }).collect(),
        24 => {
            return all()
                .filter(|other| *other != node)
                .map(|node| SimFault::PowerLoss { node, down })
                .collect();
        }
        _ => return rivals(random, node, lasting),
    }]
}

/// Two that vote hear nothing of each other, and both want the vote of a third, which begins anew and is slow to answer.
fn rivals(random: &mut RandomStream, third: NodeIndex, lasting: Duration) -> Vec<SimFault> {
    let third = NodeIndex(third.0 % 3);
    let (one, other) = (NodeIndex((third.0 + 1) % 3), NodeIndex((third.0 + 2) % 3));
    let lasting = lasting + Duration::from_secs(3);
    let by = Duration::from_millis(1 + random.below(400));
    let down = Duration::from_millis(1 + random.below(1000));
    vec![
        SimFault::Partition { from: one, to: other, lasting },
        SimFault::Partition { from: other, to: one, lasting },
        SimFault::SlowLink { one: third, other: one, by, lasting },
        SimFault::SlowLink { one: third, other, by, lasting },
        SimFault::Kill { node: third, down },
    ]
}

fn panic(random: &mut RandomStream, node: NodeIndex) -> SimFault {
    let paths = [
        "/network/",
        "/quorum/",
        "/quorum/raft",
        "controller",
        "metadata-publisher",
        "/partitions",
        "/partitions/replicated",
        "/replication/",
    ];
    let path_contains = paths[random.below(paths.len() as u64) as usize].to_owned();
    SimFault::Panic { node, path_contains, skip: random.below(20) }
}

fn disk(random: &mut RandomStream, node: NodeIndex) -> SimFault {
    let kinds = [DiskFaultKind::WriteError, DiskFaultKind::SyncError, DiskFaultKind::NoRoom];
    let places = ["", "/replicated-", "__cluster_metadata"];
    let kind = kinds[random.below(kinds.len() as u64) as usize];
    let path_contains = places[random.below(places.len() as u64) as usize].to_owned();
    let fault = DiskFault { kind, path_contains, skip: random.below(20), times: 1 };
    SimFault::Disk { node, fault }
}

/// Where records are not synced before they are acknowledged, a machine that loses its power loses some. A cluster bears that of one
/// machine while all replicas are in sync, and until they are again no process may die: the controller trusts no replica that came back
/// uncleanly, and where none is left the last leader leads (KIP-966), which may be the one that lost records. Kafka's does the same.
pub(super) struct Permits {
    synced: bool,
    /// Until when it is not to be believed that all are in sync.
    recovering_until: Option<Duration>,
}

impl Permits {
    pub(super) fn new(shape: Shape) -> Permits {
        Permits { synced: shape.synced, recovering_until: None }
    }

    /// The fault, or a lesser one where it would be too much.
    pub(super) fn allow(&mut self, fault: &SimFault, now: Duration, watch: &Watch) -> SimFault {
        if self.synced {
            return fault.clone();
        }
        let in_sync = watch.all_in_sync();
        self.recovering_until = self.recovering_until.filter(|until| !in_sync || now < *until);
        let recovering = self.recovering_until.is_some();
        match fault {
            SimFault::PowerLoss { node, down } if !in_sync || recovering => {
                self.allow(&SimFault::Kill { node: *node, down: *down }, now, watch)
            }
            SimFault::PowerLoss { down, .. } => {
                self.recovering_until = Some(now + *down + REGISTERS);
                fault.clone()
            }
            SimFault::Disk { fault: DiskFault { kind: DiskFaultKind::Gone, .. }, .. }
                if !recovering =>
            {
                fault.clone()
            }
            // Its process may end by that at any time.
            SimFault::Disk { node, .. } => pause(*node),
            SimFault::Kill { node, .. }
            | SimFault::Stop { node }
            | SimFault::Panic { node, .. }
                if recovering =>
            {
                pause(*node)
            }
            _ => fault.clone(),
        }
    }
}

fn pause(node: NodeIndex) -> SimFault {
    SimFault::Pause { node, lasting: Duration::from_millis(500) }
}

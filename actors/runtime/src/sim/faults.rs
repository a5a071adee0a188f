//! Faults as data, drawn before a run: a plan can be printed, and made smaller.

use std::time::Duration;

use disk::{Fault, FaultKind};

use super::NodeIndex;
use super::random::Seeds;
use crate::world::RandomStream;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimFault {
    /// The process dies, and boots again after a time.
    Kill {
        node: NodeIndex,
        down: Duration,
    },
    /// The machine dies: unsynced bytes are torn or lost, peers hear nothing; it boots again after a time.
    PowerLoss {
        node: NodeIndex,
        down: Duration,
    },
    /// A node that is down boots.
    Boot {
        node: NodeIndex,
    },
    /// SIGTERM: [`Life::told_to_stop`](super::Life::told_to_stop) ends; whether the process does is its own affair.
    Stop {
        node: NodeIndex,
    },
    /// SIGSTOP: time passes for it, but it does nothing.
    Pause {
        node: NodeIndex,
        lasting: Duration,
    },
    /// What one sends to the other waits. The other way is another fault.
    Partition {
        from: NodeIndex,
        to: NodeIndex,
        lasting: Duration,
    },
    Heal {
        from: NodeIndex,
        to: NodeIndex,
    },
    /// The connections between two nodes break.
    Reset {
        one: NodeIndex,
        other: NodeIndex,
    },
    /// Each segment between two nodes, either way, takes longer by up to this; those of one connection keep their order.
    SlowLink {
        one: NodeIndex,
        other: NodeIndex,
        by: Duration,
        lasting: Duration,
    },
    /// What one sends to the other on the connections that there are arrives only after so long, behind what newer connections
    /// carry. With `breaks`, the sender loses those connections half-way, and sends again what is yet to arrive.
    Stale {
        from: NodeIndex,
        to: NodeIndex,
        late: Duration,
        breaks: bool,
    },
    /// The sender's ends of what is [`Stale`](SimFault::Stale) break; the receiver hears nothing of it.
    Break {
        from: NodeIndex,
        to: NodeIndex,
    },
    /// Each blocking job takes longer by up to this.
    SlowDisk {
        node: NodeIndex,
        by: Duration,
        lasting: Duration,
    },
    /// Blocking jobs of queues whose name contains this, which is the path of a log directory, do not end until it is over.
    HangDisk {
        node: NodeIndex,
        path_contains: String,
        lasting: Duration,
    },
    /// An actor whose path contains this panics, handling a message or in the middle of it where it sends one, after so
    /// many more such steps. Not under [`Schedule::Fifo`](super::Schedule::Fifo), which has no gate to do it.
    Panic {
        node: NodeIndex,
        path_contains: String,
        skip: u64,
    },
    WallJump {
        node: NodeIndex,
        by_ms: i64,
    },
    Disk {
        node: NodeIndex,
        fault: Fault,
    },
    DiskCapacity {
        node: NodeIndex,
        bytes: u64,
    },
}

/// Faults and when they happen, counted from when the plan is given to the simulation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan(pub Vec<(Duration, SimFault)>);

impl FaultPlan {
    /// So many faults of all kinds but failing disks, which not every scenario survives, spread over a time.
    pub fn draw(seed: u64, nodes: &[NodeIndex], within: Duration, count: usize) -> FaultPlan {
        let mut random = Seeds::new(seed).stream("faults");
        let mut plan: Vec<_> = (0..count)
            .filter_map(|_| {
                let at = Duration::from_millis(random.below(within.as_millis() as u64));
                Some((at, draw_one(&mut random, nodes)?))
            })
            .collect();
        plan.sort_by_key(|(at, _)| *at);
        FaultPlan(plan)
    }

    /// Adds panics of actors whose path contains this, spread over a time.
    pub fn with_panics(
        mut self,
        seed: u64,
        nodes: &[NodeIndex],
        path_contains: &str,
        within: Duration,
        count: usize,
    ) -> FaultPlan {
        let mut random = Seeds::new(seed).stream("panics");
        for _ in 0..count {
            let Some(node) = pick(&mut random, nodes) else { break };
            let at = Duration::from_millis(random.below(within.as_millis() as u64));
            let skip = random.below(20);
            let path_contains = path_contains.to_owned();
            self.0.push((at, SimFault::Panic { node, path_contains, skip }));
        }
        self
    }

    /// Adds disk faults of one kind: each on one node, after a drawn number of operations.
    pub fn with_disk_faults(
        mut self,
        seed: u64,
        nodes: &[NodeIndex],
        kind: FaultKind,
        count: usize,
    ) -> FaultPlan {
        let mut random = Seeds::new(seed).stream("disk faults");
        for _ in 0..count {
            let Some(node) = pick(&mut random, nodes) else { break };
            let skip = random.below(200);
            let fault = Fault { kind, path_contains: String::new(), skip, times: 1 };
            self.0.push((Duration::ZERO, SimFault::Disk { node, fault }));
        }
        self
    }
}

impl FaultPlan {
    /// The smallest plan found that still `fails`, by leaving out ever smaller parts of this one, which does.
    #[must_use]
    pub fn shrink(&self, mut fails: impl FnMut(&FaultPlan) -> bool) -> FaultPlan {
        let mut kept = self.0.clone();
        let mut part = kept.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < kept.len() {
                let mut fewer = kept.clone();
                fewer.drain(at..(at + part).min(kept.len()));
                let fewer = FaultPlan(fewer);
                if fails(&fewer) {
                    kept = fewer.0;
                } else {
                    at += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
        FaultPlan(kept)
    }
}

fn pick(random: &mut RandomStream, nodes: &[NodeIndex]) -> Option<NodeIndex> {
    nodes.get(random.below(nodes.len() as u64) as usize).copied()
}

fn draw_one(random: &mut RandomStream, nodes: &[NodeIndex]) -> Option<SimFault> {
    let node = pick(random, nodes)?;
    let other = pick(random, nodes)?;
    let lasting = Duration::from_millis(1 + random.below(2000));
    let by = Duration::from_millis(1 + random.below(300));
    Some(match random.below(10) {
        0 => SimFault::Kill { node, down: lasting },
        1 => SimFault::PowerLoss { node, down: lasting },
        2 => SimFault::Stop { node },
        3 => SimFault::Pause { node, lasting },
        4 => SimFault::Partition { from: node, to: other, lasting },
        5 => SimFault::Reset { one: node, other },
        6 => SimFault::SlowLink { one: node, other, by, lasting },
        7 => SimFault::Stale { from: node, to: other, late: lasting, breaks: random.below(2) == 0 },
        8 => SimFault::SlowDisk { node, by, lasting },
        _ => SimFault::WallJump { node, by_ms: random.below(10_000) as i64 - 5_000 },
    })
}

//! What befalls the broker: drawn before a run, so that it can be printed.

use std::time::Duration;

use disk::{Fault, FaultKind};
use ottla::runtime::RandomStream;
use ottla::runtime::sim::{FaultPlan, NodeIndex, SimFault};

use crate::chance::stream;

/// More panics than this within a minute, and a partition stays offline until its node is started anew.
const PANICS: u64 = 3;

pub fn draw(seed: u64, broker: NodeIndex, client: NodeIndex, within: Duration) -> FaultPlan {
    let mut random = stream(seed, 1);
    let mut plan = Vec::new();
    let at = |random: &mut RandomStream| {
        Duration::from_millis(500 + random.below(within.as_millis() as u64 - 500))
    };
    for _ in 0..2 + random.below(6) {
        plan.push((at(&mut random), crash_or_wire(&mut random, broker, client)));
    }
    for _ in 0..random.below(PANICS + 1) {
        let path_contains = match random.below(6) {
            0 => "/network/",
            1 => "/quorum/",
            2 => "metadata-publisher",
            3 => "/partitions",
            _ => "/partitions/",
        };
        let skip = random.below(20);
        let path_contains = path_contains.to_owned();
        plan.push((at(&mut random), SimFault::Panic { node: broker, path_contains, skip }));
    }
    for _ in 0..random.below(2) {
        let path_contains = ["", "/t0-", "__cluster_metadata"][random.below(3) as usize].to_owned();
        let kind = [FaultKind::WriteError, FaultKind::SyncError][random.below(2) as usize];
        let fault = Fault { kind, path_contains, skip: random.below(10), times: 1 };
        plan.push((at(&mut random), SimFault::Disk { node: broker, fault }));
    }
    plan.sort_by_key(|(at, _)| *at);
    FaultPlan(plan)
}

fn crash_or_wire(random: &mut RandomStream, broker: NodeIndex, client: NodeIndex) -> SimFault {
    let short = Duration::from_millis(1 + random.below(800));
    let lasting = Duration::from_millis(1 + random.below(3000));
    match random.below(9) {
        0..=2 => SimFault::Kill { node: broker, down: short },
        3..=4 => SimFault::PowerLoss { node: broker, down: short },
        5 => SimFault::Pause { node: broker, lasting },
        6 if random.below(2) == 0 => SimFault::Partition { from: broker, to: client, lasting },
        6 => SimFault::Partition { from: client, to: broker, lasting },
        7 => SimFault::Reset { one: broker, other: client },
        _ => SimFault::WallJump { node: broker, by_ms: random.below(20_000) as i64 - 10_000 },
    }
}

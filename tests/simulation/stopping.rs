//! A broker without any controller within reach: it ends all the same, in its time.

use std::time::Duration;

use disk::{Fault, FaultKind};
use ottla::sim::{Cluster, NodeIndex, SimFault, SimOptions};

use crate::cluster::file;

const BROKER: i32 = 4;
const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);
/// Waits no longer for a controller that does not answer.
const UNHEARD: Duration = Duration::from_secs(5);
/// `log.dir.failure.timeout.ms`
const FAILURE: Duration = Duration::from_secs(20);
/// For the rest of a stop.
const REST: Duration = Duration::from_secs(5);

/// The broker that is no controller serves, and is then cut off from all others.
fn cut_off(seed: u64) -> (Cluster, NodeIndex) {
    let settings = "[settings]\n\"log.dir.failure.timeout.ms\" = 20000\n\
        \"log.flush.offset.checkpoint.interval.ms\" = 500\n";
    let text = file().replace("[settings]\n", settings);
    let text = text.replace(
        "data = \"/data\"\nroles = [\"broker\"]",
        "data = [\"/a\", \"/b\"]\nroles = [\"broker\"]",
    );
    let mut cluster = Cluster::new(SimOptions::seed(seed), &text).expect("a cluster's file");
    let serves = |cluster: &Cluster| {
        let known = cluster.view(1).map(|view| view.metadata());
        known.is_some_and(|image| image.broker(BROKER).is_some_and(|broker| !broker.fenced))
    };
    assert!(cluster.run_until(SOON, serves), "seed {seed}: it does not serve");
    let members = cluster.members();
    let node = members.iter().find(|(id, _)| *id == BROKER).expect("there").1;
    for (_, other) in members.into_iter().filter(|(id, _)| *id != BROKER) {
        for (from, to) in [(node, other), (other, node)] {
            cluster.world.inject(SimFault::Partition { from, to, lasting: LONG });
        }
    }
    (cluster, node)
}

/// How long it takes until its process has ended.
fn ends_after(cluster: &mut Cluster) -> Duration {
    let begun = cluster.world.now();
    assert!(cluster.run_until(LONG, |cluster| cluster.view(BROKER).is_none()), "it goes on");
    cluster.world.now() - begun
}

#[test]
fn one_that_is_told_to_stop_waits_no_longer_than_it_takes_to_elect_a_controller() {
    for seed in 0..3 {
        let (mut cluster, node) = cut_off(seed);
        cluster.world.inject(SimFault::Stop { node });
        let took = ends_after(&mut cluster);
        assert!(took < UNHEARD + REST, "seed {seed}: {took:?}");
    }
}

#[test]
fn one_whose_log_directory_fails_ends_when_nobody_could_be_told() {
    for seed in 0..3 {
        let (mut cluster, node) = cut_off(seed);
        let path_contains = "/b/".to_owned();
        let fault = Fault { kind: FaultKind::WriteError, path_contains, skip: 0, times: 1 };
        cluster.world.inject(SimFault::Disk { node, fault });
        let took = ends_after(&mut cluster);
        assert!(took > FAILURE && took < FAILURE + REST, "seed {seed}: {took:?}");
    }
}

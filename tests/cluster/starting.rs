//! How soon three nodes are a cluster, and what each takes.

use std::time::Instant;

use crate::gaps::ms;
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::rig::{kills, turn};
use crate::{asks, wait_for};

const TOPIC: &str = "first";

/// OTTLA_KILLS says how often here, too.
#[test]
fn three_nodes_start_from_nothing() {
    let _turn = turn();
    for _ in 0..kills() {
        let begin = Instant::now();
        let cluster = Cluster::start(Shape::Combined, None, &[]);
        println!("MEASURED: three nodes from nothing to serving {}", ms(begin.elapsed()));
        let at = cluster.broker_address(0);
        wait_for("the topic", || asks::create_topic(at, TOPIC, 1).then_some(()));
        wait_for("its replicas", || {
            let partitions = asks::partitions(at, TOPIC);
            partitions.iter().any(|partition| partition.isr_nodes.len() == BROKERS).then_some(())
        });
        println!("MEASURED: three nodes from nothing to a topic on all {}", ms(begin.elapsed()));
        for node in cluster.all() {
            println!(
                "MEASURED: one of three nodes, resident {:.1} MiB",
                cluster.resident_mib(node)
            );
        }
    }
}

//! What is done to the nodes.

use crate::network::Network;
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::rig::{Rig, Victim, kills};
use rustix::process::Signal;

/// Who is stopped or cut off loses its session soon.
const HASTY: [&str; 2] =
    ["\"broker.session.timeout.ms\" = 2000", "\"broker.heartbeat.interval.ms\" = 500"];

#[test]
fn kill_9_of_a_leader_and_of_one_that_is_also_the_controller() {
    let mut rig = Rig::start(Shape::Combined, None, &[]);
    for _ in 0..kills() {
        rig.restart("kill -9 of a leader", Victim::Leader, Cluster::kill);
        rig.restart("kill -9 of a leader and controller", Victim::Controller, Cluster::kill);
    }
    rig.check();
}

#[test]
fn kill_9_of_a_broker_and_of_a_controller_apart() {
    let mut rig = Rig::start(Shape::Apart, None, &[]);
    for _ in 0..kills() {
        rig.restart("kill -9 of a broker", Victim::Leader, Cluster::kill);
        rig.restart("kill -9 of a controller", Victim::Controller, Cluster::kill);
    }
    rig.check();
}

#[test]
fn stopped_and_restarted_one_by_one_and_all_at_once() {
    let mut rig = Rig::start(Shape::Combined, None, &HASTY);
    let stop = |cluster: &Cluster, node| cluster.tell(node, Signal::STOP);
    let go_on = |cluster: &Cluster, node| cluster.tell(node, Signal::CONT);
    rig.silence("SIGSTOP of a leader", Victim::Leader, stop, go_on);
    rig.silence("SIGSTOP of a leader and controller", Victim::Controller, stop, go_on);
    for node in 0..BROKERS {
        let terminate = |cluster: &mut Cluster, node| cluster.terminate([node]);
        rig.restart("SIGTERM", Victim::Broker(node), terminate);
    }
    rig.restart_all();
    rig.check();
}

#[test]
fn cut_off() {
    let Some(network) = Network::new(BROKERS) else {
        eprintln!("SKIPPED: network namespaces need root and the command ip");
        return;
    };
    let mut rig = Rig::start(Shape::Combined, Some(network), &HASTY);
    let pull = |cluster: &Cluster, node| cluster.network().pull(node);
    let plug_in = |cluster: &Cluster, node| cluster.network().plug_in(node);
    rig.silence("a leader is cut off", Victim::Leader, pull, plug_in);
    rig.silence("a leader and controller is cut off", Victim::Controller, pull, plug_in);
    rig.check();
}

//! A node alone: it dies, and boots again on what is left of its disk.

use std::time::Duration;

use ottla::runtime::sim::{SimFault, SimOptions, Simulation, TraceLog, check_replay};

use crate::broker;

fn run(seed: u64, keep_lines: bool) -> TraceLog {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let node = world.add_node(broker::NAME, |life| broker::serve(life, Default::default()));
    world.run_for(Duration::from_secs(5));
    let down = Duration::from_millis(200);
    world.inject(SimFault::Kill { node, down });
    world.run_for(Duration::from_secs(5));
    world.inject(SimFault::PowerLoss { node, down });
    world.run_for(Duration::from_secs(5));
    world.finish()
}

#[test]
fn a_node_serves_in_each_of_its_lives() {
    let lines = run(0, true).lines;
    let serving = lines.iter().filter(|line| line.contains("serves after")).count();
    assert_eq!(serving, 3, "{lines:#?}");
}

#[test]
fn a_node_replays() {
    for seed in 0..3 {
        check_replay(seed, run).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

//! A node that crashes and boots again on what is left of its disk.

use std::time::Duration;

use ottla::Node;
use ottla::runtime::sim::{Life, SimFault, SimOptions, Simulation, TraceLog, check_replay};

async fn serve(life: Life) {
    let begun = life.world.mono();
    let set: &[(&str, &str)] = &[];
    match Node::builder_in(life.world.clone()).quick("/data", "broker:9092", set).start().await {
        Ok(node) => {
            let took = life.world.mono().saturating_sub(begun).as_millis();
            life.trace.note(format_args!("serves after {took} ms"));
            let exit = node.ended().await;
            life.trace.note(format_args!("ended: {exit:?}"));
        }
        Err(error) => life.trace.note(format_args!("cannot start: {error}")),
    }
}

fn run(seed: u64, keep_lines: bool) -> TraceLog {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let broker = world.add_node("broker", serve);
    world.run_for(Duration::from_secs(5));
    let down = Duration::from_millis(200);
    world.inject(SimFault::Kill { node: broker, down });
    world.run_for(Duration::from_secs(5));
    world.inject(SimFault::PowerLoss { node: broker, down });
    world.run_for(Duration::from_secs(5));
    world.finish()
}

#[test]
fn a_node_boots_again() {
    let log = run(0, true);
    for line in log.lines.iter().filter(|line| !line.contains("Handle") && !line.contains("Send")) {
        println!("{line}");
    }
    println!("{} lines", log.count);
    for seed in 0..5 {
        check_replay(seed, run).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

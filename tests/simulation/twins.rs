//! Another machine is configured with a broker's id: of the two one serves, and the other ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::runtime::sim::{NodeIndex, SimFault, SimOptions, Simulation};

use crate::cluster::{NODES, serve_at};

/// After it a session has run out, and whoever waited for that has the id.
const SILENT: Duration = Duration::from_secs(15);

#[test]
fn a_broker_whose_id_another_process_took_ends() {
    for seed in 0..2 {
        let mut world = Simulation::new(SimOptions::seed(seed));
        let ended: [Arc<AtomicBool>; 5] = Default::default();
        for (index, name) in NODES.iter().enumerate() {
            let ended = ended[index].clone();
            world.add_node(name, move |life| serve_at(life, index, name, ended.clone()));
        }
        let twin = ended[4].clone();
        world.add_node("n5", move |life| {
            let twin = twin.clone();
            async move {
                life.world.sleep(Duration::from_secs(5)).await;
                serve_at(life, 3, "n5", twin).await;
            }
        });
        // It waits while the first one is heard of.
        world.run_for(Duration::from_secs(20));
        assert!(ended.iter().all(|ended| !ended.load(Ordering::Relaxed)), "seed {seed}");
        world.inject(SimFault::Pause { node: NodeIndex(3), lasting: SILENT });
        world.run_for(SILENT + Duration::from_secs(5));
        let ended = ended.map(|ended| ended.load(Ordering::Relaxed));
        assert_eq!(ended, [false, false, false, true, false], "seed {seed}");
    }
}

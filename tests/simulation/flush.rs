//! `flush.messages`: what needs no sync of its own is acknowledged, also where it was written while another's sync ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ottla::runtime::World;
use ottla::runtime::sim::{Life, SimFault, SimOptions, Simulation};
use wire::batch::BatchBuilder;
use wire::compression::Compression;

use crate::broker;
use crate::requests::{create_topic, produce};
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const SYNC: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(600);

/// Produces one batch of so many records after a while, and demands that it is taken.
async fn produces(world: World, step: Arc<AtomicUsize>, records: usize, after: Duration) {
    let mut client = WireClient::new(&world, "client");
    while step.load(Ordering::Relaxed) < 2 {
        world.sleep(BACKOFF).await;
    }
    world.sleep(after).await;
    let mut batch = BatchBuilder::new(Compression::NONE);
    (0..records).for_each(|_| batch.append(1, None, Some(b"x"), &[]));
    let answer = client.ask_until_answered(&produce(TOPIC, 0, batch), 9).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{records} records");
    step.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn what_is_written_while_another_sync_runs_and_needs_none_is_acknowledged_with_it() {
    let mut simulation = Simulation::new(SimOptions::seed(5));
    let step = Arc::new(AtomicUsize::new(0));
    let node = simulation.add_node(broker::NAME, |life| async move {
        broker::serve_with(life, Arc::default(), &[]).await;
    });
    let told = step.clone();
    simulation.add_node("creates", move |life: Life| {
        let (world, step) = (life.world.clone(), told.clone());
        async move {
            let request = create_topic(TOPIC, 1, &[("flush.messages", "10")]);
            let made = WireClient::new(&world, "client").ask_until_answered(&request, 7).await;
            assert_eq!(made.topics[0].error_code, 0);
            step.store(1, Ordering::Relaxed);
        }
    });
    for (name, records, after) in [("first", 10, Duration::ZERO), ("second", 3, SYNC / 4)] {
        let told = step.clone();
        simulation.add_node(name, move |life: Life| {
            produces(life.world.clone(), told.clone(), records, after)
        });
    }
    let at = |reached: usize| step.load(Ordering::Relaxed) == reached;
    assert!(simulation.run_until(LIMIT, || at(1)), "the topic");
    simulation.inject(SimFault::SlowDisk { node, by: SYNC, lasting: LIMIT });
    step.store(2, Ordering::Relaxed);
    assert!(simulation.run_until(LIMIT, || at(4)), "both are acknowledged");
}

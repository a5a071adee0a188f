//! Records that are no longer in memory: who reads them waits for the disk, and nobody else does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::runtime::World;
use ottla::runtime::sim::{Life, SimFault, SimOptions, Simulation};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{ApiVersionsRequest, FetchRequest, FetchResponse, Records};

use crate::broker;
use crate::requests;
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const LARGE: usize = 700_000;
/// What each job of a disk that hangs may take longer; the node itself goes on through that.
const HANGS: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(3600);

fn fetch(fetch_offset: i64) -> FetchRequest {
    let partition_max_bytes = 2 << 20;
    let partition = FetchPartition { fetch_offset, partition_max_bytes, ..Default::default() };
    FetchRequest {
        max_bytes: 4 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn bytes(response: &FetchResponse) -> usize {
    response.responses[0].partitions[0].records.as_ref().map_or(0, Records::len)
}

/// How far the test has come: the records are written, the disk hangs.
struct Story {
    written: AtomicU64,
    hangs: AtomicU64,
    /// How long the reader of old records waited for them.
    waited: Mutex<Option<Duration>>,
    /// How long others waited, each.
    others: Mutex<Vec<Duration>>,
}

async fn until(world: &World, is: &AtomicU64) {
    while is.load(Ordering::Relaxed) == 0 {
        world.sleep(BACKOFF).await;
    }
}

/// Writes three large batches and a small one, then reads the first of them from the disk that hangs.
async fn reader(world: World, story: Arc<Story>) {
    let mut client = WireClient::new(&world, "reader");
    let made = client.ask_until_answered(&requests::create_topic(TOPIC, 1, &[]), 7).await;
    assert_eq!(made.topics[0].error_code, 0);
    for size in [LARGE, LARGE, LARGE, 10] {
        let request = requests::produce_one(TOPIC, 0, 1, None, &vec![7; size]);
        let response = client.ask_until_answered(&request, 9).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    story.written.store(1, Ordering::Relaxed);
    until(&world, &story.hangs).await;
    let begun = world.mono();
    let response = client.ask_until_answered(&fetch(0), 12).await;
    assert!(bytes(&response) > 2 * LARGE, "{} bytes", bytes(&response));
    *story.waited.lock().expect("its lock") = Some(world.mono() - begun);
}

/// Reads the last batch, which is in memory, and asks what the node can, meanwhile.
async fn bystander(world: World, story: Arc<Story>) {
    let mut client = WireClient::new(&world, "bystander");
    until(&world, &story.hangs).await;
    for _ in 0..5 {
        let begun = world.mono();
        client.ask_until_answered(&ApiVersionsRequest::default(), 0).await;
        assert!((1..1000).contains(&bytes(&client.ask_until_answered(&fetch(3), 12).await)));
        story.others.lock().expect("its lock").push(world.mono() - begun);
    }
}

#[test]
fn others_are_served_while_a_cold_read_hangs() {
    let mut simulation = Simulation::new(SimOptions::seed(3));
    let story = Arc::new(Story {
        written: AtomicU64::new(0),
        hangs: AtomicU64::new(0),
        waited: Mutex::new(None),
        others: Mutex::default(),
    });
    // Of the batches the last alone stays in memory.
    let set = [("ottla.recent.bytes", "100000"), ("message.max.bytes", "2000000")];
    let node = simulation.add_node(broker::NAME, move |life| async move {
        broker::serve_with(life, Arc::default(), &set).await;
    });
    let told = story.clone();
    simulation.add_node("reader", move |life: Life| reader(life.world.clone(), told.clone()));
    let told = story.clone();
    simulation.add_node("bystander", move |life: Life| bystander(life.world.clone(), told.clone()));
    assert!(simulation.run_until(LIMIT, || story.written.load(Ordering::Relaxed) == 1));
    simulation.disk(node).drop_cache();
    simulation.inject(SimFault::SlowDisk { node, by: HANGS, lasting: LIMIT });
    story.hangs.store(1, Ordering::Relaxed);
    let done = || story.waited.lock().unwrap().is_some();
    assert!(simulation.run_until(LIMIT, done), "the reader waits");
    let (waited, others) = (story.waited.lock().unwrap().unwrap(), story.others.lock().unwrap());
    assert!(waited > HANGS / 2, "it was read within {waited:?}: not from the disk");
    assert_eq!(others.len(), 5, "others waited with it");
    let longest = others.iter().max().unwrap();
    assert!(*longest < HANGS / 4, "others waited {longest:?}");
}

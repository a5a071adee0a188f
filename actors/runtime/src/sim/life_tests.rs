//! What a node goes through: ends, pauses, clocks that jump, jobs that are cut.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::Open;

use super::*;
use crate::Bulkhead;

type Notes = Arc<Mutex<Vec<String>>>;

/// A simulation of one node, whose scenario notes things.
fn one<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    scenario: impl Fn(Life, Notes) -> F + 'static,
) -> (Simulation, NodeIndex, Notes) {
    let notes = Notes::default();
    let mut simulation = Simulation::new(SimOptions::seed(seed));
    let given = notes.clone();
    let node = simulation.add_node("one", move |life| scenario(life, given.clone()));
    (simulation, node, notes)
}

fn note(notes: &Notes, what: impl Into<String>) {
    notes.lock().unwrap().push(what.into());
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_paused_node_wakes_late_and_its_clock_is_right() {
    let (mut simulation, node, notes) = one(1, |life, notes| async move {
        for _ in 0..3 {
            life.world.sleep(seconds(1)).await;
            note(&notes, format!("{:?}", life.world.mono()));
        }
    });
    simulation.run_for(Duration::from_millis(1500));
    simulation.inject(SimFault::Pause { node, lasting: Duration::from_millis(2500) });
    simulation.run_for(seconds(2));
    assert_eq!(*notes.lock().unwrap(), ["1s"]);
    simulation.run_for(seconds(3));
    assert_eq!(*notes.lock().unwrap(), ["1s", "4s", "5s"]);
    assert_eq!(simulation.world(node).unwrap().mono(), simulation.now());
}

#[test]
fn wall_clocks_are_off_by_little_and_jump() {
    let (mut simulation, node, notes) = one(2, |life, notes| async move {
        loop {
            note(&notes, (life.world.now().wall_ms - START_WALL_MS).to_string());
            life.world.sleep(seconds(1)).await;
        }
    });
    simulation.run_for(seconds(1));
    simulation.inject(SimFault::WallJump { node, by_ms: -5000 });
    simulation.run_for(seconds(1));
    let seen: Vec<i64> = notes.lock().unwrap().iter().map(|n| n.parse().unwrap()).collect();
    assert!(seen[0].abs() <= 50, "{seen:?}");
    assert_eq!(seen[1], seen[0] - 4000, "{seen:?}");
}

#[test]
fn a_killed_node_boots_again_on_its_disk() {
    let (mut simulation, node, notes) = one(3, |life, notes| async move {
        let path = Path::new("/lives");
        let before = life.world.disk().read(path, 100).unwrap_or_default();
        life.world.disk().replace(path, &[before, vec![b'x']].concat()).unwrap();
        note(&notes, format!("{} from {}", life.number, life.world.mono().as_millis()));
        std::future::pending::<()>().await;
    });
    for down in [10, 20] {
        simulation.run_for(seconds(1));
        let down = Duration::from_millis(down);
        simulation.inject(SimFault::PowerLoss { node, down });
        assert!(!simulation.is_up(node) && simulation.world(node).is_none());
    }
    simulation.run_for(seconds(1));
    assert_eq!(*notes.lock().unwrap(), ["1 from 0", "2 from 0", "3 from 0"]);
    let disk = simulation.disk(node).mount();
    assert_eq!(disk.read(Path::new("/lives"), 100).unwrap(), b"xxx");
}

/// A job of ten writes that is under way when its node is killed; how many it did.
fn writes_of_a_cut_job(seed: u64) -> u64 {
    let (mut simulation, node, notes) = one(seed, |life, notes| async move {
        let disk = life.world.disk().clone();
        let job = move || {
            let log = disk.open(Path::new("/log"), Open::Create)?;
            (0..10).try_for_each(|i| log.write_at(&[i; 100], u64::from(i) * 100))
        };
        life.world.blocking("ten writes", job).await.unwrap().unwrap();
        note(&notes, "done");
    });
    simulation.run_for(Duration::from_millis(1));
    let done = !notes.lock().unwrap().is_empty();
    simulation.inject(SimFault::Kill { node, down: seconds(1) });
    let disk = simulation.disk(node).mount();
    let len = disk.metadata(Path::new("/log")).map_or(0, |found| found.len);
    assert!(!done || len == 1000, "{done} {len}");
    len
}

#[test]
fn a_job_under_way_is_cut_at_any_operation() {
    let seen: BTreeSet<u64> = (0..200).map(|seed| writes_of_a_cut_job(seed) / 100).collect();
    assert_eq!(seen, (0..=10).collect());
}

#[test]
fn a_job_runs_to_its_end_when_nobody_waits() {
    let (mut simulation, _, notes) = one(5, |life, notes| async move {
        let world = life.world.clone();
        let waiting = life.world.spawn(Bulkhead::Control, async move {
            let job = move || note(&notes, "done");
            world.blocking("job", job).await.unwrap();
        });
        tokio::task::yield_now().await;
        waiting.abort();
    });
    simulation.run_for(seconds(1));
    assert_eq!(*notes.lock().unwrap(), ["done"]);
}

#[test]
fn streams_of_random_numbers_differ_by_life_purpose_and_use() {
    let (mut simulation, node, notes) = one(6, |life, notes| async move {
        for purpose in ["a", "a", "b"] {
            note(&notes, life.world.random(purpose).next_u64().to_string());
        }
    });
    simulation.run_for(seconds(1));
    simulation.inject(SimFault::Kill { node, down: seconds(1) });
    simulation.run_for(seconds(2));
    let drawn = notes.lock().unwrap().clone();
    assert_eq!(drawn.len(), 6);
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 6, "{drawn:?}");
}

#[test]
#[should_panic(expected = "World::blocking")]
#[expect(clippy::disallowed_methods, reason = "what must not be used is used")]
fn blocking_threads_are_found() {
    let (mut simulation, _, _) = one(7, |_, _| async move {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    });
    simulation.run_for(seconds(10));
}

#[test]
fn an_idle_cluster_costs_little() {
    let mut simulation = Simulation::new(SimOptions::seed(8));
    for name in ["one", "two", "three"] {
        simulation.add_node(name, |_| std::future::pending());
    }
    simulation.run_for(seconds(60));
    assert_eq!(simulation.finish().count, 6, "three lives and their ends");
}

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::supervision_tests::world;
use super::*;

#[tokio::test(start_paused = true)]
async fn waiters_are_woken_in_the_order_they_came() {
    let (world, pulse) = (world(), Pulse::new());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..20 {
        let (pulse, order) = (pulse.clone(), order.clone());
        tasks.push(world.spawn(Bulkhead::Network, async move {
            let mut waiter = Waiter::new();
            waiter.on(&pulse);
            waiter.wait().await;
            order.lock().unwrap().push(n);
        }));
        tokio::task::yield_now().await;
    }
    assert_eq!(pulse.waiting(), 20);
    pulse.publish();
    for task in tasks {
        task.join().await;
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(pulse.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_waiter_waits_for_several_and_leaves_all_lines() {
    let (world, pulses) = (world(), [Pulse::new(), Pulse::new(), Pulse::new()]);
    let mut waiter = Waiter::new();
    pulses.iter().for_each(|pulse| waiter.on(pulse));
    assert!(world.timeout(Duration::from_secs(1), waiter.wait()).await.is_err());
    pulses[1].publish();
    world.timeout(Duration::from_secs(1), waiter.wait()).await.unwrap();
    assert_eq!(pulses.each_ref().map(Pulse::waiting), [0, 0, 0]);
    pulses.iter().for_each(|pulse| waiter.on(pulse));
    assert!(world.timeout(Duration::from_secs(1), waiter.wait()).await.is_err(), "nothing is new");
    drop(waiter);
    assert_eq!(pulses.each_ref().map(Pulse::waiting), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_value_published_before_the_wait_is_not_missed() {
    let (publisher, mut values) = watch(1);
    publisher.publish(2);
    publisher.publish(3);
    assert_eq!(*values.changed().await, 3);
    let world = world();
    assert!(world.timeout(Duration::from_secs(1), values.changed()).await.is_err());
    let mut late = publisher.subscribe();
    let until = world.spawn(Bulkhead::Control, async move {
        assert_eq!(*late.until(|value| *value > 4).await, 5);
    });
    publisher.publish(4);
    publisher.publish(5);
    until.join().await;
    assert_eq!(*values.changed().await, 5);
}

/// On real threads: a change published around the moment of getting in line is seen one way or the other.
#[test]
fn no_change_is_missed_between_threads() {
    let bulkheads = Bulkheads::new(BulkheadSizes::for_cores(2)).unwrap();
    let disk = Arc::new(disk::RealDisk::new());
    let world = World::real(bulkheads.handles(), disk);
    let (publisher, mut values) = watch(0u64);
    const LAST: u64 = 20_000;
    let reader = world.spawn(Bulkhead::Network, async move {
        values.until(|value| *value == LAST).await;
    });
    let writer = world.spawn(Bulkhead::Network, async move {
        for value in 1..=LAST {
            publisher.publish(value);
            if value % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let ended = world.clone();
    bulkheads.block_on(async move {
        writer.join().await;
        ended.timeout(Duration::from_secs(20), reader.join()).await.unwrap();
    });
    bulkheads.shutdown(Duration::from_secs(1));
}

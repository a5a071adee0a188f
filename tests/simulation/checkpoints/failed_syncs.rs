//! Syncs that fail, and what they left not yet written anew when whoever met them ends.

use super::*;

/// A record is written and not synced, and there is no room for writing it again until so many tries.
fn fault(client: &Client, kind: FaultKind, skip: u64, times: u64) -> Order {
    let path_contains = format!("{DIR}/t-0/00000000000000000000.log");
    let fault = Fault { kind, path_contains, skip, times };
    Order::Suffer(SimFault::Disk { node: client.broker, fault })
}

async fn ends_before_it_writes_again(mut client: Client, seed: u64) {
    client.create("t", 1).await;
    client.produce("t", 3).await;
    for round in 0..2 {
        client.order(fault(&client, FaultKind::SyncNoRoom, 0, 1)).await;
        client.order(fault(&client, FaultKind::NoRoom, 1, 2)).await;
        if (seed + round).is_multiple_of(2) {
            let (node, path_contains) = (client.broker, "/t-0".to_owned());
            let panic = SimFault::Panic { node, path_contains, skip: 4 + seed % 8 };
            client.order(Order::Suffer(panic)).await;
        } else {
            let world = client.life.world.clone();
            let after = Duration::from_millis(2 + world.random("ends").below(30));
            let _ = world.timeout(after, client.produce("t", 1)).await;
            // Who dies between the error and its note leaves nothing that the next process could know it by.
            client.order(Order::WhenNoted(50)).await;
            let kill = client.kill();
            client.order(Order::Die(kill)).await;
        }
        client.produce("t", 2).await;
        let before = client.bounds("t").await;
        let end = client.power_loss();
        client.order(Order::Die(end)).await;
        let after = client.bounds("t").await;
        client.expect("what was acknowledged is there", after.1 >= before.1, true);
    }
}

/// What was written and not yet synced is shown by the next process as if it were.
async fn dies_before_it_syncs(mut client: Client, _seed: u64) {
    client.create("t", 1).await;
    client.produce("t", 3).await;
    for _ in 0..3 {
        let (node, by) = (client.broker, Duration::from_millis(200));
        client.order(Order::Suffer(SimFault::SlowDisk { node, by, lasting: by })).await;
        let world = client.life.world.clone();
        let after = Duration::from_millis(10 + world.random("dies").below(100));
        let _ = world.timeout(after, client.produce("t", 1)).await;
        let kill = client.kill();
        client.order(Order::Die(kill)).await;
        let shown = client.bounds("t").await;
        let end = client.power_loss();
        client.order(Order::Die(end)).await;
        let found = client.bounds("t").await;
        client.expect("what was shown is there", found, shown);
    }
}

#[test]
fn what_was_not_synced_when_a_process_died_is_synced_before_it_is_shown() {
    check(APART, |client, seed| Box::pin(dies_before_it_syncs(client, seed)));
}

#[test]
fn what_a_failed_sync_left_is_written_again_whoever_ends_before() {
    check(WRITTEN_AT_ONCE, |client, seed| Box::pin(ends_before_it_writes_again(client, seed)));
}

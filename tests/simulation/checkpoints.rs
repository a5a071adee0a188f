//! What the checkpoint files of a log directory say, through stops at any moment, crashes, deletions and failures.

mod failed_syncs;
mod rig;

use std::time::Duration;

use disk::{Fault, FaultKind};
use ottla::runtime::sim::{SimFault, check_replay};

use rig::{
    Client, DIR, HIGH_WATERMARKS, Kept, LOG_STARTS, Order, RECOVERY_POINTS, Scenario, check, run,
};

/// The metadata log elsewhere, so that nothing else is written in the directory.
const APART: &[(&str, &str)] = &[("log.dirs", DIR), ("metadata.log.dir", "/m")];
/// As soon as something changes it is in the files.
const WRITTEN_AT_ONCE: &[(&str, &str)] = &[
    ("log.dirs", DIR),
    ("metadata.log.dir", "/m"),
    ("log.flush.offset.checkpoint.interval.ms", "1"),
    ("log.flush.start.offset.checkpoint.interval.ms", "1"),
    ("replica.high.watermark.checkpoint.interval.ms", "1"),
];

async fn stopped_while_it_starts(mut client: Client, seed: u64) {
    client.trimmed("t").await;
    client.order(Order::Stop).await;
    let first = client.end();
    client.expect("log starts", first.of(LOG_STARTS), vec![("t-0".to_owned(), 5)]);
    client.expect("recovery points", first.of(RECOVERY_POINTS), vec![("t-0".to_owned(), 10)]);
    client.expect("high watermarks", first.of(HIGH_WATERMARKS), vec![("t-0".to_owned(), 10)]);
    client.expect("a clean stop", first.marker, true);
    for round in 0..3 {
        let found = client.bounds("t").await;
        client.expect("after a start", found, (5, 10));
        let after = Duration::from_millis(client.life.world.random("stops").below(30) * (seed % 3));
        let end = if round == 1 { client.power_loss() } else { client.kill() };
        client.order(Order::DieAndStopAfter(end, after)).await;
        client.expect("the files", &client.end().files, &first.files);
    }
    let found = client.bounds("t").await;
    client.expect("at last", found, (5, 10));
}

#[test]
fn a_stop_while_it_starts_keeps_what_the_checkpoints_said() {
    check(APART, |client, seed| Box::pin(stopped_while_it_starts(client, seed)));
}

#[test]
fn stops_while_it_starts_replay() {
    let scenario: Scenario = |client, seed| Box::pin(stopped_while_it_starts(client, seed));
    check_replay(2, |seed, keep_lines| run(seed, keep_lines, APART, scenario).0)
        .unwrap_or_else(|difference| panic!("{difference}"));
}

/// A directory that a loss of power left is marked clean only when its logs were recovered and closed.
async fn marked_clean(mut client: Client, _seed: u64) {
    client.trimmed("t").await;
    let end = client.power_loss();
    client.order(Order::DieAndStopAfter(end, Duration::ZERO)).await;
    client.expect("nothing was recovered, and it is marked", client.end().marker, false);
    client.bounds("t").await;
    client.order(Order::Stop).await;
    client.expect("all was recovered, and it is marked", client.end().marker, true);
    let end = client.kill();
    client.bounds("t").await;
    client.order(Order::DieAndStopAfter(end, Duration::ZERO)).await;
    client.expect("its logs were not closed, and it is marked", client.end().marker, false);
    client.bounds("t").await;
    client.order(Order::Stop).await;
    let end = client.power_loss();
    client.order(Order::DieAndStopAfter(end, Duration::from_secs(5))).await;
    client.expect("it had the time to recover", client.end().marker, true);
}

#[test]
fn a_directory_is_marked_clean_when_all_its_logs_are() {
    check(APART, |client, seed| Box::pin(marked_clean(client, seed)));
}

const RARELY: &[(&str, &str)] =
    &[("log.dirs", DIR), ("replica.high.watermark.checkpoint.interval.ms", "60000")];

async fn high_watermarks_rarely(mut client: Client, _seed: u64) {
    client.create("t", 1).await;
    client.produce("t", 3).await;
    let written = ("t-0".to_owned(), 3);
    for (after, is_written) in [(40, false), (70, true)] {
        client.life.world.sleep(Duration::from_secs(after)).await;
        let end = client.kill();
        client.order(Order::Die(end)).await;
        let found = client.end().of(HIGH_WATERMARKS).contains(&written);
        client.expect("the high watermark is written", found, is_written);
        client.bounds("t").await;
    }
}

#[test]
fn high_watermarks_are_written_as_often_as_is_asked_for() {
    check(RARELY, |client, seed| Box::pin(high_watermarks_rarely(client, seed)));
}

/// Whenever it dies, the files name every partition.
async fn written_while_it_starts(mut client: Client, _seed: u64) {
    const PARTITIONS: i32 = 20;
    client.create("t", PARTITIONS).await;
    client.produce("t", 3).await;
    for _ in 0..10 {
        client.order(Order::Stop).await;
        let random = client.life.world.random("deaths").below(40);
        client.life.world.sleep(Duration::from_millis(random)).await;
        let end = client.kill();
        client.order(Order::Die(end)).await;
        let kept = client.end();
        for file in [RECOVERY_POINTS, HIGH_WATERMARKS] {
            client.expect(file, kept.of(file).len(), PARTITIONS as usize);
        }
        client.bounds("t").await;
    }
}

#[test]
fn checkpoints_that_are_written_while_it_starts_are_whole() {
    check(WRITTEN_AT_ONCE, |client, seed| Box::pin(written_while_it_starts(client, seed)));
}

/// A topic of the name of another begins anew, whatever was known of that one.
async fn made_anew(mut client: Client, seed: u64) {
    client.trimmed("t").await;
    client.order(Order::Stop).await;
    let found = client.bounds("t").await;
    client.expect("before", found, (5, 10));
    client.delete("t").await;
    if seed % 4 == 1 {
        client.order(Order::Stop).await;
    }
    client.create("t", 1).await;
    client.produce("t", 3).await;
    let found = client.bounds("t").await;
    client.expect("made anew", found, (0, 3));
    let end = if seed.is_multiple_of(2) { client.power_loss() } else { client.kill() };
    client.order(Order::Die(end)).await;
    let found = client.bounds("t").await;
    client.expect("after a crash", found, (0, 3));
    client.order(Order::Stop).await;
    client.expect("log starts", client.end().of(LOG_STARTS), Vec::new());
    let found = client.bounds("t").await;
    client.expect("after a stop", found, (0, 3));
    // The deletion is known only to the metadata log when the power goes.
    client.trimmed("u").await;
    client.order(Order::Stop).await;
    client.bounds("u").await;
    client.delete("u").await;
    client.create("u", 1).await;
    let end = client.power_loss();
    client.order(Order::Die(end)).await;
    client.create("u", 1).await;
    client.produce("u", 2).await;
    let found = client.bounds("u").await;
    client.expect("its successor", found, (0, 2));
}

#[test]
fn a_topic_that_is_made_anew_begins_at_0() {
    check(APART, |client, seed| Box::pin(made_anew(client, seed)));
}

/// Until the files say nothing of what had its name, as they find no room, it is not made.
async fn made_anew_without_room(mut client: Client, _seed: u64) {
    client.trimmed("t").await;
    client.order(Order::Stop).await;
    client.bounds("t").await;
    let (kind, path_contains) = (FaultKind::NoRoom, "-offset-checkpoint".to_owned());
    let fault = Fault { kind, path_contains, skip: 0, times: u64::MAX };
    client.order(Order::Suffer(SimFault::Disk { node: client.broker, fault })).await;
    client.delete("t").await;
    client.create("t", 1).await;
    let world = client.life.world.clone();
    let taken = world.timeout(Duration::from_secs(20), client.produce("t", 3)).await.is_ok();
    let kill = client.kill();
    client.order(Order::Die(kill)).await;
    client.order(Order::SoundDisk).await;
    let found = client.bounds("t").await;
    client.expect("after a kill", found, (0, if taken { 3 } else { 0 }));
    client.produce("t", 1).await;
}

#[test]
fn a_topic_that_is_made_anew_while_there_is_no_room_for_checkpoints_begins_at_0() {
    check(APART, |client, seed| Box::pin(made_anew_without_room(client, seed)));
}

/// What fails is the actor over all replicas: it has to handle a message when a topic is made.
async fn supervisor_fails(mut client: Client, _seed: u64) {
    client.create("t", 1).await;
    client.produce("t", 10).await;
    client.order(Order::Stop).await;
    client.bounds("t").await;
    client.delete_below("t", 5).await;
    for n in 0..3 {
        let (node, path_contains) = (client.broker, "/partitions".to_owned());
        client.order(Order::Suffer(SimFault::Panic { node, path_contains, skip: 0 })).await;
        client.create(&format!("more-{n}"), 1).await;
        client.produce("t", 1).await;
        let found = client.bounds("t").await;
        client.expect("as it was deleted", found, (5, 11 + n));
    }
    client.order(Order::Stop).await;
    let of_t = |file: &str, kept: &Kept| kept.of(file).into_iter().find(|(name, _)| name == "t-0");
    let kept = client.end();
    client.expect("its start", of_t(LOG_STARTS, &kept), Some(("t-0".to_owned(), 5)));
    client.expect("its high watermark", of_t(HIGH_WATERMARKS, &kept), Some(("t-0".to_owned(), 13)));
    client.expect("a clean stop", kept.marker, true);
}

#[test]
fn the_failure_of_the_actor_over_all_replicas_undoes_nothing() {
    check(APART, |client, seed| Box::pin(supervisor_fails(client, seed)));
    let scenario: Scenario = |client, seed| Box::pin(supervisor_fails(client, seed));
    let restarted = (0..12).any(|seed| {
        let lines = run(seed, true, APART, scenario).0.lines;
        lines.iter().any(|line| line.contains("partitions failed 3 times"))
    });
    assert!(restarted, "it never was that actor which failed");
}

/// A topic is deleted while the directory cannot be synced: the others go on, and serve what they served.
async fn deletion_fails(mut client: Client, _seed: u64) {
    client.trimmed("t").await;
    client.create("u", 1).await;
    client.produce("u", 1).await;
    let fault =
        Fault { kind: FaultKind::SyncError, path_contains: DIR.to_owned(), skip: 0, times: 1 };
    client.order(Order::Suffer(SimFault::Disk { node: client.broker, fault })).await;
    client.delete("u").await;
    client.produce("t", 1).await;
    let found = client.bounds("t").await;
    client.expect("the other", found, (5, 11));
    client.create("u", 1).await;
    client.produce("u", 2).await;
    let found = client.bounds("u").await;
    client.expect("its successor", found, (0, 2));
    let end = client.power_loss();
    client.order(Order::Die(end)).await;
    let found = client.bounds("t").await.1;
    client.expect("the other, later", found, 11);
    let found = client.bounds("u").await;
    client.expect("its successor, later", found, (0, 2));
}

#[test]
fn a_deletion_that_fails_costs_no_other_topic() {
    check(APART, |client, seed| Box::pin(deletion_fails(client, seed)));
}

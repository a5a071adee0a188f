//! The end of a move, and what it leaves in both directories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use partitions::{AlterDirError, LogDir, LogDirArgs, PartitionMsg, PartitionsMsg, Standing};
use runtime::{Answer, Fault, Reply, Root, spawn_root, watch};
use wire::{MetadataRecord, RemoveTopicRecord};

use crate::log_dirs::{alter, copy_ends, held_up, held_up_in, names, promoting, replicas};
use crate::produce::produce;
use crate::rig::{Client, LIMIT, Rig, batch, dir_id, topic_id};

/// The keeper of a directory's checkpoint files, which writes them only when it ends.
fn keeper(rig: &Rig, dir: usize) -> Root<LogDir> {
    const NEVER: Duration = Duration::from_secs(1_000_000);
    let args = LogDirArgs {
        state: rig.log_dirs.0[dir].clone(),
        hosted: rig.hosted.clone(),
        broker_epoch: Arc::new(AtomicI64::new(-1)),
        settings: watch(model::settings::Values::default()).1,
        recovery_point_interval: NEVER,
        log_start_interval: NEVER,
        high_watermark_interval: NEVER,
        room_interval: NEVER,
    };
    spawn_root::<LogDir>(&rig.world, &format!("log-dir-{dir}"), args).unwrap()
}

/// Whether the directory's files say that all of the topic, one record, is committed.
fn knows(rig: &Rig, dir: usize) -> bool {
    let path = rig.log_dirs.0[dir].path.join("replication-offset-checkpoint");
    let said = std::fs::read_to_string(path).unwrap_or_default();
    said.lines().any(|line| line == "a 0 1")
}

async fn checkpointed(rig: &Rig, dir: usize) {
    keeper(rig, dir).stop().await;
    assert!(knows(rig, dir));
}

async fn with_a_record(dirs: u8) -> (Rig, Client) {
    let mut rig = Rig::with_dirs(dirs, &[]).await;
    rig.topic("a", 1, &[("retention.ms", "-1")]).await;
    let mut client = rig.client().await;
    assert_eq!(produce(&mut client, "a", 9, &batch(&["one"], 1)).await.error_code, 0);
    (rig, client)
}

async fn moves(rig: &Rig, client: &mut Client, dir: u8) {
    let to = rig.log_dirs.0[usize::from(dir)].absolute_path().to_owned();
    assert_eq!(alter(client, &[(&to, "a", 0)], 2).await, [0]);
    copied(rig, dir).await;
}

async fn copied(rig: &Rig, dir: u8) {
    rig.wait_for("it is copied", || {
        rig.assignments.take(10).get(&(topic_id("a"), 0)) == Some(&dir_id(dir))
    })
    .await;
}

async fn made_anew(rig: &mut Rig, dir: u8) {
    let handle = rig.handle("a", 0);
    let gone = RemoveTopicRecord { topic_id: topic_id("a"), ..Default::default() };
    rig.publish([MetadataRecord::RemoveTopic(gone)]);
    rig.wait_for("it is deleted", || handle.is_deleted()).await;
    rig.topic_in("a", dir_id(dir)).await;
}

/// What the files say of a name would be taken for what is known of the next log that has it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_any_more_where_a_log_has_moved_from() {
    let (mut rig, mut client) = with_a_record(2).await;
    checkpointed(&rig, 0).await;
    let handle = rig.handle("a", 0);
    moves(&rig, &mut client, 1).await;
    rig.assign("a", 0, dir_id(1));
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
    made_anew(&mut rig, 0).await;
    assert!(!knows(&rig, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_any_more_where_a_copy_was() {
    let (mut rig, mut client) = with_a_record(2).await;
    moves(&rig, &mut client, 1).await;
    checkpointed(&rig, 1).await;
    made_anew(&mut rig, 1).await;
    assert!(!knows(&rig, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_known_of_the_copy_before_where_another_is_begun() {
    let (rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    checkpointed(&rig, 1).await;
    moves(&rig, &mut client, 2).await;
    moves(&rig, &mut client, 1).await;
    assert!(!knows(&rig, 1));
}

/// Each time for longer than before.
async fn fails(rig: &Rig, times: u32) {
    let handle = rig.handle("a", 0);
    let alive = || handle.address().current().map(|actor| actor.generation());
    for _ in 0..times {
        let message = || PartitionMsg::Panic { message: "a test".to_owned() };
        rig.wait_for("it is up", || alive().is_some()).await;
        let before = alive();
        handle.address().send_now(message()).unwrap();
        rig.wait_for("it is down", || alive() != before).await;
    }
}

/// Its log may be moved because there is no room for more, which fails it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_a_replica_that_is_down_to_take_its_place() {
    let (mut rig, mut client) = with_a_record(2).await;
    moves(&rig, &mut client, 1).await;
    fails(&rig, 4).await;
    rig.assign("a", 0, dir_id(1));
    let handle = rig.handle("a", 0);
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
    let taken =
        async { while produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code != 0 {} };
    rig.world.timeout(LIMIT, taken).await.expect("its actor goes on");
}

/// Its directory may be slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_slow_to_end_before_it_takes_its_place_holds_up_no_other_partition() {
    let (mut rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    let handle = rig.handle("a", 0);
    let busy = held_up_in(&rig, &handle.future().unwrap().queue).await;
    rig.assign("a", 0, dir_id(1));
    let world = rig.world.clone();
    let other = world.timeout(Duration::from_secs(5), rig.topic_in("b", dir_id(2))).await;
    assert_eq!(produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code, 0);
    drop(busy);
    other.expect("another is made meanwhile");
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
}

async fn begins(rig: &Rig, client: &mut Client, dir: u8) {
    let to = rig.log_dirs.0[usize::from(dir)].absolute_path().to_owned();
    let to = [(to.as_str(), "a", 0)];
    let asked = rig.world.timeout(Duration::from_secs(5), alter(client, &to, 2)).await;
    assert_eq!(asked.expect("at once"), [0]);
}

fn is_copy(name: &str) -> bool {
    name.ends_with("-future")
}

/// What was answered outlives a crash, also where it is not yet its turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_has_its_directory_when_it_is_answered() {
    let (mut rig, mut client) = with_a_record(2).await;
    rig.topic_in("b", dir_id(0)).await;
    let to = rig.log_dirs.0[1].absolute_path().to_owned();
    assert_eq!(alter(&mut client, &[(&to, "b", 0)], 2).await, [0]);
    let busy = held_up_in(&rig, &rig.handle("b", 0).future().unwrap().queue).await;
    begins(&rig, &mut client, 1).await;
    let found = names(&rig, 1);
    drop(busy);
    let [copy] = &found[..] else { panic!("one: {found:?}") };
    assert!(is_copy(copy));
    let disk = rig.world.disk();
    let of = log::read_partition_metadata(&**disk, &rig.log_dirs.0[1].path.join(copy));
    assert_eq!(of.unwrap(), Some(topic_id("a")), "Kafka does not start on one without");
}

/// What its actor works on cannot be put aside before that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_called_off_does_not_go_on_after_a_crash_and_the_next_one_does() {
    let (rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    let busy = held_up_in(&rig, &rig.handle("a", 0).future().unwrap().queue).await;
    assert_eq!(produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code, 0);
    begins(&rig, &mut client, 2).await;
    rig.world.registry().fault("over-partitions/partitions", Fault::Kill).unwrap();
    rig.wait_for("it is killed", || !rig.broker.partitions.is_alive()).await;
    assert!(names(&rig, 1).iter().any(|name| is_copy(name)), "its actor works there");
    drop(busy);
    copied(&rig, 2).await;
    rig.wait_for("it is deleted", || !names(&rig, 1).iter().any(|name| is_copy(name))).await;
    assert_eq!(rig.handle("a", 0).future().unwrap().dir.id, dir_id(2));
    assert_eq!(replicas(&rig), [1, 0, 1]);
}

/// Nor do others wait until it has ended. Another copy of the same replica does.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_move_is_called_off_is_deleted_once_it_has_ended() {
    let (mut rig, mut client) = with_a_record(4).await;
    moves(&rig, &mut client, 1).await;
    let handle = rig.handle("a", 0);
    let busy = held_up_in(&rig, &handle.future().unwrap().queue).await;
    // Which it copies.
    assert_eq!(produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code, 0);
    for dir in [2, 3] {
        begins(&rig, &mut client, dir).await;
        assert_eq!(handle.future().unwrap().dir.id, dir_id(dir));
    }
    let world = rig.world.clone();
    let other = world.timeout(Duration::from_secs(5), rig.topic_in("b", dir_id(2))).await;
    assert!(names(&rig, 1).iter().any(|name| is_copy(name)), "its actor works there");
    assert!(!names(&rig, 2).iter().any(|name| is_copy(name)), "none works there");
    drop(busy);
    other.expect("another is made meanwhile");
    copied(&rig, 3).await;
    rig.wait_for("it is deleted", || !names(&rig, 1).iter().any(|name| is_copy(name))).await;
    assert_eq!(replicas(&rig), [1, 0, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_deleted_is_not_closed_first() {
    let (mut rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    let busy = held_up_in(&rig, &rig.handle("a", 0).future().unwrap().queue).await;
    let gone = RemoveTopicRecord { topic_id: topic_id("a"), ..Default::default() };
    rig.publish([MetadataRecord::RemoveTopic(gone)]);
    let world = rig.world.clone();
    let other = world.timeout(Duration::from_secs(5), rig.topic_in("b", dir_id(2))).await;
    drop(busy);
    other.expect("another is made meanwhile");
    assert!(names(&rig, 1).iter().all(|name| name.ends_with("-delete")));
}

/// So often in a row its actor fails before it hears that its copy is to take its place.
async fn loses_promotions(rig: &mut Rig, times: u32) {
    let handle = rig.handle("a", 0);
    let alive = || handle.address().current().map(|actor| actor.generation());
    for round in 0..times {
        let busy = held_up(rig).await;
        let before = alive();
        for first in [PartitionMsg::Retain, PartitionMsg::Panic { message: "a test".to_owned() }] {
            handle.address().send_now(first).unwrap();
        }
        for dir in [1, 0] {
            rig.assign("a", 0, dir_id(dir));
            copy_ends(rig).await;
            // What was said before it was made is done.
            rig.topic_in(&format!("{round}-{dir}"), dir_id(2)).await;
        }
        rig.assignments.take(100);
        drop(busy);
        rig.wait_for("it is back", || alive().is_some_and(|now| Some(now) != before)).await;
        rig.until("a", 0, |handle| matches!(*handle.standing(), Standing::Leader(_))).await;
        if round + 1 < times {
            copied(rig, 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_its_place_although_the_replica_failed_before_it_heard_of_that() {
    let (mut rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    loses_promotions(&mut rig, 4).await;
    rig.assign("a", 0, dir_id(1));
    let handle = rig.handle("a", 0);
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
}

/// It may be what fails it.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_replica_fails_each_time_is_called_off() {
    let (mut rig, mut client) = with_a_record(3).await;
    moves(&rig, &mut client, 1).await;
    loses_promotions(&mut rig, 5).await;
    let handle = rig.handle("a", 0);
    let left =
        || handle.future().is_none() && names(&rig, 1).iter().all(|n| n.ends_with("-delete"));
    rig.wait_for("it is called off", left).await;
    assert_eq!(handle.log_dir().id, dir_id(0));
    assert_eq!(produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code, 0);
}

/// Only what they concern waits for copies that take their replicas' places.
#[tokio::test(flavor = "multi_thread")]
async fn other_moves_that_are_asked_for_with_one_of_a_replica_that_is_promoted_begin_at_once() {
    let (rig, held_up) = promoting().await;
    let to: Arc<str> = rig.log_dirs.0[1].absolute_path().into();
    let of = |topic: &str| (topic.to_owned(), BTreeMap::from([(0, to.clone())]));
    let (reply, answer) = Reply::new();
    let moves = Arc::new(BTreeMap::from(["a", "b", "c"].map(of)));
    let asked = PartitionsMsg::AlterDirs { moves, held: Arc::new(()), reply };
    rig.broker.partitions.send(asked).await.unwrap();
    let other = rig.handle("b", 0);
    rig.wait_for("it moves", || other.future().is_some()).await;
    drop(held_up);
    let answers = answer.get().await.unwrap();
    assert_eq!(answers, [Ok(()), Ok(()), Err(AlterDirError::Unknown)]);
    assert_eq!(rig.handle("a", 0).log_dir().id, dir_id(1));
}

async fn asks(rig: &Rig, dir: usize) -> Answer<Vec<Result<(), AlterDirError>>> {
    let to: Arc<str> = rig.log_dirs.0[dir].absolute_path().into();
    let (reply, answer) = Reply::new();
    let moves = Arc::new(BTreeMap::from([("a".to_owned(), BTreeMap::from([(0, to)]))]));
    let asked = PartitionsMsg::AlterDirs { moves, held: Arc::new(()), reply };
    rig.broker.partitions.send(asked).await.unwrap();
    answer
}

/// Its disk may hang, or there may be thousands.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_directory_is_being_made_holds_up_nothing_but_other_moves_of_its_replica() {
    let (mut rig, _client) = with_a_record(3).await;
    let busy = held_up_in(&rig, rig.log_dirs.0[1].queue()).await;
    let first = asks(&rig, 1).await;
    let second = asks(&rig, 2).await;
    let world = rig.world.clone();
    let other = world.timeout(Duration::from_secs(5), rig.topic_in("b", dir_id(2))).await;
    let handle = rig.handle("a", 0);
    let to = handle.future().map(|future| future.dir.id);
    drop(busy);
    other.expect("another is made meanwhile");
    assert_eq!(to, Some(dir_id(1)));
    assert_eq!(first.get().await.unwrap(), [Ok(())]);
    assert_eq!(second.get().await.unwrap(), [Ok(())]);
    assert_eq!(handle.future().unwrap().dir.id, dir_id(2));
    copied(&rig, 2).await;
    rig.wait_for("it is deleted", || !names(&rig, 1).iter().any(|name| is_copy(name))).await;
    assert_eq!(replicas(&rig), [1, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_deleted_while_the_directory_of_a_copy_is_being_made() {
    let (mut rig, _client) = with_a_record(3).await;
    let busy = held_up_in(&rig, rig.log_dirs.0[1].queue()).await;
    let answer = asks(&rig, 1).await;
    let handle = rig.handle("a", 0);
    rig.wait_for("it moves", || handle.future().is_some()).await;
    let gone = RemoveTopicRecord { topic_id: topic_id("a"), ..Default::default() };
    rig.publish([MetadataRecord::RemoveTopic(gone)]);
    rig.wait_for("it is deleted", || handle.is_deleted()).await;
    drop(busy);
    assert_eq!(answer.get().await.unwrap(), [Ok(())]);
    // What was said before it was made is done.
    rig.topic_in("b", dir_id(2)).await;
    assert!(names(&rig, 1).iter().all(|name| !is_copy(name)));
    assert_eq!(replicas(&rig), [0, 0, 1]);
}

/// A copy that was called off is kept where its replica is not to be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_goes_on_although_it_was_called_off_is_marked_no_more() {
    let (rig, mut client) = with_a_record(2).await;
    moves(&rig, &mut client, 1).await;
    let found = names(&rig, 1);
    let [copy] = &found[..] else { panic!("one: {found:?}") };
    let mark = rig.log_dirs.0[1].path.join(copy).join("ottla_called_off");
    std::fs::write(&mark, "").unwrap();
    let replica = rig.log_dirs.0[0].path.join("a-0");
    std::fs::rename(&replica, replica.with_file_name("unseen")).unwrap();
    rig.world.registry().fault("over-partitions/partitions", Fault::Kill).unwrap();
    rig.wait_for("it goes on", || !mark.exists()).await;
    assert!(names(&rig, 1).contains(copy), "it is not deleted");
}

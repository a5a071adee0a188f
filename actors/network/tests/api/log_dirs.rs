//! What is said of log directories, and what is in them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use model::ErrorCode;
use partitions::PartitionsMsg;
use runtime::{Bulkhead, JobQueue, Reply};
use wire::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::describe_log_dirs_request::DescribableLogDirTopic;
use wire::describe_log_dirs_response::DescribeLogDirsResult;
use wire::{
    AlterReplicaLogDirsRequest, DescribeLogDirsRequest, Message, MetadataRecord, RemoveTopicRecord,
};

use crate::fetch::{asked, fetch_request, only, values};
use crate::produce::produce;
use crate::rig::{Client, LIMIT, Rig, batch, dir_id, topic_id};

const ALL: Option<&[(&str, &[i32])]> = None;

async fn describe(
    client: &mut Client,
    topics: Option<&[(&str, &[i32])]>,
    version: i16,
) -> Vec<DescribeLogDirsResult> {
    let topic = |(name, partitions): &(&str, &[i32])| DescribableLogDirTopic {
        topic: (*name).to_owned(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    let request = DescribeLogDirsRequest { topics, ..Default::default() };
    let response = client.call(&request, version).await;
    assert_eq!(response.error_code, 0);
    response.results
}

/// Topics and partitions that a directory is said to hold.
fn held(result: &DescribeLogDirsResult) -> Vec<(&str, i32)> {
    let of = |topic: &'_ wire::describe_log_dirs_response::DescribeLogDirsTopic| {
        topic.partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>()
    };
    let topics = result.topics.iter();
    topics.flat_map(|topic| of(topic).into_iter().map(|p| (topic.name.as_str(), p))).collect()
}

#[tokio::test]
async fn every_version_tells_what_a_directory_holds() {
    let mut rig = Rig::with_dirs(2, &[]).await;
    rig.topic("a", 2, &[]).await;
    let mut client = rig.client().await;
    let batch = batch(&["one", "two"], 1);
    assert_eq!(produce(&mut client, "a", 9, &batch).await.error_code, 0);
    for version in DescribeLogDirsRequest::VERSIONS.min..=DescribeLogDirsRequest::VERSIONS.max {
        let results = describe(&mut client, ALL, version).await;
        let [full, empty] = &results[..] else { panic!("two directories: {results:?}") };
        assert_eq!((full.error_code, empty.error_code), (0, 0));
        assert_eq!(full.log_dir, rig.log_dirs.0[0].path.to_str().unwrap());
        assert_eq!(held(full), [("a", 0), ("a", 1)]);
        let sizes: Vec<_> =
            full.topics[0].partitions.iter().map(|p| (p.partition_size, p.offset_lag)).collect();
        assert_eq!(sizes, [(batch.size() as i64, 0), (0, 0)]);
        assert!(full.topics[0].partitions.iter().all(|p| !p.is_future_key));
        assert!(empty.topics.is_empty());
        assert_eq!(full.total_bytes > 0, version >= 4);
        assert_eq!(full.usable_bytes > 0, version >= 4);
        assert!(!full.is_cordoned);
    }
}

#[tokio::test]
async fn what_is_asked_for_is_told_and_what_is_not_there_is_left_out() {
    let mut rig = Rig::start().await;
    rig.topic("a", 3, &[]).await;
    rig.topic("b", 1, &[]).await;
    rig.topic_elsewhere("c");
    let mut client = rig.client().await;
    let all = describe(&mut client, ALL, 5).await;
    assert_eq!(held(&all[0]), [("a", 0), ("a", 1), ("a", 2), ("b", 0)]);
    let asked: &[(&str, &[i32])] = &[("a", &[2, 7, 0]), ("c", &[0]), ("missing", &[0])];
    assert_eq!(held(&describe(&mut client, Some(asked), 5).await[0]), [("a", 0), ("a", 2)]);
    let twice: &[(&str, &[i32])] = &[("a", &[1]), ("a", &[1, 0])];
    assert_eq!(held(&describe(&mut client, Some(twice), 2).await[0]), [("a", 0), ("a", 1)]);
    let none = describe(&mut client, Some(&[]), 5).await;
    assert!(held(&none[0]).is_empty() && none[0].error_code == 0);
}

#[tokio::test]
async fn an_offline_directory_is_told_with_its_error_alone() {
    let mut rig = Rig::with_dirs(2, &[]).await;
    rig.topic("a", 1, &[]).await;
    rig.log_dirs.0[0].fail("a test");
    let mut client = rig.client().await;
    let results = describe(&mut client, ALL, 5).await;
    assert_eq!(results[0].error_code, ErrorCode::KafkaStorageError.code());
    assert_eq!((results[0].total_bytes, results[0].usable_bytes), (-1, -1));
    assert!(results[0].topics.is_empty());
    assert_eq!(results[1].error_code, 0);
}

#[tokio::test]
async fn replicas_in_a_directory_that_failed_are_refused_and_the_others_serve() {
    let mut rig = Rig::with_dirs(2, &[]).await;
    rig.topic("lost", 1, &[]).await;
    rig.topic_in("kept", dir_id(1)).await;
    let mut client = rig.client().await;
    let batch = batch(&["one"], 1);
    for topic in ["lost", "kept"] {
        assert_eq!(produce(&mut client, topic, 9, &batch).await.error_code, 0);
    }
    let mut poll = rig.client().await;
    let mut waiting = fetch_request("lost", 12, vec![asked(0, 1)]);
    (waiting.max_wait_ms, waiting.min_bytes) = (i32::MAX, 1);
    poll.send(&waiting, 12).await;
    let dir = rig.log_dirs.0[0].clone();
    std::fs::rename(&dir.path, dir.path.with_extension("gone")).unwrap();
    std::fs::write(&dir.path, "no directory").unwrap();
    assert!(dir.disk().list(&dir.path).is_err());
    let storage = ErrorCode::KafkaStorageError.code();
    assert_eq!(only(poll.receive::<wire::FetchRequest>(12).await).error_code, storage);
    assert_eq!(produce(&mut client, "lost", 9, &batch).await.error_code, storage);
    let fetched = client.call(&fetch_request("lost", 12, vec![asked(0, 0)]), 12).await;
    assert_eq!(only(fetched).error_code, storage);
    assert_eq!(produce(&mut client, "kept", 9, &batch).await.error_code, 0);
    let fetched = client.call(&fetch_request("kept", 12, vec![asked(0, 0)]), 12).await;
    assert_eq!(only(fetched).error_code, 0);
    let results = describe(&mut client, ALL, 4).await;
    assert_eq!((results[0].error_code, results[1].error_code), (storage, 0));
    let gone = async {
        while rig.handle("lost", 0).address().send(partitions::PartitionMsg::Flush).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    rig.world.timeout(LIMIT, gone).await.expect("its actor ends");
}

pub async fn alter(client: &mut Client, moves: &[(&str, &str, i32)], version: i16) -> Vec<i16> {
    let dir = |(path, topic, partition): &(&str, &str, i32)| AlterReplicaLogDir {
        path: (*path).to_owned(),
        topics: vec![AlterReplicaLogDirTopic {
            name: (*topic).to_owned(),
            partitions: vec![*partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let dirs = moves.iter().map(dir).collect();
    let request = AlterReplicaLogDirsRequest { dirs, ..Default::default() };
    let response = client.call(&request, version).await;
    let partitions = response.results.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// The names under a directory that are some partition's.
pub fn names(rig: &Rig, dir: usize) -> Vec<String> {
    let dir = &rig.log_dirs.0[dir];
    let entries = dir.disk().list(&dir.path).unwrap();
    let names = entries.into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("a-")).collect()
}

async fn read_all(client: &mut Client) -> Vec<String> {
    let mut read: Vec<(i64, String)> = Vec::new();
    loop {
        let from = read.last().map_or(0, |(offset, _)| offset + 1);
        let fetched = client.call(&fetch_request("a", 12, vec![asked(0, from)]), 12).await;
        match &values(&only(fetched).records)[..] {
            [] => return read.into_iter().map(|(_, value)| value).collect(),
            more => read.extend_from_slice(more),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_to_another_directory_while_it_serves() {
    for version in 1..=2 {
        let mut rig = Rig::with_dirs(2, &[]).await;
        rig.topic("a", 1, &[("segment.bytes", "1048576")]).await;
        let mut client = rig.client().await;
        let mut sent = Vec::new();
        for n in 0..40 {
            let value = format!("{n}-{}", "x".repeat(100_000));
            assert_eq!(produce(&mut client, "a", 9, &batch(&[&value], n)).await.error_code, 0);
            sent.push(value);
        }
        let to = rig.log_dirs.0[1].absolute_path().to_owned();
        assert_eq!(alter(&mut client, &[(&to, "a", 0)], version).await, [0]);
        let handle = rig.handle("a", 0);
        rig.wait_for("the controller is told", || !rig.assignments.is_empty()).await;
        let told = rig.assignments.take(10);
        assert_eq!(told.get(&(topic_id("a"), 0)), Some(&dir_id(1)));
        // It goes on, and the copy follows.
        assert_eq!(produce(&mut client, "a", 9, &batch(&["more"], 90)).await.error_code, 0);
        sent.push("more".to_owned());
        let follows = || handle.future().is_some_and(|f| f.log_end_offset() == 41);
        rig.wait_for("the copy follows", follows).await;
        let dirs = describe(&mut client, ALL, 5).await;
        let of = |dir: usize| {
            let partition = &dirs[dir].topics[0].partitions[0];
            (partition.is_future_key, partition.offset_lag, partition.partition_size)
        };
        let size = of(0).2;
        assert!(size > 4_000_000);
        assert_eq!((of(0), of(1)), ((false, 0, size), (true, 0, size)));

        rig.assign("a", 0, dir_id(1));
        rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
        // While it changes its place, it answers with errors that are tried again.
        while produce(&mut client, "a", 9, &batch(&["last"], 91)).await.error_code != 0 {}
        sent.push("last".to_owned());
        assert!(read_all(&mut client).await == sent);
        assert_eq!(names(&rig, 1), ["a-0"]);
        let left = names(&rig, 0);
        assert!(left.len() == 1 && left[0].ends_with("-delete"), "{left:?}");
        let dirs = describe(&mut client, ALL, 5).await;
        assert!(dirs[0].topics.is_empty() && !dirs[1].topics[0].partitions[0].is_future_key);
        rig.wait_for("it is counted", || rig.log_dirs.0[0].replicas() == 0).await;
        assert_eq!(rig.log_dirs.0[1].replicas(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_moved_is_told() {
    let mut rig = Rig::with_dirs(3, &[]).await;
    rig.topic("a", 1, &[]).await;
    rig.topic_elsewhere("b");
    let mut client = rig.client().await;
    let dirs: Vec<_> = rig.log_dirs.0.iter().map(|d| d.absolute_path().to_owned()).collect();
    let mut asked = async |path: &str, topic: &str, partition: i32| {
        let codes = alter(&mut client, &[(path, topic, partition)], 2).await;
        ErrorCode::from_code(codes[0])
    };
    assert_eq!(asked("/nowhere", "a", 0).await, ErrorCode::LogDirNotFound);
    assert_eq!(asked(&dirs[0], "a", 0).await, ErrorCode::None);
    assert_eq!(asked(&dirs[1], "b", 0).await, ErrorCode::ReplicaNotAvailable);
    assert_eq!(asked(&dirs[1], "c", 0).await, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(asked(&dirs[1], "a", 7).await, ErrorCode::UnknownTopicOrPartition);
    let long = "x".repeat(230);
    assert_eq!(asked(&dirs[1], &long, 0).await, ErrorCode::InvalidTopicException);
    rig.log_dirs.0[2].fail("a test");
    assert_eq!(asked(&dirs[2], "a", 0).await, ErrorCode::KafkaStorageError);
    assert_eq!(asked(&dirs[1], "a", 0).await, ErrorCode::KafkaStorageError);
    // What is to come is put where it was asked for.
    assert_eq!(asked(&dirs[1], "later", 0).await, ErrorCode::UnknownTopicOrPartition);
    rig.topic("later", 1, &[]).await;
    assert_eq!(rig.handle("later", 0).log_dir().id, dir_id(1));
}

#[tokio::test]
async fn a_move_is_called_off_by_another() {
    let mut rig = Rig::with_dirs(3, &[]).await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    assert_eq!(produce(&mut client, "a", 9, &batch(&["one"], 1)).await.error_code, 0);
    let dirs: Vec<_> = rig.log_dirs.0.iter().map(|d| d.absolute_path().to_owned()).collect();
    assert_eq!(alter(&mut client, &[(&dirs[1], "a", 0)], 2).await, [0]);
    let handle = rig.handle("a", 0);
    rig.wait_for("it is copied", || !rig.assignments.is_empty()).await;
    assert_eq!(alter(&mut client, &[(&dirs[2], "a", 0)], 2).await, [0]);
    assert_eq!(handle.future().unwrap().dir.id, dir_id(2));
    let deleted = |name: &String| name.ends_with("-delete");
    let left = || names(&rig, 1).len() == 1 && names(&rig, 1).iter().all(deleted);
    rig.wait_for("the copy is deleted", left).await;
    // Back to where it is: nothing moves any more, and the controller is told so.
    assert_eq!(alter(&mut client, &[(&dirs[0], "a", 0)], 2).await, [0]);
    assert!(handle.future().is_none());
    assert_eq!(rig.assignments.take(10).get(&(topic_id("a"), 0)), Some(&dir_id(0)));
    assert_eq!(read_all(&mut client).await, ["one"]);
}

/// No job of the first directory goes on until the answer is dropped.
pub async fn held_up(rig: &Rig) -> Sender<()> {
    held_up_in(rig, rig.log_dirs.0[0].queue()).await
}

/// No job of this queue.
pub async fn held_up_in(rig: &Rig, queue: &JobQueue) -> Sender<()> {
    const AT_ONCE: usize = 16;
    let (go_on, waits) = channel::<()>();
    let (waits, waiting) = (Arc::new(Mutex::new(waits)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..AT_ONCE {
        let (world, queue) = (rig.world.clone(), queue.clone());
        let (waits, waiting) = (waits.clone(), waiting.clone());
        let job = move || {
            waiting.fetch_add(1, Ordering::AcqRel);
            waits.lock().unwrap().recv().unwrap_err();
        };
        let task = rig.world.spawn(Bulkhead::Storage, async move {
            world.blocking_in(&queue, "held up", job).await.unwrap();
        });
        drop(task);
    }
    rig.wait_for("all are busy", || waiting.load(Ordering::Acquire) == AT_ONCE).await;
    go_on
}

/// Before it takes its replica's place.
pub async fn copy_ends(rig: &Rig) {
    let copies = || format!("{:?}", rig.world.registry().tree()).contains("a-0.future");
    rig.wait_for("the copy has ended", || !copies()).await;
}

/// A copy in the second of three directories is to take the place of the replica in the first, where no job goes on.
pub async fn promoting() -> (Rig, Sender<()>) {
    let mut rig = Rig::with_dirs(3, &[]).await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    assert_eq!(produce(&mut client, "a", 9, &batch(&["one"], 1)).await.error_code, 0);
    let to = rig.log_dirs.0[1].absolute_path().to_owned();
    assert_eq!(alter(&mut client, &[(&to, "a", 0)], 2).await, [0]);
    rig.wait_for("it is copied", || !rig.assignments.is_empty()).await;
    let held_up = held_up(&rig).await;
    rig.assign("a", 0, dir_id(1));
    copy_ends(&rig).await;
    // What was asked for before it was made is under way.
    rig.topic_in("b", dir_id(2)).await;
    (rig, held_up)
}

pub fn replicas(rig: &Rig) -> Vec<u64> {
    rig.log_dirs.0.iter().map(|dir| dir.replicas()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_deleted_while_a_copy_takes_its_replicas_place() {
    let (mut rig, held_up) = promoting().await;
    let handle = rig.handle("a", 0);
    let topic_id = topic_id("a");
    let gone = RemoveTopicRecord { topic_id, ..Default::default() };
    rig.publish([MetadataRecord::RemoveTopic(gone)]);
    rig.wait_for("it is deleted", || handle.is_deleted()).await;
    drop(held_up);
    rig.topic_in("c", dir_id(2)).await;
    assert_eq!(replicas(&rig), [0, 0, 2]);
    for dir in [0, 1] {
        let left = names(&rig, dir);
        assert!(left.iter().all(|name| name.ends_with("-delete")), "{left:?}");
        assert!(rig.log_dirs.0[dir].is_online());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_move_is_asked_for_while_a_copy_takes_its_replicas_place() {
    let (mut rig, held_up) = promoting().await;
    let to: Arc<str> = rig.log_dirs.0[2].absolute_path().into();
    let moves = Arc::new(BTreeMap::from([("a".to_owned(), BTreeMap::from([(0, to)]))]));
    let (reply, answer) = Reply::new();
    let asked = PartitionsMsg::AlterDirs { moves, held: Arc::new(()), reply };
    rig.broker.partitions.send(asked).await.unwrap();
    rig.topic_in("c", dir_id(2)).await;
    drop(held_up);
    assert_eq!(answer.get().await.unwrap(), [Ok(())]);
    let handle = rig.handle("a", 0);
    assert_eq!((handle.log_dir().id, handle.future().unwrap().dir.id), (dir_id(1), dir_id(2)));
    assert_eq!(replicas(&rig), [0, 1, 3]);
    let follows = || handle.future().is_some_and(|future| future.log_end_offset() == 1);
    rig.wait_for("it is copied", follows).await;
    rig.assign("a", 0, dir_id(2));
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(2)).await;
    rig.wait_for("it is counted", || replicas(&rig) == [0, 0, 3]).await;
    assert_eq!(names(&rig, 2), ["a-0"]);
    for dir in [0, 1] {
        let left = names(&rig, dir);
        assert!(left.iter().all(|name| name.ends_with("-delete")), "{left:?}");
    }
    let mut client = rig.client().await;
    while produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code != 0 {}
    assert_eq!(read_all(&mut client).await, ["one", "two"]);
}

/// Its actor goes on in the other directory, where what it works on is.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_fails_while_a_copy_takes_the_place_of_what_is_in_it() {
    let (mut rig, held_up) = promoting().await;
    let handle = rig.handle("a", 0);
    rig.log_dirs.0[0].fail("a test");
    // That it failed was seen before.
    rig.topic_in("c", dir_id(2)).await;
    drop(held_up);
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
    rig.wait_for("it is counted", || replicas(&rig) == [0, 1, 2]).await;
    let mut client = rig.client().await;
    let taken =
        async { while produce(&mut client, "a", 9, &batch(&["two"], 2)).await.error_code != 0 {} };
    rig.world.timeout(LIMIT, taken).await.expect("its actor goes on");
    assert_eq!(read_all(&mut client).await, ["one", "two"]);
    assert_eq!(names(&rig, 1), ["a-0"]);
}

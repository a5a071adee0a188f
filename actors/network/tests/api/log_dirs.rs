//! What is said of log directories, and what is in them.

use model::ErrorCode;
use wire::describe_log_dirs_request::DescribableLogDirTopic;
use wire::describe_log_dirs_response::DescribeLogDirsResult;
use wire::{DescribeLogDirsRequest, Message};

use crate::fetch::{asked, fetch_request, only};
use crate::produce::produce;
use crate::rig::{Client, LIMIT, Rig, batch, dir_id};

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

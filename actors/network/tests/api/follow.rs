//! A replica that follows: what it takes over from its leader, and where it is cut.

use bytes::Bytes;
use machines::partition::EpochEnd;
use model::{LeaderEpoch, Uuid};
use partitions::{
    Cut, FollowError, FollowResult, FollowerEnd, PartitionHandle, PartitionMsg, Replicate,
    Standing, Truncate,
};
use runtime::{Reply, Waiter};
use std::sync::Arc;
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;
use wire::{MetadataRecord, PartitionChangeRecord, PartitionRecord, TopicRecord};

use crate::produce::produce;
use crate::rig::{LIMIT, NODE, Rig, batch, batch_of, dir_id, topic_id};

pub const TOPIC: &str = "followed";
pub const EPOCH: i32 = 5;

/// A topic that another broker leads.
pub async fn follow(rig: &mut Rig) -> Arc<PartitionHandle> {
    let id = topic_id(TOPIC);
    let topic = TopicRecord { name: TOPIC.into(), topic_id: id, ..Default::default() };
    let both = vec![NODE, NODE + 1];
    let partition = PartitionRecord {
        partition_id: 0,
        partition_epoch: 0,
        topic_id: id,
        replicas: both.clone(),
        isr: both,
        leader: NODE + 1,
        leader_epoch: EPOCH,
        directories: vec![dir_id(0), Uuid([9; 16])],
        ..Default::default()
    };
    rig.publish([MetadataRecord::Topic(topic), MetadataRecord::Partition(partition)]);
    rig.wait_for("it is hosted", || rig.hosted.get(TOPIC, 0).is_some()).await;
    let handle = rig.handle(TOPIC, 0);
    until_follows(rig, &handle).await;
    handle
}

pub async fn until_follows(rig: &Rig, handle: &PartitionHandle) {
    let follows = async {
        let mut waiter = Waiter::new();
        loop {
            waiter.on(handle.pulse());
            match &*handle.standing() {
                Standing::Follower(serving) if serving.leader_epoch.0 == EPOCH => return,
                _ => waiter.wait().await,
            }
        }
    };
    rig.world.timeout(LIMIT, follows).await.expect("it follows");
}

/// As it lies in the leader's log.
pub fn at(offset: i64, epoch: i32, values: &[&str]) -> RecordBatch {
    let mut batch = batch(values, 1000 + offset);
    batch.assign(offset, epoch);
    RecordBatch::parse(&batch.to_bytes()).unwrap()
}

pub fn bytes_of(batches: &[RecordBatch]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.to_bytes().to_vec()).collect()
}

struct Fetched<'a> {
    offset: i64,
    batches: &'a [RecordBatch],
    high_watermark: i64,
    log_start: i64,
}

async fn replicate(handle: &PartitionHandle, fetched: Fetched<'_>) -> FollowResult {
    let (reply, answer) = Reply::new();
    let asked = Box::new(Replicate {
        leader_epoch: LeaderEpoch(EPOCH),
        fetch_offset: fetched.offset,
        batches: fetched.batches.to_vec(),
        high_watermark: fetched.high_watermark,
        log_start_offset: fetched.log_start,
        reply,
    });
    handle.address().send(PartitionMsg::Replicate { asked }).await.unwrap();
    answer.get().await.unwrap()
}

async fn take(handle: &PartitionHandle, batches: &[RecordBatch], hw: i64) -> FollowResult {
    let offset = handle.log_end_offset();
    replicate(handle, Fetched { offset, batches, high_watermark: hw, log_start: 0 }).await
}

async fn cut(handle: &PartitionHandle, to: Cut) -> FollowResult {
    let (reply, answer) = Reply::new();
    let asked = Box::new(Truncate { leader_epoch: LeaderEpoch(EPOCH), to, reply });
    handle.address().send(PartitionMsg::Truncate { asked }).await.unwrap();
    answer.get().await.unwrap()
}

fn end(offset: i64, high_watermark: i64) -> FollowResult {
    Ok(FollowerEnd { offset, high_watermark })
}

/// What lies in the log's first segment.
fn segment(rig: &Rig, base: i64) -> Vec<u8> {
    let dir = rig.handle(TOPIC, 0).log_dir().path.join(format!("{TOPIC}-0"));
    rig.world.disk().read(&dir.join(format!("{base:020}.log")), 1 << 20).unwrap().to_vec()
}

fn epochs(handle: &PartitionHandle) -> Vec<(i32, i64)> {
    let view = handle.view().unwrap();
    view.leader_epochs().entries().map(|entry| (entry.epoch.0, entry.start_offset)).collect()
}

#[tokio::test]
async fn the_very_bytes_are_taken_over_and_committed_as_far_as_the_leader_says() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    let first = [at(0, 2, &["a", "b"]), at(2, 4, &["c"])];
    assert_eq!(take(&handle, &first, 1).await, end(3, 1));
    // Offsets may be missing: the leader has compacted its log.
    let second = [at(7, EPOCH, &["d"])];
    assert_eq!(take(&handle, &second, 100).await, end(8, 8));
    assert_eq!(take(&handle, &[], 4).await, end(8, 8), "what was committed stays so");
    let all = [&first[..], &second[..]].concat();
    assert_eq!(segment(&rig, 0), bytes_of(&all));
    assert_eq!(epochs(&handle), [(2, 0), (4, 2), (5, 7)]);
    assert_eq!(handle.high_watermark(), 8);
    assert_eq!(handle.last_stable_offset(), 8);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    let first = [at(0, EPOCH, &["a", "b"])];
    assert_eq!(take(&handle, &first, 2).await, end(2, 2));
    let next = [at(2, EPOCH, &["c"])];
    let fetched = |offset, batches| Fetched { offset, batches, high_watermark: 9, log_start: 0 };
    let mismatch = FollowError::OffsetMismatch { fetched: 1, end: 2 };
    assert_eq!(replicate(&handle, fetched(1, &next)).await, Err(mismatch));
    let overlap = FollowError::OutOfOrder { base: 1, end: 2 };
    assert_eq!(take(&handle, &[at(1, EPOCH, &["x", "y"])], 9).await, Err(overlap));
    let disorder = [at(2, EPOCH, &["c"]), at(2, EPOCH, &["d"])];
    let refused = FollowError::OutOfOrder { base: 2, end: 3 };
    assert_eq!(take(&handle, &disorder, 9).await, Err(refused));
    // Written after the leader of the fetch's epoch lost its leadership.
    let later = [at(2, EPOCH, &["c"]), at(3, EPOCH + 1, &["d"]), at(4, EPOCH, &["e"])];
    assert_eq!(take(&handle, &later, 2).await, end(3, 2));
    assert_eq!(segment(&rig, 0), bytes_of(&[&first[..], &next[..]].concat()));
}

#[tokio::test]
async fn a_log_is_cut_where_it_parts_from_the_leaders() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    let all = [at(0, 1, &["a", "b"]), at(2, 3, &["c", "d"]), at(4, 3, &["e"]), at(5, 4, &["f"])];
    assert_eq!(take(&handle, &all, 2).await, end(6, 2));
    let diverging =
        |epoch, end_offset| Cut::Diverging(EpochEnd { epoch: LeaderEpoch(epoch), end_offset });
    // The leader knows nothing of epoch 4, and its records of 3 go further than those here.
    assert_eq!(cut(&handle, diverging(3, 9)).await, end(5, 2));
    assert_eq!(epochs(&handle), [(1, 0), (3, 2)]);
    // It does not know 3 either: the end of 2, which nothing was written in, is that of 1.
    assert_eq!(cut(&handle, diverging(2, 4)).await, end(2, 2));
    assert_eq!(epochs(&handle), [(1, 0)]);
    assert_eq!(segment(&rig, 0), bytes_of(&all[..1]));
    assert!(handle.recovery_point() <= 2);
    assert_eq!(take(&handle, &[at(2, EPOCH, &["g"])], 3).await, end(3, 3));
    // What was committed goes too where the leader was elected without it.
    assert_eq!(cut(&handle, Cut::Offset(2)).await, end(2, 2));
    assert_eq!(take(&handle, &[at(2, EPOCH, &["h"])], 3).await, end(3, 3));
    assert_eq!(segment(&rig, 0), bytes_of(&[all[0].clone(), at(2, EPOCH, &["h"])]));
}

#[tokio::test]
async fn a_log_that_lies_below_the_leaders_is_begun_anew() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    assert_eq!(take(&handle, &[at(0, EPOCH, &["a"])], 1).await, end(1, 1));
    assert_eq!(cut(&handle, Cut::StartAnew(52)).await, end(52, 52));
    assert_eq!((handle.log_start_offset(), epochs(&handle)), (52, vec![]));
    // The leader's log start lies within its first batch.
    let first = [at(50, EPOCH, &["x", "y", "z"])];
    let fetched = Fetched { offset: 52, batches: &first, high_watermark: 53, log_start: 52 };
    assert_eq!(replicate(&handle, fetched).await, end(53, 53));
    assert_eq!(handle.log_start_offset(), 52);
    assert_eq!(segment(&rig, 50), bytes_of(&first));
}

#[tokio::test]
async fn what_the_leader_deleted_goes_here_too() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    let all = [at(0, EPOCH, &["a", "b", "c"])];
    let fetched = Fetched { offset: 0, batches: &all, high_watermark: 2, log_start: 3 };
    replicate(&handle, fetched).await.unwrap();
    assert_eq!(handle.log_start_offset(), 2, "not what may be cut off yet");
    let fetched = Fetched { offset: 3, batches: &[], high_watermark: 3, log_start: 3 };
    replicate(&handle, fetched).await.unwrap();
    assert_eq!(handle.log_start_offset(), 3);
}

#[tokio::test]
async fn a_follower_that_fails_goes_on_and_knows_its_producers_when_it_leads() {
    let mut rig = Rig::start().await;
    let handle = follow(&mut rig).await;
    let of = |sequence, offset| {
        let builder = BatchBuilder::new(Compression::NONE).producer(7, 0, sequence);
        let mut batch = batch_of(builder, &["v"], 1);
        batch.assign(offset, EPOCH);
        RecordBatch::parse(&Bytes::from(bytes_of(&[batch]))).unwrap()
    };
    take(&handle, &[of(0, 0), of(1, 1)], 1).await.unwrap();
    let message = "a test".to_owned();
    handle.address().send(PartitionMsg::Panic { message }).await.unwrap();
    rig.wait_for("it is down", || !handle.address().is_alive()).await;
    rig.wait_for("it is back", || handle.address().is_alive() && handle.view().is_some()).await;
    until_follows(&rig, &handle).await;
    assert_eq!(take(&handle, &[of(2, 2)], 3).await, end(3, 3));
    rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: 0,
        topic_id: topic_id(TOPIC),
        leader: NODE,
        isr: Some(vec![NODE]),
        ..Default::default()
    })]);
    rig.until(TOPIC, 0, |handle| matches!(*handle.standing(), Standing::Leader(_))).await;
    let mut client = rig.client().await;
    let builder = || BatchBuilder::new(Compression::NONE);
    let retried = batch_of(builder().producer(7, 0, 2), &["v"], 1);
    let answer = produce(&mut client, TOPIC, 9, &retried).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 2));
    let next = batch_of(builder().producer(7, 0, 3), &["v"], 1);
    let answer = produce(&mut client, TOPIC, 9, &next).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 3));
}

/// Indexes hold what an offset is beyond its segment's first in 32 bits.
#[tokio::test]
async fn an_offset_too_far_from_its_segments_first_begins_another() {
    // Timestamps are as far apart as offsets.
    let mut rig = Rig::with_settings(&[("log.roll.ms", "1000000000000")]).await;
    let handle = follow(&mut rig).await;
    let far = i64::from(i32::MAX) + 1;
    let near = [at(0, EPOCH, &["a"]), at(far - 1, EPOCH, &["b"])];
    assert_eq!(take(&handle, &near, 1).await, end(far, 1));
    let beyond = [at(far, EPOCH, &["c"]), at(5 * far, EPOCH, &["d"])];
    assert_eq!(take(&handle, &beyond, 1).await, end(5 * far + 1, 1));
    let mut logs = rig.files(TOPIC, 0);
    logs.retain(|name| name.ends_with(".log"));
    logs.sort();
    assert_eq!(logs, [0, far, 5 * far].map(|base| format!("{base:020}.log")));
    assert_eq!(segment(&rig, 0), bytes_of(&near));
    assert_eq!(segment(&rig, 5 * far), bytes_of(&beyond[1..]));
    // What is missing between segments is no loss.
    rig.wait_for("it is durable", || handle.recovery_point() == 5 * far + 1).await;
    let message = "a test".to_owned();
    handle.address().send(PartitionMsg::Panic { message }).await.unwrap();
    rig.wait_for("it is down", || !handle.address().is_alive()).await;
    rig.wait_for("it is back", || handle.address().is_alive() && handle.view().is_some()).await;
    let view = handle.view().unwrap();
    for (offset, found) in [(1, far - 1), (far, far), (far + 1, 5 * far)] {
        let read = view.read(offset, 1, true, i64::MAX).unwrap();
        assert_eq!(read.first_batch.unwrap().base_offset, found);
    }
}

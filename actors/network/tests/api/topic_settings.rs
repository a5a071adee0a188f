//! What topics are told of how to keep their records: at once, and also when they are told while they are in use.

use std::os::unix::fs::MetadataExt;

use model::ErrorCode;
use partitions::{PartitionHandle, PartitionMsg};
use wire::batch::{BatchBuilder, BatchHeader, RecordBatch, TimestampType};
use wire::compression::{Codec, Compression};

use crate::configs::set_topic;
use crate::fetch::{fetch, values};
use crate::produce::produce;
use crate::rig::{Client, Rig, batch, batch_of};

/// Looks for old segments all the time.
const EAGER: [(&str, &str); 2] =
    [("log.initial.task.delay.ms", "0"), ("log.retention.check.interval.ms", "5")];
/// A few batches fill a segment.
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");

async fn taken(client: &mut Client, topic: &str, batch: &RecordBatch) {
    let response = produce(client, topic, 9, batch).await;
    assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::None);
}

async fn refused(client: &mut Client, topic: &str, batch: &RecordBatch) -> ErrorCode {
    ErrorCode::from_code(produce(client, topic, 9, batch).await.error_code)
}

/// Some 3000 bytes of records of this time, in three segments and a bit.
async fn fill(client: &mut Client, topic: &str, timestamp: i64) {
    for _ in 0..10 {
        taken(client, topic, &batch(&["x".repeat(230).as_str()], timestamp)).await;
    }
}

fn count(rig: &Rig, topic: &str, suffix: &str) -> usize {
    rig.files(topic, 0).iter().filter(|name| name.ends_with(suffix)).count()
}

async fn headers(client: &mut Client, topic: &str) -> Vec<BatchHeader> {
    let fetched = fetch(client, topic, 12, 0).await;
    let bytes = fetched.records.as_ref().and_then(|records| records.as_bytes()).cloned();
    let batches = wire::batch::batches(bytes.unwrap_or_default());
    batches.map(|batch| *batch.unwrap().header()).collect()
}

fn begins_above(offset: i64) -> impl Fn(&PartitionHandle) -> bool {
    move |handle| handle.log_start_offset() > offset
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_segments_go_by_size_and_by_age_as_told_last() {
    let mut rig = Rig::with_settings(&EAGER).await;
    let now = rig.world.now().wall_ms;
    for topic in ["size", "age", "kept"] {
        rig.topic(topic, 1, &[SMALL, ("retention.ms", "-1"), ("file.delete.delay.ms", "0")]).await;
    }
    rig.topic("none", 1, &[SMALL, ("retention.bytes", "1"), ("cleanup.policy", "")]).await;
    let mut client = rig.client().await;
    fill(&mut client, "size", now).await;
    fill(&mut client, "age", now - 60_000).await;
    fill(&mut client, "age", now).await;
    fill(&mut client, "kept", now).await;
    fill(&mut client, "none", 1).await;
    set_topic(&mut client, "size", "retention.bytes", "1500").await;
    set_topic(&mut client, "age", "retention.ms", "30000").await;
    set_topic(&mut client, "kept", "retention.ms", "30000").await;
    rig.until("size", 0, begins_above(2)).await;
    rig.until("age", 0, begins_above(7)).await;
    // A segment with a young record stays whole.
    assert!(rig.handle("age", 0).log_start_offset() <= 10);
    assert_eq!(values(&fetch(&mut client, "age", 12, 10).await.records)[0].0, 10);
    assert!(rig.handle("size", 0).log_start_offset() < 9);
    for topic in ["kept", "none"] {
        assert_eq!(rig.handle(topic, 0).log_start_offset(), 0, "{topic}");
    }
    set_topic(&mut client, "size", "retention.bytes", "0").await;
    rig.until("size", 0, begins_above(9)).await;
    fill(&mut client, "size", now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_timestamps_a_segments_age_is_that_of_its_file() {
    let mut rig = Rig::with_settings(&EAGER).await;
    rig.topic("t", 1, &[SMALL, ("retention.ms", "3600000"), ("retention.bytes", "2000")]).await;
    let mut client = rig.client().await;
    fill(&mut client, "t", -1).await;
    rig.until("t", 0, begins_above(0)).await;
    assert!(rig.handle("t", 0).log_start_offset() < 9);
    set_topic(&mut client, "t", "retention.ms", "0").await;
    rig.until("t", 0, begins_above(9)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_segments_stay_on_the_disk_under_another_name_for_a_while() {
    let mut rig = Rig::with_settings(&EAGER).await;
    rig.topic("t", 1, &[SMALL, ("retention.ms", "-1")]).await;
    let mut client = rig.client().await;
    fill(&mut client, "t", 1).await;
    set_topic(&mut client, "t", "retention.bytes", "2000").await;
    rig.until("t", 0, begins_above(0)).await;
    let aside = count(&rig, "t", ".log.deleted");
    assert!(aside > 0);
    assert_eq!(count(&rig, "t", ".index.deleted"), aside);
    set_topic(&mut client, "t", "file.delete.delay.ms", "0").await;
    set_topic(&mut client, "t", "retention.bytes", "0").await;
    rig.until("t", 0, |_| count(&rig, "t", ".log") == 1).await;
    rig.until("t", 0, |_| count(&rig, "t", ".log.deleted") == aside).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_end_by_size_age_and_full_indexes() {
    let mut rig = Rig::start().await;
    let eager_index = [("index.interval.bytes", "0"), ("segment.index.bytes", "24")];
    rig.topic("size", 1, &[]).await;
    rig.topic("index", 1, &eager_index).await;
    rig.topic("age", 1, &[("segment.ms", "100000")]).await;
    let mut client = rig.client().await;
    for topic in ["size", "index", "age"] {
        fill(&mut client, topic, 1).await;
    }
    assert_eq!(["size", "index", "age"].map(|t| count(&rig, t, ".log")), [1, 5, 1]);
    set_topic(&mut client, "size", SMALL.0, SMALL.1).await;
    set_topic(&mut client, "age", "segment.ms", "50").await;
    for topic in ["size", "age"] {
        rig.until(topic, 0, |handle| *handle.config() != Default::default()).await;
    }
    taken(&mut client, "age", &batch(&["a"], 51)).await;
    taken(&mut client, "age", &batch(&["b"], 52)).await;
    fill(&mut client, "size", 1).await;
    assert_eq!(["size", "age"].map(|t| count(&rig, t, ".log")), [5, 2]);
}

/// What a segment takes of the disk.
fn room(rig: &Rig, topic: &str, base: i64) -> (u64, u64) {
    let dir = rig.handle(topic, 0).log_dir().path.join(format!("{topic}-0"));
    let found = std::fs::metadata(dir.join(format!("{base:020}.log"))).unwrap();
    (found.len(), found.blocks() * 512)
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_take_their_room_at_once_as_told_last() {
    let mut rig = Rig::start().await;
    let size = ("segment.bytes", "1048576");
    rig.topic("whole", 1, &[size, ("preallocate", "true")]).await;
    rig.topic("used", 1, &[size]).await;
    let mut client = rig.client().await;
    for topic in ["whole", "used"] {
        fill(&mut client, topic, 1).await;
        assert!((2500..4000).contains(&room(&rig, topic, 0).0), "what readers see");
    }
    assert!(room(&rig, "whole", 0).1 >= 1 << 20);
    assert!(room(&rig, "used", 0).1 < 1 << 16);
    set_topic(&mut client, "whole", "preallocate", "false").await;
    set_topic(&mut client, "used", "preallocate", "true").await;
    for topic in ["whole", "used"] {
        rig.until(topic, 0, |handle| handle.config().preallocate == (topic != "whole")).await;
        let large = "x".repeat(700_000);
        for _ in 0..2 {
            taken(&mut client, topic, &batch(&[large.as_str()], 1)).await;
        }
        // What was not used is given back.
        assert!((700_000..800_000).contains(&room(&rig, topic, 0).1));
    }
    assert!(room(&rig, "whole", 11).1 < 800_000);
    assert!(room(&rig, "used", 11).1 >= 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_keeps_segments_from_ending_together() {
    let mut rig = Rig::start().await;
    let configs = [("segment.ms", "1000"), ("segment.jitter.ms", "1000")];
    rig.topic("t", 32, &configs).await;
    let mut client = rig.client().await;
    for timestamp in [1, 501] {
        for partition in 0..32 {
            let bytes = batch(&["x"], timestamp).to_bytes();
            let request = crate::produce::produce_request("t", 9, -1, vec![(partition, bytes)]);
            client.call(&request, 9).await;
        }
    }
    let rolled = (0..32)
        .filter(|index| rig.files("t", *index).iter().filter(|n| n.ends_with(".log")).count() == 2)
        .count();
    assert!((1..32).contains(&rolled), "{rolled} of 32");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_disk_is_flushed_in_the_time_told_last() {
    let mut rig = Rig::start().await;
    rig.topic("ms", 1, &[]).await;
    rig.topic("messages", 1, &[("flush.messages", "3")]).await;
    let mut client = rig.client().await;
    taken(&mut client, "ms", &batch(&["a"], 1)).await;
    assert_eq!(rig.handle("ms", 0).recovery_point(), 0);
    set_topic(&mut client, "ms", "flush.ms", "1").await;
    rig.until("ms", 0, |handle| handle.recovery_point() == 1).await;
    taken(&mut client, "messages", &batch(&["a", "b"], 1)).await;
    assert_eq!(rig.handle("messages", 0).recovery_point(), 0);
    taken(&mut client, "messages", &batch(&["c"], 1)).await;
    assert_eq!(rig.handle("messages", 0).recovery_point(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_bounded_or_the_brokers_own() {
    let mut rig = Rig::start().await;
    let now = rig.world.now().wall_ms;
    rig.topic("t", 1, &[("message.timestamp.before.max.ms", "100000")]).await;
    let mut client = rig.client().await;
    taken(&mut client, "t", &batch(&["a"], now - 50_000)).await;
    taken(&mut client, "t", &batch(&["b"], now + 1_000_000)).await;
    let old = batch(&["c"], now - 200_000);
    assert_eq!(refused(&mut client, "t", &old).await, ErrorCode::InvalidTimestamp);
    set_topic(&mut client, "t", "message.timestamp.after.max.ms", "500000").await;
    let early = batch(&["d"], now + 1_000_000);
    rig.until("t", 0, |handle| handle.config().message_timestamp_after_max_ms == 500_000).await;
    assert_eq!(refused(&mut client, "t", &early).await, ErrorCode::InvalidTimestamp);
    set_topic(&mut client, "t", "message.timestamp.type", "LogAppendTime").await;
    let own = model::settings::TimestampType::LogAppendTime;
    rig.until("t", 0, |handle| handle.config().message_timestamp_type == own).await;
    taken(&mut client, "t", &old).await;
    let last = headers(&mut client, "t").await.pop().unwrap();
    assert_eq!(last.timestamp_type(), TimestampType::LogAppendTime);
    assert!((now..=rig.world.now().wall_ms).contains(&last.max_timestamp));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_kept_with_the_topics_codec_at_its_level() {
    let mut rig = Rig::start().await;
    let text = (0..20_000).map(|n| format!("{} ", n * n % 1013)).collect::<String>();
    let mut client = rig.client().await;
    for (codec, level, low, high) in [
        (Codec::Gzip, "compression.gzip.level", "1", "9"),
        (Codec::Zstd, "compression.zstd.level", "-50", "19"),
    ] {
        let topic = codec.name();
        rig.topic(topic, 1, &[("compression.type", topic), (level, low)]).await;
        taken(&mut client, topic, &batch(&[&text], 1)).await;
        set_topic(&mut client, topic, level, high).await;
        let set = high.parse::<i32>().unwrap();
        rig.until(topic, 0, |handle| {
            let config = handle.config();
            [config.compression_gzip_level, config.compression_zstd_level].contains(&set)
        })
        .await;
        taken(&mut client, topic, &batch(&[&text], 1)).await;
        // What comes with the topic's codec is kept as it is, whatever its level.
        let own = batch_of(BatchBuilder::new(Compression { codec, level: 1 }), &[&text], 1);
        taken(&mut client, topic, &own).await;
        let kept = headers(&mut client, topic).await;
        assert!(kept.iter().all(|header| header.codec() == Ok(codec)), "{kept:?}");
        assert!(kept[0].size() > kept[1].size(), "{kept:?}");
        assert_eq!(kept[2].size(), own.size());
        set_topic(&mut client, topic, "compression.type", "uncompressed").await;
        let none = model::settings::CompressionType::Uncompressed;
        rig.until(topic, 0, |handle| handle.config().compression_type == none).await;
        taken(&mut client, topic, &own).await;
        assert!(headers(&mut client, topic).await[3].size() > text.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_is_the_one_told_last() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    let large = batch(&["x".repeat(3000).as_str()], 1);
    taken(&mut client, "t", &large).await;
    set_topic(&mut client, "t", "max.message.bytes", "2000").await;
    rig.until("t", 0, |handle| handle.config().max_message_bytes == 2000).await;
    assert_eq!(refused(&mut client, "t", &large).await, ErrorCode::MessageTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_actor_was_down_goes_by_what_was_told_meanwhile() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    taken(&mut client, "t", &batch(&["a"], 1)).await;
    let handle = rig.handle("t", 0);
    // What is told meets an actor that is about to fail, is down, or is back.
    for failed in 1..=3 {
        let message = "a bug".to_owned();
        handle.address().send(PartitionMsg::Panic { message }).await.unwrap();
        rig.configure("t", "max.message.bytes", &(2000 + failed).to_string());
        rig.until("t", 0, |h| h.config().max_message_bytes == 2000 + failed).await;
    }
}

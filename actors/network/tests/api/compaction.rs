//! Compacted topics: what is left of them, when, and what becomes of those that cannot be compacted.

use std::collections::BTreeMap;

use model::ErrorCode;
use runtime::ActorTree;
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};
use wire::{DescribeCausesRequest, MetadataRecord, RemoveTopicRecord};

use crate::configs::set_topic;
use crate::fetch::fetch;
use crate::log_dirs::alter;
use crate::produce::produce;
use crate::rig::{Client, LIMIT, Rig, dir_id, topic_id};

/// Looks for dirty logs all the time.
const EAGER: (&str, &str) = ("log.cleaner.backoff.ms", "2");
const COMPACT: (&str, &str) = ("cleanup.policy", "compact");
/// A few batches fill a segment.
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");
const ALWAYS: (&str, &str) = ("min.cleanable.dirty.ratio", "0.01");
const KEYS: usize = 5;

fn keyed(codec: Codec, key: &str, value: Option<&str>, timestamp: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    builder.append(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    builder.build().unwrap()
}

async fn put(client: &mut Client, topic: &str, batch: &RecordBatch) -> i64 {
    let response = produce(client, topic, 9, batch).await;
    assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::None);
    response.base_offset
}

/// Rounds of one record for each key; the last values.
async fn fill(client: &mut Client, topic: &str, rounds: usize) -> BTreeMap<String, String> {
    let mut last = BTreeMap::new();
    for round in 0..rounds {
        for key in 0..KEYS {
            let (key, value) = (format!("k{key}"), format!("{round:0100}"));
            put(client, topic, &keyed(Codec::None, &key, Some(&value), 1)).await;
            last.insert(key, value);
        }
    }
    last
}

/// Offset, key and value of everything that a consumer gets to read.
async fn all(client: &mut Client, topic: &str) -> Vec<(i64, String, Option<String>)> {
    let mut found: Vec<(i64, String, Option<String>)> = Vec::new();
    let mut next = 0;
    loop {
        let fetched = fetch(client, topic, 12, next).await;
        let bytes = fetched.records.as_ref().and_then(|records| records.as_bytes()).cloned();
        if fetched.error_code == ErrorCode::OffsetOutOfRange.code() {
            next = fetched.log_start_offset.max(next + 1);
            continue;
        }
        for batch in wire::batch::batches(bytes.unwrap_or_default()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            for record in batch.records(1 << 20).unwrap().map(Result::unwrap) {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let (key, value) = (record.key.unwrap(), record.value);
                found.push((record.offset, text(&key), value.map(|value| text(&value))));
            }
            next = batch.header().next_offset();
        }
        if next >= fetched.high_watermark {
            assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
            return found;
        }
    }
}

/// Reads until what is there satisfies the condition.
async fn until_left(
    rig: &Rig,
    client: &mut Client,
    topic: &str,
    holds: impl Fn(&[(i64, String, Option<String>)]) -> bool,
) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let reads = async {
        loop {
            found = all(client, topic).await;
            if holds(&found) {
                return;
            }
        }
    };
    if rig.world.timeout(LIMIT, reads).await.is_err() {
        let tree = rig.world.registry().look(&rig.world).await;
        let actors: Vec<_> =
            tree.iter().map(|actor| (&actor.path, &actor.status, &actor.state)).collect();
        panic!("left at last: {} records, while {actors:?}", found.len());
    }
    found
}

fn latest(found: &[(i64, String, Option<String>)]) -> BTreeMap<String, String> {
    let entries = found.iter().filter_map(|(_, key, value)| Some((key.clone(), value.clone()?)));
    entries.collect()
}

/// Waits until the cleaner tells this of itself.
async fn until_says(rig: &Rig, holds: impl Fn(&ActorTree) -> bool) {
    let looks = async {
        loop {
            let tree = rig.world.registry().look(&rig.world).await;
            if tree.iter().any(|actor| actor.kind == "log-cleaner" && holds(actor)) {
                return;
            }
        }
    };
    rig.world.timeout(LIMIT, looks).await.expect("it says so in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_of_each_key_stays_also_of_a_topic_that_was_not_compacted() {
    let mut rig = Rig::with_settings(&[EAGER]).await;
    rig.topic("t", 1, &[SMALL, ALWAYS, ("delete.retention.ms", "0")]).await;
    let mut client = rig.client().await;
    let expected = fill(&mut client, "t", 20).await;
    assert_eq!(all(&mut client, "t").await.len(), 20 * KEYS);
    set_topic(&mut client, "t", COMPACT.0, COMPACT.1).await;
    // What is in the segment in use stays.
    let found = until_left(&rig, &mut client, "t", |left| left.len() < 4 * KEYS).await;
    assert_eq!(latest(&found), expected);
    // A tombstone goes with what it covers: in one pass its time begins, in a later one it is over.
    let mut expected = fill(&mut client, "t", 20).await;
    put(&mut client, "t", &keyed(Codec::None, "k0", None, 1)).await;
    expected.remove("k0");
    let other = "x".repeat(200);
    expected.insert("other".into(), other.clone());
    let writes = async {
        loop {
            put(&mut client, "t", &keyed(Codec::None, "other", Some(&other), 1)).await;
            let found = all(&mut client, "t").await;
            if found.iter().all(|(_, key, _)| key != "k0") {
                return found;
            }
        }
    };
    let found = rig.world.timeout(LIMIT, writes).await.expect("tombstones go");
    assert_eq!(latest(&found), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_compacted() {
    let mut rig = Rig::with_settings(&[EAGER]).await;
    let mut client = rig.client().await;
    for codec in Codec::ALL {
        let topic = codec.name();
        rig.topic(topic, 1, &[COMPACT, ("internal.segment.bytes", "300"), ALWAYS]).await;
        for n in 0..50 {
            let (key, value) = (format!("k{}", n % KEYS), format!("{n}"));
            put(&mut client, topic, &keyed(codec, &key, Some(&value), 1)).await;
        }
        let found = until_left(&rig, &mut client, topic, |left| left.len() < 3 * KEYS).await;
        let expected = (45..50).map(|n| (format!("k{}", n % KEYS), format!("{n}"))).collect();
        assert_eq!(latest(&found), expected, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_also_deleted_loses_old_segments_to_the_cleaner() {
    let mut rig = Rig::with_settings(&[EAGER]).await;
    rig.topic("t", 1, &[SMALL, ALWAYS, ("cleanup.policy", "compact,delete")]).await;
    let mut client = rig.client().await;
    for n in 0..40 {
        put(&mut client, "t", &keyed(Codec::None, &format!("{n:0200}"), Some("v"), -1)).await;
    }
    assert_eq!(rig.handle("t", 0).log_start_offset(), 0);
    set_topic(&mut client, "t", "retention.bytes", "2000").await;
    rig.until("t", 0, |handle| handle.log_start_offset() > 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dirty_ratio_and_the_lags_are_kept() {
    let mut rig = Rig::with_settings(&[EAGER]).await;
    let now = rig.world.now().wall_ms;
    let young = [COMPACT, SMALL, ALWAYS, ("min.compaction.lag.ms", "3600000")];
    rig.topic("young", 1, &young).await;
    rig.topic("clean", 1, &[COMPACT, SMALL, ("min.cleanable.dirty.ratio", "1.0")]).await;
    rig.topic("dirty", 1, &[COMPACT, SMALL, ALWAYS]).await;
    let mut client = rig.client().await;
    for n in 0..50 {
        for topic in ["young", "clean", "dirty"] {
            let value = format!("{n:0100}");
            put(&mut client, topic, &keyed(Codec::None, "k", Some(&value), now)).await;
        }
    }
    // Those before it in the cleaner's order were looked at as often.
    until_left(&rig, &mut client, "dirty", |left| left.len() < 10).await;
    for topic in ["young", "clean"] {
        assert_eq!(all(&mut client, topic).await.len(), 50, "{topic}");
    }
    set_topic(&mut client, "young", "min.compaction.lag.ms", "0").await;
    set_topic(&mut client, "clean", "max.compaction.lag.ms", "1").await;
    for topic in ["young", "clean"] {
        until_left(&rig, &mut client, topic, |left| left.len() < 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_is_too_low_can_be_raised() {
    let slow = [EAGER, ("log.cleaner.io.max.bytes.per.second", "1")];
    let mut rig = Rig::with_settings(&slow).await;
    rig.topic("t", 1, &[COMPACT, SMALL, ALWAYS]).await;
    let mut client = rig.client().await;
    fill(&mut client, "t", 20).await;
    until_says(&rig, |cleaner| cleaner.state.contains("compacting t-0")).await;
    assert_eq!(all(&mut client, "t").await.len(), 20 * KEYS);
    rig.resettle(&[EAGER]);
    until_left(&rig, &mut client, "t", |left| left.len() < 4 * KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_logs_are_compacted_at_a_time_as_there_are_threads() {
    let slow = ("log.cleaner.io.max.bytes.per.second", "1");
    let mut rig = Rig::with_settings(&[EAGER, slow, ("log.cleaner.threads", "2")]).await;
    let mut client = rig.client().await;
    for topic in ["a", "b", "c"] {
        rig.topic(topic, 1, &[COMPACT, SMALL, ALWAYS]).await;
        fill(&mut client, topic, 20).await;
    }
    until_says(&rig, |cleaner| {
        cleaner.state.contains("compacting") && cleaner.state.matches("-0").count() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_that_cannot_be_compacted_is_left_alone_and_told_of() {
    let mut rig = Rig::with_settings(&[EAGER]).await;
    for topic in ["bad", "good"] {
        rig.topic(topic, 1, &[SMALL, ALWAYS]).await;
    }
    let mut client = rig.client().await;
    for topic in ["bad", "good"] {
        fill(&mut client, topic, 20).await;
    }
    let path = rig.handle("bad", 0).log_dir().path.join("bad-0/00000000000000000000.log");
    let file = rig.world.disk().open(&path, disk::Open::ReadWrite).unwrap();
    file.write_at(b"?", 100).unwrap();
    for topic in ["bad", "good"] {
        set_topic(&mut client, topic, COMPACT.0, COMPACT.1).await;
    }
    until_left(&rig, &mut client, "good", |left| left.len() < 4 * KEYS).await;
    let counts = |cleaner: &ActorTree, expected| {
        let count = cleaner.numbers.iter().find(|(name, _)| *name == "uncleanable_partitions");
        count.is_some_and(|(_, count)| *count == expected)
    };
    until_says(&rig, |cleaner| cleaner.state.contains("UNCLEANABLE bad-0") && counts(cleaner, 1))
        .await;
    put(&mut client, "bad", &keyed(Codec::None, "k0", Some("still written"), 1)).await;
    let causes = DescribeCausesRequest::default();
    let told = client.call(&causes, 0).await.uncleanable;
    assert_eq!((told.len(), told[0].topic.as_str(), told[0].partition_index), (1, "bad", 0));
    // Nobody compacts what is not to be; and if it is again, it cannot be.
    for (policy, given_up) in [("delete", 0), ("compact", 1)] {
        set_topic(&mut client, "bad", COMPACT.0, policy).await;
        until_says(&rig, |cleaner| counts(cleaner, given_up)).await;
        assert_eq!(client.call(&causes, 0).await.uncleanable.len(), usize::from(given_up == 1));
    }
    rig.publish([MetadataRecord::RemoveTopic(RemoveTopicRecord {
        topic_id: topic_id("bad"),
        ..Default::default()
    })]);
    until_says(&rig, |cleaner| !cleaner.state.contains("UNCLEANABLE") && counts(cleaner, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_keys_are_held_at_a_time_as_there_is_memory_for() {
    let (buffer, factor) =
        (("log.cleaner.dedupe.buffer.size", "2000000"), "log.cleaner.io.buffer.load.factor");
    let mut rig = Rig::with_settings(&[EAGER, buffer, (factor, "0.00001")]).await;
    rig.topic("t", 1, &[COMPACT, SMALL, ALWAYS]).await;
    let mut client = rig.client().await;
    fill(&mut client, "t", 20).await;
    let refused = "2000000 bytes at load factor 0.00001 hold not even one key";
    until_says(&rig, |cleaner| cleaner.state.contains(refused)).await;
    rig.resettle(&[EAGER, buffer, (factor, "0.001")]);
    until_left(&rig, &mut client, "t", |left| left.len() < 4 * KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_that_moves_keeps_no_other_from_being_compacted() {
    let mut rig = Rig::with_dirs(2, &[EAGER]).await;
    let mut client = rig.client().await;
    // As dirty as the other, and before it.
    for topic in ["moved", "stays"] {
        rig.topic(topic, 1, &[SMALL, ALWAYS]).await;
        fill(&mut client, topic, 20).await;
    }
    let to = rig.log_dirs.0[1].absolute_path().to_owned();
    assert_eq!(alter(&mut client, &[(&to, "moved", 0)], 2).await, [0]);
    let handle = rig.handle("moved", 0);
    rig.wait_for("it is copied", || !rig.assignments.is_empty()).await;
    for topic in ["moved", "stays"] {
        set_topic(&mut client, topic, COMPACT.0, COMPACT.1).await;
    }
    until_left(&rig, &mut client, "stays", |left| left.len() < 4 * KEYS).await;
    assert_eq!(all(&mut client, "moved").await.len(), 20 * KEYS);
    rig.assign("moved", 0, dir_id(1));
    rig.wait_for("it is there", || handle.log_dir().id == dir_id(1)).await;
    until_left(&rig, &mut client, "moved", |left| left.len() < 4 * KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaner_that_is_off_says_so() {
    let rig = Rig::with_settings(&[EAGER, ("log.cleaner.enable", "false")]).await;
    until_says(&rig, |cleaner| cleaner.state.starts_with("off")).await;
}

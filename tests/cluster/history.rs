//! The checker: what producers were told, against what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::group::Records;
use crate::producers::{Delivery, Sent};

/// Each acknowledged record is there once, where the producer was told; what was not acknowledged is there once at most; each
/// producer's records lie in their order; offsets have no gaps.
pub fn check(deliveries: &[Delivery], records: &Records, ends: &BTreeMap<i32, i64>) {
    let mut places: BTreeMap<Sent, i64> = BTreeMap::new();
    let mut newest: BTreeMap<(u32, i32), u64> = BTreeMap::new();
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for (&(partition, offset), sent) in records {
        let expected = next.entry(partition).or_default();
        assert_eq!(offset, *expected, "a gap in partition {partition}");
        *expected += 1;
        assert_eq!(sent.partition, partition, "{sent:?} is in partition {partition}");
        if let Some(first) = places.insert(*sent, offset) {
            panic!("{sent:?} is there twice, at {first} and {offset}");
        }
        let before = newest.insert((sent.producer, partition), sent.number);
        assert!(before < Some(sent.number), "{sent:?} at {offset} comes after {before:?}");
    }
    assert_eq!(&next, ends, "what was read, and where the logs end");
    let mut lost: Vec<&Delivery> = Vec::new();
    for delivery in deliveries {
        let Ok(told) = &delivery.outcome else { continue };
        if places.get(&delivery.sent) != Some(told) {
            lost.push(delivery);
        }
    }
    let (first, count, all) = (lost.first(), lost.len(), deliveries.len());
    assert!(lost.is_empty(), "{count} of {all} are not where they were acknowledged: {first:?}");
    let refused = deliveries.iter().find(|delivery| delivery.outcome.is_err());
    assert!(refused.is_none(), "an idempotent producer loses nothing: {refused:?}");
}

/// All that a replica's segments hold, one after the other.
pub fn log_of(data: &Path, topic: &str, partition: i32) -> Vec<u8> {
    let Ok(entries) = fs::read_dir(data.join(format!("{topic}-{partition}"))) else {
        return Vec::new();
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut segments: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    segments.sort();
    segments.iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect()
}

use model::Persist;

use super::*;
use crate::map::Map;

/// What the log cleaner leaves of the records before `end`, which need not be the end of a batch.
fn compacted(records: &[StoredRecord], end: usize, tombstones: bool) -> Vec<StoredRecord> {
    let latest: Map<&Bytes, usize> =
        records[..end].iter().enumerate().map(|(at, record)| (&record.key, at)).collect();
    let stays = |(at, record): &(usize, &StoredRecord)| {
        *at >= end || latest[&record.key] == *at && (tombstones || record.value.is_some())
    };
    records.iter().enumerate().filter(stays).map(|(_, record)| record.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_has_been_compacted_the_states_are_the_same() {
    let rig = Rig::loaded(Vec::new()).await;
    for n in 1..=3 * SNAPSHOT_EVERY + 2 {
        rig.ask("a", Command::Add(n)).await;
        rig.ask("b", Command::Add(1)).await;
    }
    let (a, b) = (rig.ask("a", Command::Get).await, rig.ask("b", Command::Get).await);
    let records = rig.records();
    for end in 0..=records.len() {
        for tombstones in [false, true] {
            let left = compacted(&records, end, tombstones);
            let again = Rig::loaded(left).await;
            assert_eq!(again.ask("a", Command::Get).await, a, "{end}");
            assert_eq!(again.ask("b", Command::Add(1)).await, b + 1, "{end}");
        }
    }
    // Of each key a snapshot, and at most so many entries.
    let left = compacted(&records, records.len(), false).len() as u64;
    assert!(left <= 2 * (SNAPSHOT_EVERY + 1), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_with_a_gap_is_refused() {
    let rig = Rig::loaded(Vec::new()).await;
    for _ in 0..3 {
        rig.ask("a", Command::Add(1)).await;
    }
    let mut records = rig.records();
    records.remove(1);
    let why = Rig::over(records).failure().await;
    assert!(why.contains("before entry 3 of the key \\\"a\\\" one is missing"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_journal_is_refused_with_a_reason() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.ask("a", Command::Add(1)).await;
    let good = rig.records().remove(0);
    let value = good.value.clone().unwrap();
    let with = |key: &[u8], value: &[u8]| StoredRecord {
        key: Bytes::copy_from_slice(key),
        value: Some(Bytes::copy_from_slice(value)),
    };
    let lengths = [&value[..1], &[0xfd; 40]].concat();
    for (record, reason) in [
        (with(b"order-17", &value), "of no known kind"),
        (with(&good.key[..4], &value), "cut short"),
        (with(&[&good.key[..], &[0xff]].concat(), &value), "no text"),
        (with(&good.key, b""), "empty"),
        (with(&[&[1], &[0xff; 8][..], b"a"].concat(), &value), "last number"),
        (with(&good.key, &[&[9], &value[1..]].concat()), "format 9"),
        (with(&good.key, &value[..value.len() - 1]), "cannot be read"),
        (with(&good.key, &[&value[..], b"x"].concat()), "1 bytes follow"),
        (with(&good.key, &lengths), "cannot be read"),
    ] {
        let why = Rig::over(vec![good.clone(), record]).failure().await;
        assert!(why.contains(reason), "{reason}: {why}");
    }
}

#[test]
fn no_bytes_make_a_decoder_panic_or_reserve_what_is_not_there() {
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for round in 0..20_000 {
        let mut value: Vec<u8> = (0..round % 64).map(|_| byte()).collect();
        value.insert(0, 1);
        let key = [&[byte() % 2], &[0; 8][..], b"a"].concat();
        let record = StoredRecord { key: key.into(), value: Some(value.into()) };
        drop(Change::<Tally>::decode(&record));
    }
}

/// As the journal writes it, in another version of the user's.
fn entry(version: u32, event: &[u8]) -> StoredRecord {
    type Body = (
        u32,
        i64,
        Option<([u8; 16], u64, Option<Vec<u8>>)>,
        Vec<(String, Option<i64>)>,
        Vec<Vec<u8>>,
    );
    let body: Body = (version, START_MS, None, Vec::new(), vec![event.to_vec()]);
    let body = bincode::encode_to_vec(&body, bincode::config::standard()).unwrap();
    let key = [&[1], &1u64.to_be_bytes()[..], b"a"].concat();
    StoredRecord { key: key.into(), value: Some([&[1], &body[..]].concat().into()) }
}

#[tokio::test(start_paused = true)]
async fn events_of_older_versions_are_upgraded_and_newer_ones_refused() {
    let old = Rig::loaded(vec![entry(1, &encode(&40u64).unwrap())]).await;
    assert_eq!(old.ask("a", Command::Add(2)).await, 42);
    let new = entry(3, &encode(&Event::Added(1)).unwrap());
    let why = Rig::over(vec![new]).failure().await;
    assert!(why.contains("written in version 3, where 2 is known"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_fit_is_refused() {
    let unfit = DurableSettings { unfit: Some("it is too round".to_owned()), ..settings() };
    let why = Rig::with(TestLog::led(Vec::new()), unfit).failure().await;
    assert!(why.contains("it is too round"), "{why}");
}

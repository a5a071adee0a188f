//! Transactions: aborted data goes at once, a marker when its data is gone and it has aged.

use ControlRecordType::{Abort, Commit};

use super::*;

fn txn(producer: i64, sequence: i32) -> impl Fn(BatchBuilder) -> BatchBuilder {
    move |builder| builder.producer(producer, 0, sequence).transactional(true)
}

fn put(log: &mut Compacted, producer: i64, key: &str, value: &str) -> i64 {
    log.append(Codec::None, &[(key, Some(value))], txn(producer, 0))
}

fn markers(log: &Compacted) -> Vec<i64> {
    let headers = log.headers();
    let control = headers.iter().filter(|header| header.is_control());
    control.map(|header| header.base_offset).collect()
}

fn index(log: &Compacted) -> Vec<(i64, i64)> {
    let found = log.log.view().aborted_transactions(0, i64::MAX).unwrap();
    found.iter().map(|txn| (txn.producer_id.0, txn.first_offset)).collect()
}

#[test]
fn aborted_records_supersede_nothing_and_go_at_once() {
    let mut log = Compacted::new(config());
    put(&mut log, 1, "a", "committed");
    log.end_txn(1, Commit);
    let first = put(&mut log, 2, "a", "aborted");
    put(&mut log, 3, "b", "other");
    let abort = log.end_txn(2, Abort);
    let commit = log.end_txn(3, Commit);
    log.roll();
    log.clean(1000);
    let pair = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    assert_eq!(log.pairs(), [pair("a", "committed"), pair("b", "other")]);
    // The abort marker stays until readers of the data cannot miss it; its entry in the index is needed by nobody.
    assert_eq!((markers(&log), index(&log)), (vec![1, abort, commit], vec![(2, first)]));
    log.put(&[("c", None)]);
    log.roll();
    log.clean(1000);
    // Seen without data, it begins to age.
    let aging = log.headers().into_iter().find(|header| header.base_offset == abort).unwrap();
    assert_eq!(aging.delete_horizon_ms(), Some(1000 + RETENTION));
    assert_eq!((markers(&log), index(&log)), (vec![1, abort, commit], vec![]));
    let mut log = log.reopen();
    log.put(&[("c", None)]);
    log.roll();
    log.clean(1000 + RETENTION);
    assert_eq!(markers(&log), [1, commit]);
}

#[test]
fn a_commit_marker_stays_as_long_as_its_data() {
    let mut log = Compacted::new(config());
    put(&mut log, 1, "a", "1");
    put(&mut log, 1, "b", "1");
    log.end_txn(1, Commit);
    log.roll();
    for (now_ms, key, left) in
        [(0, "a", vec![2]), (1000, "b", vec![2]), (2000, "c", vec![2]), (3000, "c", vec![])]
    {
        log.put(&[(key, Some("2"))]);
        log.roll();
        log.clean(now_ms);
        assert_eq!(markers(&log), left, "at {now_ms}");
    }
}

#[test]
fn a_producers_empty_batch_keeps_marker_and_entry() {
    let mut log = Compacted::new(config());
    let first = put(&mut log, 1, "a", "1");
    let abort = log.end_txn(1, Abort);
    log.roll();
    let last = LastRecord { last_data_offset: Some(first), producer_epoch: 0 };
    let active = || CompactionOptions { active_producers: [(1, last)].into(), ..options(1000) };
    for now_ms in [1000, 2000, 3000] {
        log.put(&[("b", None)]);
        log.roll();
        log.clean_with(CompactionOptions { now_ms, ..active() });
        assert_eq!(log.headers()[0].count, 0);
        assert_eq!((markers(&log), index(&log)), (vec![abort], vec![(1, first)]));
        assert_eq!(log.headers()[1].delete_horizon_ms(), None);
    }
    let log = log.reopen();
    assert_eq!(index(&log), [(1, first)]);
}

#[test]
fn the_marker_that_tells_a_producers_epoch_stays() {
    let mut log = Compacted::new(config());
    put(&mut log, 1, "a", "1");
    let abort = log.end_txn(1, Abort);
    log.roll();
    let last = LastRecord { last_data_offset: None, producer_epoch: 0 };
    for now_ms in [1000, 2000, 3000] {
        log.put(&[("b", None)]);
        log.roll();
        log.clean_with(CompactionOptions {
            active_producers: [(1, last)].into(),
            ..options(now_ms)
        });
    }
    let left = log.headers()[0];
    assert_eq!((left.base_offset, left.count, left.is_control()), (abort, 0, true));
    // A batch without its record is nobody's marker.
    log.put(&[("b", None)]);
    log.roll();
    log.clean(4000);
    assert!(markers(&log).is_empty());
}

#[test]
fn markers_of_other_kinds_stay() {
    let mut log = Compacted::new(config());
    log.end_txn(-1, ControlRecordType::LeaderChange);
    log.put(&[("a", None)]);
    log.roll();
    for now_ms in [0, 1000, 2000] {
        log.clean_range(&LogToClean { first_dirty_offset: 0, ..log.to_clean(0) }, options(now_ms));
    }
    assert_eq!(markers(&log), [0]);
}

#[test]
fn transactions_that_span_segments_and_groups_are_known_in_each() {
    // Segments of a batch or two, and groups of some.
    let mut log = Compacted::new(LogConfig { segment_bytes: 300, ..config() });
    let first = put(&mut log, 1, "a", "aborted");
    for round in 0..20 {
        put(&mut log, 1, &format!("k{round}"), "aborted");
        log.put(&[(&format!("k{round}"), Some("kept"))]);
        if round % 5 == 4 {
            put(&mut log, 2, "t", &format!("committed {round}"));
            log.end_txn(2, Commit);
        }
    }
    let abort = log.end_txn(1, Abort);
    log.roll();
    log.put(&[("head", None)]);
    assert!(log.log.segment_count() > 10);
    log.clean(0);
    let kept: Vec<_> = log.pairs().into_iter().filter_map(|(_, value)| value).collect();
    assert_eq!(kept.iter().filter(|value| *value == "kept").count(), 20);
    assert_eq!(kept.iter().filter(|value| *value == "committed 19").count(), 1);
    assert_eq!(kept.len(), 21);
    assert_eq!(index(&log), [(1, first)]);
    assert!(markers(&log).contains(&abort));
}

#[test]
fn a_pass_that_begins_within_a_transaction_knows_it() {
    let mut log = Compacted::new(config());
    log.put(&[("a", Some("good"))]);
    put(&mut log, 1, "a", "aborted");
    log.roll();
    // What a last stable offset at the transaction's begin allows.
    let to_clean = LogToClean { first_uncleanable_offset: 0, ..log.to_clean(0) };
    log.clean_range(&to_clean, options(0));
    assert_eq!(log.checkpoint, Some(0));
    put(&mut log, 1, "a", "aborted");
    log.end_txn(1, Abort);
    log.put(&[("b", Some("1"))]);
    log.roll();
    let to_clean = LogToClean { first_dirty_offset: 2, ..log.to_clean(0) };
    log.clean_range(&to_clean, options(0));
    let keys_and_values: Vec<_> =
        log.pairs().into_iter().map(|(_, value)| value.unwrap()).collect();
    assert_eq!(keys_and_values, ["good", "1"]);
}

/// As after an unclean election: the cleaned segment is the one in use again, and the new leader's transaction ends in it.
#[test]
fn what_is_aborted_in_a_cleaned_segment_that_was_cut_is_known_after_a_stop() {
    let mut log = Compacted::new(config());
    log.put(&[("a", Some("1"))]);
    log.put(&[("a", Some("2"))]);
    log.put(&[("b", Some("1"))]);
    log.roll();
    log.clean(0);
    assert!(log.log.truncate_to(2, 0).unwrap().is_some());
    let first = put(&mut log, 1, "c", "aborted");
    log.end_txn(1, Abort);
    assert_eq!(index(&log), [(1, first)]);
    let log = log.reopen();
    assert_eq!(index(&log), [(1, first)]);
}

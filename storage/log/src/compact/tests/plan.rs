//! What there is to clean.

use super::*;

/// Segments of 100 bytes and one batch each, at offsets 0, 1, 2 and so on; batch `n` has the timestamp `1000 + 100 n`.
fn log(batches: i64) -> Compacted {
    let mut log = Compacted::new(config());
    for at in 0..batches {
        let base = log.log.log_end_offset();
        let mut builder = BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(1);
        builder.append(1000 + 100 * at, Some(b"key"), Some(&[7; 29]), &[]);
        let batch = builder.build().unwrap();
        assert_eq!(batch.size(), 100);
        log.log.append(&[batch], 0).unwrap();
        log.roll();
    }
    log
}

fn plan(
    log: &Compacted,
    policy: CompactionPolicy,
    checkpoint: Option<i64>,
    stable: i64,
    now_ms: i64,
) -> LogToClean {
    log.log.view().to_clean(&policy, checkpoint, stable, &*log.disk, now_ms).unwrap()
}

#[test]
fn dirty_is_what_follows_the_checkpoint() {
    let log = log(10);
    // Checkpoint, last stable offset; first dirty, first uncleanable, clean and cleanable bytes.
    for (checkpoint, stable, expected) in [
        (None, 10, (0, 10, 0, 1000)),
        (Some(0), 10, (0, 10, 0, 1000)),
        (Some(4), 10, (4, 10, 400, 600)),
        (Some(4), 7, (4, 7, 400, 300)),
        (Some(7), 4, (7, 7, 700, 0)),
        (Some(10), 10, (10, 10, 1000, 0)),
    ] {
        let plan = plan(&log, POLICY, checkpoint, stable, 0);
        let LogToClean { first_dirty_offset, first_uncleanable_offset, .. } = plan;
        let bytes = (plan.clean_bytes, plan.cleanable_bytes);
        assert_eq!((first_dirty_offset, first_uncleanable_offset, bytes.0, bytes.1), expected);
        assert!(!plan.checkpoint_is_invalid);
        assert_eq!(plan.total_bytes(), bytes.0 + bytes.1);
    }
}

#[test]
fn the_segment_in_use_is_not_cleaned() {
    let mut log = Compacted::new(config());
    log.put(&[("a", None)]);
    let plan = plan(&log, POLICY, None, 1, 0);
    assert_eq!(
        (plan.cleanable_bytes, plan.cleanable_ratio(), plan.is_due(&POLICY)),
        (0, 0.0, false)
    );
}

#[test]
fn a_checkpoint_outside_the_log_begins_at_its_start() {
    let mut log = log(10);
    log.log.advance_log_start(3);
    for (checkpoint, invalid) in [(2, true), (3, false), (10, false), (11, true)] {
        let plan = plan(&log, POLICY, Some(checkpoint), 10, 0);
        assert_eq!(plan.checkpoint_is_invalid, invalid);
        assert_eq!(plan.first_dirty_offset, if invalid { 3 } else { checkpoint });
    }
    assert_eq!(plan(&log, POLICY, None, 10, 0).first_dirty_offset, 3);
}

#[test]
fn young_segments_wait() {
    let log = log(10);
    let policy = CompactionPolicy { min_compaction_lag_ms: 500, ..POLICY };
    let until =
        |now_ms, checkpoint| plan(&log, policy, checkpoint, 10, now_ms).first_uncleanable_offset;
    for (now_ms, expected) in [(1499, 0), (1500, 1), (1999, 5), (2000, 6), (2400, 10), (9999, 10)] {
        assert_eq!(until(now_ms, None), expected, "at {now_ms}");
    }
    assert_eq!(until(1500, Some(4)), 4);
}

#[test]
fn a_segment_without_timestamps_is_as_young_as_its_file() {
    let mut log = Compacted::new(config());
    log.sim.set_now_ms(5000);
    let mut builder = BatchBuilder::new(Compression::NONE).leader_epoch(1);
    builder.append(-1, Some(b"a"), None, &[]);
    log.log.append(&[builder.build().unwrap()], 0).unwrap();
    log.roll();
    let policy = CompactionPolicy { min_compaction_lag_ms: 500, ..POLICY };
    assert_eq!(plan(&log, policy, None, 1, 5499).first_uncleanable_offset, 0);
    assert_eq!(plan(&log, policy, None, 1, 5500).first_uncleanable_offset, 1);
}

#[test]
fn old_records_are_not_left_dirty() {
    let log = log(10);
    let policy =
        CompactionPolicy { max_compaction_lag_ms: 500, min_cleanable_dirty_ratio: 1.0, ..POLICY };
    for (now_ms, checkpoint, delay) in [
        (1500, None, 0),
        (1501, None, 1),
        (2000, None, 500),
        (2000, Some(4), 100),
        (1900, Some(4), 0),
    ] {
        let plan = plan(&log, policy, checkpoint, 10, now_ms);
        assert_eq!(plan.compaction_delay_ms, delay, "at {now_ms}");
        assert_eq!(plan.is_due(&policy), delay > 0);
    }
    assert_eq!(plan(&log, POLICY, None, 10, i64::MAX).compaction_delay_ms, 0);
    let nothing_cleanable = plan(&log, policy, None, 0, 9999);
    assert!(nothing_cleanable.compaction_delay_ms > 0 && !nothing_cleanable.is_due(&policy));
}

#[test]
fn a_pass_is_due_above_the_ratio() {
    let log = log(10);
    for (checkpoint, due) in [(4, true), (5, false), (6, false)] {
        assert_eq!(plan(&log, POLICY, Some(checkpoint), 10, 0).is_due(&POLICY), due);
    }
    let none = CompactionPolicy { min_cleanable_dirty_ratio: 0.0, ..POLICY };
    assert!(plan(&log, none, Some(9), 10, 0).is_due(&none));
    assert!(!plan(&log, none, Some(10), 10, 0).is_due(&none));
}

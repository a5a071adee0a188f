//! Why the oldest records of a log are still there.

use wire::describe_causes_response::CausesLog;

use super::Finding;
use super::finding::Since;
use super::text::{ago, time};

/// A transaction may be open for so long: producers have it aborted after as much, unless `transaction.timeout.ms` says other.
const YOUNG_MS: i64 = 60_000;

/// What holds the last stable offset, where it is held: a fact while that is young, then a finding.
pub(super) fn held(log: &CausesLog, now_ms: i64) -> (Option<String>, Option<Finding>) {
    if log.failure.is_some() || log.last_stable_offset >= log.high_watermark {
        return (None, None);
    }
    let begun_ms = if log.begun_ms >= 0 { log.begun_ms } else { log.last_timestamp_ms };
    let why = holder(log, now_ms);
    let behind = log.high_watermark - log.last_stable_offset;
    if log.producer_id >= 0 && now_ms.saturating_sub(begun_ms) < YOUNG_MS {
        let young = format!(
            "read_committed consumers do not see {behind} records yet, from offset {} on: {why}",
            log.last_stable_offset
        );
        return (Some(young), None);
    }
    let finding = Finding {
        what: format!(
            "the last stable offset is held at {}: read_committed consumers see none of the {behind} records behind it",
            log.last_stable_offset
        ),
        since: (log.producer_id >= 0 && begun_ms >= 0)
            .then_some(Since { ms: begun_ms, or_before: log.begun_ms < 0 }),
        why: vec![why],
        unblocks: vec![match log.producer_id {
            ..0 => "bring its followers into sync".to_owned(),
            _ => "its producer must commit or abort, which Ottla does not serve yet: Kafka's kafka-transactions abort does, of a broker of Kafka's".to_owned(),
        }],
        ..Default::default()
    };
    (None, Some(finding))
}

fn holder(log: &CausesLog, now_ms: i64) -> String {
    match log.producer_id {
        ..0 => "a transaction that has ended is not on all replicas in sync yet".to_owned(),
        id => format!(
            "producer {id} (epoch {}) has a transaction open from offset {} on, and wrote last {}",
            log.producer_epoch,
            log.first_offset,
            ago(log.last_timestamp_ms, now_ms)
        ),
    }
}

/// Beyond two looks at retention, what is due is overdue.
const SLACK_MS: i64 = 5_000;

/// What is so of a log, and what is wrong with it, by the clock of its leader.
pub(super) fn kept(log: &CausesLog, now_ms: i64) -> (Vec<String>, Option<Finding>) {
    if let Some(failure) = &log.failure {
        return (vec![format!("its log cannot be looked at: {failure}")], None);
    }
    let mut facts = vec![format!(
        "its log holds {} bytes from offset {}; high watermark {}, last stable offset {}",
        log.bytes, log.start_offset, log.high_watermark, log.last_stable_offset
    )];
    if log.upper_offset <= log.base_offset {
        return (facts, None);
    }
    facts.push(segment(log));
    let finding = match log {
        _ if is_due(log, now_ms) => due(log, now_ms, &mut facts),
        log if !log.deletes => {
            facts.push("cleanup.policy has no delete: nothing goes by retention".to_owned());
            None
        }
        log if log.retention_ms >= 0 && log.newest_ms > now_ms => Some(in_the_future(log)),
        log => {
            facts.push(goes(log, now_ms));
            None
        }
    };
    (facts, finding)
}

fn segment(log: &CausesLog) -> String {
    let of = if log.by_file { "whose file is of" } else { "stamped" };
    let stamps = match (log.first_ms, log.newest_ms) {
        (_, ..0) => "without timestamps".to_owned(),
        (..0, newest) => format!("{of} {}", time(newest)),
        (first, newest) => format!("{of} {} to {}", time(first), time(newest)),
    };
    let last = if log.is_last { ", to which is written" } else { "" };
    format!(
        "its oldest segment, which goes as a whole, holds offsets {} to {}, {} bytes, {stamps}{last}",
        log.base_offset,
        log.upper_offset - 1,
        log.segment_bytes
    )
}

fn age_is_over(log: &CausesLog, now_ms: i64) -> bool {
    log.retention_ms >= 0
        && log.newest_ms >= 0
        && now_ms.saturating_sub(log.newest_ms) > log.retention_ms
}

/// As retention itself sees it.
fn is_due(log: &CausesLog, now_ms: i64) -> bool {
    let too_much = log.retention_bytes >= 0
        && log.bytes.saturating_sub(log.retention_bytes) >= log.segment_bytes;
    let is_deleted = !log.is_last && log.upper_offset <= log.start_offset;
    is_deleted || (log.deletes && (age_is_over(log, now_ms) || too_much))
}

fn due(log: &CausesLog, now_ms: i64, facts: &mut Vec<String>) -> Option<Finding> {
    let since = age_is_over(log, now_ms).then(|| log.newest_ms.saturating_add(log.retention_ms));
    let since = since.map(|ms| Since { ms, or_before: false });
    if log.upper_offset > log.high_watermark {
        return Some(Finding {
            what: "old records are not deleted: those behind them are not committed".to_owned(),
            since,
            why: vec![format!(
                "the high watermark is {}, and the segment ends at {}",
                log.high_watermark,
                log.upper_offset - 1
            )],
            unblocks: vec!["bring the followers in sync that have not fetched them".to_owned()],
            ..Default::default()
        });
    }
    let looks = log.looks_ms.max(0);
    let overdue = looks.saturating_mul(2).saturating_add(SLACK_MS);
    if log.looked_ms >= 0 && now_ms.saturating_sub(log.looked_ms) > overdue {
        return Some(Finding {
            what: "old records are not deleted, although they are due".to_owned(),
            since: since.or(Some(Since { ms: log.looked_ms, or_before: false })),
            why: vec![format!(
                "what retention gives up was looked at {} last, and is to be every {} s: unless the log is being compacted, or its actor or its disk hangs",
                ago(log.looked_ms, now_ms),
                looks / 1_000
            )],
            unblocks: vec![
                "look at the partition's actor, partitions above it, and its log directory: ottla tree".to_owned(),
            ],
            ..Default::default()
        });
    }
    let since = since.map_or_else(String::new, |since| format!(" since {}", time(since.ms)));
    facts.push(format!(
        "that is due{since}: it goes when retention is next looked at (every {} s)",
        looks / 1_000
    ));
    None
}

fn in_the_future(log: &CausesLog) -> Finding {
    Finding {
        what: "old records are not deleted by their time: some are stamped in the future"
            .to_owned(),
        why: vec![format!(
            "a segment goes retention.ms={} after its newest record, which is stamped {}",
            log.retention_ms,
            time(log.newest_ms)
        )],
        unblocks: vec![format!(
            "wait until {}, or delete them: kafka-delete-records; message.timestamp.after.max.ms refuses such records",
            time(log.newest_ms.saturating_add(log.retention_ms))
        )],
        ..Default::default()
    }
}

/// When it goes, and what would let it go sooner.
fn goes(log: &CausesLog, now_ms: i64) -> String {
    let by_size = match log.retention_bytes {
        ..0 => String::new(),
        limit => format!("; retention.bytes={limit} is not exceeded by a whole segment"),
    };
    let by_time = match (log.retention_ms, log.newest_ms) {
        (..0, _) if log.retention_bytes < 0 => {
            "neither retention.ms nor retention.bytes lets it go".to_owned()
        }
        (..0, _) => "retention.ms has no limit".to_owned(),
        (limit, ..0) => format!("retention.ms={limit} has nothing to count from"),
        (limit, newest) => {
            let older = log.first_ms >= 0 && now_ms.saturating_sub(log.first_ms) > limit;
            let why = match older {
                true => {
                    ": it has older records, and newer ones (segment.ms and segment.bytes make segments smaller)"
                }
                false => "",
            };
            format!(
                "it goes at {} by retention.ms={limit}{why}",
                time(newest.saturating_add(limit))
            )
        }
    };
    format!("{by_time}{by_size}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn log() -> CausesLog {
        CausesLog {
            high_watermark: 20,
            bytes: 2_000,
            upper_offset: 10,
            segment_bytes: 1_000,
            first_ms: NOW - 5_000,
            newest_ms: NOW - 1_000,
            deletes: true,
            retention_ms: 2_000,
            retention_bytes: -1,
            looks_ms: 300_000,
            looked_ms: NOW - 1_000,
            ..Default::default()
        }
    }

    #[test]
    fn each_reason_for_which_old_records_stay_is_told() {
        let said = |alter: fn(&mut CausesLog)| {
            let mut log = log();
            alter(&mut log);
            let (mut facts, finding) = kept(&log, NOW);
            (facts.pop().unwrap(), finding.map(|finding| finding.what).unwrap_or_default())
        };
        let fact = |alter, part: &str| {
            let (fact, finding) = said(alter);
            assert!(fact.contains(part) && finding.is_empty(), "{part:?}: {fact}; {finding}");
        };
        let finding = |alter, part: &str| {
            let (_, finding) = said(alter);
            assert!(finding.contains(part), "{part:?}: {finding}");
        };
        fact(|_| {}, "by retention.ms=2000: it has older records, and newer ones");
        fact(|log| log.retention_ms = 9_000, "by retention.ms=9000");
        fact(|log| log.retention_ms = -1, "neither retention.ms nor retention.bytes");
        fact(|log| log.retention_bytes = 1_001, "retention.bytes=1001 is not exceeded by a whole");
        fact(|log| log.retention_bytes = 1_000, "that is due: it goes when retention is next");
        fact(|log| log.retention_ms = 999, "that is due since 2023-11-14T22:13:19Z");
        fact(|log| log.deletes = false, "cleanup.policy has no delete");
        fact(|log| (log.deletes, log.start_offset) = (false, 10), "that is due: it goes when");
        fact(|log| log.upper_offset = 0, "its log holds 2000 bytes from offset 0");
        fact(|log| log.failure = Some("the disk is gone".to_owned()), "the disk is gone");
        finding(|log| log.newest_ms = NOW + 1, "stamped in the future");
        finding(|log| (log.retention_ms, log.high_watermark) = (0, 9), "are not committed");
        let nobody_looked = |log: &mut CausesLog| log.looked_ms = NOW - 605_001;
        finding(|log| (log.retention_ms, log.looked_ms) = (0, NOW - 605_001), "they are due");
        finding(
            |log| (log.retention_bytes, log.looked_ms) = (1_000, NOW - 605_001),
            "they are due",
        );
        fact(nobody_looked, "by retention.ms=2000");
        fact(
            |log| (log.retention_ms, log.newest_ms) = (0, NOW - 86_400_000),
            "that is due since 2023-11-13T22:13:20Z: it goes when",
        );
    }

    #[test]
    fn a_transaction_is_accused_once_it_is_old() {
        let open = |begun_ms: i64| CausesLog {
            last_stable_offset: 10,
            producer_id: 4,
            first_offset: 10,
            begun_ms,
            last_timestamp_ms: NOW - 1,
            ..log()
        };
        let who = "producer 4 (epoch 0) has a transaction open from offset 10 on";
        let (fact, finding) = held(&open(NOW - 59_999), NOW);
        assert!(fact.is_some_and(|fact| fact.contains(who)) && finding.is_none());
        let (fact, finding) = held(&open(NOW - 60_000), NOW);
        let finding = finding.expect("it is old");
        assert!(fact.is_none() && finding.why[0].starts_with(who), "{finding:?}");
        assert_eq!(finding.since, Some(Since { ms: NOW - 60_000, or_before: false }));
        let stable = CausesLog { last_stable_offset: 20, ..open(0) };
        assert_eq!(held(&stable, NOW), (None, None));
        let (fact, finding) = held(&CausesLog { producer_id: -1, ..open(NOW) }, NOW);
        assert!(fact.is_none() && finding.is_some_and(|f| f.why[0].contains("has ended")));
    }
}

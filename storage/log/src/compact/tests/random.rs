//! Random logs against what compaction promises.

use std::collections::BTreeSet;

use proptest::prelude::*;
use wire::batch::parse_control_type;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append { codec: Codec, producer: Option<u8>, records: Vec<(u8, bool)> },
    End { producer: u8, commit: bool },
    Roll,
    Clean { after_ms: i64, map_keys: usize, active: bool },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let codec = prop::sample::select(Codec::ALL.to_vec());
    let records = prop::collection::vec((0..12u8, prop::bool::weighted(0.8)), 1..6);
    let producer = prop::option::of(0..3u8);
    prop_oneof![
        8 => (codec, producer, records)
            .prop_map(|(codec, producer, records)| Step::Append { codec, producer, records }),
        3 => (0..3u8, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        2 => Just(Step::Roll),
        2 => (0..200i64, prop_oneof![1..8usize, Just(1000)], any::<bool>())
            .prop_map(|(after_ms, map_keys, active)| Step::Clean { after_ms, map_keys, active }),
        1 => Just(Step::Reopen),
    ]
}

/// What the test knows of the log it writes.
#[derive(Default)]
struct Known {
    /// Every data record that ever was, with its producer's open or ended transaction.
    records: BTreeMap<i64, (Record, Option<usize>)>,
    /// By number: whether it was committed, once it has ended.
    txns: Vec<Option<bool>>,
    /// Producer's open transaction: its number and first offset.
    open: BTreeMap<u8, (usize, i64)>,
    last_data: BTreeMap<i64, i64>,
    now_ms: i64,
}

impl Known {
    fn is_committed(&self, offset: i64) -> bool {
        self.records[&offset].1.is_none_or(|txn| self.txns[txn] == Some(true))
    }

    fn stable(&self, end: i64) -> i64 {
        self.open.values().map(|(_, first)| *first).min().unwrap_or(end)
    }

    /// The newest committed record of each key, among the records given.
    fn newest<'a>(
        &self,
        of: impl Iterator<Item = &'a Record>,
    ) -> BTreeMap<bytes::Bytes, &'a Record> {
        of.filter(|record| self.is_committed(record.offset))
            .map(|record| (record.key.clone().unwrap(), record))
            .collect()
    }

    /// What a reader may rely on, of the log as it is now.
    fn check(&self, log: &Compacted) {
        let view = log.log.view();
        let found = records(&view);
        for record in &found {
            assert_eq!(*record, self.records[&record.offset].0, "a record is as it was");
        }
        assert!(found.is_sorted_by_key(|record| record.offset));
        let all = self.newest(self.records.values().map(|(record, _)| record));
        let left = self.newest(found.iter());
        for (key, record) in &all {
            match left.get(key) {
                None => assert!(record.value.is_none(), "the last value of {key:?} is lost"),
                Some(left) => assert_eq!(left.offset, record.offset),
            }
        }
        self.check_transactions(&view);
        let mut next = 0;
        for header in log.headers() {
            assert!(header.base_offset >= next);
            next = header.next_offset();
        }
        assert_eq!(view.log_end_offset(), log.log.log_end_offset());
    }

    /// Every transaction with records left ends with its marker, and an aborted one is in the index.
    fn check_transactions(&self, view: &LogView) {
        let mut open: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        let index = view.aborted_transactions(0, i64::MAX).unwrap();
        for batch in batches(view) {
            let header = *batch.header();
            if !header.is_transactional() {
                continue;
            }
            if !header.is_control() {
                let offsets = batch.records(1 << 20).unwrap().map(|record| record.unwrap().offset);
                open.entry(header.producer_id).or_default().extend(offsets);
                continue;
            }
            let ended = open.remove(&header.producer_id).unwrap_or_default();
            let Some(record) = batch.records(100).unwrap().next() else {
                assert!(ended.is_empty());
                continue;
            };
            let kind = parse_control_type(&record.unwrap().key.unwrap()).unwrap();
            let commit = kind == Some(ControlRecordType::Commit);
            assert!(ended.iter().all(|offset| self.is_committed(*offset) == commit));
            let in_index = index.iter().any(|txn| txn.last_offset == header.base_offset);
            assert!(commit || ended.is_empty() || in_index);
        }
        for offset in open.values().flatten() {
            assert_eq!(self.txns[self.records[offset].1.unwrap()], None);
        }
    }

    /// Below a pass's end only the last record of each key is left, and nothing aborted.
    fn check_clean(&self, log: &Compacted, end: i64) {
        let view = log.log.view();
        let below = self.records.range(..end).map(|(_, (record, _))| record);
        let newest = self.newest(below);
        for record in records(&view).iter().filter(|record| record.offset < end) {
            assert!(self.is_committed(record.offset), "aborted records are gone");
            assert_eq!(newest[record.key.as_ref().unwrap()].offset, record.offset);
        }
    }
}

fn append(
    log: &mut Compacted,
    known: &mut Known,
    codec: Codec,
    producer: Option<u8>,
    records: &[(u8, bool)],
) {
    let base = log.log.log_end_offset();
    let keyed: Vec<_> = records
        .iter()
        .map(|(key, value)| (format!("key {key}"), value.then(|| format!("value at {base}"))))
        .collect();
    let keyed: Vec<_> = keyed.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    let txn = producer.map(|producer| {
        let next = known.txns.len();
        let (txn, _) = *known.open.entry(producer).or_insert((next, base));
        known.txns.resize(known.txns.len().max(txn + 1), None);
        txn
    });
    log.append(codec, &keyed, |builder| match producer {
        Some(id) => builder.producer(i64::from(id), 0, 0).transactional(true),
        None => builder,
    });
    let batch = batches(&log.log.view()).pop().unwrap();
    for record in batch.records(1 << 20).unwrap().map(Result::unwrap) {
        known.records.insert(record.offset, (record, txn));
    }
    if let Some(producer) = producer {
        known.last_data.insert(i64::from(producer), batch.header().last_offset());
    }
}

fn clean(log: &mut Compacted, known: &Known, map_keys: usize, active: bool) {
    let last = |(producer, offset): (&i64, &i64)| {
        (*producer, LastRecord { last_data_offset: Some(*offset), producer_epoch: 0 })
    };
    let end = log.log.log_end_offset();
    let stable = known.stable(end);
    let mut pass = CompactionOptions {
        dedupe_buffer_bytes: 24 * (map_keys + 1),
        load_factor: 1.0,
        high_watermark: end,
        ..options(known.now_ms)
    };
    if active {
        pass.active_producers = known.last_data.iter().map(last).collect();
    }
    let view = log.log.view();
    let to_clean =
        view.to_clean(&POLICY, log.checkpoint, stable, &*log.disk, known.now_ms).unwrap();
    assert!(!to_clean.checkpoint_is_invalid);
    let before = batches(&view);
    log.clean_range(&to_clean, pass.clone());
    let cleaned = log.checkpoint.unwrap();
    assert!(to_clean.first_uncleanable_offset >= cleaned || cleaned == to_clean.first_dirty_offset);
    assert!(to_clean.cleanable_bytes == 0 || cleaned > to_clean.first_dirty_offset);
    let beyond = |batches: Vec<RecordBatch>| -> Vec<RecordBatch> {
        let bound = to_clean.first_uncleanable_offset;
        batches.into_iter().filter(|batch| batch.header().base_offset >= bound).collect()
    };
    let after = batches(&log.log.view());
    assert_eq!(beyond(after.clone()), beyond(before), "what must not be cleaned is untouched");
    known.check_clean(log, cleaned);
    // The same again changes nothing.
    if map_keys == 1000 {
        log.checkpoint = Some(to_clean.first_dirty_offset);
        let again = LogToClean { cleanable_bytes: 1, ..to_clean };
        log.clean_range(&again, pass);
        let data = |batches: &[RecordBatch]| -> Vec<RecordBatch> {
            batches.iter().filter(|batch| !batch.header().is_control()).cloned().collect()
        };
        assert_eq!(data(&batches(&log.log.view())), data(&after));
        assert_eq!(log.checkpoint, Some(cleaned));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pass_keeps_what_it_promises(steps in prop::collection::vec(step(), 1..60)) {
        let mut log = Compacted::new(LogConfig { segment_bytes: 400, ..config() });
        let mut known = Known::default();
        for step in steps {
            match step {
                Step::Append { codec, producer, records } => {
                    append(&mut log, &mut known, codec, producer, &records);
                }
                Step::End { producer, commit } => {
                    let Some((txn, _)) = known.open.remove(&producer) else { continue };
                    known.txns[txn] = Some(commit);
                    let kind = if commit { ControlRecordType::Commit } else { ControlRecordType::Abort };
                    log.end_txn(i64::from(producer), kind);
                }
                Step::Roll => log.roll(),
                Step::Clean { after_ms, map_keys, active } => {
                    known.now_ms += after_ms;
                    clean(&mut log, &known, map_keys, active);
                }
                Step::Reopen => log = log.reopen(),
            }
            known.check(&log);
        }
    }

    #[test]
    fn decayed_files_are_cleaned_or_refused(
        batches in prop::collection::vec(
            (prop::sample::select(Codec::ALL.to_vec()), prop::collection::vec((0..9u8, any::<bool>()), 1..6)), 20..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let mut log = Compacted::new(LogConfig { segment_bytes: 400, ..config() });
        let mut known = Known::default();
        for (at, (codec, records)) in batches.iter().enumerate() {
            append(&mut log, &mut known, *codec, (at % 3 == 0).then_some(0), records);
            if at % 6 == 5 {
                log.end_txn(0, ControlRecordType::Abort);
            }
        }
        log.end_txn(0, ControlRecordType::Abort);
        log.roll();
        let names = log.file_names();
        for (name, at, mask) in changes {
            let path = dir().join(name.get(&names));
            let len = log.disk.metadata(&path).unwrap().len;
            if len > 0 {
                log.sim.decay(&path, at.index(len as usize) as u64, mask).unwrap();
            }
        }
        let Ok(to_clean) = log.log.view().to_clean(&POLICY, None, i64::MAX, &*log.disk, 0) else { return Ok(()) };
        let mut pass = log.pass(&to_clean, options(0));
        while let Ok(Progress::Cleaned(cleaned)) = pass.run(|_| ControlFlow::Continue(())) {
            log.log.replace_segments(cleaned).unwrap().run().unwrap();
        }
        pass.abort().unwrap();
        prop_assert!(!log.file_names().iter().any(|name| name.contains(".cleaned")));
    }
}

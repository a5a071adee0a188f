use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, Record, RecordBatch};
use crate::compression::decompress;

const LIMIT: usize = 1 << 20;

fn rebuilt(batch: &RecordBatch, keep: impl Fn(usize) -> bool, horizon: Option<i64>) -> RecordBatch {
    let payload = decompress(batch.header().codec().unwrap(), &batch.payload(), LIMIT).unwrap();
    let mut out = b"before".to_vec();
    let mut scratch = b"rubbish".to_vec();
    let header =
        rebuild_batch(batch.header(), &payload, keep, horizon, &mut scratch, &mut out).unwrap();
    assert!(out.starts_with(b"before"));
    let rebuilt = RecordBatch::parse(&Bytes::from(out).slice(6..)).unwrap();
    assert_eq!(*rebuilt.header(), header);
    rebuilt.verify_crc().unwrap();
    rebuilt
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    batch.records(LIMIT).unwrap().map(Result::unwrap).collect()
}

fn three(codec: Codec, log_append_time: Option<i64>) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec))
        .base_offset(40)
        .leader_epoch(3)
        .producer(7, 2, 11)
        .transactional(true);
    if let Some(now) = log_append_time {
        builder = builder.log_append_time(now);
    }
    builder.append(1000, Some(b"a"), Some(b"first"), &[(b"h", Some(b"1"))]);
    builder.append(900, Some(b"b"), None, &[]);
    builder.append(1100, None, Some(b"third"), &[(b"h", None)]);
    builder.build().unwrap()
}

#[test]
fn what_is_kept_reads_as_before() {
    for codec in Codec::ALL {
        for log_append_time in [None, Some(5000)] {
            let batch = three(codec, log_append_time);
            for horizon in [None, Some(90_000)] {
                for bits in 1..8usize {
                    let keep = |at: usize| bits >> at & 1 == 1;
                    let rebuilt = rebuilt(&batch, keep, horizon);
                    let mut kept = records(&batch).into_iter().enumerate();
                    let kept: Vec<Record> =
                        kept.by_ref().filter(|(at, _)| keep(*at)).map(|(_, r)| r).collect();
                    assert_eq!(records(&rebuilt), kept);
                    let (was, is) = (batch.header(), rebuilt.header());
                    let newest = kept.iter().map(|record| record.timestamp).max().unwrap();
                    assert_eq!(is.delete_horizon_ms(), horizon);
                    assert_eq!(is.base_timestamp, horizon.unwrap_or(kept[0].timestamp));
                    assert_eq!((is.max_timestamp, is.count), (newest, bits.count_ones() as i32));
                    let horizon_bit = if horizon.is_some() { 0x40 } else { 0 };
                    let expected = BatchHeader {
                        length: is.length,
                        crc: is.crc,
                        attributes: was.attributes | horizon_bit,
                        base_timestamp: is.base_timestamp,
                        max_timestamp: is.max_timestamp,
                        count: is.count,
                        ..*was
                    };
                    assert_eq!(*is, expected);
                }
            }
        }
    }
}

#[test]
fn a_horizon_stays_when_the_batch_is_rebuilt_again() {
    let once = rebuilt(&three(Codec::None, None), |_| true, Some(90_000));
    let again = rebuilt(&once, |at| at != 0, None);
    assert_eq!(again.header().delete_horizon_ms(), Some(90_000));
    assert_eq!(records(&again), records(&once)[1..]);
}

#[test]
fn an_empty_batch_tells_of_its_producer() {
    for codec in Codec::ALL {
        let batch = rebuilt(&three(codec, None), |_| true, Some(90_000));
        let header = empty_batch(batch.header());
        let empty = RecordBatch::parse(&header.encode().to_vec().into()).unwrap();
        empty.verify_crc().unwrap();
        assert!(records(&empty).is_empty());
        let was = batch.header();
        let expected = BatchHeader {
            length: 49,
            crc: header.crc,
            // Of its flags: transactional.
            attributes: 0x10,
            base_timestamp: -1,
            count: 0,
            ..*was
        };
        assert_eq!(header, expected);
        assert_eq!(header.last_sequence(), 13);
    }
}

proptest! {
    #[test]
    fn any_choice_of_any_records_reads_as_before(
        codec in prop::sample::select(Codec::ALL.to_vec()),
        contents in prop::collection::vec(
            (0i64..1 << 45, any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), any::<bool>()), 1..30),
        horizon in prop::option::of(0i64..1 << 45),
    ) {
        let mut builder = BatchBuilder::new(Compression::of(codec)).base_offset(1 << 40);
        for (timestamp, key, value, _) in &contents {
            builder.append(*timestamp, key.as_deref(), value.as_deref(), &[]);
        }
        let batch = builder.build().unwrap();
        let keep = |at: usize| contents[at].3 || at == 0;
        let rebuilt = rebuilt(&batch, keep, horizon);
        let all = records(&batch);
        let kept = all.iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, record)| record);
        prop_assert!(records(&rebuilt).iter().eq(kept));
        prop_assert_eq!(rebuilt.header().last_offset(), batch.header().last_offset());
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(
        payload in prop::collection::vec(any::<u8>(), 0..200), count in 0..20i32,
    ) {
        let header = BatchHeader { count, ..*three(Codec::None, None).header() };
        let _ = rebuild_batch(&header, &payload, |_| true, None, &mut Vec::new(), &mut Vec::new());
    }
}

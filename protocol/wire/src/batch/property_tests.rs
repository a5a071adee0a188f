use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::compression::{Codec, Compression};

type Field = Option<Vec<u8>>;
type Row = (i64, Field, Field, Vec<(Vec<u8>, Field)>);

fn field() -> impl Strategy<Value = Field> {
    proptest::option::of(vec(any::<u8>(), 0..40))
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let headers = vec((vec(any::<u8>(), 0..5), field()), 0..4);
    vec((0..2_000_000_000_000i64, field(), field(), headers), 1..20)
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

fn built(rows: &[Row], codec: Codec) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec))
        .base_offset(100)
        .producer(7, 3, 40)
        .leader_epoch(2);
    for (timestamp, key, value, headers) in rows {
        let headers: Vec<_> = headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().unwrap()
}

/// Everything a reader does with a batch from outside.
fn read_all(bytes: Bytes) {
    for batch in batches(bytes).flatten() {
        let _ = batch.verify_crc();
        if let Ok(records) = batch.records(1 << 16) {
            for record in records.flatten() {
                let _ = record.headers.iter().count();
            }
        }
        let rules = ValidationRules {
            origin: AppendOrigin::Coordinator,
            now_ms: 0,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: 10,
            timestamp_after_max_ms: 10,
            compacted: true,
            compression: Some(Compression::of(Codec::Lz4)),
            max_batch_size: 1 << 20,
            max_uncompressed_size: 1 << 16,
            max_rebuilt_size: 1 << 16,
        };
        let mut header = *batch.header();
        header.crc = header.compute_crc(&batch.payload());
        let whole = [&header.encode()[..], &batch.payload()[..]].concat();
        let _ = validate_produce(RecordBatch::parse(&whole.into()).unwrap(), &rules);
    }
}

proptest! {
    #[test]
    fn records_read_back_as_they_were_written(rows in rows(), codec in codec()) {
        let batch = built(&rows, codec);
        batch.verify_crc().unwrap();
        let read = RecordBatch::parse(&batch.to_bytes()).unwrap();
        prop_assert_eq!(read.header().encode(), batch.header().encode());
        prop_assert_eq!(read.header().last_offset(), 99 + rows.len() as i64);
        prop_assert_eq!(read.header().max_timestamp, rows.iter().map(|row| row.0).max().unwrap());
        let records: Vec<Record> = read.records(1 << 20).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(records.len(), rows.len());
        for (index, (record, row)) in records.iter().zip(&rows).enumerate() {
            prop_assert_eq!(record.offset, 100 + index as i64);
            prop_assert_eq!(record.timestamp, row.0);
            prop_assert_eq!(record.key.as_deref(), row.1.as_deref());
            prop_assert_eq!(record.value.as_deref(), row.2.as_deref());
            let headers: Vec<_> = record.headers.iter()
                .map(|header| (header.key.to_vec(), header.value.map(|value| value.to_vec())))
                .collect();
            prop_assert_eq!(&headers, &row.3);
        }
    }

    #[test]
    fn assigning_leaves_the_crc_valid_and_the_records_alone(rows in rows(), offset in 0i64..1 << 40) {
        let mut batch = built(&rows, Codec::None);
        batch.assign(offset, 9);
        batch.verify_crc().unwrap();
        let (head, rest) = batch.parts();
        let joined: Bytes = [&head.unwrap()[..], &rest[..]].concat().into();
        prop_assert_eq!(&joined, &batch.to_bytes());
        let read = RecordBatch::parse(&joined).unwrap();
        read.verify_crc().unwrap();
        prop_assert_eq!(read.header(), batch.header());
        prop_assert_eq!(read.header().base_offset, offset);
        batch.set_max_timestamp(TimestampType::LogAppendTime, 77);
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.detached().to_bytes(), batch.to_bytes());
    }

    #[test]
    fn a_run_of_batches_is_cut_where_it_must(rows in rows(), keep in any::<prop::sample::Index>()) {
        let one = built(&rows, Codec::None).to_bytes();
        let run: Bytes = [&one[..], &one[..], &one[..]].concat().into();
        let keep = keep.index(run.len());
        let mut all = batches(run.slice(..keep));
        let whole = all.by_ref().map(Result::unwrap).count();
        prop_assert_eq!(whole, keep / one.len());
        prop_assert_eq!(all.remaining(), keep % one.len());
    }

    #[test]
    fn mutated_batches_never_panic(
        rows in rows(), codec in codec(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = built(&rows, codec).to_bytes().to_vec();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let keep = keep.index(bytes.len());
        read_all(bytes[..keep].to_vec().into());
        read_all(bytes.into());
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        read_all(bytes.into());
    }
}

#[test]
fn sequences_wrap() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(increment_sequence(5, 2), 7);
}

#[test]
fn a_record_has_the_bytes_of_the_specification() {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(5, Some(b"k"), Some(b"v"), &[(b"h", Some(b"x"))]);
    let bytes = builder.build().unwrap().to_bytes();
    assert_eq!(bytes[61..], [24, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 2, b'x']);
    assert_eq!(bytes[8..12], (61i32 - 12 + 13).to_be_bytes());
    assert_eq!(bytes[16], 2);
}

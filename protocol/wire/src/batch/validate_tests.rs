use super::*;
use crate::batch::HEADER_LEN;
use crate::compression::CompressionError;

fn rules() -> ValidationRules {
    ValidationRules {
        origin: AppendOrigin::Client,
        now_ms: 1_000_000,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compacted: false,
        compression: None,
        max_batch_size: 1 << 20,
        max_uncompressed_size: 1 << 30,
        max_rebuilt_size: 1 << 24,
    }
}

fn produced(codec: Codec) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for index in 0..10 {
        let value = format!("value {index}");
        builder.append(999_000 + index, Some(b"key"), Some(value.as_bytes()), &[(b"h", None)]);
    }
    builder.build().unwrap()
}

/// The batch with `change` made to its header and the CRC put right.
fn with_header(batch: &RecordBatch, change: impl FnOnce(&mut BatchHeader)) -> RecordBatch {
    let mut header = *batch.header();
    change(&mut header);
    header.crc = header.compute_crc(&batch.payload());
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&batch.payload());
    RecordBatch::parse(&bytes.into()).unwrap()
}

/// An uncompressed batch of these raw records.
fn raw_batch(codec: Codec, payload: &[u8], count: i32) -> RecordBatch {
    let mut packed = Vec::new();
    compression::compress(Compression::of(codec), payload, &mut packed).unwrap();
    let mut header = *produced(codec).header();
    header.count = count;
    header.last_offset_delta = count - 1;
    header.length = (HEADER_LEN - 12 + packed.len()) as i32;
    header.crc = header.compute_crc(&packed);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&packed);
    RecordBatch::parse(&bytes.into()).unwrap()
}

/// A record as it is encoded, with a key, a value of this size and a header.
fn raw_record(offset_delta: i64, value: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for _ in 0..offset_delta {
        builder.append(0, None, None, &[]);
    }
    let before = builder.uncompressed_size();
    let value = vec![7; value];
    builder.append(1_000_000, Some(b"some key"), Some(&value), &[(b"header", Some(b"its value"))]);
    builder.build().unwrap().to_bytes()[before..].to_vec()
}

/// What is held at a time when a compressed batch is checked.
const WINDOW: usize = 256 << 10;

#[test]
fn records_lie_across_windows() {
    for (codec, step) in [(Codec::Gzip, 9), (Codec::Snappy, 9), (Codec::Lz4, 1), (Codec::Zstd, 9)] {
        for short in (0..100).step_by(step) {
            let mut payload = raw_record(0, WINDOW - short);
            payload.extend(raw_record(1, 3));
            payload.extend(raw_record(2, 3));
            let batch = raw_batch(codec, &payload, 3);
            assert!(!validate_produce(batch, &rules()).unwrap().rebuilt, "{codec:?} {short}");
            // The second record's headers are one more than it says, and one of them too long.
            let end = payload.len() - raw_record(2, 3).len();
            for (at, to) in [(end - 18, 4), (end - 17, 0x7e), (end - 10, 0x7e)] {
                let mut wrong = payload.clone();
                wrong[at] = to;
                let refused = validate_produce(raw_batch(codec, &wrong, 3), &rules());
                assert!(matches!(refused, Err(ProduceError::Invalid(_))), "{codec:?} {short}");
            }
        }
    }
}

#[test]
fn what_grows_large_is_checked_to_its_end() {
    let mut payload = raw_record(0, 20 << 20);
    payload.extend(raw_record(1, 10 << 20));
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let limits = ValidationRules { max_batch_size: 1 << 20, ..rules() };
        let batch = raw_batch(codec, &payload, 2);
        assert!(!validate_produce(batch.clone(), &limits).unwrap().rebuilt, "{codec:?}");
        let lower = ValidationRules { max_uncompressed_size: 29 << 20, ..limits };
        assert_eq!(validate_produce(batch.clone(), &lower), Err(too_large(29 << 20)));
        let other = ValidationRules { compression: Some(Compression::NONE), ..limits };
        assert_eq!(validate_produce(batch, &other), Err(too_large(1 << 24)), "it would be held");
        for wrong in [&payload[..payload.len() - 1], &[&payload[..], &[0]].concat()] {
            let refused = validate_produce(raw_batch(codec, wrong, 2), &limits);
            assert!(matches!(refused, Err(ProduceError::Invalid(_))), "{codec:?}");
        }
    }
}

fn too_large(limit: usize) -> ProduceError {
    BatchError::Compression(CompressionError::TooLarge { limit }).into()
}

#[test]
fn a_good_batch_passes_as_it_is() {
    for codec in Codec::ALL {
        let batch = produced(codec);
        let validated = validate_produce(batch.clone(), &rules()).unwrap();
        assert_eq!(validated.batch, batch);
        assert!(!validated.rebuilt);
    }
}

#[test]
fn broken_batches_are_refused_by_their_kind() {
    let batch = produced(Codec::None);
    let mut flipped = batch.to_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = RecordBatch::parse(&flipped.into()).unwrap();
    assert!(matches!(
        validate_produce(flipped, &rules()),
        Err(ProduceError::Corrupt(BatchError::Crc { .. }))
    ));
    type Change = fn(&mut BatchHeader);
    let changes: [Change; 6] = [
        |header| header.base_offset = 1,
        |header| header.count = 9,
        |header| header.last_offset_delta = 10,
        |header| header.attributes |= 0x20,
        |header| header.producer_id = 5,
        |header| (header.count, header.last_offset_delta) = (11, 10),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let result = validate_produce(with_header(&batch, change), &rules());
        assert!(matches!(result, Err(ProduceError::Invalid(_))), "{index}: {result:?}");
    }
    let result = validate_produce(with_header(&batch, |header| header.attributes |= 7), &rules());
    assert!(matches!(result, Err(ProduceError::Undecodable(_))), "{result:?}");
    let small = ValidationRules { max_batch_size: batch.size() - 1, ..rules() };
    assert_eq!(
        validate_produce(batch.clone(), &small),
        Err(ProduceError::TooLarge { size: batch.size(), max: batch.size() - 1 })
    );
}

#[test]
fn a_request_holds_exactly_one_batch() {
    let bytes = produced(Codec::None).to_bytes();
    assert!(produced_batch(&bytes).is_ok());
    let two: Bytes = [&bytes[..], &bytes[..]].concat().into();
    assert!(matches!(produced_batch(&two), Err(ProduceError::Invalid(_))));
    assert!(matches!(produced_batch(&Bytes::new()), Err(ProduceError::Invalid(_))));
    for rest in [&bytes[..0], &bytes[..5], &bytes[..61], &bytes[..bytes.len() - 1]] {
        let followed: Bytes = [&bytes, rest].concat().into();
        assert_eq!(produced_batch(&followed).map(|batch| batch.size()), Ok(bytes.len()));
    }
    let cut = bytes.slice(..bytes.len() - 1);
    assert!(matches!(produced_batch(&cut), Err(ProduceError::Corrupt(_))));
    let mut old = bytes.to_vec();
    old[16] = 1;
    assert_eq!(produced_batch(&old.into()), Err(ProduceError::Invalid(BatchError::LegacyMagic(1))));
}

#[test]
fn timestamps_outside_the_bounds_name_their_records() {
    let strict = ValidationRules { timestamp_before_max_ms: 995, ..rules() };
    let Err(ProduceError::InvalidTimestamp(errors)) =
        validate_produce(produced(Codec::Lz4), &strict)
    else {
        panic!("accepted");
    };
    assert_eq!(errors.iter().map(RecordError::index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let early = ValidationRules { now_ms: 0, timestamp_after_max_ms: 999_008, ..rules() };
    let Err(ProduceError::InvalidTimestamp(errors)) =
        validate_produce(produced(Codec::None), &early)
    else {
        panic!("accepted");
    };
    assert_eq!(errors.iter().map(RecordError::index).collect::<Vec<_>>(), [9]);
}

#[test]
fn a_compacted_topic_needs_keys() {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(1, Some(b"k"), None, &[]);
    builder.append(1, None, None, &[]);
    let compacted = ValidationRules { compacted: true, ..rules() };
    assert_eq!(
        validate_produce(builder.build().unwrap(), &compacted),
        Err(ProduceError::InvalidRecords(vec![RecordError::MissingKey { index: 1 }]))
    );
}

#[test]
fn log_append_time_is_stamped_without_touching_records() {
    let stamped = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    for codec in Codec::ALL {
        let validated = validate_produce(produced(codec), &stamped).unwrap();
        assert!(!validated.rebuilt);
        let batch = RecordBatch::parse(&validated.batch.to_bytes()).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.header().max_timestamp, 1_000_000);
        assert!(
            batch.records(1 << 20).unwrap().all(|record| record.unwrap().timestamp == 1_000_000)
        );
        let again = validate_produce(batch, &stamped);
        assert!(matches!(again, Err(ProduceError::InvalidTimestamp(_))), "{codec:?}");
    }
}

#[test]
fn a_wrong_maximum_timestamp_is_put_right() {
    let wrong = with_header(&produced(Codec::None), |header| header.max_timestamp = 5);
    let batch = validate_produce(wrong, &rules()).unwrap().batch;
    assert_eq!(batch.header().max_timestamp, 999_009);
    RecordBatch::parse(&batch.to_bytes()).unwrap().verify_crc().unwrap();
}

#[test]
fn another_compression_rebuilds_the_same_records() {
    let all = |batch: &RecordBatch| {
        batch.records(1 << 20).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    for source in Codec::ALL {
        for target in Codec::ALL {
            let batch = produced(source);
            let rules = ValidationRules { compression: Some(Compression::of(target)), ..rules() };
            let validated = validate_produce(batch.clone(), &rules).unwrap();
            assert_eq!(validated.rebuilt, source != target);
            assert_eq!(validated.batch.header().codec(), Ok(target));
            assert_eq!(all(&validated.batch), all(&batch));
        }
    }
}

#[test]
fn offset_deltas_out_of_order_are_rewritten() {
    // Two records of 7 bytes, both with offset delta 3.
    let record = [12, 0, 0, 6, 1, 1, 0];
    for codec in [Codec::None, Codec::Zstd] {
        let batch = raw_batch(codec, &[record, record].concat(), 2);
        let validated = validate_produce(batch, &rules()).unwrap();
        assert!(validated.rebuilt);
        let offsets: Vec<i64> =
            validated.batch.records(1000).unwrap().map(|record| record.unwrap().offset).collect();
        assert_eq!(offsets, [0, 1]);
    }
}

#[test]
fn a_bomb_is_refused() {
    let batch = raw_batch(Codec::Gzip, &raw_record(0, 1 << 22), 1);
    let limited = ValidationRules { max_uncompressed_size: 1 << 20, ..rules() };
    assert!(matches!(
        validate_produce(batch, &limited),
        Err(ProduceError::Undecodable(BatchError::Compression(_)))
    ));
}

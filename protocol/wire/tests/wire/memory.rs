//! Memory that a message may cost is bounded by its size, whatever it claims to hold.

use bytes::Bytes;
use ottla_wire::{DecodeError, Message, MetadataRequest, ProduceRequest, Reader};

use crate::counting::peak_of;
use crate::live_messages;
use crate::round_trip::damage;
use crate::sample::{Random, message};

#[test]
fn damaged_messages_take_no_more_memory_than_their_size_allows() {
    for (schema, recode) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            for seed in 100..130 {
                let mut random = Random(seed);
                let mut bytes = message(&schema, version, &mut random);
                damage(&mut bytes, &mut random);
                let allowed = bytes.len() * 100 + (200 << 10);
                let bytes = Bytes::from(bytes);
                let (_, peak) = peak_of(|| recode(bytes, version, version));
                assert!(peak <= allowed, "{} v{version}, seed {seed}: {peak} bytes", schema.name);
            }
        }
    }
}

#[test]
fn a_count_that_cannot_be_is_refused_before_memory_is_taken_for_it() {
    let claims = [i32::MAX, 1 << 20, 3];
    for count in claims {
        let body = Bytes::copy_from_slice(&[&count.to_be_bytes()[..], &[0, 0]].concat());
        let (result, peak) = peak_of(|| MetadataRequest::decode(&mut Reader::new(body), 0));
        let expected = DecodeError::TooManyElements { count: count as usize, remaining: 2 };
        assert_eq!(result, Err(expected));
        assert!(peak < 1024, "{peak} bytes");
    }
}

#[test]
fn a_million_tiny_elements_stay_within_the_bound() {
    let count = 1_usize << 20;
    let mut body = vec![0, 0, 1, 0, 0, 0, 0, 0x81, 0x80, 0x40];
    for _ in 0..count {
        body.extend([1, 1, 0]);
    }
    body.push(0);
    let body = Bytes::from(body);
    let size = body.len();
    let (result, peak) = peak_of(|| {
        ProduceRequest::decode(&mut Reader::new(body.clone()), 9).map(|m| m.topic_data.len())
    });
    assert_eq!(result, Ok(count));
    assert!(peak < size * 33, "{peak} bytes for {size}");
    let (result, peak) =
        peak_of(|| ProduceRequest::decode(&mut Reader::with_memory(body, size * 4), 9).map(|_| ()));
    assert_eq!(result, Err(DecodeError::TooMuchMemory));
    assert!(peak < 1024, "{peak} bytes were taken before it was refused");
}

#[test]
fn a_reader_can_be_told_how_much_memory_there_is() {
    let body = Bytes::from_static(&[0, 0, 0, 1, 0, 2, b'a', b'b']);
    assert!(MetadataRequest::decode(&mut Reader::with_memory(body.clone(), 200), 0).is_ok());
    let result = MetadataRequest::decode(&mut Reader::with_memory(body, 10), 0);
    assert_eq!(result, Err(DecodeError::TooMuchMemory));
}

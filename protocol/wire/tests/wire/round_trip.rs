//! What the notation describes, the generated code reads and writes, in every version of every message.

use bytes::Bytes;

use crate::live_messages;
use crate::sample::{Random, message};

const SAMPLES: u64 = 20;

#[test]
fn bytes_made_from_the_notation_are_read_and_written_alike() {
    for (schema, recode) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            for seed in 0..SAMPLES {
                let bytes = Bytes::from(message(&schema, version, &mut Random(seed)));
                let again = recode(bytes.clone(), version, version);
                assert_eq!(again, Ok(Ok(bytes)), "{} v{version}, seed {seed}", schema.name);
            }
        }
    }
}

#[test]
fn a_message_that_ends_early_is_refused_wherever_it_ends() {
    for (schema, recode) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            let bytes = Bytes::from(message(&schema, version, &mut Random(7)));
            for end in 0..bytes.len() {
                let result = recode(bytes.slice(..end), version, version);
                assert!(
                    result.is_err(),
                    "{} v{version} is read from {end} of {} bytes",
                    schema.name,
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn whatever_is_read_from_damaged_bytes_is_written_in_a_stable_form() {
    for (schema, recode) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            for seed in 0..SAMPLES * 4 {
                let mut random = Random(seed);
                let mut bytes = message(&schema, version, &mut random);
                damage(&mut bytes, &mut random);
                let Ok(Ok(first)) = recode(bytes.into(), version, version) else { continue };
                let second = recode(first.clone(), version, version);
                assert_eq!(second, Ok(Ok(first)), "{} v{version}, seed {seed}", schema.name);
            }
        }
    }
}

/// Changes a few bytes, to extremes more often than to anything.
pub fn damage(bytes: &mut [u8], random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random.next() as u8][random.below(6)];
    }
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for (schema, recode) in live_messages() {
        for version in [schema.valid.min - 1, schema.valid.max + 1, i16::MIN, i16::MAX] {
            assert!(
                recode(Bytes::from_static(&[0; 64]), version, version).is_err(),
                "{} v{version}",
                schema.name
            );
        }
    }
}

//! Bytes that Kafka's own classes have written, of what the other codec does not have. They hold also
//! where Kafka's definitions are not at hand.

use bytes::Bytes;

use crate::live_messages;
use crate::notation::Kind;

const LINES: &str = include_str!("golden.txt");

fn lines() -> impl Iterator<Item = (&'static str, i16, Bytes)> {
    LINES.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [name, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        (name, version.parse().expect("a version"), bytes)
    })
}

#[test]
fn what_kafka_has_written_is_read_and_written_alike() {
    let messages = live_messages();
    for (name, version, bytes) in lines() {
        let message = messages.iter().find(|(schema, _)| schema.name == name);
        let (_, recode) = message.unwrap_or_else(|| panic!("{name} is not known"));
        assert_eq!(recode(bytes.clone(), version, version), Ok(Ok(bytes)), "{name} v{version}");
    }
}

#[test]
fn every_record_of_a_log_is_among_them_in_all_versions() {
    for (schema, _) in live_messages() {
        if matches!(schema.kind, Kind::Metadata | Kind::CoordinatorKey | Kind::CoordinatorValue) {
            for version in schema.valid.min..=schema.valid.max {
                let found =
                    lines().any(|(name, of, _)| (name, of) == (schema.name.as_str(), version));
                assert!(found, "{} v{version}", schema.name);
            }
        }
    }
}

//! The same bytes through the crate `kafka-protocol`, wherever it has the message in the version.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as other, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::live_messages;
use crate::notation::{Kind, Schema};
use crate::sample::{Random, message_as_known};

const SAMPLES: u64 = 20;

/// Decodes with the given call and encodes what came out; all bytes must have been read.
macro_rules! through {
    ($bytes:ident, $version:ident, $decode:expr) => {{
        let mut left: Bytes = $bytes;
        let mut out = BytesMut::new();
        match $decode(&mut left, $version).and_then(|message| message.encode(&mut out, $version)) {
            Err(problem) => Err(format!("{problem:?}")),
            Ok(()) if !left.is_empty() => Err(format!("{} bytes were not read", left.len())),
            Ok(()) => Ok(out.freeze()),
        }
    }};
}

macro_rules! plain {
    ($bytes:ident, $version:ident, $message:ty) => {
        through!($bytes, $version, <$message>::decode)
    };
}

/// Through the other codec and back: `None` if it does not have the message.
fn through_other(schema: &Schema, bytes: Bytes, version: i16) -> Option<Result<Bytes, String>> {
    let key = || other::ApiKey::try_from(schema.api_key?).ok();
    match (schema.kind, schema.name.as_str()) {
        (Kind::Request, _) => {
            let key = key()?;
            Some(through!(bytes, version, |left, version| RequestKind::decode(key, left, version)))
        }
        (Kind::Response, _) => {
            let key = key()?;
            Some(through!(bytes, version, |left, version| ResponseKind::decode(key, left, version)))
        }
        (_, "RequestHeader") => Some(plain!(bytes, version, other::RequestHeader)),
        (_, "ResponseHeader") => Some(plain!(bytes, version, other::ResponseHeader)),
        (_, "ConsumerProtocolAssignment") => {
            Some(plain!(bytes, version, other::ConsumerProtocolAssignment))
        }
        (_, "ConsumerProtocolSubscription") => {
            Some(plain!(bytes, version, other::ConsumerProtocolSubscription))
        }
        (_, "DefaultPrincipalData") => Some(plain!(bytes, version, other::DefaultPrincipalData)),
        (_, "EndTxnMarker") => Some(plain!(bytes, version, other::EndTxnMarker)),
        (_, "KRaftVersionRecord") => Some(plain!(bytes, version, other::KRaftVersionRecord)),
        (_, "LeaderChangeMessage") => Some(plain!(bytes, version, other::LeaderChangeMessage)),
        (_, "SnapshotFooterRecord") => Some(plain!(bytes, version, other::SnapshotFooterRecord)),
        (_, "SnapshotHeaderRecord") => Some(plain!(bytes, version, other::SnapshotHeaderRecord)),
        (_, "VotersRecord") => Some(plain!(bytes, version, other::VotersRecord)),
        _ => None,
    }
}

#[test]
fn the_other_codec_reads_and_writes_the_same_bytes() {
    // It takes whatever memory a misread count asks for, and a process that cannot have it aborts
    // with all its tests. Let a wrong notation be told by name instead.
    crate::schemas::the_notation_says_what_kafkas_definitions_say();
    let mut compared = 0;
    for (schema, recode) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            for seed in 0..SAMPLES {
                let bytes = Bytes::from(message_as_known(&schema, version, &mut Random(seed)));
                assert_eq!(recode(bytes.clone(), version, version), Ok(Ok(bytes.clone())));
                let theirs = through_other(&schema, bytes.clone(), version);
                match theirs {
                    None => break,
                    Some(Err(problem)) if problem.contains("version not supported") => break,
                    Some(theirs) => {
                        assert_eq!(theirs, Ok(bytes), "{} v{version}, seed {seed}", schema.name)
                    }
                }
                compared += usize::from(seed == 0);
            }
        }
    }
    assert!(compared > 500, "only {compared} versions of messages were compared");
}

//! The key and the value of a record, as text.

use std::fmt::Display;

use bytes::Bytes;
use wire::batch::Record;
use wire::group_metadata_value::MemberMetadata;
use wire::json::{Json, text};
use wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeError, GroupCoordinatorKey,
    GroupCoordinatorValue, Message, MetadataRecord, Reader, ShareCoordinatorKey,
    ShareCoordinatorValue, TransactionCoordinatorKey, TransactionCoordinatorValue, decode_prefixed,
};

use super::{Coordinator, Decoder, DumpError, PlainDecoder, remote};

/// What is shown of a record; `None` of what it does not have.
pub(super) struct Shown {
    pub key: Option<String>,
    pub value: Option<String>,
}

pub(super) fn show(decoder: Decoder, record: &Record) -> Result<Shown, DumpError> {
    let wrong = |why: String| DumpError::Record { offset: record.offset, why };
    let value = record.value.clone().unwrap_or_default();
    let framed = |shown: Result<String, String>, at: &str| {
        let skipped = |why| format!("Error at {at}{}, skipping. {why}", record.offset);
        Shown { key: None, value: Some(shown.unwrap_or_else(skipped)) }
    };
    Ok(match decoder {
        Decoder::Plain { key, value } => {
            let shown = |how: PlainDecoder, bytes: &Option<Bytes>| {
                bytes.as_ref().map(|bytes| plain(how, bytes)).transpose().map_err(wrong)
            };
            Shown { key: shown(key, &record.key)?, value: shown(value, &record.value)? }
        }
        Decoder::ClusterMetadata => framed(metadata(value), ""),
        Decoder::RemoteLogMetadata => framed(remote::show(record.value.clone()), "offset "),
        Decoder::Coordinator(whose) => {
            let key = record.key.clone().ok_or_else(|| wrong("it has no key".to_owned()))?;
            coordinator(whose, key, record.value.clone()).unwrap_or_else(|unread| {
                let offset = record.offset;
                let key = match unread {
                    Unread::Type(kind) => {
                        format!("Unknown record type {kind} at offset {offset}, skipping.")
                    }
                    Unread::Why(why) => format!("Error at offset {offset}, skipping. {why}"),
                };
                Shown { key: Some(key), value: None }
            })
        }
    })
}

fn plain(how: PlainDecoder, bytes: &[u8]) -> Result<String, String> {
    let short = |what: &str| format!("{what} is expected, and there are {} bytes", bytes.len());
    match how {
        PlainDecoder::Text => Ok(String::from_utf8_lossy(bytes).into_owned()),
        PlainDecoder::Hex => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        PlainDecoder::Int => {
            let first = bytes.first_chunk().ok_or_else(|| short("an integer of 4 bytes"))?;
            Ok(i32::from_be_bytes(*first).to_string())
        }
        PlainDecoder::Long => {
            let first = bytes.first_chunk().ok_or_else(|| short("an integer of 8 bytes"))?;
            Ok(i64::from_be_bytes(*first).to_string())
        }
    }
}

fn metadata(value: Bytes) -> Result<String, String> {
    let decoded = MetadataRecord::decode(value.clone());
    let (record, version) = decoded.map_err(|error| framed_error(value, &error))?;
    let mut out = format!(r#"{{"type":"{}","version":{version},"data":"#, constant(record.name()));
    record.json(&mut out, version);
    out.push('}');
    Ok(out)
}

/// Why a framed record cannot be read, in the words of Kafka's `AbstractApiMessageSerde`.
pub(super) fn framed_error(value: Bytes, error: &DecodeError) -> String {
    let mut reader = Reader::new(value);
    let mut number = |what: &str| {
        let read = reader.uvarint().map_err(|_| format!("Error while reading {what}"))?;
        i16::try_from(read).map_err(|_| format!("Value for {what} was too large."))
    };
    let mut frame = || -> Result<i16, String> {
        let version = number("frame version")?;
        if version != 1 {
            return Err(format!(
                "Could not deserialize metadata record due to unknown frame version {version}(only frame version 1 is supported)"
            ));
        }
        let kind = number("type")?;
        number("version")?;
        Ok(kind)
    };
    match (frame(), error) {
        (Err(why), _) => why,
        (Ok(kind), DecodeError::UnknownRecordType(_)) => format!(
            "org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {kind}"
        ),
        (Ok(kind), DecodeError::TrailingBytes { remaining }) => {
            format!("Found {remaining} byte(s) of garbage after {kind}")
        }
        (Ok(kind), _) => format!("Failed to deserialize record with type {kind}"),
    }
}

/// A type's name as Java names a constant.
fn constant(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// Why a coordinator's record is passed over.
enum Unread {
    Type(i16),
    Why(String),
}

impl Unread {
    fn part<E: Display>(which: &str, version: i16) -> impl FnOnce(E) -> Unread {
        move |error| {
            let text = format!(
                "Could not read record with version {version} from {which}'s buffer due to: {error}."
            );
            Unread::Why(text)
        }
    }
}

fn coordinator(whose: Coordinator, key: Bytes, value: Option<Bytes>) -> Result<Shown, Unread> {
    let kind = leading(&key, "key")?;
    let mut data = String::new();
    let read = match whose {
        Coordinator::Group => GroupCoordinatorKey::decode(key).map(|k| k.json(&mut data, 0)),
        Coordinator::Transaction => {
            TransactionCoordinatorKey::decode(key).map(|k| k.json(&mut data, 0))
        }
        Coordinator::Share => ShareCoordinatorKey::decode(key).map(|k| k.json(&mut data, 0)),
    };
    match read {
        Ok(()) => {}
        Err(DecodeError::UnknownRecordType(_)) => return Err(Unread::Type(kind)),
        Err(error) => return Err(Unread::part("key", kind)(error)),
    }
    let key = Some(format!(r#"{{"type":"{kind}","data":{data}}}"#));
    let Some(value) = value else { return Ok(Shown { key, value: Some("<DELETE>".to_owned()) }) };
    let version = leading(&value, "value")?;
    let data = coordinator_value(whose, kind, value).map_err(|error| match error {
        DecodeError::UnsupportedVersion { .. } => {
            Unread::Why(format!("Found an unknown record version {version} for {kind} type"))
        }
        other => Unread::part("value", version)(other),
    })?;
    Ok(Shown { key, value: Some(format!(r#"{{"version":"{version}","data":{data}}}"#)) })
}

/// The number that a key or a value begins with.
fn leading(bytes: &[u8], which: &str) -> Result<i16, Unread> {
    let why = || Unread::Why(format!("Could not read version from {which}'s buffer."));
    bytes.first_chunk().map(|first| i16::from_be_bytes(*first)).ok_or_else(why)
}

fn coordinator_value(whose: Coordinator, kind: i16, value: Bytes) -> Result<String, DecodeError> {
    let mut out = String::new();
    match whose {
        Coordinator::Group => {
            let (value, version) = GroupCoordinatorValue::decode(kind, value)?;
            value.json(&mut out, version);
            if let GroupCoordinatorValue::GroupMetadata(group) = value
                && group.protocol_type == "consumer"
            {
                out = with_protocol(out, &group.members);
            }
        }
        Coordinator::Transaction => {
            let (value, version) = TransactionCoordinatorValue::decode(kind, value)?;
            value.json(&mut out, version);
            let TransactionCoordinatorValue::TransactionLog(log) = value;
            let state = transaction_state(log.transaction_status);
            let number = log.transaction_status.to_string();
            out = swapped(&out, 0, "transactionStatus", &number, &state).0;
        }
        Coordinator::Share => {
            let (value, version) = ShareCoordinatorValue::decode(kind, value)?;
            value.json(&mut out, version);
        }
    }
    Ok(out)
}

fn transaction_state(status: i8) -> String {
    const STATES: [&str; 8] = [
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "Dead",
        "PrepareEpochFence",
    ];
    let state = usize::try_from(status).ok().and_then(|status| STATES.get(status));
    let mut out = String::new();
    text(&mut out, state.map_or(&status.to_string(), |state| state));
    out
}

/// What members of a consumer group told of themselves, in the protocol's own words where it can be read.
fn with_protocol(mut json: String, members: &[MemberMetadata]) -> String {
    let mut from = 0;
    for member in members {
        let subscription = in_words::<ConsumerProtocolSubscription>(&member.subscription);
        let assignment = in_words::<ConsumerProtocolAssignment>(&member.assignment);
        for (name, bytes, words) in [
            ("subscription", &member.subscription, subscription),
            ("assignment", &member.assignment, assignment),
        ] {
            let mut shown = String::new();
            bytes.json(&mut shown, 0);
            (json, from) = swapped(&json, from, name, &shown, words.as_ref().unwrap_or(&shown));
        }
    }
    json
}

fn in_words<M: Message + Json>(bytes: &Bytes) -> Option<String> {
    let (message, version) = decode_prefixed::<M>(bytes.clone()).ok()?;
    let mut out = String::new();
    message.json(&mut out, version);
    Some(out)
}

/// The first field of this name and value from a place on gets another value, and the place behind it. Within a text there is no
/// such field: its quotes are escaped.
fn swapped(json: &str, from: usize, name: &str, value: &str, new: &str) -> (String, usize) {
    let field = format!("\"{name}\":");
    let Some(at) = json[from..].find(&format!("{field}{value}")) else {
        return (json.to_owned(), from);
    };
    let start = from + at + field.len();
    let out = [&json[..start], new, &json[start + value.len()..]].concat();
    (out, start + new.len())
}

//! The records of a durable actor's topic. All begin with what they are, and the topic is compacted by them:
//!
//! ```text
//! key    entry      1 | sequence (8, big-endian) | the user's key
//!        snapshot   0 | the user's key
//! value  entry      format (1) | the user's version | time | who asked, and the reply | timers | events     in bincode
//!        snapshot   format (1) | the user's version | sequence of the last entry in it | timers | state
//! ```
//!
//! An entry is one decision. A snapshot takes the place of the one before; in the same batch, after it, stand tombstones of the entries
//! that are in it.

use std::sync::Arc;

use bytes::Bytes;
use model::{Persist, StoredRecord, Uuid};

use super::ask::AskId;
use super::codec::{CodecError, decode, decode_body, encode, encode_body};
use super::{Decision, Durable};

const FORMAT: u8 = 1;
const SNAPSHOT: u8 = 0;
const ENTRY: u8 = 1;
/// Of the sequence in an entry's key.
const SEQUENCE_END: usize = 9;

/// A command, and the reply to it, if any.
pub(super) type Answered = (AskId, Option<Bytes>);
pub(super) type Timers = Vec<(String, Option<i64>)>;
type EntryBody = (u32, i64, Option<([u8; 16], u64, Option<Vec<u8>>)>, Timers, Vec<Vec<u8>>);
type SnapshotBody = (u32, u64, Vec<(String, i64)>, Vec<u8>);

/// Why a record of the topic is none of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("a record that is none of a journal: {0}")]
    Foreign(&'static str),
    #[error("format {0} of the journal is not known; {FORMAT} is")]
    Format(u8),
    #[error("{what} of the key {key:?}: {error}")]
    Value { what: String, key: Arc<str>, error: CodecError },
}

/// What is written, and replayed.
pub enum Change<D: Durable> {
    Entry(Entry<D>),
    Snapshot(Snapshot),
    /// A tombstone of an entry that is in a snapshot.
    Covered {
        key: Arc<str>,
        sequence: u64,
    },
}

pub struct Entry<D: Durable> {
    pub(super) key: Arc<str>,
    pub(super) sequence: u64,
    pub(super) at_ms: i64,
    pub(super) asked: Option<Answered>,
    pub(super) timers: Timers,
    pub(super) events: Vec<D::Event>,
    /// Of one that is to be written.
    value: Bytes,
}

pub struct Snapshot {
    pub(super) key: Arc<str>,
    pub(super) sequence: u64,
    /// Of one that was read.
    pub(super) read: Option<ReadSnapshot>,
    value: Bytes,
}

pub struct ReadSnapshot {
    pub(super) version: u32,
    pub(super) timers: Vec<(String, i64)>,
    pub(super) state: Vec<u8>,
}

impl<D: Durable> Change<D> {
    pub(super) fn key(&self) -> &Arc<str> {
        match self {
            Change::Entry(entry) => &entry.key,
            Change::Snapshot(snapshot) => &snapshot.key,
            Change::Covered { key, .. } => key,
        }
    }

    fn record(&self) -> StoredRecord {
        let (key, value) = match self {
            Change::Entry(entry) => {
                (entry_key(&entry.key, entry.sequence), Some(entry.value.clone()))
            }
            Change::Snapshot(snapshot) => {
                let key = [&[SNAPSHOT], snapshot.key.as_bytes()].concat();
                (key, Some(snapshot.value.clone()))
            }
            Change::Covered { key, sequence } => (entry_key(key, *sequence), None),
        };
        StoredRecord { key: key.into(), value }
    }

    /// What its record takes.
    pub(super) fn size(&self) -> usize {
        let value = match self {
            Change::Entry(entry) => entry.value.len(),
            Change::Snapshot(snapshot) => snapshot.value.len(),
            Change::Covered { .. } => 0,
        };
        SEQUENCE_END + self.key().len() + value
    }
}

impl<D: Durable> Entry<D> {
    pub(super) fn new(
        key: Arc<str>,
        sequence: u64,
        at_ms: i64,
        asked: Option<Answered>,
        decision: Decision<D>,
    ) -> Result<Self, CodecError> {
        let Decision { events, timers, .. } = decision;
        let encoded: Vec<Vec<u8>> = events.iter().map(encode).collect::<Result<_, _>>()?;
        let id = asked.as_ref().map(|(id, reply)| {
            (id.asker.0, id.sequence, reply.as_ref().map(|reply| reply.to_vec()))
        });
        let body: EntryBody = (D::VERSION, at_ms, id, timers, encoded);
        let value = encode_body(FORMAT, &body)?;
        Ok(Entry { key, sequence, at_ms, asked, timers: body.3, events, value })
    }

    fn read(key: Arc<str>, sequence: u64, body: &[u8]) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Value {
            what: format!("entry {sequence}"),
            key: key.clone(),
            error,
        };
        let (version, at_ms, asked, timers, events): EntryBody =
            decode_body(body).map_err(failed)?;
        let event = |event: Vec<u8>| match version == D::VERSION {
            true => decode(&event),
            false if version < D::VERSION => D::upgrade(version, &event),
            false => Err(CodecError::Version { found: version, known: D::VERSION }),
        };
        let events = events.into_iter().map(event).collect::<Result<_, _>>().map_err(failed)?;
        let asked = asked.map(|(asker, sequence, reply)| {
            (AskId { asker: Uuid(asker), sequence }, reply.map(Bytes::from))
        });
        Ok(Entry { key, sequence, at_ms, asked, timers, events, value: Bytes::new() })
    }
}

impl Snapshot {
    pub(super) fn new<D: Durable>(
        key: Arc<str>,
        sequence: u64,
        timers: Vec<(String, i64)>,
        state: &D::State,
    ) -> Result<Snapshot, CodecError> {
        let body: SnapshotBody = (D::VERSION, sequence, timers, encode(state)?);
        Ok(Snapshot { key, sequence, read: None, value: encode_body(FORMAT, &body)? })
    }

    fn read(key: Arc<str>, body: &[u8]) -> Result<Snapshot, JournalError> {
        let (version, sequence, timers, state): SnapshotBody =
            decode_body(body).map_err(|error| JournalError::Value {
                what: "snapshot".to_owned(),
                key: key.clone(),
                error,
            })?;
        let sequence = in_order(sequence)?;
        let read = Some(ReadSnapshot { version, timers, state });
        Ok(Snapshot { key, sequence, read, value: Bytes::new() })
    }
}

impl ReadSnapshot {
    pub(super) fn state<D: Durable>(&self) -> Result<D::State, CodecError> {
        match self.version == D::VERSION {
            true => decode(&self.state),
            false if self.version < D::VERSION => D::upgrade_state(self.version, &self.state),
            false => Err(CodecError::Version { found: self.version, known: D::VERSION }),
        }
    }
}

impl<D: Durable> Persist for Change<D> {
    type Error = JournalError;

    fn encode(&self) -> Result<Option<StoredRecord>, JournalError> {
        Ok(Some(self.record()))
    }

    fn decode(record: &StoredRecord) -> Result<Option<Self>, JournalError> {
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Arc::<str>::from(text)),
            Err(_) => Err(JournalError::Foreign("its key is no text")),
        };
        let body = match record.value.as_deref() {
            None => None,
            Some([FORMAT, body @ ..]) => Some(body),
            Some([format, ..]) => return Err(JournalError::Format(*format)),
            Some([]) => return Err(JournalError::Foreign("its value is empty")),
        };
        let change = match (&record.key[..], body) {
            ([SNAPSHOT, key @ ..], Some(body)) => {
                Change::Snapshot(Snapshot::read(text(key)?, body)?)
            }
            ([ENTRY, rest @ ..], body) => {
                let Some((sequence, key)) = rest.split_first_chunk::<8>() else {
                    return Err(JournalError::Foreign("its key is cut short"));
                };
                let (key, sequence) = (text(key)?, in_order(u64::from_be_bytes(*sequence))?);
                match body {
                    Some(body) => Change::Entry(Entry::read(key, sequence, body)?),
                    None => Change::Covered { key, sequence },
                }
            }
            _ => return Err(JournalError::Foreign("its key is of no known kind")),
        };
        Ok(Some(change))
    }
}

/// After the last number there is none.
fn in_order(sequence: u64) -> Result<u64, JournalError> {
    match sequence {
        u64::MAX => Err(JournalError::Foreign("its sequence is the last number")),
        _ => Ok(sequence),
    }
}

fn entry_key(key: &str, sequence: u64) -> Vec<u8> {
    [&[ENTRY], &sequence.to_be_bytes()[..], key.as_bytes()].concat()
}

//! Holds the notation against Kafka's definitions, and the generated types against the notation.

// These tests read, and when blessing write, files of the repository.
#![allow(clippy::disallowed_methods)]

mod counting;
mod defaults;
mod framing;
mod golden;
mod grammar;
mod memory;
#[path = "../../notation/mod.rs"]
mod notation;
mod other_codec;
mod protocol_doc;
mod round_trip;
mod sample;
mod schemas;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_wire::{DecodeError, EncodeError, Message, Reader, Writer};

include!(concat!(env!("OUT_DIR"), "/every_message.rs"));

/// Decodes all of the bytes in one version, and encodes what came out in another.
type Recode = fn(Bytes, i16, i16) -> Result<Result<Bytes, EncodeError>, DecodeError>;

fn recode<M: Message>(
    bytes: Bytes,
    from: i16,
    to: i16,
) -> Result<Result<Bytes, EncodeError>, DecodeError> {
    let mut r = Reader::new(bytes);
    let message = M::decode(&mut r, from)?;
    r.finish()?;
    Ok(encode(&message, to))
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    message.encode(&mut w, version)?;
    Ok(w.into_bytes().expect("all bytes are at hand"))
}

type Blank = fn(i16) -> Option<Bytes>;

fn encode_blank<M: Message + Default>(version: i16) -> Option<Bytes> {
    encode(&M::default(), version).ok()
}

macro_rules! codecs {
    ($($name:ident),*) => {
        &[$((stringify!($name), recode::<ottla_wire::$name>, encode_blank::<ottla_wire::$name>)),*]
    };
}

const CODECS: &[(&str, Recode, Blank)] = every_message!(codecs);

fn codec(name: &str) -> (Recode, Blank) {
    let found = CODECS.iter().find(|(other, ..)| *other == name);
    found.map(|(_, recode, blank)| (*recode, *blank)).expect("generated")
}

/// The message as it is by default, where it can be said so.
fn blank(name: &str, version: i16) -> Option<Bytes> {
    codec(name).1(version)
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn repository() -> PathBuf {
    package().join("../..")
}

fn load_notation() -> Vec<notation::Schema> {
    notation::load(&package().join("schema")).expect("the notation is read")
}

/// Every message that has versions, with its recoder.
fn live_messages() -> Vec<(notation::Schema, Recode)> {
    let mut schemas = load_notation();
    schemas.retain(|schema| !schema.valid.is_empty());
    schemas.into_iter().map(|schema| (schema.clone(), codec(&schema.name).0)).collect()
}

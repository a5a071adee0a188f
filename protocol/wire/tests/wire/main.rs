//! Holds the notation against Kafka's definitions, and the generated types against the notation.

// These tests read, and when blessing write, files of the repository.
#![allow(clippy::disallowed_methods)]

mod counting;
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

/// Decodes all of the bytes and encodes what came out.
type Recode = fn(Bytes, i16) -> Result<Result<Bytes, EncodeError>, DecodeError>;

fn recode<M: Message>(
    bytes: Bytes,
    version: i16,
) -> Result<Result<Bytes, EncodeError>, DecodeError> {
    let mut r = Reader::new(bytes);
    let message = M::decode(&mut r, version)?;
    r.finish()?;
    let mut w = Writer::new();
    let encoded = message.encode(&mut w, version);
    Ok(encoded.map(|()| w.into_bytes().expect("all bytes are at hand")))
}

macro_rules! recoders {
    ($($name:ident),*) => { &[$((stringify!($name), recode::<ottla_wire::$name>)),*] };
}

const RECODERS: &[(&str, Recode)] = every_message!(recoders);

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
    let recoder =
        |name: &str| RECODERS.iter().find(|(other, _)| *other == name).expect("generated").1;
    schemas.into_iter().map(|schema| (schema.clone(), recoder(&schema.name))).collect()
}

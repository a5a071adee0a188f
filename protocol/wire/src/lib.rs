//! Bytes <-> types: every RPC and record schema of Kafka, record batches and codecs. Pure.
//!
//! The types are generated from the notation in `schema/`: a module for each schema, its type re-exported here.

mod api_key;
pub mod batch;
mod codec;
pub mod compression;
mod error;
#[macro_use]
mod family;
mod frame;
pub mod json;
mod message;
mod reader;
mod records;
mod writer;

pub use api_key::ListenerKind;
pub use codec::Wire;
pub use error::{DecodeError, EncodeError};
pub use frame::{
    decode_request_header, decode_response, encode_request, encode_response,
    encode_response_within, without_length,
};
pub use generated::*;
pub use message::{Message, RawTaggedField, Request, Response, VersionRange};
pub use reader::Reader;
pub use records::{decode_prefixed, encode_prefixed};
pub use writer::{Part, Records, Writer};

/// What the generated modules need.
mod prelude {
    pub(crate) use bytes::Bytes;
    pub(crate) use model::Uuid;

    pub(crate) use crate::api_key::ApiInfo;
    pub(crate) use crate::codec::{
        Filled, absent, cut_short, read_if_nullable, read_tagged_struct, write_if_nullable,
        write_tagged_struct,
    };
    pub(crate) use crate::json::{Json, Object};
    pub(crate) use crate::writer::{Tags, write_unknown_tags};
    pub(crate) use crate::{
        DecodeError, EncodeError, ListenerKind, Message, RawTaggedField, Reader, Records, Request,
        Response, VersionRange, Wire, Writer,
    };
}

#[allow(clippy::all, unused_variables, unused_mut)]
mod generated {
    use crate::prelude::*;

    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

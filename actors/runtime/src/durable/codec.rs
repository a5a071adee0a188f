//! How users' types look as bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Of one encoded value; a length within it that says more is refused before anything is reserved.
pub(super) const LIMIT: usize = 16 << 20;

pub(super) const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> =
    bincode::config::standard().with_limit::<LIMIT>();

/// Why bytes are not the value that they should be, or a value has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("cannot be written: {0}")]
    Encode(String),
    #[error("cannot be read: {0}")]
    Decode(String),
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("written in version {found}, where {known} is known and it has no upgrade")]
    Version { found: u32, known: u32 },
}

/// A value of a user's type.
///
/// # Errors
/// Its type does not let itself be written.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, CONFIG)
        .map_err(|error| CodecError::Encode(error.to_string()))
}

/// The value that [`encode`] wrote: for upgrades too.
///
/// # Errors
/// It is not one of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    whole(bytes, bincode::serde::decode_from_slice(bytes, CONFIG))
}

pub(super) fn whole<T>(
    bytes: &[u8],
    decoded: Result<(T, usize), bincode::error::DecodeError>,
) -> Result<T, CodecError> {
    match decoded {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(CodecError::Trailing(bytes.len() - used)),
        Err(error) => Err(CodecError::Decode(error.to_string())),
    }
}

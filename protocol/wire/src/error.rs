//! Why bytes could not become a message, and why a message could not become bytes.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("{needed} more bytes expected, {remaining} are left")]
    UnexpectedEnd { needed: usize, remaining: usize },
    #[error("a variable-length integer is longer than its type allows")]
    VarintTooLong,
    #[error("{length} is not a possible length")]
    InvalidLength { length: i64 },
    #[error("{count} elements cannot be in the {remaining} bytes that are left")]
    TooManyElements { count: usize, remaining: usize },
    #[error("null where the version does not allow it")]
    UnexpectedNull,
    #[error("tag {tag} is not valid in version {version}")]
    InvalidTag { tag: u32, version: i16 },
    #[error("{remaining} bytes are left over")]
    TrailingBytes { remaining: usize },
    #[error("the message would take more memory than its size allows for")]
    TooMuchMemory,
    #[error("version {version} of {name} is not supported")]
    UnsupportedVersion { name: &'static str, version: i16 },
    #[error("API key {0} is unknown")]
    UnknownApiKey(i16),
    #[error("record type {0} is unknown")]
    UnknownRecordType(i64),
    #[error("frame version {0} is not supported")]
    UnsupportedFrameVersion(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    #[error("version {version} of {name} is not supported")]
    UnsupportedVersion { name: &'static str, version: i16 },
    #[error("{field} is set, but version {version} cannot hold it")]
    NotInVersion { field: &'static str, version: i16 },
    #[error("{field} is null, which version {version} does not allow")]
    NullInVersion { field: &'static str, version: i16 },
    #[error("tagged fields are set, but version {version} is not flexible")]
    NoTagsInVersion { version: i16 },
    #[error("unknown tagged field {tag} is out of order or known to this version")]
    TagOrder { tag: u32 },
    #[error("{length} bytes or elements are too many for a length field")]
    TooLong { length: usize },
    #[error("it is longer than {limit} bytes")]
    BeyondLimit { limit: usize },
}

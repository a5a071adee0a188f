//! What every schema's type has in common.

use std::fmt::Debug;

use bytes::Bytes;

use crate::{ApiKey, DecodeError, EncodeError, Reader, Wire, Writer};

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// A tagged field that the schema does not know, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTaggedField {
    pub tag: u32,
    pub data: Bytes,
}

/// The type of a schema: it can be read and written in each of its versions.
pub trait Message: Wire + Debug + Clone + PartialEq + Default {
    const NAME: &'static str;
    const VERSIONS: VersionRange;
    /// The versions with compact lengths and tagged fields.
    const FLEXIBLE: Option<VersionRange>;

    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE.is_some_and(|versions| versions.contains(version))
    }

    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion { name: Self::NAME, version });
        }
        Self::read(r, version, Self::is_flexible(version))
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(EncodeError::UnsupportedVersion { name: Self::NAME, version });
        }
        self.write(w, version, Self::is_flexible(version))
    }
}

pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Response;
}

pub trait Response: Message {
    const KEY: ApiKey;
}

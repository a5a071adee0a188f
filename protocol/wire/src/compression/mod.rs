//! The codecs of record batches. What comes out of a decompressor is bounded by its caller.

mod gzip;
mod inflate;
mod lz4;
mod snappy;
mod zstd;

#[cfg(test)]
mod tests;

use std::io::Read;

use model::settings::{CompressionType, TopicConfig};

pub use inflate::Inflater;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    pub fn default_level(self) -> i32 {
        match self {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        }
    }
}

/// A codec and its level. LZ4 has one speed here, whatever the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    pub codec: Codec,
    pub level: i32,
}

impl Compression {
    pub const NONE: Compression = Compression { codec: Codec::None, level: 0 };

    /// The codec at its default level.
    pub fn of(codec: Codec) -> Compression {
        Compression { codec, level: codec.default_level() }
    }

    /// What a topic's batches are to be; none where whoever writes them decides (`compression.type=producer`).
    pub fn of_topic(config: &TopicConfig) -> Option<Compression> {
        Some(match config.compression_type {
            CompressionType::Producer => return None,
            CompressionType::Uncompressed => Compression::NONE,
            CompressionType::Gzip => {
                Compression { codec: Codec::Gzip, level: config.compression_gzip_level }
            }
            CompressionType::Snappy => Compression::of(Codec::Snappy),
            CompressionType::Lz4 => {
                Compression { codec: Codec::Lz4, level: config.compression_lz4_level }
            }
            CompressionType::Zstd => {
                Compression { codec: Codec::Zstd, level: config.compression_zstd_level }
            }
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("the {} data is corrupt: {why}", .codec.name())]
    Corrupt { codec: Codec, why: String },
    #[error("the data is larger than {limit} bytes when decompressed")]
    TooLarge { limit: usize },
    #[error("{} cannot compress: {why}", .codec.name())]
    Failed { codec: Codec, why: String },
}

/// Appends `input`, compressed, to `out`.
pub fn compress(
    compression: Compression,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    match compression.codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => gzip::compress(compression.level, input, out)?,
        Codec::Snappy => snappy::compress(input, out)?,
        Codec::Lz4 => lz4::compress(input, out)?,
        Codec::Zstd => zstd::compress(compression.level, input, out)?,
    }
    Ok(())
}

/// Decompresses `input`, refusing what grows beyond `limit` bytes before it has been produced.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    decompress_into(codec, input, limit, &mut out)?;
    Ok(out)
}

/// As [`decompress`], into a buffer that is empty but may have room already.
pub fn decompress_into(
    codec: Codec,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    match codec {
        Codec::None if input.len() > limit => return Err(CompressionError::TooLarge { limit }),
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => read_bounded(codec, gzip::reader(input), limit, out)?,
        Codec::Snappy => snappy::decompress(input, limit, out)?,
        Codec::Lz4 => read_bounded(codec, lz4::reader(input), limit, out)?,
        Codec::Zstd => zstd::decompress(input, limit, out)?,
    }
    Ok(())
}

/// Reads a decoder to its end, or to the first byte beyond the limit.
fn read_bounded(
    codec: Codec,
    reader: impl Read,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    reader
        .take(limit as u64 + 1)
        .read_to_end(out)
        .map_err(|error| CompressionError::Corrupt { codec, why: error.to_string() })?;
    if out.len() > limit {
        return Err(CompressionError::TooLarge { limit });
    }
    Ok(())
}

use std::io::{Read, Write};

use super::{Codec, CompressionError};

pub(super) fn compress(
    level: i32,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let level = match u32::try_from(level) {
        Ok(level) => flate2::Compression::new(level.min(9)),
        Err(_) => flate2::Compression::default(),
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder
        .write_all(input)
        .and_then(|()| encoder.finish().map(drop))
        .map_err(|error| CompressionError::Failed { codec: Codec::Gzip, why: error.to_string() })
}

/// Members that follow one another are one stream, as Java reads them.
pub(super) fn reader(input: &[u8]) -> impl Read {
    flate2::bufread::MultiGzDecoder::new(input)
}

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, CompressionError};

/// Kafka's readers take independent blocks only.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let failed = |why: String| CompressionError::Failed { codec: Codec::Lz4, why };
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input).map_err(|error| failed(error.to_string()))?;
    encoder.finish().map_err(|error| failed(error.to_string()))?;
    Ok(())
}

pub(super) fn reader(input: &[u8]) -> impl Read {
    FrameDecoder::new(input)
}

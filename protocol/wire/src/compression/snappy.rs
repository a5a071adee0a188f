//! Snappy in the framing of the Java library xerial, as Kafka writes it. On reading, data without that framing is
//! one raw block: the Java library takes it so, and some clients send it.

use super::{Codec, CompressionError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version 1, compatible with version 1.
const FRAME_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK: usize = 32 * 1024;

fn corrupt(why: impl ToString) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Snappy, why: why.to_string() }
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&FRAME_HEADER);
    for block in input.chunks(BLOCK) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[start + 4..]).map_err(|error| {
            CompressionError::Failed { codec: Codec::Snappy, why: error.to_string() }
        })?;
        out[start..start + 4].copy_from_slice(&(len as u32).to_be_bytes());
        out.truncate(start + 4 + len);
    }
    Ok(())
}

pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    if input.len() < FRAME_HEADER.len() || !input.starts_with(&MAGIC) {
        return block(input, limit, out);
    }
    let mut rest = &input[FRAME_HEADER.len()..];
    while !rest.is_empty() {
        // Streams that were appended to one another repeat the header.
        if rest.starts_with(&MAGIC) {
            rest =
                rest.get(FRAME_HEADER.len()..).ok_or_else(|| corrupt("its header is cut off"))?;
            continue;
        }
        let (len, after) =
            rest.split_first_chunk().ok_or_else(|| corrupt("a block's length is cut off"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let (one, after) =
            after.split_at_checked(len).ok_or_else(|| corrupt("a block is cut off"))?;
        block(one, limit, out)?;
        rest = after;
    }
    Ok(())
}

fn block(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let len = snap::raw::decompress_len(input).map_err(corrupt)?;
    let start = out.len();
    if len > limit.saturating_sub(start) {
        return Err(CompressionError::TooLarge { limit });
    }
    // No element of the format makes more than 64 bytes out of 3: a larger claim is a lie, and
    // is not allocated for.
    if len > input.len().saturating_mul(32) {
        return Err(corrupt("it claims more data than it can hold"));
    }
    out.resize(start + len, 0);
    let written =
        snap::raw::Decoder::new().decompress(input, &mut out[start..]).map_err(corrupt)?;
    out.truncate(start + written);
    Ok(())
}

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
    let mut blocks = Blocks::new(input);
    while let Some((block, len)) = blocks.next()? {
        let start = out.len();
        if len > limit.saturating_sub(start) {
            return Err(CompressionError::TooLarge { limit });
        }
        out.resize(start + len, 0);
        let written =
            snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(corrupt)?;
        out.truncate(start + written);
    }
    Ok(())
}

/// The raw blocks of a stream, each with the length that it claims to become.
pub(super) struct Blocks<'a> {
    framed: bool,
    rest: &'a [u8],
    /// Did not fit any more.
    waiting: Option<(&'a [u8], usize)>,
}

impl<'a> Blocks<'a> {
    pub fn new(input: &'a [u8]) -> Blocks<'a> {
        let framed = input.len() >= FRAME_HEADER.len() && input.starts_with(&MAGIC);
        let rest = if framed { &input[FRAME_HEADER.len()..] } else { input };
        Blocks { framed, rest, waiting: None }
    }

    /// Decompresses as many blocks as fit into `out`, and one in any case; how much came out.
    pub fn fill(&mut self, out: &mut Vec<u8>) -> Result<usize, CompressionError> {
        let mut filled = 0;
        while let Some((block, len)) = self.next()? {
            if filled + len > out.len() {
                if filled > 0 {
                    self.waiting = Some((block, len));
                    break;
                }
                out.resize(len, 0);
            }
            let room = &mut out[filled..filled + len];
            filled += snap::raw::Decoder::new().decompress(block, room).map_err(corrupt)?;
        }
        Ok(filled)
    }

    fn next(&mut self) -> Result<Option<(&'a [u8], usize)>, CompressionError> {
        if let Some(waiting) = self.waiting.take() {
            return Ok(Some(waiting));
        }
        let Some(block) = self.cut()? else { return Ok(None) };
        let len = snap::raw::decompress_len(block).map_err(corrupt)?;
        // No element of the format makes more than 64 bytes out of 3: a larger claim is a lie, and
        // is not allocated for.
        if len > block.len().saturating_mul(32) {
            return Err(corrupt("it claims more data than it can hold"));
        }
        Ok(Some((block, len)))
    }

    fn cut(&mut self) -> Result<Option<&'a [u8]>, CompressionError> {
        if !self.framed {
            self.framed = true;
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        // Streams that were appended to one another repeat the header.
        while self.rest.starts_with(&MAGIC) {
            let after = self.rest.get(FRAME_HEADER.len()..);
            self.rest = after.ok_or_else(|| corrupt("its header is cut off"))?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (len, after) =
            self.rest.split_first_chunk().ok_or_else(|| corrupt("a block's length is cut off"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, after) =
            after.split_at_checked(len).ok_or_else(|| corrupt("a block is cut off"))?;
        self.rest = after;
        Ok(Some(block))
    }
}

//! One-shot calls with a context kept per thread: making one costs more than a small batch. A frame decompressed in
//! one shot needs no window beside its output, however large a window it asks for.

use std::cell::RefCell;
use std::io::Read;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::{Codec, CompressionError};

/// Contexts of higher levels are too large to keep.
const KEPT_LEVEL: i32 = 9;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(
    level: i32,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let failed = |error: std::io::Error| CompressionError::Failed {
        codec: Codec::Zstd,
        why: error.to_string(),
    };
    let mut compressor = match COMPRESSOR.take() {
        Some((kept, compressor)) if kept == level => compressor,
        _ => Compressor::new(level).map_err(failed)?,
    };
    let start = out.len();
    out.resize(start + zstd_safe::compress_bound(input.len()), 0);
    let len = compressor.compress_to_buffer(input, &mut out[start..]).map_err(failed)?;
    out.truncate(start + len);
    if level <= KEPT_LEVEL {
        COMPRESSOR.replace(Some((level, compressor)));
    }
    Ok(())
}

fn corrupt(why: impl ToString) -> CompressionError {
    CompressionError::Corrupt { codec: Codec::Zstd, why: why.to_string() }
}

/// No more than this comes out.
pub(super) fn bound(input: &[u8]) -> Result<u64, CompressionError> {
    zstd_safe::decompress_bound(input).map_err(|code| corrupt(zstd_safe::get_error_name(code)))
}

/// A context of its own, with a window as large as the data asks for, up to the 128 MiB that zstd allows.
pub(super) fn reader(input: &[u8]) -> Result<impl Read, CompressionError> {
    zstd::stream::read::Decoder::with_buffer(input).map_err(corrupt)
}

/// Into `out`, made as large as need be; how much came out.
pub(super) fn decompress_whole(input: &[u8], out: &mut Vec<u8>) -> Result<usize, CompressionError> {
    let bound = usize::try_from(bound(input)?).unwrap_or(usize::MAX);
    if out.len() < bound {
        out.resize(bound, 0);
    }
    with_decompressor(|decompressor| decompressor.decompress_to_buffer(input, &mut out[..]))
}

fn with_decompressor(
    decompress: impl FnOnce(&mut Decompressor<'static>) -> std::io::Result<usize>,
) -> Result<usize, CompressionError> {
    let mut decompressor = match DECOMPRESSOR.take() {
        Some(kept) => kept,
        None => Decompressor::new().map_err(corrupt)?,
    };
    let result = decompress(&mut decompressor);
    DECOMPRESSOR.replace(Some(decompressor));
    result.map_err(corrupt)
}

pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let bound = bound(input)?;
    let room = usize::try_from(bound).unwrap_or(usize::MAX).min(limit);
    out.reserve_exact(room);
    match with_decompressor(|decompressor| decompressor.decompress_to_buffer(input, out)) {
        Ok(_) if out.len() <= limit => Ok(()),
        Ok(_) => Err(CompressionError::TooLarge { limit }),
        Err(_) if bound > limit as u64 => Err(CompressionError::TooLarge { limit }),
        Err(error) => Err(error),
    }
}

//! One-shot calls with a context kept per thread: making one costs more than a small batch. A frame decompressed in
//! one shot needs no window beside its output, however large a window it asks for.

use std::cell::RefCell;

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

pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let corrupt = |why: String| CompressionError::Corrupt { codec: Codec::Zstd, why };
    let bound = zstd_safe::decompress_bound(input)
        .map_err(|code| corrupt(zstd_safe::get_error_name(code).to_string()))?;
    let room = usize::try_from(bound).unwrap_or(usize::MAX).min(limit);
    let mut decompressor = match DECOMPRESSOR.take() {
        Some(kept) => kept,
        None => Decompressor::new().map_err(|error| corrupt(error.to_string()))?,
    };
    out.reserve_exact(room);
    let result = decompressor.decompress_to_buffer(input, out);
    DECOMPRESSOR.replace(Some(decompressor));
    match result {
        Ok(_) if out.len() <= limit => Ok(()),
        Ok(_) => Err(CompressionError::TooLarge { limit }),
        Err(_) if bound > limit as u64 => Err(CompressionError::TooLarge { limit }),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

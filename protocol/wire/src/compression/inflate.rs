//! Decompression through a window: however much comes out, little of it is held at a time.

use std::cell::RefCell;
use std::io::Read;

use super::{Codec, CompressionError, gzip, lz4, snappy, zstd};

/// What is held at a time; more where a codec knows only whole blocks.
const WINDOW: usize = 256 << 10;
/// A thread keeps its window from batch to batch; a larger one is given back.
const KEPT: usize = 1 << 20;

thread_local! {
    static KEPT_WINDOW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compressed data, read window by window.
pub struct Inflater<'a> {
    codec: Codec,
    source: Source<'a>,
    window: Vec<u8>,
    filled: usize,
    total: usize,
    limit: usize,
}

enum Source<'a> {
    /// Each read gives as much as there is, or as the buffer holds.
    Stream(Box<dyn Read + 'a>),
    /// All of it fits the window.
    Zstd(&'a [u8]),
    Snappy(snappy::Blocks<'a>),
    Ended,
}

impl<'a> Inflater<'a> {
    /// What grows beyond `limit` bytes is refused when it does.
    pub fn new(
        codec: Codec,
        input: &'a [u8],
        limit: usize,
    ) -> Result<Inflater<'a>, CompressionError> {
        let source = match codec {
            Codec::None => Source::Stream(Box::new(input)),
            Codec::Gzip => Source::Stream(Box::new(gzip::reader(input))),
            Codec::Lz4 => Source::Stream(Box::new(lz4::reader(input))),
            Codec::Snappy => Source::Snappy(snappy::Blocks::new(input)),
            Codec::Zstd if zstd::bound(input)? <= KEPT as u64 => Source::Zstd(input),
            Codec::Zstd => Source::Stream(Box::new(zstd::reader(input)?)),
        };
        let mut window = KEPT_WINDOW.take();
        if window.len() < WINDOW {
            window.resize(WINDOW, 0);
        }
        Ok(Inflater { codec, source, window, filled: 0, total: 0, limit })
    }

    /// What was read last.
    #[inline]
    pub fn window(&self) -> &[u8] {
        &self.window[..self.filled]
    }

    /// Puts the bytes that follow into the window; false when there are none.
    pub fn advance(&mut self) -> Result<bool, CompressionError> {
        self.filled = 0;
        self.filled = match &mut self.source {
            Source::Stream(reader) => read_full(reader, &mut self.window).map_err(|error| {
                CompressionError::Corrupt { codec: self.codec, why: error.to_string() }
            })?,
            Source::Snappy(blocks) => blocks.fill(&mut self.window)?,
            Source::Zstd(input) => {
                let input = std::mem::take(input);
                self.source = Source::Ended;
                zstd::decompress_whole(input, &mut self.window)?
            }
            Source::Ended => 0,
        };
        self.total = self.total.saturating_add(self.filled);
        if self.total > self.limit {
            return Err(CompressionError::TooLarge { limit: self.limit });
        }
        Ok(self.filled > 0)
    }
}

impl Drop for Inflater<'_> {
    fn drop(&mut self) {
        let window = std::mem::take(&mut self.window);
        if window.len() <= KEPT {
            // A thread that ends keeps none.
            let _ = KEPT_WINDOW.try_with(|kept| kept.replace(window));
        }
    }
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

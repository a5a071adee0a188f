use proptest::prelude::*;

use super::*;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn packed(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(Compression::of(codec), input, &mut out).unwrap();
    out
}

fn inflated(codec: Codec, packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    let mut inflater = Inflater::new(codec, packed, limit)?;
    while inflater.advance()? {
        out.extend_from_slice(inflater.window());
    }
    Ok(out)
}

#[test]
fn every_codec_gives_back_what_it_took() {
    let text = b"some text that repeats, some text that repeats. ".repeat(5000);
    for codec in CODECS {
        for input in [&text[..], b"", b"x"] {
            let packed = packed(codec, input);
            assert_eq!(decompress(codec, &packed, input.len()).unwrap(), input, "{codec:?}");
            assert_eq!(inflated(codec, &packed, input.len()).unwrap(), input, "{codec:?}");
        }
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let zeros = vec![0; 32 << 20];
    for codec in CODECS {
        let packed = packed(codec, &zeros);
        assert_eq!(
            decompress(codec, &packed, 1 << 16),
            Err(CompressionError::TooLarge { limit: 1 << 16 }),
            "{codec:?}"
        );
        assert_eq!(
            inflated(codec, &packed, 1 << 24),
            Err(CompressionError::TooLarge { limit: 1 << 24 }),
            "{codec:?}"
        );
    }
}

/// Each is a hundred windows large.
#[test]
fn what_comes_out_is_held_a_window_at_a_time() {
    let zeros = vec![0; 32 << 20];
    for codec in CODECS {
        let packed = packed(codec, &zeros);
        let mut inflater = Inflater::new(codec, &packed, zeros.len()).unwrap();
        let mut total = 0;
        while inflater.advance().unwrap() {
            total += inflater.window().len();
            assert!(inflater.window().len() <= 1 << 18, "{codec:?}");
        }
        assert_eq!(total, zeros.len(), "{codec:?}");
    }
}

#[test]
fn levels_of_each_codec_are_taken() {
    let text = b"some text that repeats, some text that repeats. ".repeat(500);
    for (codec, levels) in
        [(Codec::Gzip, [-1, 1, 9]), (Codec::Lz4, [1, 9, 17]), (Codec::Zstd, [-131072, 3, 22])]
    {
        for level in levels {
            let mut out = Vec::new();
            compress(Compression { codec, level }, &text, &mut out).unwrap();
            assert_eq!(decompress(codec, &out, text.len()).unwrap(), text);
        }
    }
}

#[test]
fn snappy_is_framed_as_xerial_does_and_read_in_all_its_forms() {
    let packed = packed(Codec::Snappy, b"hello");
    assert_eq!(packed[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    let raw = snap::raw::Encoder::new().compress_vec(b"hello").unwrap();
    assert_eq!(packed[16..20], (raw.len() as u32).to_be_bytes());
    assert_eq!(decompress(Codec::Snappy, &raw, 5).unwrap(), b"hello");
    let twice = [&packed[..], &packed[..]].concat();
    assert_eq!(decompress(Codec::Snappy, &twice, 10).unwrap(), b"hellohello");
}

#[test]
fn streams_without_a_content_size_are_read() {
    let text = b"some text that repeats, some text that repeats. ".repeat(10_000);
    let mut encoder = zstd_stream();
    std::io::Write::write_all(&mut encoder, &text).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(decompress(Codec::Zstd, &packed, text.len()).unwrap(), text);
}

fn zstd_stream() -> ::zstd::Encoder<'static, Vec<u8>> {
    ::zstd::Encoder::new(Vec::new(), 3).unwrap()
}

#[test]
fn lying_lengths_allocate_nothing() {
    // A raw snappy block that claims 1 GiB, and a zstd frame that claims 2^60 bytes.
    let snappy = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x00];
    assert!(decompress(Codec::Snappy, &snappy, usize::MAX).is_err());
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    zstd.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(decompress(Codec::Zstd, &zstd, 1 << 20).is_err());
}

proptest! {
    #[test]
    fn mutated_data_never_panics(
        input in proptest::collection::vec(any::<u8>(), 0..2000),
        at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        for codec in CODECS {
            let mut packed = packed(codec, &input);
            let at = at.index(packed.len());
            packed[at] ^= with;
            if let Ok(out) = decompress(codec, &packed, 4096) {
                prop_assert!(out.len() <= 4096);
            }
            let cut = &packed[..cut.index(packed.len())];
            for packed in [&packed[..], cut, &input] {
                let whole = decompress(codec, packed, 4096);
                prop_assert_eq!(inflated(codec, packed, 4096).ok(), whole.ok());
            }
        }
    }
}

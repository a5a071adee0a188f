//! Files of every kind, damaged in many ways: the tool may refuse them, and must not fall over.

use wire::batch::{BatchBuilder, crc::crc32c};
use wire::compression::{Codec, Compression};
use wire::group_metadata_value::MemberMetadata;
use wire::{
    GroupCoordinatorKey, GroupCoordinatorValue, GroupMetadataKey, GroupMetadataValue,
    MetadataRecord, TopicRecord,
};

use super::tests::{Bed, options};
use super::*;

/// Numbers that look like chance and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        const EXTREMES: [&[u8]; 5] = [
            &[0xff; 8],
            &[0x7f, 0xff, 0xff, 0xff],
            &[0; 8],
            &[0x80, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
        ];
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 => {
                    let extreme = EXTREMES[self.below(EXTREMES.len())];
                    let end = bytes.len().min(at + extreme.len());
                    bytes[at..end].copy_from_slice(&extreme[..end - at]);
                }
                _ => {
                    let again = bytes[at..].to_vec();
                    bytes.extend(again);
                }
            }
        }
    }
}

fn log(codec: Codec) -> Vec<u8> {
    let key =
        GroupCoordinatorKey::from(GroupMetadataKey { group: "g".into(), ..Default::default() });
    let value = GroupCoordinatorValue::from(GroupMetadataValue {
        protocol_type: "consumer".into(),
        members: vec![MemberMetadata::default(); 3],
        ..Default::default()
    });
    let topic = MetadataRecord::from(TopicRecord { name: "t".into(), ..Default::default() });
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for value in [value.encode(3), topic.encode(0)] {
        builder.append(1, Some(&key.encode().unwrap()), Some(&value.unwrap()), &[(b"h", None)]);
    }
    builder.build().unwrap().to_bytes().to_vec()
}

/// With a checksum that fits, so that what the damage made is looked at.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() > 61 {
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

#[test]
fn no_damage_makes_it_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let bed = Bed::new();
    let decoders = [
        None,
        Some(Decoder::Plain { key: PlainDecoder::Int, value: PlainDecoder::Long }),
        Some(Decoder::Coordinator(Coordinator::Group)),
        Some(Decoder::Coordinator(Coordinator::Transaction)),
        Some(Decoder::Coordinator(Coordinator::Share)),
        Some(Decoder::ClusterMetadata),
        Some(Decoder::RemoteLogMetadata),
    ];
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let small: [(&str, Vec<u8>); 4] = [
        ("index", vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 1, 0]),
        ("timeindex", vec![0; 36]),
        ("snapshot", [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 2], &[3; 92][..]].concat()),
        ("txnindex", vec![0; 68]),
    ];
    let (mut whole, mut refused) = (0, 0);
    for round in 0..300 {
        let mut bytes = log(codecs[round % codecs.len()]);
        numbers.damage(&mut bytes);
        let name =
            if round % 7 == 0 { "00000000000000000000-0000000001.checkpoint" } else { "0.log" };
        let mut files = vec![bed.write(name, &sealed(bytes))];
        let (suffix, bytes) = &small[round % small.len()];
        let mut bytes = bytes.clone();
        numbers.damage(&mut bytes);
        bed.write("0.index", &[0; 8]);
        files.push(bed.write(&format!("0.{suffix}"), &bytes));
        for file in files {
            let options = Options {
                files: vec![file],
                deep: true,
                sanity_check: numbers.below(4) == 0,
                decoder: decoders[numbers.below(decoders.len())],
                ..options()
            };
            match bed.dump(options).done {
                Ok(()) => whole += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(whole > 100 && refused > 100, "{whole} shown, {refused} refused");
}

//! Batches in every codec, and batches that lie.

use crate::Case;
use crate::session::{batch, topic};
use crate::tree::Tree;
use bytes::Bytes;
use wire::batch::BatchBuilder;
use wire::compression::{Codec, Compression};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{ProduceRequest, Records};

/// By name, which versions from 13 on no longer know.
const VERSIONS: [i16; 2] = [3, 12];

const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const COUNT: usize = 57;
const RECORDS: usize = 61;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        cases.extend(produced(&format!("in {}", codec.name()), Some(coded(codec))));
    }
    cases.extend(produced("of no records at all", None));
    for (what, change) in LIES {
        cases.extend(produced(what, Some(spoilt(*change))));
    }
    cases.extend(beside_a_good_one());
    cases
}

type Change = fn(&mut Vec<u8>);

const LIES: &[(&str, Change)] = &[
    ("of no bytes", Vec::clear),
    ("of five bytes", |b| b.truncate(5)),
    ("of a header alone", |b| b.truncate(RECORDS)),
    ("a byte too short", |b| b.truncate(b.len() - 1)),
    ("a byte too long", |b| b.push(0)),
    ("of length -1", |b| put(b, 8, &(-1i32).to_be_bytes())),
    ("of length 10", |b| put(b, 8, &10i32.to_be_bytes())),
    ("of magic 0", |b| b[16] = 0),
    ("of magic 1", |b| b[16] = 1),
    ("of magic 3", |b| b[16] = 3),
    ("with a bit turned", |b| b[RECORDS + 3] ^= 4),
    ("of four records that are three", |b| sealed(b, COUNT, &4i32.to_be_bytes())),
    ("of two records that are three", |b| sealed(b, COUNT, &2i32.to_be_bytes())),
    ("of -1 records", |b| sealed(b, COUNT, &(-1i32).to_be_bytes())),
    ("whose last offset is another", |b| sealed(b, LAST_OFFSET_DELTA, &9i32.to_be_bytes())),
    ("for control", |b| sealed(b, ATTRIBUTES, &0x20i16.to_be_bytes())),
    ("of a transaction", |b| sealed(b, ATTRIBUTES, &0x10i16.to_be_bytes())),
    ("with the broker's time", |b| sealed(b, ATTRIBUTES, &0x08i16.to_be_bytes())),
    ("with a bit that means nothing", |b| sealed(b, ATTRIBUTES, &0x80i16.to_be_bytes())),
    ("of a producer without a sequence", |b| sealed(b, PRODUCER_ID, &77i64.to_be_bytes())),
    ("of a codec that is none", |b| sealed(b, ATTRIBUTES, &5i16.to_be_bytes())),
    ("said to be gzip", |b| sealed(b, ATTRIBUTES, &1i16.to_be_bytes())),
    ("said to be snappy", |b| sealed(b, ATTRIBUTES, &2i16.to_be_bytes())),
    ("said to be lz4", |b| sealed(b, ATTRIBUTES, &3i16.to_be_bytes())),
    ("said to be zstd", |b| sealed(b, ATTRIBUTES, &4i16.to_be_bytes())),
    ("from long ago", |b| sealed(b, BASE_TIMESTAMP, &0i64.to_be_bytes())),
    ("from years ahead", |b| {
        sealed(b, BASE_TIMESTAMP, &4_000_000_000_000i64.to_be_bytes());
        sealed(b, MAX_TIMESTAMP, &4_000_000_002_000i64.to_be_bytes());
    }),
    ("of a time below zero", |b| sealed(b, BASE_TIMESTAMP, &(-5_000i64).to_be_bytes())),
    ("whose newest time is another", |b| sealed(b, MAX_TIMESTAMP, &7i64.to_be_bytes())),
    ("whose base offset is 100", |b| put(b, 0, &100i64.to_be_bytes())),
    ("of leader epoch 9", |b| put(b, 12, &9i32.to_be_bytes())),
];

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// With a checksum that fits the lie.
fn sealed(bytes: &mut [u8], at: usize, value: &[u8]) {
    put(bytes, at, value);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
    put(bytes, CRC, &crc.to_be_bytes());
}

fn built(builder: BatchBuilder) -> Vec<u8> {
    builder.build().expect("a batch").to_bytes().to_vec()
}

fn spoilt(change: Change) -> Vec<u8> {
    let mut bytes = built(batch());
    change(&mut bytes);
    bytes
}

fn coded(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for n in 0..50u8 {
        builder.append(1_700_000_000_000, None, Some(&[n; 40]), &[]);
    }
    built(builder)
}

/// Produced to a partition, and what is then in it told by the answer's offset.
fn produced(what: &str, bytes: Option<Vec<u8>>) -> Vec<Case> {
    let topics = vec![to(topic(), 2, bytes)];
    asked(what, topics)
}

/// Batches that are refused, each before and behind one that is not: does the good one stand?
fn beside_a_good_one() -> Vec<Case> {
    let good = || to(topic(), 1, Some(built(batch())));
    let nowhere = || "of-nobody".to_owned();
    let internal = || "__consumer_offsets".to_owned();
    let lie = |what: &str| {
        let (_, change) = LIES.iter().find(|(name, _)| *name == what).expect("one of the lies");
        Some(spoilt(*change))
    };
    let mut bad = vec![
        ("to no topic".to_owned(), to(nowhere(), 0, Some(built(batch())))),
        ("to no partition".to_owned(), to(topic(), 99, Some(built(batch())))),
        ("to an internal topic".to_owned(), to(internal(), 0, Some(built(batch())))),
    ];
    for what in [
        "of length 10",
        "of magic 0",
        "of magic 3",
        "of no bytes",
        "with a bit turned",
        "of a transaction",
    ] {
        bad.push((what.to_owned(), to(topic(), 2, lie(what))));
        bad.push((format!("{what} to no topic"), to(nowhere(), 0, lie(what))));
    }
    let mut cases = Vec::new();
    for (what, bad) in bad {
        cases.extend(asked(&format!("{what} before a good one"), vec![bad.clone(), good()]));
        cases.extend(asked(&format!("{what} behind a good one"), vec![good(), bad]));
    }
    cases
}

fn to(name: String, index: i32, bytes: Option<Vec<u8>>) -> TopicProduceData {
    let records = bytes.map(|bytes| Records::Bytes(Bytes::from(bytes)));
    let data = PartitionProduceData { index, records, ..Default::default() };
    TopicProduceData { name, partition_data: vec![data], ..Default::default() }
}

fn asked(what: &str, topic_data: Vec<TopicProduceData>) -> Vec<Case> {
    let case = |version: i16| {
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 5_000,
            topic_data: topic_data.clone(),
            ..Default::default()
        };
        let run = move |session: &mut crate::Session| -> Tree { session.tree(&request, version) };
        let name = format!("Produce v{version} batch {what}");
        Case { name, reads: false, run: Box::new(run) }
    };
    VERSIONS.into_iter().map(case).collect()
}

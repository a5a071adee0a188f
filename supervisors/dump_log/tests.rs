use std::sync::Arc;

use bytes::Bytes as Raw;
use disk::{Open, RealDisk};
use wire::batch::{BatchBuilder, ControlRecordType, EndTxnMarker, control_batch};
use wire::compression::{Codec, Compression};
use wire::group_metadata_value::MemberMetadata;
use wire::{
    ConsumerProtocolSubscription, GroupCoordinatorKey, GroupCoordinatorValue, GroupMetadataKey,
    GroupMetadataValue, LeaderChangeMessage, encode_prefixed,
};

use super::*;

/// Files in a directory that goes with it.
pub struct Bed {
    dir: tempfile::TempDir,
    disk: Arc<RealDisk>,
}

/// How it ended, and what was printed.
pub struct Dumped {
    pub done: Result<(), DumpError>,
    out: String,
    err: String,
}

pub fn options() -> Options {
    Options {
        paths: Vec::new(),
        files: Vec::new(),
        print_data: false,
        deep: false,
        skip_record_metadata: false,
        sanity_check: false,
        verify_only: false,
        max_message_size: 5 << 20,
        max_bytes: None,
        decoder: None,
    }
}

impl Bed {
    pub fn new() -> Bed {
        Bed { dir: tempfile::tempdir().unwrap(), disk: Arc::new(RealDisk::new()) }
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        self.disk.create_dir_all(path.parent().unwrap()).unwrap();
        self.disk.open(&path, Open::Truncate).unwrap().write_at(bytes, 0).unwrap();
        path
    }

    pub fn dump(&self, options: Options) -> Dumped {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = dump(&*self.disk, &options, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Dumped { done, out: text(out), err: text(err) }
    }

    /// What is printed of one file behind its name.
    fn lines(&self, name: &str, bytes: &[u8], change: impl FnOnce(&mut Options)) -> Vec<String> {
        let path = self.write(name, bytes);
        let mut options = Options { files: vec![path.clone()], ..options() };
        change(&mut options);
        let dumped = self.dump(options);
        dumped.done.unwrap_or_else(|error| panic!("{error}\n{}", dumped.out));
        let mut lines: Vec<String> = dumped.out.lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), format!("Dumping {}", path.display()));
        lines
    }
}

fn batch(builder: BatchBuilder, values: &[&str]) -> Vec<u8> {
    let mut builder = builder;
    for (n, value) in values.iter().enumerate() {
        builder.append(1_000 + n as i64, Some(b"k"), Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap().to_bytes().to_vec()
}

fn plain() -> BatchBuilder {
    BatchBuilder::new(Compression::NONE)
}

const LOG: &str = "00000000000000000000.log";

#[test]
fn batches_and_records_in_every_codec() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let builder = BatchBuilder::new(Compression::of(codec)).producer(7, 2, i32::MAX);
        let bytes = batch(builder, &["a", "b"]);
        let size = bytes.len();
        let crc = u32::from_be_bytes(bytes[17..21].try_into().unwrap());
        let lines = Bed::new().lines(LOG, &bytes, |options| options.print_data = true);
        assert_eq!(lines[0], "Log starting offset: 0");
        assert_eq!(
            lines[1],
            format!(
                "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 2147483647 lastSequence: 0 producerId: 7 producerEpoch: 2 \
                 partitionLeaderEpoch: -1 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 \
                 CreateTime: 1001 size: {size} magic: 2 compresscodec: {} crc: {crc} isvalid: true",
                codec.name()
            )
        );
        assert_eq!(
            lines[2..],
            [
                "| offset: 0 CreateTime: 1000 keySize: 1 valueSize: 1 sequence: 2147483647 headerKeys: [] key: k payload: a",
                "| offset: 1 CreateTime: 1001 keySize: 1 valueSize: 1 sequence: 0 headerKeys: [] key: k payload: b",
            ]
        );
    }
}

#[test]
fn what_is_there_is_what_is_shown() {
    let mut builder = plain();
    builder.append(5, None, Some(&[0, 0, 0, 7]), &[(b"h1", None), (b"h2", Some(b"v"))]);
    builder.append(6, Some(&[1]), None, &[]);
    let bytes = builder.build().unwrap().to_bytes();
    let bed = Bed::new();
    let ints = Decoder::Plain { key: PlainDecoder::Hex, value: PlainDecoder::Int };
    let show = |skip| {
        bed.lines(LOG, &bytes, |options| {
            (options.decoder, options.skip_record_metadata) = (Some(ints), skip);
        })
    };
    assert_eq!(
        show(false)[2..],
        [
            "| offset: 0 CreateTime: 5 keySize: -1 valueSize: 4 sequence: -1 headerKeys: [h1,h2] payload: 7",
            "| offset: 1 CreateTime: 6 keySize: 1 valueSize: -1 sequence: -1 headerKeys: [] key: 01",
        ]
    );
    assert_eq!(show(true)[2..], ["| payload: 7", "| key: 01"]);
}

#[test]
fn control_records_in_their_own_words() {
    let marker = EndTxnMarker { coordinator_epoch: 3 }.encode();
    let commit = control_batch(
        |b| b.producer(1, 0, -1).transactional(true),
        9,
        ControlRecordType::Commit,
        &marker,
    );
    let change = LeaderChangeMessage { leader_id: 4, ..Default::default() };
    let change = encode_prefixed(&change, 0).unwrap();
    // The message begins with its version itself.
    let change =
        control_batch(|b| b.base_offset(1), 9, ControlRecordType::LeaderChange, &change[2..]);
    let bytes = [commit, change].map(|batch| batch.unwrap().to_bytes().to_vec()).concat();
    let lines = Bed::new().lines(LOG, &bytes, |options| options.deep = true);
    assert!(lines[1].contains("isTransactional: true isControl: true"), "{}", lines[1]);
    assert!(lines[2].ends_with("headerKeys: [] endTxnMarker: COMMIT coordinatorEpoch: 3"));
    let json = r#" LeaderChange: {"version":0,"leaderId":4,"voters":[],"grantingVoters":[]}"#;
    assert!(lines[4].ends_with(json), "{}", lines[4]);
}

#[test]
fn offsets_of_groups_with_what_members_said() {
    let subscription =
        ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
    let member = |subscription| MemberMetadata {
        member_id: r#"subscription":""#.into(),
        subscription,
        assignment: Raw::from_static(b"?"),
        ..Default::default()
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        members: vec![
            member(Raw::from_static(b"x")),
            member(encode_prefixed(&subscription, 1).unwrap()),
        ],
        ..Default::default()
    };
    let key =
        GroupCoordinatorKey::from(GroupMetadataKey { group: "g".into(), ..Default::default() });
    let key = key.encode().unwrap();
    let value = GroupCoordinatorValue::from(value).encode(3).unwrap();
    let mut builder = plain();
    builder.append(1, Some(&key), Some(&value), &[]);
    builder.append(1, Some(&key), None, &[]);
    builder.append(1, Some(&[0, 99]), None, &[]);
    builder.append(1, Some(&[0]), None, &[]);
    builder.append(1, Some(&key), Some(&[0, 77]), &[]);
    builder.append(1, Some(&key), Some(&[0, 1, 0, 9]), &[]);
    let bytes = builder.build().unwrap().to_bytes();
    let bed = Bed::new();
    bed.write("__consumer_offsets-1/00000000000000000000.log", &bytes);
    let dumped = bed.dump(Options {
        paths: vec![bed.dir.path().join("__consumer_offsets-1")],
        skip_record_metadata: true,
        ..options()
    });
    dumped.done.unwrap();
    let lines: Vec<&str> = dumped.out.lines().skip(3).collect();
    let key = r#"| key: {"type":"2","data":{"group":"g"}}"#;
    let words = r#""subscription":{"topics":["t"],"userData":null,"ownedPartitions":[]},"assignment":"Pw=="}]}}"#;
    let raw = r#""subscription":"eA==","assignment":"Pw=="},{"#;
    assert!(lines[0].starts_with(&format!(
        r#"{key} payload: {{"version":"3","data":{{"protocolType":"consumer""#
    )));
    assert!(lines[0].contains(raw) && lines[0].ends_with(words), "{}", lines[0]);
    assert_eq!(lines[1], format!("{key} payload: <DELETE>"));
    assert_eq!(lines[2], "| key: Unknown record type 99 at offset 2, skipping.");
    let skipped = "| key: Error at offset";
    assert_eq!(
        lines[3],
        format!("{skipped} 3, skipping. Could not read version from key's buffer.")
    );
    let version = "Found an unknown record version 77 for 2 type";
    assert_eq!(lines[4], format!("{skipped} 4, skipping. {version}"));
    let cut = "Could not read record with version 1 from value's buffer due to: ";
    assert!(lines[5].starts_with(&format!("{skipped} 5, skipping. {cut}")), "{}", lines[5]);
}

#[test]
fn damage_is_told_with_its_place() {
    let sound = batch(plain(), &["a"]);
    let bed = Bed::new();
    let lines = bed.lines(LOG, &[&sound[..], &sound[..30]].concat(), |_| {});
    assert_eq!(lines[2], format!("Found 30 invalid bytes at the end of {LOG}"));
    let limited = |options: &mut Options| options.max_bytes = Some(sound.len() as u64 + 5);
    assert_eq!(bed.lines(LOG, &[&sound[..], &sound[..30]].concat(), limited).len(), 2);
    let mut flipped = sound.clone();
    flipped[sound.len() - 2] ^= 1;
    assert!(bed.lines(LOG, &flipped, |_| {})[1].ends_with("isvalid: false"));

    let of = |bytes: &[u8]| {
        let options = Options { files: vec![bed.write(LOG, bytes)], deep: true, ..options() };
        bed.dump(options)
    };
    let zeros = of(&[&sound[..], &[0; 100]].concat());
    let error = zeros.done.unwrap_err().to_string();
    assert!(
        error.contains(&format!("at position {}: a batch of length 0", sound.len())),
        "{error}"
    );
    assert_eq!(zeros.out.lines().count(), 4, "what is sound is shown");
    let mut counted = sound.clone();
    counted[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut future = sound.clone();
    future[16] = 3;
    let mut coded = sound.clone();
    coded[22] = 1;
    for bytes in [counted, future, coded] {
        assert!(matches!(of(&bytes).done, Err(DumpError::Corrupt { position: 0, .. })));
    }
    let wrong = Options { files: vec![bed.write("x.log", &sound)], ..options() };
    assert!(matches!(bed.dump(wrong).done, Err(DumpError::Name { .. })));
}

#[test]
fn gaps_are_told_at_the_end() {
    let at = |offset| batch(plain().base_offset(offset), &["a"]);
    let bed = Bed::new();
    let log = bed.write(LOG, &[at(0), at(7), at(8)].concat());
    let odd = bed.write("notes.txt", b"");
    let dumped =
        bed.dump(Options { files: vec![log.clone(), odd.clone()], deep: true, ..options() });
    let (log, odd) = (log.display(), odd.display());
    let told = format!(
        "Ignoring unknown file {odd}\nNon-consecutive offsets in {log}\n  0 is followed by 7\n"
    );
    assert_eq!(dumped.err, told);
}

fn words(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[test]
fn indexes_are_held_against_their_log() {
    let (first, second) = (batch(plain(), &["a", "b"]), batch(plain().base_offset(2), &["c"]));
    let at = first.len() as i32;
    let bed = Bed::new();
    bed.write(LOG, &[first, second].concat());
    let name = "00000000000000000000.index";
    let dump = |bytes: &[u8], change: fn(&mut Options)| {
        let mut options = Options { files: vec![bed.write(name, bytes)], ..options() };
        change(&mut options);
        bed.dump(options)
    };
    let printed =
        |dumped: &Dumped| dumped.out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let file = bed.dir.path().join(name);

    let sound = dump(&words(&[1, 0, 2, at, 0, 0]), |_| {});
    assert_eq!(printed(&sound), ["offset: 1 position: 0", &format!("offset: 2 position: {at}")]);
    assert!(sound.done.is_ok() && sound.err.is_empty());
    assert!(printed(&dump(&words(&[1, 0]), |o| o.verify_only = true)).is_empty());
    assert_eq!(printed(&dump(&[], |_| {})), [format!("{} is empty.", file.display())]);
    let passed = dump(&words(&[1, 0]), |o| o.sanity_check = true);
    assert_eq!(printed(&passed), [format!("{} passed sanity check.", file.display())]);

    let mismatch = dump(&words(&[1, 0, 9, at]), |_| {});
    let told = format!("Mismatches in :{}\n  Index offset: 9, log offset: 2\n", file.display());
    assert_eq!(mismatch.err, told);
    type Broken<'a> = (&'a [u8], fn(&mut Options));
    let broken: [Broken; 4] = [
        (&words(&[1, -5]), |_| {}),
        (&words(&[1, 100_000]), |_| {}),
        (&words(&[1, 0, 7]), |o| o.sanity_check = true),
        (&words(&[-9, 0]), |o| o.sanity_check = true),
    ];
    for (bytes, change) in broken {
        assert!(matches!(dump(bytes, change).done, Err(DumpError::Index { .. })));
    }
}

#[test]
fn time_indexes_are_held_against_their_log() {
    let bed = Bed::new();
    bed.write(LOG, &batch(plain(), &["a", "b"]));
    bed.write("00000000000000000000.index", &words(&[1, 0]));
    let name = "00000000000000000000.timeindex";
    let file = bed.dir.path().join(name).display().to_string();
    let dump = |words: &[i32], sanity_check| {
        let path = bed.write(name, &self::words(words));
        bed.dump(Options { files: vec![path], sanity_check, ..options() })
    };
    let sound = dump(&[0, 1001, 1], false);
    assert_eq!(sound.out.lines().nth(1), Some("timestamp: 1001 offset: 1"));
    assert!(sound.done.is_ok() && sound.err.is_empty(), "{}", sound.err);
    for (words, told) in [
        (
            &[0, 999, 1][..],
            format!(
                "Found timestamp mismatch in :{file}\n  Index timestamp: 999, log timestamp: 1001\n"
            ),
        ),
        (
            &[0, 1001, 1, 0, 1001, 1],
            format!(
                "Found out of order timestamp in :{file}\n  Index timestamp: 1001, Previously indexed timestamp: 1001\n"
            ),
        ),
        (
            &[0, 1, 0],
            format!(
                "The following indexed offsets are not found in :{file}\nIndexed offset: 0, found log offset: 1\n"
            ),
        ),
        (
            &[0, 1, 5],
            format!(
                "The following indexed offsets are not found in :{file}\nIndexed offset: 5, found log offset: -1\n"
            ),
        ),
    ] {
        assert_eq!(dump(words, false).err, told);
    }
    assert!(dump(&[0, 1001, 1], true).done.is_ok());
    assert!(matches!(dump(&[0, 1001, 1, 0, 0, 0], true).done, Err(DumpError::Index { .. })));
}

#[test]
fn snapshots_and_aborted_transactions() {
    let bed = Bed::new();
    let entry = words(&[0, 7]).into_iter().chain([0, 3]);
    let entry = entry.chain(words(&[1, 0, 40, 4, 0, 99, 2])).chain((-1i64).to_be_bytes());
    let entries: Vec<u8> = words(&[1]).into_iter().chain(entry).collect();
    let crc = crc32c::crc32c(&entries);
    let file = |crc: u32| [&[0, 1], &crc.to_be_bytes()[..], &entries].concat();
    let name = "00000000000000000041.snapshot";
    assert_eq!(
        bed.lines(name, &file(crc), |_| {}),
        [
            "producerId: 7 producerEpoch: 3 coordinatorEpoch: 2 currentTxnFirstOffset: OptionalLong.empty lastTimestamp: 99 \
          firstSequence: 2147483645 lastSequence: 1 lastOffset: 40 offsetDelta: 4 timestamp: 99"
        ]
    );
    let broken = bed.dump(Options { files: vec![bed.write(name, &file(1))], ..options() });
    let told = format!(
        "Snapshot is corrupt (CRC is no longer valid). Stored crc: 1. Computed crc: {crc}\n"
    );
    assert_eq!((broken.done.is_ok(), broken.err), (true, told));

    let txn: Vec<u8> = [0, 0].into_iter().chain(words(&[0, 7, 0, 10, 0, 12, 0, 13])).collect();
    for cut_off in [0, 9] {
        assert_eq!(
            bed.lines(
                "00000000000000000000.txnindex",
                &[&txn[..], &txn[..cut_off]].concat(),
                |_| {}
            ),
            ["version: 0 producerId: 7 firstOffset: 10 lastOffset: 12 lastStableOffset: 13"]
        );
    }
}

#[test]
fn directories_hold_what_can_be_dumped() {
    let bed = Bed::new();
    for name in
        ["t-0/00000000000000000009.log", "t-0/00000000000000000000.log", "t-0/partition.metadata"]
    {
        bed.write(name, b"");
    }
    let at = |name: &str| Options { paths: vec![bed.dir.path().join(name)], ..options() };
    let dumped = bed.dump(at("t-0")).out;
    let starts: Vec<&str> = dumped.lines().filter(|line| line.starts_with("Log")).collect();
    assert_eq!(starts, ["Log starting offset: 0", "Log starting offset: 9"]);
    assert!(matches!(bed.dump(at("")).done, Err(DumpError::Nothing { .. })));
    assert!(matches!(bed.dump(at("u-0")).done, Err(DumpError::Disk(_))));
}

//! The bodies of `fuzz/` without its tools: what is valid, changed at random, always in the same way. OTTLA_FUZZ_CASES says how
//! often for each of them.
#![allow(clippy::disallowed_methods, reason = "reads a variable of the test's own")]

mod bodies;

use std::panic::catch_unwind;
use std::sync::Arc;

use disk::{Disk, SimDisk, SimDiskOptions};
use ottla_log::{Log, LogConfig, OpenOptions, write_partition_metadata};
use wire::batch::{BatchBuilder, ControlRecordType, EndTxnMarker, RecordBatch, control_batch};
use wire::compression::{Codec, Compression, compress};

const CASES: u64 = 1500;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

fn batch(base: i64, codec: Codec, transactional: bool) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::of(codec))
        .base_offset(base)
        .leader_epoch(1)
        .producer(7, 0, base as i32)
        .transactional(transactional);
    for at in 0..3 {
        builder.append(1000 + base + at, Some(b"key"), Some(b"a value, a value"), &[(b"h", None)]);
    }
    builder.build().expect("a batch")
}

fn abort(base: i64) -> RecordBatch {
    let configure = |builder: BatchBuilder| {
        builder.base_offset(base).leader_epoch(1).producer(7, 0, -1).transactional(true)
    };
    let value = EndTxnMarker { coordinator_epoch: 1 }.encode();
    control_batch(configure, 1000, ControlRecordType::Abort, &value).expect("a marker")
}

/// A whole directory in the form of [`bodies::log_dir`], and each of its files.
fn directory() -> (Vec<u8>, Vec<Vec<u8>>) {
    let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
    let dir = std::path::PathBuf::from("/d/t-0");
    let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let (mut log, _) =
        Log::open(disk.clone(), dir.clone(), config, OpenOptions::default()).expect("a log");
    for (round, codec) in [Codec::None, Codec::Lz4].into_iter().enumerate() {
        let base = 12 * round as i64;
        let run = [0, 3, 6].map(|at| batch(base + at, codec, true));
        log.append(&run, 0).expect("appended");
        let after = [abort(base + 9), batch(base + 10, codec, false)];
        log.append(&after[..1], 0).expect("appended");
        if round == 0 {
            log.append(&[abort(10), abort(11)], 0).expect("appended");
            log.roll(0).expect("a new segment");
        } else {
            log.append(&after[1..], 0).expect("appended");
        }
    }
    write_partition_metadata(&*disk, &dir, model::Uuid([7; 16])).expect("written");
    log.close().expect("closed");
    let (mut whole, mut files) = (vec![0, 0, 0], Vec::new());
    for (at, name) in bodies::NAMES.iter().enumerate() {
        let Ok(content) = disk.read(&dir.join(name), 1 << 16) else { continue };
        whole.push(at as u8);
        whole.extend((content.len() as u16).to_be_bytes());
        whole.extend(&content);
        files.push([&[0, at as u8][..], &content].concat());
    }
    assert!(files.len() > 8, "the directory has its files");
    (whole, files)
}

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let (whole, files) = directory();
    let texts = ["0\n1\nt 0 5\n", "version=1\nnode.id=1\ncluster.id=abc\n", "{\"version\":0}"];
    match of {
        "log_dir" => vec![whole],
        "log_files" => files,
        "checkpoints" => texts.map(|text| text.as_bytes().to_vec()).to_vec(),
        "record_batches" => {
            Codec::ALL.iter().map(|codec| batch(0, *codec, false).to_bytes().to_vec()).collect()
        }
        "compressed" => Codec::ALL
            .iter()
            .map(|codec| {
                let mut packed = Vec::new();
                compress(Compression::of(*codec), &[7; 900], &mut packed).expect("packed");
                packed
            })
            .collect(),
        _ => vec![vec![0; 40], vec![1; 80], (0..120).collect()],
    }
}

fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..random.below(6) {
        let len = data.len();
        let at = random.below(len);
        match random.below(7) {
            _ if len == 0 => data.push(random.below(256) as u8),
            0 => data.truncate(at),
            1 => data[at] ^= 1 << random.below(8),
            2 => data[at] = random.below(256) as u8,
            3 => data.insert(at, random.below(256) as u8),
            4 => data[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
            5 => {
                let (from, count) = (random.below(len), random.below(40));
                let count = count.min(len - from).min(len - at);
                data.copy_within(from..from + count, at);
            }
            _ => data.extend((0..random.below(64)).map(|_| random.below(256) as u8)),
        }
    }
    data
}

#[test]
fn any_bytes_are_read_or_refused() {
    let cases = std::env::var("OTTLA_FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    for (name, body) in bodies::ALL {
        let (seeds, mut random) = (seeds(name), Random(7));
        for seed in &seeds {
            body(seed);
        }
        for case in 0..cases.unwrap_or(CASES) {
            let data = changed(&seeds[random.below(seeds.len())], &mut random);
            assert!(catch_unwind(|| body(&data)).is_ok(), "{name}, case {case}: {data:?}");
        }
    }
}

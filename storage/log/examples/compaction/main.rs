//! What compaction costs: `cargo run --release -p ottla-log --example compaction -- [--check | --control] [codec] [records] [keys] [value bytes]`.
//! Writes a log of so many records with so many keys into a temporary directory, and runs passes of the cleaner over it: many where
//! all is dirty, and one over the clean log with one dirty segment. One thread; the files are in the page cache. Rates are by the
//! CPU time that the pass took, the kernel's part included, where Linux tells it: a busy machine changes them little.
//!
//! Another log is appended to meanwhile, by short turns with a pass beside it and without: what its slowest appends take is told as
//! a ratio of the two. `--check` fails where a limit below is exceeded, and where the measure cannot tell: docs/decisions/0007.
//! `--control` has the passes do harm, and fails where the measure does not find that they exceed its limit.
#![expect(clippy::disallowed_types, reason = "measures with the clock")]

mod beside;
mod harm;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beside::{Bench, Ratios};
use disk::{Disk, Open, RealDisk};
use ottla_log::{
    Compaction, CompactionOptions, CompactionPolicy, Log, LogConfig, OpenOptions, Progress,
};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};

/// Of passes over a log that is all dirty, by their CPU time: the median.
const LEAST_MB_PER_SECOND: f64 = 300.0;
/// The 99th percentile of appends with a pass beside them, to that without: the median of many passes.
const MOST_RATIO: f64 = 1.10;

const BATCH_RECORDS: u64 = 150;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut given =
        |name| args.iter().position(|arg| arg == name).map(|at| args.remove(at)).is_some();
    let (checked, control) = (given("--check"), given("--control"));
    let arg = |at: usize, default: &str| args.get(at).cloned().unwrap_or(default.to_owned());
    let codec =
        Codec::from_name(&arg(0, "none")).ok_or("the codecs are none, gzip, snappy, lz4, zstd")?;
    let records: u64 = arg(1, "4000000").parse()?;
    let keys: u64 = arg(2, "1000000").parse()?;
    let value_bytes: usize = arg(3, "80").parse()?;

    let temp = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let open = |name: &str, compacted| {
        let config = LogConfig { compacted, segment_bytes: 256 << 20, ..LogConfig::default() };
        let options = OpenOptions { clean: true, ..OpenOptions::default() };
        Log::open(disk.clone(), temp.path().join(name), config, options).map(|(log, _)| log)
    };
    let mut log = open("bench-0", true)?;
    let mut random = 1;
    let batch = batch(0, codec, keys, value_bytes, &mut random)?;
    fill(&mut log, codec, records, keys, value_bytes, &mut random)?;
    let mut number = 0;
    let bench = Bench {
        disk: &*disk,
        batch: &batch,
        does_harm: control,
        begin: &mut || begin(&mut log, &*disk, None),
        appended: &mut || {
            number += 1;
            Ok(open(&format!("appended-{number}"), false)?)
        },
    };
    let ratios = bench.ratios()?;
    println!(
        "appends of {} bytes, their 99th percentile beside a pass to that without: {ratios}",
        batch.size()
    );
    if control {
        return noticed(&ratios);
    }
    println!("so many passes take in, in MB/s of CPU time: {}", ratios.mb_per_second);
    let end = pass(&mut log, &*disk, "all dirty", None)?;
    fill(&mut log, codec, records / 50, keys, value_bytes, &mut random)?;
    pass(&mut log, &*disk, "one in fifty dirty", Some(end))?;
    if checked { held_to_limits(&ratios) } else { Ok(()) }
}

fn held_to_limits(ratios: &Ratios) -> Result<(), Box<dyn Error>> {
    if ratios.mb_per_second.median() < LEAST_MB_PER_SECOND {
        return Err(format!("a pass takes in less than {LEAST_MB_PER_SECOND} MB/s").into());
    }
    if slow_appends(ratios)? {
        return Err(format!("a pass slows appends by more than {MOST_RATIO}").into());
    }
    Ok(())
}

/// Without it, that the limit is kept says nothing.
fn noticed(ratios: &Ratios) -> Result<(), Box<dyn Error>> {
    match slow_appends(ratios)? {
        true => Ok(()),
        false => {
            Err(format!("harm was done, and the measure finds no more than {MOST_RATIO}").into())
        }
    }
}

/// Whether passes do, by more than they may.
fn slow_appends(ratios: &Ratios) -> Result<bool, Box<dyn Error>> {
    let noise = ratios.again.median();
    if !(1.0 / MOST_RATIO..=MOST_RATIO).contains(&noise) {
        return Err(format!("the measure cannot tell: nothing is {noise:.2} of nothing").into());
    }
    Ok(ratios.beside.median() > MOST_RATIO)
}

fn fill(
    log: &mut Log,
    codec: Codec,
    records: u64,
    keys: u64,
    value_bytes: usize,
    random: &mut u64,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..records.div_ceil(BATCH_RECORDS) {
        let batch = batch(log.log_end_offset(), codec, keys, value_bytes, random)?;
        log.append(&[batch], 0)?;
    }
    log.roll(0)?;
    Ok(log.sync()?)
}

fn batch(
    base: i64,
    codec: Codec,
    keys: u64,
    value_bytes: usize,
    random: &mut u64,
) -> Result<RecordBatch, Box<dyn Error>> {
    let mut value = vec![0; value_bytes];
    let mut builder = BatchBuilder::new(Compression::of(codec)).base_offset(base).leader_epoch(0);
    for index in 0..BATCH_RECORDS {
        *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = format!("key-{:012}", (*random >> 33) % keys);
        // Half of a value is noise.
        for (at, byte) in value.iter_mut().enumerate().step_by(2) {
            *byte = (*random >> (at % 48)) as u8;
        }
        let timestamp = 1_700_000_000_000 + base + index as i64;
        builder.append(timestamp, Some(key.as_bytes()), Some(&value), &[]);
    }
    Ok(builder.build()?)
}

/// Seconds that this thread was running; those since `began` where nobody tells.
fn cpu(disk: &dyn Disk, began: Instant) -> f64 {
    let mut text = [0; 64];
    let read = disk
        .open(Path::new("/proc/thread-self/schedstat"), Open::Read)
        .and_then(|file| file.read_at(&mut text, 0));
    let text = std::str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or_default();
    let nanos: Option<f64> = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| began.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn begin(
    log: &mut Log,
    disk: &dyn Disk,
    checkpoint: Option<i64>,
) -> Result<Compaction, Box<dyn Error>> {
    let policy = CompactionPolicy {
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        min_cleanable_dirty_ratio: 0.5,
    };
    let end = log.log_end_offset();
    let to_clean = log.view().to_clean(&policy, checkpoint, end, disk, 1_800_000_000_000)?;
    let options = CompactionOptions {
        dedupe_buffer_bytes: 128 << 20,
        load_factor: 0.9,
        io_buffer_bytes: 512 << 10,
        uncompressed_bytes: 128 << 20,
        group_bytes: u64::MAX,
        delete_retention_ms: 86_400_000,
        hash_key: [1, 2],
        high_watermark: end,
        active_producers: BTreeMap::new(),
        now_ms: 1_800_000_000_000,
    };
    Ok(log.compaction(&to_clean, options)?)
}

fn pass(
    log: &mut Log,
    disk: &dyn Disk,
    name: &str,
    checkpoint: Option<i64>,
) -> Result<i64, Box<dyn Error>> {
    let began = Instant::now();
    let before = cpu(disk, began);
    let mut compaction = begin(log, disk, checkpoint)?;
    let mut mapped = None;
    let mut replacing = Duration::ZERO;
    let end_offset = loop {
        let progress = compaction.run(|_| ControlFlow::Break(()))?;
        if mapped.is_none() && compaction.stats().bytes_read > 0 {
            mapped = Some(cpu(disk, began) - before);
        }
        match progress {
            Progress::Paused => {}
            Progress::Cleaned(cleaned) => {
                let began = Instant::now();
                let swap = log.replace_segments(cleaned)?;
                replacing += began.elapsed();
                swap.run()?;
                swap.deleted().remove(disk)?;
            }
            Progress::Done { end_offset } => break end_offset,
        }
    };
    let (took, stats) = (cpu(disk, began) - before, compaction.stats());
    let mapped: f64 = mapped.unwrap_or_default();
    let rate = |bytes: u64, secs: f64| bytes as f64 / secs / 1e6;
    println!(
        "{name}: {:.0} MB ({} records) -> {:.0} MB ({} records) in {took:.2} s of CPU: {:.0} MB/s; map {:.0} MB/s, copy {:.0} MB/s; \
         map {:.0}% full; {replacing:?} in replace_segments",
        stats.bytes_read as f64 / 1e6,
        stats.messages_read,
        stats.bytes_written as f64 / 1e6,
        stats.messages_written,
        rate(stats.bytes_read, took),
        rate(stats.map_bytes_read, mapped),
        rate(stats.bytes_read, took - mapped),
        stats.buffer_utilization * 100.0,
    );
    Ok(end_offset)
}

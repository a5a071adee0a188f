//! What compaction costs: `cargo run --release -p ottla-log --example compaction -- [--check] [codec] [records] [keys] [value bytes]`.
//! Writes a log of so many records with so many keys into a temporary directory, and runs two passes of the cleaner over it:
//! one where all is dirty, and one over the clean log with one dirty segment. One thread; the files are in the page cache. Rates
//! are by the CPU time that the pass took, the kernel's part included, where Linux tells it: a busy machine does not change them.
//!
//! Another log is appended to meanwhile, by turns with the first pass beside it and without: what its slowest appends take is told as
//! a ratio of the two. `--check` fails where a limit below is exceeded.
#![expect(clippy::disallowed_types, reason = "measures with the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use disk::{Disk, Open, RealDisk};
use ottla_log::{CompactionOptions, CompactionPolicy, Log, LogConfig, OpenOptions, Progress};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::{Codec, Compression};

/// Of the pass over a log that is all dirty, by its CPU time.
const LEAST_MB_PER_SECOND: f64 = 300.0;
/// The 99th percentile of appends with a pass beside them, to that without.
const MOST_RATIO: f64 = 1.10;

const APPEND_EVERY: Duration = Duration::from_micros(500);
const ROUND: Duration = Duration::from_millis(500);
const BATCH_RECORDS: u64 = 150;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let checked = args.iter().position(|arg| arg == "--check").map(|at| args.remove(at)).is_some();
    let arg = |at: usize, default: &str| args.get(at).cloned().unwrap_or(default.to_owned());
    let codec =
        Codec::from_name(&arg(0, "none")).ok_or("the codecs are none, gzip, snappy, lz4, zstd")?;
    let records: u64 = arg(1, "10000000").parse()?;
    let keys: u64 = arg(2, "1000000").parse()?;
    let value_bytes: usize = arg(3, "80").parse()?;

    let temp = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let open = |name: &str, compacted| {
        let config = LogConfig { compacted, segment_bytes: 256 << 20, ..LogConfig::default() };
        let options = OpenOptions { clean: true, ..OpenOptions::default() };
        Log::open(disk.clone(), temp.path().join(name), config, options).map(|(log, _)| log)
    };
    let (mut log, mut appended) = (open("bench-0", true)?, open("appended-0", false)?);
    let mut random = 1;
    let batch = batch(0, codec, keys, value_bytes, &mut random)?;
    fill(&mut log, codec, records, keys, value_bytes, &mut random)?;
    let (passed, ratio) = beside(&mut log, &*disk, &mut appended, &batch)?;
    fill(&mut log, codec, records / 50, keys, value_bytes, &mut random)?;
    pass(&mut log, &*disk, "one in fifty dirty", Some(passed.end), || ())?;
    if checked && passed.mb_per_second < LEAST_MB_PER_SECOND {
        return Err(format!("a pass takes in less than {LEAST_MB_PER_SECOND} MB/s").into());
    }
    if checked && ratio > MOST_RATIO {
        return Err(format!("a pass slows appends by more than {MOST_RATIO}").into());
    }
    Ok(())
}

/// The first pass over `log`, which goes on in every second round of the appends to `appended`; with the ratio of their times.
fn beside(
    log: &mut Log,
    disk: &dyn Disk,
    appended: &mut Log,
    batch: &RecordBatch,
) -> Result<(Passed, f64), Box<dyn Error>> {
    let (goes_on, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let passed = thread::scope(|scope| {
        let passing = scope.spawn(|| {
            let wait = || {
                while !goes_on.load(Ordering::Acquire) {
                    thread::park();
                }
            };
            let passed = pass(log, disk, "all dirty", None, wait).map_err(|e| e.to_string());
            over.store(true, Ordering::Release);
            passed
        });
        let go_on = |whether| {
            goes_on.store(whether, Ordering::Release);
            passing.thread().unpark();
        };
        let mut rounds = || -> Result<(), Box<dyn Error>> {
            round(appended, batch, &over, &mut Vec::new())?;
            while !over.load(Ordering::Acquire) {
                go_on(false);
                round(appended, batch, &over, &mut without)?;
                go_on(true);
                round(appended, batch, &over, &mut with)?;
            }
            Ok(())
        };
        let measured = rounds();
        go_on(true);
        let passed = passing.join().map_err(|_| "the pass panicked")??;
        measured.map(|()| passed)
    })?;
    let (without_us, with_us) = (percentile_99(&mut without), percentile_99(&mut with));
    let ratio = with_us / without_us;
    println!(
        "appends, 99th percentile: {without_us:.0} µs alone, {with_us:.0} µs beside a pass: {ratio:.2} of it ({} and {} of {} bytes)",
        without.len(),
        with.len(),
        batch.size(),
    );
    Ok((passed, ratio))
}

/// Appends at a steady rate for a while, not beyond the pass's end; what each took, in microseconds.
fn round(
    log: &mut Log,
    batch: &RecordBatch,
    over: &AtomicBool,
    took_us: &mut Vec<f64>,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut due = APPEND_EVERY;
    while due < ROUND && !over.load(Ordering::Acquire) {
        while let Some(early) = due.checked_sub(began.elapsed()).filter(|early| !early.is_zero()) {
            thread::park_timeout(early);
        }
        due += APPEND_EVERY;
        let mut batch = batch.clone();
        batch.assign(log.log_end_offset(), 0);
        let before = Instant::now();
        log.append(&[batch], 0)?;
        took_us.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(())
}

fn percentile_99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN)
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

struct Passed {
    end: i64,
    mb_per_second: f64,
}

/// `between` is called before each piece of work: it may wait.
fn pass(
    log: &mut Log,
    disk: &dyn Disk,
    name: &str,
    checkpoint: Option<i64>,
    between: impl Fn(),
) -> Result<Passed, Box<dyn Error>> {
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
        delete_retention_ms: 86_400_000,
        hash_key: [1, 2],
        high_watermark: end,
        active_producers: BTreeMap::new(),
        now_ms: 1_800_000_000_000,
    };
    let began = Instant::now();
    let before = cpu(disk, began);
    log.sync()?;
    let mut compaction = log.compaction(&to_clean, options)?;
    let mut mapped = None;
    let mut replacing = Duration::ZERO;
    let end_offset = loop {
        between();
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
    Ok(Passed { end: end_offset, mb_per_second: rate(stats.bytes_read, took) })
}

//! Groups that read at the tail of what is produced at a fixed rate. Open loop: latency counts from when a batch was due.

use crate::broker::Broker;
use crate::frames::produced_at;
use crate::load::{SILENCE, whole};
use crate::memory;
use crate::stamped::{self, Stamped};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Tail {
    /// NAME=HOST:PORT@PID of a broker on this machine, whose topic is there; for each broker once
    #[arg(long = "broker", required = true)]
    brokers: Vec<Broker>,
    /// The topic, which has to be there
    #[arg(long, default_value = "bench")]
    topic: String,
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Connections that produce, each to all partitions in turn, with one request in flight
    #[arg(long, default_value_t = 16)]
    producers: u32,
    /// Consumers, each of which reads all partitions
    #[arg(long, default_value_t = 3)]
    groups: usize,
    #[arg(long, default_value_t = 50.0)]
    mb_per_s: f64,
    /// Of one round with one broker
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 1000)]
    record_bytes: usize,
    /// Bytes of the one batch in each request
    #[arg(long, default_value_t = 15 * 1024)]
    request_bytes: usize,
    /// Fill the page cache first: on a virtual machine, pages that its host gives anew cost whoever takes them
    #[arg(long)]
    page_cache_full: bool,
}

/// After the last batch the groups have so long to read it.
const LAG: Duration = Duration::from_secs(10);

pub fn run(wanted: &Tail) -> Result<()> {
    let _full = wanted.page_cache_full.then(memory::full).transpose()?;
    let mut spent = vec![Vec::new(); wanted.brokers.len()];
    // The first is a warming up.
    for round in 0..=wanted.rounds {
        for (broker, spent) in wanted.brokers.iter().zip(&mut spent) {
            let of_it = Round { wanted, broker }.run()?;
            if round > 0 {
                spent.push(of_it);
            }
        }
    }
    let medians: Vec<f64> = spent.into_iter().map(crate::rounds::median).collect();
    for (broker, of_it) in wanted.brokers.iter().zip(&medians) {
        println!("{}: {of_it:.2} CPU s/GB, {:.2} of the first", broker.name, of_it / medians[0]);
    }
    Ok(())
}

struct Round<'a> {
    wanted: &'a Tail,
    broker: &'a Broker,
}

/// What the threads of a round share.
struct Shared {
    begin: Instant,
    produced: AtomicU64,
    ended: AtomicBool,
}

impl Round<'_> {
    fn run(&self) -> Result<f64> {
        let Tail { topic, partitions, record_bytes, request_bytes, .. } = self.wanted;
        let stamped = stamped::stamped(topic, *partitions, *record_bytes, *request_bytes)?;
        let mut first = Peer::connect(&self.broker.address)?;
        let ends: Vec<i64> = stamped
            .iter()
            .map(|frame| Ok(produced_at(first.ask(&frame.bytes)?)? + frame.records))
            .collect::<Result<_>>()?;
        let begin = Instant::now();
        let shared = Shared { begin, produced: AtomicU64::new(0), ended: AtomicBool::new(false) };
        let before = self.broker.spent()?;
        let latency = thread::scope(|scope| {
            let (shared, ends, stamped) = (&shared, &ends, &stamped);
            let readers: Vec<_> = (0..self.wanted.groups)
                .map(|_| scope.spawn(move || self.read(shared, ends.clone(), &stamped[0])))
                .collect();
            let producers: Vec<_> = (0..self.wanted.producers)
                .map(|at| scope.spawn(move || self.produce(shared, stamped.clone(), at)))
                .collect();
            let panicked = |_| Error::other("a thread panicked");
            let produced = producers.into_iter().try_for_each(|p| p.join().map_err(panicked)?);
            shared.ended.store(true, Ordering::Release);
            produced?;
            let mut latency = Histogram::new(3).map_err(Error::other)?;
            for reader in readers {
                latency.add(reader.join().map_err(panicked)??).map_err(Error::other)?;
            }
            Ok::<_, Error>(latency)
        })?;
        let batches = shared.produced.load(Ordering::Relaxed);
        let gb = batches as f64 * stamped[0].bytes.len() as f64 / 1e9;
        let spent = self.broker.spent()?.since(before).per(gb);
        let at = |q| latency.value_at_quantile(q) as f64 / 1000.0;
        println!(
            "  {:8} {:.2} CPU s/GB ({:.2} user, {:.2} system), {gb:.2} GB, end to end p50 {:.2} p99 {:.2} p99.9 {:.2} ms, {:.0} MB resident",
            self.broker.name,
            spent.sum(),
            spent.user,
            spent.system,
            at(0.5),
            at(0.99),
            at(0.999),
            self.broker.resident_mb()?,
        );
        Ok(spent.sum())
    }

    /// One of the producers: each batch when it is due, or at once where that is past.
    fn produce(&self, shared: &Shared, mut frames: Vec<Stamped>, at: u32) -> Result<()> {
        let mut peer = Peer::connect(&self.broker.address)?;
        let per_second = self.wanted.mb_per_s * 1e6 / frames[0].bytes.len() as f64;
        let interval = Duration::from_secs_f64(f64::from(self.wanted.producers) / per_second);
        let mut due = interval * at / self.wanted.producers;
        let mut next = at as usize;
        while due.as_secs_f64() < self.wanted.seconds {
            thread::sleep(due.saturating_sub(shared.begin.elapsed()));
            let count = frames.len();
            let frame = &mut frames[next % count];
            frame.stamp(due.as_micros() as u64);
            produced_at(peer.ask(&frame.bytes)?)?;
            shared.produced.fetch_add(1, Ordering::Relaxed);
            next += 1;
            due += interval;
        }
        Ok(())
    }

    /// One of the groups: until it has all that was produced.
    fn read(&self, shared: &Shared, mut ends: Vec<i64>, shape: &Stamped) -> Result<Histogram<u64>> {
        let mut peer = Peer::connect(&self.broker.address)?;
        let mut latency = Histogram::new(3).map_err(Error::other)?;
        let mut ended = None;
        loop {
            if shared.ended.load(Ordering::Acquire) {
                let since: &Instant = ended.get_or_insert_with(Instant::now);
                if latency.len() == shared.produced.load(Ordering::Relaxed) {
                    return Ok(latency);
                }
                if since.elapsed() > LAG {
                    return Err(Error::other(format!("only {} batches were read", latency.len())));
                }
            }
            let answer = peer.ask(&stamped::fetch(&self.wanted.topic, &ends)?)?;
            let now = shared.begin.elapsed().as_micros() as u64;
            for (partition, records) in stamped::fetched(answer)? {
                let end = ends.get_mut(partition as usize).ok_or_else(|| {
                    Error::other(format!("an answer about partition {partition}"))
                })?;
                for stamp in shape.stamps(&records, end) {
                    latency.record(now.saturating_sub(stamp)).map_err(Error::other)?;
                }
            }
        }
    }
}

/// One connection with one request in flight.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    fn connect(address: &str) -> Result<Peer> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Peer { stream, buffer: Vec::new() })
    }

    fn ask(&mut self, frame: &[u8]) -> Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut chunk = vec![0; 256 * 1024];
        loop {
            if let Some(answer) = whole(&self.buffer) {
                let answer = Bytes::copy_from_slice(answer);
                self.buffer.clear();
                return Ok(answer);
            }
            match self.stream.read(&mut chunk)? {
                0 => {
                    let why = "the broker closed the connection";
                    return Err(Error::new(ErrorKind::UnexpectedEof, why));
                }
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

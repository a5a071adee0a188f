//! The light client: a thread per connection that sends frames made before, so many in flight, and reads the answers.

use crate::frames;
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args, Clone)]
pub struct Load {
    /// The topic, which has to be there
    #[arg(long, default_value = "bench")]
    pub topic: String,
    #[arg(long, default_value_t = 12)]
    pub partitions: i32,
    /// Connections, each to all partitions in turn
    #[arg(long, default_value_t = 16)]
    pub producers: usize,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 5)]
    pub in_flight: usize,
    /// -1 or 1: who is not answered cannot be measured
    #[arg(long, default_value_t = -1, allow_hyphen_values = true, value_parser = answered)]
    pub acks: i16,
    #[arg(long, default_value_t = 1000)]
    pub record_bytes: usize,
    /// Bytes of the one batch in each request
    #[arg(long, default_value_t = 15 * 1024)]
    pub request_bytes: usize,
}

fn answered(acks: &str) -> std::result::Result<i16, String> {
    match acks {
        "-1" => Ok(-1),
        "1" => Ok(1),
        _ => Err("-1 or 1".to_owned()),
    }
}

pub struct Outcome {
    pub gb: f64,
    pub seconds: f64,
    /// Microseconds from a request's first byte written to its answer read.
    pub latency: Histogram<u64>,
}

/// A peer that says nothing for so long is not measured any more.
pub const SILENCE: Duration = Duration::from_secs(60);

pub fn produce(address: &str, load: &Load, gb: f64) -> Result<Outcome> {
    let records = frames::batch(load.record_bytes, load.request_bytes)?.to_bytes();
    let frames = frames::produce(&load.topic, load.partitions, load.acks, &records)?;
    let size = frames.first().map_or(1, Vec::len);
    let requests = (gb * 1e9 / size as f64).ceil() as i64;
    let left = AtomicI64::new(requests);
    let begin = Instant::now();
    let latencies: Result<Vec<_>> = thread::scope(|scope| {
        let (frames, left) = (&frames, &left);
        let producers: Vec<_> = (0..load.producers)
            .map(|at| {
                scope.spawn(move || {
                    Producer::connect(address, frames, at)?.run(left, load.in_flight)
                })
            })
            .collect();
        producers
            .into_iter()
            .map(|p| p.join().map_err(|_| Error::other("a producer panicked"))?)
            .collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let mut latency = Histogram::new(3).map_err(Error::other)?;
    for each in latencies? {
        latency.add(each).map_err(Error::other)?;
    }
    Ok(Outcome { gb: requests as f64 * size as f64 / 1e9, seconds, latency })
}

struct Producer<'a> {
    stream: TcpStream,
    frames: &'a [Vec<u8>],
    next: usize,
    sent: VecDeque<Instant>,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
}

impl<'a> Producer<'a> {
    fn connect(address: &str, frames: &'a [Vec<u8>], at: usize) -> Result<Producer<'a>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let latency = Histogram::new(3).map_err(Error::other)?;
        Ok(Producer {
            stream,
            frames,
            next: at,
            sent: VecDeque::new(),
            buffer: Vec::new(),
            latency,
        })
    }

    fn run(mut self, left: &AtomicI64, in_flight: usize) -> Result<Histogram<u64>> {
        loop {
            while self.sent.len() < in_flight && left.fetch_sub(1, Ordering::Relaxed) > 0 {
                self.sent.push_back(Instant::now());
                self.stream.write_all(&self.frames[self.next % self.frames.len()])?;
                self.next += 1;
            }
            if self.sent.is_empty() {
                return Ok(self.latency);
            }
            self.read_answers()?;
        }
    }

    /// At least one, and all that came with it.
    fn read_answers(&mut self) -> Result<()> {
        let mut taken = 0;
        while taken == 0 {
            let mut chunk = [0; 16 * 1024];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    "the broker closed the connection",
                ));
            }
            self.buffer.extend_from_slice(&chunk[..read]);
            while let Some(answer) = whole(&self.buffer[taken..]) {
                frames::produced_at(Bytes::copy_from_slice(answer))?;
                taken += 4 + answer.len();
                let sent =
                    self.sent.pop_front().ok_or_else(|| Error::other("an answer too many"))?;
                self.latency.record(sent.elapsed().as_micros() as u64).map_err(Error::other)?;
            }
        }
        self.buffer.drain(..taken);
        Ok(())
    }
}

/// The first frame, without its length, if all of it is there.
pub fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

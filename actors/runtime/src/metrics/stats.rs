use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Totals;

/// Bucket `i` counts handlings of less than 2^i microseconds; the last one all longer ones.
pub const HISTOGRAM_BUCKETS: usize = 26;

/// One in this many messages is timed; all while the last timed one was slow.
const SAMPLE: u64 = 16;
const SLOW: Duration = Duration::from_millis(1);

/// Senders write to it: kept on a cache line of its own.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Sent(pub(crate) AtomicU64);

/// One incarnation's numbers. All but `sent` have a single writer, the actor.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) sent: Sent,
    handled: AtomicU64,
    names: &'static [&'static str],
    by_name: Box<[AtomicU64]>,
    /// Index + 1 of the message in hand; 0 when idle.
    in_hand: AtomicU64,
    slow: AtomicBool,
    busy_nanos: AtomicU64,
    /// Once a message was timed: most actors of a kind that there are thousands of handle a few and rest.
    histogram: OnceLock<Box<[AtomicU64; HISTOGRAM_BUCKETS]>>,
}

pub fn bucket_limit_micros(bucket: usize) -> u64 {
    1 << bucket
}

/// Cheaper than a read-modify-write, and enough for a single writer.
fn bump(counter: &AtomicU64, by: u64) -> u64 {
    let value = counter.load(Relaxed) + by;
    counter.store(value, Relaxed);
    value
}

impl Stats {
    pub(crate) fn new(names: &'static [&'static str]) -> Stats {
        Stats {
            sent: Sent::default(),
            handled: AtomicU64::new(0),
            names,
            by_name: names.iter().map(|_| AtomicU64::new(0)).collect(),
            in_hand: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            busy_nanos: AtomicU64::new(0),
            histogram: OnceLock::new(),
        }
    }

    /// A message is taken in hand; whether to time it.
    pub(crate) fn begin(&self, index: usize) -> bool {
        let handled = bump(&self.handled, 1);
        if let Some(counter) = self.by_name.get(index) {
            bump(counter, 1);
        }
        self.in_hand.store(index as u64 + 1, Relaxed);
        handled.is_multiple_of(SAMPLE) || self.slow.load(Relaxed)
    }

    pub(crate) fn took(&self, time: Duration) {
        let slow = time >= SLOW;
        // Where every message is timed each stands for itself, else for its share.
        let all_timed = self.slow.load(Relaxed);
        self.slow.store(slow, Relaxed);
        let weight = if slow || all_timed { 1 } else { SAMPLE };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        bump(&self.busy_nanos, nanos.saturating_mul(weight));
        let bucket = (u64::BITS - (nanos / 1000).leading_zeros()) as usize;
        let histogram = self.histogram.get_or_init(Box::default);
        bump(&histogram[bucket.min(HISTOGRAM_BUCKETS - 1)], weight);
    }

    pub(crate) fn end(&self) {
        self.in_hand.store(0, Relaxed);
    }

    /// A message from the actor's own timer, which was never sent.
    pub(crate) fn count_own(&self) {
        self.sent.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn depth(&self) -> u64 {
        let handled = self.handled.load(Relaxed);
        self.sent.0.load(Relaxed).saturating_sub(handled)
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    pub(crate) fn in_hand(&self) -> Option<&'static str> {
        let index = self.in_hand.load(Relaxed).checked_sub(1)?;
        self.names.get(index as usize).copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        let handled = self.names.iter().zip(&self.by_name);
        Totals {
            handled: handled.map(|(name, count)| (*name, count.load(Relaxed))).collect(),
            busy_micros: self.busy_nanos.load(Relaxed) / 1000,
            histogram: self.histogram.get().map_or([0; HISTOGRAM_BUCKETS], |histogram| {
                std::array::from_fn(|bucket| histogram[bucket].load(Relaxed))
            }),
            restarts: 0,
            failures: 0,
        }
    }
}

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
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
    /// Index + 1 of the message in hand; 0 when idle.
    in_hand: AtomicU8,
    slow: AtomicBool,
    /// Index + 1 of each of the first messages, none of which is timed.
    first: [AtomicU8; SAMPLE as usize - 1],
    /// Once there were more: most actors of a kind that there are thousands of handle a few and rest.
    more: OnceLock<Box<More>>,
}

#[derive(Debug)]
struct More {
    by_name: Box<[AtomicU64]>,
    busy_nanos: AtomicU64,
    histogram: [AtomicU64; HISTOGRAM_BUCKETS],
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
            in_hand: AtomicU8::new(0),
            slow: AtomicBool::new(false),
            first: Default::default(),
            more: OnceLock::new(),
        }
    }

    fn more(&self) -> &More {
        self.more.get_or_init(|| {
            Box::new(More {
                by_name: self.names.iter().map(|_| AtomicU64::new(0)).collect(),
                busy_nanos: AtomicU64::new(0),
                histogram: Default::default(),
            })
        })
    }

    /// A message is taken in hand; whether to time it.
    pub(crate) fn begin(&self, index: usize) -> bool {
        let handled = bump(&self.handled, 1);
        debug_assert!(index < self.names.len() && self.names.len() < usize::from(u8::MAX));
        let in_hand = index as u8 + 1;
        match self.first.get(handled as usize - 1) {
            Some(first) => first.store(in_hand, Relaxed),
            None => {
                if let Some(counter) = self.more().by_name.get(index) {
                    bump(counter, 1);
                }
            }
        }
        self.in_hand.store(in_hand, Relaxed);
        handled.is_multiple_of(SAMPLE) || self.slow.load(Relaxed)
    }

    pub(crate) fn took(&self, time: Duration) {
        let slow = time >= SLOW;
        // Where every message is timed each stands for itself, else for its share.
        let all_timed = self.slow.load(Relaxed);
        self.slow.store(slow, Relaxed);
        let weight = if slow || all_timed { 1 } else { SAMPLE };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let more = self.more();
        bump(&more.busy_nanos, nanos.saturating_mul(weight));
        let bucket = (u64::BITS - (nanos / 1000).leading_zeros()) as usize;
        bump(&more.histogram[bucket.min(HISTOGRAM_BUCKETS - 1)], weight);
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
        self.names.get(usize::from(index)).copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.handled.extend(self.names.iter().map(|name| (*name, 0)));
        let mut count = |index: usize, more: u64| {
            let name = self.names.get(index).and_then(|name| totals.handled.get_mut(name));
            name.into_iter().for_each(|count| *count += more);
        };
        for first in &self.first {
            if let Some(index) = first.load(Relaxed).checked_sub(1) {
                count(usize::from(index), 1);
            }
        }
        if let Some(more) = self.more.get() {
            more.by_name.iter().enumerate().for_each(|(i, n)| count(i, n.load(Relaxed)));
            totals.busy_micros = more.busy_nanos.load(Relaxed) / 1000;
            totals.histogram = std::array::from_fn(|bucket| more.histogram[bucket].load(Relaxed));
        }
        totals
    }
}

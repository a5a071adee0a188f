//! How long what happens often takes: counted on the hot path, quantiles of the last minutes for those who look.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::quantile;

/// Each power of two of microseconds in so many parts: what is told is at most an eighth too much.
const PARTS: usize = 8;
/// Longer than 2^36 µs, which are 19 hours, is as that.
const BUCKETS: usize = 34 * PARTS;
/// Quantiles are of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(150);
/// As Kafka's histograms have them, and the JMX exporter spells them.
const QUANTILES: [(&str, f64); 6] = [
    ("0.50", 0.5),
    ("0.75", 0.75),
    ("0.95", 0.95),
    ("0.98", 0.98),
    ("0.99", 0.99),
    ("0.999", 0.999),
];

/// In each bucket as many as there were, which may go round.
type Counted = [u32; BUCKETS];

/// What took less than a microsecond may be left out, where it is known how many there were.
#[derive(Debug)]
pub(crate) struct Histogram {
    nanos: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
    /// The how manyth window it is, from when the node's clock began.
    window: AtomicU64,
    /// What was counted before the windows that quantiles are of; none while that is nothing.
    before: Mutex<Option<Box<Before>>>,
}

#[derive(Debug)]
struct Before {
    /// The window before this one.
    last: Counted,
    this: Counted,
}

/// What of the last minutes is counted.
#[derive(Debug)]
pub(crate) struct Recent(Vec<u64>);

/// The how manyth it is at a time.
fn window(now: Duration) -> u64 {
    now.as_secs() / WINDOW.as_secs()
}

fn bucket(micros: u64) -> usize {
    let power = micros.max(1).ilog2() as usize;
    if power < 3 {
        return micros as usize;
    }
    let part = (micros >> (power - 3)) as usize % PARTS;
    ((power - 2) * PARTS + part).min(BUCKETS - 1)
}

/// In microseconds; what is in it is less.
fn limit(bucket: usize) -> f64 {
    if bucket < PARTS {
        return (bucket + 1) as f64;
    }
    let (power, part) = (bucket / PARTS + 2, bucket % PARTS);
    ((PARTS + part + 1) as f64) * ((power - 3) as f64).exp2()
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            nanos: AtomicU64::new(0),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            window: AtomicU64::new(0),
            before: Mutex::default(),
        }
    }
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration, now: Duration) {
        self.turn(now);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.buckets[bucket(took.as_micros() as u64)].fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self) -> Counted {
        self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Before anything of a new window is counted: a window is over when it is, whoever looks.
    fn turn(&self, now: Duration) {
        if window(now) <= self.window.load(Ordering::Relaxed) {
            return;
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = window(now).saturating_sub(self.window.load(Ordering::Relaxed));
        if passed > 0 {
            let this = self.counted();
            let ended = before.as_ref().map_or([0; BUCKETS], |before| before.this);
            // In a window that passed since there was nothing.
            *before = Some(Box::new(Before { last: if passed == 1 { ended } else { this }, this }));
            self.window.store(window(now), Ordering::Relaxed);
        }
    }

    pub(crate) fn sum_ms(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e6
    }

    pub(crate) fn recent(&self, now: Duration) -> Recent {
        self.turn(now);
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.as_ref().map_or([0; BUCKETS], |before| before.last);
        let counted = self.counted();
        Recent(
            counted
                .iter()
                .zip(before)
                .map(|(now, before)| now.wrapping_sub(before).into())
                .collect(),
        )
    }
}

impl Recent {
    pub(crate) fn none() -> Recent {
        Recent(vec![0; BUCKETS])
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// With those that were left out, where there were `all`.
    pub(crate) fn of_all(mut self, all: u64) -> Recent {
        self.0[0] += all.saturating_sub(self.count());
        self
    }

    /// In milliseconds; none where nothing was counted.
    pub(crate) fn quantiles(&self) -> Vec<(&'static str, f64)> {
        let at = |share| Some(limit(quantile(&self.0, share)?) / 1e3);
        QUANTILES.iter().filter_map(|(name, share)| Some((*name, at(*share)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_below_its_buckets_limit_by_an_eighth_at_most() {
        for micros in (0..5_000).chain((13..36).map(|power| (1 << power) - 1)) {
            let limit = limit(bucket(micros));
            assert!(limit > micros as f64, "{micros} {limit}");
            assert!(limit <= (micros as f64 * 1.125).max(micros as f64 + 1.0), "{micros} {limit}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn counts_may_go_round() {
        let (histogram, now) = (Histogram::default(), Duration::from_secs(150));
        histogram.buckets[5].store(u32::MAX, Ordering::Relaxed);
        histogram.turn(now);
        histogram.turn(2 * now);
        (0..3).for_each(|_| histogram.add(Duration::from_micros(5), 2 * now));
        assert_eq!(histogram.recent(2 * now).count(), 3);
    }
}

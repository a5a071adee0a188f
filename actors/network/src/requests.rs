//! How many requests there were of each API and version, and how long they took: `kafka.network:type=RequestMetrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use runtime::quantile;
use wire::ApiKey;

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
const FETCH_CONSUMER: usize = ApiKey::ALL.len();
const FETCH_FOLLOWER: usize = FETCH_CONSUMER + 1;

/// Of all listeners of a node.
#[derive(Debug)]
pub struct RequestMetrics([OnceLock<Box<Counts>>; FETCH_FOLLOWER + 1]);

impl Default for RequestMetrics {
    fn default() -> Self {
        RequestMetrics([const { OnceLock::new() }; FETCH_FOLLOWER + 1])
    }
}

#[derive(Debug)]
struct Counts {
    /// From the oldest on.
    versions: Box<[AtomicU64]>,
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
    /// The how manyth window it is, from when the node's clock began.
    window: AtomicU64,
    /// What was counted before the windows that quantiles are of.
    before: Mutex<Before>,
}

#[derive(Debug)]
struct Before {
    /// The window before this one.
    last: Box<[u64; BUCKETS]>,
    this: Box<[u64; BUCKETS]>,
}

/// The how manyth it is at a time.
fn window(now: Duration) -> u64 {
    now.as_secs() / WINDOW.as_secs()
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct OfRequest {
    pub request: &'static str,
    /// How many of each version.
    pub versions: Vec<(i16, u64)>,
    pub times: Times,
}

/// From when a request was there until its answer was out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    pub count: u64,
    pub sum_ms: f64,
    /// Of the last minutes, in milliseconds; none where there was no request.
    pub quantiles: Vec<(&'static str, f64)>,
}

/// A request that is being answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) at: Duration,
}

/// Of a place among all.
fn key(at: usize) -> ApiKey {
    ApiKey::ALL.get(at).copied().unwrap_or(ApiKey::Fetch)
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

impl Counts {
    fn of(key: ApiKey) -> Box<Counts> {
        let versions = key.versions().max - key.versions().min + 1;
        let zero = || Box::new([0; BUCKETS]);
        Box::new(Counts {
            versions: (0..versions).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            window: AtomicU64::new(0),
            before: Mutex::new(Before { last: zero(), this: zero() }),
        })
    }

    /// `version`: from the oldest on. One that there is not yet is answered as the oldest.
    fn add(&self, version: usize, took: Duration, now: Duration) {
        self.turn(now);
        if let Some(count) = self.versions.get(version).or(self.versions.first()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.buckets[bucket(took.as_micros() as u64)].fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self) -> Box<[u64; BUCKETS]> {
        Box::new(self.buckets.each_ref().map(|n| n.load(Ordering::Relaxed)))
    }

    /// Before anything of a new window is counted: a window is over when it is, whoever looks.
    fn turn(&self, now: Duration) {
        if window(now) <= self.window.load(Ordering::Relaxed) {
            return;
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = window(now).saturating_sub(self.window.load(Ordering::Relaxed));
        if passed > 0 {
            let ended = std::mem::replace(&mut before.this, self.counted());
            // In a window that passed since there was nothing.
            before.last = if passed == 1 { ended } else { before.this.clone() };
            self.window.store(window(now), Ordering::Relaxed);
        }
    }

    fn times(&self, now: Duration) -> Times {
        self.turn(now);
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.counted();
        let recent: Vec<u64> =
            counted.iter().zip(before.last.iter()).map(|(now, before)| now - before).collect();
        let at = |share| Some(limit(quantile(&recent, share)?) / 1e3);
        Times {
            count: counted.iter().sum(),
            sum_ms: self.nanos.load(Ordering::Relaxed) as f64 / 1e6,
            quantiles: QUANTILES
                .iter()
                .filter_map(|(name, share)| Some((*name, at(*share)?)))
                .collect(),
        }
    }
}

impl RequestMetrics {
    fn place(&self, at: usize) -> &Counts {
        self.0[at].get_or_init(|| Counts::of(key(at)))
    }

    /// A request whose answer is out. `follower`: who fetches, if it is a fetch, is a replica.
    pub(crate) fn answered(&self, begun: Begun, now: Duration, follower: bool) {
        let Ok(at) = ApiKey::ALL.binary_search_by_key(&begun.key.code(), |key| key.code()) else {
            return;
        };
        let took = now.saturating_sub(begun.at);
        let version = usize::try_from(begun.version - begun.key.versions().min).unwrap_or(0);
        self.place(at).add(version, took, now);
        if begun.key == ApiKey::Fetch {
            self.place(if follower { FETCH_FOLLOWER } else { FETCH_CONSUMER })
                .add(version, took, now);
        }
    }

    /// Of those that there were.
    pub fn told(&self, now: Duration) -> Vec<OfRequest> {
        let all = self.0.iter().enumerate();
        let there = all.filter_map(|(at, counts)| Some((at, &**counts.get()?)));
        let of = |(at, counts): (usize, &Counts)| {
            let from = key(at).versions().min;
            let versions = counts.versions.iter().map(|count| count.load(Ordering::Relaxed));
            OfRequest {
                request: match at {
                    FETCH_CONSUMER => "FetchConsumer",
                    FETCH_FOLLOWER => "FetchFollower",
                    _ => key(at).name(),
                },
                versions: (from..).zip(versions).filter(|(_, count)| *count > 0).collect(),
                times: counts.times(now),
            }
        };
        there.map(of).collect()
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
    fn requests_are_counted_by_version_and_fetches_by_who_sent_them() {
        let (metrics, at) = (RequestMetrics::default(), Duration::from_secs(1));
        let begun = |key, version| Begun { key, version, at };
        let after = |ms| at + Duration::from_millis(ms);
        metrics.answered(begun(ApiKey::Fetch, 13), after(2), false);
        metrics.answered(begun(ApiKey::Fetch, 13), after(4), true);
        metrics.answered(begun(ApiKey::ApiVersions, 99), after(0), false);
        let told = metrics.told(after(5));
        let short: Vec<_> = told
            .iter()
            .map(|of| (of.request, of.versions.clone(), of.times.count, of.times.sum_ms))
            .collect();
        let expected = [
            ("Fetch", vec![(13, 2)], 2, 6.0),
            ("ApiVersions", vec![(0, 1)], 1, 0.0),
            ("FetchConsumer", vec![(13, 1)], 1, 2.0),
            ("FetchFollower", vec![(13, 1)], 1, 4.0),
        ];
        assert_eq!(short, expected);
    }

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        let metrics = RequestMetrics::default();
        let one = |at: Duration, ms| {
            let begun = Begun { key: ApiKey::Metadata, version: 12, at };
            metrics.answered(begun, at + Duration::from_millis(ms), false);
        };
        let told = |secs| metrics.told(Duration::from_secs(secs)).remove(0).times;
        (0..99).for_each(|_| one(Duration::ZERO, 1));
        one(Duration::ZERO, 1000);
        let quantile = |times: &Times, name| {
            times.quantiles.iter().find(|(there, _)| *there == name).map(|(_, ms)| *ms)
        };
        let times = told(1);
        assert!(quantile(&times, "0.99").is_some_and(|ms| (1.0..1.2).contains(&ms)), "{times:?}");
        assert!(
            quantile(&times, "0.999").is_some_and(|ms| (1e3..1.2e3).contains(&ms)),
            "{times:?}"
        );
        told(150);
        let times = told(299);
        assert_eq!(times.quantiles.len(), QUANTILES.len(), "the window before counts too");
        let times = told(300);
        assert_eq!((times.quantiles.len(), times.count), (0, 100), "nothing was asked since");
        one(Duration::from_secs(310), 50);
        assert!(quantile(&told(320), "0.50").is_some_and(|ms| (50.0..57.0).contains(&ms)));
        // Nobody looks for an hour: what is over is over.
        (0..20).for_each(|at| one(Duration::from_secs(330 + 150 * at), 7));
        one(Duration::from_secs(4000), 900);
        let times = told(4001);
        assert!(quantile(&times, "0.50").is_some_and(|ms| ms > 900.0), "{times:?}");
        one(Duration::from_secs(4100), 7);
        let times = told(4101);
        let both = (quantile(&times, "0.50"), quantile(&times, "0.999"));
        assert!(both.0 < Some(8.0) && both.1 > Some(900.0), "the window before counts: {times:?}");
    }
}

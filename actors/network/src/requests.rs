//! How many requests there were of each API and version, and where their time went: `kafka.network:type=RequestMetrics`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::RequestId;
use wire::ApiKey;

use crate::histogram::{Histogram, Recent};
use crate::slow::Slow;

const FETCH_CONSUMER: usize = ApiKey::ALL.len();
const FETCH_FOLLOWER: usize = FETCH_CONSUMER + 1;

/// Of all listeners of a node.
#[derive(Debug)]
pub struct RequestMetrics {
    by_kind: [OnceLock<Box<Counts>>; FETCH_FOLLOWER + 1],
    connections: AtomicU64,
    /// The share of requests of which all is kept that is done for them.
    sampled: f64,
    pub(crate) slow: Slow,
}

#[derive(Debug)]
struct Counts {
    /// From the oldest on.
    versions: Box<[AtomicU64]>,
    total: Histogram,
    /// Made where one takes any time.
    parts: [OnceLock<Box<Histogram>>; Part::ALL.len()],
}

/// Where the time of a request goes, in the order in which it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Behind those before it on its connection, or for memory.
    Queue,
    /// It is worked on here.
    Local,
    /// For others: followers, records that are to come, members of its group, the controller, other actors.
    Remote,
    /// Until the socket has taken its answer.
    Send,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Queue, Part::Local, Part::Remote, Part::Send];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Queue => "queue",
            Part::Local => "local",
            Part::Remote => "remote",
            Part::Send => "send",
        }
    }
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct OfRequest {
    pub request: &'static str,
    /// How many of each version.
    pub versions: Vec<(i16, u64)>,
    /// From when a request was there until its answer was out.
    pub total: Times,
    /// In the order of [`Part::ALL`].
    pub parts: [Times; Part::ALL.len()],
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    pub count: u64,
    pub sum_ms: f64,
    /// Of the last minutes, in milliseconds; none where there was no request.
    pub quantiles: Vec<(&'static str, f64)>,
}

/// A request that is being answered, and when it was how far, on the node's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    pub(crate) id: RequestId,
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    /// All of it was there.
    pub(crate) came: Duration,
    pub(crate) begun: Duration,
    /// From then on others were waited for.
    pub(crate) waits: Option<Duration>,
    /// Its answer was there.
    pub(crate) done: Duration,
}

impl Moments {
    /// As long did each part take of a request whose answer is out.
    pub(crate) fn parts(&self, now: Duration) -> [Duration; Part::ALL.len()] {
        let waits = self.waits.unwrap_or(self.done);
        let ends = [self.begun, waits, self.done, now];
        let begins = [self.came, self.begun, waits, self.done];
        std::array::from_fn(|part| ends[part].saturating_sub(begins[part]))
    }
}

/// Of a place among all.
fn key(at: usize) -> ApiKey {
    ApiKey::ALL.get(at).copied().unwrap_or(ApiKey::Fetch)
}

impl Counts {
    fn of(key: ApiKey) -> Box<Counts> {
        let versions = key.versions().max - key.versions().min + 1;
        Box::new(Counts {
            versions: (0..versions).map(|_| AtomicU64::new(0)).collect(),
            total: Histogram::default(),
            parts: [const { OnceLock::new() }; Part::ALL.len()],
        })
    }

    /// `version`: from the oldest on. One that there is not yet is answered as the oldest.
    fn add(&self, version: usize, moments: &Moments, now: Duration) {
        if let Some(count) = self.versions.get(version).or(self.versions.first()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.total.add(now.saturating_sub(moments.came), now);
        for (part, took) in self.parts.iter().zip(moments.parts(now)) {
            if took >= Duration::from_micros(1) {
                part.get_or_init(Box::default).add(took, now);
            }
        }
    }

    fn told(&self, request: &'static str, oldest: i16, now: Duration) -> OfRequest {
        let counts = self.versions.iter().map(|count| count.load(Ordering::Relaxed));
        let count = counts.clone().sum();
        let recent = self.total.recent(now);
        let all = recent.count();
        let times = |histogram: Option<&Histogram>| Times {
            count,
            sum_ms: histogram.map_or(0.0, Histogram::sum_ms),
            quantiles: histogram
                .map_or_else(Recent::none, |part| part.recent(now))
                .of_all(all)
                .quantiles(),
        };
        OfRequest {
            request,
            versions: (oldest..).zip(counts).filter(|(_, count)| *count > 0).collect(),
            total: times(Some(&self.total)),
            parts: self.parts.each_ref().map(|part| times(part.get().map(|part| &**part))),
        }
    }
}

impl RequestMetrics {
    fn place(&self, at: usize) -> &Counts {
        self.by_kind[at].get_or_init(|| Counts::of(key(at)))
    }

    /// `sampled`: the share of requests of which all is kept that is done for them, for the registry's spans.
    pub fn new(sampled: f64) -> RequestMetrics {
        RequestMetrics {
            by_kind: [const { OnceLock::new() }; FETCH_FOLLOWER + 1],
            connections: AtomicU64::new(0),
            sampled,
            slow: Slow::default(),
        }
    }

    pub(crate) fn id(&self, connection: u64, number: u32) -> RequestId {
        let id = RequestId::new(connection, number);
        if self.sampled > 0.0 { id.sampled(self.sampled) } else { id }
    }

    /// The number of a new connection.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A request whose answer is out. `follower`: who fetches, if it is a fetch, is a replica.
    pub(crate) fn answered(&self, moments: &Moments, now: Duration, follower: bool) {
        let Ok(at) = ApiKey::ALL.binary_search_by_key(&moments.key.code(), |key| key.code()) else {
            return;
        };
        let oldest = moments.key.versions().min;
        let version = usize::try_from(moments.version - oldest).unwrap_or(0);
        self.place(at).add(version, moments, now);
        if moments.key == ApiKey::Fetch {
            self.place(if follower { FETCH_FOLLOWER } else { FETCH_CONSUMER })
                .add(version, moments, now);
        }
    }

    /// Of those that there were.
    pub fn told(&self, now: Duration) -> Vec<OfRequest> {
        let all = self.by_kind.iter().enumerate();
        let there = all.filter_map(|(at, counts)| Some((at, &**counts.get()?)));
        let name = |at| match at {
            FETCH_CONSUMER => "FetchConsumer",
            FETCH_FOLLOWER => "FetchFollower",
            _ => key(at).name(),
        };
        there.map(|(at, counts)| counts.told(name(at), key(at).versions().min, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(key: ApiKey, version: i16, ms: [u64; 3], waits: Option<u64>) -> Moments {
        let [came, begun, done] = ms.map(Duration::from_millis);
        let waits = waits.map(Duration::from_millis);
        Moments { id: RequestId::new(1, 1), key, version, came, begun, waits, done }
    }

    fn at_once(key: ApiKey, version: i16, at: u64) -> Moments {
        moments(key, version, [at; 3], None)
    }

    #[test]
    fn requests_are_counted_by_version_and_fetches_by_who_sent_them() {
        let metrics = RequestMetrics::new(0.0);
        let answered = |key, version, took: u64, follower| {
            let now = Duration::from_millis(1000 + took);
            metrics.answered(&at_once(key, version, 1000), now, follower);
        };
        answered(ApiKey::Fetch, 13, 2, false);
        answered(ApiKey::Fetch, 13, 4, true);
        answered(ApiKey::ApiVersions, 99, 0, false);
        let told = metrics.told(Duration::from_millis(1005));
        let short: Vec<_> = told
            .iter()
            .map(|of| (of.request, of.versions.clone(), of.total.count, of.total.sum_ms))
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
    fn each_part_is_known_and_together_they_are_all() {
        let metrics = RequestMetrics::new(0.0);
        let now = Duration::from_millis(1020);
        metrics.answered(&moments(ApiKey::Produce, 9, [1000, 1001, 1015], Some(1004)), now, false);
        let of = metrics.told(now).remove(0);
        assert_eq!(of.parts.each_ref().map(|part| part.sum_ms), [1.0, 3.0, 11.0, 5.0]);
        assert_eq!(of.total.sum_ms, 20.0);
        // What takes no time counts as such.
        (0..9).for_each(|_| metrics.answered(&at_once(ApiKey::Produce, 9, 1020), now, false));
        let of = metrics.told(now).remove(0);
        for part in &of.parts {
            assert_eq!((part.count, part.quantiles[0]), (10, ("0.50", 0.001)), "{of:?}");
        }
        assert!((11.0..12.5).contains(&of.parts[2].quantiles[4].1), "{of:?}");
    }

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        let metrics = RequestMetrics::new(0.0);
        let one = |at: Duration, ms| {
            let moments = at_once(ApiKey::Metadata, 12, at.as_millis() as u64);
            metrics.answered(&moments, at + Duration::from_millis(ms), false);
        };
        let told = |secs| metrics.told(Duration::from_secs(secs)).remove(0).total;
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
        assert_eq!(times.quantiles.len(), 6, "the window before counts too");
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

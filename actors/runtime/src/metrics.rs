//! What every actor shows of itself. One registry per node: names mean nothing beyond it.

mod exposition;
mod named;
mod prometheus;
mod sample;
mod scope;
mod spans;
mod stats;
mod traced;
mod tree;
mod trouble;
mod unusual;
mod watchdog;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::actor::Failure;
use crate::credits::Credits;
use crate::shell::Asked;
use crate::world::{Bulkhead, Clock};

pub use exposition::{Exposition, Format};
pub use named::NoSuchActor;
pub use prometheus::{Family, Sums, expose, families, prometheus};
pub use sample::{Sample, quantile};
pub use scope::{Order, Scope, TopPage};
pub(crate) use spans::Spanning;
pub use spans::{Span, SpanOf};
use stats::{HISTOGRAM_BUCKETS, bucket_limit_micros};
pub(crate) use stats::{Stats, Taken};
pub use traced::{AskTrace, Did, InHand, NotTraced, TraceLine, TracePlace, Traced};
pub use tree::{ActorTree, MessageCount, Restarted};
use trouble::Trouble;
pub(crate) use trouble::cut;
use unusual::Noted;
pub use unusual::Unusual;
pub use watchdog::Watchdog;

#[derive(Clone)]
pub struct Registry(Arc<RegistryState>);

struct RegistryState {
    actors: Mutex<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// What actors that are gone have counted, by kind and name.
    past: Mutex<Past>,
    credits: Mutex<BTreeMap<String, Credits>>,
    traces: Mutex<Vec<Arc<traced::Trace>>>,
    spans: spans::Spans,
    noted: Arc<Noted>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Past {
    kinds: BTreeMap<&'static str, Totals>,
    counters: BTreeMap<(&'static str, &'static str), u64>,
    /// How many have gone.
    gone: u64,
}

/// Sums over incarnations that have ended.
#[derive(Default, Clone)]
pub(crate) struct Totals {
    handled: BTreeMap<&'static str, u64>,
    busy_micros: u64,
    max_micros: u64,
    /// The deepest mailbox.
    high: u64,
    histogram: [u64; HISTOGRAM_BUCKETS],
    restarts: u64,
    failures: u64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        for (name, count) in &other.handled {
            *self.handled.entry(name).or_default() += count;
        }
        self.busy_micros += other.busy_micros;
        self.max_micros = self.max_micros.max(other.max_micros);
        self.high = self.high.max(other.high);
        self.restarts += other.restarts;
        self.failures += other.failures;
        for (sum, more) in self.histogram.iter_mut().zip(other.histogram) {
            *sum += more;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Restarting,
    Offline,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Offline => "offline",
        }
    }
}

/// One place in the tree, over all incarnations.
pub(crate) struct Entry {
    path: Arc<str>,
    kind: &'static str,
    bulkhead: Bulkhead,
    /// Tells entries of one path apart.
    serial: u64,
    since: Duration,
    noted: Arc<Noted>,
    state: Mutex<EntryState>,
}

struct EntryState {
    status: Status,
    generation: u64,
    stats: Option<Arc<Stats>>,
    /// Of the incarnations before this one, once there are any.
    past: Option<Box<Totals>>,
    trouble: Option<Box<Trouble>>,
    credits: Option<Gauge>,
    state_line: String,
    looks: u64,
    /// A look lies in the mailbox: one is enough for all who ask meanwhile.
    is_asked: bool,
    hands: Option<Box<dyn Asked>>,
    counters: Named<Counter>,
    gauges: Named<Gauge>,
    stuck: bool,
    /// It is no longer there: the how manyth of [`Past::gone`] it was.
    gone: Option<u64>,
}

/// What an actor shows of itself beside what all show.
pub type Numbers = BTreeMap<&'static str, i64>;

/// The few numbers of one actor, by name: a list, for there are as many as actors.
#[derive(Debug, Default)]
struct Named<T>(Vec<(&'static str, T)>);

impl<T: Clone + Default> Named<T> {
    fn get(&mut self, name: &'static str) -> T {
        if let Some((_, there)) = self.0.iter().find(|(there, _)| *there == name) {
            return there.clone();
        }
        self.0.reserve_exact(1);
        self.0.push((name, T::default()));
        self.0[self.0.len() - 1].1.clone()
    }
}

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that comes and goes; each incarnation begins anew.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn id(&self) -> *const AtomicI64 {
        Arc::as_ptr(&self.0)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Registry {
        Registry(Arc::new(RegistryState {
            actors: Mutex::default(),
            past: Mutex::default(),
            credits: Mutex::default(),
            traces: Mutex::default(),
            spans: spans::Spans::default(),
            noted: Arc::default(),
            clock,
        }))
    }

    pub(crate) fn add(&self, path: String, kind: &'static str, bulkhead: Bulkhead) -> Arc<Entry> {
        let path: Arc<str> = path.into();
        let mut actors = lock(&self.0.actors);
        let serial = actors.get(&path).map_or(0, |before| before.serial + 1);
        let state = EntryState {
            status: Status::Running,
            generation: 0,
            stats: None,
            past: None,
            trouble: None,
            credits: None,
            state_line: String::new(),
            looks: 0,
            is_asked: false,
            hands: None,
            counters: Named::default(),
            gauges: Named::default(),
            stuck: false,
            gone: None,
        };
        let entry = Arc::new(Entry {
            path: path.clone(),
            kind,
            bulkhead,
            serial,
            since: self.0.clock.mono(),
            noted: self.0.noted.clone(),
            state: Mutex::new(state),
        });
        actors.insert(path, entry.clone());
        entry
    }

    pub(crate) fn remove(&self, entry: &Entry) {
        self.sum_up(entry);
        self.0.noted.forget(entry);
        let mut actors = lock(&self.0.actors);
        if actors.get(&entry.path).is_some_and(|there| there.serial == entry.serial) {
            actors.remove(&entry.path);
        }
    }

    /// Before it is taken out: who sums up finds it among those that are there or those that are gone.
    fn sum_up(&self, entry: &Entry) {
        let state = &mut *lock(&entry.state);
        state.retire_stats();
        // The closure keeps the mailbox, and the mailbox its messages.
        state.hands = None;
        let mut past = lock(&self.0.past);
        past.gone += 1;
        state.gone = Some(past.gone);
        if let Some(totals) = &state.past {
            past.kinds.entry(entry.kind).or_default().add(totals);
        }
        for (name, counter) in &state.counters.0 {
            *past.counters.entry((entry.kind, name)).or_default() += counter.get();
        }
    }

    /// Shows a budget under this name.
    pub fn show_credits(&self, name: impl Into<String>, credits: &Credits) {
        lock(&self.0.credits).insert(name.into(), credits.clone());
    }

    /// The numbers of each actor of this kind, with its path.
    pub fn shown(&self, kind: &str) -> Vec<(Arc<str>, Numbers)> {
        let of_kind = self.entries().into_iter().filter(|entry| entry.kind == kind);
        of_kind.map(|entry| (entry.path.clone(), lock(&entry.state).numbers())).collect()
    }

    /// The budget that is shown under this name.
    pub fn credits(&self, name: &str) -> Option<Credits> {
        lock(&self.0.credits).get(name).cloned()
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.0.actors).values().cloned().collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({} actors)", lock(&self.0.actors).len())
    }
}

impl Entry {
    pub(crate) fn bulkhead(&self) -> Bulkhead {
        self.bulkhead
    }

    pub(crate) fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// A new incarnation counts from zero; what the one before counted is kept.
    pub(crate) fn begin(
        &self,
        generation: u64,
        names: &'static &'static [&'static str],
        now: Duration,
    ) -> Arc<Stats> {
        let stats = Arc::new(Stats::new(names, now));
        let mut state = lock(&self.state);
        let traced = state.stats.as_ref().and_then(|before| before.traced());
        state.retire_stats();
        state.stats = Some(stats.clone());
        state.generation = generation;
        state.stuck = false;
        if generation > 1 {
            state.past().restarts += 1;
            // Who went may still take back what it showed.
            state.gauges = Named::default();
            let cause = state.trouble.get_or_insert_default().restarted(generation, now);
            if let Some(trace) = &traced {
                trace.restarted(generation, now, cause.to_owned());
            }
        }
        if let Some(trace) = traced {
            stats.trace(trace);
        }
        stats
    }

    pub(crate) fn set_status(self: &Arc<Entry>, status: Status) {
        lock(&self.state).status = status;
        if status != Status::Running {
            self.noted.note(self);
        }
    }

    pub(crate) fn failed(&self, now: Duration, cause: &Failure) {
        let mut state = lock(&self.state);
        state.past().failures += 1;
        state.trouble.get_or_insert_default().failed(now, cause);
        state.hands = None;
    }

    /// It is restarted as a sibling failed.
    pub(crate) fn goes_with(&self, cause: &Failure) {
        lock(&self.state).trouble.get_or_insert_default().goes_with(cause);
    }

    pub(crate) fn credits(&self) -> Gauge {
        lock(&self.state).credits.get_or_insert_default().clone()
    }

    pub(crate) fn set_hands(&self, hands: Box<dyn Asked>) {
        let mut state = lock(&self.state);
        state.hands = Some(hands);
        state.is_asked = false;
    }

    pub(crate) fn seen(&self, state_line: String) {
        let mut state = lock(&self.state);
        state.state_line = state_line;
        state.looks += 1;
        state.is_asked = false;
    }

    pub(crate) fn counter(&self, name: &'static str) -> Counter {
        lock(&self.state).counters.get(name)
    }

    pub(crate) fn gauge(&self, name: &'static str) -> Gauge {
        lock(&self.state).gauges.get(name)
    }
}

impl EntryState {
    fn retire_stats(&mut self) {
        if let Some(stats) = self.stats.take() {
            self.past().add(&stats.totals());
        }
    }

    fn past(&mut self) -> &mut Totals {
        self.past.get_or_insert_default()
    }

    fn numbers(&self) -> Numbers {
        let count = |counter: &Counter| i64::try_from(counter.get()).unwrap_or(i64::MAX);
        let counters = self.counters.0.iter().map(|(name, counter)| (*name, count(counter)));
        counters.chain(self.gauges()).collect()
    }

    /// One that was given up shows nothing any more.
    fn gauges(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let shown = self.gauges.0.iter().filter(|_| self.status != Status::Offline);
        shown.map(|(name, gauge)| (*name, gauge.get()))
    }

    fn totals(&self) -> Totals {
        let mut totals = self.past.as_deref().cloned().unwrap_or_default();
        if let Some(stats) = &self.stats {
            totals.add(&stats.totals());
        }
        totals
    }
}

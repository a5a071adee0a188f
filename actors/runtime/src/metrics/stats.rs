use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed, Release},
};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::traced::{Trace, Tracing};
use super::{Totals, lock};
use crate::actor::Outcome;
use crate::fault::{Fault, Faults};
use crate::world::{Clock, World};

/// Bucket `i` counts handlings of less than 2^i microseconds; the last one all longer ones.
pub const HISTOGRAM_BUCKETS: usize = 26;

/// One in this many messages is timed; all while the last timed one was slow.
const SAMPLE: u64 = 16;
const SLOW: Duration = Duration::from_millis(1);
/// What is recent: between this and twice as long, where somebody looks often enough.
const RECENT: Duration = Duration::from_secs(10);

/// One incarnation's numbers. Of the second line the actor is the only writer.
#[derive(Debug)]
pub(crate) struct Stats {
    shared: Shared,
    handled: AtomicU64,
    names: &'static &'static [&'static str],
    /// Most that waited when one was taken in hand, that one included.
    high: AtomicU32,
    max_micros: AtomicU32,
    /// When the message in hand was taken, in milliseconds.
    taken_ms: AtomicU32,
    /// Index + 1 of the message in hand; 0 when idle.
    in_hand: AtomicU8,
    slow: AtomicBool,
    /// Some of its faults may be set, or somebody may trace it.
    watched: AtomicBool,
    /// Index + 1 of each of the first messages, none of which is timed exactly.
    first: [AtomicU8; SAMPLE as usize - 1],
    /// Once there were more: most actors of a kind that there are thousands of handle a few and rest.
    more: OnceLock<Box<More>>,
}

/// Senders write to it: kept on a cache line of its own, with what is seldom touched.
#[repr(align(64))]
#[derive(Debug)]
struct Shared {
    sent: AtomicU64,
    busy_nanos: AtomicU64,
    /// When the incarnation began.
    began: Duration,
    faults: OnceLock<Box<Faults>>,
    trace: Mutex<Option<Arc<Trace>>>,
}

#[derive(Debug)]
struct More {
    by_name: Box<[AtomicU64]>,
    histogram: [AtomicU64; HISTOGRAM_BUCKETS],
    /// How long it had been busy when that was last noted, and the time before.
    noted: Mutex<[Noted; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    at: Duration,
    busy: Duration,
}

/// A message is in hand.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    /// On the coarse clock.
    at: Duration,
    exactly: Option<Duration>,
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

fn raise(mark: &AtomicU32, to: u64) {
    if to > u64::from(mark.load(Relaxed)) {
        mark.store(u32::try_from(to).unwrap_or(u32::MAX), Relaxed);
    }
}

impl Stats {
    pub(crate) fn new(names: &'static &'static [&'static str], began: Duration) -> Stats {
        Stats {
            shared: Shared {
                sent: AtomicU64::new(0),
                busy_nanos: AtomicU64::new(0),
                began,
                faults: OnceLock::new(),
                trace: Mutex::default(),
            },
            handled: AtomicU64::new(0),
            names,
            high: AtomicU32::new(0),
            max_micros: AtomicU32::new(0),
            taken_ms: AtomicU32::new(0),
            in_hand: AtomicU8::new(0),
            slow: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            first: Default::default(),
            more: OnceLock::new(),
        }
    }

    fn more(&self) -> &More {
        self.more.get_or_init(|| {
            Box::new(More {
                by_name: self.names.iter().map(|_| AtomicU64::new(0)).collect(),
                histogram: Default::default(),
                noted: Mutex::new([Noted { at: self.began(), busy: Duration::ZERO }; 2]),
            })
        })
    }

    /// A message is on its way into the mailbox.
    pub(crate) fn sent(&self) {
        self.shared.sent.fetch_add(1, Relaxed);
    }

    /// It did not get there.
    pub(crate) fn unsent(&self) {
        self.shared.sent.fetch_sub(1, Relaxed);
    }

    /// A message is taken in hand.
    pub(crate) fn take(&self, index: usize, clock: &dyn Clock) -> Taken {
        raise(&self.high, self.depth());
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
        let at = clock.coarse();
        self.taken_ms.store(at.as_millis() as u32, Relaxed);
        self.in_hand.store(in_hand, Relaxed);
        let is_timed = handled.is_multiple_of(SAMPLE) || self.slow.load(Relaxed);
        Taken { at, exactly: is_timed.then(|| clock.mono()) }
    }

    /// It is handled.
    pub(crate) fn end(&self, taken: Taken, clock: &dyn Clock) {
        match taken.exactly {
            Some(before) => {
                let time = clock.mono().saturating_sub(before);
                let is_slow = time >= SLOW;
                // Where every message is timed each stands for itself, else for its share.
                let all_timed = self.slow.load(Relaxed);
                self.slow.store(is_slow, Relaxed);
                self.took(time, if is_slow || all_timed { 1 } else { SAMPLE });
            }
            None => {
                // It took at least this: a tick may have passed just after it was taken.
                let time = clock.coarse().saturating_sub(taken.at).saturating_sub(clock.tick());
                if time >= SLOW {
                    self.slow.store(true, Relaxed);
                    self.took(time, 1);
                }
            }
        }
        self.in_hand.store(0, Relaxed);
    }

    /// As many messages as `weight` says took this long.
    fn took(&self, time: Duration, weight: u64) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        raise(&self.max_micros, nanos.div_ceil(1000));
        bump(&self.shared.busy_nanos, nanos.saturating_mul(weight));
        let bucket = (u64::BITS - (nanos / 1000).leading_zeros()) as usize;
        // Thousands that have handled a few, slowly as they started, do without.
        if self.more.get().is_some() || self.handled() >= SAMPLE {
            bump(&self.more().histogram[bucket.min(HISTOGRAM_BUCKETS - 1)], weight);
        }
    }

    /// A message from the actor's own timer, which was never sent.
    pub(crate) fn count_own(&self) {
        self.sent();
    }

    pub(crate) fn depth(&self) -> u64 {
        let handled = self.handled.load(Relaxed);
        self.shared.sent.load(Relaxed).saturating_sub(handled)
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    /// What it does takes the way on which faults befall it and traces are kept.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    pub(crate) fn fault(&self, fault: Fault, now: Duration) {
        self.shared.faults.get_or_init(Box::default).set(fault, now);
        self.watched.store(true, Release);
    }

    pub(super) fn trace(&self, trace: Arc<Trace>) {
        *lock(&self.shared.trace) = Some(trace);
        self.watched.store(true, Release);
    }

    /// Where somebody does.
    pub(super) fn traced(&self) -> Option<Arc<Trace>> {
        let mut trace = lock(&self.shared.trace);
        *trace = trace.take().filter(|trace| trace.is_on());
        trace.clone()
    }

    /// A message of this name is taken in hand.
    pub(crate) fn tracing(&self, message: &'static str, world: &World) -> Option<Tracing> {
        let trace = self.is_watched().then(|| self.traced())??;
        Some(Tracing::new(trace, message, world))
    }

    /// What is to befall it, in words.
    pub(crate) fn faults(&self, now: Duration) -> Option<String> {
        self.shared.faults.get()?.told(now)
    }

    /// What befalls the next one in its mailbox: a message of this name, or one of the kit's own.
    pub(crate) async fn befall(&self, world: &World, message: Option<&'static str>) -> Outcome {
        let befell = match self.shared.faults.get() {
            Some(faults) => faults.befall(world, message.is_some()).await,
            None => Ok(()),
        };
        if let (Err(_), Some(name)) = (&befell, message)
            && let Some(tracing) = self.tracing(name, world)
        {
            tracing.end(&befell);
        }
        // In this order: one may be set meanwhile. Whose word is taken back here is seen below.
        self.watched.swap(false, AcqRel);
        let is_watched = self.faults(world.mono()).is_some() || self.traced().is_some();
        self.watched.fetch_or(is_watched, AcqRel);
        befell
    }

    /// Lasts as long as the message that is in hand is delayed on purpose.
    pub(crate) async fn delay(&self, world: &World) {
        if let Some(faults) = self.shared.faults.get() {
            faults.delay(world).await;
        }
    }

    pub(crate) fn began(&self) -> Duration {
        self.shared.began
    }

    pub(crate) fn in_hand(&self) -> Option<&'static str> {
        let index = self.in_hand.load(Relaxed).checked_sub(1)?;
        self.names.get(usize::from(index)).copied()
    }

    /// How long it has had the message that is in hand.
    pub(crate) fn in_hand_for(&self, clock: &dyn Clock) -> Duration {
        let now_ms = clock.coarse().as_millis() as u32;
        let taken_ms = self.taken_ms.load(Relaxed);
        match self.in_hand() {
            // Who is ahead has taken it since.
            Some(_) if now_ms.wrapping_sub(taken_ms) < u32::MAX / 2 => {
                Duration::from_millis(now_ms.wrapping_sub(taken_ms).into())
            }
            _ => Duration::ZERO,
        }
    }

    fn busy(&self, clock: &dyn Clock) -> Duration {
        Duration::from_nanos(self.shared.busy_nanos.load(Relaxed)) + self.in_hand_for(clock)
    }

    /// Of its age, and recently, how much of the time it had a message in hand.
    pub(crate) fn busy_shares(&self, clock: &dyn Clock) -> (f64, f64) {
        let now = Noted { at: clock.mono(), busy: self.busy(clock) };
        let since = |then: Noted| {
            let (over, busy) = (now.at.saturating_sub(then.at), now.busy.saturating_sub(then.busy));
            let share = busy.as_secs_f64() / over.as_secs_f64().max(1e-9);
            (share.min(1.0) * 10_000.0).round() / 10_000.0
        };
        let all = since(Noted { at: self.began(), busy: Duration::ZERO });
        (all, self.more.get().map_or(all, |more| since(lock(&more.noted)[0])))
    }

    /// Whoever looks now and then calls it, so that it is known what is recent.
    pub(crate) fn note(&self, clock: &dyn Clock) {
        let Some(more) = self.more.get() else { return };
        let mut noted = lock(&more.noted);
        let at = clock.mono();
        if at.saturating_sub(noted[1].at) >= RECENT {
            *noted = [noted[1], Noted { at, busy: self.busy(clock) }];
        }
    }

    /// Each bucket that counts.
    pub(super) fn histogram(&self, mut count: impl FnMut(usize, &AtomicU64)) {
        if let Some(more) = self.more.get() {
            more.histogram.iter().enumerate().for_each(|(bucket, counter)| count(bucket, counter));
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            busy_micros: self.shared.busy_nanos.load(Relaxed) / 1000,
            max_micros: self.max_micros.load(Relaxed).into(),
            high: self.depth().max(self.high.load(Relaxed).into()),
            ..Totals::default()
        };
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
            totals.histogram = std::array::from_fn(|bucket| more.histogram[bucket].load(Relaxed));
        }
        totals
    }
}

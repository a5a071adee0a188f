//! The order in which actors take their steps. tokio's own order is always the same and hides races; here every step
//! waits for a permit, one permit is given when nothing else can run, and to whom is drawn.

use std::cmp::Reverse;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::trace::NodeTrace;
use crate::map::{FastMap, Map};
use crate::world::{BoxFuture, Gate, GatePoint, RandomStream};

/// How the next step is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// No gate: tokio's own order. Fast, and blind to races.
    Fifo,
    /// Any that waits, each time anew. Finds what needs few steps out of order.
    Random,
    /// Every actor has a random priority, and a few times the one that would run becomes the last of all (probabilistic
    /// concurrency testing). Finds what needs one actor to fall far behind.
    Pct,
}

/// What a panic says that a plan asked for.
pub(super) const PLANNED: &str = "planned by the simulation";

/// Where lowered priorities begin; drawn ones are above.
const LOWERED: u64 = 1 << 32;

pub(super) struct SimGate {
    state: Mutex<State>,
    trace: NodeTrace,
}

struct State {
    schedule: Schedule,
    random: RandomStream,
    waiting: Map<(Reverse<u64>, u64), Arc<Slot>>,
    next: u64,
    priorities: FastMap<Arc<str>, u64>,
    lowest: u64,
    /// A priority is lowered about once in this many steps.
    change_every: u64,
    steps_to_change: u64,
    panics: Vec<Panic>,
}

/// An actor is to panic at one of its steps.
struct Panic {
    path_contains: String,
    skip: u64,
}

struct Slot {
    actor: Option<Arc<str>>,
    point: GatePoint,
    granted: AtomicBool,
    panics: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl SimGate {
    pub(super) fn new(schedule: Schedule, mut random: RandomStream, trace: NodeTrace) -> SimGate {
        let change_every = 16 << random.below(8);
        let state = State {
            schedule,
            steps_to_change: 1 + random.below(2 * change_every),
            random,
            waiting: Map::new(),
            next: 0,
            priorities: FastMap::default(),
            lowest: LOWERED,
            change_every,
            panics: Vec::new(),
        };
        SimGate { state: Mutex::new(state), trace }
    }

    /// Lets an actor whose path contains this panic, after so many more steps of such actors.
    pub(super) fn plan_panic(&self, path_contains: String, skip: u64) {
        lock(&self.state).panics.push(Panic { path_contains, skip });
    }

    /// Gives one permit. Called when nothing on the node can run without one.
    pub(super) fn grant(&self) {
        loop {
            let Some(slot) = lock(&self.state).choose() else { return };
            slot.granted.store(true, Ordering::Relaxed);
            // Without a waker nobody waits any more, and the permit is another's.
            let Some(waker) = lock(&slot.waker).take() else { continue };
            let actor = slot.actor.as_deref().unwrap_or("-");
            self.trace.step(slot.point, actor);
            if lock(&self.state).panics_now(actor) {
                slot.panics.store(true, Ordering::Relaxed);
            }
            waker.wake();
            return;
        }
    }
}

impl State {
    fn choose(&mut self) -> Option<Arc<Slot>> {
        let (_, slot) = self.waiting.pop_first()?;
        if self.schedule != Schedule::Pct {
            return Some(slot);
        }
        self.steps_to_change -= 1;
        if self.steps_to_change > 0 {
            return Some(slot);
        }
        self.steps_to_change = 1 + self.random.below(2 * self.change_every);
        self.lowest -= 1;
        if let Some(actor) = &slot.actor {
            self.priorities.insert(actor.clone(), self.lowest);
        }
        self.next += 1;
        self.waiting.insert((Reverse(self.lowest), self.next), slot);
        self.waiting.pop_first().map(|(_, slot)| slot)
    }

    fn panics_now(&mut self, actor: &str) -> bool {
        let mut now = None;
        for (i, panic) in self.panics.iter_mut().enumerate() {
            match panic.skip.checked_sub(1) {
                _ if !actor.contains(&panic.path_contains) => {}
                Some(left) => panic.skip = left,
                None => now = Some(i),
            }
        }
        now.map(|i| self.panics.remove(i)).is_some()
    }

    fn priority(&mut self, actor: Option<&Arc<str>>) -> u64 {
        let drawn = LOWERED + (self.random.next_u64() >> 1);
        match (self.schedule, actor) {
            (Schedule::Pct, Some(actor)) => *self.priorities.entry(actor.clone()).or_insert(drawn),
            _ => drawn,
        }
    }
}

impl Gate for SimGate {
    fn pass(&self, actor: Option<Arc<str>>, point: GatePoint) -> BoxFuture<'static, ()> {
        let mut state = lock(&self.state);
        let priority = state.priority(actor.as_ref());
        let slot = Arc::new(Slot {
            actor,
            point,
            granted: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        state.next += 1;
        let place = (Reverse(priority), state.next);
        state.waiting.insert(place, slot.clone());
        Box::pin(wait(Waiting(slot)))
    }
}

/// A place in line, left when dropped.
struct Waiting(Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        *lock(&self.0.waker) = None;
    }
}

fn wait(waiting: Waiting) -> impl Future<Output = ()> + Send {
    poll_fn(move |cx| {
        if waiting.0.granted.load(Ordering::Relaxed) {
            assert!(!waiting.0.panics.load(Ordering::Relaxed), "{PLANNED}");
            return Poll::Ready(());
        }
        *lock(&waiting.0.waker) = Some(cx.waker().clone());
        Poll::Pending
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Waiting for a change. Waiters are woken in the order they came, and publishing costs one load while nobody waits.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use arc_swap::ArcSwap;

use crate::map::Map;

/// Says that something changed; what changed is read elsewhere. A long poll over many partitions puts one [`Waiter`] on
/// the pulse of each, looks again, and then waits.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<PulseState>);

#[derive(Debug, Default)]
struct PulseState {
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiters: Map<u64, Arc<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    fired: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Slot {
    fn fire(&self) {
        self.fired.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Pulse {
    pub fn new() -> Pulse {
        Pulse::default()
    }

    /// Wakes all who wait. The change must be visible before.
    pub fn publish(&self) {
        // Pairs with the fence in `Waiter::on`: either the waiter sees the change or this sees the waiter.
        fence(Ordering::SeqCst);
        if self.0.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken = {
            let mut line = lock(&self.0.line);
            self.0.waiting.store(0, Ordering::Relaxed);
            std::mem::take(&mut line.waiters)
        };
        for slot in woken.into_values() {
            slot.fire();
        }
    }

    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

/// Waits for the first of the pulses it was put on. Dropping it leaves all lines.
#[derive(Debug, Default)]
pub struct Waiter {
    slot: Arc<Slot>,
    on: Vec<(Pulse, u64)>,
}

impl Waiter {
    pub fn new() -> Waiter {
        Waiter::default()
    }

    /// Gets in line. Look at the condition after this, not before.
    pub fn on(&mut self, pulse: &Pulse) {
        let place = {
            let mut line = lock(&pulse.0.line);
            let place = line.next;
            line.next += 1;
            line.waiters.insert(place, self.slot.clone());
            pulse.0.waiting.store(line.waiters.len(), Ordering::Relaxed);
            place
        };
        fence(Ordering::SeqCst);
        self.on.push((pulse.clone(), place));
    }

    /// Ends when one of the pulses was published since it was put on them. Then get in line anew.
    pub async fn wait(&mut self) {
        poll_fn(|cx| {
            if self.slot.fired.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let mut waker = lock(&self.slot.waker);
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            if self.slot.fired.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.leave();
        self.slot.fired.store(false, Ordering::Relaxed);
    }

    fn leave(&mut self) {
        for (pulse, place) in self.on.drain(..) {
            let mut line = lock(&pulse.0.line);
            line.waiters.remove(&place);
            if line.waiters.is_empty() {
                // An empty map keeps its last node.
                line.waiters = Map::new();
            }
            pulse.0.waiting.store(line.waiters.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Shared<T> {
    value: ArcSwap<T>,
    version: AtomicU64,
    pulse: Pulse,
}

/// A value that one side replaces and the other reads and waits for.
pub fn watch<T>(first: T) -> (Publisher<T>, Watch<T>) {
    let shared = Arc::new(Shared {
        value: ArcSwap::from_pointee(first),
        version: AtomicU64::new(0),
        pulse: Pulse::new(),
    });
    (Publisher(shared.clone()), Watch { shared, seen: 0 })
}

#[derive(Debug)]
pub struct Publisher<T>(Arc<Shared<T>>);

impl<T> Publisher<T> {
    pub fn publish(&self, value: impl Into<Arc<T>>) {
        self.0.value.store(value.into());
        self.0.version.fetch_add(1, Ordering::Release);
        self.0.pulse.publish();
    }

    pub fn get(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    pub fn subscribe(&self) -> Watch<T> {
        let seen = self.0.version.load(Ordering::Acquire);
        Watch { shared: self.0.clone(), seen }
    }
}

#[derive(Debug)]
pub struct Watch<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Watch { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Watch<T> {
    pub fn get(&self) -> Arc<T> {
        self.shared.value.load_full()
    }

    /// For being one of several that a [`Waiter`] is on.
    pub fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }

    /// The next value that this handle has not returned yet; values in between are skipped.
    pub async fn changed(&mut self) -> Arc<T> {
        let mut waiter = Waiter::new();
        loop {
            waiter.on(&self.shared.pulse);
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return self.get();
            }
            waiter.wait().await;
        }
    }

    /// Waits until the value satisfies the condition.
    pub async fn until(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Arc<T> {
        let mut value = self.get();
        while !wanted(&value) {
            value = self.changed().await;
        }
        value
    }
}

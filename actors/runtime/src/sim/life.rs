//! One life of a node: a runtime of its own, which ends everything in it when it is dropped.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::SimDisk;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::Boot;
use super::clock::{SimClock, Wall};
use super::gate::{Schedule, SimGate};
use super::jobs::{JobTrouble, SimJobs};
use super::net::Network;
use super::random::{Seeds, SimRandom};
use super::stream::SimNet;
use super::trace::{NodeTrace, Trace};
use crate::watch::{Pulse, Waiter};
use crate::world::{Bulkhead, Gate, Handles, Parts, RandomStream, World};

/// What a node boots from.
#[derive(Clone)]
pub struct Life {
    pub world: World,
    /// For what a scenario wants in its trace.
    pub trace: NodeTrace,
    /// 1 for the first.
    pub number: u64,
    stop: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    told: AtomicBool,
    pulse: Pulse,
}

impl Life {
    /// Ends at a [`SimFault::Stop`](super::SimFault::Stop).
    pub async fn told_to_stop(&self) {
        loop {
            let mut waiter = Waiter::new();
            waiter.on(&self.stop.pulse);
            if self.stop.told.load(Ordering::Relaxed) {
                return;
            }
            waiter.wait().await;
        }
    }
}

pub(super) struct Birth<'s> {
    pub(super) name: &'s str,
    pub(super) number: u64,
    pub(super) seeds: Seeds,
    pub(super) schedule: Schedule,
    pub(super) trace: &'s Trace,
    pub(super) network: &'s Arc<Network>,
    pub(super) index: usize,
    pub(super) disk: &'s SimDisk,
    pub(super) wall: &'s Wall,
    pub(super) trouble: &'s Arc<JobTrouble>,
    pub(super) now_ms: u64,
}

pub(super) struct Living {
    runtime: Runtime,
    world: World,
    born_ms: u64,
    start: Instant,
    clock: Arc<SimClock>,
    jobs: Arc<SimJobs>,
    gate: Arc<SimGate>,
    trace: NodeTrace,
    blocking_thread: Arc<AtomicBool>,
    stop: Arc<Stop>,
    /// Somebody may have done something to it.
    touched: Cell<bool>,
    /// It was last run to this time of the run.
    run_to_ms: u64,
}

impl Living {
    pub(super) fn begin(birth: Birth<'_>, boot: &Boot) -> Living {
        let trace = NodeTrace {
            trace: birth.trace.clone(),
            node: birth.name.into(),
            ended: Arc::new(AtomicBool::new(false)),
        };
        trace.note(format_args!("life {}", birth.number));
        let gate =
            Arc::new(SimGate::new(birth.schedule, birth.seeds.stream("schedule"), trace.clone()));
        let blocking_thread = Arc::new(AtomicBool::new(false));
        let runtime = runtime(gate.clone(), blocking_thread.clone());
        let start = runtime.block_on(async { Instant::now() });
        let clock = Arc::new(SimClock {
            start,
            born_ms: birth.now_ms,
            wall: birth.wall.clone(),
            last_ms: AtomicU64::new(0),
            alarms: Mutex::default(),
        });
        let jobs = Arc::new(SimJobs::new(
            runtime.handle().clone(),
            clock.clone(),
            birth.seeds.stream("jobs"),
            trace.clone(),
            birth.trouble.clone(),
        ));
        let asked = (birth.schedule != Schedule::Fifo).then_some(gate.clone() as Arc<dyn Gate>);
        let world = {
            let _inside = runtime.enter();
            World::new(Parts {
                clock: clock.clone(),
                random: Arc::new(SimRandom::new(birth.seeds)),
                net: Arc::new(SimNet::new(birth.network.clone(), clock.clone(), birth.index)),
                disk: birth.disk.mount(),
                jobs: jobs.clone(),
                handles: Handles::shared(runtime.handle().clone()),
                gate: asked,
            })
        };
        let born_ms = birth.now_ms;
        let living = Living {
            runtime,
            world,
            born_ms,
            start,
            clock,
            jobs,
            gate,
            trace,
            blocking_thread,
            stop: Arc::default(),
            touched: Cell::new(true),
            run_to_ms: birth.now_ms,
        };
        living.boot(birth.number, boot);
        living
    }

    fn boot(&self, number: u64, boot: &Boot) {
        let (world, trace, stop) = (self.world.clone(), self.trace.clone(), self.stop.clone());
        let life = Life { world, trace, number, stop };
        let _inside = self.runtime.enter();
        drop(self.world.spawn(Bulkhead::Control, boot(life)));
    }

    pub(super) fn tell_to_stop(&self) {
        self.touched.set(true);
        self.stop.told.store(true, Ordering::Relaxed);
        let _inside = self.runtime.enter();
        self.stop.pulse.publish();
    }

    pub(super) fn world(&self) -> &World {
        self.touched.set(true);
        &self.world
    }

    pub(super) fn gate(&self) -> &SimGate {
        &self.gate
    }

    /// Whether there is anything to do now: a timer of the kit is due, or somebody from outside did something. What the kit knows
    /// nothing of, such as another library's timers, is looked for every [`REST_MS`].
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let due = self.clock.take_due(now_ms - self.born_ms);
        self.touched.take() || due || now_ms >= self.run_to_ms + REST_MS
    }

    /// Lets the time pass in which there is nothing to do.
    pub(super) fn rest_until(&self, until_ms: u64) {
        self.clock.last_ms.store(until_ms - self.born_ms, Ordering::Relaxed);
    }

    pub(super) fn touch(&self) {
        self.touched.set(true);
    }

    /// Runs all there is to do, until the node's clock shows this time of the run.
    pub(super) fn run_until(&mut self, until_ms: u64) {
        let until = self.start + Duration::from_millis(until_ms - self.born_ms);
        self.runtime.block_on(async {
            // After a pause the clock is behind by more than a tick: what is late becomes due at once.
            let late = until.duration_since(Instant::now()).saturating_sub(TICK);
            if !late.is_zero() {
                tokio::time::advance(late).await;
            }
            tokio::time::sleep_until(until).await;
        });
        self.run_to_ms = until_ms;
        self.clock.last_ms.store(until_ms - self.born_ms, Ordering::Relaxed);
        assert!(
            !self.blocking_thread.load(Ordering::Relaxed),
            "a node under simulation used tokio's blocking threads; blocking work goes through World::blocking"
        );
    }

    /// The first step of dying.
    pub(super) fn cut_jobs(&self, disk: &SimDisk, random: &mut RandomStream) {
        let _inside = self.runtime.enter();
        self.jobs.cut(disk, random);
    }

    /// The last step of dying.
    pub(super) fn end(self) {
        self.trace.note(format_args!("dead"));
        self.trace.ended.store(true, Ordering::Relaxed);
        drop(self.runtime);
        self.jobs.forget();
    }
}

const TICK: Duration = Duration::from_millis(1);
/// A node rests for so long at the most.
const REST_MS: u64 = 10;

#[expect(clippy::expect_used, reason = "without sockets and threads there is nothing to fail")]
fn runtime(gate: Arc<SimGate>, blocking_thread: Arc<AtomicBool>) -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || gate.grant())
        // On this kind of runtime the only threads are those of `spawn_blocking`.
        .on_thread_start(move || blocking_thread.store(true, Ordering::Relaxed))
        .build()
        .expect("a runtime without IO")
}

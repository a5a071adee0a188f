//! One life of a node: a runtime of its own, which ends everything in it when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use disk::SimDisk;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::Boot;
use super::clock::{SimClock, Wall};
use super::gate::{Schedule, SimGate};
use super::jobs::SimJobs;
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
    pub(super) slow: &'s Arc<AtomicU64>,
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
        });
        let jobs = Arc::new(SimJobs::new(
            runtime.handle().clone(),
            birth.seeds.stream("jobs"),
            trace.clone(),
            birth.slow.clone(),
        ));
        let asked = (birth.schedule != Schedule::Fifo).then_some(gate.clone() as Arc<dyn Gate>);
        let world = {
            let _inside = runtime.enter();
            World::new(Parts {
                clock: clock.clone(),
                random: Arc::new(SimRandom::new(birth.seeds)),
                net: Arc::new(SimNet::new(birth.network.clone(), birth.index)),
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
        self.stop.told.store(true, Ordering::Relaxed);
        let _inside = self.runtime.enter();
        self.stop.pulse.publish();
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn gate(&self) -> &SimGate {
        &self.gate
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

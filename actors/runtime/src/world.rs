//! What a node meets from outside: clock, random numbers, network, disk, blocking jobs and the threads it runs on. Real in
//! production; in simulation every part answers from the seed.

mod bulkheads;
mod clock;
mod jobs;
mod net;
mod random;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use model::Now;

use crate::loggers::Loggers;
use crate::metrics::Registry;

pub use bulkheads::{Bulkhead, BulkheadSizes, Bulkheads, Handles};
pub use clock::{Clock, RealClock, TimedOut};
pub use jobs::{Job, JobLost, JobQueue, Jobs, RealJobs};
pub use net::{
    BoxStream, ConnectOptions, ListenOptions, Listener, Net, NetStream, RealNet, SimListener,
    SimStream,
};
pub use random::{Random, RandomStream, RealRandom};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an actor asks the simulator for its turn. Absent in production.
pub trait Gate: Send + Sync + 'static {
    /// Ends when the asking actor is given the next step. `actor` is its path, `None` for a task that is no actor.
    fn pass(&self, actor: Option<Arc<str>>, point: GatePoint) -> BoxFuture<'static, ()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatePoint {
    /// Before a message is handled.
    Handle,
    /// Before a message is sent.
    Send,
}

/// The parts a world is made of.
#[derive(Clone)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub net: Arc<dyn Net>,
    pub disk: Arc<dyn Disk>,
    pub jobs: Arc<dyn Jobs>,
    pub handles: Handles,
    pub gate: Option<Arc<dyn Gate>>,
}

/// One node's view of everything outside it. Cheap to clone.
#[derive(Clone)]
pub struct World {
    parts: Arc<Parts>,
    /// Of jobs that work on no disk.
    queue: JobQueue,
    registry: Registry,
    loggers: Loggers,
}

impl World {
    pub fn new(parts: Parts) -> World {
        crate::panics::install_hook();
        let registry = Registry::new(parts.clock.clone());
        let queue = JobQueue::new("node");
        World { parts: Arc::new(parts), queue, registry, loggers: Loggers::default() }
    }

    /// The real clock, network, random numbers and blocking pool, running on `handles`.
    pub fn real(handles: Handles, disk: Arc<dyn Disk>) -> World {
        World::real_with(handles, disk, usize::MAX)
    }

    /// As [`World::real`], where so many connections at most are to be accepted and open at a time.
    pub fn real_with(handles: Handles, disk: Arc<dyn Disk>, most_accepted: usize) -> World {
        let jobs = Arc::new(RealJobs::new(handles.get(Bulkhead::Storage).clone()));
        World::new(Parts {
            clock: Arc::new(RealClock::new()),
            random: Arc::new(RealRandom),
            net: Arc::new(RealNet { most_accepted }),
            disk,
            jobs,
            handles,
            gate: None,
        })
    }

    pub fn now(&self) -> Now {
        self.parts.clock.now()
    }

    /// Since the node started, on the clock that never jumps.
    pub fn mono(&self) -> Duration {
        self.parts.clock.mono()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    pub async fn sleep(&self, delay: Duration) {
        self.parts.clock.alarm(delay);
        tokio::time::sleep(delay).await;
    }

    /// Sleeps until the monotonic clock shows `deadline`.
    pub async fn sleep_until(&self, deadline: Duration) {
        self.sleep(deadline.saturating_sub(self.mono())).await;
    }

    pub async fn timeout<F: Future>(
        &self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, TimedOut> {
        self.parts.clock.alarm(limit);
        tokio::time::timeout(limit, work).await.map_err(|_| TimedOut)
    }

    /// A stream of random numbers; in simulation every purpose has its own, so that one more draw here changes nothing there.
    pub fn random(&self, purpose: &str) -> RandomStream {
        RandomStream::from_seed(self.parts.random.seed(purpose))
    }

    pub fn net(&self) -> &dyn Net {
        &*self.parts.net
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.parts.disk
    }

    /// Runs what would hold up a thread for its computing, on the bounded pool. A panic in it is an error here.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobLost> {
        self.blocking_in(&self.queue, name, job).await
    }

    /// As [`World::blocking`], where a disk may block it (fsync, recovery, compaction, cold reads).
    pub async fn blocking_in<T: Send + 'static>(
        &self,
        queue: &JobQueue,
        name: &'static str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobLost> {
        jobs::run(&*self.parts.jobs, (queue, self.parts.handles.jobs), name, job).await
    }

    /// Runs a future beside the actors. Inside an actor use `Cx::spawn_task`, which ends it with the actor.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    pub fn spawn(
        &self,
        bulkhead: Bulkhead,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        Task(self.parts.handles.get(bulkhead).spawn(future))
    }

    /// The same world, which connects and listens by another network.
    #[must_use]
    pub fn with_net(self, net: Arc<dyn Net>) -> World {
        World { parts: Arc::new(Parts { net, ..(*self.parts).clone() }), ..self }
    }

    /// The same world, in a process with these loggers.
    #[must_use]
    pub fn with_loggers(self, loggers: Loggers) -> World {
        World { loggers, ..self }
    }

    /// Those of the process, which the node may alter.
    pub fn loggers(&self) -> &Loggers {
        &self.loggers
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn handles(&self) -> &Handles {
        &self.parts.handles
    }

    pub(crate) fn queue(&self) -> &JobQueue {
        &self.queue
    }

    pub(crate) fn gate(&self) -> Option<&Arc<dyn Gate>> {
        self.parts.gate.as_ref()
    }
}

/// A spawned future. Dropping it lets the future run on.
#[derive(Debug)]
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    pub fn abort(&self) {
        self.0.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ends when the future has ended and is dropped, also where it was aborted or panicked.
    pub async fn join(self) {
        let _ = self.0.await;
    }
}

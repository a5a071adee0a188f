//! Blocking jobs: each takes a drawn virtual time, then runs in one step. One that is under way when its node dies gets
//! so far and no further.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::SimDisk;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::clock::SimClock;
use super::trace::NodeTrace;
use crate::map::Map;
use crate::world::{BoxFuture, Clock, Job, JobLost, Jobs, RandomStream};

/// How soon a job that hung is seen to go on.
const LOOK: Duration = Duration::from_millis(100);

/// A job that is cut off does at most this many disk operations.
const MAX_CUT: u64 = 12;

pub(super) struct SimJobs {
    handle: Handle,
    clock: Arc<SimClock>,
    trace: NodeTrace,
    state: Arc<Mutex<State>>,
}

struct State {
    random: RandomStream,
    next: u64,
    under_way: Map<u64, (&'static str, Job)>,
    never_begun: Vec<Job>,
    trouble: Arc<JobTrouble>,
}

/// What is wrong with the disks, as jobs see it.
#[derive(Default)]
pub(super) struct JobTrouble {
    /// By how much longer each may take, milliseconds.
    slow: AtomicU64,
    /// Those of queues whose name contains it do not end.
    hanging: Mutex<Option<String>>,
}

impl JobTrouble {
    pub(super) fn slow_down(&self, by: Duration) {
        self.slow.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn hang(&self, queue: Option<String>) {
        *lock(&self.hanging) = queue;
    }

    fn hangs(&self, queue: &str) -> bool {
        lock(&self.hanging).as_ref().is_some_and(|hanging| queue.contains(hanging))
    }
}

impl SimJobs {
    pub(super) fn new(
        handle: Handle,
        clock: Arc<SimClock>,
        random: RandomStream,
        trace: NodeTrace,
        trouble: Arc<JobTrouble>,
    ) -> SimJobs {
        let (under_way, never_begun) = (Map::new(), Vec::new());
        let state = State { random, next: 0, under_way, never_begun, trouble };
        SimJobs { handle, clock, trace, state: Arc::new(Mutex::new(state)) }
    }

    /// The node dies: of the jobs under way some have not begun, the others end at a drawn disk operation. The former
    /// are dropped by [`forget`](Self::forget), when the node can no longer reach anything.
    pub(super) fn cut(&self, disk: &SimDisk, random: &mut RandomStream) {
        let under_way = std::mem::take(&mut lock(&self.state).under_way);
        for (name, job) in under_way.into_values() {
            let ops = random.below(2 * MAX_CUT);
            if ops > MAX_CUT {
                lock(&self.state).never_begun.push(job);
                continue;
            }
            self.trace.note(format_args!("job {name} is cut after {ops} operations"));
            disk.set_budget(Some(ops));
            // It dies with its node, however it takes the failing disk.
            drop(catch_unwind(AssertUnwindSafe(job)));
        }
    }

    pub(super) fn forget(&self) {
        // Dropped outside the lock: a job may hold the world that holds this.
        let jobs = std::mem::take(&mut lock(&self.state).never_begun);
        drop(jobs);
    }
}

impl Jobs for SimJobs {
    /// The job runs to its end also where the future is dropped, as one on a thread of its own would.
    #[expect(clippy::disallowed_methods, reason = "jobs outlive the tasks that wait for them")]
    fn run(
        &self,
        queue: &Arc<str>,
        name: &'static str,
        job: Job,
    ) -> BoxFuture<'static, Result<(), JobLost>> {
        let (id, takes, trouble) = {
            let mut state = lock(&self.state);
            state.next += 1;
            let id = state.next;
            let most = if state.random.below(8) == 0 { 50 } else { 4 };
            let slow = state.trouble.slow.load(Ordering::Relaxed);
            let takes = Duration::from_millis(state.random.below(most + slow));
            state.under_way.insert(id, (name, job));
            (id, takes, state.trouble.clone())
        };
        let (done, ended) = oneshot::channel();
        let (state, trace, clock) = (self.state.clone(), self.trace.clone(), self.clock.clone());
        let queue = queue.clone();
        self.handle.spawn(async move {
            clock.alarm(takes);
            tokio::time::sleep(takes).await;
            while trouble.hangs(&queue) {
                clock.alarm(LOOK);
                tokio::time::sleep(LOOK).await;
            }
            let job = lock(&state).under_way.remove(&id);
            if let Some((name, job)) = job {
                trace.note(format_args!("job {name}"));
                job();
                let _ = done.send(());
            }
        });
        Box::pin(async move { ended.await.map_err(|_| JobLost::Stopping) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

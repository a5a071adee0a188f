use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::BoxFuture;
use crate::panics;
use crate::request::RequestId;

/// Of one queue, unless `background.threads` says something else.
pub(super) const JOBS_AT_ONCE: usize = 16;

pub type Job = Box<dyn FnOnce() + Send>;

/// Runs what blocks. The future ends when the job has run; an error means it never did, or not to its end.
pub trait Jobs: Send + Sync + 'static {
    /// `queue` is the name of the job's [`JobQueue`].
    fn run(
        &self,
        queue: &Arc<str>,
        name: &'static str,
        job: Job,
    ) -> BoxFuture<'static, Result<(), JobLost>>;
}

/// Of the jobs of one queue a bounded number runs at a time, the rest wait in order. Jobs that may hang together, with the
/// disk that they work on, have a queue of their own, so that all others go on.
#[derive(Debug, Clone)]
pub struct JobQueue(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    name: Arc<str>,
    /// As many as the node's jobs, unless something else is asked for.
    slots: OnceLock<Arc<Semaphore>>,
}

impl JobQueue {
    /// By what they work on, which is a path where it is a disk.
    pub fn new(name: &str) -> JobQueue {
        JobQueue(Arc::new(Queue { name: name.into(), slots: OnceLock::new() }))
    }

    fn slots(&self, at_once: usize) -> Arc<Semaphore> {
        self.0.slots.get_or_init(|| Arc::new(Semaphore::new(at_once))).clone()
    }

    #[cfg(test)]
    pub(crate) fn of(name: &str, at_once: usize) -> JobQueue {
        let queue = JobQueue::new(name);
        queue.slots(at_once);
        queue
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobLost {
    #[error("panicked: {0}")]
    Panicked(String),
    #[error("the node is stopping")]
    Stopping,
}

/// On tokio's blocking threads.
pub struct RealJobs {
    handle: Handle,
}

impl RealJobs {
    pub fn new(handle: Handle) -> RealJobs {
        RealJobs { handle }
    }
}

impl Jobs for RealJobs {
    fn run(
        &self,
        _queue: &Arc<str>,
        _name: &'static str,
        job: Job,
    ) -> BoxFuture<'static, Result<(), JobLost>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            #[expect(clippy::disallowed_methods, reason = "the one place that runs blocking jobs")]
            let running = handle.spawn_blocking(job);
            running.await.map_err(|_| JobLost::Stopping)
        })
    }
}

pub(super) async fn run<T: Send + 'static>(
    jobs: &dyn Jobs,
    (queue, at_once): (&JobQueue, usize),
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobLost> {
    let slot = queue.slots(at_once).acquire_owned().await.map_err(|_| JobLost::Stopping)?;
    let (done, result) = oneshot::channel();
    let request = RequestId::current();
    let body = Box::new(move || {
        let _entered = RequestId::enter(request);
        let caught = panics::catch(AssertUnwindSafe(job));
        drop(slot);
        let _ = done.send(caught.map_err(|failure| JobLost::Panicked(failure.to_string())));
    });
    jobs.run(&queue.0.name, name, body).await?;
    result.await.unwrap_or(Err(JobLost::Stopping))
}

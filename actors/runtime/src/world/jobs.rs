use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::BoxFuture;
use crate::panics;

pub type Job = Box<dyn FnOnce() + Send>;

/// Runs what blocks. The future ends when the job has run; an error means it never did, or not to its end.
pub trait Jobs: Send + Sync + 'static {
    fn run(&self, name: &'static str, job: Job) -> BoxFuture<'static, Result<(), JobLost>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobLost {
    #[error("panicked: {0}")]
    Panicked(String),
    #[error("the node is stopping")]
    Stopping,
}

/// A bounded number of jobs at a time on tokio's blocking threads; the rest wait in order.
pub struct RealJobs {
    handle: Handle,
    slots: Arc<Semaphore>,
}

impl RealJobs {
    pub fn new(handle: Handle, at_once: usize) -> RealJobs {
        RealJobs { handle, slots: Arc::new(Semaphore::new(at_once)) }
    }
}

impl Jobs for RealJobs {
    fn run(&self, _name: &'static str, job: Job) -> BoxFuture<'static, Result<(), JobLost>> {
        let (handle, slots) = (self.handle.clone(), self.slots.clone());
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(|_| JobLost::Stopping)?;
            #[expect(clippy::disallowed_methods, reason = "the one place that runs blocking jobs")]
            let running = handle.spawn_blocking(move || {
                job();
                drop(slot);
            });
            running.await.map_err(|_| JobLost::Stopping)
        })
    }
}

pub(super) async fn run<T: Send + 'static>(
    jobs: &dyn Jobs,
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobLost> {
    let (done, result) = oneshot::channel();
    let body = Box::new(move || {
        let caught = panics::catch(AssertUnwindSafe(job));
        let _ = done.send(caught.map_err(|failure| JobLost::Panicked(failure.to_string())));
    });
    jobs.run(name, body).await?;
    result.await.unwrap_or(Err(JobLost::Stopping))
}

//! Threads kept apart, so that slow disks do not hold up connections, neither holds up the controller, and users' actors hold up each other
//! alone.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::jobs::JOBS_AT_ONCE;

/// Threads for blocking jobs, of all queues and all that tokio has beside them.
const MOST_BLOCKING: usize = 1024;

/// On whose threads an actor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Bulkhead {
    Network,
    Storage,
    #[default]
    Control,
    /// Of what users add to a node, and all below it that says nothing else.
    Extensions,
}

impl Bulkhead {
    pub const ALL: [Bulkhead; 4] =
        [Bulkhead::Network, Bulkhead::Storage, Bulkhead::Control, Bulkhead::Extensions];

    /// That of a child of an actor on the other.
    pub(crate) fn below(self, parent: Bulkhead) -> Bulkhead {
        match (self, parent) {
            (Bulkhead::Control, Bulkhead::Extensions) => Bulkhead::Extensions,
            (own, _) => own,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Bulkhead::Network => "network",
            Bulkhead::Storage => "storage",
            Bulkhead::Control => "control",
            Bulkhead::Extensions => "extensions",
        }
    }
}

/// Threads per bulkhead; 0 shares those of the network. And how many blocking jobs of each queue run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkheadSizes {
    pub network: usize,
    pub storage: usize,
    pub control: usize,
    pub jobs: usize,
}

impl BulkheadSizes {
    /// Below four cores a thread hop costs more than the separation gains: all share.
    pub fn for_cores(cores: usize) -> BulkheadSizes {
        let (network, storage, control) = match cores {
            0..4 => (cores.max(1), 0, 0),
            _ => (cores / 2, cores - cores / 2 - 1, 1),
        };
        BulkheadSizes { network, storage, control, jobs: JOBS_AT_ONCE }
    }

    #[expect(clippy::disallowed_methods, reason = "sizes real thread pools")]
    pub fn for_this_machine() -> BulkheadSizes {
        Self::for_cores(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }
}

/// Where to spawn, by bulkhead.
#[derive(Debug, Clone)]
pub struct Handles {
    handles: [Handle; 3],
    /// Where they are not on those of the control.
    extensions: Option<Arc<Extensions>>,
    pub(super) jobs: usize,
}

impl Handles {
    /// All bulkheads on one runtime: simulation, and tests.
    pub fn shared(handle: Handle) -> Handles {
        let handles = [handle.clone(), handle.clone(), handle];
        Handles { handles, extensions: None, jobs: JOBS_AT_ONCE }
    }

    /// All on the runtime that runs the caller. Panics outside of one.
    pub fn current() -> Handles {
        Self::shared(Handle::current())
    }

    /// With threads of their own for extensions, from the first of them on.
    #[must_use]
    pub fn with_extensions_apart(self) -> Handles {
        Handles { extensions: Some(Arc::default()), ..self }
    }

    pub fn get(&self, bulkhead: Bulkhead) -> &Handle {
        let control = &self.handles[Bulkhead::Control as usize];
        match (bulkhead, &self.extensions) {
            (Bulkhead::Extensions, Some(apart)) => apart.handle().unwrap_or(control),
            (Bulkhead::Extensions, None) => control,
            (own, _) => &self.handles[own as usize],
        }
    }
}

/// Begun when there is somebody to run: most nodes have none.
#[derive(Debug, Default)]
struct Extensions(OnceLock<Option<Runtime>>);

impl Extensions {
    fn handle(&self) -> Option<&Handle> {
        let begin = || {
            let begun = runtime(Bulkhead::Extensions.name(), threads_of_extensions());
            begun.map_err(|error| tracing::error!(%error, "no threads for extensions")).ok()
        };
        self.0.get_or_init(begin).as_ref().map(Runtime::handle)
    }
}

/// One that blocks leaves one to the others.
#[expect(clippy::disallowed_methods, reason = "sizes a real thread pool")]
fn threads_of_extensions() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()).max(2)
}

/// Who blocks is not waited for: it may be for ever.
impl Drop for Extensions {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// The runtimes themselves; whoever holds them decides when their threads end.
#[derive(Debug)]
pub struct Bulkheads {
    network: Runtime,
    storage: Option<Runtime>,
    control: Option<Runtime>,
    jobs: usize,
}

impl Bulkheads {
    pub fn new(sizes: BulkheadSizes) -> io::Result<Bulkheads> {
        let optional = |name, threads| match threads {
            0 => Ok(None),
            _ => runtime(name, threads).map(Some),
        };
        Ok(Bulkheads {
            network: runtime("network", sizes.network.max(1))?,
            storage: optional("storage", sizes.storage)?,
            control: optional("control", sizes.control)?,
            jobs: sizes.jobs.max(1),
        })
    }

    pub fn handles(&self) -> Handles {
        let network = self.network.handle();
        let or_network =
            |own: &Option<Runtime>| own.as_ref().map_or(network, Runtime::handle).clone();
        let handles = [network.clone(), or_network(&self.storage), or_network(&self.control)];
        Handles { handles, extensions: Some(Arc::default()), jobs: self.jobs }
    }

    /// Runs the caller's future here, on this thread.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.network.block_on(future)
    }

    /// Ends the threads, waiting this long for blocking jobs in flight.
    pub fn shutdown(self, wait: Duration) {
        for runtime in [self.control, Some(self.network), self.storage].into_iter().flatten() {
            runtime.shutdown_timeout(wait);
        }
    }
}

fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    let begun = AtomicUsize::new(0);
    // The workers begin with the runtime; all others run what blocks.
    let name = move || match begun.fetch_add(1, Ordering::Relaxed) {
        of_workers if of_workers < threads => format!("ottla-{name}"),
        _ => format!("ottla-{name}-jobs"),
    };
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name_fn(name)
        // Their queues bound them: tokio starts one more whenever none is idle yet, and each costs memory of its own.
        .max_blocking_threads(MOST_BLOCKING)
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_no_extensions_has_no_threads_for_them() {
        let handles = Handles::current().with_extensions_apart();
        let is_begun = || handles.extensions.as_ref().is_some_and(|apart| apart.0.get().is_some());
        for bulkhead in [Bulkhead::Network, Bulkhead::Storage, Bulkhead::Control] {
            assert_eq!(handles.get(bulkhead).id(), Handle::current().id());
        }
        assert!(!is_begun());
        assert_ne!(handles.get(Bulkhead::Extensions).id(), Handle::current().id());
        assert!(is_begun());
    }
}

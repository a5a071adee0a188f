//! Threads kept apart, so that slow disks do not hold up connections and neither holds up the controller.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
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
}

impl Bulkhead {
    pub const ALL: [Bulkhead; 3] = [Bulkhead::Network, Bulkhead::Storage, Bulkhead::Control];

    pub fn name(self) -> &'static str {
        match self {
            Bulkhead::Network => "network",
            Bulkhead::Storage => "storage",
            Bulkhead::Control => "control",
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
    pub(super) jobs: usize,
}

impl Handles {
    /// All bulkheads on one runtime: simulation, tests, and programs that bring their own.
    pub fn shared(handle: Handle) -> Handles {
        Handles { handles: [handle.clone(), handle.clone(), handle], jobs: JOBS_AT_ONCE }
    }

    /// All on the runtime that runs the caller. Panics outside of one.
    pub fn current() -> Handles {
        Self::shared(Handle::current())
    }

    pub fn get(&self, bulkhead: Bulkhead) -> &Handle {
        &self.handles[bulkhead as usize]
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
        Handles { handles, jobs: self.jobs }
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

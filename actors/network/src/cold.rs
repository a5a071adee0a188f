//! Reads of what is no longer in memory: beside the threads that serve connections, and a few at a time.

use runtime::{Counter, Credits, World};

/// Half of the jobs that run at once: a disk that hangs under readers leaves the others to those who write.
const AT_ONCE: u64 = 8;

/// As much as this is had in memory at a time before it is sent.
pub(crate) const AHEAD: usize = 512 * 1024;

pub(crate) struct ColdReads {
    world: World,
    at_once: Credits,
}

impl ColdReads {
    pub(crate) fn new(world: World) -> ColdReads {
        ColdReads { world, at_once: Credits::new(AT_ONCE) }
    }

    /// Runs this when its turn comes; it then runs to its end also where nobody waits for it any more.
    pub(crate) fn run(
        &self,
        counter: &Counter,
        read: impl FnOnce() + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        counter.add(1);
        let (world, at_once) = (self.world.clone(), self.at_once.clone());
        async move {
            let turn = at_once.take(1).await;
            let job = move || {
                read();
                drop(turn);
            };
            // What could not be read fails again where it is needed.
            let _ = world.blocking("cold read", job).await;
        }
    }
}

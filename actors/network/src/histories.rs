//! Since when things are as they are. The metadata log is read from its beginning for that: once for all who ask meanwhile, and not
//! all the time, however often somebody asks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorum::{History, PartitionKey};
use runtime::{Bulkhead, Credit, Credits, Failure, JobQueue, World};

/// For so long what was read is told to others, too, where nothing is newer.
const FRESH: Duration = Duration::from_secs(1);
/// As long as it took to read it is not read again, but no longer than this.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// Of so many partitions is read at once; who asks for more waits for its own turn.
const MOST_WANTED: usize = 10_000;

pub(crate) struct Histories {
    /// Of the one that reads.
    turn: Credits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By those who wait for their turn.
    wanted: BTreeSet<PartitionKey>,
    newest: Option<Newest>,
}

#[derive(Clone)]
struct Newest {
    /// The metadata up to here is in it.
    at: i64,
    of: Arc<BTreeSet<PartitionKey>>,
    history: Arc<History>,
}

impl Histories {
    pub(crate) fn new() -> Arc<Histories> {
        Arc::new(Histories { turn: Credits::new(1), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these partitions, maybe of others, too, with all that the metadata has at `now`, an offset of it. `place` is asked for how
    /// it is read only where it has to be. None where that cannot be done.
    pub(crate) async fn of<R>(
        self: &Arc<Histories>,
        world: &World,
        keys: &BTreeSet<PartitionKey>,
        now: impl Fn() -> i64,
        place: impl Future<Output = Option<R>>,
    ) -> Option<Arc<History>>
    where
        R: FnOnce(&BTreeSet<PartitionKey>) -> Result<History, Failure> + Send + 'static,
    {
        let asked_at = now();
        if let Some(fresh) = self.fresh(keys, asked_at) {
            return Some(fresh);
        }
        self.want(keys);
        let turn = self.turn.take(1).await;
        if let Some(fresh) = self.fresh(keys, asked_at) {
            return Some(fresh);
        }
        let read_at = now();
        let read = place.await?;
        let of = self.all_wanted(keys);
        let (all, at) = (self.clone(), world.clone());
        // It may hang with its disk: that holds up who asks for this, and nobody else.
        let job = move || {
            let begun = at.mono();
            let read = read(&of);
            let read = read
                .inspect_err(|error| tracing::warn!(%error, "the metadata log's past is not told"));
            let newest = read.ok().map(|read| Newest {
                at: read_at,
                of: Arc::new(of),
                history: Arc::new(read),
            });
            all.state().newest = newest.clone();
            let took = at.mono().saturating_sub(begun);
            all.rest(&at, turn, took);
            newest.map(|newest| newest.history)
        };
        let queue = JobQueue::new("metadata history");
        world.blocking_in(&queue, "metadata history", job).await.ok()?
    }

    fn fresh(&self, keys: &BTreeSet<PartitionKey>, at: i64) -> Option<Arc<History>> {
        let state = self.state();
        let newest = state.newest.as_ref().filter(|newest| newest.at >= at)?;
        let newest = Some(newest).filter(|newest| keys.is_subset(&newest.of))?;
        Some(newest.history.clone())
    }

    fn want(&self, keys: &BTreeSet<PartitionKey>) {
        let mut state = self.state();
        if state.wanted.len() + keys.len() <= MOST_WANTED {
            state.wanted.extend(keys);
        }
    }

    fn all_wanted(&self, keys: &BTreeSet<PartitionKey>) -> BTreeSet<PartitionKey> {
        let mut wanted = std::mem::take(&mut self.state().wanted);
        wanted.extend(keys);
        wanted
    }

    /// The turn ends later, and what was read is forgotten in the end.
    fn rest(self: &Arc<Histories>, world: &World, turn: Credit, took: Duration) {
        let (all, at) = (self.clone(), world.clone());
        let read = self.state().newest.clone();
        world.spawn(Bulkhead::Network, async move {
            at.sleep(took.min(LONGEST_REST)).await;
            drop(turn);
            at.sleep(FRESH).await;
            let mut state = all.state();
            let is_newest = |newest: &Newest| {
                read.as_ref().is_some_and(|read| Arc::ptr_eq(&read.of, &newest.of))
            };
            if state.newest.as_ref().is_some_and(is_newest) {
                state.newest = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering};

    use disk::RealDisk;
    use model::Uuid;
    use runtime::Handles;

    use super::*;

    const TOPIC: Uuid = Uuid([7; 16]);
    const CLIENTS: i32 = 50;

    fn of(partition: i32) -> BTreeSet<PartitionKey> {
        BTreeSet::from([(TOPIC, partition)])
    }

    #[tokio::test]
    async fn the_log_is_read_once_for_all_who_ask_meanwhile_and_not_again_at_once() {
        let world = World::real(Handles::current(), Arc::new(RealDisk::new()));
        let (histories, reads) = (Histories::new(), Arc::new(AtomicUsize::new(0)));
        let offset = Arc::new(AtomicI64::new(7));
        let ask = |partition: i32| {
            let offset = offset.clone();
            let (histories, reads, world) = (histories.clone(), reads.clone(), world.clone());
            async move {
                let read = move |keys: &BTreeSet<PartitionKey>| {
                    assert!(keys.contains(&(TOPIC, partition)));
                    reads.fetch_add(1, Ordering::Relaxed);
                    Ok(History::default())
                };
                let now = || offset.load(Ordering::Relaxed);
                histories.of(&world, &of(partition), now, async { Some(read) }).await.map(drop)
            }
        };
        let answered = Arc::new(AtomicI32::new(0));
        let asks = (0..CLIENTS).map(|partition| {
            let (ask, answered) = (ask(partition), answered.clone());
            world.spawn(Bulkhead::Network, async move {
                assert_eq!(ask.await, Some(()));
                answered.fetch_add(1, Ordering::Relaxed);
            })
        });
        for asked in asks.collect::<Vec<_>>() {
            asked.join().await;
        }
        assert_eq!(answered.load(Ordering::Relaxed), CLIENTS);
        assert!(reads.load(Ordering::Relaxed) <= 2, "{reads:?}: the first, and one for the rest");
        for _ in 0..CLIENTS {
            assert_eq!(ask(CLIENTS - 1).await, Some(()));
        }
        assert!(reads.load(Ordering::Relaxed) <= 2, "{reads:?}: it is known by now");
        let before = reads.load(Ordering::Relaxed);
        offset.store(8, Ordering::Relaxed);
        assert_eq!(ask(0).await, Some(()));
        assert_eq!(reads.swap(0, Ordering::Relaxed), before + 1, "there was news");
        while histories.state().newest.is_some() {
            world.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(ask(0).await, Some(()));
        assert_eq!(reads.load(Ordering::Relaxed), 1, "it had been forgotten");
    }

    #[tokio::test]
    async fn one_that_fails_is_no_answer_and_the_next_is_asked() {
        let world = World::real(Handles::current(), Arc::new(RealDisk::new()));
        let histories = Histories::new();
        let fails = |_: &BTreeSet<PartitionKey>| Err(Failure::new("the disk is gone"));
        assert!(histories.of(&world, &of(0), || 0, async { Some(fails) }).await.is_none());
        let reads = |_: &BTreeSet<PartitionKey>| Ok(History::default());
        assert!(histories.of(&world, &of(0), || 0, async { Some(reads) }).await.is_some());
    }
}

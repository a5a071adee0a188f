//! Producer ids, handed out from blocks that the controller allocates.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ErrorCode, ProducerId};
use runtime::{BoxFuture, Pulse, Waiter};

/// Ids that no other broker gives out.
pub type Block = Range<i64>;

/// Why there is no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBlock {
    #[error("the controller cannot be asked: {0}")]
    Unreachable(String),
    #[error("the controller refused: {}", .0.name())]
    Refused(ErrorCode),
    #[error("the controller gave an empty block")]
    Empty,
}

/// Asks the controller for a block.
pub type AllocateBlock = Arc<dyn Fn() -> BoxFuture<'static, Result<Block, NoBlock>> + Send + Sync>;

/// The block in use. One who finds it used up fetches the next; whoever comes meanwhile waits for that.
pub(crate) struct ProducerIds {
    allocate: AllocateBlock,
    state: Mutex<State>,
    refilled: Pulse,
}

#[derive(Debug)]
struct State {
    left: Block,
    refilling: bool,
}

impl ProducerIds {
    pub(crate) fn new(allocate: AllocateBlock) -> ProducerIds {
        let state = Mutex::new(State { left: 0..0, refilling: false });
        ProducerIds { allocate, state, refilled: Pulse::new() }
    }

    pub(crate) async fn next(&self) -> Result<ProducerId, NoBlock> {
        let mut waiter = Waiter::new();
        loop {
            waiter.on(&self.refilled);
            match self.take() {
                Taken::Id(id) => return Ok(id),
                Taken::Refill => {
                    let refill = Refill { ids: self };
                    let block = (self.allocate)().await?;
                    if block.is_empty() || block.start < 0 {
                        return Err(NoBlock::Empty);
                    }
                    self.lock().left = block;
                    drop(refill);
                }
                Taken::Wait => waiter.wait().await,
            }
        }
    }

    fn take(&self) -> Taken {
        let mut state = self.lock();
        if let Some(id) = state.left.next() {
            return Taken::Id(ProducerId(id));
        }
        if std::mem::replace(&mut state.refilling, true) { Taken::Wait } else { Taken::Refill }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Taken {
    Id(ProducerId),
    Refill,
    Wait,
}

/// Under way; dropped, also with its connection, it lets another try.
struct Refill<'a> {
    ids: &'a ProducerIds,
}

impl Drop for Refill<'_> {
    fn drop(&mut self) {
        self.ids.lock().refilling = false;
        self.ids.refilled.publish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn blocks_of(size: i64, asked: Arc<AtomicI64>) -> AllocateBlock {
        Arc::new(move || {
            let first = asked.fetch_add(1, Ordering::Relaxed) * size;
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(first..first + size)
            })
        })
    }

    #[tokio::test]
    async fn ids_are_given_once_and_blocks_are_asked_for_one_at_a_time() {
        let asked = Arc::new(AtomicI64::new(0));
        let ids = ProducerIds::new(blocks_of(10, asked.clone()));
        let mut given = Vec::new();
        for _ in 0..5 {
            let (a, b, c, d) = tokio::join!(ids.next(), ids.next(), ids.next(), ids.next());
            given.extend([a, b, c, d].map(|id| id.unwrap().0));
        }
        given.sort_unstable();
        assert_eq!(given, (0..20).collect::<Vec<_>>());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_refill_that_fails_or_is_dropped_lets_the_next_one_try() {
        let asked = Arc::new(AtomicI64::new(0));
        let calls = asked.clone();
        let allocate: AllocateBlock =
            Arc::new(move || match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Box::pin(async { Err(NoBlock::Refused(ErrorCode::StaleBrokerEpoch)) }),
                1 => Box::pin(std::future::pending()),
                _ => Box::pin(async { Ok(7..8) }),
            });
        let ids = ProducerIds::new(allocate);
        assert_eq!(ids.next().await, Err(NoBlock::Refused(ErrorCode::StaleBrokerEpoch)));
        tokio::select! {
            biased;
            _ = ids.next() => panic!("nothing was allocated"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(ids.next().await, Ok(ProducerId(7)));
    }
}

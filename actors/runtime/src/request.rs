//! For which client's request work is done: known to what is sent, said and looked at because of it, from actor to actor.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

thread_local! {
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// The how manyth request of which connection of the node; shown as `17.42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(NonZeroU64);

/// The bit of a request of which all is kept that is done for it.
const SAMPLED: u64 = 1 << 63;

/// Until it is dropped, what this thread does is for a request, or for none.
#[must_use = "what is done is for it only while this is kept"]
pub(crate) struct Entered(Option<RequestId>);

impl RequestId {
    /// Both are counted from 1 on, and from 0 on again beyond 2^31 connections or 2^32 requests.
    pub fn new(connection: u64, number: u32) -> RequestId {
        let id = ((connection << 32) | u64::from(number)) & !SAMPLED;
        RequestId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    /// The same, one of a share of all: what is done for it goes into the [`Registry`](crate::Registry)'s spans.
    #[must_use]
    pub fn sampled(self, share: f64) -> RequestId {
        // Spread evenly, and the same whoever asks.
        let spread = self.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let within = (spread as f64) < share * (1u64 << 32) as f64;
        if within { RequestId(self.0 | SAMPLED) } else { self }
    }

    pub fn is_sampled(self) -> bool {
        self.0.get() & SAMPLED != 0
    }

    /// Both its numbers in one.
    pub fn number(self) -> u64 {
        self.0.get() & !SAMPLED
    }

    /// That of what is done right now: by an actor, in what a connection waits for, in a blocking job of either.
    pub fn current() -> Option<RequestId> {
        CURRENT.get()
    }

    pub(crate) fn enter(request: Option<RequestId>) -> Entered {
        Entered(CURRENT.replace(request))
    }

    /// Polls a future, which works for this request meanwhile.
    pub fn poll<F: Future + ?Sized>(
        self,
        future: Pin<&mut F>,
        task: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let _entered = RequestId::enter(Some(self));
        future.poll(task)
    }

    /// What the future does, whenever it does something, is for this request.
    pub async fn within<F: Future>(self, future: F) -> F::Output {
        within(Some(self), future).await
    }
}

pub(crate) async fn within<F: Future>(request: Option<RequestId>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|task| {
        let _entered = RequestId::enter(request);
        future.as_mut().poll(task)
    })
    .await
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number() >> 32, self.number() & u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_sampled_of_each_connection_and_keeps_its_id() {
        for connection in [1, 77, (1 << 31) - 1, 1 << 31] {
            let sampled = |share: f64| {
                let of = |number| RequestId::new(connection, number).sampled(share);
                (1..=10_000).filter(|number| of(*number).is_sampled()).count()
            };
            assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
            assert!((80..120).contains(&sampled(0.01)), "{}", sampled(0.01));
        }
        let id = RequestId::new(17, 42);
        assert_eq!((id.to_string(), id.sampled(1.0).to_string()), ("17.42".into(), "17.42".into()));
    }
}

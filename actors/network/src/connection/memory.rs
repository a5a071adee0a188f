//! The memory that requests may hold, over all connections of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use runtime::{Actor, BoxFuture, Credit, Credits, Cx};

use super::frames::{FIRST_READ, READ_SIZE};

/// The node's budget for bytes of requests. Connections take from it as bytes arrive, never for bytes that were only promised.
///
/// Many long frames, each half there, could hold all of it and wait for each other: then one at a time goes beyond.
#[derive(Debug, Clone)]
pub(crate) struct RequestMemory {
    bytes: Credits,
    beyond: Credits,
    /// Connections that wait for some of it.
    waiting: Arc<AtomicUsize>,
}

impl RequestMemory {
    pub(crate) fn new(limit: u64) -> Self {
        RequestMemory {
            bytes: Credits::new(limit),
            beyond: Credits::new(1),
            waiting: Arc::default(),
        }
    }

    /// The same, of which this actor is shown to hold what is taken this way.
    pub(crate) fn of<A: Actor>(&self, cx: &Cx<A>) -> RequestMemory {
        RequestMemory { bytes: cx.credits(&self.bytes), ..self.clone() }
    }

    pub(crate) fn held(&self) -> Held {
        Held { memory: self.clone(), credit: None, beyond: None, wait: None }
    }

    pub(crate) fn credits(&self) -> &Credits {
        &self.bytes
    }

    /// Whether others wait for it than one that perhaps `waits` itself.
    pub(crate) fn is_short_beside(&self, waits: bool) -> bool {
        self.waiting.load(Ordering::Relaxed) > usize::from(waits)
    }

    async fn wait(self, bytes: u32) -> Granted {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        tokio::select! {
            biased;
            credit = self.bytes.take(bytes) => Granted::Bytes(credit),
            beyond = self.beyond.take(1) => Granted::Beyond(beyond),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Granted {
    Bytes(Credit),
    Beyond(Credit),
}

/// What a connection has taken for the bytes that it has read and not yet begun to serve (CO-2).
pub(crate) struct Held {
    memory: RequestMemory,
    credit: Option<Credit>,
    /// All of the frame that is under way is covered.
    beyond: Option<Credit>,
    /// Kept, so that who waits keeps its place in line.
    wait: Option<BoxFuture<'static, Granted>>,
}

/// What a whole frame holds; given back when its request, and all that was made of it, is gone.
#[derive(Debug)]
pub(crate) struct FrameCredit {
    credit: Option<Credit>,
    beyond: Option<Credit>,
}

impl FrameCredit {
    /// Whether it is more than each connection may have anyway.
    pub(crate) fn is_large(&self) -> bool {
        self.beyond.is_some() || amount(self.credit.as_ref()) > FIRST_READ
    }
}

fn amount(credit: Option<&Credit>) -> usize {
    credit.map_or(0, |credit| credit.amount() as usize)
}

fn capped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Held {
    pub(crate) fn any(&self) -> bool {
        self.covered() > 0 || self.beyond.is_some()
    }

    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// Gives up the place in line.
    pub(crate) fn stop_waiting(&mut self) {
        self.wait = None;
    }

    fn covered(&self) -> usize {
        amount(self.credit.as_ref())
    }

    fn add(&mut self, credit: Credit) {
        match &mut self.credit {
            Some(held) => held.merge(credit),
            None => self.credit = Some(credit),
        }
    }

    fn try_add(&mut self, bytes: usize) {
        if let Some(credit) = self.memory.bytes.try_take(capped(bytes)) {
            self.add(credit);
        }
    }

    /// How many bytes, of those `wanted`, may be read beside those `there`: at least one, once this is ready. `missing` is what
    /// the frame that is under way lacks.
    pub(crate) fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        there: usize,
        wanted: usize,
        missing: usize,
    ) -> Poll<usize> {
        loop {
            if self.beyond.is_some() {
                return Poll::Ready(wanted.min(missing));
            }
            let room = |held: &Held| (held.covered() + FIRST_READ).saturating_sub(there);
            if self.wait.is_none() && room(self) < wanted {
                self.try_add(wanted - room(self));
            }
            if room(self) > 0 {
                self.wait = None;
                return Poll::Ready(room(self).min(wanted));
            }
            ready!(self.poll_wait(cx, wanted.min(READ_SIZE)));
        }
    }

    /// Waits until at least some of what is asked for is granted, or the frame may go beyond.
    fn poll_wait(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        let memory = &self.memory;
        let wait = self.wait.get_or_insert_with(|| Box::pin(memory.clone().wait(capped(bytes))));
        let granted = ready!(wait.as_mut().poll(cx));
        self.wait = None;
        match granted {
            Granted::Bytes(credit) => self.add(credit),
            Granted::Beyond(beyond) => self.beyond = Some(beyond),
        }
        Poll::Ready(())
    }

    /// Waits until more is covered than was.
    pub(crate) async fn grow(&mut self, to: usize) {
        let missing = to.saturating_sub(self.covered()).max(1);
        std::future::poll_fn(|cx| self.poll_wait(cx, missing)).await;
    }

    /// Covers a whole frame of this length, if that can be done at once.
    pub(crate) fn try_cover(&mut self, length: usize) -> Option<Arc<FrameCredit>> {
        let beyond = self.beyond.is_some();
        if !beyond && self.covered() < length {
            self.try_add(length - self.covered());
        }
        if !beyond && self.covered() < length.min(self.memory.bytes.limit() as usize) {
            return None;
        }
        self.wait = None;
        let credit = self.credit.as_mut().map(|credit| credit.split(capped(length)));
        let credit = credit.filter(|credit| credit.amount() > 0);
        Some(Arc::new(FrameCredit { credit, beyond: self.beyond.take() }))
    }

    /// Gives back what covers more than these bytes need.
    pub(crate) fn trim_to(&mut self, bytes: usize) {
        let needed = bytes.saturating_sub(FIRST_READ);
        if needed == 0 {
            self.credit = None;
        } else if self.covered() > needed
            && let Some(credit) = &mut self.credit
        {
            drop(credit.split(capped(credit.amount() as usize - needed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn room(held: &mut Held, there: usize, wanted: usize) -> usize {
        poll_fn(|cx| held.poll_room(cx, there, wanted, usize::MAX)).await
    }

    #[tokio::test]
    async fn when_all_is_held_by_half_frames_one_goes_on() {
        let memory = RequestMemory::new(2 * READ_SIZE as u64);
        let (mut one, mut other) = (memory.held(), memory.held());
        let full = READ_SIZE + FIRST_READ;
        assert_eq!(room(&mut one, 0, full).await, full);
        assert_eq!(room(&mut other, 0, full).await, full);
        assert_eq!(room(&mut one, full, 8 * READ_SIZE).await, 8 * READ_SIZE);
        assert!(one.beyond.is_some());
        let whole = one.try_cover(10 * READ_SIZE).unwrap();
        assert!(whole.is_large());
        drop(whole);
        assert_eq!(room(&mut other, full, READ_SIZE).await, READ_SIZE);
        assert!(other.beyond.is_none(), "what the first gave back is enough");
        drop(other);
        assert_eq!(memory.credits().used(), 0);
        assert!(!memory.is_short_beside(false));
    }

    #[tokio::test]
    async fn who_waits_is_counted_until_it_no_longer_does() {
        let memory = RequestMemory::new(READ_SIZE as u64);
        let (mut one, mut other) = (memory.held(), memory.held());
        let (mut third, full) = (memory.held(), READ_SIZE + FIRST_READ);
        room(&mut one, 0, full).await;
        room(&mut other, FIRST_READ, 1).await;
        assert!(other.beyond.is_some());
        let waits = poll_fn(|cx| Poll::Ready(third.poll_room(cx, FIRST_READ, 1, 1).is_pending()));
        assert!(waits.await && third.waits());
        assert!(memory.is_short_beside(false) && !memory.is_short_beside(true));
        third.stop_waiting();
        assert!(!memory.is_short_beside(false));
        assert!(third.try_cover(1).is_none());
        one.trim_to(FIRST_READ + 1);
        assert_eq!(memory.credits().used(), 1);
        assert!(third.try_cover(1).is_some());
    }
}

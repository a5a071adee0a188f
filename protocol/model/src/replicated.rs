//! The shape of a machine whose state is a log: a coordinator shard, a controller, a user's durable actor.
//!
//! What asks for a change is a request; what changed is an event. Some events are records of the log, the rest is soft
//! state that a reload loses (a member that waits, a deadline). A machine decides without changing anything, then
//! replays what was decided: so a reload, which only replays, cannot arrive at another state.

use std::time::Duration;

use bytes::Bytes;

use crate::Now;

/// Names a reply that is owed. The one who drives the machine gives it out, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nobody's: what is replied to it goes to whoever takes what leaves the machine unasked, when a reply would be let go.
    pub const OUTSIDE: Ticket = Ticket(u64::MAX);
}

pub trait Replicated {
    type Request;
    type Reply;
    type Event;
    /// A timer's name: at most one timer of a name runs.
    type Timer: Clone + Ord;

    /// What the request does. The reply to `ticket` may be among a later decision's; until then it stays parked.
    fn decide(&self, now: Now, ticket: Ticket, request: Self::Request) -> DecisionOf<Self>;

    /// What follows once the log is read to its end and this node leads it: soft state begins here, as session timers do.
    fn on_loaded(&self, now: Now) -> DecisionOf<Self>;

    /// What the firing of a timer does. One that was cancelled or set anew never fires with its old deadline.
    fn on_timer(&self, now: Now, timer: Self::Timer) -> DecisionOf<Self>;

    /// The only way by which state changes.
    fn replay(&mut self, event: &Self::Event);
}

pub type DecisionOf<M> =
    Decision<<M as Replicated>::Event, <M as Replicated>::Reply, <M as Replicated>::Timer>;

/// Events are replayed in order and at once; those that are records are then written together. The replies are let go
/// when everything written so far is committed, also where this decision wrote nothing, unless the machine's host knows
/// that a reply tells of less: none tells of a state that a failover could take back. Timers are set and cancelled in order, at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<E, R, K> {
    pub events: Vec<E>,
    pub replies: Vec<(Ticket, R)>,
    pub timers: Vec<TimerOp<K>>,
}

impl<E, R, K> Decision<E, R, K> {
    pub fn nothing() -> Self {
        Decision { events: Vec::new(), replies: Vec::new(), timers: Vec::new() }
    }

    pub fn reply(ticket: Ticket, reply: R) -> Self {
        Decision { replies: vec![(ticket, reply)], ..Self::nothing() }
    }
}

impl<E, R, K> Default for Decision<E, R, K> {
    fn default() -> Self {
        Self::nothing()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerOp<K> {
    /// Replaces the running timer of this name.
    Set {
        timer: K,
        after: Duration,
    },
    Cancel {
        timer: K,
    },
}

/// One record of a machine's log. Without a value it is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// How a machine's events look in its log.
pub trait Persist: Sized {
    type Error: std::error::Error + Send + Sync + 'static;

    /// None where the event is soft state. What fails is not written, and so must not be replayed.
    fn encode(&self) -> Result<Option<StoredRecord>, Self::Error>;

    /// None where the record is of a kind that this release does not know: it is left alone.
    fn decode(record: &StoredRecord) -> Result<Option<Self>, Self::Error>;
}

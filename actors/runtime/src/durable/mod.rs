//! Durable actors: the user decides and replays, by key; what was decided is journaled in a topic, and answered once it is committed.
//!
//! A [`Durable`] runs on the mechanism of the group coordinator: one shard for each led partition of its topic, which replays the
//! partition, decides, appends, and answers what the high watermark has passed.
//!
//! ```
//! use ottla_runtime::durable::{At, Decision, Durable};
//!
//! struct Counter;
//!
//! impl Durable for Counter {
//!     type Command = u64;
//!     type Event = u64;
//!     type State = u64;
//!     type Reply = u64;
//!
//!     fn decide(&self, _at: At<'_>, total: &u64, add: u64) -> Decision<Self> {
//!         Decision::persist(add).reply(total + add)
//!     }
//!
//!     fn replay(&self, total: &mut u64, added: &u64) {
//!         *total += added;
//!     }
//! }
//! ```

mod answers;
mod ask;
mod codec;
mod counted;
mod counting;
mod journal;
mod machine;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use answers::KEPT_MS;
pub use ask::{Ask, AskId, AskRefused, MAX_COMMAND_BYTES, MAX_KEY_BYTES, Owners};
pub use codec::{CodecError, decode, encode};
pub use journal::{Change, JournalError};
pub use machine::{DurableMachine, DurableRequest, DurableSettings, DurableTimer, Leaving, Left};

/// What a user makes durable. Each key has a state of its own; the events of a key are replayed in the order in which they were decided.
///
/// Both functions must be pure: the same state and input give the same result, on every node and in every run.
pub trait Durable: Send + Sync + Sized + 'static {
    type Command: Serialize + DeserializeOwned + Send + 'static;
    type Event: Serialize + DeserializeOwned + Send + 'static;
    /// A key that has no event yet has the default.
    type State: Default + Serialize + DeserializeOwned + Send + 'static;
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Of the four types' encodings: a further one whenever one of them changes.
    const VERSION: u32 = 1;

    fn decide(&self, at: At<'_>, state: &Self::State, command: Self::Command) -> Decision<Self>;

    /// The only way by which a state changes.
    fn replay(&self, state: &mut Self::State, event: &Self::Event);

    /// What the firing of a timer does. It is taken off with this decision, which may set it again.
    fn timer(&self, at: At<'_>, state: &Self::State, name: &str) -> Decision<Self> {
        let _ = (at, state, name);
        Decision::none()
    }

    /// Reads an event that an older version wrote.
    ///
    /// # Errors
    /// It cannot be read: the shard that holds it refuses to run.
    fn upgrade(version: u32, event: &[u8]) -> Result<Self::Event, CodecError> {
        let _ = event;
        Err(CodecError::Version { found: version, known: Self::VERSION })
    }

    /// Reads a state that an older version wrote.
    ///
    /// # Errors
    /// As there.
    fn upgrade_state(version: u32, state: &[u8]) -> Result<Self::State, CodecError> {
        let _ = state;
        Err(CodecError::Version { found: version, known: Self::VERSION })
    }
}

/// Of what, and when, a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<'a> {
    pub key: &'a str,
    /// Milliseconds since 1970 on the clock of the node that decides; after a failover it may be a little less than before.
    pub now_ms: i64,
}

/// What a command or a timer does. All of it is written at once, or nothing.
#[must_use = "nothing is decided unless it is returned"]
pub struct Decision<D: Durable> {
    pub(crate) events: Vec<D::Event>,
    pub(crate) reply: Option<D::Reply>,
    /// Without a time the timer is cancelled.
    pub(crate) timers: Vec<(String, Option<i64>)>,
    pub(crate) tells: Vec<(String, D::Command)>,
}

impl<D: Durable> Decision<D> {
    /// Changes nothing.
    pub fn none() -> Self {
        Decision { events: Vec::new(), reply: None, timers: Vec::new(), tells: Vec::new() }
    }

    pub fn persist(event: D::Event) -> Self {
        Decision::none().and(event)
    }

    /// Persists a further event.
    pub fn and(mut self, event: D::Event) -> Self {
        self.events.push(event);
        self
    }

    /// Answers whoever asked, once what is written, and what the decision saw, is committed.
    pub fn reply(mut self, reply: D::Reply) -> Self {
        self.reply = Some(reply);
        self
    }

    /// Lets the key's timer of this name fire at a time in milliseconds since 1970, in place of any time that was set before. It survives
    /// failovers and restarts; what is due while nobody leads the partition fires when somebody does.
    pub fn set_timer(mut self, name: impl Into<String>, at_ms: i64) -> Self {
        self.timers.push((name.into(), Some(at_ms)));
        self
    }

    pub fn cancel_timer(mut self, name: impl Into<String>) -> Self {
        self.timers.push((name.into(), None));
        self
    }

    /// Sends a command to a key of the same topic once this decision is committed. It may be lost, with its node or where its owner cannot
    /// be reached for a while, and its answer is not waited for: who must be sure sets a timer and tells again until it is told that the
    /// command was taken. It is decided at most once, but may come later than one that was told after it.
    pub fn tell(mut self, key: impl Into<String>, command: D::Command) -> Self {
        self.tells.push((key.into(), command));
        self
    }

    /// The same decision of another durable actor, which wraps this one.
    pub fn of<O>(self) -> Decision<O>
    where
        O: Durable<Command = D::Command, Event = D::Event, Reply = D::Reply>,
    {
        let Decision { events, reply, timers, tells } = self;
        Decision { events, reply, timers, tells }
    }
}

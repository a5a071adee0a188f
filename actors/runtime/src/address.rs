use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::actor::Message;
use crate::lifecycle::{Exit, Lifecycle, OnExit, Phase};
use crate::metrics::Stats;
use crate::reply::Reply;
use crate::request::RequestId;
use crate::shell::{ChildExited, Envelope};
use crate::world::{BoxFuture, GatePoint, World};

/// By which ractor reaches an actor.
#[expect(clippy::disallowed_types, reason = "the kit wraps it")]
pub type RactorRef<M> = ractor::ActorRef<M>;

pub(crate) type Mailbox<M> = RactorRef<Envelope<M>>;

/// The actor has ended; the message comes back.
pub struct Dead<M>(pub M);

impl<M> fmt::Debug for Dead<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dead")
    }
}

impl<M> fmt::Display for Dead<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the actor has ended")
    }
}

impl<M> std::error::Error for Dead<M> {}

/// Why there is no answer to [`Ref::ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("the actor has ended")]
    Dead,
    #[error("the answer was dropped")]
    Dropped,
    #[error("timed out")]
    TimedOut,
}

/// One incarnation of an actor: messages sent through it never reach a later one.
pub struct Ref<M: Message> {
    pub(crate) mailbox: Mailbox<M>,
    pub(crate) identity: Arc<Identity>,
}

pub(crate) struct Identity {
    pub(crate) path: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) world: World,
    pub(crate) stats: Arc<Stats>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

/// A message on its way into a mailbox. It is sent when this is awaited.
#[must_use = "nothing is sent unless it is awaited"]
pub struct Sending<'a, M: Message> {
    to: &'a Ref<M>,
    message: Option<M>,
    /// In simulation, the wait for this sender's turn.
    turn: Option<BoxFuture<'static, ()>>,
}

impl<M: Message> Unpin for Sending<'_, M> {}

impl<M: Message> Future for Sending<'_, M> {
    type Output = Result<(), Dead<M>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(gate) = this.to.identity.world.gate() {
            let turn = this
                .turn
                .get_or_insert_with(|| gate.pass(crate::panics::running(), GatePoint::Send));
            ready!(turn.as_mut().poll(cx));
        }
        // Polled again after its end it has nothing left to send.
        Poll::Ready(this.message.take().map_or(Ok(()), |message| this.to.send_now(message)))
    }
}

impl<M: Message> Clone for Ref<M> {
    fn clone(&self) -> Self {
        Ref { mailbox: self.mailbox.clone(), identity: self.identity.clone() }
    }
}

impl<M: Message> fmt::Debug for Ref<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.identity.path, self.identity.generation)
    }
}

impl<M: Message> Ref<M> {
    /// Puts a message into the mailbox. Ready at once, except in simulation, where others may run first.
    pub fn send(&self, message: M) -> Sending<'_, M> {
        Sending { to: self, message: Some(message), turn: None }
    }

    /// [`send`](Self::send) for where nothing can be awaited (a `Drop`, a callback): no scheduling point.
    pub fn send_now(&self, message: M) -> Result<(), Dead<M>> {
        let stats = &self.identity.stats;
        if M::COUNTED {
            stats.sent();
        }
        match self.mailbox.send_message(Envelope::Message(message, RequestId::current())) {
            Err(ractor::MessagingErr::SendErr(Envelope::Message(message, _))) => {
                stats.unsent();
                Err(Dead(message))
            }
            // The type is right by construction, so no other error exists.
            _ => Ok(()),
        }
    }

    /// Sends a message that carries a [`Reply`] and waits for it. For the edges; between actors the answer is a message.
    pub async fn ask<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError> {
        let (reply, answer) = Reply::new();
        self.send(message(reply)).await.map_err(|_| AskError::Dead)?;
        answer.within(&self.identity.world, limit).await
    }

    pub fn is_alive(&self) -> bool {
        self.identity.lifecycle.phase() < Phase::Stopping
    }

    pub fn path(&self) -> &str {
        &self.identity.path
    }

    pub fn generation(&self) -> u64 {
        self.identity.generation
    }

    /// Messages sent and not yet handled.
    pub fn depth(&self) -> u64 {
        self.identity.stats.depth()
    }

    /// Waits until it has started; its end where it ended instead.
    pub async fn started(&self) -> Result<(), Exit> {
        self.identity.lifecycle.started().await
    }

    /// Waits until it, its tasks and its children are gone.
    pub async fn ended(&self) -> Exit {
        self.identity.lifecycle.reached(Phase::Ended).await;
        self.identity.lifecycle.exit()
    }
}

/// Sends an end's notice through the parent's own mailbox.
pub(crate) struct ParentMailbox<M: Message>(pub(crate) Mailbox<M>);

impl<M: Message> OnExit for ParentMailbox<M> {
    fn exited(&self, child: u64, generation: u64, exit: Exit) {
        // A parent that has ended no longer cares.
        let exited = Box::new(ChildExited { child, generation, exit });
        let _ = self.0.send_message(Envelope::ChildExited(exited));
    }
}

/// An actor whichever its incarnation: outlives restarts. While it is down, messages come back as [`Dead`].
pub struct Address<M: Message>(Arc<ArcSwapOption<Ref<M>>>);

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Address(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.0.load())
    }
}

impl<M: Message> Address<M> {
    /// One that leads nowhere yet: for handles made before their actor.
    pub fn vacant() -> Address<M> {
        Address(Arc::new(ArcSwapOption::empty()))
    }

    pub(crate) fn lead_to(&self, to: &Ref<M>) {
        self.0.store(Some(Arc::new(to.clone())));
    }

    /// The incarnation that is alive.
    pub fn current(&self) -> Option<Ref<M>> {
        self.0.load().as_deref().filter(|to| to.is_alive()).cloned()
    }

    /// Where in the tree it is, also while it is down.
    pub fn path(&self) -> Option<Arc<str>> {
        self.0.load().as_deref().map(|to| to.identity.path.clone())
    }

    pub async fn send(&self, message: M) -> Result<(), Dead<M>> {
        let to = self.0.load_full();
        match to {
            Some(to) => to.send(message).await,
            None => Err(Dead(message)),
        }
    }

    pub fn send_now(&self, message: M) -> Result<(), Dead<M>> {
        match &*self.0.load() {
            Some(to) => to.send_now(message),
            None => Err(Dead(message)),
        }
    }

    pub async fn ask<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError> {
        match self.0.load_full() {
            Some(to) => to.ask(limit, message).await,
            None => Err(AskError::Dead),
        }
    }

    /// Waits until the present incarnation has started; its end where it ended instead.
    pub async fn started(&self) -> Result<(), Exit> {
        match self.0.load_full() {
            Some(to) => to.started().await,
            None => Err(Exit::Stopped),
        }
    }

    pub fn is_alive(&self) -> bool {
        self.0.load().as_ref().is_some_and(|to| to.is_alive())
    }
}

//! The shell around every actor: the one place where ractor's trait is implemented and its actors are spawned.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;

use crate::actor::{Actor, Failure, Message, Outcome};
use crate::address::{Identity, Mailbox, RactorRef, Ref};
use crate::cx::Cx;
use crate::lifecycle::{Exit, Latch, Lifecycle, OnExit, Phase};
use crate::metrics::{Entry, Spanning};
use crate::panics;
use crate::policy::ChildEvent;
use crate::request::{self, RequestId};
use crate::timers::{Fired, TimerId};
use crate::world::{Bulkhead, GatePoint, World};

/// What lies in a mailbox.
pub(crate) enum Envelope<M> {
    /// And the request that it is for.
    Message(M, Option<RequestId>),
    Timer(TimerId),
    ChildExited(Box<ChildExited>),
    Respawn {
        child: u64,
    },
    /// Somebody looks: bring the state line up to date.
    Look,
}

/// Boxed: every actor has room for a message of its own, several times over.
pub(crate) struct ChildExited {
    pub(crate) child: u64,
    pub(crate) generation: u64,
    pub(crate) exit: Exit,
}

/// All that one incarnation is born with, besides its arguments.
pub(crate) struct Plan {
    pub(crate) world: World,
    pub(crate) entry: Arc<Entry>,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) generation: u64,
    pub(crate) child: u64,
    pub(crate) parent: Option<Arc<dyn OnExit>>,
    pub(crate) above: Option<Arc<Latch>>,
}

struct Birth<A: Actor> {
    args: A::Args,
    plan: Plan,
    identity: Arc<Identity>,
    latch: Arc<Latch>,
}

/// The fields drop in this order: the state, then what it owned, then the latch inside the context.
struct Running<A: Actor> {
    state: State<A>,
    cx: Cx<A>,
}

enum State<A: Actor> {
    Unborn(A::Args),
    Alive(A),
    /// Its start failed.
    Gone,
}

struct Shell<A>(PhantomData<fn() -> A>);

/// Spawns one incarnation. Its mailbox is open at once; it starts on its own task.
pub(crate) fn spawn<A: Actor>(plan: Plan, args: A::Args) -> Option<Ref<A::Msg>> {
    let lifecycle = Arc::new(Lifecycle::default());
    let stats = plan.entry.begin(plan.generation, &A::Msg::NAMES, plan.world.mono());
    let identity = Arc::new(Identity {
        path: plan.entry.path().clone(),
        generation: plan.generation,
        world: plan.world.clone(),
        stats,
        lifecycle: lifecycle.clone(),
    });
    let latch = Arc::new(Latch {
        lifecycle,
        child: plan.child,
        generation: plan.generation,
        parent: plan.parent.clone(),
        _above: plan.above.clone(),
    });
    let handle = plan.world.handles().get(plan.bulkhead).clone();
    let entry = plan.entry.clone();
    let birth = Birth::<A> { args, plan, identity: identity.clone(), latch };
    let mailbox = {
        let _on = handle.enter();
        spawn_now(Shell::<A>(PhantomData), birth)?
    };
    let lifecycle = identity.lifecycle.clone();
    entry.set_hands(Box::new(Hands { mailbox: mailbox.clone(), lifecycle }));
    Some(Ref { mailbox, identity })
}

/// Ractor's spawn waits only for its `pre_start`, and those of the kit are ready at once.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns actors")]
pub(crate) fn spawn_now<S: ractor::Actor>(
    shell: S,
    birth: S::Arguments,
) -> Option<RactorRef<S::Msg>> {
    let mut spawning = pin!(unconstrained(S::spawn(None, shell, birth)));
    match spawning.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok((mailbox, _))) => Some(mailbox),
        _ => None,
    }
}

impl<A: Actor> ractor::Actor for Shell<A> {
    type Msg = Envelope<A::Msg>;
    type State = Running<A>;
    type Arguments = Birth<A>;

    async fn pre_start(
        &self,
        mailbox: Mailbox<A::Msg>,
        birth: Birth<A>,
    ) -> Result<Running<A>, ractor::ActorProcessingErr> {
        let Birth { args, plan, identity, latch } = birth;
        let me = Ref { mailbox, identity };
        Ok(Running { state: State::Unborn(args), cx: Cx::new(me, plan, latch) })
    }

    async fn post_start(
        &self,
        mailbox: Mailbox<A::Msg>,
        running: &mut Running<A>,
    ) -> Result<(), ractor::ActorProcessingErr> {
        let started = Box::pin(running.start()).await;
        Box::pin(running.settle(mailbox, started)).await
    }

    /// Boxed: ractor keeps room for it twice over in each actor, also while it rests, and moves it about.
    fn handle(
        &self,
        mailbox: Mailbox<A::Msg>,
        envelope: Envelope<A::Msg>,
        running: &mut Running<A>,
    ) -> impl Future<Output = Result<(), ractor::ActorProcessingErr>> + Send {
        Box::pin(running.handle(mailbox, envelope))
    }

    /// No actor is linked to another by ractor: no such event comes. Ractor keeps room for this future too.
    fn handle_supervisor_evt(
        &self,
        _mailbox: Mailbox<A::Msg>,
        _event: ractor::SupervisionEvent,
        _running: &mut Running<A>,
    ) -> impl Future<Output = Result<(), ractor::ActorProcessingErr>> + Send {
        std::future::ready(Ok(()))
    }

    async fn post_stop(
        &self,
        _mailbox: Mailbox<A::Msg>,
        running: &mut Running<A>,
    ) -> Result<(), ractor::ActorProcessingErr> {
        Box::pin(running.stop()).await;
        Ok(())
    }
}

fn name_of<M: Message>(message: &M) -> &'static str {
    M::NAMES.get(message.index()).copied().unwrap_or_default()
}

impl<A: Actor> Running<A> {
    /// Its path, where the simulator asks for names; production pays nothing for them.
    fn name(&self) -> Option<Arc<str>> {
        self.cx.world().gate().map(|_| self.cx.me().identity.path.clone())
    }

    async fn start(&mut self) -> Outcome {
        let State::Unborn(args) = std::mem::replace(&mut self.state, State::Gone) else {
            return Ok(());
        };
        let started = {
            let name = self.name();
            let starting = pin!(A::start(&mut self.cx, args));
            panics::catch_async(name.as_ref(), starting).await
        };
        self.state = State::Alive(started??);
        self.cx.lifecycle().enter(Phase::Running);
        Ok(())
    }

    async fn handle(
        &mut self,
        mailbox: Mailbox<A::Msg>,
        envelope: Envelope<A::Msg>,
    ) -> Result<(), ractor::ActorProcessingErr> {
        let plain = self.cx.world().gate().is_none() && !self.cx.stats().is_watched();
        let handled = match (envelope, &mut self.state) {
            (Envelope::Message(message, request), State::Alive(actor))
                if plain && !request.is_some_and(RequestId::is_sampled) =>
            {
                let before = self.cx.begin(&message);
                let handled = {
                    let mut handling = pin!(actor.handle(&mut self.cx, message));
                    poll_fn(|task| {
                        let _entered = RequestId::enter(request);
                        panics::catch_poll(handling.as_mut(), task)
                    })
                    .await
                };
                self.cx.end(before);
                handled.and_then(|outcome| outcome)
            }
            (envelope, _) => {
                let request = match &envelope {
                    Envelope::Message(_, request) => *request,
                    _ => None,
                };
                Box::pin(request::within(request, self.turn(envelope))).await
            }
        };
        if handled.is_ok() && !self.cx.stop_requested() {
            return Ok(());
        }
        Box::pin(self.settle(mailbox, handled)).await
    }

    async fn turn(&mut self, envelope: Envelope<A::Msg>) -> Outcome {
        if let Some(gate) = self.cx.world().gate() {
            // A panic that the simulator plans comes out of here.
            let passing = gate.pass(self.name(), GatePoint::Handle);
            panics::catch_async(self.name().as_ref(), pin!(passing)).await?;
        }
        if self.cx.stats().is_watched() {
            let message = match &envelope {
                Envelope::Message(message, _) => Some(name_of(message)),
                Envelope::Timer(_) => Some("a timer"),
                _ => None,
            };
            let me = self.cx.me().identity.clone();
            me.stats.befall(&me.world, message).await?;
        }
        match envelope {
            Envelope::Message(message, _) => self.deliver(message).await,
            Envelope::Timer(id) => match self.cx.timer_fired(id) {
                Fired::Cancelled => Ok(()),
                Fired::Message(message, again) => {
                    self.cx.stats().count_own();
                    let handled = self.deliver(message).await;
                    self.cx.rearm(id, again);
                    handled
                }
            },
            Envelope::ChildExited(exited) => {
                let ChildExited { child, generation, exit } = *exited;
                let events = self.cx.child_exited(child, generation, exit).await?;
                self.tell(events).await
            }
            Envelope::Respawn { child } => {
                let events = self.cx.respawn(child).await;
                self.tell(events).await
            }
            Envelope::Look => {
                if let State::Alive(actor) = &self.state {
                    let line = panics::catch(std::panic::AssertUnwindSafe(|| actor.state_line()))?;
                    self.cx.entry().seen(line);
                }
                Ok(())
            }
        }
    }

    async fn deliver(&mut self, message: A::Msg) -> Outcome {
        let name = self.name();
        let State::Alive(actor) = &mut self.state else { return Ok(()) };
        let tracing = self.cx.stats().tracing(name_of(&message), self.cx.world());
        let path = &self.cx.me().identity.path;
        let spanning = Spanning::begin(path, name_of(&message), self.cx.world());
        let before = self.cx.begin(&message);
        if self.cx.stats().is_watched() {
            let me = self.cx.me().identity.clone();
            me.stats.delay(&me.world).await;
        }
        let handled = {
            let handling = pin!(actor.handle(&mut self.cx, message));
            panics::catch_async(name.as_ref(), handling).await
        };
        self.cx.end(before);
        let outcome = handled.and_then(|outcome| outcome);
        if let Some(tracing) = tracing {
            tracing.end(&outcome);
        }
        if let Some(spanning) = spanning {
            spanning.end(&outcome);
        }
        outcome
    }

    async fn tell(&mut self, events: Vec<ChildEvent>) -> Outcome {
        let name = self.name();
        let State::Alive(actor) = &mut self.state else { return Ok(()) };
        for event in events {
            let telling = pin!(actor.child_changed(&mut self.cx, event));
            panics::catch_async(name.as_ref(), telling).await??;
        }
        Ok(())
    }

    /// After a turn that failed or asked to stop.
    async fn settle(
        &mut self,
        mailbox: Mailbox<A::Msg>,
        outcome: Outcome,
    ) -> Result<(), ractor::ActorProcessingErr> {
        if let Err(failure) = outcome {
            let text = failure.to_string();
            self.cx.lifecycle().set_exit(Exit::Failed(failure));
            self.cx.lifecycle().enter(Phase::Stopping);
            self.cx.stop_children().await;
            return Err(text.into());
        }
        if self.cx.stop_requested() {
            self.cx.lifecycle().set_exit(Exit::Finished);
            mailbox.stop(None);
        }
        Ok(())
    }

    async fn stop(&mut self) {
        self.cx.lifecycle().enter(Phase::Stopping);
        self.cx.stop_children().await;
        let name = self.name();
        if let State::Alive(actor) = &mut self.state {
            let stopped = {
                let stopping = pin!(actor.stop(&mut self.cx));
                panics::catch_async(name.as_ref(), stopping).await
            };
            if let Err(failure) = stopped {
                self.cx.lifecycle().set_exit(Exit::Failed(failure));
            }
        }
        self.cx.lifecycle().set_exit(Exit::Stopped);
    }
}

/// Stops or kills an incarnation whatever its message type.
pub(crate) trait Control: Send + Sync {
    fn stop(&self);
    fn kill(&self);
}

impl<M: Message> Control for Ref<M> {
    fn stop(&self) {
        self.mailbox.stop(None);
    }

    fn kill(&self) {
        self.mailbox.kill();
    }
}

/// What is asked of an actor through its place in the tree.
pub(crate) trait Asked: Send {
    /// For its state line; whether anybody will answer.
    fn look(&self) -> bool;
    fn kill(&self);
    /// It takes nothing in hand any more.
    fn is_ending(&self) -> bool;
}

struct Hands<M: Message> {
    mailbox: Mailbox<M>,
    lifecycle: Arc<Lifecycle>,
}

impl<M: Message> Asked for Hands<M> {
    fn look(&self) -> bool {
        self.mailbox.send_message(Envelope::Look).is_ok()
    }

    fn kill(&self) {
        self.mailbox.kill();
    }

    fn is_ending(&self) -> bool {
        self.lifecycle.phase() >= Phase::Stopping
    }
}

impl From<Exit> for Failure {
    fn from(exit: Exit) -> Failure {
        match exit {
            Exit::Failed(failure) => failure,
            Exit::Stopped => Failure::new("it was stopped"),
            Exit::Finished => Failure::new("it ended"),
        }
    }
}

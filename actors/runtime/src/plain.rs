//! Actors of ractor's own trait as children of the kit's. Their mailbox is ractor's; each message passes here on its way, so that it is
//! counted and timed, what is set on purpose befalls it, and its failure or panic is what their policy goes by.
//!
//! Whoever they spawn is linked to them by ractor alone: it is not in the tree, and ends with them.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorProcessingErr, SupervisionEvent};

use crate::actor::{Failure, Outcome};
use crate::address::{Dead, RactorRef};
use crate::children::{Live, Seed, Start};
use crate::lifecycle::{Exit, Latch, Lifecycle, Phase};
use crate::metrics::Stats;
use crate::panics;
use crate::policy::ChildSpec;
use crate::shell::{Asked, Control, Plan, spawn_now};
use crate::world::{GatePoint, World};

/// What messages are called: ractor knows no names.
const NAMES: &[&str] = &["message", "supervision"];
const MESSAGE: usize = 0;
const SUPERVISION: usize = 1;

type Make<R> = Arc<dyn Fn() -> (R, <R as ractor::Actor>::Arguments) + Send + Sync>;

/// An actor of ractor's own trait, whichever its incarnation: outlives restarts.
pub struct RactorAddress<M>(Arc<ArcSwapOption<Incarnation<M>>>);

struct Incarnation<M> {
    to: RactorRef<M>,
    lifecycle: Arc<Lifecycle>,
}

impl<M> Clone for RactorAddress<M> {
    fn clone(&self) -> Self {
        RactorAddress(self.0.clone())
    }
}

impl<M> fmt::Debug for RactorAddress<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RactorAddress")
    }
}

impl<M: ractor::Message> RactorAddress<M> {
    /// The incarnation that is alive: what ractor's own calls take. It does not lead to a later one.
    pub fn current(&self) -> Option<RactorRef<M>> {
        let there = self.0.load();
        let alive = there.as_ref().filter(|to| to.lifecycle.phase() < Phase::Stopping);
        alive.map(|there| there.to.clone())
    }

    /// # Errors
    /// It is down; the message comes back.
    pub fn send(&self, message: M) -> Result<(), Dead<M>> {
        let Some(to) = self.current() else { return Err(Dead(message)) };
        match to.send_message(message) {
            Err(ractor::MessagingErr::SendErr(message)) => Err(Dead(message)),
            // The type is right by construction, so no other error exists.
            _ => Ok(()),
        }
    }
}

impl Seed {
    /// An actor of ractor's own trait. `make` gives it and what it starts from, also after a failure.
    pub fn of_ractor<R: ractor::Actor>(
        name: impl Into<String>,
        spec: impl Into<Arc<ChildSpec>>,
        make: impl Fn() -> (R, R::Arguments) + Send + Sync + 'static,
    ) -> (Seed, RactorAddress<R::Msg>) {
        let address = RactorAddress(Arc::new(ArcSwapOption::empty()));
        let starter = Starter::<R> { make: Arc::new(make), address: address.clone() };
        (Seed::by(name, spec, kind_of::<R>(), Arc::new(starter)), address)
    }
}

/// The last word of its type, without what is generic.
fn kind_of<R>() -> &'static str {
    let name = type_name::<R>();
    let own = name.split_once('<').map_or(name, |(own, _)| own);
    own.rsplit_once("::").map_or(own, |(_, last)| last)
}

struct Starter<R: ractor::Actor> {
    make: Make<R>,
    address: RactorAddress<R::Msg>,
}

impl<R: ractor::Actor> Start for Starter<R> {
    fn start(&self, plan: Plan) -> Option<Live> {
        let lifecycle = Arc::new(Lifecycle::default());
        let own = Own {
            path: plan.entry.path().clone(),
            stats: plan.entry.begin(plan.generation, &NAMES, plan.world.mono()),
            world: plan.world.clone(),
            latch: Latch {
                lifecycle: lifecycle.clone(),
                child: plan.child,
                generation: plan.generation,
                parent: plan.parent,
                _above: plan.above,
            },
        };
        let handle = plan.world.handles().get(plan.bulkhead).clone();
        let to = {
            let _on = handle.enter();
            spawn_now(Plain::<R>(PhantomData), Birth { make: self.make.clone(), own })?
        };
        let hands = || Hands { to: to.clone(), lifecycle: lifecycle.clone() };
        plan.entry.set_hands(Box::new(hands()));
        let control = Box::new(hands());
        let incarnation = Incarnation { to, lifecycle: lifecycle.clone() };
        self.address.0.store(Some(Arc::new(incarnation)));
        Some(Live { control, lifecycle })
    }
}

struct Hands<M> {
    to: RactorRef<M>,
    lifecycle: Arc<Lifecycle>,
}

impl<M: ractor::Message> Control for Hands<M> {
    fn stop(&self) {
        self.to.stop(None);
    }

    fn kill(&self) {
        self.to.kill();
    }
}

impl<M: ractor::Message> Asked for Hands<M> {
    /// It has no line to tell.
    fn look(&self) -> bool {
        false
    }

    fn kill(&self) {
        self.to.kill();
    }

    fn is_ending(&self) -> bool {
        self.lifecycle.phase() >= Phase::Stopping
    }
}

/// What the kit has of one incarnation.
struct Own {
    path: Arc<str>,
    stats: Arc<Stats>,
    world: World,
    latch: Latch,
}

struct Birth<R: ractor::Actor> {
    make: Make<R>,
    own: Own,
}

/// The fields drop in this order: the actor, then the latch.
struct Running<R: ractor::Actor> {
    actor: Option<(R, R::State)>,
    make: Make<R>,
    own: Own,
}

struct Plain<R>(PhantomData<fn() -> R>);

impl<R: ractor::Actor> ractor::Actor for Plain<R> {
    type Msg = R::Msg;
    type State = Running<R>;
    type Arguments = Birth<R>;

    async fn pre_start(
        &self,
        _me: RactorRef<R::Msg>,
        birth: Birth<R>,
    ) -> Result<Running<R>, ActorProcessingErr> {
        Ok(Running { actor: None, make: birth.make, own: birth.own })
    }

    async fn post_start(
        &self,
        me: RactorRef<R::Msg>,
        running: &mut Running<R>,
    ) -> Result<(), ActorProcessingErr> {
        let started = Box::pin(running.start(me)).await;
        running.own.settle(started)
    }

    async fn handle(
        &self,
        me: RactorRef<R::Msg>,
        message: R::Msg,
        running: &mut Running<R>,
    ) -> Result<(), ActorProcessingErr> {
        let Running { actor: Some((actor, state)), own, .. } = running else { return Ok(()) };
        let handling = async { actor.handle(me, message, state).await };
        let handled = Box::pin(own.turn(MESSAGE, handling)).await;
        own.settle(handled)
    }

    async fn handle_supervisor_evt(
        &self,
        me: RactorRef<R::Msg>,
        event: SupervisionEvent,
        running: &mut Running<R>,
    ) -> Result<(), ActorProcessingErr> {
        let Running { actor: Some((actor, state)), own, .. } = running else { return Ok(()) };
        let handling = async { actor.handle_supervisor_evt(me, event, state).await };
        let handled = Box::pin(own.turn(SUPERVISION, handling)).await;
        own.settle(handled)
    }

    async fn post_stop(
        &self,
        me: RactorRef<R::Msg>,
        running: &mut Running<R>,
    ) -> Result<(), ActorProcessingErr> {
        let Running { actor, own, .. } = running;
        own.latch.lifecycle.enter(Phase::Stopping);
        if let Some((actor, state)) = actor {
            let stopping = async { actor.post_stop(me, state).await };
            let stopped = Box::pin(own.run(stopping)).await;
            own.settle(stopped)?;
        }
        own.latch.lifecycle.set_exit(Exit::Stopped);
        Ok(())
    }
}

impl<R: ractor::Actor> Running<R> {
    /// Before any message: what comes meanwhile waits.
    async fn start(&mut self, me: RactorRef<R::Msg>) -> Outcome {
        let (actor, args) = panics::catch(AssertUnwindSafe(|| (self.make)()))?;
        let state = self.own.run(async {
            let mut state = actor.pre_start(me.clone(), args).await?;
            actor.post_start(me, &mut state).await?;
            Ok(state)
        });
        let state = state.await?;
        self.actor = Some((actor, state));
        self.own.latch.lifecycle.enter(Phase::Running);
        Ok(())
    }
}

impl Own {
    fn name(&self) -> Option<&Arc<str>> {
        self.world.gate().map(|_| &self.path)
    }

    async fn run<T>(
        &self,
        future: impl Future<Output = Result<T, ActorProcessingErr>>,
    ) -> Result<T, Failure> {
        let ran = panics::catch_async(self.name(), pin!(future)).await?;
        ran.map_err(|error| Failure::of_error(&*error))
    }

    async fn turn(
        &self,
        name: usize,
        handling: impl Future<Output = Result<(), ActorProcessingErr>>,
    ) -> Outcome {
        if let Some(gate) = self.world.gate() {
            let passing = gate.pass(self.name().cloned(), GatePoint::Handle);
            panics::catch_async(self.name(), pin!(passing)).await?;
        }
        if self.stats.is_watched() {
            self.stats.befall(&self.world, Some(NAMES[name])).await?;
        }
        // Who sends to it does so by ractor: what waits is not known here.
        self.stats.count_own();
        let tracing = self.stats.tracing(NAMES[name], &self.world);
        let taken = self.stats.take(name, self.world.clock());
        if self.stats.is_watched() {
            self.stats.delay(&self.world).await;
        }
        let handled = self.run(handling).await;
        self.stats.end(taken, self.world.clock());
        if let Some(tracing) = tracing {
            tracing.end(&handled);
        }
        handled
    }

    /// After what may have failed.
    fn settle(&self, outcome: Outcome) -> Result<(), ActorProcessingErr> {
        let Err(failure) = outcome else { return Ok(()) };
        let text = failure.to_string();
        self.latch.lifecycle.set_exit(Exit::Failed(failure));
        self.latch.lifecycle.enter(Phase::Stopping);
        Err(text.into())
    }
}

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, Failure, Message};
use crate::address::{Address, ParentMailbox, Ref};
use crate::children::{Children, Seed};
use crate::credits::Credits;
use crate::lent::Lent;
use crate::lifecycle::{Exit, Latch, Lifecycle};
use crate::metrics::{Counter, Entry, Gauge, Stats, Taken};
use crate::policy::{ChildEvent, ChildSpec, SpawnError, Strategy};
use crate::shell::{Envelope, Plan};
use crate::timers::{Fired, TimerId, Timers};
use crate::world::{Bulkhead, JobLost, JobQueue, Task, World};

/// What an actor has beside its state: itself, its world, its children, timers and tasks. What it owns ends with it.
pub struct Cx<A: Actor> {
    me: Ref<A::Msg>,
    bulkhead: Bulkhead,
    queue: JobQueue,
    entry: Arc<Entry>,
    stop_requested: bool,
    // What thousands of resting actors do without is boxed, and made when needed.
    timers: Option<Box<Timers<A::Msg>>>,
    tasks: Option<Box<Tasks>>,
    children: Option<Box<Children>>,
    /// Last: when it is dropped, the parent learns that everything above is gone.
    latch: Arc<Latch>,
}

impl<A: Actor> Cx<A> {
    pub(crate) fn new(me: Ref<A::Msg>, plan: Plan, latch: Arc<Latch>) -> Cx<A> {
        let queue = me.identity.world.queue().clone();
        Cx {
            me,
            bulkhead: plan.bulkhead,
            queue,
            entry: plan.entry,
            stop_requested: false,
            timers: None,
            tasks: None,
            children: None,
            latch,
        }
    }

    fn children(&mut self) -> &mut Children {
        self.children.get_or_insert_with(|| {
            let notices = Arc::new(ParentMailbox(self.me.mailbox.clone()));
            let world = self.me.identity.world.clone();
            Box::new(Children::new(world, self.entry.clone(), notices, self.latch.clone()))
        })
    }

    fn timers(&mut self) -> (&mut Timers<A::Msg>, &Ref<A::Msg>) {
        let timers = self.timers.get_or_insert_with(|| Box::new(Timers::new(self.bulkhead)));
        (timers, &self.me)
    }

    fn add_task(&mut self, task: Task) {
        self.tasks.get_or_insert_default().add(task);
    }

    /// This incarnation.
    pub fn me(&self) -> &Ref<A::Msg> {
        &self.me
    }

    pub fn world(&self) -> &World {
        &self.me.identity.world
    }

    /// Its place in the tree: `node/partitions/orders-3`.
    pub fn path(&self) -> &str {
        self.me.path()
    }

    /// How many incarnations came before.
    pub fn generation(&self) -> u64 {
        self.me.generation()
    }

    /// Ends this actor when the handler returns; messages still in the mailbox are dropped.
    pub fn stop(&mut self) {
        self.stop_requested = true;
    }

    /// Who restarts when one child fails; one-for-one unless set.
    pub fn supervise(&mut self, strategy: Strategy) {
        self.children().strategy = strategy;
    }

    /// Spawns a child after those there are. It starts on its own: await [`Address::started`] where order matters.
    pub fn spawn<C: Actor>(
        &mut self,
        name: impl Into<String>,
        spec: impl Into<Arc<ChildSpec>>,
        args: C::Args,
    ) -> Result<Address<C::Msg>, SpawnError> {
        let (seed, address) = Seed::of::<C>(name, spec, args);
        self.children().add(seed).map(|_| address)
    }

    pub fn spawn_seed(&mut self, seed: Seed) -> Result<(), SpawnError> {
        self.children().add(seed).map(|_| ())
    }

    /// Spawns a child and waits until it has started. A first start that fails is an error here, whatever the child's policy.
    pub async fn spawn_seed_and_wait(&mut self, seed: Seed) -> Result<(), Failure> {
        let children = self.children();
        let key = children.add(seed)?;
        children.started(key).await.map_err(Failure::from)
    }

    /// Stops a child, waits for its end and forgets it. False where it does not end even when killed: it keeps its name until it
    /// does, which [`ChildChange::Stopped`](crate::ChildChange::Stopped) tells.
    pub async fn stop_child(&mut self, name: &str) -> bool {
        self.children().remove(name).await
    }

    /// Tells a child to stop, without waiting; it is forgotten once it has ended.
    pub fn dismiss(&mut self, name: &str) -> bool {
        self.children().dismiss(name)
    }

    /// Starts a child that is offline.
    pub fn revive(&mut self, name: &str) -> bool {
        self.children().revive(name)
    }

    pub fn child_names(&self) -> Vec<String> {
        self.children.as_ref().map(|children| children.names()).unwrap_or_default()
    }

    /// Also one that did not end even when killed as all were stopped.
    pub fn has_child(&self, name: &str) -> bool {
        self.children.as_ref().is_some_and(|children| children.has(name))
    }

    /// Stops all children, the last spawned first, each within its shutdown time.
    pub async fn stop_children(&mut self) {
        self.children().stop_all().await;
    }

    /// Sends a message to this actor later.
    pub fn send_after(&mut self, after: Duration, message: A::Msg) -> TimerId {
        let (timers, me) = self.timers();
        timers.once(me, after, message)
    }

    /// Sends a message every period, counted from when the one before was handled: a slow actor gets no heap of them.
    pub fn every(
        &mut self,
        period: Duration,
        message: impl FnMut() -> A::Msg + Send + 'static,
    ) -> TimerId {
        let (timers, me) = self.timers();
        timers.every(me, period, message)
    }

    /// From here on the timer's message is not handled, even where it is in the mailbox already.
    pub fn cancel(&mut self, timer: TimerId) {
        if let Some(timers) = &mut self.timers {
            timers.cancel(timer);
        }
    }

    /// Runs a future beside this actor, on its bulkhead, until it ends or the actor does.
    pub fn spawn_task(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let latch = self.latch.clone();
        let task = self.world().spawn(self.bulkhead, async move {
            future.await;
            drop(latch);
        });
        self.add_task(task);
    }

    /// From now on its blocking jobs wait in this queue.
    pub fn queue_jobs_in(&mut self, queue: &JobQueue) {
        self.queue = queue.clone();
    }

    /// Runs a blocking job and sends its result to this actor. The actor counts as alive until the job has ended.
    pub fn job<T: Send + 'static>(
        &mut self,
        name: &'static str,
        job: impl FnOnce() -> T + Send + 'static,
        message: impl FnOnce(Result<T, JobLost>) -> A::Msg + Send + 'static,
    ) {
        let (me, running) = (self.me.clone(), self.blocking(name, job));
        self.spawn_task(async move {
            let result = running.await;
            let _ = me.send(message(result)).await;
        });
    }

    /// Runs a blocking job, for which the actor waits. It counts as alive until the job has ended, also where it is killed
    /// meanwhile: what the job works on is not its successor's before.
    pub fn blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        name: &'static str,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + use<A, T, F> {
        self.blocking_in(&self.queue, name, job)
    }

    /// As [`Cx::blocking`], for a job that waits in another queue than those of this actor do.
    pub fn blocking_in<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        queue: &JobQueue,
        name: &'static str,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + use<A, T, F> {
        let (world, queue, latch) = (self.world().clone(), queue.clone(), self.latch.clone());
        async move {
            let body = move || {
                let result = job();
                drop(latch);
                result
            };
            world.blocking_in(&queue, name, body).await
        }
    }

    /// As [`Cx::blocking`], on a part of the actor's state, which the job has meanwhile.
    pub fn lend<'a, P, T, F>(
        &self,
        name: &'static str,
        part: &'a mut Lent<P>,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + use<'a, A, P, T, F>
    where
        P: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut P) -> T + Send + 'static,
    {
        self.lend_in(&self.queue, name, part, job)
    }

    /// As [`Cx::lend`], to a job that waits in another queue.
    pub fn lend_in<'a, P, T, F>(
        &self,
        queue: &JobQueue,
        name: &'static str,
        part: &'a mut Lent<P>,
        job: F,
    ) -> impl Future<Output = Result<T, JobLost>> + Send + use<'a, A, P, T, F>
    where
        P: Send + 'static,
        T: Send + 'static,
        F: FnOnce(&mut P) -> T + Send + 'static,
    {
        let running = part.take().map(|mut lent| {
            self.blocking_in(queue, name, move || {
                let result = job(&mut lent);
                (lent, result)
            })
        });
        async move {
            let Some(running) = running else {
                return Err(JobLost::Panicked(format!("what {name} needs was lost before")));
            };
            let (lent, result) = running.await?;
            part.give_back(lent);
            Ok(result)
        }
    }

    /// A number of this actor's own that only grows, kept over restarts.
    pub fn counter(&self, name: &'static str) -> Counter {
        self.entry.counter(name)
    }

    /// A number of this actor's own that comes and goes.
    pub fn gauge(&self, name: &'static str) -> Gauge {
        self.entry.gauge(name)
    }

    /// The same budget; what is taken of it this way is shown as held by this actor, until it is given back.
    pub fn credits(&self, of: &Credits) -> Credits {
        of.counted_in(&self.entry.credits())
    }

    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.latch.lifecycle
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.me.identity.stats
    }

    /// A message is taken in hand.
    pub(crate) fn begin(&self, message: &A::Msg) -> Option<Taken> {
        A::Msg::COUNTED.then(|| self.stats().take(message.index(), self.world().clock()))
    }

    pub(crate) fn end(&self, taken: Option<Taken>) {
        if let Some(taken) = taken {
            self.stats().end(taken, self.world().clock());
        }
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.stop_requested
    }

    pub(crate) fn timer_fired(&mut self, id: TimerId) -> Fired<A::Msg> {
        self.timers.as_mut().map_or(Fired::Cancelled, |timers| timers.fired(id))
    }

    pub(crate) fn rearm(&mut self, id: TimerId, after: Option<Duration>) {
        if let Some(after) = after {
            let (timers, me) = self.timers();
            timers.rearm(me, after, id);
        }
    }

    pub(crate) async fn child_exited(
        &mut self,
        child: u64,
        generation: u64,
        exit: Exit,
    ) -> Result<Vec<ChildEvent>, Failure> {
        let (events, respawn) = self.children().exited(child, generation, exit).await?;
        if let Some(after) = respawn {
            let (world, mailbox) = (self.world().clone(), self.me.mailbox.clone());
            let task = self.world().spawn(self.bulkhead, async move {
                world.sleep(after).await;
                let _ = mailbox.send_message(Envelope::Respawn { child });
            });
            self.add_task(task);
        }
        Ok(events)
    }

    pub(crate) async fn respawn(&mut self, child: u64) -> Vec<ChildEvent> {
        self.children().respawn(child).await
    }
}

/// Aborted when dropped.
#[derive(Default)]
struct Tasks {
    running: Vec<Task>,
    sweep_at: usize,
}

impl Tasks {
    fn add(&mut self, task: Task) {
        if self.running.len() >= self.sweep_at {
            self.running.retain(|task| !task.is_finished());
            self.sweep_at = 2 * self.running.len() + 8;
        }
        self.running.push(task);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.running {
            task.abort();
        }
    }
}

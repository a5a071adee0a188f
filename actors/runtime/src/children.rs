//! The children of one actor, in the order they were spawned, and what their policy asks for when one ends.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, Failure, FailureKind};
use crate::address::Address;
use crate::lifecycle::{Exit, Latch, Lifecycle, OnExit, Phase};
use crate::map::Map;
use crate::metrics::{Entry, Status};
use crate::policy::{
    ChangeHook, ChildChange, ChildEvent, ChildSpec, Failures, GiveUp, Restart, SpawnError, Strategy,
};
use crate::shell::{self, Control, Plan};
use crate::world::World;

/// How long a killed child may take to let go of its thread before it is given up as stuck.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// A child not spawned yet: its name, policy, type and arguments.
#[derive(Clone)]
pub struct Seed {
    name: String,
    /// Shared by those of one kind.
    spec: Arc<ChildSpec>,
    kind: &'static str,
    start: Arc<dyn Start>,
    on_change: Option<ChangeHook>,
}

impl Seed {
    pub fn of<A: Actor>(
        name: impl Into<String>,
        spec: impl Into<Arc<ChildSpec>>,
        args: A::Args,
    ) -> (Seed, Address<A::Msg>) {
        let address = Address::vacant();
        let seed = Seed::at::<A>(name, spec, args, &address);
        (seed, address)
    }

    /// For an address that others hold already.
    pub fn at<A: Actor>(
        name: impl Into<String>,
        spec: impl Into<Arc<ChildSpec>>,
        args: A::Args,
        address: &Address<A::Msg>,
    ) -> Seed {
        let start = Arc::new(Starter::<A> { args, address: address.clone() });
        Seed::by(name, spec, A::KIND, start)
    }

    pub(crate) fn by(
        name: impl Into<String>,
        spec: impl Into<Arc<ChildSpec>>,
        kind: &'static str,
        start: Arc<dyn Start>,
    ) -> Seed {
        Seed { name: name.into(), spec: spec.into(), kind, start, on_change: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Told at once of each change of the child, before the parent's `child_changed`.
    pub fn on_change(mut self, hook: impl Fn(&ChildEvent) + Send + Sync + 'static) -> Seed {
        self.on_change = Some(Arc::new(hook));
        self
    }
}

pub(crate) trait Start: Send + Sync {
    fn start(&self, plan: Plan) -> Option<Live>;
}

struct Starter<A: Actor> {
    args: A::Args,
    address: Address<A::Msg>,
}

impl<A: Actor> Start for Starter<A> {
    fn start(&self, plan: Plan) -> Option<Live> {
        let me = shell::spawn::<A>(plan, self.args.clone())?;
        self.address.lead_to(&me);
        Some(Live { lifecycle: me.identity.lifecycle.clone(), control: Box::new(me) })
    }
}

pub(crate) struct Live {
    pub(crate) control: Box<dyn Control>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

struct Child {
    seed: Seed,
    entry: Arc<Entry>,
    /// Of the incarnation that lives, or lived last; 0 before the first.
    generation: u64,
    live: Option<Live>,
    /// Boxed: few have failed.
    failed: Option<Box<Failed>>,
    /// Down, and to be spawned again.
    due: bool,
    dismissed: bool,
}

#[derive(Default)]
struct Failed {
    failures: Failures,
    /// Those that do not count.
    lacks: Failures,
}

pub(crate) struct Children {
    pub(crate) strategy: Strategy,
    /// Boxed: the nodes of a map are half empty.
    list: Map<u64, Box<Child>>,
    names: Map<String, u64>,
    next: u64,
    closed: bool,
    /// What did not end even when killed as all were stopped.
    stuck: Vec<String>,
    world: World,
    parent: Arc<Entry>,
    notices: Arc<dyn OnExit>,
    latch: Arc<Latch>,
}

impl Children {
    pub(crate) fn new(
        world: World,
        parent: Arc<Entry>,
        notices: Arc<dyn OnExit>,
        latch: Arc<Latch>,
    ) -> Children {
        Children {
            strategy: Strategy::default(),
            list: Map::new(),
            names: Map::new(),
            next: 0,
            closed: false,
            stuck: Vec::new(),
            world,
            parent,
            notices,
            latch,
        }
    }

    pub(crate) fn add(&mut self, seed: Seed) -> Result<u64, SpawnError> {
        if self.closed {
            return Err(SpawnError::Stopping(self.parent.path().to_string()));
        }
        if self.names.contains_key(&seed.name) {
            return Err(SpawnError::NameTaken(format!("{}/{}", self.parent.path(), seed.name)));
        }
        let key = self.next;
        self.next += 1;
        let path = format!("{}/{}", self.parent.path(), seed.name);
        let bulkhead = seed.spec.bulkhead.below(self.parent.bulkhead());
        let entry = self.world.registry().add(path, seed.kind, bulkhead);
        self.names.insert(seed.name.clone(), key);
        let child = Child {
            seed,
            entry,
            generation: 0,
            live: None,
            failed: None,
            due: true,
            dismissed: false,
        };
        self.list.insert(key, Box::new(child));
        self.launch(key);
        Ok(key)
    }

    /// Waits until a child has started; its end where it ended instead.
    pub(crate) async fn started(&self, key: u64) -> Result<(), Exit> {
        let live = self.list.get(&key).and_then(|child| child.live.as_ref());
        let Some(lifecycle) = live.map(|live| live.lifecycle.clone()) else { return Ok(()) };
        lifecycle.started().await
    }

    /// Spawns the next incarnation of a child that is due.
    fn launch(&mut self, key: u64) -> Option<ChildEvent> {
        let child = self.list.get_mut(&key)?;
        if !std::mem::take(&mut child.due) {
            return None;
        }
        child.generation += 1;
        child.entry.set_status(Status::Running);
        child.live = child.seed.start.clone().start(Plan {
            world: self.world.clone(),
            entry: child.entry.clone(),
            bulkhead: child.entry.bulkhead(),
            generation: child.generation,
            child: key,
            parent: Some(self.notices.clone()),
            above: Some(self.latch.clone()),
        });
        if child.live.is_none() {
            child.entry.set_status(Status::Offline);
            let path = child.entry.path();
            tracing::error!(%path, "could not be spawned");
            let cause = Failure::new("could not be spawned");
            return Some(child.event(ChildChange::Offline { cause }));
        }
        Some(child.event(ChildChange::Spawned { generation: child.generation }))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.list.values().map(|child| child.seed.name.clone()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.stuck.iter().any(|stuck| stuck == name)
    }

    pub(crate) fn dismiss(&mut self, name: &str) -> bool {
        let Some(key) = self.names.get(name).copied() else { return false };
        let Some(child) = self.list.get_mut(&key) else { return false };
        child.dismissed = true;
        match &child.live {
            Some(live) => live.control.stop(),
            None => drop(self.forget(key)),
        }
        true
    }

    /// Whether there is none of this name any more.
    pub(crate) async fn remove(&mut self, name: &str) -> bool {
        let Some(key) = self.names.get(name).copied() else { return true };
        if let Some(child) = self.list.get_mut(&key) {
            child.dismissed = true;
        }
        let ended = self.halt(key).await;
        if ended {
            self.forget(key);
        }
        ended
    }

    pub(crate) fn revive(&mut self, name: &str) -> bool {
        let Some(key) = self.names.get(name).copied() else { return false };
        let Some(child) = self.list.get_mut(&key) else { return false };
        if child.live.is_some() {
            return false;
        }
        child.will_revive();
        self.launch(key).is_some()
    }

    pub(crate) async fn stop_all(&mut self) {
        self.closed = true;
        for child in self.list.values().rev().filter(|child| child.seed.spec.stops_at_once) {
            if let Some(live) = &child.live {
                live.control.stop();
            }
        }
        while let Some(key) = self.list.keys().next_back().copied() {
            let ended = self.halt(key).await;
            let child = self.forget(key);
            self.stuck.extend(child.filter(|_| !ended).map(|child| child.seed.name));
        }
    }

    /// Stops a child and waits for its end; kills it where that takes too long. False where it does not let go even then.
    async fn halt(&mut self, key: u64) -> bool {
        let Some(child) = self.list.get_mut(&key) else { return true };
        child.due = false;
        let Some(live) = &child.live else { return true };
        let ended = live.lifecycle.reached(Phase::Ended);
        live.control.stop();
        if self.world.timeout(child.seed.spec.shutdown, ended).await.is_ok() {
            child.live = None;
            return true;
        }
        let path = child.entry.path();
        tracing::warn!(%path, "did not stop in time and is killed");
        live.control.kill();
        let ended = live.lifecycle.reached(Phase::Ended);
        let ended = self.world.timeout(KILL_GRACE, ended).await.is_ok();
        if ended {
            child.live = None;
        } else {
            tracing::error!(%path, "is stuck: it does not end even when killed");
        }
        ended
    }

    fn forget(&mut self, key: u64) -> Option<Box<Child>> {
        let child = self.list.remove(&key)?;
        self.names.remove(&child.seed.name);
        self.world.registry().remove(&child.entry);
        Some(child)
    }

    /// What the end of a child leads to: what to tell, and after which delay it is due again.
    pub(crate) async fn exited(
        &mut self,
        key: u64,
        generation: u64,
        exit: Exit,
    ) -> Result<(Vec<ChildEvent>, Option<Duration>), Failure> {
        // An end that was awaited in `halt` needs no answer.
        let Some(child) = self.list.get_mut(&key) else { return Ok((Vec::new(), None)) };
        if child.generation != generation || child.live.take().is_none() || self.closed {
            return Ok((Vec::new(), None));
        }
        let Some(cause) = child.failure_of(&exit) else {
            if let Some(failure) = exit.failure() {
                let path = child.entry.path();
                tracing::warn!(%path, cause = %failure, "failed");
            }
            let event = child.event(ChildChange::Stopped { failure: exit.failure().cloned() });
            self.forget(key);
            return Ok((vec![event], self.rest_is_due()));
        };
        let (now, intensity) = (self.world.mono(), child.seed.spec.intensity);
        let failed = child.failed.get_or_insert_default();
        let (failures, too_many) = match cause.kind {
            FailureKind::Lacking => (failed.lacks.note(now, intensity).0, false),
            _ => failed.failures.note(now, intensity),
        };
        child.entry.failed(now, &cause);
        if too_many {
            let event = self.give_up(key, failures, cause)?;
            let again = match self.strategy {
                Strategy::OneForOne => self.revival_of(key),
                Strategy::RestForOne | Strategy::OneForAll => self.rest_is_due(),
            };
            return Ok((vec![event], again));
        }
        let after = child.seed.spec.backoff.delay(failures, &mut self.world.random("backoff"));
        child.due = true;
        child.entry.set_status(Status::Restarting);
        let path = child.entry.path();
        tracing::warn!(%path, %cause, ?after, "failed and is restarted");
        let mut events = vec![child.event(ChildChange::Restarting { cause: cause.clone(), after })];
        for other in self.siblings_of(key) {
            events.extend(self.halt_for_group(other, &cause, after).await?);
        }
        Ok((events, Some(after)))
    }

    /// At once, where a group that restarts waited for one that does not come back.
    fn rest_is_due(&self) -> Option<Duration> {
        let group = self.strategy != Strategy::OneForOne;
        (group && self.list.values().any(|child| child.due)).then_some(Duration::ZERO)
    }

    fn give_up(
        &mut self,
        key: u64,
        failures: usize,
        cause: Failure,
    ) -> Result<ChildEvent, Failure> {
        let Some(child) = self.list.get_mut(&key) else { return Err(cause) };
        let path = child.entry.path();
        let within = child.seed.spec.intensity.within;
        tracing::error!(%path, %cause, failures, ?within, "failed too often: given up");
        let text = format!("{path} failed {failures} times within {within:?}, last: {cause}");
        child.given_up(text, cause)
    }

    fn revival_of(&mut self, key: u64) -> Option<Duration> {
        let child = self.list.get_mut(&key)?;
        let after = child.seed.spec.revive_after?;
        child.will_revive();
        Some(after)
    }

    /// Who restarts with a failed child, the last spawned first.
    fn siblings_of(&self, failed: u64) -> Vec<u64> {
        let keys = self.list.keys().rev().copied();
        match self.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::RestForOne => keys.take_while(|key| *key > failed).collect(),
            Strategy::OneForAll => keys.filter(|key| *key != failed).collect(),
        }
    }

    async fn halt_for_group(
        &mut self,
        key: u64,
        cause: &Failure,
        after: Duration,
    ) -> Result<Option<ChildEvent>, Failure> {
        if self.list.get(&key).is_none_or(|child| child.live.is_none()) {
            return Ok(None);
        }
        let ended = self.halt(key).await;
        let Some(child) = self.list.get_mut(&key) else { return Ok(None) };
        if !ended {
            // Its end, when it comes, counts as a failure.
            let text = format!("{} is stuck: it does not end even when killed", child.entry.path());
            let stuck = Failure::of_kind(FailureKind::Killed, text.as_str());
            return child.given_up(text, stuck).map(Some);
        }
        if child.dismissed || child.seed.spec.restart == Restart::Temporary {
            let event = child.event(ChildChange::Stopped { failure: None });
            self.forget(key);
            return Ok(Some(event));
        }
        child.due = true;
        child.entry.set_status(Status::Restarting);
        child.entry.goes_with(cause);
        Ok(Some(child.event(ChildChange::Restarting { cause: cause.clone(), after })))
    }

    /// Spawns all that are due, in order; where they depend on each other, each after the one before has started.
    pub(crate) async fn respawn(&mut self, key: u64) -> Vec<ChildEvent> {
        let due: Vec<u64> = match self.strategy {
            _ if self.closed => Vec::new(),
            Strategy::OneForOne => vec![key],
            _ => self.list.iter().filter(|(_, c)| c.due).map(|(key, _)| *key).collect(),
        };
        let mut events = Vec::new();
        for key in due {
            events.extend(self.launch(key));
            if self.strategy == Strategy::OneForOne {
                continue;
            }
            if self.started(key).await.is_err() {
                // Its own failure brings the group round again.
                break;
            }
        }
        events
    }
}

impl Child {
    fn event(&self, change: ChildChange) -> ChildEvent {
        let event = ChildEvent { name: self.seed.name.clone(), change };
        if let Some(hook) = &self.seed.on_change {
            hook(&event);
        }
        event
    }

    /// What it did before is forgiven.
    fn will_revive(&mut self) {
        self.due = true;
        if let Some(failed) = &mut self.failed {
            failed.failures.forget();
        }
    }

    /// What its policy says of one that does not come back: it is offline alone, or its parent fails, of this.
    fn given_up(&self, parents: String, cause: Failure) -> Result<ChildEvent, Failure> {
        self.entry.set_status(Status::Offline);
        match self.seed.spec.give_up {
            GiveUp::Offline => Ok(self.event(ChildChange::Offline { cause })),
            GiveUp::Escalate => {
                Err(Failure { message: parents, kind: FailureKind::Error, ..cause })
            }
        }
    }

    /// The failure that its policy makes of an end; `None` where it is forgotten.
    fn failure_of(&self, exit: &Exit) -> Option<Failure> {
        match (self.seed.spec.restart, exit) {
            _ if self.dismissed => None,
            (Restart::Temporary, _) => None,
            (_, Exit::Failed(failure)) => Some(failure.clone()),
            (Restart::Transient, _) => None,
            (Restart::Permanent, _) => {
                Some(Failure::of_kind(FailureKind::Ended, "ended although it is permanent"))
            }
        }
    }
}

/// Where the parent was killed and could not stop them in order.
impl Drop for Children {
    fn drop(&mut self) {
        for child in self.list.values().rev() {
            if let Some(live) = &child.live {
                live.control.kill();
            }
            self.world.registry().remove(&child.entry);
        }
    }
}

//! What users put into a node before it starts.

use std::collections::BTreeSet;
use std::sync::Arc;

use coordinators::{DurableTopic, Registration};
use network::{Interceptor, Interceptors};
use runtime::durable::Durable;
use runtime::{Actor, ChildSpec, Seed, World, ractor};

use super::handle::{self, NodeHandle};
use super::tree::Shared;
use super::{ExtendError, NodeBuilder, StartError, policy, shards};

/// Made once there is a node to hand to it.
type Planned = Box<dyn FnOnce(&NodeHandle) -> Seed + Send>;

#[derive(Default)]
pub(crate) struct Additions {
    pub(super) durables: Vec<Arc<dyn Registration>>,
    pub(super) interceptors: Interceptors,
    intercepting: Vec<Seed>,
    extensions: Vec<(String, Planned)>,
    wrong: Option<StartError>,
}

impl Additions {
    /// Whether all of it can be.
    pub(super) fn check(&mut self) -> Result<(), StartError> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        for (name, _) in &self.extensions {
            if let Err(ExtendError::Name { name, reason }) = handle::check_name(name) {
                return Err(wrong(&name, reason.to_owned()));
            }
        }
        let mut names = BTreeSet::new();
        let intercepting = self.intercepting.iter().map(Seed::name);
        let all = intercepting.chain(self.extensions.iter().map(|(name, _)| name.as_str()));
        for name in all {
            if !names.insert(name) {
                return Err(wrong(name, "there is another of this name".to_owned()));
            }
        }
        shards::check(&self.durables)
    }

    /// The actors under `extensions`.
    pub(super) fn seeds(self, world: &World, shared: &Shared) -> Result<Vec<Seed>, StartError> {
        let mut seeds = self.intercepting;
        if let Some((first, _)) = self.extensions.first() {
            let handle = NodeHandle::of(shared, world);
            let handle = handle.map_err(|error| wrong(first, error.to_string()))?;
            seeds.extend(self.extensions.into_iter().map(|(_, plan)| plan(&handle)));
        }
        Ok(seeds)
    }
}

fn wrong(name: &str, reason: String) -> StartError {
    StartError::Extension { name: name.to_owned(), reason }
}

impl NodeBuilder {
    /// An actor of one's own under `extensions`, from the node's start on: restarted when it fails, shown in the tree, stopped before the
    /// network. `args` is given the node, to make of it what the actor starts from.
    pub fn extension<A: Actor>(
        self,
        name: &str,
        args: impl FnOnce(&NodeHandle) -> A::Args + Send + 'static,
    ) -> Self {
        self.extension_with::<A>(name, policy::extension(), args)
    }

    /// As [`NodeBuilder::extension`], under a policy of one's own. Whatever that says, one that is given up is offline alone.
    pub fn extension_with<A: Actor>(
        self,
        name: &str,
        spec: ChildSpec,
        args: impl FnOnce(&NodeHandle) -> A::Args + Send + 'static,
    ) -> Self {
        let (named, spec) = (name.to_owned(), policy::of_users(spec));
        self.planned(name, move |node| Seed::of::<A>(named, spec, args(node)).0)
    }

    /// As [`NodeBuilder::extension`], of an actor of ractor's own trait. `make` gives it, and what it starts from, also after a failure.
    pub fn ractor_extension<R: ractor::Actor>(
        self,
        name: &str,
        make: impl Fn(&NodeHandle) -> (R, R::Arguments) + Send + Sync + 'static,
    ) -> Self {
        self.ractor_extension_with(name, policy::extension(), make)
    }

    /// As [`NodeBuilder::ractor_extension`], under a policy of one's own. One that is given up is offline alone.
    pub fn ractor_extension_with<R: ractor::Actor>(
        self,
        name: &str,
        spec: ChildSpec,
        make: impl Fn(&NodeHandle) -> (R, R::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let (named, spec) = (name.to_owned(), policy::of_users(spec));
        self.planned(name, move |node| {
            let node = node.clone();
            Seed::of_ractor(named, spec, move || make(&node)).0
        })
    }

    fn planned(
        mut self,
        name: &str,
        plan: impl FnOnce(&NodeHandle) -> Seed + Send + 'static,
    ) -> Self {
        self.additions.extensions.push((name.to_owned(), Box::new(plan)));
        self
    }

    /// The records that clients write to a topic of this node, or read from it, go through this.
    pub fn intercept<I: Interceptor>(self, topic: &str, args: I::Args) -> Self {
        self.intercept_with::<I>(topic, policy::interceptor(), args)
    }

    /// As [`NodeBuilder::intercept`], under a policy of one's own. One that is given up is offline, and so is its topic to clients.
    pub fn intercept_with<I: Interceptor>(
        mut self,
        topic: &str,
        spec: ChildSpec,
        args: I::Args,
    ) -> Self {
        match handle::interceptor::<I>(&self.additions.interceptors, topic, spec, args) {
            Ok(seed) => self.additions.intercepting.push(seed),
            Err(error) => {
                let reason = match error {
                    ExtendError::Topic { reason, .. } => reason.to_string(),
                    other => other.to_string(),
                };
                let wrong = StartError::Interceptor { topic: topic.to_owned(), reason };
                self.additions.wrong.get_or_insert(wrong);
            }
        }
        self
    }

    /// Registers a durable actor on a topic, which is created when it is first asked. All nodes of a cluster register the same.
    pub fn durable<D: Durable>(self, topic: &str, durable: D) -> Self {
        self.durable_on(topic, DurableTopic::default(), durable)
    }

    /// As [`NodeBuilder::durable`], on a topic with settings of one's own.
    pub fn durable_on<D: Durable>(mut self, topic: &str, on: DurableTopic, durable: D) -> Self {
        self.additions.durables.push(coordinators::register(topic, durable, on));
        self
    }
}

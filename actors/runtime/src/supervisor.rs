use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::actor::{Actor, Failure, Outcome};
use crate::children::Seed;
use crate::cx::Cx;
use crate::policy::{ChildChange, ChildEvent, SpawnError, Strategy};
use crate::reply::Reply;

/// An actor that does nothing but watch over its children: those it starts with, in order, and those added to it. Where one of
/// the former fails at its first start, so does this, and its own supervisor decides: a node that lacks something says so at once.
pub struct Supervisor {
    added: Added,
}

#[derive(Clone)]
pub struct SupervisorArgs {
    strategy: Strategy,
    children: Vec<Seed>,
    added: Added,
}

impl SupervisorArgs {
    pub fn new(strategy: Strategy, children: Vec<Seed>) -> SupervisorArgs {
        SupervisorArgs { strategy, children, added: Added::default() }
    }

    /// With these added to it: a first start of theirs that fails is not its own failure.
    #[must_use]
    pub fn with_added(self, seeds: Vec<Seed>) -> SupervisorArgs {
        SupervisorArgs { added: Added(Arc::new(Mutex::new(seeds))), ..self }
    }
}

/// The children that were added to a supervisor and have not ended for good: its next incarnation has them again.
#[derive(Clone, Default)]
struct Added(Arc<Mutex<Vec<Seed>>>);

impl Added {
    fn seeds(&self) -> MutexGuard<'_, Vec<Seed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, name: &str) {
        self.seeds().retain(|seed| seed.name() != name);
    }
}

pub enum SupervisorMsg {
    Add {
        seed: Seed,
        reply: Reply<Result<(), SpawnError>>,
    },
    /// Stops the child and forgets it; whether there is none any more.
    Remove {
        name: String,
        reply: Reply<bool>,
    },
    Revive {
        name: String,
        reply: Reply<bool>,
    },
    Children {
        reply: Reply<Vec<String>>,
    },
}

crate::messages!(SupervisorMsg { Add, Remove, Revive, Children });

impl Actor for Supervisor {
    const KIND: &'static str = "supervisor";
    type Msg = SupervisorMsg;
    type Args = SupervisorArgs;

    async fn start(cx: &mut Cx<Self>, args: SupervisorArgs) -> Result<Self, Failure> {
        cx.supervise(args.strategy);
        for seed in args.children {
            cx.spawn_seed_and_wait(seed).await?;
        }
        let added = args.added;
        let seeds = added.seeds().clone();
        for seed in seeds {
            cx.spawn_seed(seed)?;
        }
        Ok(Supervisor { added })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: SupervisorMsg) -> Outcome {
        match msg {
            SupervisorMsg::Add { seed, reply } => {
                let spawned = cx.spawn_seed(seed.clone());
                if spawned.is_ok() {
                    self.added.seeds().push(seed);
                }
                reply.send(spawned);
            }
            SupervisorMsg::Remove { name, reply } => {
                // Before its end is waited for: it is not to be there again if this fails meanwhile.
                self.added.forget(&name);
                let found = cx.stop_child(&name).await;
                reply.send(found);
            }
            SupervisorMsg::Revive { name, reply } => reply.send(cx.revive(&name)),
            SupervisorMsg::Children { reply } => reply.send(cx.child_names()),
        }
        Ok(())
    }

    async fn child_changed(&mut self, _cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        if matches!(event.change, ChildChange::Stopped { .. }) {
            self.added.forget(&event.name);
        }
        Ok(())
    }
}

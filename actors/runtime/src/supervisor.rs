use crate::actor::{Actor, Failure, Outcome};
use crate::children::Seed;
use crate::cx::Cx;
use crate::policy::{SpawnError, Strategy};
use crate::reply::Reply;

/// An actor that does nothing but watch over its children: those it starts with, in order, and those added later. Where one of
/// the former fails at its first start, so does this, and its own supervisor decides: a node that lacks something says so at once.
pub struct Supervisor;

#[derive(Clone)]
pub struct SupervisorArgs {
    pub strategy: Strategy,
    pub children: Vec<Seed>,
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
        Ok(Supervisor)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: SupervisorMsg) -> Outcome {
        match msg {
            SupervisorMsg::Add { seed, reply } => reply.send(cx.spawn_seed(seed)),
            SupervisorMsg::Remove { name, reply } => {
                let found = cx.stop_child(&name).await;
                reply.send(found);
            }
            SupervisorMsg::Revive { name, reply } => reply.send(cx.revive(&name)),
            SupervisorMsg::Children { reply } => reply.send(cx.child_names()),
        }
        Ok(())
    }
}

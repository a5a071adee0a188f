use crate::actor::Actor;
use crate::address::Ref;
use crate::lifecycle::{Exit, Phase};
use crate::metrics::Status;
use crate::shell::{self, Control, Plan};
use crate::world::{Bulkhead, World};

/// The top of a tree. Nobody restarts it: when it ends, the node has.
#[derive(Debug)]
pub struct Root<A: Actor> {
    me: Ref<A::Msg>,
}

/// Spawns the root of a tree.
pub fn spawn_root<A: Actor>(world: &World, name: &str, args: A::Args) -> Option<Root<A>> {
    let entry = world.registry().add(name.to_owned(), A::KIND, Bulkhead::Control);
    entry.set_status(Status::Running);
    let plan = Plan {
        world: world.clone(),
        entry,
        bulkhead: Bulkhead::Control,
        generation: 1,
        child: 0,
        parent: None,
        above: None,
    };
    Some(Root { me: shell::spawn::<A>(plan, args)? })
}

impl<A: Actor> Root<A> {
    pub fn me(&self) -> &Ref<A::Msg> {
        &self.me
    }

    /// Waits until it has started.
    pub async fn started(&self) -> Result<(), Exit> {
        self.me.started().await
    }

    /// Waits until the whole tree has ended.
    pub async fn ended(&self) -> Exit {
        self.me.ended().await
    }

    /// Stops the tree, children before parents, the last spawned first.
    pub async fn stop(&self) -> Exit {
        self.me.stop();
        self.ended().await
    }

    /// Ends everything without `stop`: as far as one can within a process.
    pub fn kill(&self) {
        self.me.kill();
    }

    pub fn phase(&self) -> Phase {
        self.me.identity.lifecycle.phase()
    }
}

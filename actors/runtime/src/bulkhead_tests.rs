//! Each actor is on the threads of its bulkhead, with all that it does; what holds up those of one holds up no other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use disk::RealDisk;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// Says on which threads it is.
struct Local {
    started: String,
}

enum LocalMsg {
    /// Of its start, this handler, a task of its own, and a job.
    Where(Reply<[String; 4]>),
    /// Its thread waits until the sender is gone.
    Block { begun: Reply<()>, until: Receiver<()> },
}

messages!(LocalMsg { Where, Block });

impl Actor for Local {
    const KIND: &'static str = "local";
    type Msg = LocalMsg;
    type Args = ();

    async fn start(_cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Local { started: thread() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: LocalMsg) -> Outcome {
        match msg {
            LocalMsg::Where(reply) => {
                let (started, here) = (self.started.clone(), thread());
                let job = cx.world().blocking("where", thread).await?;
                cx.spawn_task(async move { reply.send([started, here, thread(), job]) });
            }
            LocalMsg::Block { begun, until } => {
                begun.send(());
                assert!(until.recv().is_err());
            }
        }
        Ok(())
    }
}

/// Has one in each bulkhead.
struct House(Vec<Address<LocalMsg>>);

enum HouseMsg {
    Locals(Reply<Vec<Address<LocalMsg>>>),
}

messages!(HouseMsg { Locals });

impl Actor for House {
    const KIND: &'static str = "house";
    type Msg = HouseMsg;
    type Args = ();

    async fn start(cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        let mut locals = Vec::new();
        for bulkhead in Bulkhead::ALL {
            let spec = ChildSpec::permanent().on(bulkhead);
            locals.push(cx.spawn::<Local>(bulkhead.name(), spec, ())?);
        }
        Ok(House(locals))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: HouseMsg) -> Outcome {
        let HouseMsg::Locals(reply) = msg;
        reply.send(self.0.clone());
        Ok(())
    }
}

async fn check(bulkhead: Bulkhead, local: &Address<LocalMsg>) {
    let own = format!("ottla-{}", bulkhead.name());
    let found = local.ask(LIMIT, LocalMsg::Where).await.unwrap();
    assert_eq!(found, [&*own, &*own, &*own, "ottla-storage-jobs"]);
}

#[test]
fn each_actor_is_on_its_own_threads_and_goes_on_while_those_of_others_wait() {
    let sizes = BulkheadSizes { network: 1, storage: 1, control: 1, jobs: 1 };
    let bulkheads = Bulkheads::new(sizes).unwrap();
    let world = World::real(bulkheads.handles(), Arc::new(RealDisk::new()));
    bulkheads.block_on(async {
        let house = spawn_root::<House>(&world, "house", ()).unwrap();
        let locals = house.me().ask(LIMIT, HouseMsg::Locals).await.unwrap();
        let all = || Bulkhead::ALL.into_iter().zip(&locals);
        for (bulkhead, local) in all() {
            check(bulkhead, local).await;
            let (name, told) = Reply::new();
            world.spawn(bulkhead, async move { name.send(thread()) }).join().await;
            assert_eq!(told.get().await.unwrap(), format!("ottla-{}", bulkhead.name()));
        }
        for (blocked, waiting) in all() {
            let (held, until) = channel();
            waiting.ask(LIMIT, |begun| LocalMsg::Block { begun, until }).await.unwrap();
            for (bulkhead, local) in all().filter(|(bulkhead, _)| *bulkhead != blocked) {
                check(bulkhead, local).await;
            }
            drop(held);
            check(blocked, waiting).await;
        }
        house.stop().await;
    });
    bulkheads.shutdown(Duration::from_secs(1));
}

use std::time::Duration;

use ottla::runtime::{Actor, Address, ChildChange, ChildEvent, ChildSpec, Cx, Failure, GiveUp};
use ottla::runtime::{Outcome, Reply, messages};

use super::worker::{Work, Worker};

const NAMES: [&str; 2] = ["left", "right"];

/// One of its workers works. When that one fails, the other does at once, and the first is the spare one once it is back.
pub struct Pair {
    workers: [Address<Work>; 2],
    active: usize,
}

pub enum PairMsg {
    /// Of 100; answers who did it, too.
    Divide(u32, Reply<(u32, String)>),
    Revive(String),
}
messages!(PairMsg { Divide, Revive });

impl Actor for Pair {
    const KIND: &'static str = "pair";
    type Msg = PairMsg;
    type Args = ();

    async fn start(cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        let spec = ChildSpec::permanent().intensity(1, Duration::from_secs(60));
        let spec = spec.give_up(GiveUp::Offline);
        let mut worker = |name| cx.spawn::<Worker>(name, spec.clone(), ());
        Ok(Pair { workers: [worker(NAMES[0])?, worker(NAMES[1])?], active: 0 })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PairMsg) -> Outcome {
        match msg {
            // Where both are down, who asked is told that the answer was dropped.
            PairMsg::Divide(by, to) => {
                drop(self.workers[self.active].send(Work::Divide(by, to)).await)
            }
            PairMsg::Revive(name) => drop(cx.revive(&name)),
        }
        Ok(())
    }

    async fn child_changed(&mut self, cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        match event.change {
            ChildChange::Restarting { .. } => {}
            ChildChange::Offline { .. } => {
                cx.send_after(Duration::from_secs(1), PairMsg::Revive(event.name.clone()));
            }
            _ => return Ok(()),
        }
        if event.name == NAMES[self.active] {
            self.active = 1 - self.active;
        }
        Ok(())
    }
}

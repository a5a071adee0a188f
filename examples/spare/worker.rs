use ottla::runtime::{Actor, Cx, Failure, Outcome, Reply, messages};

/// Divides, and panics where it is asked to divide by nothing.
pub struct Worker;
pub enum Work {
    Divide(u32, Reply<(u32, String)>),
}
messages!(Work { Divide });

impl Actor for Worker {
    const KIND: &'static str = "worker";
    type Msg = Work;
    type Args = ();

    async fn start(_cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Worker)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, Work::Divide(by, reply): Work) -> Outcome {
        reply.send((100 / by, cx.path().to_owned()));
        Ok(())
    }
}

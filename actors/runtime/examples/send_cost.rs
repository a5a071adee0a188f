//! What a message costs through the kit, beside the kit where it counts and times nothing, and beside ractor bare:
//! `cargo run --release -p ottla-runtime --example send_cost`. With `kit`, `uncounted` or `ractor` behind it, that one alone on one
//! thread, for a profiler.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures what the kit wraps"
)]

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_runtime::{
    Actor, Bulkhead, Cx, Failure, Handles, Message, Outcome, Reply, World, messages, spawn_root,
};

const MESSAGES: u64 = 1_000_000;
const ROUNDS: usize = 7;
const LIMIT: Duration = Duration::from_secs(60);

/// As large as a partition's usual message.
enum SumMsg {
    Add { n: u64, _rest: [u64; 7] },
    Get(Reply<u64>),
}

messages!(SumMsg { Add, Get });

fn add(n: u64) -> SumMsg {
    SumMsg::Add { n, _rest: [n; 7] }
}

/// The same, of which the kit counts and times none.
struct Uncounted(SumMsg);

impl Message for Uncounted {
    const NAMES: &'static [&'static str] = SumMsg::NAMES;
    const COUNTED: bool = false;

    fn index(&self) -> usize {
        self.0.index()
    }
}

impl From<SumMsg> for Uncounted {
    fn from(msg: SumMsg) -> Uncounted {
        Uncounted(msg)
    }
}

impl From<Uncounted> for SumMsg {
    fn from(msg: Uncounted) -> SumMsg {
        msg.0
    }
}

struct Sum<M>(u64, PhantomData<fn(M)>);

impl<M: Message + Into<SumMsg>> Actor for Sum<M> {
    const KIND: &'static str = "sum";
    type Msg = M;
    type Args = ();

    async fn start(_cx: &mut Cx<Self>, _args: ()) -> Result<Self, Failure> {
        Ok(Sum(0, PhantomData))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: M) -> Outcome {
        match msg.into() {
            SumMsg::Add { n, .. } => self.0 += n,
            SumMsg::Get(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

struct Bare;

impl ractor::Actor for Bare {
    type Msg = SumMsg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(
        &self,
        _me: ractor::ActorRef<SumMsg>,
        _args: (),
    ) -> Result<u64, ractor::ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _me: ractor::ActorRef<SumMsg>,
        msg: SumMsg,
        state: &mut u64,
    ) -> Result<(), ractor::ActorProcessingErr> {
        match msg {
            SumMsg::Add { n, .. } => *state += n,
            SumMsg::Get(reply) => reply.send(*state),
        }
        Ok(())
    }
}

/// Nanoseconds per message, from the first send until the last is handled.
fn per_message(from: Instant) -> f64 {
    from.elapsed().as_nanos() as f64 / MESSAGES as f64
}

async fn through_the_kit<M: Message + From<SumMsg> + Into<SumMsg>>(world: World) -> f64 {
    let root = spawn_root::<Sum<M>>(&world, "sum", ()).expect("spawns");
    root.started().await.expect("starts");
    let (me, from) = (root.me().clone(), Instant::now());
    for n in 0..MESSAGES {
        me.send(add(n).into()).await.expect("alive");
        if n % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    me.ask(LIMIT, |reply| SumMsg::Get(reply).into()).await.expect("answers");
    let cost = per_message(from);
    root.stop().await;
    cost
}

async fn through_ractor() -> f64 {
    let (me, _) = <Bare as ractor::Actor>::spawn(None, Bare, ()).await.expect("spawns");
    let from = Instant::now();
    for n in 0..MESSAGES {
        me.send_message(add(n)).expect("alive");
        if n % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (reply, answer) = Reply::new();
    me.send_message(SumMsg::Get(reply)).expect("alive");
    answer.get().await.expect("answers");
    let cost = per_message(from);
    me.stop(None);
    cost
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

fn measure(name: &str, runtime: &tokio::runtime::Runtime) {
    let disk = Arc::new(disk::RealDisk::new());
    let world = World::real(Handles::shared(runtime.handle().clone()), disk);
    let (mut kit, mut uncounted, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let only = std::env::args().nth(1);
    let wanted = |which| only.as_deref().is_none_or(|only| only == which);
    let on = world.handles().get(Bulkhead::Network).clone();
    for _ in 0..ROUNDS {
        if wanted("ractor") {
            bare.push(runtime.block_on(on.spawn(through_ractor())).expect("runs"));
        }
        if wanted("uncounted") {
            let run = on.spawn(through_the_kit::<Uncounted>(world.clone()));
            uncounted.push(runtime.block_on(run).expect("runs"));
        }
        if wanted("kit") {
            let run = on.spawn(through_the_kit::<SumMsg>(world.clone()));
            kit.push(runtime.block_on(run).expect("runs"));
        }
    }
    let (kit, uncounted, bare) = (median(kit), median(uncounted), median(bare));
    let (metrics, all) = (kit - uncounted, kit - bare);
    println!(
        "{name}: ractor {bare:.0} ns, kit without metrics {uncounted:.0} ns, kit {kit:.0} ns: \
         {metrics:+.0} ns for metrics, {all:+.0} ns for all of the kit, per message"
    );
}

fn main() {
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    if std::env::args().nth(1).is_none() {
        measure("two threads", &threads.expect("a runtime"));
    }
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build();
    measure("one thread", &one.expect("a runtime"));
}

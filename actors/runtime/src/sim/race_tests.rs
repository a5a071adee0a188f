//! A planted race that tokio's own order never shows and the gate finds; and an order that holds, which it must not break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::{
    Actor, Address, ChildSpec, Cx, Failure, Outcome, Supervisor, SupervisorArgs, messages,
    prometheus, spawn_root,
};

/// Receives a write and a read; believes that the write is always first, as its way is shorter.
struct Register {
    written: bool,
    early_reads: Arc<AtomicU64>,
}

enum RegisterMsg {
    Write,
    Read,
}

messages!(RegisterMsg { Write, Read });

impl Actor for Register {
    const KIND: &'static str = "register";
    type Msg = RegisterMsg;
    type Args = Arc<AtomicU64>;

    async fn start(_cx: &mut Cx<Self>, early_reads: Self::Args) -> Result<Self, Failure> {
        Ok(Register { written: false, early_reads })
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: RegisterMsg) -> Outcome {
        match msg {
            RegisterMsg::Write => self.written = true,
            RegisterMsg::Read if !self.written => {
                self.early_reads.fetch_add(1, Ordering::SeqCst);
            }
            RegisterMsg::Read => {}
        }
        Ok(())
    }
}

/// Passes the write on to the register, the read first through some others.
struct Relay {
    next: Option<Address<RelayMsg>>,
    register: Address<RegisterMsg>,
}

enum RelayMsg {
    Write,
    Read,
}

messages!(RelayMsg { Write, Read });

impl Actor for Relay {
    const KIND: &'static str = "relay";
    type Msg = RelayMsg;
    type Args = (Option<Address<RelayMsg>>, Address<RegisterMsg>);

    async fn start(_cx: &mut Cx<Self>, (next, register): Self::Args) -> Result<Self, Failure> {
        Ok(Relay { next, register })
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: RelayMsg) -> Outcome {
        match (msg, &self.next) {
            (RelayMsg::Write, _) => self.register.send(RegisterMsg::Write).await?,
            (RelayMsg::Read, Some(next)) => next.send(RelayMsg::Read).await?,
            (RelayMsg::Read, None) => self.register.send(RegisterMsg::Read).await?,
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Write and read go to different relays: their order is nobody's promise.
    Racing { hops: usize },
    /// The register has the write in its mailbox before the read sets out.
    Ordered { hops: usize },
}

/// How many reads came before their write, under one seed.
fn early_reads(seed: u64, schedule: Schedule, way: Way) -> u64 {
    let found = Arc::new(AtomicU64::new(0));
    let early = found.clone();
    let mut simulation = Simulation::new(SimOptions { schedule, ..SimOptions::seed(seed) });
    simulation.add_node("one", move |life| {
        let early = early.clone();
        async move { scenario(life, early, way).await }
    });
    simulation.run_for(Duration::from_millis(20));
    found.load(Ordering::SeqCst)
}

async fn scenario(life: Life, early: Arc<AtomicU64>, way: Way) {
    let (Way::Racing { hops } | Way::Ordered { hops }) = way;
    let spec = ChildSpec::permanent;
    let (register_seed, register) = crate::Seed::of::<Register>("register", spec(), early);
    let mut children = vec![register_seed];
    let mut last = None;
    for hop in 0..=hops {
        let (seed, relay) =
            crate::Seed::of::<Relay>(format!("read-{hop}"), spec(), (last, register.clone()));
        children.push(seed);
        last = Some(relay);
    }
    let (seed, writer) = crate::Seed::of::<Relay>("write", spec(), (None, register.clone()));
    children.push(seed);
    let args = SupervisorArgs::new(crate::Strategy::OneForOne, children);
    let root = spawn_root::<Supervisor>(&life.world, "node", args).unwrap();
    root.started().await.unwrap();
    match way {
        Way::Racing { .. } => writer.send(RelayMsg::Write).await.unwrap(),
        Way::Ordered { .. } => register.send(RegisterMsg::Write).await.unwrap(),
    }
    last.unwrap().send(RelayMsg::Read).await.unwrap();
    root.ended().await;
}

fn found_by(schedule: Schedule, way: Way) -> usize {
    (0..100).filter(|seed| early_reads(*seed, schedule, way) > 0).count()
}

#[test]
fn the_order_of_tokio_hides_the_race() {
    assert_eq!(found_by(Schedule::Fifo, Way::Racing { hops: 0 }), 0);
    assert_eq!(found_by(Schedule::Fifo, Way::Racing { hops: 3 }), 0);
}

#[test]
fn the_gate_finds_the_race() {
    let shallow = found_by(Schedule::Random, Way::Racing { hops: 0 });
    assert!(shallow >= 10, "random: {shallow} of 100 seeds");
    for hops in [0, 3] {
        let found = found_by(Schedule::Pct, Way::Racing { hops });
        assert!(found >= 10, "PCT, {hops} hops: {found} of 100 seeds");
    }
}

#[test]
fn what_a_mailbox_promises_holds_under_every_schedule() {
    for schedule in [Schedule::Fifo, Schedule::Random, Schedule::Pct] {
        assert_eq!(found_by(schedule, Way::Ordered { hops: 1 }), 0, "{schedule:?}");
    }
}

#[test]
fn a_planned_panic_hits_handling_or_sending_and_is_supervised() {
    // The relay's steps: it handles the write, then sends it on.
    for skip in [0, 1] {
        let mut simulation = Simulation::new(SimOptions::seed(skip));
        let early = Arc::new(AtomicU64::new(0));
        let node = simulation.add_node("one", move |life| {
            let early = early.clone();
            async move { scenario(life, early, Way::Racing { hops: 0 }).await }
        });
        let path_contains = "node/write".to_owned();
        simulation.inject(SimFault::Panic { node, path_contains, skip });
        simulation.run_for(Duration::from_secs(5));
        let tree = prometheus([("one", simulation.world(node).unwrap().registry())]);
        let restarts = tree.lines().find(|line| line.contains("restarts") && line.ends_with(" 1"));
        assert!(restarts.is_some_and(|line| line.contains("relay")), "{tree}");
    }
}

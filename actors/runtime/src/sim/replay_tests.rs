//! A cluster of actors that ping each other over the network and keep their counts on disk, through faults of all kinds:
//! the same seed gives the same trace, in this process and in another one.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use disk::{FaultKind, Open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    Actor, Address, ChildSpec, Cx, Failure, JobLost, ListenOptions, Outcome, Ref, World, messages,
    spawn_root,
};

const NAMES: [&str; 3] = ["one", "two", "three"];
const PORT: u16 = 9092;

/// Does a piece of work, and now and then breaks.
struct Worker {
    random: RandomStream,
    boss: Ref<PingerMsg>,
}

enum WorkerMsg {
    Work(u64),
}

messages!(WorkerMsg { Work });

impl Actor for Worker {
    const KIND: &'static str = "worker";
    type Msg = WorkerMsg;
    type Args = Ref<PingerMsg>;

    async fn start(cx: &mut Cx<Self>, boss: Self::Args) -> Result<Self, Failure> {
        Ok(Worker { random: cx.world().random("work"), boss })
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, WorkerMsg::Work(n): WorkerMsg) -> Outcome {
        assert!(self.random.below(100) > 0, "work {n} broke the worker");
        self.boss.send(PingerMsg::Worked(n)).await?;
        Ok(())
    }
}

/// The root of a node: answers pings, pings the others, and saves how often it was answered.
struct Pinger {
    life: Life,
    workers: Vec<Address<WorkerMsg>>,
    count: u64,
    saving: bool,
}

enum PingerMsg {
    Tick,
    Pong { from: usize, value: u64 },
    Worked(u64),
    Saved(Result<disk::Result<()>, JobLost>),
}

messages!(PingerMsg { Tick, Pong, Worked, Saved });

impl Actor for Pinger {
    const KIND: &'static str = "pinger";
    type Msg = PingerMsg;
    type Args = Life;

    async fn start(cx: &mut Cx<Self>, life: Life) -> Result<Self, Failure> {
        let saved = life.world.disk().read(Path::new("/count"), 100).unwrap_or_default();
        life.trace.note(format_args!("starts from {}", String::from_utf8_lossy(&saved)));
        let count = String::from_utf8(saved)?.parse().unwrap_or(0);
        cx.every(Duration::from_millis(30), || PingerMsg::Tick);
        cx.spawn_task(serve(life.world.clone()));
        for (from, name) in NAMES.into_iter().enumerate() {
            cx.spawn_task(ping(life.world.clone(), from, name, cx.me().clone()));
        }
        let me = cx.me().clone();
        let workers = (0..3)
            .map(|i| cx.spawn::<Worker>(format!("worker-{i}"), ChildSpec::permanent(), me.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Pinger { life, workers, count, saving: false })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PingerMsg) -> Outcome {
        match msg {
            PingerMsg::Tick => {
                for worker in &self.workers {
                    worker.send(WorkerMsg::Work(self.count)).await.ok();
                }
                if !std::mem::replace(&mut self.saving, true) {
                    let (disk, count) = (self.life.world.disk().clone(), self.count);
                    let save =
                        move || disk.replace(Path::new("/count"), count.to_string().as_bytes());
                    cx.job("save", save, PingerMsg::Saved);
                }
            }
            PingerMsg::Pong { from, value } => {
                self.count += 1;
                let wall_ms = self.life.world.now().wall_ms;
                self.life.trace.note(format_args!("pong {value} of {from} at {wall_ms}"));
            }
            PingerMsg::Worked(n) => append(&self.life.world, n)?,
            PingerMsg::Saved(result) => {
                self.saving = false;
                self.life.trace.note(format_args!("saved {result:?}"));
            }
        }
        Ok(())
    }
}

fn append(world: &World, n: u64) -> disk::Result<()> {
    let log = world.disk().open(Path::new("/log"), Open::Create)?;
    log.write_at(&n.to_be_bytes(), log.len()?)
}

async fn serve(world: World) {
    let listening = world.net().listen("0.0.0.0", PORT, ListenOptions::default()).await;
    let Ok(listener) = listening else { return };
    while let Ok((mut stream, _)) = listener.accept().await {
        drop(world.spawn(crate::Bulkhead::Network, async move {
            while let Ok(value) = stream.read_u64().await {
                if stream.write_u64(value + 1).await.is_err() {
                    return;
                }
            }
        }));
    }
}

async fn ping(world: World, from: usize, name: &'static str, boss: Ref<PingerMsg>) {
    let mut value = 0;
    loop {
        if let Ok(mut stream) = world.net().connect(name, PORT).await {
            while stream.write_u64(value).await.is_ok() {
                let answer = world.timeout(Duration::from_secs(1), stream.read_u64()).await;
                let Ok(Ok(answer)) = answer else { break };
                value = answer;
                if boss.send(PingerMsg::Pong { from, value }).await.is_err() {
                    return;
                }
                world.sleep(Duration::from_millis(10)).await;
            }
        }
        world.sleep(Duration::from_millis(50)).await;
    }
}

fn run(seed: u64, keep_lines: bool) -> TraceLog {
    let schedule = [Schedule::Pct, Schedule::Random, Schedule::Fifo][seed as usize % 3];
    let options = SimOptions { schedule, keep_lines, ..SimOptions::seed(seed) };
    let mut simulation = Simulation::new(options);
    let nodes: Vec<_> = NAMES
        .map(|name| {
            simulation.add_node(name, |life: Life| async move {
                let root = spawn_root::<Pinger>(&life.world.clone(), "node", life).unwrap();
                root.ended().await;
            })
        })
        .into();
    let time = Duration::from_secs(2);
    let plan = FaultPlan::draw(seed, &nodes, time, 8)
        .with_panics(seed, &nodes, "worker", time, 3)
        .with_disk_faults(seed, &nodes, FaultKind::SyncError, 2)
        .with_disk_faults(seed, &nodes, FaultKind::ReadFlip, 1);
    simulation.plan(&plan);
    simulation.run_for(time);
    simulation.finish()
}

const SEEDS: std::ops::Range<u64> = 0..50;

#[test]
fn a_seed_replays_in_one_process() {
    let mut hashes = BTreeSet::new();
    for seed in SEEDS {
        let log = check_replay(seed, run).unwrap_or_else(|difference| panic!("{difference}"));
        assert!(log.count > 500, "seed {seed}: {} lines", log.count);
        hashes.insert(log.hash);
    }
    assert_eq!(hashes.len(), SEEDS.count(), "every seed is a run of its own");
}

const PRINT: &str = "OTTLA_SIM_PRINT_HASHES";

fn hashes() -> String {
    SEEDS.map(|seed| format!("hash {seed} {:x}\n", run(seed, false).hash)).collect()
}

#[test]
fn a_seed_replays_in_another_process() {
    if std::env::var_os(PRINT).is_some() {
        print!("\n{}", hashes());
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "sim::replay_tests::a_seed_replays_in_another_process"])
        .env(PRINT, "1")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let theirs: String =
        printed.lines().filter(|line| line.starts_with("hash ")).flat_map(|l| [l, "\n"]).collect();
    assert_eq!(theirs, hashes());
}

#[test]
fn a_difference_is_named() {
    let runs = std::cell::Cell::new(0);
    let scenario = |seed, keep_lines| {
        runs.set(runs.get() + 1);
        let number = runs.get();
        let mut simulation = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
        simulation.add_node("one", move |life: Life| async move {
            life.trace.note(format_args!("same"));
            life.trace.note(format_args!("run {number}"));
        });
        simulation.run_for(Duration::from_millis(3));
        simulation.finish()
    };
    let found = check_replay(9, scenario).unwrap_err();
    assert_eq!((found.seed, found.line), (9, 2));
    assert_eq!(found.first.as_deref(), Some("0 one run 3"));
    assert_eq!(found.second.as_deref(), Some("0 one run 4"));
}

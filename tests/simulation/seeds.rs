//! Clients that create, produce and read while everything happens to the broker, for many seeds.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::runtime::sim::{SimFault, SimOptions, Simulation, TraceLog, check_replay};

use crate::history::History;
use crate::{broker, faults, workload};

/// How long things happen; then everything must come to an end.
const TROUBLE: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_secs(60);
/// Whoever starts processes anew takes this long.
const RESTART: Duration = Duration::from_millis(100);
const CLIENT: &str = "client";

struct Judged {
    log: TraceLog,
    wrong: Vec<String>,
    summary: String,
}

fn run(seed: u64, keep_lines: bool) -> Judged {
    let history = History::new(seed % 2 == 1);
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let broker = world.add_node(broker::NAME, move |life| broker::serve(life, flag.clone()));
    let told = history.clone();
    let client =
        world.add_node(CLIENT, move |life| workload::run(life, seed, TROUBLE, told.clone()));
    let mut plan = faults::draw(seed, broker, client, TROUBLE).0.into_iter().peekable();
    let until = TROUBLE + RECOVERY;
    while world.now() < until && !history.is_done() {
        while let Some((_, fault)) = plan.next_if(|(at, _)| *at <= world.now()) {
            if matches!(fault, SimFault::PowerLoss { .. }) && world.is_up(broker) {
                history.power_failed();
            }
            world.inject(fault);
        }
        if ended.swap(false, Ordering::Relaxed) && world.is_up(broker) {
            world.inject(SimFault::Kill { node: broker, down: RESTART });
        }
        world.run_for(Duration::from_millis(1));
    }
    let log = world.finish();
    Judged { log, wrong: history.judge(), summary: history.summary() }
}

/// What is wrong with a seed, and how to see it again.
fn judge(seed: u64) -> Result<String, String> {
    let first = RefCell::new(None);
    let again = || format!("OTTLA_SEED={seed} cargo test --test simulation seeds -- --nocapture");
    let replayed = check_replay(seed, |seed, keep_lines| {
        let judged = run(seed, keep_lines);
        first.borrow_mut().get_or_insert((judged.wrong, judged.summary));
        judged.log
    });
    let (wrong, summary) = first.into_inner().unwrap_or_default();
    if !wrong.is_empty() {
        return Err(format!("seed {seed}: {}\n  {}", again(), wrong.join("\n  ")));
    }
    replayed.map(|log| format!("{summary}, {} steps", log.count)).map_err(|error| error.to_string())
}

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `OTTLA_SEEDS` is how many; `OTTLA_SEED` is one of them alone, told in full.
#[test]
fn what_clients_were_told_stays_true() {
    if let Some(seed) = number("OTTLA_SEED") {
        let told = tracing_subscriber::fmt().without_time().with_ansi(false);
        told.with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
        let judged = run(seed, true);
        judged.log.lines.iter().for_each(|line| println!("{line}"));
        println!("{}", judged.summary);
        assert!(judged.wrong.is_empty(), "seed {seed}:\n  {}", judged.wrong.join("\n  "));
    }
    let seeds = number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(30), |s| s..s + 1);
    let mut failed = Vec::new();
    for seed in seeds {
        match judge(seed) {
            Ok(summary) => println!("seed {seed}: {summary}"),
            Err(wrong) => failed.push(wrong),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

//! Runs the simulated cluster by hand: seeds by the thousand, one of them told in full, and the fault plan of one that failed made
//! smaller. `cargo run --profile sim --example simulate -- --help`.

mod chance;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ottla::sim::FaultPlan;

use world::seeds::{judged, tally};
use world::{Judged, Wrong, plan};

/// A tenth of the time goes to the C library's otherwise.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Command::parse().run()
}

/// A simulated cluster of Ottla through faults, under producers, readers and admins: each seed is another cluster, schedule and plan of
/// faults, and the same in each run.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs seeds, and prints those in which something that must hold did not.
    Seeds {
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 300)]
        count: u64,
        /// How many at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Each twice; both runs must be the same, event by event.
        #[arg(long)]
        twice: bool,
        /// Ends with the first seed that fails.
        #[arg(long)]
        first: bool,
    },
    /// Runs one seed, and prints all that happened.
    Replay {
        seed: u64,
        /// Of its faults only these, by their numbers in its plan.
        #[arg(long, value_delimiter = ',')]
        only: Option<Vec<usize>>,
    },
    /// Prints the faults of a seed.
    Plan { seed: u64 },
    /// Of a seed that fails, finds the fewest faults with which it still does, and in the same way.
    Minimise { seed: u64 },
}

impl Command {
    fn run(self) -> ExitCode {
        let well = match self.what {
            What::Seeds { from, count, jobs, twice, first } => {
                seeds(from, count, jobs, twice, first)
            }
            What::Replay { seed, only } => replay(seed, only.as_deref()),
            What::Plan { seed } => {
                print_plan(seed, &plan(seed));
                true
            }
            What::Minimise { seed } => minimise(seed),
        };
        if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn wrong(seed: u64, plan: &FaultPlan) -> Vec<Wrong> {
    judged(seed, plan, false).map_or_else(|wrong| vec![wrong], |judged| judged.wrong)
}

fn seeds(from: u64, count: u64, jobs: usize, twice: bool, first: bool) -> bool {
    let tally = tally(from, count, jobs, twice, first);
    println!(
        "{} seeds from {from}, {} simulated seconds, {} records acknowledged, {} topics, {} steps: {} failed",
        tally.seeds,
        tally.simulated_ms / 1000,
        tally.acknowledged,
        tally.created,
        tally.steps,
        tally.failed.len()
    );
    if !tally.failed.is_empty() {
        println!("failed: {:?}; each again by: replay SEED, or minimise SEED", tally.failed);
    }
    tally.failed.is_empty()
}

fn print_plan(seed: u64, all: &FaultPlan) {
    println!("faults of seed {seed}:");
    for (number, (at, fault)) in all.0.iter().enumerate() {
        println!("  {number}: at {at:?} {fault:?}");
    }
}

fn replay(seed: u64, only: Option<&[usize]>) -> bool {
    let told = tracing_subscriber::fmt().without_time().with_ansi(false);
    told.with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let all = plan(seed);
    let kept = all.0.into_iter().enumerate();
    let kept = kept.filter(|(number, _)| only.is_none_or(|only| only.contains(number)));
    let kept = FaultPlan(kept.map(|(_, fault)| fault).collect());
    print_plan(seed, &kept);
    match judged(seed, &kept, true) {
        Ok(judged) => {
            judged.log.lines.iter().for_each(|line| println!("{line}"));
            let Judged { acknowledged, created, took, .. } = judged;
            println!("{acknowledged} records acknowledged, {created} topics, {took:?} simulated");
            judged.wrong.iter().for_each(|wrong| println!("{wrong}"));
            judged.wrong.is_empty()
        }
        Err(wrong) => {
            println!("{wrong}");
            false
        }
    }
}

fn minimise(seed: u64) -> bool {
    let all = plan(seed);
    let first = wrong(seed, &all).into_iter().next();
    let Some(Wrong { kind, .. }) = first else {
        println!("seed {seed} does not fail");
        return true;
    };
    println!("{kind}");
    let least = all.shrink(|fewer| {
        let first = wrong(seed, fewer).into_iter().next();
        let fails = first.as_ref().is_some_and(|first| first.kind == kind);
        let otherwise = first.map_or("does not".to_owned(), |first| first.kind);
        println!("{} faults: {}", fewer.0.len(), if fails { "fails" } else { &otherwise });
        fails
    });
    print_plan(seed, &least);
    wrong(seed, &least).iter().for_each(|wrong| println!("  {wrong}"));
    let number = |kept| all.0.iter().position(|fault| fault == kept);
    let numbers: Vec<String> =
        least.0.iter().filter_map(number).map(|number| number.to_string()).collect();
    println!("again by: replay {seed} --only {}", numbers.join(","));
    false
}

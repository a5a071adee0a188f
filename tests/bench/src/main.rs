//! Brokers in turn under one light client, and a bare loop beside them that does the least the machine allows. What counts
//! is the ratio of what they spend in one run: figures of two machines, or of two days, do not compare.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the world outside of the node"
)]

mod broker;
mod floor;
mod frames;
mod load;
mod memory;
mod rounds;
mod stamped;
mod tail;

use broker::Broker;
use clap::{Args, Parser};
use load::Load;
use std::process::ExitCode;
use tail::Tail;

#[derive(Parser)]
#[command(name = "bench", about)]
enum Command {
    /// Produces to each broker in turn, and to the bare loop, and tells the CPU seconds of each per GB
    Produce(Produce),
    /// Produces at a fixed rate to each broker in turn while groups read at the tail, and tells CPU seconds and latencies
    Tail(Tail),
    /// Serves the bare loop until it is killed: thread per connection, CRC, pwrite, answer
    #[command(hide = true)]
    Floor { directory: std::path::PathBuf },
}

#[derive(Args)]
struct Produce {
    /// NAME=HOST:PORT@PID of a broker on this machine, whose topic is there; for each broker once
    #[arg(long = "broker", required = true)]
    brokers: Vec<Broker>,
    #[command(flatten)]
    load: Load,
    /// Rounds, each over all brokers
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// GB that each broker takes before it is measured
    #[arg(long, default_value_t = 1.0)]
    warm_gb: f64,
    /// GB that each broker takes in each round
    #[arg(long, default_value_t = 1.0)]
    gb: f64,
    /// Fill the page cache first: on a virtual machine, pages that its host gives anew cost whoever takes them
    #[arg(long)]
    page_cache_full: bool,
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Produce(produce) => rounds::run(&produce),
        Command::Tail(wanted) => tail::run(&wanted),
        Command::Floor { directory } => floor::serve(&directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Rounds over the brokers, in turns, so that a busy moment of the machine falls on all of them.

use crate::broker::Broker;
use crate::{Produce, load, memory};
use std::io::{BufRead, BufReader, Error, Result};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub fn run(wanted: &Produce) -> Result<()> {
    let floor = Floor::start()?;
    let _full = wanted.page_cache_full.then(memory::full).transpose()?;
    let brokers: Vec<&Broker> = wanted.brokers.iter().chain([&floor.broker]).collect();
    for broker in &brokers {
        load::produce(&broker.address, &wanted.load, wanted.warm_gb)?;
    }
    let mut spent: Vec<Vec<f64>> = vec![Vec::new(); brokers.len()];
    for _ in 0..wanted.rounds {
        for (broker, spent) in brokers.iter().zip(&mut spent) {
            spent.push(round(broker, wanted)?);
        }
    }
    let medians: Vec<f64> = spent.into_iter().map(median).collect();
    for (broker, of_it) in brokers.iter().zip(&medians) {
        let beside = brokers.iter().zip(&medians).filter(|(other, _)| other.name != broker.name);
        let ratios =
            beside.map(|(other, of_other)| format!("{:.2} of {}", of_it / of_other, other.name));
        println!("{}: {of_it:.2} CPU s/GB, {}", broker.name, ratios.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

fn round(broker: &Broker, wanted: &Produce) -> Result<f64> {
    let before = broker.spent()?;
    let outcome = load::produce(&broker.address, &wanted.load, wanted.gb)?;
    let spent = broker.spent()?.since(before).per(outcome.gb);
    let latency = |q| outcome.latency.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "  {:8} {:.2} CPU s/GB ({:.2} user, {:.2} system), {:.0} MB/s, p50 {:.1} p99 {:.1} p99.9 {:.1} ms, {:.0} MB resident",
        broker.name,
        spent.sum(),
        spent.user,
        spent.system,
        outcome.gb * 1000.0 / outcome.seconds,
        latency(0.5),
        latency(0.99),
        latency(0.999),
        broker.resident_mb()?,
    );
    Ok(spent.sum())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The bare loop in a process of its own; killed, and its files removed, with this.
struct Floor {
    process: Child,
    directory: PathBuf,
    broker: Broker,
}

impl Floor {
    fn start() -> Result<Floor> {
        let directory = std::env::temp_dir().join(format!("bench-floor-{}", std::process::id()));
        let mut process = Command::new(std::env::current_exe()?)
            .arg("floor")
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()?;
        let out =
            process.stdout.take().ok_or_else(|| Error::other("the bare loop has no output"))?;
        let mut port = String::new();
        BufReader::new(out).read_line(&mut port)?;
        let address = format!("127.0.0.1:{}", port.trim());
        let broker = Broker { name: "floor".to_owned(), address, pid: process.id() };
        Ok(Floor { process, directory, broker })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let gone = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = gone.and_then(|_| std::fs::remove_dir_all(&self.directory)) {
            eprintln!("bench: {}: {error}", self.directory.display());
        }
    }
}

//! A durable actor: a counter for each key, in a cluster of three nodes. One of them is killed with kill -9, and nothing is lost.
//!
//! `cargo run --example counter` does all of it: the first node is this process, the others are started by it.

mod cluster;
mod durable;

use std::error::Error;
use std::path::Path;
use std::process::Command;

pub use cluster::{Killed, cluster, serve};
pub use durable::{Add, Counter};
use ottla::durable::DurableRef;

/// Adds one to each of forty keys, which lie on all nodes; answers the sum of their totals.
pub async fn count(counters: &DurableRef<Counter>) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for key in 0..40 {
        sum += counters.ask(&format!("key-{key}"), Add(1)).await?;
    }
    Ok(sum)
}

/// The other nodes are processes, one of which dies while all count.
pub async fn run(file: &Path, process: impl Fn(i32) -> Command) -> Result<u64, Box<dyn Error>> {
    let [_second, third] = [Killed(process(2).spawn()?), Killed(process(3).spawn()?)];
    let node = serve(file, 1).await?;
    let counters = node.durable::<Counter>("counters")?;
    println!("all are up; the sums are {} {}", count(&counters).await?, count(&counters).await?);
    drop(third);
    println!("node 3 is dead; the sum is {}", count(&counters).await?);
    let sum = count(&counters).await?;
    println!("the sum is {sum}");
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (dir, ports) = (Path::new("counter-data"), [9092, 9093, 9094, 9192, 9193, 9194]);
    let file = dir.join("cluster.toml");
    if let Some(id) = std::env::args().nth(1) {
        serve(&file, id.parse()?).await?.ended().await;
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(&file, cluster(dir, ports))?;
    let program = std::env::current_exe()?;
    run(&file, |id| {
        let mut command = Command::new(&program);
        command.arg(id.to_string());
        command
    })
    .await?;
    Ok(())
}

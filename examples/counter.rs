//! A durable actor: a counter for each key, in a cluster of three nodes. One of them is killed with kill -9, and nothing is lost.
//!
//! `cargo run --example counter` does all of it: the first node is this process, the others are started by it.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use ottla::durable::{At, Decision, Durable, DurableRef};
use ottla::{Node, StartError};
use serde::{Deserialize, Serialize};

pub struct Counter;

#[derive(Serialize, Deserialize)]
pub struct Add(pub u64);

#[derive(Serialize, Deserialize)]
pub struct Added(u64);

impl Durable for Counter {
    type Command = Add;
    type Event = Added;
    type State = u64;
    type Reply = u64;

    fn decide(&self, _at: At<'_>, total: &u64, add: Add) -> Decision<Self> {
        Decision::persist(Added(add.0)).reply(total + add.0)
    }

    fn replay(&self, total: &mut u64, added: &Added) {
        *total += added.0;
    }
}

/// Three nodes on this machine, with their data in a directory, and each record on all of them.
pub fn cluster(dir: &Path, ports: [u16; 6]) -> String {
    let settings = "\"default.replication.factor\" = 3\n\"min.insync.replicas\" = 2\n";
    let nodes = (1..=3).map(|id| {
        let (listen, controller) = (ports[id - 1], ports[id + 2]);
        let data = dir.join(format!("data-{id}"));
        format!("[[node]]\nid = {id}\nlisten = \"127.0.0.1:{listen}\"\ncontroller = \"127.0.0.1:{controller}\"\ndata = {data:?}\n")
    });
    format!("[cluster]\nname = \"counters\"\n[settings]\n{settings}{}", nodes.collect::<String>())
}

/// All nodes register the same.
pub async fn serve(file: &Path, id: i32) -> Result<Node, StartError> {
    Node::builder().config(file, id).durable("counters", Counter).start().await
}

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
    let mut second = process(2).spawn()?;
    let mut third = process(3).spawn()?;
    let node = serve(file, 1).await?;
    let counters = node.durable::<Counter>("counters")?;
    println!("all are up; the sum is {}", count(&counters).await?);
    println!("the sum is {}", count(&counters).await?);
    third.kill()?;
    third.wait()?;
    println!("node 3 is dead; the sum is {}", count(&counters).await?);
    let sum = count(&counters).await?;
    println!("the sum is {sum}");
    second.kill()?;
    second.wait()?;
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

//! Durable actors that act together: accounts between which money moves. Whatever dies, none is lost and none is made.
//!
//! A transfer is a saga: its sender journals it, and tells the other side until that has taken it. `cargo run --example bank`

mod account;
mod durable;

pub use account::{Account, Command, Event, Transfer};
pub use durable::Bank;
use ottla::Node;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("bank-data", "127.0.0.1:9092", &[]).durable("bank", Bank);
    let node = node.start().await?;
    let (bank, id) = (node.durable::<Bank>("bank")?, node.world().random("transfers").next_u64());
    bank.ask("alice", Command::Open(100)).await??;
    bank.ask("alice", Command::Send((id, "bob".to_owned(), 30))).await??;
    while !bank.ask("alice", Command::Look).await??.sent.is_empty() {}
    println!("{:?}", bank.ask("bob", Command::Look).await??);
    Ok(())
}

//! An alert on a rate: an actor is told of what is appended to a topic, and writes a record where that is too much in a while.
//!
//! `cargo run --example alert`, then what it prints.

mod rate;

use std::time::Duration;

use ottla::Node;
use ottla::client::NewTopic;
pub use rate::{Alert, Limit};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("alert-data", "127.0.0.1:9092", &[]).start().await?;
    let handle = node.handle()?;
    // They may be there already.
    drop(handle.admin().create_topic(NewTopic::new("orders")).await);
    drop(handle.admin().create_topic(NewTopic::new("alerts")).await);
    let limit = Limit("orders", 100, Duration::from_secs(1));
    node.extend::<Alert>("alert", (handle, limit)).await?;
    println!("seq 1000 | kcat -b 127.0.0.1:9092 -t orders -P; kcat -b 127.0.0.1:9092 -t alerts -C");
    node.ended().await;
    Ok(())
}

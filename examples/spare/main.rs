//! A strategy of supervision of one's own: what a parent does about its children's failures is its own code, beside what is data.
//!
//! `cargo run --example spare`

mod pair;
mod worker;

use std::time::Duration;

use ottla::Node;
pub use pair::{Pair, PairMsg};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("spare-data", "127.0.0.1:9092", &[]).start().await?;
    let pair = node.extend::<Pair>("pair", ()).await?;
    for by in [4, 5, 0, 10, 0, 20] {
        // What else the worker that failed had to do went with it: who asked is told so, and asks again.
        let asked = loop {
            let asked = pair.ask(Duration::from_secs(1), |to| PairMsg::Divide(by, to)).await;
            if asked.is_ok() || by == 0 {
                break asked;
            }
        };
        println!("100 / {by}: {asked:?}");
    }
    node.stop().await;
    Ok(())
}

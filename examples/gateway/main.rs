//! An HTTP gateway in a node: what is posted to `/topics/NAME` is a record, and the answer says where it is.
//!
//! `cargo run --example gateway`, then what it prints.

mod ingest;

pub use ingest::Gateway;
use ottla::{Node, NodeHandle};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("gateway-data", "127.0.0.1:9092", &[]);
    let args = |node: &NodeHandle| (node.clone(), "127.0.0.1:8090".to_owned());
    let node = node.extension::<Gateway>("gateway", args).start().await?;
    println!("curl --data-binary hello http://127.0.0.1:8090/topics/greetings");
    node.ended().await;
    Ok(())
}

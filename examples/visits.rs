//! A durable actor: how often each page was visited. Kill it with kill -9: it goes on counting.

use ottla::Node;
use ottla::durable::{At, Decision, Durable};
use serde::{Deserialize, Serialize};

struct Visits;

#[derive(Serialize, Deserialize)]
struct Visit;

#[derive(Serialize, Deserialize)]
struct Visited;

impl Durable for Visits {
    type Command = Visit;
    type Event = Visited;
    type State = u64;
    type Reply = u64;

    fn decide(&self, _at: At<'_>, count: &u64, _visit: Visit) -> Decision<Self> {
        Decision::persist(Visited).reply(count + 1)
    }

    fn replay(&self, count: &mut u64, _visited: &Visited) {
        *count += 1;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().quick("data", "127.0.0.1:9092", &[]);
    let node = node.durable("visits", Visits).start().await?;
    let visits = node.durable::<Visits>("visits")?;
    for page in std::io::stdin().lines() {
        let page = page?;
        println!("{page}: {}", visits.ask(&page, Visit).await?);
    }
    node.stop().await;
    Ok(())
}

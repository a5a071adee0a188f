//! What the clients do: create topics, produce idempotently with retries, read along, and at last read everything.

mod admin;
mod producer;
mod reader;

use std::time::Duration;

use ottla::runtime::sim::{Life, NodeTrace};
use ottla::runtime::{Bulkhead, Task, World};

use crate::history::{History, Partition};

const TOPIC: &str = "t0";
const PARTITIONS: i32 = 3;
const PRODUCERS: u8 = 2;

/// What every client works with.
#[derive(Clone)]
struct Client {
    world: World,
    trace: NodeTrace,
    history: History,
    seed: u64,
    /// When to stop beginning new things.
    until: Duration,
}

impl Client {
    fn is_over(&self) -> bool {
        self.world.mono() >= self.until
    }
}

fn partition(index: i32) -> Partition {
    (TOPIC.to_owned(), index)
}

/// Everything that clients do in one run; the history is finished when it ends.
pub async fn run(life: Life, seed: u64, until: Duration, history: History) {
    let world = life.world.clone();
    let client = Client { world, trace: life.trace, history, seed, until };
    let topic_id = admin::create(&client, TOPIC, PARTITIONS).await;
    client.trace.note(format_args!("{TOPIC} is {topic_id}"));
    let mut tasks = vec![spawn(&client, admin::run)];
    for number in 0..PRODUCERS {
        tasks.push(spawn(&client, move |client| producer::run(client, number)));
    }
    for index in 0..PARTITIONS {
        tasks.push(spawn(&client, move |client| reader::follow(client, index)));
    }
    for task in tasks {
        task.join().await;
    }
    for index in 0..PARTITIONS {
        let left = reader::read_all(&client, index).await;
        client.trace.note(format_args!("{index} has {} records", left.len()));
        client.history.is_left(&partition(index), left);
    }
    admin::look(&client).await;
    client.history.finish();
}

fn spawn<F: Future<Output = ()> + Send + 'static>(
    client: &Client,
    work: impl FnOnce(Client) -> F,
) -> Task {
    client.world.spawn(Bulkhead::Control, work(client.clone()))
}

//! An actor of one's own in a node: it reads the topic `lines` and writes each line in capitals to `shouted`.
//!
//! `cargo run --example shout`, then what it prints. Where it stopped it goes on: it commits in the group `shout`.

use ottla::Node;
use ottla::client::{Client, ConsumeError, ConsumerConfig, Fed, ProduceError, Reset, Start};
use ottla::client::{Producer, ProducerConfig, ProducerRecord};
use ottla::runtime::{Actor, Cx, Failure, Outcome, messages};

pub struct Shout(Producer);

pub enum ShoutMsg {
    Lines(Result<Fed, ConsumeError>),
    NotWritten(ProduceError),
}

messages!(ShoutMsg { Lines, NotWritten });

impl Actor for Shout {
    const KIND: &'static str = "shout";
    type Msg = ShoutMsg;
    type Args = Client;

    async fn start(cx: &mut Cx<Self>, client: Client) -> Result<Self, Failure> {
        let group = Some("shout".to_owned());
        let config = ConsumerConfig { group, reset: Reset::Earliest, ..ConsumerConfig::default() };
        let mut consumer = client.consumer(config);
        consumer.assign_topic("lines", Start::Committed).await?;
        consumer.feed(cx, ShoutMsg::Lines);
        Ok(Shout(client.producer(ProducerConfig::default())))
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ShoutMsg) -> Outcome {
        let lines = match msg {
            ShoutMsg::Lines(lines) => lines?,
            ShoutMsg::NotWritten(error) => return Err(error.into()),
        };
        let shouted = self.0.enqueue_all(lines.records.iter().map(|line| ProducerRecord {
            key: line.key.clone(),
            value: line.value.as_ref().map(|text| text.to_ascii_uppercase().into()),
            ..ProducerRecord::to("shouted")
        }));
        lines.done_after(cx, shouted, ShoutMsg::NotWritten);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let node = Node::builder().quick("shout-data", &listen, &[]).start().await?;
    node.extend::<Shout>("shout", node.client()?).await?;
    println!("speaks:  kcat -b {} -t lines -P", node.bootstrap());
    println!("listens: kcat -b {} -t shouted -C -u", node.bootstrap());
    node.ended().await;
    Ok(())
}

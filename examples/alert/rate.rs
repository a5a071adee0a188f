use std::time::Duration;

use ottla::NodeHandle;
use ottla::client::{Appended, Delivered, ProduceError, Start, TopicPartition};
use ottla::client::{Producer, ProducerConfig, ProducerRecord};
use ottla::runtime::{Actor, Cx, Failure, Outcome, messages};

/// More records of a topic than so many within this time.
#[derive(Clone)]
pub struct Limit(pub &'static str, pub usize, pub Duration);

pub struct Alert {
    limit: Limit,
    count: usize,
    alerts: Producer,
}
pub enum AlertMsg {
    Appended(Appended),
    TimeIsOver,
    Alerted(Result<Delivered, ProduceError>),
}
messages!(AlertMsg { Appended, TimeIsOver, Alerted });

impl Actor for Alert {
    const KIND: &'static str = "alert";
    type Msg = AlertMsg;
    type Args = (NodeHandle, Limit);

    async fn start(cx: &mut Cx<Self>, (node, limit): Self::Args) -> Result<Self, Failure> {
        for known in &node.topic(limit.0).await?.partitions {
            let at = TopicPartition { topic: limit.0.into(), partition: known.partition };
            node.subscribe(cx, at, Start::Latest, AlertMsg::Appended);
        }
        cx.every(limit.2, || AlertMsg::TimeIsOver);
        Ok(Alert { limit, count: 0, alerts: node.producer(ProducerConfig::default()) })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: AlertMsg) -> Outcome {
        match msg {
            AlertMsg::Appended(Appended::Records(some)) => self.count += some.records.len(),
            // It was too slow for the log's retention: what it did not see counts as too much.
            AlertMsg::Appended(Appended::Missed { .. }) => self.count = usize::MAX / 2,
            AlertMsg::Appended(Appended::Unreadable(_) | Appended::Readable) => {}
            AlertMsg::Alerted(delivered) => drop(delivered?),
            AlertMsg::TimeIsOver => {
                let Limit(topic, most, time) = &self.limit;
                if std::mem::take(&mut self.count) > *most {
                    let text = format!("more than {most} records of {topic} within {time:?}");
                    let sent = self.alerts.enqueue(ProducerRecord::to("alerts").value(text));
                    let me = cx.me().clone();
                    cx.spawn_task(async move {
                        let _ = me.send(AlertMsg::Alerted(sent.await)).await;
                    });
                }
            }
        }
        Ok(())
    }
}

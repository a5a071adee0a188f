//! The appends to a partition, told to an actor: read from its log, so that who is slow gets them later, and is told where the log has
//! lost them by then.

use std::time::Duration;

use model::TopicPartition;
use runtime::{Actor, Cx};

use crate::client::Client;
use crate::consumer::{ConsumeError, Consumer, ConsumerConfig, Reset, Start};
use crate::feed::{Fed, Feeding};

/// A partition that cannot be read is looked at again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// What a subscriber is told, in the order of the log.
#[derive(Debug)]
pub enum Appended {
    /// They count against the room of the subscriber until they are dropped; it gets no more when that is full.
    Records(Fed),
    /// These offsets are not in the log any more. Where `to` lies before `from`, the log was cut: what was told from `to` on is not in
    /// it, and others come in its place.
    Missed { from: i64, to: i64 },
    /// The partition cannot be read; it is tried again.
    Unreadable(ConsumeError),
}

impl Client {
    /// Tells an actor of what is appended to a partition, once it is committed, until the actor ends; wherever the partition's leader
    /// is. An actor that restarts subscribes anew.
    pub fn subscribe<A: Actor>(
        &self,
        cx: &mut Cx<A>,
        partition: TopicPartition,
        start: Start,
        message: impl Fn(Appended) -> A::Msg + Send + 'static,
    ) {
        let (client, me) = (self.clone(), cx.me().clone());
        cx.spawn_task(async move {
            let config = ConsumerConfig { reset: Reset::Fail, ..ConsumerConfig::default() };
            let mut consumer = client.consumer(config);
            // Nobody has committed for it.
            let start = if start == Start::Committed { Start::Earliest } else { start };
            consumer.assign(partition.clone(), start);
            let mut feeding = Feeding::new(consumer);
            loop {
                let told = match feeding.round().await {
                    Ok(all) => {
                        for records in all {
                            let fed = feeding.hand_out(records).await;
                            if me.send(message(Appended::Records(fed))).await.is_err() {
                                return;
                            }
                        }
                        continue;
                    }
                    Err(error) => go_on(&mut feeding.consumer, &partition, error).await,
                };
                let pause = matches!(told, Appended::Unreadable(_));
                if me.send(message(told)).await.is_err() {
                    return;
                }
                if pause {
                    client.world().sleep(PAUSE).await;
                }
            }
        });
    }
}

/// From where there is a log.
async fn go_on(consumer: &mut Consumer, of: &TopicPartition, error: ConsumeError) -> Appended {
    let ConsumeError::OutOfRange { offset: from, .. } = error else {
        return Appended::Unreadable(error);
    };
    let found = match consumer.offset_of(of, Reset::Earliest).await {
        Ok(earliest) if from < earliest => Ok(earliest),
        Ok(_) => consumer.offset_of(of, Reset::Latest).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(to) => {
            consumer.assign(of.clone(), Start::Offset(to));
            Appended::Missed { from, to }
        }
        Err(error) => Appended::Unreadable(error),
    }
}

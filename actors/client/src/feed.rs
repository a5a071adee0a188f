//! Records as messages: a task beside an actor reads for it, so that its handler never waits for the network.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use model::TopicPartition;
use runtime::{Actor, Credit, Credits, Cx, Map};
use tokio::sync::mpsc;

use crate::consumer::{ConsumeError, Consumer, PartitionRecords};
use crate::producer::{Deliveries, ProduceError};

/// What an actor may hold of records that it has not dealt with. Bytes.
const ROOM: u64 = 8 << 20;
/// How long a round waits for records; offsets are committed between rounds.
const ROUND: Duration = Duration::from_millis(250);

/// What is dealt with, and the offset after it.
type Finished = (TopicPartition, i64);

/// Records that an actor was handed. While it holds them they count against its room; it gets no more when that is full.
///
/// Dropped without [`Fed::done`], they are handed out again after a restart, and all after them.
pub struct Fed {
    records: PartitionRecords,
    _room: Credit,
    finish: mpsc::UnboundedSender<Finished>,
}

impl fmt::Debug for Fed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = &self.records;
        write!(f, "{} records of {}", records.records.len(), records.partition)
    }
}

impl Deref for Fed {
    type Target = PartitionRecords;

    fn deref(&self) -> &PartitionRecords {
        &self.records
    }
}

impl Fed {
    /// They are dealt with: where the consumer has a group, they are committed once all before them are dealt with too.
    pub fn done(self) {
        // Where the task that reads has ended, it commits no more.
        let _ = self.finish.send((self.records.partition, self.records.next_offset));
    }

    /// [`Fed::done`] once these are delivered; the message where one is not.
    pub fn done_after<A: Actor>(
        self,
        cx: &mut Cx<A>,
        deliveries: Deliveries,
        failed: impl FnOnce(ProduceError) -> A::Msg + Send + 'static,
    ) {
        let me = cx.me().clone();
        cx.spawn_task(async move {
            match deliveries.all().await {
                Ok(_) => self.done(),
                // An actor that has ended is restarted where it left off.
                Err(error) => drop(me.send(failed(error)).await),
            }
        });
    }
}

impl Consumer {
    /// Reads for an actor, until it ends: `message` gets records, or at last an error.
    ///
    /// With a group, what is [done](Fed::done) is committed a few times a second: an actor that restarts and assigns
    /// [`Start::Committed`](crate::Start::Committed) goes on where it was, and sees again what it had not finished.
    pub fn feed<A: Actor>(
        self,
        cx: &mut Cx<A>,
        message: impl Fn(Result<Fed, ConsumeError>) -> A::Msg + Send + 'static,
    ) {
        let me = cx.me().clone();
        cx.spawn_task(async move {
            let mut feeding = Feeding::new(self);
            let error = loop {
                match feeding.round().await {
                    Ok(all) => {
                        for records in all {
                            let fed = feeding.hand_out(records).await;
                            if me.send(message(Ok(fed))).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => break error,
                }
            };
            // An actor that has ended needs no error.
            drop(me.send(message(Err(error))).await);
        });
    }
}

pub(crate) struct Feeding {
    pub(crate) consumer: Consumer,
    room: Credits,
    progress: Progress,
    finish: mpsc::UnboundedSender<Finished>,
    finished: mpsc::UnboundedReceiver<Finished>,
}

impl Feeding {
    pub(crate) fn new(consumer: Consumer) -> Feeding {
        let (finish, finished) = mpsc::unbounded_channel();
        let (room, progress) = (Credits::new(ROOM), Progress::default());
        Feeding { consumer, room, progress, finish, finished }
    }

    pub(crate) async fn round(&mut self) -> Result<Vec<PartitionRecords>, ConsumeError> {
        while let Ok((partition, next_offset)) = self.finished.try_recv() {
            self.progress.done(&partition, next_offset);
        }
        let commit = self.progress.take();
        if self.consumer.has_group() {
            self.consumer.commit_offsets(&commit).await?;
        }
        self.consumer.poll(ROUND).await
    }

    pub(crate) async fn hand_out(&mut self, records: PartitionRecords) -> Fed {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let sizes = records.records.iter().map(|r| length(&r.key) + length(&r.value) + 64);
        let room = self.room.take(u32::try_from(sizes.sum::<usize>()).unwrap_or(u32::MAX)).await;
        if self.consumer.has_group() {
            self.progress.handed(&records.partition, records.next_offset);
        }
        Fed { records, _room: room, finish: self.finish.clone() }
    }
}

/// What was handed out, in order, and how far it is dealt with without a gap.
#[derive(Default)]
struct Progress {
    open: Map<TopicPartition, VecDeque<(i64, bool)>>,
    reached: Map<TopicPartition, i64>,
}

impl Progress {
    fn handed(&mut self, partition: &TopicPartition, next_offset: i64) {
        self.open.entry(partition.clone()).or_default().push_back((next_offset, false));
    }

    fn done(&mut self, partition: &TopicPartition, next_offset: i64) {
        let Some(open) = self.open.get_mut(partition) else { return };
        if let Some(found) = open.iter_mut().find(|(next, _)| *next == next_offset) {
            found.1 = true;
        }
        while let Some((next, true)) = open.front().copied() {
            open.pop_front();
            self.reached.insert(partition.clone(), next);
        }
    }

    /// What to commit that was not yet.
    fn take(&mut self) -> Map<TopicPartition, i64> {
        std::mem::take(&mut self.reached)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use runtime::sim::{SimOptions, Simulation};

    use super::*;
    use crate::{Client, ConsumerConfig};

    #[test]
    fn what_is_done_out_of_order_is_committed_in_order() {
        let partition = TopicPartition { topic: "t".into(), partition: 3 };
        let mut progress = Progress::default();
        for next in [10, 20, 30] {
            progress.handed(&partition, next);
        }
        progress.done(&partition, 20);
        assert!(progress.take().is_empty(), "what lies before it is not done");
        progress.done(&partition, 10);
        assert_eq!(progress.take().get(&partition), Some(&20));
        assert!(progress.take().is_empty(), "and only once");
        progress.done(&partition, 30);
        assert_eq!(progress.take().get(&partition), Some(&30));
    }

    /// How many are remembered of a hundred that were handed out.
    async fn kept(client: &Client, group: Option<String>) -> usize {
        let config = ConsumerConfig { group, ..ConsumerConfig::default() };
        let mut feeding = Feeding::new(client.consumer(config));
        for next_offset in 1..=100 {
            let partition = TopicPartition { topic: "t".into(), partition: 0 };
            let (records, high_watermark) = (Vec::new(), 100);
            let records = PartitionRecords { partition, records, next_offset, high_watermark };
            drop(feeding.hand_out(records).await);
        }
        feeding.progress.open.values().map(VecDeque::len).sum()
    }

    #[test]
    fn without_a_group_nothing_is_remembered_of_what_was_handed_out() {
        let mut simulation = Simulation::new(SimOptions::seed(1));
        let found = Arc::<Mutex<Vec<usize>>>::default();
        let told = found.clone();
        simulation.add_node("client", move |life| {
            let told = told.clone();
            async move {
                let client = Client::new(&life.world, ["broker:9092"]).unwrap();
                for group in [None, Some("group".to_owned())] {
                    let kept = kept(&client, group).await;
                    told.lock().unwrap().push(kept);
                }
            }
        });
        simulation.run_until(ROUND, || found.lock().unwrap().len() == 2);
        assert_eq!(*found.lock().unwrap(), [0, 100], "without a group, and with one");
    }
}

//! The task that sends what the accumulator holds: one request per broker and round, partitions tried again on their own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ErrorCode, TopicPartition};
use runtime::{Bulkhead, Map};
use tokio::sync::Notify;
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::produce_response::PartitionProduceResponse;
use wire::{ApiKey, InitProducerIdRequest, ProduceRequest, ProduceResponse};

use super::accumulator::{Accumulator, Due, Fate};
use super::batch::Batch;
use super::{Acks, ProduceError, ProducerConfig, ProducerRecord, Teller};
use crate::client::{Client, Connections};
use crate::error::{Refused, RequestError};

type Lot = Vec<(TopicPartition, Batch)>;

pub(super) struct Shared {
    client: Client,
    pub(super) config: ProducerConfig,
    connections: Connections,
    accumulator: Mutex<Accumulator>,
    /// There is something new to look at.
    wake: Notify,
    /// A batch was settled.
    settled: Notify,
}

impl Shared {
    pub(super) fn new(client: &Client, config: ProducerConfig, accumulator: Accumulator) -> Shared {
        Shared {
            client: client.clone(),
            config,
            connections: Connections::default(),
            accumulator: Mutex::new(accumulator),
            wake: Notify::new(),
            settled: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.client.world().mono()
    }

    fn times(&self) -> (Duration, i64) {
        let now = self.client.world().now();
        (now.mono, now.wall_ms)
    }

    fn chance(&self, bound: u32) -> u32 {
        u32::try_from(self.client.below(u64::from(bound))).unwrap_or(0)
    }

    pub(super) fn append(&self, record: ProducerRecord, teller: Teller) {
        let topic = self.client.0.metadata.cached(&self.client, &record.topic);
        let partitions = topic.and_then(|topic| u32::try_from(topic.partitions.len()).ok());
        let times = self.times();
        let mut accumulator = self.lock();
        let chance = |bound| self.chance(bound);
        if accumulator.append(&self.config, partitions, record, teller, times, chance) {
            self.wake.notify_one();
        }
    }

    pub(super) async fn flush(&self) {
        self.lock().flushing += 1;
        let _flushing = Flushing(self);
        self.wake.notify_one();
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            settled.as_mut().enable();
            if self.lock().batches == 0 {
                return;
            }
            settled.await;
        }
    }

    pub(super) fn close(&self) {
        self.lock().close();
        self.wake.notify_one();
        self.settled.notify_waiters();
    }

    fn settle(&self, partition: &TopicPartition, batch: Batch, fate: Fate) {
        let now = self.now();
        self.lock().settle(&self.config, partition, batch, fate, now);
        self.settled.notify_waiters();
        self.wake.notify_one();
    }

    /// Gives up what is late; when there will be more of it.
    fn expire(&self) -> Option<Duration> {
        let now = self.now();
        let mut accumulator = self.lock();
        let before = accumulator.batches;
        let next = accumulator.expire(&self.config, now);
        if accumulator.batches < before {
            self.settled.notify_waiters();
        }
        next
    }

    /// Does it while none of these is late; nothing where one would be before the end.
    async fn in_time<T>(&self, lot: &Lot, work: impl Future<Output = T>) -> Option<T> {
        let oldest = lot.iter().map(|(_, batch)| batch.created).min()?;
        let left = (oldest + self.config.delivery_timeout).saturating_sub(self.now());
        self.client.world().timeout(left, work).await.ok()
    }

    fn again_at(&self, tries: u32) -> Duration {
        self.now() + self.client.backoff(tries.saturating_sub(1))
    }
}

/// Ends the hurry of a flush, also of one that is no longer waited for.
struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.lock().flushing -= 1;
    }
}

/// Runs until the producer is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let world = shared.client.world().clone();
    loop {
        if shared.lock().closed {
            return;
        }
        let late_at = shared.expire();
        let now = shared.now();
        if shared.lock().lacks_producer_id(&shared.config) {
            let left = late_at.unwrap_or(now).saturating_sub(now);
            match world.timeout(left, producer_id(&shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    shared.lock().fail_waiting(&error);
                    shared.settled.notify_waiters();
                    continue;
                }
                Err(_) => continue,
            }
        }
        let now = shared.now();
        let due = shared.lock().due(&shared.config, now);
        let look_again = due.look_again.into_iter().chain(late_at).min();
        start(&shared, due);
        let woken = shared.wake.notified();
        match look_again {
            // Woken or not: it looks again.
            Some(at) => drop(world.timeout(at.saturating_sub(now), woken).await),
            None => woken.await,
        }
    }
}

fn start(shared: &Arc<Shared>, due: Due) {
    let world = shared.client.world();
    for topic in due.topics {
        let task = resolve(shared.clone(), topic);
        drop(world.spawn(Bulkhead::Network, task));
    }
    let mut lots: Map<Option<i32>, Lot> = Map::new();
    for (partition, batch) in due.batches {
        let topic = shared.client.0.metadata.cached(&shared.client, &partition.topic);
        let leader = topic.and_then(|topic| topic.leader(partition.partition));
        lots.entry(leader).or_default().push((partition, batch));
    }
    for (leader, lot) in lots {
        match leader {
            Some(leader) => {
                drop(world.spawn(Bulkhead::Network, deliver(shared.clone(), leader, lot)));
            }
            None => drop(world.spawn(Bulkhead::Network, find_leaders(shared.clone(), lot))),
        }
    }
}

async fn resolve(shared: Arc<Shared>, topic: String) {
    let found = shared.client.topic(&topic).await;
    let partitions = match found {
        Ok(found) => Ok(u32::try_from(found.partitions.len()).unwrap_or(u32::MAX)),
        Err(error) => Err(ProduceError::from(error)),
    };
    let chance = |bound| shared.chance(bound);
    let (_, now_ms) = shared.times();
    shared.lock().resolved(&shared.config, &topic, partitions, now_ms, chance);
    shared.settled.notify_waiters();
    shared.wake.notify_one();
}

/// Asks for the topics whose leaders are not known; what waits for them is looked at again afterwards.
async fn find_leaders(shared: Arc<Shared>, lot: Lot) {
    let mut lot = lot;
    while let Some((partition, _)) = lot.first() {
        let topic = shared.in_time(&lot, shared.client.topic(&partition.topic)).await;
        let (partition, batch) = lot.remove(0);
        let Some(topic) = topic else {
            let error = ProduceError::Refused(Refused::of(ErrorCode::LeaderNotAvailable));
            let not_before = shared.now();
            shared.settle(&partition, batch, Fate::Again { not_before, in_doubt: false, error });
            continue;
        };
        let error = match topic {
            Ok(topic) if topic.leader(partition.partition).is_some() => {
                let error = ProduceError::Refused(Refused::of(ErrorCode::LeaderNotAvailable));
                let not_before = shared.now();
                shared.settle(
                    &partition,
                    batch,
                    Fate::Again { not_before, in_doubt: false, error },
                );
                continue;
            }
            Ok(_) => ProduceError::Refused(Refused::of(ErrorCode::LeaderNotAvailable)),
            Err(error) => error.into(),
        };
        shared.client.0.metadata.mark_stale(&partition.topic);
        let not_before = shared.again_at(batch.tries);
        shared.settle(&partition, batch, Fate::Again { not_before, in_doubt: false, error });
    }
}

async fn producer_id(shared: &Shared) -> Result<(), ProduceError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let mut tries = shared.client.tries();
    loop {
        let error = match shared.client.ask_any(&request).await {
            Ok(answer) => match Refused::check(answer.error_code, None) {
                Ok(()) => {
                    shared.lock().set_producer_id(answer.producer_id, answer.producer_epoch);
                    return Ok(());
                }
                Err(refused) if refused.code.retriable() => ProduceError::Refused(refused),
                Err(refused) => return Err(ProduceError::Refused(refused)),
            },
            Err(error) if error.retriable() => error.into(),
            Err(error) => return Err(error.into()),
        };
        if shared.lock().closed || !tries.again().await {
            return Err(error);
        }
    }
}

async fn deliver(shared: Arc<Shared>, leader: i32, lot: Lot) {
    let (request, lot) = request(&shared, lot);
    if lot.is_empty() {
        return;
    }
    let answer = shared.in_time(&lot, exchange(&shared, leader, &request)).await;
    let late = || RequestError::TimedOut {
        address: format!("broker {leader}"),
        api: ApiKey::Produce,
        limit: shared.config.delivery_timeout,
    };
    match answer.unwrap_or_else(|| Err(late())) {
        Ok(answer) => {
            for (partition, batch) in lot {
                let fate = match &answer {
                    Some(answer) => fate(&shared, &partition, &batch, answer),
                    None => Fate::Delivered(None),
                };
                shared.settle(&partition, batch, fate);
            }
        }
        Err(error) => {
            for (partition, batch) in lot {
                shared.client.0.metadata.mark_stale(&partition.topic);
                let fate = match error.retriable() {
                    true => Fate::Again {
                        not_before: shared.again_at(batch.tries),
                        in_doubt: error.maybe_done(),
                        error: error.clone().into(),
                    },
                    false => {
                        Fate::Failed { in_doubt: error.maybe_done(), error: error.clone().into() }
                    }
                };
                shared.settle(&partition, batch, fate);
            }
        }
    }
}

async fn exchange(
    shared: &Shared,
    leader: i32,
    request: &ProduceRequest,
) -> Result<Option<ProduceResponse>, RequestError> {
    let connection = shared.client.broker(&shared.connections, leader).await?;
    let limit = shared.client.config().request_timeout;
    if shared.config.acks == Acks::None {
        return connection.send(request, limit).await.map(|()| None);
    }
    connection.request(request, limit).await.map(Some)
}

/// The request for what can be encoded; what cannot is settled.
fn request(shared: &Shared, lot: Lot) -> (ProduceRequest, Lot) {
    let timeout = shared.client.config().request_timeout;
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut sent = Vec::with_capacity(lot.len());
    for (partition, mut batch) in lot {
        let records = match batch.encoded() {
            Ok(records) => records,
            Err(error) => {
                shared.settle(&partition, batch, Fate::Failed { in_doubt: false, error });
                continue;
            }
        };
        // The lot is in the order of its topics.
        if topics.last().is_none_or(|topic| topic.name != partition.topic) {
            topics.push(TopicProduceData {
                name: partition.topic.clone(),
                topic_id: shared.client.0.metadata.id_of(&partition.topic),
                ..TopicProduceData::default()
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partition_data.push(PartitionProduceData {
                index: partition.partition,
                records: Some(records.into()),
                ..PartitionProduceData::default()
            });
        }
        sent.push((partition, batch));
    }
    let request = ProduceRequest {
        transactional_id: None,
        acks: match shared.config.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        },
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics,
        ..ProduceRequest::default()
    };
    (request, sent)
}

fn answer_for<'a>(
    shared: &Shared,
    partition: &TopicPartition,
    answer: &'a ProduceResponse,
) -> Option<&'a PartitionProduceResponse> {
    let id = shared.client.0.metadata.id_of(&partition.topic);
    let topic = answer.responses.iter().find(|topic| match topic.name.is_empty() {
        true => topic.topic_id == id,
        false => topic.name == partition.topic,
    })?;
    topic.partition_responses.iter().find(|answer| answer.index == partition.partition)
}

fn fate(
    shared: &Shared,
    partition: &TopicPartition,
    batch: &Batch,
    answer: &ProduceResponse,
) -> Fate {
    let Some(answer) = answer_for(shared, partition, answer) else {
        let refused = Refused::of(ErrorCode::UnknownServerError);
        return Fate::Failed { in_doubt: true, error: ProduceError::Refused(refused) };
    };
    let Err(refused) = Refused::check(answer.error_code, answer.error_message.clone()) else {
        return Fate::Delivered((answer.base_offset >= 0).then_some(answer.base_offset));
    };
    let code = refused.code;
    let error = ProduceError::Refused(refused);
    match code {
        ErrorCode::DuplicateSequenceNumber => Fate::Delivered(None),
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch => Fate::Anew { error },
        code if code.retriable() => {
            shared.client.0.metadata.mark_stale(&partition.topic);
            let not_before = shared.again_at(batch.tries);
            Fate::Again { not_before, in_doubt: in_doubt(code), error }
        }
        _ => Fate::Failed { in_doubt: in_doubt(code), error },
    }
}

/// Whether the broker may have written what it refuses: it may have come to lead no more, or failed, after that.
pub(super) fn in_doubt(code: ErrorCode) -> bool {
    match code {
        ErrorCode::CorruptMessage
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition => false,
        ErrorCode::UnknownServerError => true,
        other => other.retriable(),
    }
}

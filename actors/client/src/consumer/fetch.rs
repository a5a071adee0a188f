//! One fetch from one broker, and its records decoded.

use std::sync::Arc;

use bytes::Bytes;
use model::TopicPartition;
use runtime::{FastMap, Map};
use tokio::sync::mpsc;
use wire::batch::{BatchError, ControlRecordType, RecordBatch, batches, parse_control_type};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::fetch_response::{AbortedTransaction, PartitionData};
use wire::{FetchRequest, FetchResponse};

use super::{ConsumeError, ConsumerConfig, Event, PartitionRecords};
use crate::client::{Client, Connections};
use crate::error::{Refused, RequestError};

/// What is fetched from where.
pub(super) type Plan = Map<TopicPartition, Wanted>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) offset: i64,
    /// Of the last record that was read, where the leader is to compare; else -1.
    pub(super) last_epoch: i32,
}

pub(super) struct Answer {
    pub(super) leader: i32,
    pub(super) outcome: Result<Vec<Fetched>, RequestError>,
}

pub(super) struct Fetched {
    pub(super) partition: TopicPartition,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// With the leader epochs of the batches, and the first offset of each.
    Records(PartitionRecords, Vec<(i32, i64)>),
    Failed(ConsumeError),
}

pub(super) async fn run(
    client: Client,
    connections: Arc<Connections>,
    config: Arc<ConsumerConfig>,
    leader: i32,
    plan: Plan,
    to: mpsc::UnboundedSender<Event>,
) {
    let outcome = exchange(&client, &connections, &config, leader, &plan).await;
    let outcome = outcome.and_then(|answer| decode(&client, &config, &plan, answer));
    // Where the consumer is gone nobody wants it.
    let _ = to.send(Event::Fetched(Answer { leader, outcome }));
}

async fn exchange(
    client: &Client,
    connections: &Connections,
    config: &ConsumerConfig,
    leader: i32,
    plan: &Plan,
) -> Result<FetchResponse, RequestError> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (partition, wanted) in plan {
        if topics.last().is_none_or(|topic| topic.topic != partition.topic) {
            topics.push(FetchTopic {
                topic: partition.topic.clone(),
                topic_id: client.0.metadata.id_of(&partition.topic),
                ..FetchTopic::default()
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(FetchPartition {
                partition: partition.partition,
                fetch_offset: wanted.offset,
                last_fetched_epoch: wanted.last_epoch,
                partition_max_bytes: config.max_partition_bytes,
                ..FetchPartition::default()
            });
        }
    }
    let request = FetchRequest {
        max_wait_ms: i32::try_from(config.max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.min_bytes,
        max_bytes: config.max_bytes,
        isolation_level: i8::from(config.read_committed),
        topics,
        ..FetchRequest::default()
    };
    let limit = client.config().request_timeout.saturating_add(config.max_wait);
    let connection = client.broker(connections, leader).await?;
    connection.request(&request, limit).await
}

fn decode(
    client: &Client,
    config: &ConsumerConfig,
    plan: &Plan,
    answer: FetchResponse,
) -> Result<Vec<Fetched>, RequestError> {
    for node in &answer.node_endpoints {
        client.0.metadata.learn_broker(node.node_id, &node.host, node.port);
    }
    let mut all = Vec::new();
    let whole = Refused::check(answer.error_code, None);
    if let Err(refused) = whole {
        let failed = plan.keys().map(|partition| {
            let refused = refused.clone();
            let error = ConsumeError::Refused { partition: partition.clone(), refused };
            Fetched { partition: partition.clone(), outcome: Outcome::Failed(error) }
        });
        return Ok(failed.collect());
    }
    for topic in answer.responses {
        let name = match topic.topic.is_empty() {
            true => client.0.metadata.name_of(topic.topic_id),
            false => Some(topic.topic),
        };
        let Some(name) = name else { continue };
        for data in topic.partitions {
            let partition = TopicPartition { topic: name.clone(), partition: data.partition_index };
            let Some(wanted) = plan.get(&partition) else { continue };
            let outcome = match records(config, &partition, wanted.offset, data) {
                Ok((records, epochs)) => Outcome::Records(records, epochs),
                Err(error) => Outcome::Failed(error),
            };
            all.push(Fetched { partition, outcome });
        }
    }
    Ok(all)
}

fn records(
    config: &ConsumerConfig,
    partition: &TopicPartition,
    offset: i64,
    data: PartitionData,
) -> Result<(PartitionRecords, Vec<(i32, i64)>), ConsumeError> {
    Refused::check(data.error_code, None)
        .map_err(|refused| ConsumeError::Refused { partition: partition.clone(), refused })?;
    if data.diverging_epoch.end_offset >= 0 {
        let (epoch, end) = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
        return Err(ConsumeError::Parted { partition: partition.clone(), epoch, end });
    }
    let mut found = PartitionRecords {
        partition: partition.clone(),
        records: Vec::new(),
        next_offset: offset,
        high_watermark: data.high_watermark,
    };
    let bytes = data.records.as_ref().and_then(wire::Records::as_bytes).cloned();
    let aborted = data.aborted_transactions.unwrap_or_default();
    let mut unpacking = Unpacking { config, aborted: Aborted::new(aborted), epochs: Vec::new() };
    unpacking.unpack(bytes.unwrap_or_default(), &mut found).map_err(|error| {
        ConsumeError::Corrupt { partition: partition.clone(), reason: error.to_string() }
    })?;
    Ok((found, unpacking.epochs))
}

/// What is known while batches are taken apart.
struct Unpacking<'a> {
    config: &'a ConsumerConfig,
    aborted: Aborted,
    epochs: Vec<(i32, i64)>,
}

impl Unpacking<'_> {
    /// Stops without an error before a batch that cannot be read, if there are records before it: they are handed out first.
    fn unpack(&mut self, bytes: Bytes, found: &mut PartitionRecords) -> Result<(), BatchError> {
        for batch in batches(bytes) {
            let before = found.records.len();
            let took = batch.and_then(|batch| self.take(&batch, found));
            if let Err(error) = took {
                found.records.truncate(before);
                return if before == 0 { Err(error) } else { Ok(()) };
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        batch: &RecordBatch,
        found: &mut PartitionRecords,
    ) -> Result<(), BatchError> {
        let header = batch.header();
        if header.next_offset() <= found.next_offset {
            return Ok(());
        }
        batch.verify_crc()?;
        self.aborted.enter(header.last_offset());
        if header.is_control() {
            self.aborted.control(batch)?;
        } else if !(header.is_transactional() && self.aborted.holds(header.producer_id)) {
            let from = found.next_offset;
            for record in batch.records(self.config.max_decompressed_bytes)? {
                let record = record?;
                if record.offset >= from {
                    found.records.push(record);
                }
            }
        }
        if self.epochs.last().is_none_or(|(last, _)| *last < header.leader_epoch) {
            self.epochs.push((header.leader_epoch, header.base_offset.max(found.next_offset)));
        }
        found.next_offset = header.next_offset();
        Ok(())
    }
}

/// Which producers' records are part of a transaction that was aborted, as the offsets go on.
struct Aborted {
    /// Those ahead, the nearest last.
    ahead: Vec<AbortedTransaction>,
    open: FastMap<i64, ()>,
}

impl Aborted {
    fn new(mut ahead: Vec<AbortedTransaction>) -> Aborted {
        ahead.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Aborted { ahead, open: FastMap::default() }
    }

    fn enter(&mut self, last_offset: i64) {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= last_offset) {
            self.open.insert(next.producer_id, ());
        }
    }

    fn holds(&self, producer: i64) -> bool {
        self.open.contains_key(&producer)
    }

    fn control(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        const MARKER_LIMIT: usize = 1 << 10;
        let Some(record) = batch.records(MARKER_LIMIT)?.next() else { return Ok(()) };
        let key = record?.key.unwrap_or_default();
        if parse_control_type(&key)? == Some(ControlRecordType::Abort) {
            self.open.remove(&batch.header().producer_id);
        }
        Ok(())
    }
}

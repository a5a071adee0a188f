//! Where to begin: committed offsets, and the ends of logs.

use std::sync::Arc;

use model::TopicPartition;
use runtime::Map;
use wire::ListOffsetsRequest;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use super::{ConsumeError, ConsumerConfig, Reset, Start};
use crate::client::{Client, Connections};
use crate::error::{Refused, RequestError};
use crate::metadata::MetadataError;
use crate::offsets::GroupOffsets;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Whom to ask. Of its own, so that a lookup outlives the poll that began it.
pub(super) struct Sources {
    pub(super) client: Client,
    pub(super) connections: Arc<Connections>,
    pub(super) config: Arc<ConsumerConfig>,
    pub(super) offsets: Option<Arc<GroupOffsets>>,
}

pub(super) fn retriable(error: &ConsumeError) -> bool {
    match error {
        ConsumeError::Request(error) => error.retriable(),
        ConsumeError::Metadata(MetadataError::Request(error)) => error.retriable(),
        ConsumeError::Refused { refused, .. } | ConsumeError::Group { refused, .. } => {
            refused.code.retriable()
        }
        _ => false,
    }
}

/// The offsets for these starts, each asked for once.
pub(super) async fn find(
    sources: &Sources,
    wanted: &[(TopicPartition, Start)],
) -> Result<Map<TopicPartition, i64>, ConsumeError> {
    let mut found = Map::new();
    let (mut earliest, mut latest, mut committed) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, start) in wanted {
        match start {
            Start::Offset(offset) => drop(found.insert(partition.clone(), *offset)),
            Start::Earliest => earliest.push(partition.clone()),
            Start::Latest => latest.push(partition.clone()),
            Start::Committed => committed.push(partition.clone()),
        }
    }
    if !committed.is_empty() {
        let known =
            sources.offsets.as_ref().ok_or(ConsumeError::NoGroup)?.committed(&committed).await?;
        for partition in committed {
            match (known.get(&partition), sources.config.reset) {
                (Some(offset), _) => drop(found.insert(partition, *offset)),
                (None, Reset::Earliest) => earliest.push(partition),
                (None, Reset::Latest) => latest.push(partition),
                (None, Reset::Fail) => {
                    return Err(ConsumeError::OutOfRange { partition, offset: -1 });
                }
            }
        }
    }
    found.append(&mut look_up(sources, &earliest, Reset::Earliest).await?);
    found.append(&mut look_up(sources, &latest, Reset::Latest).await?);
    Ok(found)
}

/// The first or the next offset of each of these partitions, asked of their leaders.
pub(super) async fn look_up(
    sources: &Sources,
    partitions: &[TopicPartition],
    at: Reset,
) -> Result<Map<TopicPartition, i64>, ConsumeError> {
    let mut by_leader: Map<i32, Vec<&TopicPartition>> = Map::new();
    for partition in partitions {
        let topic = sources.client.topic(&partition.topic).await?;
        let leader = topic.leader(partition.partition).unwrap_or(-1);
        by_leader.entry(leader).or_default().push(partition);
    }
    let mut found = Map::new();
    for (leader, partitions) in by_leader {
        ask(sources, leader, &partitions, at, &mut found).await?;
    }
    Ok(found)
}

async fn ask(
    sources: &Sources,
    leader: i32,
    partitions: &[&TopicPartition],
    at: Reset,
    found: &mut Map<TopicPartition, i64>,
) -> Result<(), ConsumeError> {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for partition in partitions {
        if topics.last().is_none_or(|topic| topic.name != partition.topic) {
            let name = partition.topic.clone();
            topics.push(ListOffsetsTopic { name, ..ListOffsetsTopic::default() });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp: if at == Reset::Earliest { EARLIEST } else { LATEST },
                ..ListOffsetsPartition::default()
            });
        }
    }
    let limit = sources.client.config().request_timeout;
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: i8::from(sources.config.read_committed),
        topics,
        timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    };
    let connection = sources.client.broker(&sources.connections, leader).await?;
    let answer = connection.request(&request, limit).await?;
    for topic in answer.topics {
        for answer in topic.partitions {
            let partition =
                TopicPartition { topic: topic.name.clone(), partition: answer.partition_index };
            if let Err(refused) = Refused::check(answer.error_code, None) {
                return Err(ConsumeError::Refused { partition, refused });
            }
            found.insert(partition, answer.offset);
        }
    }
    match partitions.iter().all(|partition| found.contains_key(*partition)) {
        true => Ok(()),
        // Nothing is known of why: as if the leader had gone.
        false => Err(RequestError::UnknownBroker(leader).into()),
    }
}

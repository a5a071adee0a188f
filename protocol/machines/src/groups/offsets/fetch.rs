//! OffsetFetch.

use model::{ErrorCode, Uuid};
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::{CommittedOffset, Offsets};
use crate::groups::refusal::no_offset;
use crate::groups::shard::GroupShard;

/// From this version on a request asks for several groups.
const BATCH_VERSION: i16 = 8;

/// A group that does not exist has committed nothing, which is no error.
pub fn fetch(shard: &GroupShard, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let topics = match &request.topics {
        None => all(&shard.offsets, &request.group_id),
        Some(topics) => {
            topics.iter().map(|topic| requested(&shard.offsets, &request.group_id, topic)).collect()
        }
    };
    OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, ..Default::default() }
}

fn all(offsets: &Offsets, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
    let topics = offsets.group(group_id).into_iter().flatten();
    topics
        .map(|(name, partitions)| OffsetFetchResponseTopics {
            name: name.clone(),
            topic_id: Uuid::ZERO,
            partitions: partitions.iter().map(|(index, at)| fetched(*index, at)).collect(),
            ..Default::default()
        })
        .collect()
}

fn requested(
    offsets: &Offsets,
    group_id: &str,
    topic: &OffsetFetchRequestTopics,
) -> OffsetFetchResponseTopics {
    let committed = offsets.group(group_id).and_then(|topics| topics.get(&topic.name));
    let partitions = topic.partition_indexes.iter().map(|index| {
        let offset = committed.and_then(|partitions| partitions.get(index));
        match offset.filter(|offset| !is_of_another(offset.topic_id, topic.topic_id)) {
            Some(offset) => fetched(*index, offset),
            None => no_offset(*index, ErrorCode::None),
        }
    });
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// A topic that was deleted and made again under its old name.
fn is_of_another(committed: Uuid, requested: Uuid) -> bool {
    !committed.is_zero() && !requested.is_zero() && committed != requested
}

fn fetched(partition_index: i32, committed: &CommittedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.offset,
        committed_leader_epoch: committed.leader_epoch,
        metadata: Some(committed.metadata.clone()),
        ..Default::default()
    }
}

/// The groups that a request of any version asks for.
pub fn fetch_groups(
    request: wire::OffsetFetchRequest,
    version: i16,
) -> Vec<OffsetFetchRequestGroup> {
    if version >= BATCH_VERSION {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topics.collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() }]
}

/// The response in the request's version, which before batches holds the one group that was asked for.
pub fn fetch_response(
    mut groups: Vec<OffsetFetchResponseGroup>,
    version: i16,
) -> wire::OffsetFetchResponse {
    if version >= BATCH_VERSION {
        return wire::OffsetFetchResponse { groups, ..Default::default() };
    }
    let Some(group) = groups.pop() else {
        return wire::OffsetFetchResponse::default();
    };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(unbatched).collect(),
        ..Default::default()
    });
    wire::OffsetFetchResponse {
        error_code: group.error_code,
        topics: topics.collect(),
        ..Default::default()
    }
}

fn unbatched(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    }
}

//! The answers to requests that a shard could not take: not loaded, not led here, not written.

use model::ErrorCode;
use wire::delete_groups_response::DeletableGroupResult;
use wire::describe_causes_response::CausesGroup;
use wire::describe_groups_response::DescribedGroup;
use wire::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::offset_fetch_request::OffsetFetchRequestGroup;
use wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::classic::responses;
use super::request::{GroupReply, GroupRequest};

impl GroupRequest {
    /// The answer where the request fails as a whole. The error is that of the shard's log; what clients of the group
    /// APIs are told instead is decided here.
    pub fn refuse(&self, error: ErrorCode) -> GroupReply {
        let error = match self {
            GroupRequest::OffsetFetch { .. } => fetch_error(error),
            _ => coordinator_error(error),
        };
        match self {
            GroupRequest::Join(join) => {
                GroupReply::Join(responses::join_error("", error, join.version))
            }
            GroupRequest::Sync { .. } => GroupReply::Sync(responses::sync_error(error)),
            GroupRequest::Heartbeat { .. } => {
                // A member need not rejoin because its group is still being loaded.
                let error = match error {
                    ErrorCode::CoordinatorLoadInProgress => ErrorCode::None,
                    other => other,
                };
                GroupReply::Heartbeat(responses::heartbeat(error))
            }
            GroupRequest::Leave { .. } => GroupReply::Leave(wire::LeaveGroupResponse {
                error_code: error.code(),
                ..Default::default()
            }),
            GroupRequest::Describe { group_ids, .. } => {
                GroupReply::Describe(group_ids.iter().map(|id| describe_error(id, error)).collect())
            }
            GroupRequest::Causes { .. } => {
                let refused = CausesGroup { error_code: error.code(), ..Default::default() };
                GroupReply::Causes(Box::new(refused))
            }
            GroupRequest::List(_) => GroupReply::List { error, groups: Vec::new() },
            GroupRequest::ListSize(_) => GroupReply::ListSize(0),
            GroupRequest::Delete { group_ids } => {
                GroupReply::Delete(group_ids.iter().map(|id| delete_error(id, error)).collect())
            }
            GroupRequest::OffsetCommit { request, .. } => {
                GroupReply::OffsetCommit(commit_error(request, error))
            }
            GroupRequest::OffsetFetch { group, version, .. } => {
                GroupReply::OffsetFetch(offset_fetch_error(group, error, *version))
            }
            GroupRequest::OffsetDelete { .. } => {
                GroupReply::OffsetDelete(wire::OffsetDeleteResponse {
                    error_code: error.code(),
                    ..Default::default()
                })
            }
            GroupRequest::TopicsDeleted { .. } => GroupReply::TopicsDeleted { done: false },
        }
    }
}

fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        other => log_error(other),
    }
}

/// Consumers before 3.9 retry a fetch of offsets on NOT_COORDINATOR alone.
fn fetch_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::RequestTimedOut => ErrorCode::NotCoordinator,
        other => coordinator_error(other),
    }
}

fn log_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

pub(super) fn describe_error(group_id: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id: group_id.to_owned(), error_code: error.code(), ..Default::default() }
}

pub(super) fn delete_error(group_id: &str, error: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult {
        group_id: group_id.to_owned(),
        error_code: error.code(),
        ..Default::default()
    }
}

pub(super) fn commit_error(
    request: &wire::OffsetCommitRequest,
    error: ErrorCode,
) -> wire::OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    wire::OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// A group's error in a response to OffsetFetch; the first version has no place for it but the partitions.
pub fn offset_fetch_error(
    group: &OffsetFetchRequestGroup,
    error: ErrorCode,
    version: i16,
) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    if version >= 2 {
        let error_code = error.code();
        return OffsetFetchResponseGroup { group_id, error_code, ..Default::default() };
    }
    let topics = group.topics.iter().flatten().map(|topic| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| no_offset(*index, error)).collect(),
        ..Default::default()
    });
    OffsetFetchResponseGroup { group_id, topics: topics.collect(), ..Default::default() }
}

pub(super) fn no_offset(partition_index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: error.code(),
        ..Default::default()
    }
}

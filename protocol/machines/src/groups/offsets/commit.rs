//! OffsetCommit.

use model::{Decision, ErrorCode, Now, Ticket, TimerOp, Uuid};
use wire::offset_commit_request::OffsetCommitRequestPartition;
use wire::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};

use super::key;
use crate::groups::classic::{State, session_timer};
use crate::groups::event::{GroupEvent, Record};
use crate::groups::refusal::commit_error;
use crate::groups::request::{GroupReply, GroupTimer};
use crate::groups::shard::{Group, GroupDecision, GroupShard};

/// From this version on a client knows the error of a group that does not exist.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 9;

pub fn commit(
    shard: &GroupShard,
    now: Now,
    ticket: Ticket,
    request: &wire::OffsetCommitRequest,
    version: i16,
) -> GroupDecision {
    let refuse =
        |error| Decision::reply(ticket, GroupReply::OffsetCommit(commit_error(request, error)));
    let session = match admitted(shard, request, version) {
        Ok(session) => session,
        Err(error) => return refuse(error),
    };
    let commit = Commit { shard, now, request };
    let records = request.topics.iter().flat_map(|topic| {
        let taken = topic.partitions.iter().filter(|partition| commit.check(partition).is_ok());
        let commit = &commit;
        taken.map(move |partition| commit.record(&topic.name, topic.topic_id, partition))
    });
    GroupDecision {
        events: shard.no_more_than_fit(records.map(GroupEvent::Record)),
        replies: vec![(ticket, GroupReply::OffsetCommit(commit.response()))],
        timers: session.into_iter().collect(),
    }
}

/// Whoever commits is alive: the session to prolong, if it is a member's.
fn admitted(
    shard: &GroupShard,
    request: &wire::OffsetCommitRequest,
    version: i16,
) -> Result<Option<TimerOp<GroupTimer>>, ErrorCode> {
    let generation = request.generation_id_or_member_epoch;
    match shard.groups.get(&request.group_id) {
        Some(Group::Classic(group)) => {
            let instance_id = request.group_instance_id.as_deref();
            group.validate_commit(&request.member_id, instance_id, generation)?;
            let member = match group.state {
                State::Stable | State::PreparingRebalance => {
                    group.members.get(request.member_id.as_str())
                }
                State::Empty | State::CompletingRebalance => None,
            };
            Ok(member.map(|member| session_timer(&group.id, member)))
        }
        Some(Group::Other(_)) => Err(ErrorCode::UnknownMemberId),
        None if generation < 0 => Ok(None),
        None if version >= GROUP_ID_NOT_FOUND_VERSION => Err(ErrorCode::GroupIdNotFound),
        None => Err(ErrorCode::IllegalGeneration),
    }
}

struct Commit<'a> {
    shard: &'a GroupShard,
    now: Now,
    request: &'a wire::OffsetCommitRequest,
}

impl Commit<'_> {
    fn check(&self, partition: &OffsetCommitRequestPartition) -> Result<(), ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        let max_metadata = self.shard.settings.offset_metadata_max_bytes;
        // Counted as Java counts a string.
        if metadata.len() > max_metadata && metadata.encode_utf16().count() > max_metadata {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    fn response(&self) -> wire::OffsetCommitResponse {
        let answered = |partition: &OffsetCommitRequestPartition| {
            let error = self.check(partition).err().unwrap_or(ErrorCode::None);
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
                ..Default::default()
            }
        };
        let topics = self.request.topics.iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(answered).collect(),
            ..Default::default()
        });
        wire::OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
    }

    fn record(
        &self,
        topic: &str,
        topic_id: Uuid,
        partition: &OffsetCommitRequestPartition,
    ) -> Record {
        let expires = match self.request.retention_time_ms {
            -1 => None,
            retention_ms => Some(self.now.wall_ms.saturating_add(retention_ms)),
        };
        // The version of the record that has a time of expiry has neither leader epoch nor topic id.
        let (leader_epoch, topic_id) = match expires {
            None => (partition.committed_leader_epoch, topic_id),
            Some(_) => (-1, Uuid::ZERO),
        };
        let value = wire::OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch,
            metadata: partition.committed_metadata.clone().unwrap_or_default(),
            commit_timestamp: self.now.wall_ms,
            expire_timestamp: expires.unwrap_or(-1),
            topic_id,
            ..Default::default()
        };
        let key = key(&self.request.group_id, topic, partition.partition_index);
        Record::OffsetCommit { key, value: Some(value) }
    }
}

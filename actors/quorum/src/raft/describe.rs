//! DescribeQuorum: how far each voter and observer is, as the leader knows it.

use machines::consensus::{ReplicaKey, ReplicaProgress, Role, Voter};
use model::{ErrorCode, Now};
use wire::describe_quorum_response as describe;
use wire::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::Raft;
use super::serve::{PARTITION, TOPIC, only};

impl Raft {
    pub(super) fn describe(
        &self,
        request: &DescribeQuorumRequest,
        now: Now,
    ) -> DescribeQuorumResponse {
        let asked = only(&request.topics, |topic| (&topic.topic_name, &topic.partitions));
        if asked.is_none_or(|partition| partition.partition_index != PARTITION) {
            return refuse(request, ErrorCode::UnknownTopicOrPartition);
        }
        let Role::Leader(leader) = self.consensus.role() else {
            return refuse(request, ErrorCode::NotLeaderOrFollower);
        };
        let voters = self.consensus.voters();
        let local = self.args.local.key.id;
        let current_voters = voters.iter().map(|voter| {
            let known = leader.replicas().find(|(key, _)| *key == voter.key);
            let mut state = state_of(voter.key, known.map(|(_, progress)| progress));
            if voter.key.id == local {
                state.log_end_offset = self.log.log_end_offset();
                state.last_fetch_timestamp = now.wall_ms;
                state.last_caught_up_timestamp = now.wall_ms;
            }
            state
        });
        let observers = leader
            .replicas()
            .filter(|(key, progress)| !voters.is_voter(*key) && progress.is_heard_of(now));
        let partition = describe::PartitionData {
            partition_index: PARTITION,
            leader_id: self.leader_id_or_none(),
            leader_epoch: self.consensus.epoch(),
            high_watermark: self.consensus.led_high_watermark().unwrap_or(-1),
            current_voters: current_voters.collect(),
            observers: observers.map(|(key, progress)| state_of(key, Some(progress))).collect(),
            ..Default::default()
        };
        DescribeQuorumResponse {
            topics: vec![describe::TopicData {
                topic_name: TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            nodes: voters.iter().map(node_of).collect(),
            ..Default::default()
        }
    }
}

fn refuse(request: &DescribeQuorumRequest, error: ErrorCode) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| describe::TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| describe::PartitionData {
                partition_index: partition.partition_index,
                error_code: error.code(),
                error_message: Some(error.message().to_owned()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}

fn state_of(key: ReplicaKey, progress: Option<ReplicaProgress>) -> describe::ReplicaState {
    describe::ReplicaState {
        replica_id: key.id,
        replica_directory_id: key.directory_id,
        log_end_offset: progress.map_or(-1, |progress| progress.end_offset),
        last_fetch_timestamp: progress.map_or(-1, |progress| progress.last_fetch_ms),
        last_caught_up_timestamp: progress.map_or(-1, |progress| progress.last_caught_up_ms),
        ..Default::default()
    }
}

fn node_of(voter: &Voter) -> describe::Node {
    let listeners = voter.endpoints.iter().map(|endpoint| describe::Listener {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    describe::Node { node_id: voter.key.id, listeners: listeners.collect(), ..Default::default() }
}

//! AlterReplicaLogDirs, API key 34.
//!
//! Versions: 1–2. Source: `KafkaApis.handleAlterReplicaLogDirsRequest`, `ReplicaManager.alterReplicaLogDirs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ErrorCode, TopicPartition};
use partitions::PartitionsMsg;
use runtime::Reply;
use wire::alter_replica_log_dirs_request::AlterReplicaLogDir;
use wire::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use wire::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

pub(crate) struct AlterReplicaLogDirs;

impl Staged for AlterReplicaLogDirs {
    type Request = AlterReplicaLogDirsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        _cx: RequestContext,
        request: AlterReplicaLogDirsRequest,
    ) -> Answering<AlterReplicaLogDirsResponse> {
        let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
        if let Some(why) = too_many(topics.map(|topic| topic.partitions.len()).sum()) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        Box::pin(alter(broker.clone(), request.dirs))
    }
}

async fn alter(
    broker: Arc<Broker>,
    dirs: Vec<AlterReplicaLogDir>,
) -> Answer<AlterReplicaLogDirsResponse> {
    // Of a partition that is named twice, the last place stands.
    let mut moves: BTreeMap<TopicPartition, String> = BTreeMap::new();
    for dir in dirs {
        for topic in dir.topics {
            for partition in topic.partitions {
                moves.insert(TopicPartition::new(topic.name.clone(), partition), dir.path.clone());
            }
        }
    }
    let moves: Vec<(TopicPartition, String)> = moves.into_iter().collect();
    let named: Vec<TopicPartition> = moves.iter().map(|(partition, _)| partition.clone()).collect();
    let (reply, answer) = Reply::new();
    // Where it is down the reply is dropped, which is an answer.
    let _ = broker.partitions.send(PartitionsMsg::AlterDirs { moves, reply }).await;
    let codes: Vec<ErrorCode> = match answer.get().await {
        Ok(answers) => answers
            .into_iter()
            .map(|answer| answer.map_or_else(|error| error.code(), |()| ErrorCode::None))
            .collect(),
        Err(_) => vec![ErrorCode::UnknownServerError; named.len()],
    };
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for (partition, code) in named.into_iter().zip(codes) {
        let result = AlterReplicaLogDirPartitionResult {
            partition_index: partition.partition,
            error_code: code.code(),
            ..Default::default()
        };
        match results.last_mut().filter(|last| last.topic_name == partition.topic) {
            Some(last) => last.partitions.push(result),
            None => results.push(AlterReplicaLogDirTopicResult {
                topic_name: partition.topic,
                partitions: vec![result],
                ..Default::default()
            }),
        }
    }
    Answer::Response(AlterReplicaLogDirsResponse { results, ..Default::default() })
}

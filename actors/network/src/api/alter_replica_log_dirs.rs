//! AlterReplicaLogDirs, API key 34.
//!
//! Versions: 1–2. Source: `KafkaApis.handleAlterReplicaLogDirsRequest`, `ReplicaManager.alterReplicaLogDirs`.

use std::sync::Arc;

use model::ErrorCode;
use partitions::{DirMoves, PartitionsMsg};
use runtime::{Held, Reply};
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
        cx: RequestContext,
        request: AlterReplicaLogDirsRequest,
    ) -> Answering<AlterReplicaLogDirsResponse> {
        let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
        if let Some(why) = too_many(topics.map(|topic| topic.partitions.len()).sum()) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        Box::pin(alter(broker.clone(), cx.credit, request.dirs))
    }
}

async fn alter(
    broker: Arc<Broker>,
    held: Held,
    dirs: Vec<AlterReplicaLogDir>,
) -> Answer<AlterReplicaLogDirsResponse> {
    let moves = Arc::new(last_named(dirs));
    let (reply, answer) = Reply::new();
    // Where it is down the reply is dropped, which is an answer.
    let ask = PartitionsMsg::AlterDirs { moves: moves.clone(), held, reply };
    let _ = broker.partitions.send(ask).await;
    let mut answers = answer.get().await.ok().map(Vec::into_iter);
    let mut code = || match &mut answers {
        Some(answers) => match answers.next() {
            Some(Err(error)) => error.code(),
            _ => ErrorCode::None,
        },
        None => ErrorCode::UnknownServerError,
    };
    let topics = moves.iter().map(|(topic, partitions)| AlterReplicaLogDirTopicResult {
        topic_name: topic.clone(),
        partitions: partitions
            .keys()
            .map(|index| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code: code().code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let results = topics.collect();
    Answer::Response(AlterReplicaLogDirsResponse { results, ..Default::default() })
}

/// Of a partition that is named twice, the last place stands. Of a topic without partitions Kafka says nothing.
fn last_named(dirs: Vec<AlterReplicaLogDir>) -> DirMoves {
    let mut moves = DirMoves::new();
    for dir in dirs {
        let path: Arc<str> = dir.path.into();
        for topic in dir.topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
            let partitions = topic.partitions.into_iter().map(|index| (index, path.clone()));
            moves.entry(topic.name).or_default().extend(partitions);
        }
    }
    moves
}

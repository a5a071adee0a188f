//! DescribeQuorum, API key 55.
//!
//! Versions: 0–2 (v1 timestamps, v2 directory ids, messages, nodes). Answered by raft of the node that leads the metadata log; brokers
//! send it on.
//! Source: `KafkaRaftClient.handleDescribeQuorumRequest`, `KafkaApis.handleDescribeQuorumRequest`.

use std::sync::Arc;

use model::Uuid;
use wire::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::{Answer, Answering, RequestContext, Staged, quorum, too_many};
use crate::Broker;

const DIRECTORIES_SINCE: i16 = 2;

pub(crate) struct DescribeQuorum;

impl Staged for DescribeQuorum {
    type Request = DescribeQuorumRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: DescribeQuorumRequest,
    ) -> Answering<DescribeQuorumResponse> {
        let named = request.topics.iter().map(|topic| 1 + topic.partitions.len()).sum();
        if let Some(why) = too_many(named) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        let version = cx.version;
        let asked = quorum::ask_leader(broker, cx, request, |error, message| {
            let error_message = Some(message);
            DescribeQuorumResponse { error_code: error.code(), error_message, ..Default::default() }
        });
        Box::pin(async move {
            match asked.await {
                Answer::Response(response) => Answer::Response(as_of(version, response)),
                other => other,
            }
        })
    }
}

/// Who asks in an earlier version is told of no directories and no nodes.
fn as_of(version: i16, mut response: DescribeQuorumResponse) -> DescribeQuorumResponse {
    if version < DIRECTORIES_SINCE {
        response.nodes.clear();
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            let replicas = partition.current_voters.iter_mut().chain(&mut partition.observers);
            replicas.for_each(|replica| replica.replica_directory_id = Uuid::ZERO);
        }
    }
    response
}

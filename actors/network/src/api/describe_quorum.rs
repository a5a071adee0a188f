//! DescribeQuorum, API key 55.
//!
//! Versions: 0–2 (v1 timestamps, v2 directory ids, messages, nodes). Answered by raft of the node that leads the metadata log; brokers
//! send it on.
//! Source: `KafkaRaftClient.handleDescribeQuorumRequest`, `KafkaApis.handleDescribeQuorumRequest`.

use std::sync::Arc;

use wire::{DescribeQuorumRequest, DescribeQuorumResponse, ListenerKind};

use super::{Answer, Answering, RequestContext, Staged, forward, quorum, too_many};
use crate::Broker;

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
        if broker.role == ListenerKind::Controller {
            return quorum::ask(broker, cx, request);
        }
        let broker = broker.clone();
        Box::pin(async move {
            let limit = forward::request_timeout(&broker);
            match broker.controller.request(&request, limit).await {
                None => quorum::ask(&broker, cx, request).await,
                Some(Ok(response)) => Answer::Response(response),
                Some(Err(error)) => {
                    let code = model::ErrorCode::RequestTimedOut.code();
                    let error_message = Some(error.to_string());
                    let refused = DescribeQuorumResponse {
                        error_code: code,
                        error_message,
                        ..Default::default()
                    };
                    Answer::Response(refused)
                }
            }
        })
    }
}

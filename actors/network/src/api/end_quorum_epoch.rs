//! EndQuorumEpoch, API key 54.
//!
//! Versions: 0–1 (v1 directory ids and endpoints). Answered by raft.
//! Source: `KafkaRaftClient.handleEndQuorumEpochRequest`.

use std::sync::Arc;

use wire::{EndQuorumEpochRequest, EndQuorumEpochResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct EndQuorumEpoch;

impl Staged for EndQuorumEpoch {
    type Request = EndQuorumEpochRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: EndQuorumEpochRequest,
    ) -> Answering<EndQuorumEpochResponse> {
        quorum::ask(broker, cx, request)
    }
}

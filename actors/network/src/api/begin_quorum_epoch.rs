//! BeginQuorumEpoch, API key 53.
//!
//! Versions: 0–1 (v1 directory ids and endpoints). Answered by raft.
//! Source: `KafkaRaftClient.handleBeginQuorumEpochRequest`.

use std::sync::Arc;

use wire::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct BeginQuorumEpoch;

impl Staged for BeginQuorumEpoch {
    type Request = BeginQuorumEpochRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: BeginQuorumEpochRequest,
    ) -> Answering<BeginQuorumEpochResponse> {
        quorum::ask(broker, cx, request)
    }
}

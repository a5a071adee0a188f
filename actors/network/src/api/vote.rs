//! Vote, API key 52.
//!
//! Versions: 0–2 (v1 directory ids and endpoints, v2 pre-vote). Answered by raft.
//! Source: `KafkaRaftClient.handleVoteRequest`.

use std::sync::Arc;

use wire::{VoteRequest, VoteResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct Vote;

impl Staged for Vote {
    type Request = VoteRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: VoteRequest,
    ) -> Answering<VoteResponse> {
        quorum::ask(broker, cx, request)
    }
}

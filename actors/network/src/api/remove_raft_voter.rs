//! RemoveRaftVoter, API key 81.
//!
//! Versions: 0. Answered by raft of the node that leads the metadata log; brokers send it on.
//! Source: `KafkaRaftClient.handleRemoveVoterRequest`, `RemoveVoterHandler`.

use std::sync::Arc;

use wire::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct RemoveRaftVoter;

impl Staged for RemoveRaftVoter {
    type Request = RemoveRaftVoterRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: RemoveRaftVoterRequest,
    ) -> Answering<RemoveRaftVoterResponse> {
        quorum::ask_leader(broker, cx, request, |error, message| RemoveRaftVoterResponse {
            error_code: error.code(),
            error_message: Some(message),
            ..Default::default()
        })
    }
}

//! AddRaftVoter, API key 80.
//!
//! Versions: 0–1 (v1 AckWhenCommitted). Answered by raft of the node that leads the metadata log; brokers send it on.
//! Source: `KafkaRaftClient.handleAddVoterRequest`, `AddVoterHandler`.

use std::sync::Arc;

use wire::{AddRaftVoterRequest, AddRaftVoterResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct AddRaftVoter;

impl Staged for AddRaftVoter {
    type Request = AddRaftVoterRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: AddRaftVoterRequest,
    ) -> Answering<AddRaftVoterResponse> {
        quorum::ask_leader(broker, cx, request, |error, message| AddRaftVoterResponse {
            error_code: error.code(),
            error_message: Some(message),
            ..Default::default()
        })
    }
}

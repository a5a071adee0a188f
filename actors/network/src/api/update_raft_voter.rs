//! UpdateRaftVoter, API key 82.
//!
//! Versions: 0. Answered by raft, of voters only.
//! Source: `KafkaRaftClient.handleUpdateVoterRequest`, `UpdateVoterHandler`.

use std::sync::Arc;

use wire::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct UpdateRaftVoter;

impl Staged for UpdateRaftVoter {
    type Request = UpdateRaftVoterRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: UpdateRaftVoterRequest,
    ) -> Answering<UpdateRaftVoterResponse> {
        quorum::ask(broker, cx, request)
    }
}

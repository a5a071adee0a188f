//! What raft answers is asked of it here.

use std::sync::Arc;

use quorum::{QuorumRequest, QuorumResponse};

use super::{Answer, Answering, RequestContext};
use crate::Broker;

/// Asks this node's part of the quorum. Where that is down, the connection is closed: its peer tries again.
pub(super) fn ask<R>(
    broker: &Arc<Broker>,
    cx: RequestContext,
    request: impl Into<QuorumRequest>,
) -> Answering<R>
where
    R: TryFrom<QuorumResponse> + Send + 'static,
{
    let (quorum, request) = (broker.quorum.clone(), request.into());
    Box::pin(async move {
        let RequestContext { key, version, connection, credit, .. } = cx;
        let listener = &connection.listener.name;
        let answer = quorum.serve(request, version, listener, Some(credit)).await;
        match answer.map(R::try_from) {
            Some(Ok(response)) => Answer::Response(response),
            Some(Err(_)) | None => Answer::Close(format!("{key}: raft is down")),
        }
    })
}

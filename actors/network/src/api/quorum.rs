//! What raft answers is asked of it here.

use std::sync::Arc;

use model::ErrorCode;
use quorum::{QuorumRequest, QuorumResponse, Unavailable};
use wire::{ListenerKind, Request};

use super::{Answer, Answering, RequestContext, forward};
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

/// As [`ask`]; brokers send it on to the node that leads. `refuse` is the answer where that cannot be reached.
pub(super) fn ask_leader<Q>(
    broker: &Arc<Broker>,
    cx: RequestContext,
    request: Q,
    refuse: fn(ErrorCode, String) -> Q::Response,
) -> Answering<Q::Response>
where
    Q: Request + Into<QuorumRequest> + Send + Sync + 'static,
    Q::Response: TryFrom<QuorumResponse> + Send + 'static,
{
    if broker.role == ListenerKind::Controller {
        // A broker whose way leads to a former leader looks for the new one, then, and does not tell its client of the old one. As it asks
        // again, nothing is done here, whoever leads by now.
        if cx.is_enveloped() && broker.quorum.status().leader_id != Some(broker.node.0) {
            cx.note_not_controller();
            let error = ErrorCode::NotController;
            let answer = refuse(error, error.message().to_owned());
            return Box::pin(std::future::ready(Answer::Response(answer)));
        }
        return ask(broker, cx, request);
    }
    let broker = broker.clone();
    Box::pin(async move {
        let deadline = broker.world.mono() + forward::request_timeout(&broker);
        loop {
            let left = deadline.saturating_sub(broker.world.mono());
            match broker.controller.send_on(&cx.origin(), &request, left).await {
                None => return ask(&broker, cx, request).await,
                Some(Ok(response)) => return Answer::Response(response),
                Some(Err(Unavailable::NotController)) if left > forward::RETRY_PAUSE => {
                    broker.world.sleep(forward::RETRY_PAUSE).await;
                }
                Some(Err(error @ Unavailable::OtherVersions)) => {
                    return Answer::Close(format!("{}: {error}", cx.key));
                }
                Some(Err(error)) => {
                    let code = match error {
                        Unavailable::NotTaken => ErrorCode::UnknownServerError,
                        _ => ErrorCode::RequestTimedOut,
                    };
                    return Answer::Response(refuse(code, error.to_string()));
                }
            }
        }
    })
}

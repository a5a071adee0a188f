//! AssignReplicasToDirs, API key 73.
//!
//! Versions: 0. From brokers to the active controller.
//! Source: `ControllerApis.handleAssignReplicasToDirs`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct AssignReplicasToDirs;

impl Api for AssignReplicasToDirs {
    type Request = AssignReplicasToDirsRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AssignReplicasToDirsRequest,
    ) -> AssignReplicasToDirsResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::AssignReplicasToDirs(request);
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::AssignReplicasToDirs(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => {
                AssignReplicasToDirsResponse { error_code: error.code(), ..Default::default() }
            }
        }
    }
}

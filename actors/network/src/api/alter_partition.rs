//! AlterPartition, API key 56.
//!
//! Versions: 2–3 (v2 topic ids, v3 the epochs of the ISR's brokers). From leaders to the active controller.
//! Source: `ControllerApis.handleAlterPartitionRequest`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use wire::{AlterPartitionRequest, AlterPartitionResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct AlterPartition;

impl Api for AlterPartition {
    type Request = AlterPartitionRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AlterPartitionRequest,
    ) -> AlterPartitionResponse {
        let limit = forward::request_timeout(&broker);
        let request = ControllerRequest::AlterPartition { request, version: cx.version };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::AlterPartition(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.response,
            Err(error) => AlterPartitionResponse { error_code: error.code(), ..Default::default() },
        }
    }
}

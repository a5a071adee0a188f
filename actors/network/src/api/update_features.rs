//! UpdateFeatures, API key 57.
//!
//! Versions: 0–2 (v1 upgrade types and checks only, v2 no result for each feature). Forwarded to the controller.
//! Source: `ControllerApis.handleUpdateFeatures`.

use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest, QuorumVersion};
use wire::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct UpdateFeatures;

impl Api for UpdateFeatures {
    type Request = UpdateFeaturesRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: UpdateFeaturesRequest,
    ) -> UpdateFeaturesResponse {
        let limit = forward::limit(&broker, request.timeout_ms);
        let level = broker.quorum.status().kraft_version;
        let quorum = QuorumVersion { level, answer: None };
        let request = ControllerRequest::UpdateFeatures { request, version: cx.version, quorum };
        let asked = forward::ask(&broker, &cx, request, limit, |reply| match reply {
            ControllerReply::UpdateFeatures(response) => Some(response),
            _ => None,
        });
        match asked.await {
            Ok(forwarded) => forwarded.shown(&broker).await,
            Err(error) => UpdateFeaturesResponse {
                error_code: error.code(),
                error_message: error.message(),
                ..Default::default()
            },
        }
    }
}

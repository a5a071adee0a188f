//! AlterConfigs, API key 33: sets what is named and deletes the rest.
//!
//! Versions: 0–2. Checked here, then forwarded to the controller.
//! Source: `KafkaApis.handleAlterConfigsRequest`, `ConfigAdminManager`.

use std::collections::BTreeMap;
use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use model::settings::{Op, Resource};
use wire::alter_configs_request::AlterConfigsResource;
use wire::alter_configs_response::AlterConfigsResourceResponse;
use wire::{AlterConfigsRequest, AlterConfigsResponse};

use super::resources::{Alteration, Present, ResourceError, named_twice};
use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;

    fn named(request: &AlterConfigsRequest) -> usize {
        request.resources.iter().map(|each| 1 + each.configs.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: AlterConfigsRequest,
    ) -> AlterConfigsResponse {
        let checked = check(&broker, &request.resources);
        let passed = request.resources.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let resources: Vec<_> = passed.map(|(resource, _)| resource.clone()).collect();
        let decided = if resources.is_empty() {
            Ok(BTreeMap::new())
        } else {
            forwarded(&broker, &cx, AlterConfigsRequest { resources, ..request.clone() }).await
        };
        let responses = request.resources.iter().zip(checked);
        let responses = responses.map(|(resource, checked)| {
            let key = (resource.resource_type, resource.resource_name.clone());
            let (error_code, error_message) = match (checked, &decided) {
                (Err(error), _) => (error.code().code(), Some(error.to_string())),
                (Ok(()), Ok(decided)) => decided
                    .get(&key)
                    .cloned()
                    .unwrap_or((ErrorCode::UnknownServerError.code(), None)),
                (Ok(()), Err(error)) => (error.code(), error.message()),
            };
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: key.0,
                resource_name: key.1,
                ..Default::default()
            }
        });
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

/// Code and message by resource.
type Decided = BTreeMap<(i8, String), (i16, Option<String>)>;

async fn forwarded(
    broker: &Broker,
    cx: &RequestContext,
    request: AlterConfigsRequest,
) -> Result<Decided, forward::ForwardError> {
    let limit = forward::request_timeout(broker);
    let forwarded = forward::is_sent_on(broker, cx);
    let request = ControllerRequest::AlterConfigs { request, forwarded };
    let asked = forward::ask(broker, cx, request, limit, |reply| match reply {
        ControllerReply::AlterConfigs(response) => Some(response),
        _ => None,
    });
    let response = asked.await?.shown(broker).await;
    let of = |r: AlterConfigsResourceResponse| {
        ((r.resource_type, r.resource_name), (r.error_code, r.error_message))
    };
    Ok(response.responses.into_iter().map(of).collect())
}

fn check(broker: &Broker, resources: &[AlterConfigsResource]) -> Vec<Result<(), ResourceError>> {
    let twice = named_twice(resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let present = Present::of(broker);
    let check = |resource: &AlterConfigsResource| {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        if twice.contains(&(kind, name)) {
            return Err(ResourceError::Twice);
        }
        if kind == Resource::Topic.code() && broker.durables.topic(name).is_some() {
            let why = format!("{name} is a durable actor's: alter its settings one by one");
            return Err(ResourceError::DurableTopic(why));
        }
        let set = Op::Set as i8;
        let ops = resource.configs.iter();
        let ops = ops.map(|c| (c.name.as_str(), set, c.value.as_deref())).collect();
        Alteration { kind, name, ops }.check(&present, true)
    };
    resources.iter().map(check).collect()
}

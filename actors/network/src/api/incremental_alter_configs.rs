//! IncrementalAlterConfigs, API key 44.
//!
//! Versions: 0–1. Checked here, then forwarded to the controller; levels of loggers are this broker's own business (KIP-412).
//! Source: `KafkaApis.handleIncrementalAlterConfigsRequest`, `ConfigAdminManager`, `RuntimeLoggerManager`.

use std::collections::BTreeMap;
use std::sync::Arc;

use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use model::settings::{Op, Resource};
use wire::incremental_alter_configs_request::AlterConfigsResource;
use wire::incremental_alter_configs_response::AlterConfigsResourceResponse;
use wire::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::resources::{Alteration, Present, ResourceError, named_twice};
use super::{Api, RequestContext, forward};
use crate::Broker;

pub(crate) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;

    fn named(request: &IncrementalAlterConfigsRequest) -> usize {
        request.resources.iter().map(|each| 1 + each.configs.len()).sum()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let checked = check(&broker, &request.resources);
        if !request.validate_only {
            set_levels(&broker, &request.resources, &checked);
        }
        let passed = request.resources.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
        let resources: Vec<_> = passed.map(|(resource, _)| resource.clone()).collect();
        let decided = if needs_controller(&resources) {
            let request = IncrementalAlterConfigsRequest { resources, ..request.clone() };
            forwarded(&broker, &cx, request).await
        } else {
            Ok(BTreeMap::new())
        };
        let responses = request.resources.iter().zip(checked);
        let responses = responses.map(|(resource, checked)| {
            let key = (resource.resource_type, resource.resource_name.clone());
            let (error_code, error_message) = match (checked, &decided) {
                (Err(error), _) => (error.code().code(), Some(error.to_string())),
                (Ok(()), _) if is_logger(resource) => (0, None),
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
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

/// Code and message by resource.
type Decided = BTreeMap<(i8, String), (i16, Option<String>)>;

async fn forwarded(
    broker: &Broker,
    cx: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> Result<Decided, forward::ForwardError> {
    let limit = forward::request_timeout(broker);
    let request = IncrementalAlterConfigsRequest {
        resources: request.resources.into_iter().filter(|r| !is_logger(r)).collect(),
        ..request
    };
    let forwarded = forward::is_sent_on(broker, cx);
    let request = ControllerRequest::IncrementalAlterConfigs { request, forwarded };
    let asked = forward::ask(broker, cx, request, limit, |reply| match reply {
        ControllerReply::IncrementalAlterConfigs(response) => Some(response),
        _ => None,
    });
    let response = asked.await?.shown(broker).await;
    let of = |r: AlterConfigsResourceResponse| {
        ((r.resource_type, r.resource_name), (r.error_code, r.error_message))
    };
    Ok(response.responses.into_iter().map(of).collect())
}

fn needs_controller(resources: &[AlterConfigsResource]) -> bool {
    resources.iter().any(|resource| !is_logger(resource))
}

fn is_logger(resource: &AlterConfigsResource) -> bool {
    resource.resource_type == Resource::BrokerLogger.code()
}

fn check(broker: &Broker, resources: &[AlterConfigsResource]) -> Vec<Result<(), ResourceError>> {
    let twice = named_twice(resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    let present = Present::of(broker);
    let check = |resource: &AlterConfigsResource| {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        if twice.contains(&(kind, name)) {
            return Err(ResourceError::Twice);
        }
        let alteration = alteration(resource);
        keeps_journals(broker, &alteration)?;
        alteration.check(&present, false)
    };
    resources.iter().map(check).collect()
}

fn keeps_journals(broker: &Broker, alteration: &Alteration<'_>) -> Result<(), ResourceError> {
    if alteration.kind != Resource::Topic.code() {
        return Ok(());
    }
    let refused = alteration.ops.iter().find_map(|(name, op, value)| {
        let value = value.filter(|_| *op == Op::Set as i8);
        broker.durables.refuses(alteration.name, name, value)
    });
    refused.map_or(Ok(()), |why| Err(ResourceError::DurableTopic(why)))
}

fn alteration(resource: &AlterConfigsResource) -> Alteration<'_> {
    let ops = resource.configs.iter();
    let ops = ops.map(|c| (c.name.as_str(), c.config_operation, c.value.as_deref())).collect();
    Alteration { kind: resource.resource_type, name: &resource.resource_name, ops }
}

fn set_levels(
    broker: &Broker,
    resources: &[AlterConfigsResource],
    checked: &[Result<(), ResourceError>],
) {
    let passed = resources.iter().zip(checked).filter(|(each, ok)| ok.is_ok() && is_logger(each));
    let loggers = broker.world.loggers();
    for (resource, _) in passed {
        for (name, level) in alteration(resource).logger_changes(loggers).unwrap_or_default() {
            match level {
                Some(level) => loggers.set(name, level),
                None => loggers.unset(name),
            }
            let level = level.map(|level| level.to_string());
            tracing::warn!(logger = name, level, "the level of a logger is altered");
        }
    }
}

//! DescribeCluster, API key 60.
//!
//! Versions: 0–2 (v1 endpoint types, v2 fenced brokers).
//! Source: `KafkaApis.handleDescribeCluster`, `ControllerApis.handleDescribeCluster`, `AuthHelper.computeDescribeClusterResponse`.

use std::sync::Arc;

use machines::metadata::MetadataImage;
use model::ErrorCode;
use wire::describe_cluster_response::DescribeClusterBroker;
use wire::{DescribeClusterRequest, DescribeClusterResponse, ListenerKind};

use super::topology::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED, Topology};
use super::{Api, RequestContext};
use crate::Broker;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) struct DescribeCluster;

impl Api for DescribeCluster {
    type Request = DescribeClusterRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let listener = &cx.connection.listener;
        let here = if listener.kind == ListenerKind::Controller { CONTROLLERS } else { BROKERS };
        let image = broker.metadata.get();
        let told = if here == CONTROLLERS { knows_controllers(&image) } else { Ok(()) };
        if let Err(error) = told.and_then(|()| check(request.endpoint_type, here)) {
            return refuse(&error, cx.version);
        }
        let (brokers, controller_id) = if here == CONTROLLERS {
            (controllers(&image, &listener.name), broker.quorum.status().leader_id.unwrap_or(-1))
        } else {
            let topology = Topology { image: &image, listener: &listener.name };
            let nodes = brokers(&topology, request.include_fenced_brokers);
            (nodes, topology.controller_id(broker.node.0))
        };
        let is_named = brokers.iter().any(|node| node.broker_id == controller_id);
        DescribeClusterResponse {
            endpoint_type: here,
            cluster_id: broker.cluster_id.clone(),
            controller_id: if is_named { controller_id } else { -1 },
            brokers,
            cluster_authorized_operations: if request.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_OMITTED
            },
            ..Default::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum EndpointError {
    #[error("Unsupported endpoint type {0}")]
    Unsupported(i8),
    #[error(
        "The request was sent to an endpoint of type {}, but we wanted an endpoint of type {}",
        endpoint_name(*.here),
        endpoint_name(*.wanted)
    )]
    Mismatched { here: i8, wanted: i8 },
    #[error(
        "There is no finalized MetadataVersion, so direct-to-controller communication is not supported."
    )]
    NoMetadataVersion,
    #[error(
        "Direct-to-controller communication is not supported with the current MetadataVersion."
    )]
    MetadataVersion,
}

/// Since when controllers register themselves.
fn knows_controllers(image: &MetadataImage) -> Result<(), EndpointError> {
    match image.metadata_version {
        None => Err(EndpointError::NoMetadataVersion),
        Some(version) if version.controller_registration() => Ok(()),
        Some(_) => Err(EndpointError::MetadataVersion),
    }
}

impl EndpointError {
    fn code(&self, version: i16) -> ErrorCode {
        match self {
            EndpointError::NoMetadataVersion | EndpointError::MetadataVersion => {
                ErrorCode::UnsupportedVersion
            }
            _ if version == 0 => ErrorCode::InvalidRequest,
            EndpointError::Unsupported(_) => ErrorCode::UnsupportedEndpointType,
            EndpointError::Mismatched { .. } => ErrorCode::MismatchedEndpointType,
        }
    }
}

fn endpoint_name(kind: i8) -> &'static str {
    if kind == CONTROLLERS { "CONTROLLER" } else { "BROKER" }
}

fn check(wanted: i8, here: i8) -> Result<(), EndpointError> {
    match wanted {
        BROKERS | CONTROLLERS if wanted == here => Ok(()),
        BROKERS | CONTROLLERS => Err(EndpointError::Mismatched { here, wanted }),
        other => Err(EndpointError::Unsupported(other)),
    }
}

fn refuse(error: &EndpointError, version: i16) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: error.code(version).code(),
        error_message: Some(error.to_string()),
        ..Default::default()
    }
}

fn brokers(topology: &Topology<'_>, fenced_too: bool) -> Vec<DescribeClusterBroker> {
    let shown = topology.image.brokers.values().filter(|broker| fenced_too || !broker.fenced);
    shown
        .filter_map(|broker| Some((topology.node(broker)?, broker.fenced)))
        .map(|(node, is_fenced)| DescribeClusterBroker {
            broker_id: node.id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            is_fenced,
            ..Default::default()
        })
        .collect()
}

fn controllers(image: &MetadataImage, listener: &str) -> Vec<DescribeClusterBroker> {
    let told = |controller: &Arc<machines::metadata::ControllerRegistration>| {
        let endpoint = controller.listeners.iter().find(|endpoint| endpoint.name == listener)?;
        Some(DescribeClusterBroker {
            broker_id: controller.id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            ..Default::default()
        })
    };
    image.controllers.values().filter_map(told).collect()
}

//! FindCoordinator, API key 10.
//!
//! Versions: 0–6 (v1 key types, v4 several keys, v6 share groups).
//! Source: `KafkaApis.handleFindCoordinatorRequest`, `KafkaApis.getCoordinator`.
//! Beyond Kafka: where the coordinators' topic is not there yet, the answer waits a moment for its creation.
//! Not supported: coordinators of transactions and of share groups: their topics are created, but none is available.

use std::sync::Arc;

use machines::metadata::MetadataImage;
use model::topic::{CONSUMER_OFFSETS, SHARE_GROUP_STATE, TRANSACTION_STATE};
use model::{ErrorCode, Uuid, coordinator_partition};
use wire::find_coordinator_response::Coordinator;
use wire::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::auto_create::create_topics;
use super::{Api, RequestContext};
use crate::Broker;

/// From this version on a request names several keys.
const BATCHES_SINCE: i16 = 4;
const SHARE_SINCE: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) struct FindCoordinator;

/// A broker that coordinates.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    id: i32,
    host: String,
    port: i32,
}

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;

    fn named(request: &FindCoordinatorRequest) -> usize {
        request.coordinator_keys.len()
    }

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        if let Some(topic) = topic_of(&request, cx.version)
            && broker.metadata.get().topics.by_name(topic).is_none()
        {
            create_topics(&broker, &cx, None, &[topic]).await;
        }
        let image = broker.metadata.get();
        let listener = &cx.connection.listener.name;
        let find = |key: &str| match request.key_type {
            GROUP => group_coordinator(&image, listener, key),
            TRANSACTION => Err(ErrorCode::CoordinatorNotAvailable),
            SHARE if cx.version >= SHARE_SINCE && is_share_key(key) => {
                Err(ErrorCode::CoordinatorNotAvailable)
            }
            _ => Err(ErrorCode::InvalidRequest),
        };
        if cx.version < BATCHES_SINCE {
            return single(find(&request.key));
        }
        // Of a type that does not exist, the request as a whole is in error, and only such an error has a message.
        let unknown_type = !(GROUP..=SHARE).contains(&request.key_type);
        let coordinators = request.coordinator_keys.iter().map(|key| {
            let mut coordinator = one_of(key, find(key));
            if unknown_type {
                coordinator.error_message = Some(ErrorCode::InvalidRequest.message().to_owned());
            }
            coordinator
        });
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
    }
}

/// The topic whose partitions' leaders coordinate what the request names; none where it names nothing that has a coordinator.
fn topic_of(request: &FindCoordinatorRequest, version: i16) -> Option<&'static str> {
    let keys = match version < BATCHES_SINCE {
        true => std::slice::from_ref(&request.key),
        false => &request.coordinator_keys[..],
    };
    match request.key_type {
        GROUP => (!keys.is_empty()).then_some(CONSUMER_OFFSETS),
        TRANSACTION => (!keys.is_empty()).then_some(TRANSACTION_STATE),
        SHARE if version >= SHARE_SINCE => {
            keys.iter().any(|key| is_share_key(key)).then_some(SHARE_GROUP_STATE)
        }
        _ => None,
    }
}

fn group_coordinator(image: &MetadataImage, listener: &str, key: &str) -> Result<Found, ErrorCode> {
    let found = || {
        let topic = image.topics.by_name(CONSUMER_OFFSETS)?;
        let partitions = i32::try_from(topic.partitions.size()).ok().filter(|count| *count > 0)?;
        let partition = topic.partition(coordinator_partition(key, partitions))?;
        let broker = image.broker(partition.leader).filter(|broker| !broker.fenced)?;
        let endpoint = broker.listener(listener)?;
        Some(Found { id: broker.id, host: endpoint.host.clone(), port: i32::from(endpoint.port) })
    };
    found().ok_or(ErrorCode::CoordinatorNotAvailable)
}

/// A group, a topic id and a partition.
fn is_share_key(key: &str) -> bool {
    let parts: Vec<&str> = key.split(':').collect();
    let [group, topic_id, partition] = parts[..] else { return false };
    !group.trim().is_empty() && topic_id.parse::<Uuid>().is_ok() && partition.parse::<i32>().is_ok()
}

/// Kafka writes a message here even where there is no error.
fn single(found: Result<Found, ErrorCode>) -> FindCoordinatorResponse {
    let (error, found) = split(found);
    FindCoordinatorResponse {
        error_code: error.code(),
        error_message: Some(match error {
            ErrorCode::None => "NONE".to_owned(),
            error => error.message().to_owned(),
        }),
        node_id: found.id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

fn one_of(key: &str, found: Result<Found, ErrorCode>) -> Coordinator {
    let (error, found) = split(found);
    Coordinator {
        key: key.to_owned(),
        error_code: error.code(),
        node_id: found.id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

fn split(found: Result<Found, ErrorCode>) -> (ErrorCode, Found) {
    match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, Found { id: -1, host: String::new(), port: -1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_key_has_three_parts() {
        let id = Uuid([3; 16]);
        assert!(is_share_key(&format!("group:{id}:0")));
        for key in ["group", "group:0", "group:x:0", &format!(":{id}:0"), &format!("g:{id}:x")] {
            assert!(!is_share_key(key), "{key}");
        }
    }
}

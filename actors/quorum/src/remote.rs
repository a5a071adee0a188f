//! The way to the active controller where it is another node: requests go straight to its controller listener.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Connection, RequestError};
use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use model::node_config::HostPort;
use runtime::World;

use crate::controller::{Committed, ControllerAnswer, Unavailable};
use crate::peer::connect;

/// One connection, to the controller that was last asked. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Remote {
    world: World,
    /// See [`ClientConfig::stalled_after`](client::ClientConfig).
    stalled_after: Duration,
    connection: Arc<Mutex<Option<(HostPort, Connection)>>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remote")
    }
}

/// Sends a request as it is, in the version that it came in where its meaning depends on that; its answer is the reply, unless it says
/// that this is not the active controller.
macro_rules! exchange {
    ($connection:expr, $limit:expr, $request:expr, in $version:expr, $reply:ident, $errors:expr) => {{
        let response = $connection.request_in($request, *$version, $limit).await?;
        checked(response, ControllerReply::$reply, $errors)
    }};
    ($connection:expr, $limit:expr, $request:expr, $reply:ident, $errors:expr) => {{
        let response = $connection.request($request, $limit).await?;
        checked(response, ControllerReply::$reply, $errors)
    }};
}

fn checked<R>(
    response: R,
    reply: fn(R) -> ControllerReply,
    is_refused: impl Fn(&R) -> bool,
) -> Result<ControllerReply, Unavailable> {
    if is_refused(&response) { Err(Unavailable::NotController) } else { Ok(reply(response)) }
}

fn elsewhere(code: i16) -> bool {
    code == ErrorCode::NotController.code()
}

impl Remote {
    pub(crate) fn new(world: World) -> Remote {
        Remote { world, stalled_after: Duration::ZERO, connection: Arc::default() }
    }

    pub(crate) fn stalls_after(mut self, stalled_after: Duration) -> Remote {
        self.stalled_after = stalled_after;
        self
    }

    /// Asks the node at this address, which is taken for the active controller.
    pub(crate) async fn ask(
        &self,
        address: &HostPort,
        request: &ControllerRequest,
        limit: Duration,
    ) -> ControllerAnswer {
        let begun = self.world.mono();
        let asked = match self.world.timeout(limit, self.connection(address, limit)).await {
            Ok(Ok(connection)) => {
                // Its own time-out is the one that ends a connection where nobody answers any more.
                let left = (begun + limit).saturating_sub(self.world.mono());
                send(&connection, request, left).await
            }
            Ok(Err(error)) => Err(error),
            Err(_) => return Err(Unavailable::TimedOut),
        };
        match asked {
            // What this node must have read to see it is not said.
            Ok(answer) => answer.map(|reply| Committed { reply, offset: -1 }),
            Err(RequestError::TimedOut { .. }) => Err(Unavailable::TimedOut),
            Err(error) => {
                tracing::debug!(%address, %error, "the active controller cannot be asked");
                Err(Unavailable::NotController)
            }
        }
    }

    /// Sends any request, and gives its answer as it is.
    pub(crate) async fn request<R: wire::Request>(
        &self,
        address: &HostPort,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, RequestError> {
        self.connection(address, limit).await?.request(request, limit).await
    }

    async fn connection(
        &self,
        address: &HostPort,
        limit: Duration,
    ) -> Result<Connection, RequestError> {
        if let Some((known, connection)) = &*self.lock()
            && known == address
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        // Two who come at once each connect; the later connection stays.
        let connection = connect(&self.world, address, limit, self.stalled_after).await?;
        *self.lock() = Some((address.clone(), connection.clone()));
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(HostPort, Connection)>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(
    connection: &Connection,
    request: &ControllerRequest,
    limit: Duration,
) -> Result<Result<ControllerReply, Unavailable>, RequestError> {
    use ControllerRequest as Ask;
    Ok(match request {
        Ask::RegisterBroker { request, version } => {
            exchange!(connection, limit, request, in version, RegisterBroker, |r| elsewhere(
                r.error_code
            ))
        }
        Ask::BrokerHeartbeat(request) => {
            exchange!(connection, limit, request, BrokerHeartbeat, |r| elsewhere(r.error_code))
        }
        Ask::UnregisterBroker(request) => {
            exchange!(connection, limit, request, UnregisterBroker, |r| elsewhere(r.error_code))
        }
        Ask::RegisterController(request) => {
            exchange!(connection, limit, request, RegisterController, |r| elsewhere(r.error_code))
        }
        Ask::UnregisterController(request) => {
            exchange!(connection, limit, request, UnregisterController, |r| elsewhere(r.error_code))
        }
        Ask::AllocateProducerIds(request) => {
            exchange!(connection, limit, request, AllocateProducerIds, |r| elsewhere(r.error_code))
        }
        Ask::AlterPartition { request, version } => {
            exchange!(connection, limit, request, in version, AlterPartition, |r| elsewhere(
                r.error_code
            ))
        }
        Ask::AlterPartitionReassignments(request) => {
            exchange!(connection, limit, request, AlterPartitionReassignments, |r| elsewhere(
                r.error_code
            ))
        }
        Ask::ListPartitionReassignments(request) => {
            exchange!(connection, limit, request, ListPartitionReassignments, |r| elsewhere(
                r.error_code
            ))
        }
        Ask::ElectLeaders(request) => {
            exchange!(connection, limit, request, ElectLeaders, |r| elsewhere(r.error_code))
        }
        Ask::UpdateFeatures { request, version, .. } => {
            exchange!(connection, limit, request, in version, UpdateFeatures, |r| elsewhere(
                r.error_code
            ))
        }
        Ask::AssignReplicasToDirs(request) => {
            exchange!(connection, limit, request, AssignReplicasToDirs, |r| elsewhere(r.error_code))
        }
        lists => return send_list(connection, lists, limit).await,
    })
}

/// Those that are answered thing by thing.
async fn send_list(
    connection: &Connection,
    request: &ControllerRequest,
    limit: Duration,
) -> Result<Result<ControllerReply, Unavailable>, RequestError> {
    use ControllerRequest as Ask;
    Ok(match request {
        Ask::CreateTopics { request, .. } => {
            exchange!(connection, limit, request, CreateTopics, |r| r
                .topics
                .iter()
                .any(|topic| elsewhere(topic.error_code)))
        }
        Ask::DeleteTopics { request, version, .. } => {
            exchange!(connection, limit, request, in version, DeleteTopics, |r| r
                .responses
                .iter()
                .any(|topic| elsewhere(topic.error_code)))
        }
        Ask::CreatePartitions { request, .. } => {
            exchange!(connection, limit, request, CreatePartitions, |r| r
                .results
                .iter()
                .any(|topic| elsewhere(topic.error_code)))
        }
        Ask::IncrementalAlterConfigs(request) => {
            exchange!(connection, limit, request, IncrementalAlterConfigs, |r| r
                .responses
                .iter()
                .any(|resource| elsewhere(resource.error_code)))
        }
        Ask::AlterConfigs(request) => {
            exchange!(connection, limit, request, AlterConfigs, |r| r
                .responses
                .iter()
                .any(|resource| elsewhere(resource.error_code)))
        }
        // Only the controller itself sees who is gone.
        _ => Err(Unavailable::NotController),
    })
}

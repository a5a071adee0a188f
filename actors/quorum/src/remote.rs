//! The way to the active controller where it is another node: requests go straight to its controller listener.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Connection, Origin, RequestError};
use machines::controller::{ControllerReply, ControllerRequest};
use model::ErrorCode;
use model::node_config::HostPort;
use runtime::World;
use wire::{ApiKey, VersionRange};

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
        origin: Option<&Origin>,
        limit: Duration,
    ) -> ControllerAnswer {
        let asked = match self.connection_within(address, limit).await? {
            Ok((connection, limit)) => Sender { connection, origin, limit }.send(request).await,
            Err(error) => Err(error),
        };
        let answer =
            asked.unwrap_or_else(|error| Err(unavailable(address, &error, origin.is_some())));
        // What this node must have read to see it is not said.
        answer.map(|reply| Committed { reply, offset: -1 })
    }

    /// Sends on any request, and gives its answer as it is.
    pub(crate) async fn send_on<R: wire::Request>(
        &self,
        address: &HostPort,
        request: &R,
        origin: &Origin,
        limit: Duration,
    ) -> Result<R::Response, Unavailable> {
        let asked = match self.connection_within(address, limit).await? {
            Ok((connection, limit)) => connection.send_on(origin, request, limit).await,
            Err(error) => Err(error),
        };
        asked.map_err(|error| unavailable(address, &error, true))
    }

    /// With what is left of the time: that of the request is the one that ends a connection where nobody answers any more.
    async fn connection_within(
        &self,
        address: &HostPort,
        limit: Duration,
    ) -> Result<Result<(Connection, Duration), RequestError>, Unavailable> {
        let begun = self.world.mono();
        let connecting = self.world.timeout(limit, self.connection(address, limit)).await;
        let left = (begun + limit).saturating_sub(self.world.mono());
        let connected = connecting.map_err(|_| Unavailable::TimedOut)?;
        Ok(connected.map(|connection| (connection, left)))
    }

    /// Those of `ours` that the node at this address takes; all, while there is no connection to it.
    pub(crate) fn takes(
        &self,
        address: &HostPort,
        key: ApiKey,
        ours: VersionRange,
    ) -> Option<VersionRange> {
        let Some(connection) = self.connected(address) else { return Some(ours) };
        let theirs = connection.versions(key)?;
        let common = VersionRange::new(ours.min.max(theirs.min), ours.max.min(theirs.max));
        (common.min <= common.max).then_some(common)
    }

    fn connected(&self, address: &HostPort) -> Option<Connection> {
        let known = self.lock().clone();
        let (_, connection) = known.filter(|(known, _)| known == address)?;
        (!connection.is_closed()).then_some(connection)
    }

    async fn connection(
        &self,
        address: &HostPort,
        limit: Duration,
    ) -> Result<Connection, RequestError> {
        if let Some(connection) = self.connected(address) {
            return Ok(connection);
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

/// What a client asked is not asked again where that would come to the same, or was done already.
fn unavailable(address: &HostPort, error: &RequestError, for_a_client: bool) -> Unavailable {
    match error {
        RequestError::TimedOut { .. } => Unavailable::TimedOut,
        RequestError::NotSentOn { code: ErrorCode::UnsupportedVersion, .. } => {
            Unavailable::OtherVersions
        }
        RequestError::Unsupported { api, .. } if for_a_client && *api != ApiKey::Envelope => {
            Unavailable::OtherVersions
        }
        RequestError::Unsupported { .. }
        | RequestError::Encode { .. }
        | RequestError::Decode { .. }
            if for_a_client =>
        {
            tracing::warn!(%address, %error, "what a client asks cannot be sent on");
            Unavailable::NotTaken
        }
        RequestError::NotSentOn { code, .. } if *code != ErrorCode::NotController => {
            tracing::debug!(%address, %error, "the controller does not take what clients ask");
            Unavailable::NotTaken
        }
        error => {
            tracing::debug!(%address, %error, "the active controller cannot be asked");
            Unavailable::NotController
        }
    }
}

type Sent = Result<Result<ControllerReply, Unavailable>, RequestError>;

struct Sender<'a> {
    connection: Connection,
    /// Who asked, where it is not this broker itself.
    origin: Option<&'a Origin>,
    limit: Duration,
}

impl Sender<'_> {
    /// For a client in the version that its request came in, else in `version` where the meaning depends on that. The answer is the
    /// reply, unless it says that this is not the active controller.
    async fn exchange<R: wire::Request>(
        &self,
        request: &R,
        version: Option<i16>,
        reply: fn(R::Response) -> ControllerReply,
        is_refused: fn(&R::Response) -> bool,
    ) -> Sent {
        let (connection, limit) = (&self.connection, self.limit);
        let response = match (self.origin, version) {
            (Some(origin), _) if R::KEY.is_forwardable() => {
                connection.send_on(origin, request, limit).await?
            }
            (_, Some(version)) => connection.request_in(request, version, limit).await?,
            (_, None) => connection.request(request, limit).await?,
        };
        Ok(if is_refused(&response) {
            Err(Unavailable::NotController)
        } else {
            Ok(reply(response))
        })
    }

    async fn send(&self, request: &ControllerRequest) -> Sent {
        use ControllerReply as Reply;
        use ControllerRequest as Ask;
        macro_rules! exchange {
            ($request:ident, $version:expr, $reply:ident) => {
                self.exchange($request, $version, Reply::$reply, |r| elsewhere(r.error_code)).await
            };
        }
        match request {
            Ask::RegisterBroker { request, version, .. } => {
                exchange!(request, Some(*version), RegisterBroker)
            }
            Ask::BrokerHeartbeat(request) => exchange!(request, None, BrokerHeartbeat),
            Ask::UnregisterBroker(request) => exchange!(request, None, UnregisterBroker),
            Ask::RegisterController(request) => exchange!(request, None, RegisterController),
            Ask::UnregisterController(request) => exchange!(request, None, UnregisterController),
            Ask::AllocateProducerIds(request) => exchange!(request, None, AllocateProducerIds),
            Ask::AlterPartition { request, version } => {
                exchange!(request, Some(*version), AlterPartition)
            }
            Ask::AlterPartitionReassignments(request) => {
                exchange!(request, None, AlterPartitionReassignments)
            }
            Ask::ListPartitionReassignments(request) => {
                exchange!(request, None, ListPartitionReassignments)
            }
            Ask::ElectLeaders(request) => exchange!(request, None, ElectLeaders),
            Ask::UpdateFeatures { request, version, .. } => {
                exchange!(request, Some(*version), UpdateFeatures)
            }
            Ask::AssignReplicasToDirs(request) => exchange!(request, None, AssignReplicasToDirs),
            lists => self.send_list(lists).await,
        }
    }

    /// Those that are answered thing by thing.
    async fn send_list(&self, request: &ControllerRequest) -> Sent {
        use ControllerReply as Reply;
        use ControllerRequest as Ask;
        match request {
            Ask::CreateTopics { request, .. } => {
                self.exchange(request, None, Reply::CreateTopics, |r| {
                    r.topics.iter().any(|each| elsewhere(each.error_code))
                })
                .await
            }
            Ask::DeleteTopics { request, version, .. } => {
                self.exchange(request, Some(*version), Reply::DeleteTopics, |r| {
                    r.responses.iter().any(|each| elsewhere(each.error_code))
                })
                .await
            }
            Ask::CreatePartitions { request, .. } => {
                self.exchange(request, None, Reply::CreatePartitions, |r| {
                    r.results.iter().any(|each| elsewhere(each.error_code))
                })
                .await
            }
            Ask::IncrementalAlterConfigs { request, .. } => {
                self.exchange(request, None, Reply::IncrementalAlterConfigs, |r| {
                    r.responses.iter().any(|each| elsewhere(each.error_code))
                })
                .await
            }
            Ask::AlterConfigs { request, .. } => {
                self.exchange(request, None, Reply::AlterConfigs, |r| {
                    r.responses.iter().any(|each| elsewhere(each.error_code))
                })
                .await
            }
            // Only the controller itself sees who is gone.
            _ => Ok(Err(Unavailable::NotController)),
        }
    }
}

//! How others reach the controller.

use std::time::Duration;

use client::Origin;
use machines::controller::ControllerRequest;
use model::node_config::HostPort;
use runtime::{Address, AskError, Held, Watch, World};
use wire::{ApiKey, VersionRange};

use super::{ControllerAnswer, ControllerMsg, Unavailable};
use crate::raft::RaftStatus;
use crate::reach::Process;
use crate::remote::Remote;

/// How others ask the active controller, here or on another node.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    address: Address<ControllerMsg>,
    elsewhere: Option<Elsewhere>,
}

#[derive(Clone, Debug)]
struct Elsewhere {
    node: i32,
    status: Watch<RaftStatus>,
    remote: Remote,
}

impl ControllerHandle {
    /// Of this node's controller alone.
    pub fn new(address: Address<ControllerMsg>) -> ControllerHandle {
        ControllerHandle { address, elsewhere: None }
    }

    /// Of whichever node leads the metadata log; `node` is this one. It has connections of its own.
    pub fn routed(
        world: &World,
        address: Address<ControllerMsg>,
        node: i32,
        status: Watch<RaftStatus>,
    ) -> ControllerHandle {
        let remote = Remote::new(world.clone());
        ControllerHandle { address, elsewhere: Some(Elsewhere { node, status, remote }) }
    }

    /// For clients' requests: the little time that one has ends its own alone, and not the connection that it shares. That is closed
    /// where the controller has not answered one for so long.
    #[must_use]
    pub fn for_clients(mut self, socket_timeout: Duration) -> ControllerHandle {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.remote = elsewhere.remote.clone().stalls_after(socket_timeout);
        }
        self
    }

    /// Tells who leads, where it finds the active controller wherever that is.
    pub(crate) fn leadership(&self) -> Option<Watch<RaftStatus>> {
        self.elsewhere.as_ref().map(|elsewhere| elsewhere.status.clone())
    }

    /// A connection to this node ended on which a broker's heartbeats came.
    pub async fn contact_lost(&self, process: Process) {
        // One that is down looks for all brokers when it leads again.
        let _ = self.address.send(ControllerMsg::ContactLost(process)).await;
    }

    /// Asks the active controller.
    ///
    /// # Errors
    /// There is none, or it did not answer in time; what was asked may still be done.
    pub async fn ask(&self, request: ControllerRequest, limit: Duration) -> ControllerAnswer {
        self.ask_for(None, request, limit, None).await
    }

    /// [`ask`](Self::ask) for a peer: the request keeps its credit until it is decided, also where nobody waits any more. What a
    /// client asked is sent on to another node in its name.
    pub async fn ask_for(
        &self,
        origin: Option<&Origin>,
        request: ControllerRequest,
        limit: Duration,
        held: Option<Held>,
    ) -> ControllerAnswer {
        if let Some((remote, leader)) = self.other_leader() {
            let Some(leader) = leader else { return Err(Unavailable::NotController) };
            let answer = remote.ask(&leader, &request, origin, limit).await;
            drop(held);
            return answer;
        }
        let request = Box::new(request);
        let asked =
            self.address.ask(limit, |reply| ControllerMsg::Request { request, reply, held }).await;
        match asked {
            Ok(answer) => answer,
            Err(AskError::TimedOut) => Err(Unavailable::TimedOut),
            Err(AskError::Dead | AskError::Dropped) => Err(Unavailable::NotController),
        }
    }

    /// Sends a client's request of any kind on to the active controller, where that is on another node; none where it is not.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn send_on<R: wire::Request>(
        &self,
        origin: &Origin,
        request: &R,
        limit: Duration,
    ) -> Option<Result<R::Response, Unavailable>> {
        let (remote, leader) = self.other_leader()?;
        let Some(leader) = leader else { return Some(Err(Unavailable::NotController)) };
        Some(remote.send_on(&leader, request, origin, limit).await)
    }

    /// Those versions of what clients ask that the active controller takes, too, as far as it has told this node.
    pub fn takes(&self, key: ApiKey, ours: VersionRange) -> Option<VersionRange> {
        match self.other_leader() {
            Some((remote, Some(leader))) => remote.takes(&leader, key, ours),
            Some((_, None)) | None => Some(ours),
        }
    }

    /// Where this node does not lead: the way to the one that does, if there is one.
    fn other_leader(&self) -> Option<(&Remote, Option<HostPort>)> {
        let elsewhere = self.elsewhere.as_ref()?;
        let status = elsewhere.status.get();
        (status.leader_id != Some(elsewhere.node))
            .then(|| (&elsewhere.remote, status.leader_address.clone()))
    }
}

//! Where other nodes are: what the leader says of itself, what others say of it, what the log says, and what is configured.

use machines::consensus::VoterEndpoint;
use model::node_config::HostPort;

use super::Raft;
use super::serve::MAX_EPOCH;

/// Where the leader of an epoch is, which may have moved since the log was written.
pub(super) struct LeaderPlace {
    id: i32,
    epoch: i32,
    endpoints: Vec<VoterEndpoint>,
    by_itself: bool,
}

/// Where a leader is found, by one of its listeners.
#[derive(Debug, Clone)]
pub(super) struct LeaderEndpoint {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: u16,
}

fn named<'a>(endpoints: &'a [VoterEndpoint], listener: &str) -> Option<&'a VoterEndpoint> {
    endpoints.iter().find(|endpoint| endpoint.listener == listener)
}

impl Raft {
    /// Where a node's controller listener is.
    pub(super) fn address_of(&self, id: i32) -> Option<HostPort> {
        let listener = &self.args.listener;
        let known = self.endpoint_of(id, listener);
        known
            .map(|endpoint| HostPort::new(endpoint.host.clone(), endpoint.port))
            .or_else(|| self.endpoints.get(&id).cloned())
            .or_else(|| self.args.bootstrap.get(Self::bootstrap_index(id)?).cloned())
    }

    /// Of the leader there is, for those who came by this listener.
    pub(super) fn leader_endpoint(&self, listener: &str) -> Option<LeaderEndpoint> {
        let id = self.consensus.leader_id()?;
        let found = self.endpoint_of(id, listener)?;
        Some(LeaderEndpoint { id, host: found.host.clone(), port: found.port })
    }

    /// A node's own word outranks the log's: it may be where no quorum could write down yet that it is.
    fn endpoint_of(&self, id: i32, listener: &str) -> Option<&VoterEndpoint> {
        let own = &self.args.local;
        if id == own.key.id {
            return named(&own.endpoints, listener);
        }
        let epoch = self.consensus.epoch();
        let said =
            self.leader_place.as_ref().filter(|place| (place.id, place.epoch) == (id, epoch));
        let said = said.and_then(|place| named(&place.endpoints, listener));
        said.or_else(|| named(&self.consensus.voters().get(id)?.endpoints, listener))
    }

    /// Kafka numbers the servers so, too, which are asked before it is known who they are.
    fn bootstrap_index(id: i32) -> Option<usize> {
        usize::try_from(i64::from(id).checked_add(2)?.checked_neg()?).ok()
    }

    /// Who may know who leads: the voters, and those that are configured. The log may name voters that are gone for good.
    pub(super) fn who_may_know(&self) -> Vec<i32> {
        let own = &self.args.local;
        let voters = self.consensus.voters().iter().map(|voter| voter.key.id);
        let mut ids: Vec<i32> = voters.filter(|id| *id != own.key.id).collect();
        let known: Vec<HostPort> = ids.iter().filter_map(|id| self.address_of(*id)).collect();
        let is_own = |address: &HostPort| {
            own.endpoints.iter().any(|e| e.host == address.host && e.port == address.port)
        };
        let others = (2..).zip(&self.args.bootstrap);
        let others = others.filter(|(_, address)| !known.contains(address) && !is_own(address));
        ids.extend(others.map(|(number, _): (i32, _)| -number));
        ids
    }

    /// Another node said where the leader of an epoch is.
    pub(super) fn leader_said_at(&mut self, id: i32, epoch: i32, host: &str, port: u16) {
        let listener = self.args.listener.clone();
        let endpoints = vec![VoterEndpoint { listener, host: host.to_owned(), port }];
        self.place_leader(LeaderPlace { id, epoch, endpoints, by_itself: false });
    }

    /// The leader of an epoch said where it is.
    pub(super) fn leader_is_at(&mut self, id: i32, epoch: i32, endpoints: Vec<VoterEndpoint>) {
        self.place_leader(LeaderPlace { id, epoch, endpoints, by_itself: true });
    }

    fn place_leader(&mut self, place: LeaderPlace) {
        let LeaderPlace { id, epoch, .. } = place;
        let known =
            self.leader_place.as_ref().filter(|known| (known.id, known.epoch) == (id, epoch));
        let is_hearsay = known.is_some_and(|known| known.by_itself && !place.by_itself);
        if !(self.consensus.epoch()..=MAX_EPOCH).contains(&epoch) || is_hearsay {
            return;
        }
        if let Some(found) = named(&place.endpoints, &self.args.listener).cloned() {
            self.learn_endpoint(id, &found.host, found.port);
        }
        self.leader_place = Some(place);
        if (self.consensus.leader_id(), self.consensus.epoch()) == (Some(id), epoch) {
            self.publish_status();
        }
    }

    /// For as long as nothing better is known.
    pub(super) fn learn_endpoint(&mut self, id: i32, host: &str, port: u16) {
        /// A quorum has fewer voters.
        const MOST: usize = 1_000;
        if self.endpoints.len() < MOST || self.endpoints.contains_key(&id) {
            self.endpoints.insert(id, HostPort::new(host, port));
        }
    }
}

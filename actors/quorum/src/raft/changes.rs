//! Other voters: what the leader is asked for, and what a node asks for itself, to vote or to be found where it is now.

use machines::consensus::{Event, Refusal, ReplicaKey, Role, Voter, VoterChange, VoterEndpoint};
use machines::metadata::{KRAFT_VERSION, LevelRange};
use model::ErrorCode;
use runtime::{Cx, Outcome, Reply};
use wire::update_raft_voter_request::{KRaftVersionFeature, Listener as UpdateListener};
use wire::{add_raft_voter_request as add, update_raft_voter_response as update};

use super::ask::{Lane, Question};
use super::serve::Asker;
use super::{Raft, RaftError};
use crate::peer::PeerAnswer;
use crate::rpc::QuorumResponse;

/// No node has more.
pub(super) const MAX_LISTENERS: usize = 100;
/// Of their names and hosts: the voters stand together in one record.
const MAX_ENDPOINT_BYTES: usize = 32 << 10;

/// Who waits for a change.
pub(super) enum ChangeAsker {
    Peer { asker: Asker, kind: Kind },
    Controller(Reply<Result<Option<Refusal>, RaftError>>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Add,
    Remove,
    Update,
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Option<Refusal> {
    Some(Refusal { code, message: Some(message.into()) })
}

pub(super) fn endpoint(name: &str, host: &str, port: u16) -> VoterEndpoint {
    VoterEndpoint { listener: name.to_ascii_uppercase(), host: host.to_owned(), port }
}

impl Raft {
    pub(super) async fn serve_add(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::AddRaftVoterRequest,
    ) -> Outcome {
        let key = ReplicaKey { id: request.voter_id, directory_id: request.voter_directory_id };
        let listeners = request.listeners.iter();
        let endpoints: Vec<_> =
            listeners.map(|l| endpoint(&l.name, &l.host, l.port)).take(MAX_LISTENERS + 1).collect();
        let refusal = self
            .refusal(request.cluster_id.as_ref(), None)
            .or_else(|| nobody(key, "Add"))
            .or_else(|| self.no_endpoint(&endpoints));
        let ack_when_committed = request.ack_when_committed;
        let change = VoterChange::Add { key, endpoints, ack_when_committed };
        self.change(cx, ChangeAsker::Peer { asker, kind: Kind::Add }, change, refusal).await
    }

    pub(super) async fn serve_remove(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::RemoveRaftVoterRequest,
    ) -> Outcome {
        let key = ReplicaKey { id: request.voter_id, directory_id: request.voter_directory_id };
        let refusal =
            self.refusal(request.cluster_id.as_ref(), None).or_else(|| nobody(key, "Remove"));
        let change = VoterChange::Remove { key };
        self.change(cx, ChangeAsker::Peer { asker, kind: Kind::Remove }, change, refusal).await
    }

    pub(super) async fn serve_update(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::UpdateRaftVoterRequest,
    ) -> Outcome {
        let key = ReplicaKey { id: request.voter_id, directory_id: request.voter_directory_id };
        let listeners = request.listeners.iter();
        let endpoints: Vec<_> =
            listeners.map(|l| endpoint(&l.name, &l.host, l.port)).take(MAX_LISTENERS + 1).collect();
        let feature = &request.kraft_version_feature;
        let kraft_versions =
            LevelRange { min: feature.min_supported_version, max: feature.max_supported_version };
        let is_range = kraft_versions.min >= 0 && kraft_versions.max >= kraft_versions.min;
        let refusal = self
            .refusal(request.cluster_id.as_ref(), Some(request.current_leader_epoch))
            .or_else(|| nobody(key, "Update"))
            .or_else(|| self.no_endpoint(&endpoints))
            .or_else(|| {
                (!is_range).then_some(()).and_then(|()| refuse(ErrorCode::InvalidRequest, ""))
            });
        let change = VoterChange::Update { voter: Voter { key, endpoints, kraft_versions } };
        self.change(cx, ChangeAsker::Peer { asker, kind: Kind::Update }, change, refusal).await
    }

    pub(super) async fn upgrade(
        &mut self,
        cx: &mut Cx<Self>,
        epoch: i32,
        change: VoterChange,
        reply: Reply<Result<Option<Refusal>, RaftError>>,
    ) -> Outcome {
        if !self.consensus.is_leader() || self.consensus.epoch() != epoch {
            reply.send(Err(RaftError::NotLeader { epoch }));
            return Ok(());
        }
        self.change(cx, ChangeAsker::Controller(reply), change, None).await
    }

    async fn change(
        &mut self,
        cx: &mut Cx<Self>,
        asker: ChangeAsker,
        change: VoterChange,
        refusal: Option<Refusal>,
    ) -> Outcome {
        let ticket = self.next_vote;
        self.next_vote += 1;
        self.changes.insert(ticket, asker);
        match refusal {
            Some(_) => self.answer_change(ticket, refusal),
            None => self.step(cx, Event::ChangeAsked { ticket, change }).await?,
        }
        Ok(())
    }

    /// Why this node changes nothing for who asks, whatever it is. Who names no epoch means the current one.
    fn refusal(&self, cluster_id: Option<&String>, epoch: Option<i32>) -> Option<Refusal> {
        if !self.is_our_cluster(cluster_id) {
            let (given, own) = (cluster_id.map_or("", String::as_str), &self.args.cluster_id);
            let message =
                format!("The given id \"{given}\" doesn't match the cluster id \"{own}\"");
            return refuse(ErrorCode::InconsistentClusterId, message);
        }
        let epoch = epoch.unwrap_or(self.consensus.epoch());
        match self.check_leader_request(epoch) {
            ErrorCode::None => None,
            code => Some(Refusal { code, message: None }),
        }
    }

    /// Voters find each other by the first of the controllers' listeners.
    fn no_endpoint(&self, endpoints: &[VoterEndpoint]) -> Option<Refusal> {
        let name = &self.args.listener;
        let found = endpoints.iter().any(|endpoint| endpoint.listener == *name);
        let bytes: usize = endpoints.iter().map(|e| e.listener.len() + e.host.len()).sum();
        if found && endpoints.len() <= MAX_LISTENERS && bytes <= MAX_ENDPOINT_BYTES {
            return None;
        }
        if bytes > MAX_ENDPOINT_BYTES {
            let message =
                format!("Endpoints of {bytes} bytes; at most {MAX_ENDPOINT_BYTES} are kept");
            return refuse(ErrorCode::InvalidRequest, message);
        }
        let show = |e: &VoterEndpoint| {
            format!("ListenerName({})={}/<unresolved>:{}", e.listener, e.host, e.port)
        };
        let given: Vec<String> = endpoints.iter().take(MAX_LISTENERS).map(show).collect();
        let given = format!("Endpoints(endpoints={{{}}})", given.join(", "));
        let lacks = format!("the endpoint ({given}) for the default listener ListenerName({name})");
        refuse(ErrorCode::InvalidRequest, format!("Add voter request didn't include {lacks}"))
    }

    pub(super) fn answer_change(&mut self, ticket: u64, refusal: Option<Refusal>) {
        let (asker, kind) = match self.changes.remove(&ticket) {
            Some(ChangeAsker::Peer { asker, kind }) => (asker, kind),
            Some(ChangeAsker::Controller(reply)) => return reply.send(Ok(refusal)),
            None => return,
        };
        let code = refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code);
        // Where the leader is another node, Kafka's message is empty.
        let own = || match code {
            ErrorCode::None => None,
            ErrorCode::NotLeaderOrFollower => Some(String::new()),
            code => Some(code.message().to_owned()),
        };
        let error_message = refusal.and_then(|refusal| refusal.message).or_else(own);
        let error_code = code.code();
        match kind {
            Kind::Add => asker.answer(wire::AddRaftVoterResponse {
                error_code,
                error_message,
                ..Default::default()
            }),
            Kind::Remove => asker.answer(wire::RemoveRaftVoterResponse {
                error_code,
                error_message,
                ..Default::default()
            }),
            Kind::Update => {
                let endpoint = self.leader_endpoint(&asker.listener);
                let current_leader = update::CurrentLeader {
                    leader_id: self.leader_id_or_none(),
                    leader_epoch: self.consensus.epoch(),
                    port: endpoint.as_ref().map_or(0, |leader| i32::from(leader.port)),
                    host: endpoint.map_or_else(String::new, |leader| leader.host),
                    ..Default::default()
                };
                asker.answer(wire::UpdateRaftVoterResponse {
                    error_code,
                    current_leader,
                    ..Default::default()
                });
            }
        }
    }

    pub(super) fn ask_versions(
        &mut self,
        cx: &mut Cx<Self>,
        of: ReplicaKey,
        endpoints: &[VoterEndpoint],
    ) -> Outcome {
        let name = &self.args.listener;
        if let Some(found) = endpoints.iter().find(|endpoint| endpoint.listener == *name) {
            self.learn_endpoint(of.id, &found.host, found.port);
        }
        let request = wire::ApiVersionsRequest {
            client_software_name: "ottla".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        self.ask(cx, of.id, Lane::Elections, Question::Versions { of }, request.into())
    }

    pub(super) async fn versions_answered(
        &mut self,
        cx: &mut Cx<Self>,
        of: ReplicaKey,
        answer: PeerAnswer,
    ) -> Outcome {
        let supported = match answer {
            Ok(QuorumResponse::Versions(response)) if response.error_code == 0 => {
                let mut features = response.supported_features.iter();
                Ok(features.find(|feature| feature.name == KRAFT_VERSION).map(|feature| {
                    LevelRange { min: feature.min_version, max: feature.max_version }
                }))
            }
            Ok(QuorumResponse::Versions(response)) => {
                Err(ErrorCode::from_code(response.error_code))
            }
            _ => Err(ErrorCode::BrokerNotAvailable),
        };
        self.step(cx, Event::VersionsTold { by: of.id, supported }).await
    }

    /// A controller that follows asks to vote, where it is to join by itself; and a voter says where it is, where the log says
    /// otherwise, or nothing of voters at all.
    pub(super) fn look_at_voters(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let (Role::Follower { .. }, Some(leader)) =
            (self.consensus.role(), self.consensus.leader_id())
        else {
            return Ok(());
        };
        let (local, epoch) = (&self.args.local, self.consensus.epoch());
        let is_dynamic = self.consensus.kraft_version() > 0;
        let known = self.consensus.voters().get(local.key.id);
        if self.consensus.voters().is_voter(local.key) {
            let is_told = if is_dynamic { known == Some(local) } else { self.told_epoch == epoch };
            if is_told {
                return Ok(());
            }
            let request = self.update_request(epoch);
            return self.ask(
                cx,
                leader,
                Lane::Elections,
                Question::Update { epoch },
                request.into(),
            );
        }
        if !is_dynamic || !self.args.auto_join {
            return Ok(());
        }
        let cluster_id = Some(self.args.cluster_id.clone());
        if let Some(old) = known.map(|voter| voter.key) {
            tracing::info!(?old, "another directory of this node votes: it is to be removed");
            let request = wire::RemoveRaftVoterRequest {
                cluster_id,
                voter_id: old.id,
                voter_directory_id: old.directory_id,
                ..Default::default()
            };
            return self.ask(cx, leader, Lane::Elections, Question::Join, request.into());
        }
        let listeners = local.endpoints.iter().map(|endpoint| add::Listener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        });
        let request = wire::AddRaftVoterRequest {
            cluster_id,
            timeout_ms: i32::try_from(self.args.request_timeout.as_millis()).unwrap_or(i32::MAX),
            voter_id: local.key.id,
            voter_directory_id: local.key.directory_id,
            listeners: listeners.collect(),
            // Else the leader could wait for this very node.
            ack_when_committed: false,
            ..Default::default()
        };
        self.ask(cx, leader, Lane::Elections, Question::Join, request.into())
    }

    fn update_request(&self, current_leader_epoch: i32) -> wire::UpdateRaftVoterRequest {
        let local = &self.args.local;
        let listeners = local.endpoints.iter().map(|endpoint| UpdateListener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        });
        wire::UpdateRaftVoterRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            current_leader_epoch,
            voter_id: local.key.id,
            voter_directory_id: local.key.directory_id,
            listeners: listeners.collect(),
            kraft_version_feature: KRaftVersionFeature {
                min_supported_version: local.kraft_versions.min,
                max_supported_version: local.kraft_versions.max,
                ..Default::default()
            },
            ..Default::default()
        }
    }

    pub(super) async fn update_answered(
        &mut self,
        cx: &mut Cx<Self>,
        asked_in: i32,
        answer: PeerAnswer,
    ) -> Outcome {
        let Ok(QuorumResponse::UpdateVoter(response)) = answer else { return Ok(()) };
        let error = ErrorCode::from_code(response.error_code);
        if matches!(error, ErrorCode::None | ErrorCode::UnsupportedVersion) {
            self.told_epoch = asked_in;
        } else {
            tracing::info!(error = error.name(), "the leader does not take what this voter says");
        }
        let leader = &response.current_leader;
        let leader_id = (leader.leader_id >= 0).then_some(leader.leader_id);
        if let (Some(id), Ok(port @ 1..)) = (leader_id, u16::try_from(leader.port)) {
            self.leader_said_at(id, leader.leader_epoch, &leader.host, port);
        }
        self.step(cx, Event::Heard { leader_id, epoch: leader.leader_epoch }).await
    }

    pub(super) fn join_answered(&self, answer: PeerAnswer) {
        let (code, message) = match answer {
            Ok(QuorumResponse::AddVoter(response)) => (response.error_code, response.error_message),
            Ok(QuorumResponse::RemoveVoter(response)) => {
                (response.error_code, response.error_message)
            }
            Ok(_) | Err(_) => return,
        };
        let error = ErrorCode::from_code(code);
        if error != ErrorCode::None {
            let message = message.unwrap_or_default();
            tracing::info!(error = error.name(), message, "this node does not vote yet");
        }
    }
}

fn nobody(key: ReplicaKey, what: &str) -> Option<Refusal> {
    if key.id >= 0 && !key.directory_id.is_zero() {
        return None;
    }
    let message = format!("{what} voter request didn't include a valid voter");
    refuse(ErrorCode::InvalidRequest, message)
}

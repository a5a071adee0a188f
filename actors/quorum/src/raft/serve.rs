//! The quorum's requests, answered as `KafkaRaftClient` answers them.

use machines::consensus::{Event, OffsetAndEpoch, ReplicaKey, Role, VoteAnswer, VoteRequest};
use model::{ErrorCode, Uuid};
use runtime::{Cx, Held, Outcome, Reply};
use wire::{
    begin_quorum_epoch_response as begin, end_quorum_epoch_response as end, vote_response as vote,
};

use super::Raft;
use super::changes::{MAX_LISTENERS, endpoint};
use super::whereabouts::LeaderEndpoint;
use crate::rpc::{QuorumRequest, QuorumResponse};

/// The log's name and only partition.
pub(super) const TOPIC: &str = "__cluster_metadata";
pub(super) const PARTITION: i32 = 0;

/// From this version on Vote, BeginQuorumEpoch, EndQuorumEpoch and FetchSnapshot say where the leader is.
const ENDPOINTS_SINCE: i16 = 1;

/// No quorum elects so often; taken over from a request, a greater one would leave no room for the elections to come.
pub(super) const MAX_EPOCH: i32 = i32::MAX / 2;

/// A request that came over the network.
pub struct Asked {
    pub request: QuorumRequest,
    pub version: i16,
    /// The name of the listener that it came by: answers name the leader's address for that listener.
    pub listener: String,
    pub reply: Reply<QuorumResponse>,
    /// What a peer caused is accounted for until it is answered or waits for the log.
    pub held: Option<Held>,
}

/// What an answer must know of its request.
pub(super) struct Asker {
    pub(super) version: i16,
    pub(super) listener: String,
    pub(super) reply: Reply<QuorumResponse>,
}

impl Asker {
    pub(super) fn answer(self, response: impl Into<QuorumResponse>) {
        self.reply.send(response.into());
    }
}

/// What the responses of Vote, BeginQuorumEpoch and EndQuorumEpoch say of the leader.
macro_rules! of_leader {
    ($raft:expr, $asker:expr, $error:expr, $kind:ident => $response:ident $(, $field:ident: $value:expr)?) => {{
        let partition = $kind::PartitionData {
            partition_index: PARTITION,
            error_code: $error.code(),
            leader_id: $raft.leader_id_or_none(),
            leader_epoch: $raft.consensus.epoch(),
            $($field: $value,)?
            ..Default::default()
        };
        let topic = $kind::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let endpoint = $raft.endpoint_for($asker).map(|leader| $kind::NodeEndpoint {
            node_id: leader.id,
            host: leader.host,
            port: leader.port,
            ..Default::default()
        });
        wire::$response {
            topics: vec![topic],
            node_endpoints: endpoint.into_iter().collect(),
            ..Default::default()
        }
    }};
}

impl Raft {
    pub(super) async fn serve(&mut self, cx: &mut Cx<Self>, asked: Asked) -> Outcome {
        let Asked { request, version, listener, reply, held: _held } = asked;
        let asker = Asker { version, listener, reply };
        match request {
            QuorumRequest::Vote(request) => self.serve_vote(cx, asker, request).await,
            QuorumRequest::BeginEpoch(request) => self.serve_begin(cx, asker, request).await,
            QuorumRequest::EndEpoch(request) => self.serve_end(cx, asker, request).await,
            QuorumRequest::Fetch(request) => self.serve_fetch(cx, asker, request).await,
            QuorumRequest::FetchSnapshot(request) => self.serve_snapshot(cx, asker, request).await,
            QuorumRequest::Describe(request) => {
                asker.answer(self.describe(&request, cx.world().now()));
                Ok(())
            }
            QuorumRequest::AddVoter(request) => self.serve_add(cx, asker, request).await,
            QuorumRequest::RemoveVoter(request) => self.serve_remove(cx, asker, request).await,
            QuorumRequest::UpdateVoter(request) => self.serve_update(cx, asker, request).await,
            // Raft asks it of others; here the network answers.
            QuorumRequest::Versions(_) | QuorumRequest::Cluster(_) => Ok(()),
        }
    }

    /// What a request of the elections is about, where it is about this log.
    fn checked<'a, P>(
        &self,
        cluster_id: Option<&String>,
        partition: Option<&'a P>,
    ) -> Result<&'a P, ErrorCode> {
        if !self.is_our_cluster(cluster_id) {
            return Err(ErrorCode::InconsistentClusterId);
        }
        partition.ok_or(ErrorCode::InvalidRequest)
    }

    /// A request that names no cluster is taken to mean this one.
    pub(super) fn is_our_cluster(&self, cluster_id: Option<&String>) -> bool {
        cluster_id.is_none_or(|id| *id == self.args.cluster_id)
    }

    pub(super) fn leader_id_or_none(&self) -> i32 {
        self.consensus.leader_id().unwrap_or(-1)
    }

    fn endpoint_for(&self, asker: &Asker) -> Option<LeaderEndpoint> {
        (asker.version >= ENDPOINTS_SINCE).then(|| self.leader_endpoint(&asker.listener)).flatten()
    }

    /// Whether a request from a voter is of an epoch that is over, or from nobody.
    fn check_voter_request(&self, id: i32, epoch: i32) -> ErrorCode {
        match () {
            () if epoch < self.consensus.epoch() => ErrorCode::FencedLeaderEpoch,
            () if id < 0 || epoch > MAX_EPOCH => ErrorCode::InvalidRequest,
            () => ErrorCode::None,
        }
    }

    /// Whether a request that only the leader of an epoch can answer is of another one, or came to another node.
    pub(super) fn check_leader_request(&self, epoch: i32) -> ErrorCode {
        let own = self.consensus.epoch();
        match () {
            () if epoch < own => ErrorCode::FencedLeaderEpoch,
            () if epoch > own => ErrorCode::UnknownLeaderEpoch,
            () if !self.consensus.is_leader() => ErrorCode::NotLeaderOrFollower,
            () => ErrorCode::None,
        }
    }

    /// Whether a request was meant for this replica. Older versions name none.
    fn is_meant(&self, voter_id: i32, directory_id: Uuid) -> bool {
        let own = self.args.local.key;
        voter_id < 0
            || voter_id == own.id && (directory_id.is_zero() || directory_id == own.directory_id)
    }

    async fn serve_vote(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::VoteRequest,
    ) -> Outcome {
        let partition = only(&request.topics, |t| (&t.topic_name, &t.partitions))
            .filter(|p| p.partition_index == PARTITION);
        let partition = match self.checked(request.cluster_id.as_ref(), partition) {
            Ok(partition) => partition.clone(),
            Err(error) => {
                let error_code = error.code();
                asker.answer(wire::VoteResponse { error_code, ..Default::default() });
                return Ok(());
            }
        };
        let (epoch, last_epoch) = (partition.replica_epoch, partition.last_offset_epoch);
        // Who stands has raised the epoch beyond all that its log knows; who only asks has not.
        let too_late = if partition.pre_vote { last_epoch > epoch } else { last_epoch >= epoch };
        let error = match () {
            () if partition.last_offset < 0 || last_epoch < 0 || too_late => {
                ErrorCode::InvalidRequest
            }
            () => self.check_voter_request(partition.replica_id, epoch),
        };
        if error != ErrorCode::None {
            let response = self.vote_response(&asker, error, false);
            asker.answer(response);
            return Ok(());
        }
        if !self.is_meant(request.voter_id, partition.voter_directory_id) {
            self.step(cx, Event::Heard { leader_id: None, epoch }).await?;
            let response = self.vote_response(&asker, ErrorCode::InvalidVoterKey, false);
            asker.answer(response);
            return Ok(());
        }
        let request = VoteRequest {
            candidate: ReplicaKey {
                id: partition.replica_id,
                directory_id: partition.replica_directory_id,
            },
            epoch,
            log_end: OffsetAndEpoch { epoch: last_epoch, offset: partition.last_offset },
            pre_vote: partition.pre_vote,
        };
        let ticket = self.next_vote;
        self.next_vote += 1;
        self.votes.insert(ticket, asker);
        self.step(cx, Event::VoteRequested { ticket, request }).await
    }

    /// The machine decided on a vote that was asked of this node.
    pub(super) fn answer_vote(&mut self, ticket: u64, answer: VoteAnswer) {
        if let Some(asker) = self.votes.remove(&ticket) {
            let response = self.vote_response(&asker, ErrorCode::None, answer.granted);
            asker.answer(response);
        }
    }

    fn vote_response(&self, asker: &Asker, error: ErrorCode, granted: bool) -> wire::VoteResponse {
        of_leader!(self, asker, error, vote => VoteResponse, vote_granted: granted)
    }

    async fn serve_begin(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::BeginQuorumEpochRequest,
    ) -> Outcome {
        let partition = only(&request.topics, |t| (&t.topic_name, &t.partitions))
            .filter(|p| p.partition_index == PARTITION);
        let partition = match self.checked(request.cluster_id.as_ref(), partition) {
            Ok(partition) => partition,
            Err(error) => {
                let error_code = error.code();
                asker.answer(wire::BeginQuorumEpochResponse { error_code, ..Default::default() });
                return Ok(());
            }
        };
        let (leader_id, epoch) = (partition.leader_id, partition.leader_epoch);
        let mut error = self.check_voter_request(leader_id, epoch);
        if error == ErrorCode::None {
            let endpoints = request.leader_endpoints.iter().take(MAX_LISTENERS);
            let endpoints = endpoints.map(|e| endpoint(&e.name, &e.host, e.port)).collect();
            self.leader_is_at(leader_id, epoch, endpoints);
            self.step(cx, Event::LeaderAnnounced { leader_id, epoch }).await?;
            if !self.is_meant(request.voter_id, partition.voter_directory_id) {
                error = ErrorCode::InvalidVoterKey;
            }
        }
        let response = of_leader!(self, &asker, error, begin => BeginQuorumEpochResponse);
        asker.answer(response);
        Ok(())
    }

    async fn serve_end(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: wire::EndQuorumEpochRequest,
    ) -> Outcome {
        let partition = only(&request.topics, |t| (&t.topic_name, &t.partitions))
            .filter(|p| p.partition_index == PARTITION);
        let partition = match self.checked(request.cluster_id.as_ref(), partition) {
            Ok(partition) => partition,
            Err(error) => {
                let error_code = error.code();
                asker.answer(wire::EndQuorumEpochResponse { error_code, ..Default::default() });
                return Ok(());
            }
        };
        let (leader_id, epoch) = (partition.leader_id, partition.leader_epoch);
        let error = self.check_voter_request(leader_id, epoch);
        if error == ErrorCode::None {
            let candidates = partition.preferred_candidates.iter().map(|candidate| ReplicaKey {
                id: candidate.candidate_id,
                directory_id: candidate.candidate_directory_id,
            });
            let without_directories = partition
                .preferred_successors
                .iter()
                .map(|id| ReplicaKey { id: *id, directory_id: Uuid::ZERO });
            let successors = match asker.version {
                0 => without_directories.collect(),
                _ => candidates.collect(),
            };
            self.step(cx, Event::LeaderResigned { leader_id, epoch, successors }).await?;
        }
        let response = of_leader!(self, &asker, error, end => EndQuorumEpochResponse);
        asker.answer(response);
        Ok(())
    }

    /// Whether it led and goes on telling others that it does not any more.
    pub(super) fn is_resigning(&self) -> bool {
        matches!(self.consensus.role(), Role::Resigned { untold, .. } if !untold.is_empty())
    }
}

/// The only partition of the only topic that a request names, where that is the metadata log.
pub(super) fn only<'a, T, P>(
    topics: &'a [T],
    parts: impl Fn(&'a T) -> (&'a String, &'a Vec<P>),
) -> Option<&'a P> {
    let [topic] = topics else { return None };
    let (name, partitions) = parts(topic);
    let [partition] = partitions.as_slice() else { return None };
    (name == TOPIC).then_some(partition)
}

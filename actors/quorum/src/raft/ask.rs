//! What raft asks of other nodes, and what their answers lead to.

use std::sync::Arc;
use std::time::Duration;

use machines::consensus::{Event, ReplicaKey, VoteAnswer, VoteRequest};
use model::ErrorCode;
use model::node_config::HostPort;
use runtime::{Address, Cx, Dropped, Failure, Outcome, Reply};
use wire::vote_request as vote;
use wire::{begin_quorum_epoch_request as begin, end_quorum_epoch_request as end};

use super::serve::{PARTITION, TOPIC, only};
use super::{Raft, RaftMsg};
use crate::peer::{Peer, PeerAnswer, PeerArgs, PeerMsg, Unanswered};
use crate::rpc::{QuorumRequest, QuorumResponse};

/// A fetch waits at its leader; what else there is to say must not wait behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Elections,
    Fetches,
}

/// What an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    Vote { of: ReplicaKey, pre_vote: bool },
    Announcement { to: ReplicaKey },
    Resignation { to: ReplicaKey },
    Fetch { number: u64 },
    Versions { of: ReplicaKey },
    Update { epoch: i32 },
    Join,
    Cluster,
}

/// The way to another node, as long as it is where it was.
pub(super) struct PeerWay {
    address: HostPort,
    way: Address<PeerMsg>,
}

/// What answers to voters' requests have in common.
struct Heard {
    error: ErrorCode,
    leader_id: Option<i32>,
    epoch: i32,
}

impl Raft {
    /// After a failure, before the next try.
    pub(super) fn pause(&self) -> Duration {
        self.args.retry_backoff.max(Duration::from_millis(1))
    }

    /// Asks a node; the answer comes as [`RaftMsg::Answered`].
    pub(super) fn ask(
        &mut self,
        cx: &mut Cx<Self>,
        to: i32,
        lane: Lane,
        question: Question,
        request: QuorumRequest,
    ) -> Outcome {
        let me = cx.me().clone();
        let sink = move |_, answer: Result<PeerAnswer, Dropped>| {
            let lost = |_| Err(Unanswered::Failed("the way to the node failed".to_owned()));
            let answer = Box::new(answer.unwrap_or_else(lost));
            // One that has ended has no question any more.
            let _ = me.send_now(RaftMsg::Answered { from: to, question, answer });
        };
        let reply = Reply::to_sink(Arc::new(sink), 0);
        let Some(address) = self.address_of(to) else {
            return Ok(());
        };
        let way = self.way_to(cx, to, lane, address)?;
        // Where it is down the reply is dropped, which is an answer.
        let _ = way.send_now(PeerMsg::Ask { request: Box::new(request), reply });
        Ok(())
    }

    fn way_to(
        &mut self,
        cx: &mut Cx<Self>,
        to: i32,
        lane: Lane,
        address: HostPort,
    ) -> Result<Address<PeerMsg>, Failure> {
        let name = match lane {
            Lane::Elections => format!("peer-{to}"),
            Lane::Fetches => format!("fetcher-{to}"),
        };
        if let Some(known) = self.ways.get(&(to, lane)) {
            if known.address == address {
                return Ok(known.way.clone());
            }
            cx.dismiss(&name);
        }
        // The one before may not be gone yet.
        let name = match cx.has_child(&name) {
            true => format!("{name}-{}", self.next_fetch),
            false => name,
        };
        let args = PeerArgs {
            node: to,
            address: address.clone(),
            request_timeout: self.args.request_timeout,
        };
        let way = cx.spawn::<Peer>(name, self.args.peer.clone(), args)?;
        self.ways.insert((to, lane), PeerWay { address, way: way.clone() });
        Ok(way)
    }

    pub(super) fn ask_for_vote(
        &mut self,
        cx: &mut Cx<Self>,
        to: ReplicaKey,
        request: VoteRequest,
    ) -> Outcome {
        let partition = vote::PartitionData {
            partition_index: PARTITION,
            replica_epoch: request.epoch,
            replica_id: request.candidate.id,
            replica_directory_id: request.candidate.directory_id,
            voter_directory_id: to.directory_id,
            last_offset_epoch: request.log_end.epoch,
            last_offset: request.log_end.offset,
            pre_vote: request.pre_vote,
            ..Default::default()
        };
        let topic = vote::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let asked = wire::VoteRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            voter_id: to.id,
            topics: vec![topic],
            ..Default::default()
        };
        let question = Question::Vote { of: to, pre_vote: request.pre_vote };
        self.ask(cx, to.id, Lane::Elections, question, asked.into())
    }

    pub(super) fn announce(&mut self, cx: &mut Cx<Self>, to: ReplicaKey, epoch: i32) -> Outcome {
        let partition = begin::PartitionData {
            partition_index: PARTITION,
            voter_directory_id: to.directory_id,
            leader_id: self.args.local.key.id,
            leader_epoch: epoch,
            ..Default::default()
        };
        let topic = begin::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let endpoints = self.args.local.endpoints.iter().map(|endpoint| begin::LeaderEndpoint {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        });
        let told = wire::BeginQuorumEpochRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            voter_id: to.id,
            topics: vec![topic],
            leader_endpoints: endpoints.collect(),
            ..Default::default()
        };
        self.ask(cx, to.id, Lane::Elections, Question::Announcement { to }, told.into())
    }

    pub(super) fn tell_resignation(
        &mut self,
        cx: &mut Cx<Self>,
        to: ReplicaKey,
        epoch: i32,
        successors: &[ReplicaKey],
    ) -> Outcome {
        let partition = end::PartitionData {
            partition_index: PARTITION,
            leader_id: self.args.local.key.id,
            leader_epoch: epoch,
            preferred_successors: successors.iter().map(|key| key.id).collect(),
            preferred_candidates: successors
                .iter()
                .map(|key| end::ReplicaInfo {
                    candidate_id: key.id,
                    candidate_directory_id: key.directory_id,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let topic = end::TopicData {
            topic_name: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let told = wire::EndQuorumEpochRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            topics: vec![topic],
            ..Default::default()
        };
        self.ask(cx, to.id, Lane::Elections, Question::Resignation { to }, told.into())
    }

    pub(super) async fn answered(
        &mut self,
        cx: &mut Cx<Self>,
        from: i32,
        question: Question,
        answer: PeerAnswer,
    ) -> Outcome {
        self.note_answer(cx, from, &answer)?;
        match question {
            Question::Cluster => Ok(()),
            Question::Fetch { number } => self.fetch_answered(cx, from, number, answer).await,
            Question::Versions { of } => self.versions_answered(cx, of, answer).await,
            Question::Update { epoch } => self.update_answered(cx, epoch, answer).await,
            Question::Join => {
                self.join_answered(answer);
                Ok(())
            }
            Question::Vote { of: by, .. }
            | Question::Announcement { to: by }
            | Question::Resignation { to: by } => match answer {
                Ok(response) => self.election_answered(cx, by, question, response).await,
                Err(Unanswered::Overtaken) => Ok(()),
                Err(Unanswered::Failed(_) | Unanswered::Refused(_)) => {
                    cx.send_after(self.pause(), RaftMsg::TryAgain { by });
                    Ok(())
                }
            },
        }
    }

    async fn election_answered(
        &mut self,
        cx: &mut Cx<Self>,
        from: ReplicaKey,
        question: Question,
        response: QuorumResponse,
    ) -> Outcome {
        let mut granted = false;
        /// Where the leader is, of which an answer speaks.
        macro_rules! place {
            ($response:expr, $partition:expr) => {
                if let Some(e) =
                    $response.node_endpoints.iter().find(|e| e.node_id == $partition.leader_id)
                {
                    self.leader_said_at(e.node_id, $partition.leader_epoch, &e.host, e.port);
                }
            };
        }
        let heard = match response {
            QuorumResponse::Vote(response) => {
                let partition = only(&response.topics, |t| (&t.topic_name, &t.partitions));
                partition.map(|p| {
                    place!(response, p);
                    granted = p.vote_granted;
                    Heard::of(response.error_code, p.error_code, p.leader_id, p.leader_epoch)
                })
            }
            QuorumResponse::BeginEpoch(response) => {
                let partition = only(&response.topics, |t| (&t.topic_name, &t.partitions));
                partition.map(|p| {
                    place!(response, p);
                    Heard::of(response.error_code, p.error_code, p.leader_id, p.leader_epoch)
                })
            }
            QuorumResponse::EndEpoch(response) => {
                let partition = only(&response.topics, |t| (&t.topic_name, &t.partitions));
                partition.map(|p| {
                    place!(response, p);
                    Heard::of(response.error_code, p.error_code, p.leader_id, p.leader_epoch)
                })
            }
            _ => None,
        };
        let Some(Heard { error, leader_id, epoch }) = heard else {
            tracing::debug!(from = from.id, ?question, "refused by a node of the quorum");
            return Ok(());
        };
        let event = match (question, error) {
            (Question::Vote { pre_vote, .. }, ErrorCode::None) => {
                let answer = VoteAnswer { epoch, leader_id, granted, pre_vote };
                Event::VoteAnswered { from, answer }
            }
            (Question::Resignation { to }, ErrorCode::None) => Event::ResignationTaken { by: to },
            _ => Event::Heard { leader_id, epoch },
        };
        self.step(cx, event).await
    }
}

impl Heard {
    fn of(top: i16, error: i16, leader_id: i32, epoch: i32) -> Heard {
        let error = if top != 0 { top } else { error };
        Heard {
            error: ErrorCode::from_code(error),
            leader_id: (leader_id >= 0).then_some(leader_id),
            epoch,
        }
    }
}

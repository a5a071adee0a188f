//! Where raft looks for the other node of a quorum of two.

use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, SimDisk, SimDiskOptions};
use machines::consensus::{VoterEndpoint, VoterSet};
use model::node_config::HostPort;
use runtime::{Handles, Reply, Root, World};

use super::other_node::{OTHER, OtherNode};
use super::serve::TOPIC;
use super::tests::{LIMIT, args, start, voter};
use super::*;
use crate::rpc::{QuorumRequest, QuorumResponse};

const NEVER: Duration = Duration::from_secs(3600);

fn disk() -> Arc<dyn Disk> {
    SimDisk::new(SimDiskOptions::default()).mount()
}

async fn node(disk: &Arc<dyn Disk>) -> OtherNode {
    OtherNode::new(&World::real(Handles::current(), disk.clone())).await
}

fn at(listener: &str, port: u16) -> VoterEndpoint {
    VoterEndpoint { listener: listener.to_owned(), host: "127.0.0.1".to_owned(), port }
}

/// Node 1, which finds the other voter at these endpoints in its log.
async fn raft(disk: &Arc<dyn Disk>, other: Vec<VoterEndpoint>, bootstrap: &[u16]) -> Root<Raft> {
    let voters = VoterSet::new([voter(1, Vec::new()), voter(OTHER, other)]);
    let args = RaftArgs {
        bootstrap: bootstrap.iter().map(|port| HostPort::new("127.0.0.1", *port)).collect(),
        request_timeout: NEVER,
        election_timeout: NEVER,
        fetch_timeout: NEVER,
        fast_failover: false,
        retry_backoff: Duration::from_millis(1),
        ..args(disk, voters)
    };
    let raft = start(disk, args);
    raft.started().await.unwrap();
    raft
}

/// Else nobody could follow a leader that moved, and no quorum ever write down where it is.
#[tokio::test]
async fn a_leader_is_asked_where_it_says_that_it_is() {
    let disk = disk();
    let (was, moved) = (node(&disk).await, node(&disk).await);
    let raft = raft(&disk, vec![at("CONTROLLER", was.port())], &[]).await;
    let mut old = was.line().await;
    assert_eq!(old.fetch().await, (0, 0));
    let partition = wire::begin_quorum_epoch_request::PartitionData {
        leader_id: OTHER,
        leader_epoch: 6,
        ..Default::default()
    };
    let topic = wire::begin_quorum_epoch_request::TopicData {
        topic_name: TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let endpoint = wire::begin_quorum_epoch_request::LeaderEndpoint {
        name: "CONTROLLER".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: moved.port(),
        ..Default::default()
    };
    let request = QuorumRequest::from(wire::BeginQuorumEpochRequest {
        voter_id: -1,
        topics: vec![topic],
        leader_endpoints: vec![endpoint],
        ..Default::default()
    });
    let listener = "CONTROLLER".to_owned();
    let serve = |reply: Reply<QuorumResponse>| RaftMsg::Serve {
        asked: Box::new(Asked { request, version: 1, listener, reply, held: None }),
    };
    let answer = raft.me().ask(LIMIT, serve).await.unwrap();
    let QuorumResponse::BeginEpoch(response) = answer else { panic!("{answer:?}") };
    let told: Vec<_> = response.node_endpoints.iter().map(|e| (e.node_id, e.port)).collect();
    assert_eq!(told, [(OTHER, moved.port())], "and others are told so");
    tokio::select! {
        mut line = moved.line() => assert_eq!(line.fetch().await, (0, 0)),
        asked = old.asked() => panic!("{asked:?} where the leader was"),
    }
    raft.stop().await;
}

/// All voters that a log names may be gone for good, where its node was away.
#[tokio::test]
async fn a_quorum_is_also_sought_where_it_is_configured() {
    let disk = disk();
    let gone = node(&disk).await.port();
    let lives = node(&disk).await;
    let raft = raft(&disk, vec![at("CONTROLLER", gone)], &[gone, lives.port()]).await;
    assert_eq!(lives.line().await.fetch().await, (0, 0));
    raft.stop().await;
}

#[tokio::test]
async fn a_voter_is_asked_by_the_listener_of_controllers() {
    let disk = disk();
    let (second, first) = (node(&disk).await, node(&disk).await);
    let endpoints = vec![at("SECOND", second.port()), at("CONTROLLER", first.port())];
    let raft = raft(&disk, endpoints, &[]).await;
    tokio::select! {
        mut line = first.line() => assert_eq!(line.fetch().await, (0, 0)),
        _ = second.line() => panic!("by another listener"),
    }
    raft.stop().await;
}

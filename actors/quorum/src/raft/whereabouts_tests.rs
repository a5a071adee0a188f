//! Where raft looks for the other node of a quorum of two.

use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, SimDisk, SimDiskOptions};
use machines::consensus::{VoterEndpoint, VoterSet};
use model::ErrorCode;
use model::node_config::HostPort;
use runtime::{Handles, Reply, Root, World, watch};

use super::other_node::{OTHER, OtherNode};
use super::serve::TOPIC;
use super::tests::{LIMIT, args, start, voter};
use super::*;
use crate::files::{METADATA_DIR, mark_newcomer};
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

/// The first fetch that comes there.
async fn fetched_from(node: &OtherNode) -> (i64, i32) {
    let fetch = async { node.line().await.fetch().await };
    tokio::time::timeout(LIMIT, fetch).await.expect("nobody fetches there")
}

/// Its only timers are of the test's making.
fn silent(args: RaftArgs) -> RaftArgs {
    RaftArgs {
        request_timeout: NEVER,
        election_timeout: NEVER,
        fetch_timeout: NEVER,
        fast_failover: false,
        retry_backoff: Duration::from_millis(1),
        append_linger: Duration::ZERO,
        ..args
    }
}

/// Node 1, which finds the other voter at these endpoints in its log.
async fn raft(disk: &Arc<dyn Disk>, other: Vec<VoterEndpoint>, bootstrap: &[u16]) -> Root<Raft> {
    let voters = VoterSet::new([voter(1, Vec::new()), voter(OTHER, other)]);
    let args = RaftArgs {
        bootstrap: bootstrap.iter().map(|port| HostPort::new("127.0.0.1", *port)).collect(),
        ..silent(args(disk, voters))
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
    assert_eq!(fetched_from(&moved).await, (0, 0));
    raft.stop().await;
}

/// All voters that a log names may be gone for good, where its node was away.
#[tokio::test]
async fn a_quorum_is_also_sought_where_it_is_configured() {
    let disk = disk();
    let gone = node(&disk).await.port();
    let lives = node(&disk).await;
    let raft = raft(&disk, vec![at("CONTROLLER", gone)], &[gone, lives.port()]).await;
    assert_eq!(fetched_from(&lives).await, (0, 0));
    raft.stop().await;
}

#[tokio::test]
async fn a_voter_is_asked_by_the_listener_of_controllers() {
    let disk = disk();
    let (second, first) = (node(&disk).await, node(&disk).await);
    let endpoints = vec![at("SECOND", second.port()), at("CONTROLLER", first.port())];
    let raft = raft(&disk, endpoints, &[]).await;
    assert_eq!(fetched_from(&first).await, (0, 0));
    raft.stop().await;
}

/// What it says while it finds no leader: which nodes it asked where, and what is wrong with each.
#[tokio::test]
async fn who_finds_no_leader_says_whom_it_asked_and_what_is_wrong_with_each() {
    let disk = disk();
    let gone = node(&disk).await.port();
    let stranger = node(&disk).await;
    let (status, mut shown) = watch(RaftStatus::default());
    let voters = VoterSet::new([voter(1, Vec::new()), voter(OTHER, vec![at("CONTROLLER", gone)])]);
    let args = RaftArgs {
        bootstrap: vec![HostPort::new("127.0.0.1", stranger.port())],
        status: Arc::new(status),
        ..silent(args(&disk, voters))
    };
    let raft = start(&disk, args);
    let mut line = stranger.line().await;
    line.fetch().await;
    let error_code = ErrorCode::InconsistentClusterId.code();
    line.answer(wire::FetchResponse { error_code, ..Default::default() }).await;
    let mut elections = stranger.line().await;
    let asked = elections.asked().await;
    assert!(matches!(&asked, QuorumRequest::Cluster(r) if r.endpoint_type == 2), "{asked:?}");
    let cluster_id = "theirs".to_owned();
    elections.answer(wire::DescribeClusterResponse { cluster_id, ..Default::default() }).await;
    let said = loop {
        raft.me().send(RaftMsg::LookForLeader).await.unwrap();
        let news = shown.until(|status| !status.unfound.is_empty());
        let said = tokio::time::timeout(LIMIT, news).await.unwrap().unfound.clone();
        if said.contains("theirs") {
            break said;
        }
        tokio::task::yield_now().await;
    };
    let (gone, stranger) = (format!("127.0.0.1:{gone}: "), stranger.port().to_string());
    for part in ["voter 2", &gone, "a bootstrap server", &stranger, "id is theirs", "is cluster;"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("[cluster] id = \"theirs\""), "{said}");
    raft.stop().await;
}

/// Else a quorum of two, of which one lost its directories, waits and nobody knows for what.
#[tokio::test]
async fn a_voter_that_lost_its_directories_says_that_it_waits_for_the_others() {
    for is_newcomer in [true, false] {
        let disk = disk();
        let other = node(&disk).await.port();
        let (status, mut shown) = watch(RaftStatus::default());
        let others = voter(OTHER, vec![at("CONTROLLER", other)]);
        let args = args(&disk, VoterSet::new([voter(1, Vec::new()), others]));
        if is_newcomer {
            mark_newcomer(&*disk, &args.log_dir.path.join(METADATA_DIR)).unwrap();
        }
        let raft = start(&disk, silent(RaftArgs { status: Arc::new(status), ..args }));
        raft.me().send(RaftMsg::LookForLeader).await.unwrap();
        let news = shown.until(|status| !status.unfound.is_empty());
        let said = tokio::time::timeout(LIMIT, news).await.unwrap().unfound.clone();
        assert_eq!(said.contains("began on empty directories"), is_newcomer, "{said}");
        raft.stop().await;
    }
}

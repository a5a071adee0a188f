//! Groups whose log is slow, small, broken, or written but not committed.

use std::time::Duration;

use model::topic::CONSUMER_OFFSETS;
use model::{ErrorCode, LeaderEpoch};
use partitions::PartitionHandle;
use runtime::ActorTree;
use wire::batch::BatchBuilder;
use wire::compression::{Codec, Compression};
use wire::{
    DescribeGroupsRequest, JoinGroupResponse, ListGroupsRequest, MetadataRecord,
    OffsetCommitRequest, PartitionChangeRecord, SyncGroupRequest,
};

use crate::groups::{
    commit, committed, fetched, find, heartbeat, join, joined, sync, until_served,
};
use crate::produce::produce;
use crate::rig::{Client, LIMIT, NODE, Rig, dir_id};

/// As long as a busy machine needs, unless a test is about it.
pub fn patience(given: &[(&str, &str)]) -> Duration {
    let own = given.iter().find(|(name, _)| *name == "offsets.commit.timeout.ms");
    own.map_or(LIMIT, |(_, value)| Duration::from_millis(value.parse().unwrap()))
}

const STALLS: [(&str, &str); 1] = [("offsets.commit.timeout.ms", "100")];

/// A node that leads the one partition of the groups' topic, and is alone in its ISR.
async fn rig(settings: &[(&str, &str)]) -> (Rig, Client) {
    let usual = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("group.initial.rebalance.delay.ms", "600000"),
    ];
    let mut rig = Rig::with_settings(&[&usual, settings].concat()).await;
    rig.topic("t", 1, &[]).await;
    let mut client = rig.client().await;
    client.call(&find("g"), 6).await;
    until_served(&mut client, "g").await;
    (rig, client)
}

impl Rig {
    fn changes(&mut self, change: PartitionChangeRecord, times: usize) {
        let image = self.broker.parts().metadata.get();
        let topic_id = image.topics.by_name(CONSUMER_OFFSETS).unwrap().id;
        let change = PartitionChangeRecord { topic_id, partition_id: 0, ..change };
        self.publish(vec![MetadataRecord::PartitionChange(change); times]);
    }

    /// From now on nothing is committed, until `min.insync.replicas` is 1 again.
    async fn stalls(&mut self) {
        let change = PartitionChangeRecord {
            replicas: Some(vec![NODE, NODE + 1]),
            directories: Some(vec![dir_id(0); 2]),
            ..Default::default()
        };
        self.changes(change, 1);
        self.configure(CONSUMER_OFFSETS, "min.insync.replicas", "2");
        let told = |handle: &PartitionHandle| handle.config().min_insync_replicas == 2;
        self.until(CONSUMER_OFFSETS, 0, told).await;
    }

    /// This node is made leader once more, so many times before it is told.
    fn leads_again(&mut self, times: usize) {
        self.changes(PartitionChangeRecord { leader: NODE, ..Default::default() }, times);
    }

    fn shard_is_offline(&self) -> bool {
        fn any(trees: &[ActorTree]) -> bool {
            trees.iter().any(|tree| {
                tree.name == "group-0" && tree.status == "offline" || any(&tree.children)
            })
        }
        any(&self.world.registry().tree())
    }
}

/// A member whose JoinGroup is parked, and its connection.
async fn joining(rig: &Rig, group: &str) -> (Client, JoinGroupResponse) {
    let mut client = rig.client().await;
    let told = client.call(&join(group, "", 9), 9).await;
    let told = JoinGroupResponse { generation_id: 0, ..told };
    assert_eq!(told.error_code, ErrorCode::MemberIdRequired.code());
    client.send(&join(group, &told.member_id, 9), 9).await;
    while heartbeat(&mut rig.client().await, group, &told).await == ErrorCode::UnknownMemberId {}
    (client, told)
}

#[tokio::test]
async fn too_few_replicas_fail_the_one_commit_which_stands_once_they_are_back() {
    let (mut rig, mut client) = rig(&STALLS).await;
    let (_parked, member) = joining(&rig, "joining").await;
    rig.stalls().await;
    for offset in [1, 2] {
        let request = commit("g", "t", &[(0, offset)], 9);
        let told = committed(&mut client, &request, 9).await;
        assert_eq!(told, [(0, ErrorCode::CoordinatorNotAvailable)]);
    }
    rig.configure(CONSUMER_OFFSETS, "min.insync.replicas", "1");
    while fetched(&mut client, "g", 9).await != Ok(2) {}
    // A member that was never written: a coordinator that loads anew forgets it.
    let told = heartbeat(&mut client, "joining", &member).await;
    assert_eq!(told, ErrorCode::RebalanceInProgress);
}

#[tokio::test]
async fn what_was_committed_is_read_while_nothing_more_is() {
    let (mut rig, mut client) = rig(&STALLS).await;
    let earlier = commit("earlier", "t", &[(0, 7)], 9);
    assert_eq!(committed(&mut client, &earlier, 9).await, [(0, ErrorCode::None)]);
    rig.stalls().await;
    let request = commit("g", "t", &[(0, 1)], 9);
    let told = committed(&mut client, &request, 9).await;
    assert_eq!(told, [(0, ErrorCode::CoordinatorNotAvailable)]);
    assert_eq!(fetched(&mut client, "earlier", 9).await, Ok(7));
    assert_eq!(fetched(&mut client, "g", 9).await, Err(ErrorCode::NotCoordinator));
    let listed = client.call(&ListGroupsRequest::default(), 5).await;
    let ids: Vec<_> = listed.groups.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!((listed.error_code, ids.contains(&"earlier")), (0, true));
    let groups = vec!["earlier".to_owned()];
    let request = DescribeGroupsRequest { groups, ..Default::default() };
    assert_eq!(client.call(&request, 6).await.groups[0].group_state, "Empty");
    joining(&rig, "earlier").await;
}

/// As by Kafka, which else would not bring members together whose heartbeats are further apart than they are given to join again.
#[tokio::test]
async fn members_are_refused_at_once_while_nothing_is_committed() {
    let (mut rig, mut leader) = rig(&[("group.initial.rebalance.delay.ms", "0")]).await;
    let first = joined(&mut leader, "g", 9).await;
    assert_eq!(first.error_code, 0);
    rig.stalls().await;
    leader.send(&sync("g", &first, &[(&first.member_id, "all")]), 5).await;
    let mut other = rig.client().await;
    let mut told = JoinGroupResponse::default();
    for group in ["begun by this", "g"] {
        told = other.call(&join(group, "", 9), 9).await;
        assert_eq!(told.error_code, ErrorCode::MemberIdRequired.code());
    }
    other.send(&join("g", &told.member_id, 9), 9).await;
    let told = leader.receive::<SyncGroupRequest>(5).await;
    assert_eq!(told.error_code, ErrorCode::RebalanceInProgress.code());
}

#[tokio::test]
async fn commits_that_come_together_are_written_in_batches_that_the_topic_takes() {
    let (mut rig, _) = rig(&[]).await;
    rig.configure(CONSUMER_OFFSETS, "max.message.bytes", "2000");
    rig.until(CONSUMER_OFFSETS, 0, |handle| handle.config().max_message_bytes == 2000).await;
    let mut request = commit("g", "t", &[(0, 1)], 9);
    request.topics[0].partitions[0].committed_metadata = Some("m".repeat(1000));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(rig.client().await);
    }
    for client in &mut clients {
        client.send(&request, 9).await;
    }
    for client in &mut clients {
        let told = client.receive::<OffsetCommitRequest>(9).await;
        assert_eq!(told.topics[0].partitions[0].error_code, 0);
    }
}

#[tokio::test]
async fn what_is_larger_than_a_batch_is_committed_where_it_is_compressed_to_less() {
    let zstd = Codec::Zstd.id().to_string();
    for (codec, expected) in [("0", ErrorCode::UnknownServerError), (&zstd, ErrorCode::None)] {
        let settings =
            [("offsets.topic.compression.codec", codec), ("offset.metadata.max.bytes", "30000")];
        let (mut rig, mut client) = rig(&settings).await;
        rig.topic("wide", 70, &[]).await;
        let offsets: Vec<_> = (0..70).map(|partition| (partition, 5)).collect();
        let mut request = commit("g", "wide", &offsets, 9);
        for partition in &mut request.topics[0].partitions {
            partition.committed_metadata = Some("m".repeat(30_000));
        }
        let told = committed(&mut client, &request, 9).await;
        assert!(told.iter().all(|(_, error)| *error == expected), "{codec}: {told:?}");
        let request = commit("g", "t", &[(0, 1)], 9);
        assert_eq!(committed(&mut client, &request, 9).await, [(0, ErrorCode::None)]);
    }
}

#[tokio::test]
async fn a_leader_that_is_made_leader_again_forgets_nobody() {
    let (mut rig, mut client) = rig(&[]).await;
    let (_parked, member) = joining(&rig, "joining").await;
    rig.leads_again(1);
    rig.until(CONSUMER_OFFSETS, 0, |handle| handle.leader_epoch() == LeaderEpoch(1)).await;
    let request = commit("g", "t", &[(0, 1)], 9);
    assert_eq!(committed(&mut client, &request, 9).await, [(0, ErrorCode::None)]);
    let told = heartbeat(&mut client, "joining", &member).await;
    assert_eq!(told, ErrorCode::RebalanceInProgress);
}

#[tokio::test]
async fn a_coordinator_that_cannot_load_sends_its_clients_elsewhere() {
    let (mut rig, mut client) = rig(&[]).await;
    let at = JoinGroupResponse::default();
    let mut broken = BatchBuilder::new(Compression::NONE);
    broken.append(1, Some(b""), None, &[]);
    client.id = Some("__admin_client".into());
    let told = produce(&mut client, CONSUMER_OFFSETS, 9, &broken.build().unwrap()).await;
    assert_eq!(told.error_code, 0);
    // Another may have led in between: it loads anew.
    rig.leads_again(2);
    rig.wait_for("it is given up", || rig.shard_is_offline()).await;
    assert_eq!(heartbeat(&mut client, "g", &at).await, ErrorCode::NotCoordinator);
}

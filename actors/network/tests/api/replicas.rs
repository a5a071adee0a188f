//! Replicas of other brokers, as a leader serves them: raw fetches with a replica's id over a socket.

use model::{ErrorCode, NodeId};
use partitions::PartitionMsg;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::fetch_response::PartitionData;
use wire::{
    DeleteRecordsRequest, FetchRequest, MetadataRecord, PartitionChangeRecord, ProduceRequest,
    ProduceResponse, RegisterBrokerRecord,
};

use crate::fetch::{asked, fetch, fetch_request, only, values};
use crate::produce::produce_request;
use crate::rig::{Client, NODE, Rig, batch, broker_record, dir_id, topic_id};

const OTHER: i32 = NODE + 1;
const THIRD: i32 = NODE + 2;
const EPOCH: i64 = 70;
const ALL: i16 = -1;
const LEADER: i16 = 1;

fn code(partition: &PartitionData) -> ErrorCode {
    ErrorCode::from_code(partition.error_code)
}

fn register(id: i32, broker_epoch: i64) -> MetadataRecord {
    let record = RegisterBrokerRecord { broker_epoch, ..broker_record(id, 1) };
    MetadataRecord::RegisterBroker(record)
}

fn assign(replicas: &[i32], isr: &[i32]) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChangeRecord {
        topic_id: topic_id("t"),
        partition_id: 0,
        replicas: Some(replicas.to_vec()),
        isr: Some(isr.to_vec()),
        directories: Some(vec![dir_id(0); replicas.len()]),
        ..Default::default()
    })
}

impl Rig {
    /// The topic `t`, which this node leads, with replicas on these and on this node, and waits until the leader knows.
    async fn replicated(&mut self, others: &[i32], in_sync: bool, configs: &[(&str, &str)]) {
        self.topic("t", 1, configs).await;
        let all: Vec<i32> = [NODE].into_iter().chain(others.iter().copied()).collect();
        let brokers = others.iter().map(|id| register(*id, EPOCH));
        let isr = if in_sync { all.clone() } else { vec![NODE] };
        self.publish(brokers.chain([assign(&all, &isr)]).collect::<Vec<_>>());
        let epoch = self.handle("t", 0).leader_epoch();
        let last = NodeId(*others.last().expect("others"));
        self.until("t", 0, |h| h.check_replica(last, epoch, None).is_ok()).await;
    }

    fn under_replicated(&self) -> i64 {
        let metrics = runtime::prometheus([("rig", self.world.registry())]);
        let mut lines = metrics.lines().filter(|line| line.contains("name=\"under_replicated\""));
        let number = lines.next().and_then(|line| line.rsplit(' ').next());
        number.and_then(|number| number.parse().ok()).expect("the number")
    }

    fn isr_asked(&self) -> Option<Vec<(i32, i64)>> {
        let changes = self.isr_changes.take(10);
        let change = changes.into_values().next()?;
        Some(change.isr.into_iter().map(|(id, epoch)| (id.0, epoch)).collect())
    }
}

/// What a replica asks for in this version of the request.
fn replica_request(version: i16, replica: i32, offset: i64) -> FetchRequest {
    let mut request = fetch_request("t", version, vec![asked(0, offset)]);
    request.topics[0].partitions[0].current_leader_epoch = 5;
    if version >= 15 {
        request.replica_state.replica_id = replica;
        request.replica_state.replica_epoch = EPOCH;
    } else {
        request.replica_id = replica;
    }
    request
}

async fn replicate(client: &mut Client, replica: i32, offset: i64) -> PartitionData {
    only(client.call(&replica_request(18, replica, offset), 18).await)
}

fn one_to_all() -> ProduceRequest {
    let records = batch(&["a"], 1).to_bytes();
    ProduceRequest { timeout_ms: 600_000, ..produce_request("t", 9, ALL, vec![(0, records)]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_all_is_answered_once_each_in_sync_replica_has_it() {
    for version in 4..=18 {
        let mut rig = Rig::start().await;
        rig.replicated(&[OTHER, THIRD], true, &[]).await;
        let (mut writer, mut replica) = (rig.client().await, rig.client().await);
        writer.send(&one_to_all(), 9).await;
        rig.until("t", 0, |handle| handle.log_end_offset() == 1).await;
        let read = only(replica.call(&replica_request(version, OTHER, 0), version).await);
        assert_eq!(values(&read.records).len(), 1, "a replica reads to the end of the log");
        assert_eq!(read.high_watermark, 0);
        assert_eq!(values(&fetch(&mut replica, "t", 12, 0).await.records), [], "no one else does");
        for id in [OTHER, THIRD] {
            assert_eq!(rig.handle("t", 0).high_watermark(), 0);
            only(replica.call(&replica_request(version, id, 1), version).await);
        }
        let answer = writer.receive::<ProduceRequest>(9).await;
        assert_eq!(error(&answer), ErrorCode::None, "version {version}");
        assert_eq!(values(&fetch(&mut replica, "t", 12, 0).await.records).len(), 1);
        let read = only(replica.call(&replica_request(version, OTHER, 1), version).await);
        assert_eq!(read.high_watermark, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_wake_for_what_is_written_and_consumers_for_what_is_committed() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], true, &[]).await;
    let (mut writer, mut replica) = (rig.client().await, rig.client().await);
    let mut consumer = rig.client().await;
    let mut reads = fetch_request("t", 12, vec![asked(0, 0)]);
    let mut follows = replica_request(18, OTHER, 0);
    (reads.max_wait_ms, follows.max_wait_ms) = (600_000, 600_000);
    for n in 0..20 {
        consumer.send(&reads, 12).await;
        replica.send(&follows, 18).await;
        produce_to_leader(&mut writer).await;
        let followed = only(replica.receive::<FetchRequest>(18).await);
        assert_eq!(values(&followed.records).len(), 1);
        follows.topics[0].partitions[0].fetch_offset = n + 1;
        reads.topics[0].partitions[0].fetch_offset = n + 1;
        let done = FetchRequest { max_wait_ms: 0, ..follows.clone() };
        replica.call(&done, 18).await;
        let read = only(consumer.receive::<FetchRequest>(12).await);
        assert_eq!((values(&read.records).len(), read.high_watermark), (1, n + 1));
    }
}

async fn produce_to_leader(client: &mut Client) {
    let records = batch(&["a"], 1).to_bytes();
    let request = produce_request("t", 9, LEADER, vec![(0, records)]);
    let answer = client.call(&request, 9).await;
    assert_eq!(error(&answer), ErrorCode::None);
}

type Change = fn(&mut FetchRequest);

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused_by_what_its_request_tells() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], true, &[]).await;
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    let set: [(&str, ErrorCode, Change); 8] = [
        ("assigned", ErrorCode::None, |_| {}),
        ("not assigned", ErrorCode::UnknownLeaderEpoch, |r| r.replica_state.replica_id = THIRD),
        ("no leader epoch", ErrorCode::NotLeaderOrFollower, |r| {
            r.replica_state.replica_id = THIRD;
            r.topics[0].partitions[0].current_leader_epoch = -1;
        }),
        ("not assigned, and nothing there", ErrorCode::UnknownLeaderEpoch, |r| {
            r.replica_state.replica_id = THIRD;
            r.topics[0].partitions[0].fetch_offset = 9;
        }),
        ("an old leader epoch", ErrorCode::FencedLeaderEpoch, |r| {
            r.topics[0].partitions[0].current_leader_epoch = 4;
        }),
        ("a later leader epoch", ErrorCode::UnknownLeaderEpoch, |r| {
            r.topics[0].partitions[0].current_leader_epoch = 6;
        }),
        ("an earlier registration", ErrorCode::NotLeaderOrFollower, |r| {
            r.replica_state.replica_epoch = EPOCH - 1;
        }),
        ("beyond the end", ErrorCode::OffsetOutOfRange, |r| {
            r.topics[0].partitions[0].fetch_offset = 2;
        }),
    ];
    for (what, expected, change) in set {
        let mut request = replica_request(18, OTHER, 0);
        change(&mut request);
        assert_eq!(code(&only(client.call(&request, 18).await)), expected, "{what}");
    }
    let mut diverged = replica_request(18, OTHER, 2);
    diverged.topics[0].partitions[0].last_fetched_epoch = 5;
    let told = only(client.call(&diverged, 18).await);
    assert_eq!((told.diverging_epoch.epoch, told.diverging_epoch.end_offset), (5, 1));
    assert_eq!(rig.handle("t", 0).high_watermark(), 0, "nobody has come past 0 by that");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_replicas_tell_changes_only_and_move_the_watermark_all_the_same() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], true, &[]).await;
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    let mut request = replica_request(18, OTHER, 0);
    request.session_epoch = 0;
    let opened = client.call(&request, 18).await;
    assert_ne!(opened.session_id, 0);
    let mut next = replica_request(18, OTHER, 1);
    (next.session_id, next.session_epoch) = (opened.session_id, 1);
    client.call(&next, 18).await;
    rig.until("t", 0, |handle| handle.high_watermark() == 1).await;
    next.topics.clear();
    (next.session_epoch, next.max_wait_ms) = (2, 600_000);
    produce_to_leader(&mut client).await;
    let changed = only(client.call(&next, 18).await);
    assert_eq!((values(&changed.records).len(), changed.high_watermark), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_caught_up_is_asked_for_and_who_fell_behind_is_not_any_more() {
    let mut rig = Rig::with_settings(&[("replica.lag.time.max.ms", "600")]).await;
    rig.replicated(&[OTHER], false, &[]).await;
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    replicate(&mut client, OTHER, 0).await;
    assert_eq!(rig.isr_asked(), None);
    assert_eq!(rig.under_replicated(), 1);
    replicate(&mut client, OTHER, 1).await;
    rig.wait_for("it is asked for", || !rig.isr_changes.is_empty()).await;
    assert_eq!(rig.isr_asked(), Some(vec![(NODE, -1), (OTHER, EPOCH)]));
    rig.publish([assign(&[NODE, OTHER], &[NODE, OTHER])]);
    rig.wait_for("it joined", || rig.under_replicated() == 0).await;
    produce_to_leader(&mut client).await;
    rig.wait_for("it fell behind", || !rig.isr_changes.is_empty()).await;
    assert_eq!(rig.isr_asked(), Some(vec![(NODE, -1)]));
    assert_eq!(rig.handle("t", 0).high_watermark(), 1);
    rig.publish([assign(&[NODE, OTHER], &[NODE])]);
    rig.until("t", 0, |handle| handle.high_watermark() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_fails_loses_nothing_of_what_it_knew_of_followers() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], false, &[]).await;
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    replicate(&mut client, OTHER, 1).await;
    rig.wait_for("it is asked for", || !rig.isr_changes.is_empty()).await;
    rig.isr_changes.take(1);
    let handle = rig.handle("t", 0);
    let message = "a bug".to_owned();
    handle.address().send(PartitionMsg::Panic { message }).await.unwrap();
    // Its answer may have been lost with the actor.
    rig.wait_for("it is asked for again", || !rig.isr_changes.is_empty()).await;
    rig.until("t", 0, |h| matches!(*h.standing(), partitions::Standing::Leader(_))).await;
    let mut writer = rig.client().await;
    writer.send(&one_to_all(), 9).await;
    rig.until("t", 0, |handle| handle.log_end_offset() == 2).await;
    assert_eq!(handle.high_watermark(), 1, "the other may be in the ISR by now");
    replicate(&mut client, OTHER, 2).await;
    let answer = writer.receive::<ProduceRequest>(9).await;
    assert_eq!(error(&answer), ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_in_sync_replicas_refuse_acks_all_and_hold_the_watermark() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], true, &[("min.insync.replicas", "2")]).await;
    let mut client = rig.client().await;
    let mut timed = one_to_all();
    timed.timeout_ms = 10;
    let answer = client.call(&timed, 9).await;
    assert_eq!(error(&answer), ErrorCode::RequestTimedOut);
    let mut parked = rig.client().await;
    parked.send(&one_to_all(), 9).await;
    rig.until("t", 0, |handle| handle.log_end_offset() == 2).await;
    rig.publish([assign(&[NODE, OTHER], &[NODE])]);
    let refused =
        async { while error(&client.call(&timed, 9).await) != ErrorCode::NotEnoughReplicas {} };
    rig.world.timeout(crate::rig::LIMIT, refused).await.unwrap();
    assert_eq!(rig.handle("t", 0).high_watermark(), 0);
    rig.configure("t", "min.insync.replicas", "1");
    assert_eq!(error(&parked.receive::<ProduceRequest>(9).await), ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_that_leadership_went() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER], true, &[]).await;
    let mut parked = rig.client().await;
    parked.send(&one_to_all(), 9).await;
    rig.until("t", 0, |handle| handle.log_end_offset() == 1).await;
    rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        topic_id: topic_id("t"),
        partition_id: 0,
        leader: OTHER,
        ..Default::default()
    })]);
    let lost = parked.receive::<ProduceRequest>(9).await;
    assert_eq!(error(&lost), ErrorCode::NotLeaderOrFollower);
}

fn error(answer: &ProduceResponse) -> ErrorCode {
    ErrorCode::from_code(answer.responses[0].partition_responses[0].error_code)
}

fn delete_to(offset: i64, timeout_ms: i32) -> DeleteRecordsRequest {
    let partitions =
        vec![DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() }];
    let topic = DeleteRecordsTopic { name: "t".into(), partitions, ..Default::default() };
    DeleteRecordsRequest { timeout_ms, topics: vec![topic], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_once_each_replica_that_lives_has_deleted_them() {
    let mut rig = Rig::start().await;
    rig.replicated(&[OTHER, THIRD], true, &[]).await;
    let (mut client, mut deleter) = (rig.client().await, rig.client().await);
    for _ in 0..3 {
        produce_to_leader(&mut client).await;
    }
    for id in [OTHER, THIRD] {
        replicate_from(&mut client, id, 3, 0).await;
    }
    rig.until("t", 0, |handle| handle.high_watermark() == 3).await;
    let answer = deleter.call(&delete_to(2, 10), 2).await;
    let told = answer.topics[0].partitions[0].clone();
    let expected = (ErrorCode::RequestTimedOut.code(), 0);
    assert_eq!((told.error_code, told.low_watermark), expected);
    deleter.send(&delete_to(2, 600_000), 2).await;
    replicate_from(&mut client, OTHER, 3, 2).await;
    // The third is fenced: it is not waited for.
    let gone =
        RegisterBrokerRecord { fenced: true, broker_epoch: EPOCH, ..broker_record(THIRD, 1) };
    rig.publish([MetadataRecord::RegisterBroker(gone)]);
    let answer = deleter.receive::<DeleteRecordsRequest>(2).await;
    let told = answer.topics[0].partitions[0].clone();
    assert_eq!((told.error_code, told.low_watermark), (0, 2));
}

async fn replicate_from(client: &mut Client, replica: i32, offset: i64, log_start: i64) {
    let mut request = replica_request(18, replica, offset);
    request.topics[0].partitions[0].log_start_offset = log_start;
    assert_eq!(code(&only(client.call(&request, 18).await)), ErrorCode::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_sent_to_the_in_sync_replica_of_its_rack() {
    let selector = ("replica.selector.class", model::settings::RACK_AWARE_SELECTOR);
    let mut rig = Rig::with_settings(&[selector]).await;
    rig.replicated(&[OTHER, THIRD], true, &[]).await;
    let placed = |id: i32, rack: &str| {
        let rack = Some(rack.to_owned());
        let record = RegisterBrokerRecord { rack, broker_epoch: EPOCH, ..broker_record(id, 1) };
        MetadataRecord::RegisterBroker(record)
    };
    rig.publish([placed(OTHER, "b"), placed(THIRD, "b")]);
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    replicate(&mut client, OTHER, 0).await;
    replicate(&mut client, THIRD, 1).await;
    replicate(&mut client, OTHER, 1).await;
    rig.until("t", 0, |handle| handle.high_watermark() == 1).await;
    produce_to_leader(&mut client).await;
    replicate(&mut client, THIRD, 2).await;
    let set = [
        (11, "b", 1, THIRD),
        (18, "b", 1, THIRD),
        (18, "a", 1, -1),
        (18, "", 1, -1),
        // Where nobody there has it yet, and for those who cannot be told.
        (18, "b", 3, -1),
    ];
    for (version, rack, offset, expected) in set {
        let mut request = fetch_request("t", version, vec![asked(0, offset)]);
        (request.rack_id, request.max_wait_ms) =
            (rack.to_owned(), if expected >= 0 { 600_000 } else { 0 });
        let told = only(client.call(&request, version).await);
        assert_eq!(told.preferred_read_replica, expected, "{version} {rack} {offset}");
        assert_eq!(values(&told.records), [], "{version} {rack} {offset}");
    }
    let mut request = fetch_request("t", 18, vec![asked(0, 0)]);
    request.rack_id = "b".into();
    // One that leaves the ISR is not sent to, nor is anybody where the leader is as near.
    rig.publish([assign(&[NODE, OTHER, THIRD], &[NODE, OTHER])]);
    rig.until("t", 0, |handle| !handle.is_in_sync(NodeId(THIRD))).await;
    assert_eq!(only(client.call(&request, 18).await).preferred_read_replica, OTHER);
    rig.publish([placed(NODE, "b")]);
    let told = only(client.call(&request, 18).await);
    assert_eq!((told.preferred_read_replica, values(&told.records).len()), (-1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_replica_that_is_not_in_sync_waits_until_the_rate_allows_more() {
    let slow = ("leader.replication.throttled.rate", "1");
    for (named, held_back) in [("0:1", true), ("*", true), ("1:1,0:2", false)] {
        let mut rig = Rig::with_settings(&[slow]).await;
        let named = [("leader.replication.throttled.replicas", named)];
        rig.replicated(&[OTHER, THIRD], false, &named).await;
        rig.publish([assign(&[NODE, OTHER, THIRD], &[NODE, THIRD])]);
        rig.until("t", 0, |handle| handle.is_in_sync(NodeId(THIRD))).await;
        let mut client = rig.client().await;
        produce_to_leader(&mut client).await;
        let first = replicate(&mut client, OTHER, 0).await;
        assert_eq!(values(&first.records).len(), 1, "nothing was sent before");
        let second = replicate(&mut client, OTHER, 0).await;
        let expected = (ErrorCode::None, usize::from(!held_back));
        assert_eq!((code(&second), values(&second.records).len()), expected, "{named:?}");
        let in_sync = replicate(&mut client, THIRD, 0).await;
        assert_eq!(values(&in_sync.records).len(), 1, "one in sync is never held back");
        rig.resettle(&[]);
        let freed = replicate(&mut client, OTHER, 0).await;
        assert_eq!(values(&freed.records).len(), 1, "{named:?}");
    }
}

/// By default for eleven seconds.
#[tokio::test]
async fn what_leaders_sent_to_throttled_replicas_is_remembered_for_as_long_as_is_said() {
    let settings = [
        ("leader.replication.throttled.rate", "1"),
        ("replication.quota.window.num", "1"),
        ("replication.quota.window.size.seconds", "2"),
    ];
    let mut rig = Rig::with_settings(&settings).await;
    rig.replicated(&[OTHER, THIRD], false, &[("leader.replication.throttled.replicas", "*")]).await;
    rig.publish([assign(&[NODE, OTHER, THIRD], &[NODE, THIRD])]);
    rig.until("t", 0, |handle| handle.is_in_sync(NodeId(THIRD))).await;
    let mut client = rig.client().await;
    produce_to_leader(&mut client).await;
    let begun = rig.world.mono();
    assert_eq!(values(&replicate(&mut client, OTHER, 0).await.records).len(), 1);
    while values(&replicate(&mut client, OTHER, 0).await.records).is_empty() {}
    let took = rig.world.mono().saturating_sub(begun);
    assert!((1..9).contains(&took.as_secs()), "{took:?}");
}

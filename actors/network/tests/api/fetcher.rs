//! A replica fetcher and its leader, whose part the test plays: what is asked, and what each answer leads to.

mod shown;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use model::node_config::ReplicationConfig;
use model::settings::Values;
use model::{ErrorCode, NodeId, Uuid};
use partitions::{PartitionHandle, Replication, ReplicationArgs, ReplicationMsg, Room};
use runtime::{
    Address, ChildSpec, Intensity, ListenOptions, Listener, NetStream, Root, Supervisor,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::api_versions_response::ApiVersion;
use wire::fetch_response::{EpochEndOffset, FetchableTopicResponse, PartitionData};
use wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::register_broker_record::BrokerEndpoint;
use wire::{
    ApiKey, ApiVersionsResponse, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, Message, MetadataRecord, Part, PartitionChangeRecord, PartitionRecord,
    Records, RegisterBrokerRecord, Response,
};

use crate::follow::{EPOCH, TOPIC, at, bytes_of, follow, until_follows};
use crate::log_dirs::held_up_in;
use crate::rig::{LIMIT, LISTENER, NODE, Rig, alone, dir_id, topic_id};

const BROKER_EPOCH: i64 = 77;
const SESSION: i32 = 7;

/// Broker `NODE + 1`, as its follower finds it.
struct Leader {
    rig: Rig,
    listener: Listener,
    stream: Option<NetStream>,
    /// Of the request that is to be answered.
    asked: (i32, i16),
    replication: Address<ReplicationMsg>,
    _root: Root<Supervisor>,
}

impl Leader {
    async fn start() -> (Leader, Arc<PartitionHandle>) {
        Leader::start_with(&[
            ("replica.fetch.backoff.ms", "20"),
            ("replica.fetch.max.bytes", "1234"),
            ("replica.fetch.min.bytes", "3"),
            ("replica.fetch.response.max.bytes", "54321"),
            ("replica.fetch.wait.max.ms", "321"),
        ])
        .await
    }

    async fn start_with(settings: &[(&str, &str)]) -> (Leader, Arc<PartitionHandle>) {
        let mut rig = Rig::with_dirs(2, settings).await;
        let options = ListenOptions::default();
        let listener = rig.world.net().listen("127.0.0.1", 0, options).await.unwrap();
        let endpoint = BrokerEndpoint {
            name: LISTENER.into(),
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            ..Default::default()
        };
        rig.publish([MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: NODE + 1,
            fenced: false,
            end_points: vec![endpoint],
            ..Default::default()
        })]);
        let parts = rig.broker.parts();
        let args = ReplicationArgs {
            node: NodeId(NODE),
            hosted: rig.hosted.clone(),
            metadata: parts.metadata.clone(),
            applied: parts.applied.clone(),
            settings: parts.settings.clone(),
            config: ReplicationConfig::new(&Values::new(settings.iter().copied()).unwrap()),
            listener: LISTENER.into(),
            broker_epoch: Arc::new(AtomicI64::new(BROKER_EPOCH)),
            fetcher: ChildSpec {
                intensity: Intensity { restarts: u32::MAX, within: LIMIT },
                ..ChildSpec::permanent()
            },
        };
        let (replication, root) = alone::<Replication>(&rig.world, "replication", args).await;
        let handle = follow(&mut rig).await;
        let leader =
            Leader { rig, listener, stream: None, asked: (0, 0), replication, _root: root };
        (leader, handle)
    }

    /// The next request that is no question for versions.
    async fn next(&mut self) -> (ApiKey, wire::Reader) {
        let world = self.rig.world.clone();
        world.timeout(LIMIT, self.read()).await.expect("it is asked in time")
    }

    async fn read(&mut self) -> (ApiKey, wire::Reader) {
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.listener.accept().await.unwrap().0,
            };
            let Ok(length) = stream.read_i32().await else { continue };
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut frame).await.unwrap();
            self.stream = Some(stream);
            let mut body = wire::Reader::new(Bytes::from(frame));
            let (key, header) = wire::decode_request_header(&mut body).unwrap();
            self.asked = (header.correlation_id, header.request_api_version);
            match key {
                ApiKey::ApiVersions => self.answer(&versions()).await,
                other => return (other, body),
            }
        }
    }

    async fn fetch(&mut self) -> FetchRequest {
        let (key, mut body) = self.next().await;
        assert_eq!((key, self.asked.1), (ApiKey::Fetch, 18));
        FetchRequest::decode(&mut body, 18).unwrap()
    }

    async fn answer<R: Response>(&mut self, response: &R) {
        let (correlation, version) = self.asked;
        let stream = self.stream.as_mut().unwrap();
        for part in wire::encode_response(response, version, correlation).unwrap() {
            let Part::Bytes(bytes) = part else { panic!("an answer has no files") };
            stream.write_all(&bytes).await.unwrap();
        }
    }

    async fn answer_with(&mut self, partition: PartitionData) {
        self.answer(&found(vec![partition])).await;
    }

    /// Answers a question for an offset; which one it was.
    async fn offset_is(&mut self, offset: i64) -> i64 {
        let (key, mut body) = self.next().await;
        assert_eq!(key, ApiKey::ListOffsets);
        let request = ListOffsetsRequest::decode(&mut body, self.asked.1).unwrap();
        let asked = &request.topics[0].partitions[0];
        assert_eq!((request.replica_id, asked.current_leader_epoch), (NODE, EPOCH));
        let partition = ListOffsetsPartitionResponse { offset, ..Default::default() };
        let topic = ListOffsetsTopicResponse {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        self.answer(&ListOffsetsResponse { topics: vec![topic], ..Default::default() }).await;
        asked.timestamp
    }
}

fn versions() -> ApiVersionsResponse {
    let keys = [ApiKey::ApiVersions, ApiKey::Fetch, ApiKey::ListOffsets];
    let api = |key: ApiKey| {
        let versions = key.stable_versions().unwrap();
        ApiVersion {
            api_key: key.code(),
            min_version: versions.min,
            max_version: versions.max,
            ..Default::default()
        }
    };
    ApiVersionsResponse { api_keys: keys.map(api).to_vec(), ..Default::default() }
}

fn found(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic =
        FetchableTopicResponse { topic_id: topic_id(TOPIC), partitions, ..Default::default() };
    FetchResponse { session_id: SESSION, responses: vec![topic], ..Default::default() }
}

fn records(batches: &[wire::batch::RecordBatch], high_watermark: i64) -> PartitionData {
    PartitionData {
        high_watermark,
        log_start_offset: 0,
        records: Some(Records::Bytes(bytes_of(batches).into())),
        ..Default::default()
    }
}

fn error(code: ErrorCode) -> PartitionData {
    PartitionData { error_code: code.code(), high_watermark: -1, ..Default::default() }
}

/// Session and epoch, then offset and last epoch of the partition where it is named, and whether it is forgotten.
fn told(request: &FetchRequest) -> (i32, i32, Option<(i64, i32)>, bool) {
    let partition = request.topics.first().map(|topic| &topic.partitions[0]);
    let wanted = partition.map(|p| (p.fetch_offset, p.last_fetched_epoch));
    let forgotten = !request.forgotten_topics_data.is_empty();
    (request.session_id, request.session_epoch, wanted, forgotten)
}

#[tokio::test]
async fn a_follower_asks_on_from_where_its_log_ends() {
    let (mut leader, handle) = Leader::start().await;
    let first = leader.fetch().await;
    assert_eq!(told(&first), (0, 0, Some((0, -1)), false));
    let state = &first.replica_state;
    assert_eq!((state.replica_id, state.replica_epoch), (NODE, BROKER_EPOCH));
    assert_eq!((first.max_wait_ms, first.min_bytes, first.max_bytes), (321, 3, 54_321));
    let partition = &first.topics[0].partitions[0];
    assert_eq!(first.topics[0].topic_id, topic_id(TOPIC));
    assert_eq!((partition.current_leader_epoch, partition.partition_max_bytes), (EPOCH, 1234));
    leader.answer_with(records(&[at(0, 2, &["a", "b"]), at(2, 3, &["c"])], 2)).await;
    assert_eq!(told(&leader.fetch().await), (SESSION, 1, Some((3, 3)), false));
    assert_eq!((handle.log_end_offset(), handle.high_watermark()), (3, 2));
    leader.answer_with(records(&[], 3)).await;
    assert_eq!(told(&leader.fetch().await), (SESSION, 2, None, false), "nothing has changed");
    assert_eq!(handle.high_watermark(), 3);
    let diverging_epoch = EpochEndOffset { epoch: 2, end_offset: 9, ..Default::default() };
    leader.answer_with(PartitionData { diverging_epoch, ..records(&[], 9) }).await;
    assert_eq!(told(&leader.fetch().await), (SESSION, 3, Some((2, 2)), false));
    assert_eq!(handle.high_watermark(), 2, "and the leader's is not believed before");
}

#[tokio::test]
async fn an_offset_that_the_leader_does_not_have_is_looked_up() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    leader.answer_with(records(&[at(0, EPOCH, &["a"]), at(1, EPOCH, &["b"])], 1)).await;
    // Its log ends before this one's.
    leader.fetch().await;
    leader.answer_with(error(ErrorCode::OffsetOutOfRange)).await;
    assert_eq!(leader.offset_is(1).await, -1);
    assert_eq!(told(&leader.fetch().await).2, Some((1, EPOCH)));
    // It begins behind this one's end.
    leader.answer_with(error(ErrorCode::OffsetOutOfRange)).await;
    assert_eq!((leader.offset_is(60).await, leader.offset_is(50).await), (-1, -2));
    assert_eq!(told(&leader.fetch().await).2, Some((50, -1)));
    assert_eq!((handle.log_start_offset(), handle.log_end_offset()), (50, 50));
    // It has gone on since, and has it.
    leader.answer_with(error(ErrorCode::OffsetOutOfRange)).await;
    assert_eq!((leader.offset_is(60).await, leader.offset_is(40).await), (-1, -2));
    assert_eq!(told(&leader.fetch().await).2, None);
}

#[tokio::test]
async fn errors_that_may_pass_are_waited_out_and_a_fenced_epoch_is_not() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    leader.answer_with(records(&[], 0)).await;
    let codes = [
        ErrorCode::UnknownLeaderEpoch,
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
        ErrorCode::InconsistentTopicId,
        ErrorCode::CorruptMessage,
        ErrorCode::KafkaStorageError,
    ];
    for (code, epoch) in codes.into_iter().zip(1..) {
        assert_eq!(leader.fetch().await.session_epoch, epoch, "{code:?}");
        leader.answer_with(error(code)).await;
    }
    let mut damaged = bytes_of(&[at(0, EPOCH, &["a"])]);
    *damaged.last_mut().unwrap() ^= 1;
    let records_of = |bytes: Vec<u8>| Some(Records::Bytes(bytes.into()));
    leader.fetch().await;
    leader.answer_with(PartitionData { records: records_of(damaged), ..records(&[], 1) }).await;
    assert_eq!(told(&leader.fetch().await).2, Some((0, -1)), "it is fetched again");
    leader.answer_with(error(ErrorCode::FencedLeaderEpoch)).await;
    leader.rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: 0,
        topic_id: topic_id(TOPIC),
        leader: NODE + 1,
        ..Default::default()
    })]);
    let next = leader.fetch().await;
    assert_eq!(next.topics[0].partitions[0].current_leader_epoch, EPOCH + 1);
    assert_eq!(handle.log_end_offset(), 0);
}

#[tokio::test]
async fn a_lost_connection_or_session_is_opened_anew_and_a_failed_fetcher_goes_on() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    leader.answer_with(records(&[at(0, EPOCH, &["a"])], 1)).await;
    leader.fetch().await;
    let gone = ErrorCode::FetchSessionIdNotFound.code();
    leader.answer(&FetchResponse { error_code: gone, ..Default::default() }).await;
    assert_eq!(told(&leader.fetch().await), (0, 0, Some((1, EPOCH)), false));
    leader.stream = None;
    assert_eq!(told(&leader.fetch().await), (0, 0, Some((1, EPOCH)), false));
    leader.answer_with(records(&[], 1)).await;
    leader.fetch().await;
    let message = "a test".to_owned();
    leader.replication.send(ReplicationMsg::PanicFetchers { message }).await.unwrap();
    assert_eq!(told(&leader.fetch().await), (0, 0, Some((1, EPOCH)), false));
    leader.answer_with(records(&[at(1, EPOCH, &["b"])], 2)).await;
    leader.fetch().await;
    assert_eq!((handle.log_end_offset(), handle.high_watermark()), (2, 2));
    until_follows(&leader.rig, &handle).await;
}

/// In the session it has the leader says what is committed only when that changes.
#[tokio::test]
async fn an_answer_that_comes_after_the_leader_epoch_it_was_asked_in_is_asked_for_again() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    leader.answer_with(records(&[at(0, 2, &["a", "b"])], 1)).await;
    leader.fetch().await;
    leader.rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: 0,
        topic_id: topic_id(TOPIC),
        leader: NODE + 1,
        ..Default::default()
    })]);
    leader.rig.until(TOPIC, 0, |handle| handle.leader_epoch().0 == EPOCH + 1).await;
    leader.answer_with(records(&[], 2)).await;
    assert_eq!(told(&leader.fetch().await), (SESSION, 0, Some((2, 2)), false), "in a new one");
    assert_eq!(handle.high_watermark(), 1);
    leader.answer_with(records(&[], 2)).await;
    leader.fetch().await;
    assert_eq!(handle.high_watermark(), 2);
}

/// By default after 30 seconds.
#[tokio::test]
async fn a_leader_that_does_not_answer_is_asked_again_on_another_connection() {
    let settings = [("replica.socket.timeout.ms", "100"), ("replica.fetch.wait.max.ms", "50")];
    let (mut leader, _) = Leader::start_with(&settings).await;
    leader.fetch().await;
    let world = leader.rig.world.clone();
    let again = world.timeout(Duration::from_secs(20), leader.fetch()).await.expect("it gave up");
    assert_eq!(told(&again), (0, 0, Some((0, -1)), false));
}

#[tokio::test]
async fn a_partition_that_is_deleted_or_led_here_is_fetched_no_longer() {
    let (mut leader, _) = Leader::start().await;
    leader.fetch().await;
    leader.answer_with(records(&[], 0)).await;
    leader.fetch().await;
    leader.rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: 0,
        topic_id: topic_id(TOPIC),
        leader: NODE,
        isr: Some(vec![NODE]),
        ..Default::default()
    })]);
    let world = leader.rig.world.clone();
    let closed = async {
        let stream = leader.stream.as_mut().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the fetcher has nothing to do");
    };
    world.timeout(LIMIT, closed).await.expect("it ends");
}

async fn throttle(rig: &mut Rig) {
    rig.configure(TOPIC, "follower.replication.throttled.replicas", &format!("0:{NODE}"));
    let named = |handle: &PartitionHandle| {
        !handle.config().follower_replication_throttled_replicas.is_empty()
    };
    rig.until(TOPIC, 0, named).await;
}

#[tokio::test]
async fn a_throttled_replica_that_lags_is_fetched_again_when_the_rate_allows_it() {
    let (mut leader, _) = Leader::start().await;
    leader.rig.resettle(&[("follower.replication.throttled.rate", "1")]);
    throttle(&mut leader.rig).await;
    leader.fetch().await;
    leader.answer_with(records(&[at(0, EPOCH, &["a"])], 1)).await;
    assert_eq!(told(&leader.fetch().await).2, Some((1, EPOCH)), "one in sync is never held back");
    leader.answer_with(records(&[at(1, EPOCH, &["b"])], 9)).await;
    let world = leader.rig.world.clone();
    let held_back = async {
        while !format!("{:?}", world.registry().look(&world).await).contains("1 held back") {
            tokio::task::yield_now().await;
        }
    };
    world.timeout(LIMIT, held_back).await.expect("it lags, and the rate is used up");
    leader.rig.resettle(&[]);
    assert_eq!(told(&leader.fetch().await).2, Some((2, EPOCH)));
}

/// Another partition that it follows, in the second directory.
async fn follows_another(rig: &mut Rig) -> Arc<PartitionHandle> {
    let both = vec![NODE, NODE + 1];
    rig.publish([MetadataRecord::Partition(PartitionRecord {
        partition_id: 1,
        topic_id: topic_id(TOPIC),
        replicas: both.clone(),
        isr: both,
        leader: NODE + 1,
        leader_epoch: EPOCH,
        directories: vec![dir_id(1), Uuid([9; 16])],
        ..Default::default()
    })]);
    rig.wait_for("it is hosted", || rig.hosted.get(TOPIC, 1).is_some()).await;
    let handle = rig.handle(TOPIC, 1);
    until_follows(rig, &handle).await;
    handle
}

/// The offset that is asked for of a partition, where it is named.
fn offset_of(request: &FetchRequest, partition: i32) -> Option<i64> {
    let mut named = request.topics.iter().flat_map(|topic| &topic.partitions);
    named.find(|named| named.partition == partition).map(|named| named.fetch_offset)
}

/// What is taken in is synced before it is said to be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_directory_hangs_is_not_waited_for_by_those_in_another() {
    let (mut leader, first) = Leader::start().await;
    let second = follows_another(&mut leader.rig).await;
    leader.rig.configure(TOPIC, "flush.messages", "1");
    for handle in [&first, &second] {
        let partition = handle.topic_partition.partition;
        leader.rig.until(TOPIC, partition, |handle| handle.config().flush_messages == 1).await;
    }
    while offset_of(&leader.fetch().await, 1).is_none() {
        leader.answer(&found(Vec::new())).await;
    }
    let busy = held_up_in(&leader.rig, leader.rig.log_dirs.0[1].queue()).await;
    let of = |partition_index, offset| {
        let batches = [at(offset, EPOCH, &["a"])];
        PartitionData { partition_index, ..records(&batches, offset + 1) }
    };
    leader.answer(&found(vec![of(0, 0), of(1, 0)])).await;
    let world = leader.rig.world.clone();
    for offset in 1..5 {
        let asked = world.timeout(Duration::from_secs(20), leader.fetch()).await;
        let asked = asked.expect("it goes on");
        assert_eq!((offset_of(&asked, 0), offset_of(&asked, 1)), (Some(offset), None));
        let forgotten = asked.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions);
        assert_eq!(forgotten.count(), usize::from(offset == 1));
        leader.answer_with(of(0, offset)).await;
    }
    drop(busy);
    let again = async {
        loop {
            let asked = leader.fetch().await;
            if let Some(offset) = offset_of(&asked, 1) {
                return offset;
            }
            leader.answer(&found(Vec::new())).await;
        }
    };
    assert_eq!(world.timeout(LIMIT, again).await.expect("it has taken it in"), 1);
    assert_eq!(first.log_end_offset(), 5);
}

/// By default for eleven seconds.
#[tokio::test]
async fn what_a_throttled_replica_took_is_remembered_for_as_long_as_is_said() {
    let (mut leader, _) = Leader::start_with(&[
        ("follower.replication.throttled.rate", "1"),
        ("replication.quota.window.num", "1"),
        ("replication.quota.window.size.seconds", "3"),
        ("replica.fetch.backoff.ms", "20"),
    ])
    .await;
    throttle(&mut leader.rig).await;
    leader.fetch().await;
    leader.answer_with(records(&[at(0, EPOCH, &["a"])], 1)).await;
    leader.fetch().await;
    let begun = leader.rig.world.mono();
    leader.answer_with(records(&[at(1, EPOCH, &["b"])], 9)).await;
    assert_eq!(told(&leader.fetch().await).2, Some((2, EPOCH)));
    let took = leader.rig.world.mono().saturating_sub(begun);
    assert!((2..9).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_user_topic_is_not_fetched_while_the_disk_is_full() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    handle.log_dir().set_room(Room::Full);
    leader.answer_with(records(&[at(0, EPOCH, &["a"])], 1)).await;
    let world = leader.rig.world.clone();
    let held_back = async {
        while !format!("{:?}", world.registry().look(&world).await).contains("1 held back") {
            tokio::task::yield_now().await;
        }
    };
    world.timeout(LIMIT, held_back).await.expect("there is no room for more, in sync or not");
    handle.log_dir().set_room(Room::Short);
    assert_eq!(told(&leader.fetch().await).2, Some((1, EPOCH)));
}

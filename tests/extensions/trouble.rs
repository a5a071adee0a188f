//! What goes wrong under `extensions`, and what it costs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use model::ErrorCode;
use ottla::client::{Connection, NewTopic, ProduceError, ProducerConfig, ProducerRecord};
use ottla::runtime::{
    Actor, ActorTree, Address, ChildSpec, Cx, Failure, Fault, Outcome, Reply, messages,
};
use ottla::{Intercepted, Interceptor, Node, NodeHandle, On, Verdict, Way};
use wire::batch::{BatchBuilder, HEADER_LEN};
use wire::compression::{Codec, Compression};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{FetchRequest, ProduceRequest};

use crate::durable::of_kind;
use crate::{Fragile, FragileMsg, LIMIT};

/// Takes nothing.
struct Closed;

impl Interceptor for Closed {
    const ON: On = On::Produce;
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Ok(Closed)
    }

    fn record(&mut self, _: &Way, _: &mut Intercepted) -> Verdict {
        Verdict::Reject("closed".into())
    }
}

async fn answers(node: &Node, fragile: &Address<FragileMsg>) {
    let deadline = node.world().mono() + LIMIT;
    loop {
        let (reply, answer) = Reply::new();
        if fragile.send(FragileMsg::Answer(reply)).await.is_ok() && answer.get().await.is_ok() {
            return;
        }
        assert!(node.world().mono() < deadline, "it does not come back");
        tokio::task::yield_now().await;
    }
}

/// Whether one is written.
async fn is_open(handle: &NodeHandle, topic: &str) -> bool {
    let producer = handle.producer(ProducerConfig::default());
    match producer.send(ProducerRecord::to(topic).value("a")).await.await {
        Ok(_) => true,
        Err(ProduceError::Refused(refused)) if refused.message == "closed" => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_is_there_again_when_extensions_itself_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let builder = builder.intercept::<Closed>("first", ());
    let node = builder.extension::<Fragile>("built", |_| ()).start().await.unwrap();
    let handle = node.handle().unwrap();
    for topic in ["first", "later", "free"] {
        handle.admin().create_topic(NewTopic::new(topic)).await.unwrap();
    }
    let added = handle.extend::<Fragile>("added", ()).await.unwrap();
    handle.intercept::<Closed>("later", ()).await.unwrap();
    handle.intercept::<Closed>("free", ()).await.unwrap();
    assert!(handle.stop_intercepting("free").await.unwrap());
    let there = async || {
        let mut tree = node.tree().await;
        let mut rooms = tree.swap_remove(0).children.into_iter();
        rooms.find(|room| room.name == "extensions").unwrap()
    };
    let expected = ["added", "built", "interceptor:first", "interceptor:later"];
    let faults = [Fault::Kill, Fault::Fail { message: "as by a bug".into() }];
    for (failures, fault) in (1..).zip(faults) {
        node.world().registry().fault(&there().await.path, fault).unwrap();
        // The latter befalls it at its next message.
        let _ = handle.stop_intercepting("none").await;
        let deadline = node.world().mono() + LIMIT;
        loop {
            let now = there().await;
            let children = now.children.iter().map(|child| (&*child.name, &*child.status));
            let is_back = children.eq(expected.map(|name| (name, "running")));
            if now.restarts == failures && is_back {
                break;
            }
            assert!(node.world().mono() < deadline, "it is not back: {now:?}");
            tokio::task::yield_now().await;
        }
        answers(&node, &added).await;
        let open = [is_open(&handle, "first").await, is_open(&handle, "later").await];
        assert_eq!((open, is_open(&handle, "free").await), ([false, false], true));
    }
    node.stop().await;
}

/// Does not bear some records.
struct Fussy;

impl Interceptor for Fussy {
    const ON: On = On::Fetch;
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Ok(Fussy)
    }

    fn record(&mut self, _: &Way, record: &mut Intercepted) -> Verdict {
        assert_ne!(record.value.as_deref(), Some(&b"poison"[..]), "it does not bear that");
        Verdict::Pass
    }
}

/// Of one topic, each partition from an offset.
pub fn fetch(topic: &str, from: &[i64]) -> FetchRequest {
    let partitions = (0..).zip(from).map(|(partition, offset)| FetchPartition {
        partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topics = vec![FetchTopic {
        topic: topic.into(),
        partitions: partitions.collect(),
        ..Default::default()
    }];
    FetchRequest { topics, max_bytes: 1 << 20, min_bytes: 1, ..Default::default() }
}

/// For each partition its error, and the bytes of its records.
pub async fn fetched(connection: &Connection, request: &FetchRequest) -> Vec<(ErrorCode, usize)> {
    let answer = connection.request_in(request, 12, LIMIT).await.expect("an answer");
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let told = partitions.map(|told| {
        let records = told.records.as_ref().and_then(wire::Records::as_bytes);
        (ErrorCode::from_code(told.error_code), records.map_or(0, |bytes| bytes.len()))
    });
    told.collect()
}

pub async fn connect(node: &Node) -> Connection {
    let port = node.bootstrap().port();
    Connection::open(node.world(), "127.0.0.1", port, &Default::default())
        .await
        .expect("it listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_an_interceptor_does_not_bear_costs_who_reads_it_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let node = builder.intercept::<Fussy>("t", ()).start().await.unwrap();
    let handle = node.handle().unwrap();
    handle.admin().create_topic(NewTopic::new("t").partitions(2)).await.unwrap();
    let producer = handle.producer(ProducerConfig::default());
    for (partition, value) in [(0, "a"), (0, "poison"), (0, "b"), (1, "c")] {
        let record = ProducerRecord::to("t").partition(partition).value(value);
        producer.send(record).await.await.unwrap();
    }
    let connection = connect(&node).await;
    for asked in 0..60 {
        let told = fetched(&connection, &fetch("t", &[1, 0])).await;
        let refused = (ErrorCode::UnknownServerError, 0);
        assert!(told[0] == refused && told[1].0 == ErrorCode::None && told[1].1 > 0, "{told:?}");
        // What lies before it, and behind.
        for from in [0, 2] {
            let told = fetched(&connection, &fetch("t", &[from])).await;
            assert!(told[0].0 == ErrorCode::None && told[0].1 > 0, "asked {asked} times: {told:?}");
        }
    }
    let found = &of_kind(&node, "interceptor").await[0];
    assert_eq!((&*found.status, found.restarts), ("running", 0));
    // Also of the fetches that found it behind the first.
    assert_eq!(found.numbers["panics"], 60 * (2 + 2));
    node.stop().await;
}

/// A batch of one record of this size, decompressed.
fn batch_of(bytes: usize, codec: Codec) -> bytes::Bytes {
    let build = |value: usize, codec| {
        let mut batch = BatchBuilder::new(Compression::of(codec));
        batch.append(1000, None, Some(&vec![b'x'; value]), &[]);
        batch.build().expect("a batch").to_bytes()
    };
    let beside = build(bytes, Codec::None).len() - HEADER_LEN - bytes;
    build(bytes - beside, codec)
}

/// The error of what is produced to a partition, and why.
pub async fn produced(
    connection: &Connection,
    topic: &str,
    index: i32,
    batch: bytes::Bytes,
) -> (ErrorCode, String) {
    let data = PartitionProduceData { index, records: Some(batch.into()), ..Default::default() };
    let partition_data = vec![data];
    let data = TopicProduceData { name: topic.into(), partition_data, ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![data],
        ..Default::default()
    };
    let answer = connection.request_in(&request, 12, LIMIT).await.expect("an answer");
    let told = &answer.responses[0].partition_responses[0];
    let why = told.error_message.clone().unwrap_or_default();
    (ErrorCode::from_code(told.error_code), why)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_to_be_seen_where_it_is_fetched_is_not_taken() {
    const MOST: usize = 32 << 20;
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let builder = builder.intercept::<Fussy>("fetched", ()).intercept::<Closed>("produced", ());
    let node = builder.start().await.unwrap();
    let handle = node.handle().unwrap();
    for topic in ["fetched", "produced", "free"] {
        handle.admin().create_topic(NewTopic::new(topic)).await.unwrap();
    }
    let connection = connect(&node).await;
    let larger = || batch_of(MOST + 1, Codec::Zstd);
    for topic in ["fetched", "produced"] {
        let (code, why) = produced(&connection, topic, 0, larger()).await;
        assert_eq!(code, ErrorCode::MessageTooLarge, "{topic}");
        assert!(why.contains("33554432 bytes when decompressed"), "{topic}: {why}");
    }
    assert_eq!(produced(&connection, "free", 0, larger()).await.0, ErrorCode::None);
    let largest = batch_of(MOST, Codec::Zstd);
    assert_eq!(produced(&connection, "fetched", 0, largest).await.0, ErrorCode::None);
    let told = fetched(&connection, &fetch("fetched", &[0])).await;
    assert!(told[0].0 == ErrorCode::None && told[0].1 > 0, "what is taken is fetched: {told:?}");
    node.stop().await;
}

/// Holds up whoever comes, thread and all, until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    gave_up: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let (open, limit) =
            (self.open.lock().expect("nobody panics with it"), Duration::from_secs(5));
        let waited = self
            .opened
            .wait_timeout_while(open, limit, |open| !*open)
            .expect("nobody panics with it");
        self.gave_up.fetch_or(waited.1.timed_out(), Ordering::SeqCst);
    }

    fn open(&self) {
        *self.open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }
}

struct Blocks(Arc<Gate>);

impl Interceptor for Blocks {
    const ON: On = On::Both;
    type Args = Arc<Gate>;

    fn start(gate: Arc<Gate>) -> Result<Self, Failure> {
        Ok(Blocks(gate))
    }

    fn record(&mut self, _: &Way, _: &mut Intercepted) -> Verdict {
        self.0.pass();
        Verdict::Pass
    }
}

/// Blocks as soon as it is told to, as does its child.
struct Sleeper {
    gate: Arc<Gate>,
    child: Option<Address<SleeperMsg>>,
}

enum SleeperMsg {
    Sleep,
}

messages!(SleeperMsg { Sleep });

impl Actor for Sleeper {
    const KIND: &'static str = "sleeper";
    type Msg = SleeperMsg;
    type Args = (Arc<Gate>, bool);

    async fn start(cx: &mut Cx<Self>, (gate, has_child): Self::Args) -> Result<Self, Failure> {
        let args = (gate.clone(), false);
        let child = || cx.spawn::<Sleeper>("child", ChildSpec::permanent(), args);
        Ok(Sleeper { gate, child: has_child.then(child).transpose()? })
    }

    async fn handle(&mut self, _: &mut Cx<Self>, SleeperMsg::Sleep: SleeperMsg) -> Outcome {
        if let Some(child) = &self.child {
            child.send(SleeperMsg::Sleep).await?;
        }
        self.gate.pass();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_blocks_under_extensions_holds_up_nothing_else_of_the_node() {
    let (dir, gate) = (tempfile::tempdir().unwrap(), Arc::<Gate>::default());
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let node = builder.intercept::<Blocks>("held", gate.clone()).start().await.unwrap();
    let handle = node.handle().unwrap();
    for topic in ["held", "free"] {
        handle.admin().create_topic(NewTopic::new(topic)).await.unwrap();
    }
    let spec = ChildSpec::permanent();
    let sleeper = handle.extend_with::<Sleeper>("sleeper", spec, (gate.clone(), true)).await;
    let [holding, connection] = [connect(&node).await, connect(&node).await];
    let one = || batch_of(100, Codec::None);
    let others = async {
        sleeper.unwrap().send(SleeperMsg::Sleep).await.unwrap();
        // Two of them at least, on a machine of two cores.
        while gate.inside.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let free = produced(&connection, "free", 0, one()).await;
        let within = !gate.gave_up.load(Ordering::SeqCst);
        gate.open();
        (free, within)
    };
    let (held, (free, within)) = tokio::join!(produced(&holding, "held", 0, one()), others);
    assert_eq!((held.0, free.0), (ErrorCode::None, ErrorCode::None));
    assert!(within, "it was served when they had let go");
    let all = |found: Vec<ActorTree>| found.into_iter().map(|actor| actor.bulkhead);
    let (interceptors, sleepers) =
        (of_kind(&node, "interceptor").await, of_kind(&node, "sleeper").await);
    let threads: Vec<_> = all(interceptors).chain(all(sleepers)).collect();
    assert_eq!(threads, ["extensions"; 3]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_intercepted_fetches_hold_is_in_budgets_of_the_node() {
    const BYTES: usize = 600_000;
    let (dir, gate) = (tempfile::tempdir().unwrap(), Arc::<Gate>::default());
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let handle = node.handle().unwrap();
    handle.admin().create_topic(NewTopic::new("t").partitions(2)).await.unwrap();
    let connection = connect(&node).await;
    for (partition, codec) in [(0, Codec::None), (1, Codec::Zstd)] {
        let written = produced(&connection, "t", partition, batch_of(BYTES, codec)).await;
        assert_eq!(written.0, ErrorCode::None);
    }
    handle.intercept::<Blocks>("t", gate.clone()).await.unwrap();
    let budgets = ["intercepted-fetches", "intercepted-batches"];
    let taken = || {
        let registry = node.world().registry();
        budgets.map(|name| registry.credits(name).expect("a budget").used() as usize)
    };
    for (partition, least) in [(0, [2 * BYTES, BYTES]), (1, [1, BYTES])] {
        let inside = gate.inside.load(Ordering::SeqCst);
        *gate.open.lock().unwrap() = false;
        let mut from = [1; 2];
        from[partition] = 0;
        let request = fetch("t", &from);
        let looking = async {
            while gate.inside.load(Ordering::SeqCst) == inside {
                tokio::task::yield_now().await;
            }
            let taken = taken();
            gate.open();
            taken
        };
        let (told, taken_meanwhile) = tokio::join!(fetched(&connection, &request), looking);
        assert!(told[partition].0 == ErrorCode::None && told[partition].1 > 0, "{told:?}");
        let enough = taken_meanwhile.iter().zip(least).all(|(taken, least)| *taken >= least);
        assert!(enough, "partition {partition}: {taken_meanwhile:?}, and not {least:?}");
        assert_eq!(taken(), [0, 0], "all is given back");
    }
    node.stop().await;
}

/// Cannot be.
struct Never;

impl Interceptor for Never {
    const ON: On = On::Fetch;
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Err(Failure::new("it cannot be"))
    }

    fn record(&mut self, _: &Way, _: &mut Intercepted) -> Verdict {
        unreachable!("it never started")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_room_in_an_answer_is_told_all_the_same_that_its_topic_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let node = builder.intercept::<Never>("t", ()).start().await.unwrap();
    let handle = node.handle().unwrap();
    let connection = connect(&node).await;
    for topic in ["free", "t"] {
        handle.admin().create_topic(NewTopic::new(topic).partitions(2)).await.unwrap();
        let written = produced(&connection, topic, 0, batch_of(100, Codec::None)).await;
        assert_eq!(written.0, ErrorCode::None);
    }
    let mut request = fetch("free", &[0]);
    request.topics.extend(fetch("t", &[0, 0]).topics);
    let away = (ErrorCode::NotLeaderOrFollower, 0);
    for max_bytes in [1 << 20, 1] {
        request.max_bytes = max_bytes;
        let told = fetched(&connection, &request).await;
        assert!(told[0].0 == ErrorCode::None && told[0].1 > 0, "{told:?}");
        // The second partition has no records that could be kept from anybody.
        assert_eq!(told[1..], [away, (ErrorCode::None, 0)], "of at most {max_bytes} bytes");
    }
    node.stop().await;
}

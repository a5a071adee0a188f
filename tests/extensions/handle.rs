//! What a user's actor has of the node that it is in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ottla::client::{
    Appended, Client, ConsumerConfig, Fed, NewTopic, ProducerConfig, ProducerRecord, Start,
    TopicPartition,
};
use ottla::runtime::ractor::{self, ActorProcessingErr, RpcReplyPort, concurrency};
use ottla::runtime::{Actor, Counter, Cx, Failure, Outcome, RactorRef, messages};
use ottla::{ExtendError, Node, NodeHandle, StartError};
use wire::DeleteRecordsRequest;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use crate::durable::of_kind;
use crate::{LIMIT, SOON};

/// Asks until there is something.
async fn until<T>(node: &Node, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = node.world().mono() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(node.world().mono() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

fn first(topic: &str) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition: 0 }
}

/// Creates a topic, writes to it, and is told of what is appended to it.
struct Clerk {
    told: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
    appends: Counter,
}

enum ClerkMsg {
    Appended(Appended),
}

messages!(ClerkMsg { Appended });

impl Actor for Clerk {
    const KIND: &'static str = "clerk";
    type Msg = ClerkMsg;
    type Args = (NodeHandle, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

    async fn start(cx: &mut Cx<Self>, (node, told, fails): Self::Args) -> Result<Self, Failure> {
        node.subscribe(cx, first("ledger"), Start::Earliest, ClerkMsg::Appended);
        cx.spawn_task(async move {
            let _there_already = node.admin().create_topic(NewTopic::new("ledger")).await;
            let producer = node.producer(ProducerConfig::default());
            for n in 0..3 {
                let record = ProducerRecord::to("ledger").value(format!("entry {n}"));
                producer.send(record).await.await.expect("written");
            }
        });
        Ok(Clerk { told, fails, appends: cx.counter("appends_told") })
    }

    async fn handle(&mut self, _: &mut Cx<Self>, msg: ClerkMsg) -> Outcome {
        let ClerkMsg::Appended(Appended::Records(fed)) = msg else { return Ok(()) };
        for record in &fed.records {
            self.appends.add(1);
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            assert!(
                value != "fail" || !self.fails.swap(false, Ordering::SeqCst),
                "a slip of the pen"
            );
            self.told
                .lock()
                .expect("nobody panics with it")
                .push(format!("{} {value}", record.offset));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_works_with_its_node_past_sockets_and_is_restarted_when_it_fails() {
    let (dir, told) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let (tells, fails) = (told.clone(), Arc::new(AtomicBool::new(true)));
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let args = move |node: &NodeHandle| (node.clone(), tells, fails);
    let node = builder.extension::<Clerk>("clerk", args).start().await.unwrap();
    let entries: Vec<_> = (0..3).map(|n| format!("{n} entry {n}")).collect();
    let has = async |expected: &[String]| (*told.lock().unwrap() == expected).then_some(());
    until(&node, "it is told of what it wrote", async || has(&entries).await).await;

    let producer = node.client().unwrap().producer(ProducerConfig::default());
    producer.send(ProducerRecord::to("ledger").value("fail")).await.await.unwrap();
    // It begins anew: it is told of all of it again, and writes again.
    let mut all = entries.clone();
    all.extend(entries);
    all.push("3 fail".to_owned());
    all.extend((0..3).map(|n| format!("{} entry {n}", n + 4)));
    until(&node, "it is back", async || has(&all).await).await;
    let clerk = &of_kind(&node, "clerk").await[0];
    assert_eq!((clerk.path.split_once('/').unwrap().1, clerk.restarts), ("extensions/clerk", 1));
    assert!(clerk.last_failure.as_ref().is_some_and(|why| why.contains("a slip of the pen")));
    assert_eq!(clerk.numbers["appends_told"], 3 + 1 + 7, "kept over restarts");
    let connections = of_kind(&node, "connection").await;
    let within = |name: &str| name.starts_with("127.0.0.1:0#");
    assert!(!connections.is_empty() && connections.iter().all(|c| within(&c.name)));
    node.stop().await;
}

/// Keeps what it is handed until it may let go.
struct Hoarder {
    held: Vec<Fed>,
    told: Arc<Mutex<Vec<String>>>,
}

enum HoarderMsg {
    Appended(Appended),
    LetGo,
}

messages!(HoarderMsg { Appended, LetGo });

impl Actor for Hoarder {
    const KIND: &'static str = "hoarder";
    type Msg = HoarderMsg;
    type Args = (NodeHandle, Start, Arc<Mutex<Vec<String>>>);

    async fn start(cx: &mut Cx<Self>, (node, start, told): Self::Args) -> Result<Self, Failure> {
        node.subscribe(cx, first("t"), start, HoarderMsg::Appended);
        Ok(Hoarder { held: Vec::new(), told })
    }

    async fn handle(&mut self, _: &mut Cx<Self>, msg: HoarderMsg) -> Outcome {
        let told = &mut *self.told.lock().expect("nobody panics with it");
        match msg {
            HoarderMsg::Appended(Appended::Records(fed)) => {
                told.extend(fed.records.iter().map(|record| record.offset.to_string()));
                self.held.push(fed);
            }
            HoarderMsg::Appended(Appended::Missed { from, to }) => {
                told.push(format!("missed {from}..{to}"));
            }
            HoarderMsg::Appended(Appended::Unreadable(error)) => told.push(error.to_string()),
            HoarderMsg::Appended(Appended::Readable) => told.push("readable".to_owned()),
            HoarderMsg::LetGo => self.held.clear(),
        }
        Ok(())
    }
}

const RECORD: usize = 1_000_000;
const RECORDS: usize = 30;
/// What a subscriber may hold, and what is on its way to it.
const MOST: usize = 8 + 2;

async fn write(client: &Client) {
    let producer = client.producer(ProducerConfig::default());
    for _ in 0..RECORDS {
        drop(producer.send(ProducerRecord::to("t").value(vec![b'x'; RECORD])).await);
    }
    producer.flush().await;
}

async fn read_all(client: &Client) {
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign(first("t"), Start::Earliest);
    let mut found = 0;
    while found < RECORDS {
        found += consumer
            .poll(LIMIT)
            .await
            .expect("records")
            .iter()
            .map(|p| p.records.len())
            .sum::<usize>();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_slow_holds_little_and_is_told_what_it_missed() {
    let (dir, told) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let handle = node.handle().unwrap();
    handle.admin().create_topic(NewTopic::new("t")).await.unwrap();
    let args = (handle.clone(), Start::Earliest, told.clone());
    let hoarder = handle.extend::<Hoarder>("hoarder", args).await.unwrap();
    write(&handle).await;
    let count = || told.lock().unwrap().len();
    until(&node, "it has what it may hold", async || (count() >= 7).then_some(())).await;
    // As long as another takes to read everything.
    read_all(&handle).await;
    assert!(count() <= MOST, "{} records", count());

    let partitions =
        vec![DeleteRecordsPartition { partition_index: 0, offset: 25, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions, ..Default::default() }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let deleted = handle.ask_any(&request).await.unwrap();
    assert_eq!(deleted.topics[0].partitions[0].error_code, 0);
    let last = (RECORDS - 1).to_string();
    until(&node, "it is told of the rest", async || {
        hoarder.send(HoarderMsg::LetGo).await.unwrap();
        (told.lock().unwrap().last() == Some(&last)).then_some(())
    })
    .await;
    let told = std::mem::take(&mut *told.lock().unwrap());
    let at = told.iter().position(|line| line.starts_with("missed")).expect("it is told");
    assert!((7..=MOST + 3).contains(&at), "{told:?}");
    let mut expected: Vec<_> = (0..at).map(|n| n.to_string()).collect();
    expected.push(format!("missed {at}..25"));
    expected.extend((25..RECORDS).map(|n| n.to_string()));
    assert_eq!(told, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_ahead_of_its_log_is_told_so() {
    let (dir, told) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let handle = node.handle().unwrap();
    handle.admin().create_topic(NewTopic::new("t")).await.unwrap();
    let args = (handle.clone(), Start::Offset(1000), told.clone());
    handle.extend::<Hoarder>("hoarder", args).await.unwrap();
    let is = async |expected: &[&str]| (*told.lock().unwrap() == expected).then_some(());
    until(&node, "the log is not so long", async || is(&["missed 1000..0"]).await).await;
    let producer = handle.producer(ProducerConfig::default());
    producer.send(ProducerRecord::to("t").value("a")).await.await.unwrap();
    until(&node, "what came then", async || is(&["missed 1000..0", "0"]).await).await;
    node.stop().await;
}

/// An actor of ractor's own trait, which writes what it is told to.
struct Scribe;

enum ScribeMsg {
    Write(String, RpcReplyPort<i64>),
    Panic,
}

impl ractor::Actor for Scribe {
    type Msg = ScribeMsg;
    type State = NodeHandle;
    type Arguments = NodeHandle;

    async fn pre_start(
        &self,
        _: RactorRef<ScribeMsg>,
        node: NodeHandle,
    ) -> Result<NodeHandle, ActorProcessingErr> {
        Ok(node)
    }

    async fn handle(
        &self,
        _: RactorRef<ScribeMsg>,
        message: ScribeMsg,
        node: &mut NodeHandle,
    ) -> Result<(), ActorProcessingErr> {
        let ScribeMsg::Write(line, reply) = message else { panic!("out of ink") };
        let producer = node.producer(ProducerConfig::default());
        let at = producer.send(ProducerRecord::to("lines").value(line)).await.await?;
        Ok(reply.send(at.offset.unwrap_or(-1))?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_of_ractors_own_trait_is_an_extension_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let builder = builder.ractor_extension("first", |node| (Scribe, node.clone()));
    let node = builder.start().await.unwrap();
    let handle = node.handle().unwrap();
    let within = handle.clone();
    let scribe = handle.extend_ractor("second", move || (Scribe, within.clone())).await.unwrap();
    let taken = handle.extend_ractor::<Scribe>("first", || unreachable!("there is one")).await;
    assert!(matches!(taken, Err(ExtendError::Refused(_))));
    let write = async |line: &str| {
        let (reply, answer) = concurrency::oneshot();
        scribe.send(ScribeMsg::Write(line.to_owned(), reply.into())).ok()?;
        answer.await.ok()
    };
    assert_eq!(write("a").await, Some(0));
    scribe.send(ScribeMsg::Panic).unwrap();
    assert_eq!(until(&node, "it is back", async || write("b").await).await, 1);
    let scribes = of_kind(&node, "Scribe").await;
    let told: Vec<_> = scribes.iter().map(|s| (&*s.name, s.restarts, s.handled > 0)).collect();
    assert_eq!(told, [("first", 0, false), ("second", 1, true)]);
    assert!(scribes[1].last_failure.as_ref().is_some_and(|why| why.contains("out of ink")));
    node.stop().await;
    assert!(scribe.current().is_none());
}

#[tokio::test]
async fn a_node_without_clients_has_no_handle_for_extensions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.toml");
    let text = format!(
        "[[node]]\nid = 1\nroles = [\"controller\"]\ncontroller = \"127.0.0.1:0\"\ndata = {:?}\n",
        dir.path().join("data")
    );
    std::fs::write(&file, text).unwrap();
    let builder = Node::builder().config(&file, 1);
    let never = |_: &NodeHandle| -> <Clerk as Actor>::Args { unreachable!("there is no handle") };
    let error = builder.extension::<Clerk>("clerk", never).start().await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Extension { .. }), "{error}");
}

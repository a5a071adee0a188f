//! Users' actors under a node, as the examples have them.

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/shout.rs"]
mod shout;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/counter/main.rs"]
mod counter;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/bank/main.rs"]
mod bank;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/mask.rs"]
mod mask;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/alert/main.rs"]
mod alert;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/gateway/main.rs"]
mod gateway;

#[expect(dead_code, reason = "the example's own main is not run here")]
#[path = "../../examples/spare/main.rs"]
mod spare;

mod durable;
mod examples;
mod handle;
mod interceptors;
mod logs;
mod names;
mod sagas;
mod trouble;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::Node;
use ottla::client::{ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord, Start};
use ottla::runtime::{Actor, ActorTree, ChildSpec, Cx, Failure, Outcome, Reply, messages};
use shout::Shout;

const LIMIT: Duration = Duration::from_secs(20);
/// What has to come is asked for so long.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_reads_one_topic_and_writes_another() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let client = node.client().unwrap();
    let admin = client.admin();
    admin.create_topic(NewTopic::new("lines").partitions(3)).await.unwrap();
    admin.create_topic(NewTopic::new("shouted").partitions(3)).await.unwrap();
    node.extend::<Shout>("shout", client.clone()).await.unwrap();

    let producer = client.producer(ProducerConfig::default());
    for n in 0..1000 {
        let record = ProducerRecord::to("lines").key(format!("{n}")).value(format!("line {n}"));
        drop(producer.send(record).await);
    }
    producer.flush().await;

    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic("shouted", Start::Earliest).await.unwrap();
    let mut shouted = Vec::new();
    let deadline = node.world().mono() + LIMIT;
    while shouted.len() < 1000 && node.world().mono() < deadline {
        for batch in consumer.poll(Duration::from_secs(1)).await.unwrap() {
            shouted.extend(batch.records.into_iter().filter_map(|record| record.value));
        }
    }
    let mut expected: Vec<String> = (0..1000).map(|n| format!("LINE {n}")).collect();
    shouted.sort();
    expected.sort();
    assert!(shouted == expected, "{} records came out", shouted.len());
    node.stop().await;
}

struct Fragile;

enum FragileMsg {
    Fail,
    Answer(Reply<()>),
}

messages!(FragileMsg { Fail, Answer });

impl Actor for Fragile {
    const KIND: &'static str = "fragile";
    type Msg = FragileMsg;
    type Args = ();

    async fn start(_: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Fragile)
    }

    async fn handle(&mut self, _: &mut Cx<Self>, msg: FragileMsg) -> Outcome {
        match msg {
            FragileMsg::Fail => panic!("a bug of the user's"),
            FragileMsg::Answer(reply) => reply.send(()),
        }
        Ok(())
    }
}

fn restarts(actor: &ActorTree) -> u64 {
    actor.restarts + actor.children.iter().map(restarts).sum::<u64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_panics_is_back_under_extensions_and_nothing_else_went() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let admin = node.client().unwrap().admin();
    admin.create_topic(NewTopic::new("beside").partitions(3)).await.unwrap();
    let fragile = node.extend::<Fragile>("fragile", ()).await.unwrap();
    fragile.send(FragileMsg::Fail).await.unwrap();
    let deadline = node.world().mono() + LIMIT;
    loop {
        let (reply, answer) = Reply::new();
        // What waited behind the message that failed is dropped with it.
        if fragile.send(FragileMsg::Answer(reply)).await.is_ok() && answer.get().await.is_ok() {
            break;
        }
        assert!(node.world().mono() < deadline, "it does not come back");
        tokio::task::yield_now().await;
    }
    let tree = node.tree().await;
    let rooms = tree.iter().flat_map(|node| &node.children);
    let (extensions, others): (Vec<_>, Vec<_>) = rooms.partition(|room| room.name == "extensions");
    let [found] = &extensions[0].children[..] else { panic!("{extensions:?}") };
    assert_eq!((&*found.name, &*found.kind, &*found.status), ("fragile", "fragile", "running"));
    assert_eq!(found.restarts, 1);
    assert!(found.last_failure.as_ref().is_some_and(|why| why.contains("a bug of the user's")));
    assert_eq!(others.iter().map(|room| restarts(room)).sum::<u64>(), 0, "{others:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_is_given_up_is_offline_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let beside = node.extend::<Fragile>("beside", ()).await.unwrap();
    let spec = ChildSpec::permanent().intensity(0, Duration::from_secs(60));
    let fragile = node.extend_with::<Fragile>("fragile", spec, ()).await.unwrap();
    fragile.send(FragileMsg::Fail).await.unwrap();
    let deadline = node.world().mono() + LIMIT;
    let children = loop {
        let tree = node.tree().await;
        let rooms = tree.into_iter().flat_map(|node| node.children);
        let extensions = rooms.into_iter().find(|room| room.name == "extensions").unwrap();
        assert_eq!(extensions.restarts, 0);
        if extensions.children.iter().any(|child| child.status == "offline") {
            break extensions.children;
        }
        assert!(node.world().mono() < deadline, "it is not given up: {extensions:?}");
        tokio::task::yield_now().await;
    };
    let told: Vec<_> = children.iter().map(|child| (&*child.name, &*child.status)).collect();
    assert_eq!(told, [("beside", "running"), ("fragile", "offline")]);
    let (reply, answer) = Reply::new();
    beside.send(FragileMsg::Answer(reply)).await.unwrap();
    answer.get().await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn an_address_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for listen in ["localhost", "localhost:port", ""] {
        let started = Node::builder().quick(&data, listen, &[]).start().await;
        let error = started.map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("listen={listen}: ")), "{error}");
    }
    assert!(!data.exists());
}

/// What is logged.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn settings_of_threads_that_are_the_programs_own_are_named() {
    let (said, dir) = (Said::default(), tempfile::tempdir().unwrap());
    let writer = said.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _logged = tracing::subscriber::set_default(log.finish());
    let given = [
        ("num.network.threads", "2"),
        ("num.io.threads", "2"),
        ("ottla.control.threads", "2"),
        ("background.threads", "2"),
    ];
    for set in [&given[..], &[]] {
        let node = Node::builder().quick(dir.path(), "127.0.0.1:0", set).start().await.unwrap();
        node.stop().await;
        let bytes = std::mem::take(&mut *said.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let warned = text.lines().filter(|line| line.contains("WARN") && line.contains("not used"));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), set.len(), "{text}");
        let is_named = |(name, _): &(&str, _)| warned.iter().any(|line| line.contains(name));
        assert!(set.iter().all(is_named), "{warned:?}");
    }
}

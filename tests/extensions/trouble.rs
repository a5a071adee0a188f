//! What goes wrong under `extensions`, and what it costs.

use ottla::client::{NewTopic, ProduceError, ProducerConfig, ProducerRecord};
use ottla::runtime::{Address, Failure, Fault, Reply};
use ottla::{Intercepted, Interceptor, Node, NodeHandle, On, Verdict, Way};

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
    let expected = ["interceptor:first", "built", "added", "interceptor:later"];
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

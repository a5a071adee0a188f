//! Examples that are extensions of one node, as who uses them sees them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use ottla::Node;
use ottla::client::{Client, ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord, Start};
use ottla::runtime::{Address, AskError};

use crate::alert::{Alert, Limit};
use crate::durable::of_kind;
use crate::gateway::Gateway;
use crate::mask::Mask;
use crate::spare::{Pair, PairMsg};
use crate::{LIMIT, SOON};

/// The first record of a topic's first partition.
async fn first(client: &Client, topic: &str) -> String {
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(topic, Start::Earliest).await.expect("a topic");
    let deadline = client.world().mono() + SOON;
    while client.world().mono() < deadline {
        if let Some(polled) = consumer.poll(LIMIT).await.expect("records").first() {
            let value = polled.records[0].value.as_deref().unwrap_or_default();
            return String::from_utf8_lossy(value).into_owned();
        }
    }
    panic!("{topic} has no record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_records_than_a_limit_are_an_alert_and_fewer_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let handle = node.handle().unwrap();
    for topic in ["orders", "rests", "alerts"] {
        handle.admin().create_topic(NewTopic::new(topic)).await.unwrap();
    }
    for (topic, most) in [("rests", 1000), ("orders", 100)] {
        let limit = Limit(topic, most, Duration::from_millis(500));
        node.extend::<Alert>(topic, (handle.clone(), limit))
            .await
            .unwrap()
            .started()
            .await
            .unwrap();
    }
    // In which period they come is nobody's to say: in one of them too many do.
    let producer = handle.producer(ProducerConfig::default());
    for (topic, count) in [("rests", 900), ("orders", 900)] {
        let records = (0..count).map(|n| ProducerRecord::to(topic).value(format!("{n}")));
        producer.enqueue_all(records).all().await.unwrap();
    }
    let alert = first(&handle, "alerts").await;
    assert_eq!(alert, "more than 100 records of orders within 500ms");
    node.stop().await;
}

/// The status and the body of the answer.
#[expect(clippy::disallowed_types, reason = "a client from outside of the node")]
fn post(address: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    let head = "Host: gateway\r\nConnection: close";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.expect("a status"), body.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_posted_to_the_gateway_is_a_record_or_is_told_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let listen = free.clone();
    let builder = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let builder = builder.intercept::<Mask>("people", vec!["iban".to_owned()]);
    let node = builder.extension::<Gateway>("gateway", |node| (node.clone(), listen));
    let node = node.start().await.unwrap();
    let client = node.client().unwrap();
    for topic in ["greetings", "people"] {
        client.admin().create_topic(NewTopic::new(topic)).await.unwrap();
    }
    let deadline = client.world().mono() + SOON;
    while post(&free, "/", b"").is_err() {
        assert!(client.world().mono() < deadline, "nobody listens");
    }
    for offset in 0..3 {
        let answer = post(&free, "/topics/greetings", b"hello").unwrap();
        assert_eq!(answer, (200, format!(r#"{{"offset":{offset},"partition":0}}"#)));
    }
    assert_eq!(first(&client, "greetings").await, "hello");
    let (status, why) = post(&free, "/topics/people", b"no json").unwrap();
    assert!(status == 422 && why.contains("the value is no JSON"), "{status} {why}");
    assert_eq!(post(&free, "/topics/people", br#"{"iban":"DE02"}"#).unwrap().0, 200);
    assert_eq!(first(&client, "people").await, r#"{"iban":"***"}"#);
    assert_eq!(post(&free, "/elsewhere", b"hello").unwrap().0, 404);
    assert_eq!(of_kind(&node, "gateway").await[0].restarts, 0);
    node.stop().await;
}

/// Asked again where the worker that had it in hand, or was to have it, failed.
async fn divide(node: &Node, pair: &Address<PairMsg>, by: u32) -> (u32, String) {
    let deadline = node.world().mono() + SOON;
    loop {
        match pair.ask(LIMIT, |reply| PairMsg::Divide(by, reply)).await {
            Ok((quotient, path)) => {
                let name = path.rsplit_once('/').expect("a path").1;
                return (quotient, name.to_owned());
            }
            Err(AskError::Dropped) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(node.world().mono() < deadline, "nobody divides");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_worker_does_the_work_of_one_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start().await.unwrap();
    let pair = node.extend::<Pair>("pair", ()).await.unwrap();
    let fail = async || {
        let asked = pair.ask(LIMIT, |reply| PairMsg::Divide(0, reply)).await;
        assert_eq!(asked, Err(AskError::Dropped));
    };
    assert_eq!(divide(&node, &pair, 4).await, (25, "left".to_owned()));
    // The second failure of each takes it offline; it is back a second later.
    for (works, failures) in [("right", 1), ("left", 2), ("right", 3), ("left", 4)] {
        fail().await;
        let deadline = node.world().mono() + SOON;
        while divide(&node, &pair, 5).await != (20, works.to_owned()) {
            assert!(node.world().mono() < deadline, "{works} does not work");
        }
        loop {
            let workers = of_kind(&node, "worker").await;
            let up = workers.iter().all(|worker| worker.status == "running");
            if up && workers.iter().map(|worker| worker.restarts).sum::<u64>() == failures {
                break;
            }
            assert!(node.world().mono() < deadline, "{workers:?}");
        }
    }
    let [pair] = &of_kind(&node, "pair").await[..] else { panic!("one pair") };
    assert_eq!(pair.restarts, 0, "the failures of its workers are none of its own");
    node.stop().await;
}

#[test]
fn the_durable_actor_of_the_documentation_is_the_example() {
    let (text, example) =
        (include_str!("../../docs/EXTENDING.md"), include_str!("../../examples/visits.rs"));
    assert!(text.contains(&format!("```rust\n{example}```")));
}

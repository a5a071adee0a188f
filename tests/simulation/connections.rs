//! Clients that keep the node waiting: which of them it closes, when, and that others are served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::runtime::{Bulkhead, NetStream, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{ApiVersionsRequest, FetchRequest, Part, ProduceRequest, Request};

use crate::broker;
use crate::requests;
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const FETCH: i16 = 12;
const PRODUCE: i16 = 9;
/// `connections.max.idle.ms` in all of these.
const IDLE: Duration = Duration::from_secs(60);
/// How late the node may look, and how long things travel.
const SLACK: Duration = Duration::from_secs(6);

/// Runs a client beside a node with these settings, to the client's end.
fn with_node<F: Future<Output = ()> + Send + 'static>(
    set: &[(&'static str, &'static str)],
    client: impl Fn(World) -> F + Send + Sync + 'static,
) {
    let client = Arc::new(client);
    broker::beside(&[&[("connections.max.idle.ms", "60000")], set].concat(), move |world| {
        let client = client.clone();
        async move {
            create_topic(&world).await;
            client(world).await;
        }
    });
}

async fn create_topic(world: &World) {
    let request = requests::create_topic(TOPIC, 1, &[]);
    let response = WireClient::new(world, "admin").ask_until_answered(&request, 7).await;
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(Peer::connect(world).await.produce(10).await, Some(0));
}

fn produce_request(bytes: usize) -> ProduceRequest {
    requests::produce_one(TOPIC, 0, 1, None, &vec![7; bytes])
}

fn fetch_request(fetch_offset: i64, max_wait: Duration) -> FetchRequest {
    let partition_max_bytes = 2 << 20;
    let partition = FetchPartition { fetch_offset, partition_max_bytes, ..Default::default() };
    let partitions = vec![partition];
    FetchRequest {
        max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: 2 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: TOPIC.into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

/// One connection, on which anything is sent.
struct Peer {
    world: World,
    stream: NetStream,
}

impl Peer {
    async fn connect(world: &World) -> Peer {
        loop {
            if let Ok(stream) = world.net().connect(broker::NAME, broker::PORT).await {
                return Peer { world: world.clone(), stream };
            }
            world.sleep(BACKOFF).await;
        }
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the node reads");
    }

    async fn send<R: Request>(&mut self, request: &R, version: i16) {
        for part in wire::encode_request(request, version, 1, None).expect("a request") {
            let Part::Bytes(bytes) = part else { panic!("a request has no files") };
            self.send_bytes(&bytes).await;
        }
    }

    /// The next answer; none at the connection's end.
    async fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(wire::decode_response(Bytes::from(frame), version).expect("an answer").1)
    }

    async fn produce(&mut self, bytes: usize) -> Option<i16> {
        self.send(&produce_request(bytes), PRODUCE).await;
        let response = self.receive::<ProduceRequest>(PRODUCE).await?;
        Some(response.responses[0].partition_responses[0].error_code)
    }

    /// So much of a frame that is promised to be longer.
    async fn send_half_frame(&mut self, promised: i32, sent: usize) {
        self.send_bytes(&[&promised.to_be_bytes()[..], &vec![0; sent - 4]].concat()).await;
    }

    /// How long until the node has closed the connection.
    async fn until_closed(&mut self) -> Duration {
        let begun = self.world.mono();
        let mut bytes = vec![0; 1 << 16];
        while let Ok(1..) = self.stream.read(&mut bytes).await {}
        self.world.mono() - begun
    }
}

#[track_caller]
fn assert_after(took: Duration, limit: Duration) {
    assert!((limit..limit + SLACK).contains(&(took + BACKOFF)), "closed after {took:?}");
}

#[test]
fn a_connection_is_closed_when_it_was_idle_for_too_long_and_not_before() {
    with_node(&[], |world| async move {
        let (mut idle, mut busy) = (Peer::connect(&world).await, Peer::connect(&world).await);
        for _ in 0..5 {
            world.sleep(IDLE * 2 / 3).await;
            assert_eq!(busy.produce(10).await, Some(0));
        }
        assert_eq!(idle.until_closed().await, Duration::ZERO, "it was closed long ago");
        assert_after(busy.until_closed().await, IDLE);
        assert_after(Peer::connect(&world).await.until_closed().await, IDLE);
    });
}

/// As in Kafka's `Selector`: what counts is when the socket was last of use, whatever is owed.
#[test]
fn an_answer_that_is_owed_keeps_no_connection() {
    with_node(&[], |world| async move {
        for closed in [false, true] {
            let mut peer = Peer::connect(&world).await;
            peer.send(&fetch_request(1, Duration::MAX), FETCH).await;
            if closed {
                peer.stream.shutdown().await.expect("a half-closed connection");
            }
            assert_after(peer.until_closed().await, IDLE);
        }
    });
}

#[test]
fn who_has_sent_all_is_still_answered() {
    with_node(&[], |world| async move {
        let mut peer = Peer::connect(&world).await;
        peer.send(&fetch_request(1, IDLE / 2), FETCH).await;
        peer.stream.shutdown().await.expect("a half-closed connection");
        world.sleep(IDLE / 3).await;
        assert_eq!(Peer::connect(&world).await.produce(10).await, Some(0));
        let response = peer.receive::<FetchRequest>(FETCH).await.expect("an answer");
        let records = response.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|records| records.as_bytes().is_some_and(|b| !b.is_empty())));
        assert!(peer.until_closed().await < SLACK);
    });
}

#[test]
fn a_long_frame_that_does_not_go_on_is_given_up_after_30_seconds() {
    with_node(&[], |world| async move {
        for owed in [false, true] {
            let mut peer = Peer::connect(&world).await;
            if owed {
                peer.send(&fetch_request(99, Duration::MAX), FETCH).await;
                assert!(peer.receive::<FetchRequest>(FETCH).await.is_some(), "out of range");
                peer.send(&fetch_request(1, Duration::MAX), FETCH).await;
            }
            peer.send_half_frame(1 << 20, 200_000).await;
            assert_after(peer.until_closed().await, Duration::from_secs(30));
            let mut small = Peer::connect(&world).await;
            small.send_half_frame(1 << 20, 1000).await;
            assert_after(small.until_closed().await, IDLE);
        }
    });
}

/// Sends a byte now and then, as long as the node takes them.
async fn drip(mut peer: Peer) {
    while peer.stream.write_all(&[0]).await.is_ok() {
        peer.world.sleep(Duration::from_secs(9)).await;
    }
}

#[test]
fn frames_that_drip_do_not_keep_the_memory_that_others_wait_for() {
    let set = &[("queued.max.request.bytes", "2097152"), ("socket.request.max.bytes", "2097152")];
    with_node(set, |world| async move {
        let mut bystander = Peer::connect(&world).await;
        assert_eq!(bystander.produce(10_000).await, Some(0));
        // The last one goes beyond the budget.
        for sent in [900_000, 900_000, 300_000, 300_000] {
            let mut peer = Peer::connect(&world).await;
            peer.send_half_frame(2 << 20, sent).await;
            let _ = world.spawn(Bulkhead::Control, drip(peer));
        }
        for _ in 0..10 {
            let begun = world.mono();
            assert_eq!(bystander.produce(10_000).await, Some(0));
            let took = world.mono() - begun;
            assert!(took < Duration::from_secs(30), "answered after {took:?}");
            world.sleep(Duration::from_secs(2)).await;
        }
    });
}

#[test]
fn an_answer_is_written_while_the_request_behind_it_waits_for_memory() {
    let set = &[("queued.max.request.bytes", "2097152"), ("socket.request.max.bytes", "2097152")];
    with_node(set, |world| async move {
        let (mut waiting, mut writer) = (Peer::connect(&world).await, Peer::connect(&world).await);
        let mut hoarders = Vec::new();
        for sent in [900_000, 900_000, 300_000, 300_000] {
            let mut peer = Peer::connect(&world).await;
            peer.send_half_frame(2 << 20, sent).await;
            hoarders.push(peer);
        }
        waiting.send(&fetch_request(1, IDLE / 2), FETCH).await;
        waiting.send(&produce_request(3000), PRODUCE).await;
        world.sleep(Duration::from_secs(1)).await;
        let begun = world.mono();
        assert_eq!(writer.produce(10).await, Some(0), "small, and alone on its connection");
        assert!(waiting.receive::<FetchRequest>(FETCH).await.is_some());
        assert!(waiting.receive::<ProduceRequest>(PRODUCE).await.is_some());
        let took = world.mono() - begun;
        assert!(took < Duration::from_secs(2), "answered after {took:?}");
        drop(hoarders);
    });
}

#[test]
fn who_reads_slowly_is_served_and_who_does_not_read_is_closed() {
    with_node(&[("message.max.bytes", "2000000")], |world| async move {
        assert_eq!(Peer::connect(&world).await.produce(900_000).await, Some(0));
        let (mut slow, mut deaf) = (Peer::connect(&world).await, Peer::connect(&world).await);
        for peer in [&mut slow, &mut deaf] {
            peer.send(&fetch_request(1, Duration::ZERO), FETCH).await;
        }
        let mut left = slow.stream.read_u32().await.expect("an answer's length") as usize;
        assert!(left > 900_000);
        while left > 0 {
            world.sleep(IDLE / 2).await;
            let mut bytes = vec![0; left.min(100_000)];
            slow.stream.read_exact(&mut bytes).await.expect("more of the answer");
            left -= bytes.len();
        }
        slow.send(&ApiVersionsRequest::default(), 0).await;
        assert!(slow.receive::<ApiVersionsRequest>(0).await.is_some(), "it goes on");
        assert_eq!(deaf.until_closed().await, Duration::ZERO, "closed, with an answer unread");
    });
}

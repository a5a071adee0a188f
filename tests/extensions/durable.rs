//! Durable actors on real nodes: journaled, found from everywhere, and back wherever their partitions are led.

use std::net::TcpListener;
use std::path::Path;

use model::ErrorCode;
use ottla::client::{
    Client, ClientConfig, Connection, NewTopic, ProducerConfig, ProducerRecord, partition_for_key,
};
use ottla::durable::{At, Decision, Durable, DurableError, DurableRef, DurableTopic};
use ottla::runtime::ActorTree;
use ottla::{Node, StartError};
use wire::create_partitions_request::CreatePartitionsTopic;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::{ApiKey, AskDurableRequest, CreatePartitionsRequest, IncrementalAlterConfigsRequest};

use crate::LIMIT;
use crate::counter::{Add, Counter, cluster};

const TOPIC: &str = "counters";

fn on() -> DurableTopic {
    DurableTopic { partitions: 3, snapshot_every: 5 }
}

async fn quick(dir: &Path) -> Node {
    let builder = Node::builder().quick(dir, "127.0.0.1:0", &[]);
    builder.durable_on(TOPIC, on(), Counter).start().await.expect("a node")
}

/// Of one node's tree, the actors of this kind.
pub(crate) async fn of_kind(node: &Node, kind: &str) -> Vec<ActorTree> {
    fn below(actor: ActorTree, kind: &str, found: &mut Vec<ActorTree>) {
        if actor.kind == kind {
            found.push(actor.clone());
        }
        actor.children.into_iter().for_each(|child| below(child, kind, found));
    }
    let mut found = Vec::new();
    node.tree().await.into_iter().for_each(|actor| below(actor, kind, &mut found));
    found
}

async fn count(counters: &DurableRef<Counter>, keys: std::ops::Range<u64>) {
    for key in keys {
        counters.ask(&format!("key-{key}"), Add(key)).await.expect("an answer");
    }
}

async fn totals(counters: &DurableRef<Counter>, keys: std::ops::Range<u64>, times: u64) {
    for key in keys {
        let total = counters.ask(&format!("key-{key}"), Add(0)).await.expect("an answer");
        assert_eq!(total, key * times, "key-{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let node = quick(dir.path()).await;
        let counters = node.durable::<Counter>(TOPIC).unwrap();
        for _ in 0..4 {
            count(&counters, 0..20).await;
        }
        totals(&counters, 0..20, 4 * round).await;
        let shards = of_kind(&node, "durable").await;
        let names: Vec<_> = shards.iter().map(|shard| &*shard.name).collect();
        assert_eq!(names, ["counters-0", "counters-1", "counters-2"]);
        let told =
            |shard: &ActorTree| shard.state.contains("keys") && shard.state.contains("replayed");
        assert!(shards.iter().all(told), "{shards:?}");
        match round {
            1 => drop(node.stop().await),
            _ => node.kill(),
        }
        drop(counters);
        node.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_is_made_to_fit_and_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let node = quick(dir.path()).await;
    let client = node.client().unwrap();
    // Also where the first to ask for it is a client of Kafka's.
    let producer = client.producer(ProducerConfig::default());
    let refused = producer.send(ProducerRecord::to(TOPIC).key("a").value("b")).await.await;
    assert!(refused.unwrap_err().to_string().contains("INVALID_TOPIC_EXCEPTION"));
    assert_eq!(client.topic(TOPIC).await.unwrap().partitions.len(), 3);
    let configs = client.admin().topic_configs(TOPIC).await.unwrap();
    assert_eq!(configs["cleanup.policy"].value.as_deref(), Some("compact"));
    // A client that is part of no node asks as well.
    let counters = client.durable::<Counter>(TOPIC);
    assert_eq!(counters.ask("a", Add(2)).await.unwrap(), 2);
    assert_eq!(node.durable::<Counter>(TOPIC).unwrap().ask("a", Add(2)).await.unwrap(), 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_the_journal_or_move_its_keys_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = quick(dir.path()).await;
    let counters = node.durable::<Counter>(TOPIC).unwrap();
    assert_eq!(counters.ask("a", Add(1)).await.unwrap(), 1);
    let config = ClientConfig::default();
    let (host, port) = ("127.0.0.1", node.bootstrap().port());
    let connection = Connection::open(node.world(), host, port, &config).await.unwrap();
    let grown = CreatePartitionsTopic { name: TOPIC.to_owned(), count: 9, ..Default::default() };
    let request =
        CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, ..Default::default() };
    let answer = connection.request(&request, LIMIT).await.unwrap();
    assert_eq!(answer.results[0].error_code, ErrorCode::InvalidTopicException.code());
    for (name, operation, value, allowed) in [
        ("cleanup.policy", 0, Some("delete"), false),
        ("cleanup.policy", 2, Some("delete"), false),
        ("cleanup.policy", 1, None, false),
        ("min.compaction.lag.ms", 0, Some("0"), false),
        ("cleanup.policy", 0, Some("compact"), true),
        ("max.message.bytes", 0, Some("2000000"), true),
    ] {
        let altered = AlterableConfig {
            name: name.to_owned(),
            config_operation: operation,
            value: value.map(str::to_owned),
            ..Default::default()
        };
        let (resource_type, resource_name, configs) = (2, TOPIC.to_owned(), vec![altered]);
        let resource =
            AlterConfigsResource { resource_type, resource_name, configs, ..Default::default() };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = connection.request(&request, LIMIT).await.unwrap();
        let code = answer.responses[0].error_code;
        assert_eq!(code == 0, allowed, "{name} {operation} {value:?}: {code}");
    }
    assert_eq!(counters.ask("a", Add(1)).await.unwrap(), 2);
    node.stop().await;
}

/// What no client of ours sends is refused where it concerns nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_any_kind_are_refused_and_nobody_is_told_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let node = quick(dir.path()).await;
    let counters = node.durable::<Counter>(TOPIC).unwrap();
    let config = ClientConfig::default();
    let (host, port) = ("127.0.0.1", node.bootstrap().port());
    let connection = Connection::open(node.world(), host, port, &config).await.unwrap();
    assert_eq!(connection.versions(ApiKey::AskDurable), None);
    assert!(connection.versions(ApiKey::Produce).is_some());
    assert_eq!(counters.ask("a", Add(1)).await.unwrap(), 1);
    let partition_index = partition_for_key(b"a", 3);
    let good = AskDurableRequest {
        topic: TOPIC.to_owned(),
        partition_index,
        key: "a".to_owned(),
        timeout_ms: 10_000,
        actor_version: 1,
        command: vec![1].into(),
        ..Default::default()
    };
    let with = |change: fn(&mut AskDurableRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, code) in [
        (with(|r| r.command = vec![0xff; 3].into()), ErrorCode::InvalidRequest),
        (with(|r| r.command = vec![1, 1].into()), ErrorCode::InvalidRequest),
        (with(|r| r.command = vec![1; (1 << 20) + 1].into()), ErrorCode::MessageTooLarge),
        (with(|r| r.key = "k".repeat(2000)), ErrorCode::InvalidRequest),
        (with(|r| r.partition_index = -1), ErrorCode::LeaderNotAvailable),
        (with(|r| r.partition_index = 99), ErrorCode::NotLeaderOrFollower),
        (with(|r| r.partition_index = (r.partition_index + 1) % 3), ErrorCode::InvalidRequest),
        (with(|r| r.topic = "__consumer_offsets".into()), ErrorCode::InvalidTopicException),
        (with(|r| r.actor_version = -1), ErrorCode::UnsupportedVersion),
    ] {
        let answer = connection.request(&request, LIMIT).await.unwrap();
        assert_eq!(ErrorCode::from_code(answer.error_code), code, "{:?}", answer.error_message);
    }
    for _ in 0..3 {
        let answer = connection.request(&good, LIMIT).await.unwrap();
        assert_eq!((answer.error_code, answer.reply), (0, Some(vec![2].into())));
    }
    assert_eq!(counters.ask("a", Add(1)).await.unwrap(), 3);
    node.stop().await;
}

/// Of another version.
struct Newer;

impl Durable for Newer {
    type Command = Add;
    type Event = ();
    type State = ();
    type Reply = ();
    const VERSION: u32 = 2;

    fn decide(&self, _: At<'_>, (): &(), _: Add) -> Decision<Self> {
        Decision::none().reply(())
    }

    fn replay(&self, (): &mut (), (): &()) {}
}

fn refused(error: DurableError) -> String {
    match error {
        DurableError::Refused(refused) => refused.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_answered_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let node = quick(dir.path()).await;
    let client = node.client().unwrap();
    let admin = client.admin();
    for topic in [TOPIC, "plain"] {
        admin.create_topic(NewTopic::new(topic).partitions(3)).await.unwrap();
    }
    let unregistered = client.durable::<Counter>("plain").ask("a", Add(1)).await.unwrap_err();
    assert!(refused(unregistered).contains("no durable actor is registered for plain"));
    let newer = client.durable::<Newer>(TOPIC).ask("a", Add(1)).await.unwrap_err();
    assert!(refused(newer).contains("version 2 of the durable actor; version 1 is registered"));
    // Somebody made the topic, and not so that it keeps a journal.
    let unfit = client.durable::<Counter>(TOPIC).ask("a", Add(1)).await.unwrap_err();
    assert!(refused(unfit).contains("cleanup.policy must be compact"));
    let shards = of_kind(&node, "durable").await;
    let why = shards.iter().filter_map(|shard| shard.last_failure.as_ref());
    assert!(why.clone().any(|why| why.contains("cleanup.policy")), "{shards:?}");
    node.stop().await;
}

#[tokio::test]
async fn topics_that_cannot_have_a_durable_actor_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let quick = || Node::builder().quick(dir.path(), "127.0.0.1:0", &[]);
    let none = DurableTopic { partitions: 0, ..on() };
    let never = DurableTopic { snapshot_every: DurableTopic::MOST_DECISIONS + 1, ..on() };
    for builder in [
        quick().durable("a b", Counter),
        quick().durable("__consumer_offsets", Counter),
        quick().durable("twice", Counter).durable("twice", Counter),
        quick().durable_on("empty", none, Counter),
        quick().durable_on("endless", never, Counter),
    ] {
        let error = builder.start().await.map(|_| ()).unwrap_err();
        assert!(matches!(error, StartError::Durable { .. }), "{error}");
    }
}

pub(crate) fn free_ports() -> [u16; 6] {
    let bound = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    bound.map(|listener| listener.local_addr().expect("its address").port())
}

struct Three {
    file: std::path::PathBuf,
    nodes: Vec<Option<Node>>,
    _dir: tempfile::TempDir,
}

impl Three {
    async fn start() -> Three {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("cluster.toml");
        std::fs::write(&file, cluster(dir.path(), free_ports())).expect("a file");
        let mut three = Three { file, nodes: Vec::new(), _dir: dir };
        let (one, two, other) = tokio::join!(three.serve(1), three.serve(2), three.serve(3));
        three.nodes = vec![Some(one), Some(two), Some(other)];
        three
    }

    async fn serve(&self, id: i32) -> Node {
        let builder = Node::builder().config(&self.file, id);
        builder.durable_on(TOPIC, on(), Counter).start().await.expect("a node")
    }

    fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("it is up")
    }
}

async fn owner(client: &Client, partition: i32) -> usize {
    loop {
        let topic = client.topic(TOPIC).await.expect("a topic");
        if let Some(leader) = topic.leader(partition) {
            return usize::try_from(leader - 1).expect("an index");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_and_client_finds_the_owners_also_when_they_die_and_each_command_counts_once() {
    const ADDS: u64 = 300;
    let mut three = Box::pin(Three::start()).await;
    let askers = [0, 1, 2].map(|index| three.node(index).durable::<Counter>(TOPIC).unwrap());
    for (index, counters) in askers.iter().enumerate() {
        count(counters, 0..20).await;
        totals(counters, 0..20, index as u64 + 1).await;
    }
    // While one asks, the owner of the key dies again and again.
    let client = three.node(0).client().unwrap();
    let counters = client.durable::<Counter>(TOPIC);
    let (sender, mut counted) = tokio::sync::mpsc::unbounded_channel();
    let asking = async {
        for n in 1..=ADDS {
            assert_eq!(counters.ask("hot", Add(1)).await.unwrap(), n);
            sender.send(n).unwrap();
        }
        drop(sender);
    };
    let killing = async {
        let partition = partition_for_key(b"hot", 3);
        for kills in 1..=2 {
            while counted.recv().await.is_some_and(|n| n < kills * ADDS / 4) {}
            let victim = owner(&client, partition).await;
            // The first node is the client's.
            let victim = if victim == 0 { 1 } else { victim };
            let node = three.nodes[victim].take().unwrap();
            node.kill();
            node.ended().await;
            drop(node);
            while counted.recv().await.is_some_and(|n| n < kills * ADDS / 4 + ADDS / 8) {}
            three.nodes[victim] = Some(three.serve(victim as i32 + 1).await);
        }
        while counted.recv().await.is_some() {}
    };
    let both = Box::pin(async { tokio::join!(asking, killing) });
    tokio::time::timeout(LIMIT * 3, both).await.unwrap();
    totals(&three.node(2).durable::<Counter>(TOPIC).unwrap(), 0..20, 3).await;
    for node in three.nodes.into_iter().flatten() {
        node.kill();
    }
}

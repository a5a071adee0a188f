//! Interceptors and users' actors within nodes: one that is too slow, and all of them in a cluster under a seed, where nodes die and
//! leadership moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::ErrorCode;
use ottla::client::{
    Appended, Client, ClientConfig, Connection, ConsumerConfig, NewTopic, ProducerConfig,
    ProducerRecord, Reset, Start, TopicPartition,
};
use ottla::runtime::{Actor, ActorTree, Cx, Failure, Fault, Outcome, messages};
use ottla::sim::{
    Cluster, FaultPlan, Life, SimFault, SimOptions, Simulation, TraceLog, check_replay,
};
use ottla::{Intercepted, Interceptor, Node, NodeHandle, On, Verdict, Way};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{FetchRequest, ProduceRequest};

use crate::broker::{NAME, PORT};
use crate::requests::produce_one;
use crate::seeds::number;

/// Of virtual time.
const LIMIT: Duration = Duration::from_secs(300);
/// How long an interceptor is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(1);

/// Marks what is produced, and only looks at what is fetched.
struct Stamp;

impl Interceptor for Stamp {
    const ON: On = On::Both;
    type Args = ();

    fn start((): ()) -> Result<Self, Failure> {
        Ok(Stamp)
    }

    fn record(&mut self, way: &Way, record: &mut Intercepted) -> Verdict {
        if way.on == On::Produce {
            let value = record.value.take().unwrap_or_default();
            record.value = Some([b"stamped ", &value[..]].concat().into());
        }
        Verdict::Pass
    }
}

fn value(n: usize) -> ProducerRecord {
    ProducerRecord::to("slow").partition(0).value(format!("{n}"))
}

/// Everything that a topic's partition has, by offset.
pub async fn read(client: &Client, topic: &str, partition: i32) -> BTreeMap<i64, String> {
    let at = TopicPartition { topic: topic.to_owned(), partition };
    let mut consumer = client.consumer(ConsumerConfig::default());
    let end = consumer.offset_of(&at, Reset::Latest).await.expect("an end");
    consumer.assign(at.clone(), Start::Earliest);
    let mut found = BTreeMap::new();
    while consumer.position(&at).is_none_or(|next| next < end) {
        for polled in consumer.poll(SLACK).await.expect("records") {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let records = polled.records.iter();
            found.extend(records.map(|r| (r.offset, text(r.value.as_deref().unwrap_or_default()))));
        }
    }
    found
}

fn fetch(topic: &str) -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    FetchRequest { topics: vec![topic], max_bytes: 1 << 20, min_bytes: 1, ..Default::default() }
}

/// The only extension of the only node.
fn interceptor(life: &Life) -> ActorTree {
    let mut tree = life.world.registry().tree();
    let mut branches = tree.swap_remove(0).children.into_iter();
    let extensions = branches.find(|branch| branch.name == "extensions");
    extensions.expect("a branch").children.swap_remove(0)
}

async fn slowly(life: Life, done: Arc<AtomicBool>) {
    let builder = Node::builder_in(life.world.clone());
    let builder = builder.quick("/data", &format!("{NAME}:{PORT}"), &[]);
    let node = builder.intercept::<Stamp>("slow", ()).start().await.expect("it serves");
    let (client, world) = (node.client().expect("a client"), &life.world);
    for topic in ["quick", "slow"] {
        client.admin().create_topic(NewTopic::new(topic).partitions(2)).await.expect(topic);
    }
    let producer = client.producer(ProducerConfig::default());
    producer.send(value(0)).await.await.expect("written");

    let path = interceptor(&life).path;
    let befall = |fault| world.registry().fault(&path, fault).expect("it is there");
    befall(Fault::Pause { for_ms: 120_000 });
    let deliveries: Vec<_> = (1..=20).map(|n| producer.enqueue(value(n))).collect();

    // Of one request, both partitions together: what has no interceptor is written.
    let connection = Connection::open(world, NAME, PORT, &ClientConfig::default()).await;
    let connection = connection.expect("a connection");
    let mut request = produce_one("slow", 0, 1, None, b"lost");
    request.topic_data.extend(produce_one("slow", 1, 1, None, b"lost").topic_data);
    request.topic_data.extend(produce_one("quick", 0, 1, None, b"kept").topic_data);
    let ask = async |request: &ProduceRequest| {
        let begun = world.mono();
        let answer = connection.request_in(request, 12, LIMIT).await.expect("an answer");
        let topics = answer.responses.iter();
        let codes = topics.flat_map(|t| t.partition_responses.iter().map(|p| p.error_code));
        (world.mono() - begun, codes.collect::<Vec<_>>())
    };
    let away = ErrorCode::NotLeaderOrFollower.code();
    // Who comes behind on the same connection waits for the first of them, and no longer.
    let quick = produce_one("quick", 0, 1, None, b"behind");
    let (first, second, third, behind) =
        tokio::join!(ask(&request), ask(&request), ask(&request), ask(&quick));
    for (took, codes) in [first, second, third] {
        assert!((PATIENCE..PATIENCE + SLACK).contains(&took), "{took:?}");
        assert_eq!(codes, [0, away, away]);
    }
    assert!(behind.0 < PATIENCE + SLACK && behind.1 == [0], "{behind:?}");
    let (begun, mut waited) = (world.mono(), Duration::ZERO);
    while world.mono() - begun < PATIENCE * 4 {
        let (took, codes) = ask(&request).await;
        assert!(took < PATIENCE + SLACK && codes == [0, away, away], "{took:?}: {codes:?}");
        waited += took;
        world.sleep(SLACK).await;
    }
    assert!(waited < PATIENCE * 2 + SLACK * 3, "not more than half of the time: {waited:?}");
    let begun = world.mono();
    let answer = connection.request_in(&fetch("slow"), 12, LIMIT).await.expect("an answer");
    assert!(world.mono() - begun < PATIENCE + SLACK);
    assert_eq!(answer.responses[0].partitions[0].error_code, away);
    let begun = world.mono();
    let quick = ProducerRecord::to("quick").value("quick");
    client.producer(ProducerConfig::default()).send(quick).await.await.expect("written");
    assert!(world.mono() - begun < SLACK, "who does without is served meanwhile");
    // What nobody waits for any more does not heap up before it.
    let depth = interceptor(&life).mailbox_depth;
    assert!((1..=2).contains(&depth), "{depth}");

    befall(Fault::Resume);
    for delivery in deliveries {
        delivery.await.expect("written in the end");
    }
    let written: Vec<_> = read(&client, "slow", 0).await.into_values().collect();
    let expected: Vec<_> = (0..=20).map(|n| format!("stamped {n}")).collect();
    assert_eq!(written, expected, "each once, and nothing that was refused");
    assert!(read(&client, "slow", 1).await.is_empty());
    done.store(true, Ordering::Relaxed);
}

#[test]
fn one_that_is_too_slow_costs_its_topic_and_its_clients_try_again() {
    let mut simulation = Simulation::new(SimOptions::seed(31));
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    simulation.add_node(NAME, move |life| slowly(life, told.clone()));
    assert!(simulation.run_until(LIMIT, || done.load(Ordering::Relaxed)), "it came to its end");
}

const PARTITIONS: i32 = 3;
const RECORDS: usize = 30;
const TROUBLE: Duration = Duration::from_secs(20);
/// By then all are back.
const QUIET: Duration = Duration::from_secs(60);
const FAULTS: usize = 10;
const NODES: i32 = 3;

/// What actors within nodes were told.
#[derive(Default)]
struct Told {
    begun: usize,
    acknowledged: Vec<(String, i32, Option<i64>)>,
    /// Who has written all that it had to.
    done: BTreeSet<i32>,
    /// By node: the first partition, as its appends were told.
    appended: BTreeMap<i32, BTreeMap<i64, String>>,
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct Tells(Arc<Mutex<Told>>);

impl Tells {
    fn now(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("nobody panics with it")
    }
}

/// In each node: writes to all partitions, and is told of the first.
struct Relay {
    node: i32,
    tells: Tells,
}

enum RelayMsg {
    Appended(Appended),
}

messages!(RelayMsg { Appended });

impl Actor for Relay {
    const KIND: &'static str = "relay";
    type Msg = RelayMsg;
    type Args = (NodeHandle, Tells);

    async fn start(cx: &mut Cx<Self>, (node, tells): Self::Args) -> Result<Self, Failure> {
        let first = TopicPartition { topic: "orders".to_owned(), partition: 0 };
        node.subscribe(cx, first, Start::Earliest, RelayMsg::Appended);
        let (id, told) = (node.node_id(), tells.clone());
        cx.spawn_task(async move { write(&node, &told).await });
        Ok(Relay { node: id, tells })
    }

    async fn handle(&mut self, _: &mut Cx<Self>, msg: RelayMsg) -> Outcome {
        let RelayMsg::Appended(Appended::Records(fed)) = msg else { return Ok(()) };
        let told = &mut *self.tells.now();
        let log = told.appended.entry(self.node).or_default();
        for record in &fed.records {
            let value = record.value.as_deref().unwrap_or_default();
            let value = String::from_utf8_lossy(value).into_owned();
            if log.insert(record.offset, value.clone()).is_some_and(|before| before != value) {
                told.wrong.push(format!("another {} at {}", value, record.offset));
            }
        }
        Ok(())
    }
}

async fn write(node: &NodeHandle, tells: &Tells) {
    let orders = || NewTopic::new("orders").partitions(PARTITIONS).replication_factor(3);
    while node.admin().create_topic(orders()).await.is_err() && node.topic("orders").await.is_err()
    {
    }
    let begun = {
        let mut told = tells.now();
        told.done.remove(&node.node_id());
        told.begun += 1;
        told.begun
    };
    let producer = node.producer(ProducerConfig::default());
    for n in 0..RECORDS {
        let (value, partition) = (format!("{begun}-{n}"), n as i32 % PARTITIONS);
        let record = ProducerRecord::to("orders").partition(partition).value(value.clone());
        // One that is not acknowledged may be there or not.
        if let Ok(at) = producer.send(record).await.await {
            tells.now().acknowledged.push((value, at.partition, at.offset));
        }
        node.world().sleep(Duration::from_millis(300)).await;
    }
    tells.now().done.insert(node.node_id());
}

/// What is wrong, in the end.
async fn judge(life: Life, tells: Tells, judged: Arc<Mutex<Option<Vec<String>>>>) {
    let client = Client::new(&life.world, ["n1:9092", "n2:9092", "n3:9092"]).expect("addresses");
    life.world.sleep(QUIET).await;
    while tells.now().done.len() < NODES as usize {
        life.world.sleep(SLACK).await;
    }
    let mut logs = Vec::new();
    for partition in 0..PARTITIONS {
        logs.push(read(&client, "orders", partition).await);
    }
    // The appends are told to all.
    for node in 1..=NODES {
        while tells.now().appended.get(&node).is_none_or(|log| log.len() < logs[0].len()) {
            life.world.sleep(SLACK).await;
        }
    }
    let told = tells.now();
    let mut wrong = told.wrong.clone();
    let logs_of_all = told.appended.values().filter(|log| **log != logs[0]);
    wrong.extend(logs_of_all.map(|log| format!("told of {log:?}, the log is {:?}", logs[0])));
    for (value, partition, offset) in &told.acknowledged {
        let stamped = format!("stamped {value}");
        let log = &logs[*partition as usize];
        let at: Vec<i64> = log.iter().filter(|(_, v)| **v == stamped).map(|(at, _)| *at).collect();
        if at.len() != 1 || offset.is_some_and(|offset| at[0] != offset) {
            wrong.push(format!("{value}: told {offset:?}, found at {at:?}"));
        }
    }
    let all = logs.iter().flat_map(BTreeMap::values);
    let once = |value: &&String| value.matches("stamped ").count() != 1;
    wrong.extend(all.filter(once).map(|value| format!("in a log: {value}")));
    *judged.lock().expect("nobody panics with it") = Some(wrong);
}

fn run(seed: u64, keep_lines: bool) -> (Option<Vec<String>>, TraceLog) {
    let options = SimOptions { keep_lines, ..SimOptions::seed(seed) };
    let node = |id| {
        format!(
            "[[node]]\nid = {id}\nlisten = \"n{id}:9092\"\ncontroller = \"n{id}:9093\"\ndata = \"/data\"\n"
        )
    };
    let file = "[settings]\n\"min.insync.replicas\" = 2\n\"auto.create.topics.enable\" = false\n"
        .to_owned()
        + &(1..=NODES).map(node).collect::<String>();
    let tells = Tells::default();
    let told = tells.clone();
    let cluster = Cluster::built(options, &file, move |builder| {
        let told = told.clone();
        let builder = builder.intercept::<Stamp>("orders", ());
        builder.extension::<Relay>("relay", move |node| (node.clone(), told))
    });
    let mut cluster = cluster.expect("a cluster's file");
    let judged = Arc::<Mutex<Option<Vec<String>>>>::default();
    let found = judged.clone();
    cluster.world.add_node("judge", move |life| judge(life, tells.clone(), found.clone()));
    cluster.run_for(Duration::from_secs(3));
    let nodes: Vec<_> = cluster.members().into_iter().map(|(_, index)| index).collect();
    let mut plan = FaultPlan::draw(seed, &nodes, TROUBLE, FAULTS);
    // Records are not synced, so that no machine may lose its power.
    for (_, fault) in &mut plan.0 {
        if let SimFault::PowerLoss { node, down } = *fault {
            *fault = SimFault::Kill { node, down };
        }
    }
    cluster.world.plan(&plan.with_panics(seed, &nodes, "extensions/", TROUBLE, 3));
    cluster.run_until(LIMIT, |_| judged.lock().is_ok_and(|judged| judged.is_some()));
    (judged.lock().expect("nobody panics with it").take(), cluster.finish())
}

/// `OTTLA_SEEDS` is how many; `OTTLA_SEED` is one of them alone.
#[test]
fn records_pass_each_interceptor_once_and_are_told_to_all_whatever_dies() {
    let seeds = number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(6), |s| s..s + 1);
    let judged = seeds.map(|seed| (seed, run(seed, false).0));
    let wrong: Vec<_> = judged.filter(|(_, found)| *found != Some(Vec::new())).collect();
    assert!(wrong.is_empty(), "seeds, and what was wrong in the end: {wrong:?}");
}

#[test]
fn a_seed_that_runs_again_runs_alike() {
    check_replay(2, |seed, keep_lines| run(seed, keep_lines).1).expect("equal traces");
}

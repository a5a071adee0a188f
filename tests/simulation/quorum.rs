//! Three nodes and a broker that only observes, under faults of all kinds: a topic whose creation was acknowledged is there on every
//! node, with the one id, for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Uuid;
use ottla::Node;
use ottla::client::{Client, ClientConfig, Connection, NewTopic};
use ottla::runtime::sim::{
    Life, NodeIndex, SimFault, SimOptions, Simulation, TraceLog, check_replay,
};
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::{PartitionData as Described, ReplicaState};
use wire::{DescribeQuorumRequest, MetadataRequest};

use crate::faults::stream;

pub const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const TROUBLE: Duration = Duration::from_secs(30);
const RECOVERY: Duration = Duration::from_secs(60);
/// Whoever starts processes anew takes this long.
const RESTART: Duration = Duration::from_millis(200);
pub const LIMIT: Duration = Duration::from_secs(2);

fn cluster() -> String {
    let nodes = NODES.iter().enumerate().map(|(index, name)| {
        let id = index + 1;
        let rest = match *name {
            "n4" => "roles = [\"broker\"]".to_owned(),
            _ => format!("controller = \"{name}:9093\""),
        };
        format!("[[node]]\nid = {id}\nlisten = \"{name}:9092\"\ndata = \"/data\"\n{rest}\n")
    });
    // Snapshots are made and fetched within the run.
    let settings = "[settings]\n\"metadata.log.max.record.bytes.between.snapshots\" = 3000\n\
        \"metadata.max.retention.bytes\" = 4000\n\"internal.metadata.log.segment.bytes\" = 2000\n\
        \"internal.metadata.delete.delay.millis\" = 1000\n";
    settings.to_owned() + &nodes.collect::<String>()
}

pub async fn serve(life: Life, index: usize, ended: Arc<AtomicBool>) {
    serve_at(life, index, NODES[index], ended).await;
}

/// The same node on a machine of this name.
pub async fn serve_at(life: Life, index: usize, name: &str, ended: Arc<AtomicBool>) {
    let id = index as i32 + 1;
    let text = cluster().replace(NODES[index], name);
    let configs = ottla::config::from_cluster("cluster.toml", &text, Some(id), &[], "machine");
    let config = configs.expect("a configuration").pop().expect("one node");
    match Node::builder_in(life.world.clone()).node_config(config).start().await {
        Ok(node) => {
            life.trace.note(format_args!("serves"));
            let exit = node.ended().await;
            life.trace.note(format_args!("ended: {exit:?}"));
        }
        Err(error) => life.trace.note(format_args!("cannot start: {error}")),
    }
    ended.store(true, Ordering::Relaxed);
}

#[derive(Default)]
struct Story {
    /// What was acknowledged.
    created: Mutex<BTreeMap<String, Uuid>>,
    calm: AtomicBool,
    done: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Story {
    fn created(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Uuid>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn client(life: Life, story: Arc<Story>) {
    let config = ClientConfig {
        request_timeout: LIMIT,
        operation_timeout: LIMIT,
        connect_timeout: LIMIT,
        ..ClientConfig::default()
    };
    let bootstrap = NODES.map(|name| format!("{name}:9092"));
    let client = Client::with_config(&life.world, bootstrap, config.clone()).expect("addresses");
    let admin = client.admin();
    for number in 0.. {
        let name = format!("t{number}");
        let topic = NewTopic::new(name.clone()).partitions(1).replication_factor(1);
        match admin.create_topic(topic).await {
            Ok(topic) => {
                life.trace.note(format_args!("{name} is {}", topic.id));
                story.created().insert(name, topic.id);
            }
            Err(error) => life.trace.note(format_args!("{name}: {error}")),
        }
        if story.calm.load(Ordering::Relaxed) {
            break;
        }
        life.world.sleep(Duration::from_millis(100)).await;
    }
    let expected = story.created().clone();
    for name in NODES {
        while !knows_all(&life, name, &config, &expected, &story).await {
            life.world.sleep(Duration::from_millis(100)).await;
        }
        life.trace.note(format_args!("{name} knows all {}", expected.len()));
    }
    while !describes_all(&life, &config).await {
        life.world.sleep(Duration::from_millis(100)).await;
    }
    story.done.store(true, Ordering::Relaxed);
}

/// What the broker that does not vote says of the quorum.
pub async fn describe(life: &Life, config: &ClientConfig) -> Option<Described> {
    let connection = Connection::open(&life.world, "n4", 9092, config).await.ok()?;
    let partition = PartitionData::default();
    let topic_name = "__cluster_metadata".to_owned();
    let topics = vec![TopicData { topic_name, partitions: vec![partition], ..Default::default() }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    let answer = connection.request(&request, LIMIT).await.ok()?;
    answer.topics.into_iter().flat_map(|t| t.partitions).next().filter(|p| p.error_code == 0)
}

/// Also how far the voters and that broker itself are.
async fn describes_all(life: &Life, config: &ClientConfig) -> bool {
    let Some(partition) = describe(life, config).await else { return false };
    let ids = |states: &[ReplicaState]| states.iter().map(|s| s.replica_id).collect::<Vec<_>>();
    let committed = partition.high_watermark;
    (1..=3).contains(&partition.leader_id)
        && ids(&partition.current_voters) == [1, 2, 3]
        && ids(&partition.observers) == [4]
        && partition.current_voters.iter().filter(|s| s.log_end_offset >= committed).count() >= 2
}

async fn knows_all(
    life: &Life,
    name: &str,
    config: &ClientConfig,
    expected: &BTreeMap<String, Uuid>,
    story: &Story,
) -> bool {
    let Ok(connection) = Connection::open(&life.world, name, 9092, config).await else {
        return false;
    };
    let all = MetadataRequest { topics: None, ..Default::default() };
    let Ok(answer) = connection.request(&all, LIMIT).await else { return false };
    let found: BTreeMap<_, _> =
        answer.topics.into_iter().map(|t| (t.name.unwrap_or_default(), t.topic_id)).collect();
    let other = |(name, id): &(&String, &Uuid)| found.get(*name).is_some_and(|known| known != *id);
    if let Some((topic, id)) = expected.iter().find(other) {
        let what = format!("{topic} is {id}, and {:?} on {name}", found.get(topic));
        story.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
    expected.keys().all(|topic| found.contains_key(topic))
}

fn trouble(seed: u64) -> Vec<(Duration, SimFault)> {
    let mut random = stream(seed, 11);
    let mut plan = Vec::new();
    let mut at = Duration::from_secs(3);
    while at < TROUBLE {
        let node = NodeIndex(random.below(NODES.len() as u64) as usize);
        let other = NodeIndex(random.below(NODES.len() as u64) as usize);
        let lasting = Duration::from_millis(1 + random.below(6000));
        plan.push((
            at,
            match random.below(6) {
                0 | 1 => SimFault::Kill { node, down: lasting },
                2 => SimFault::PowerLoss { node, down: lasting },
                3 => SimFault::Pause { node, lasting },
                4 => SimFault::Reset { one: node, other },
                _ => SimFault::Partition { from: node, to: other, lasting },
            },
        ));
        at += Duration::from_millis(500 + random.below(4000));
    }
    plan
}

struct Judged {
    log: TraceLog,
    wrong: Vec<String>,
    created: usize,
}

fn run(seed: u64, keep_lines: bool) -> Judged {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let flags: Vec<Arc<AtomicBool>> = NODES.iter().map(|_| Arc::default()).collect();
    for (index, name) in NODES.iter().enumerate() {
        let flag = flags[index].clone();
        world.add_node(name, move |life| serve(life, index, flag.clone()));
    }
    let story = Arc::<Story>::default();
    let told = story.clone();
    world.add_node("client", move |life| client(life, told.clone()));
    let mut plan = trouble(seed).into_iter().peekable();
    while world.now() < TROUBLE + RECOVERY && !story.done.load(Ordering::Relaxed) {
        while let Some((_, fault)) = plan.next_if(|(at, _)| *at <= world.now()) {
            world.inject(fault);
        }
        for (index, flag) in flags.iter().enumerate() {
            if flag.swap(false, Ordering::Relaxed) && world.is_up(NodeIndex(index)) {
                world.inject(SimFault::Kill { node: NodeIndex(index), down: RESTART });
            }
        }
        story.calm.store(world.now() >= TROUBLE, Ordering::Relaxed);
        world.run_for(Duration::from_millis(1));
    }
    let log = world.finish();
    let mut wrong =
        std::mem::take(&mut *story.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    if !story.done.load(Ordering::Relaxed) {
        wrong.push("not every node knows what was acknowledged".to_owned());
    }
    Judged { log, wrong, created: story.created().len() }
}

/// `OTTLA_SEED` is one seed alone, told in full; `OTTLA_SEEDS` is how many.
#[test]
fn what_the_quorum_acknowledged_is_known_to_all() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let one = number("OTTLA_SEED");
    let seeds = one.map_or(0..number("OTTLA_SEEDS").unwrap_or(6), |seed| seed..seed + 1);
    let mut created = 0;
    for seed in seeds {
        let judged = run(seed, one.is_some());
        judged.log.lines.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: {} topics, {} steps", judged.created, judged.log.count);
        let again = format!("OTTLA_SEED={seed} cargo test --test simulation quorum -- --nocapture");
        assert!(judged.wrong.is_empty(), "seed {seed}: {again}\n  {}", judged.wrong.join("\n  "));
        created += judged.created;
    }
    assert!(created > 20, "{created} topics were created: too few to mean much");
}

#[test]
fn a_quorum_replays() {
    check_replay(1, |seed, keep_lines| run(seed, keep_lines).log)
        .unwrap_or_else(|difference| panic!("{difference}"));
}

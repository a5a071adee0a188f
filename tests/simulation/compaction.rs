//! A compacted topic under kills, losses of power and panics: the last acknowledged value of each key is always there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::ErrorCode;
use ottla::runtime::sim::{
    Life, NodeIndex, SimFault, SimOptions, Simulation, TraceLog, check_replay,
};
use wire::batch::batches;
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{FetchRequest, ProduceRequest, Records};

use crate::broker;
use crate::chance::stream;
use crate::requests::{create_topic, produce_one};
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const KEYS: u64 = 5;
const TROUBLE: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_secs(120);
const SETTINGS: [(&str, &str); 2] =
    [("log.cleaner.backoff.ms", "20"), ("log.cleaner.io.buffer.size", "2000")];
/// Every record is on the disk before it is acknowledged; a few fill a segment.
const CONFIGS: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("internal.segment.bytes", "1500"),
    ("flush.messages", "1"),
    ("file.delete.delay.ms", "200"),
];

/// What came of a run.
#[derive(Default)]
struct Outcome {
    acknowledged: BTreeMap<u64, u64>,
    produced: u64,
    left: Vec<(i64, u64, u64)>,
    done: bool,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Outcome>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Outcome) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn create(wire: &mut WireClient) {
    let request = create_topic(TOPIC, 1, &CONFIGS);
    loop {
        let response = wire.ask_until_answered(&request, 7).await;
        let code = ErrorCode::from_code(response.topics[0].error_code);
        if matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists) {
            return;
        }
    }
}

fn produce_request(key: u64, value: u64) -> ProduceRequest {
    produce_one(TOPIC, 0, 1, Some(&key.to_be_bytes()), format!("{value:050}").as_bytes())
}

/// Everything there is: offset, key, value.
async fn read_all(life: &Life, wire: &mut WireClient) -> Vec<(i64, u64, u64)> {
    let mut all = Vec::new();
    let mut next = 0;
    loop {
        let partition = FetchPartition {
            fetch_offset: next,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic =
            FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let response = wire.ask_until_answered(&request, 12).await;
        let data = &response.responses[0].partitions[0];
        if data.error_code != 0 {
            life.world.sleep(BACKOFF).await;
            continue;
        }
        let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned();
        for batch in batches(bytes.unwrap_or_default()) {
            let batch = batch.expect("a whole batch");
            batch.verify_crc().expect("a sound batch");
            for record in batch.records(1 << 20).expect("records") {
                let record = record.expect("a record");
                let key = record.key.as_deref().and_then(|key| key.try_into().ok());
                let key = u64::from_be_bytes(key.expect("a key"));
                let value = String::from_utf8_lossy(&record.value.unwrap_or_default()).parse();
                all.push((record.offset, key, value.expect("a number")));
            }
            next = batch.header().next_offset();
        }
        if next >= data.high_watermark {
            return all;
        }
    }
}

async fn work(life: Life, shared: Shared) {
    let mut wire = WireClient::new(&life.world, "keys");
    create(&mut wire).await;
    for value in 0.. {
        let key = value % KEYS;
        let request = produce_request(key, value);
        loop {
            let response = wire.ask_until_answered(&request, 9).await;
            if response.responses[0].partition_responses[0].error_code == 0 {
                break;
            }
            life.world.sleep(BACKOFF).await;
        }
        shared.with(|outcome| {
            outcome.acknowledged.insert(key, value);
            outcome.produced = value;
        });
        if life.world.mono() > TROUBLE {
            break;
        }
        life.world.sleep(Duration::from_millis(5)).await;
    }
    // Twice: while it is compacted, and when it is.
    for _ in 0..2 {
        let left = read_all(&life, &mut wire).await;
        life.trace.note(format_args!("{} records left", left.len()));
        shared.with(|outcome| outcome.left = left);
        life.world.sleep(Duration::from_secs(3)).await;
    }
    shared.with(|outcome| outcome.done = true);
}

fn plan(world: &mut Simulation, seed: u64, node: NodeIndex) -> Vec<(Duration, SimFault)> {
    let mut random = stream(seed, 7);
    let mut plan = Vec::new();
    for _ in 0..2 + random.below(6) {
        let at = world.now() + Duration::from_millis(500 + random.below(7000));
        let down = Duration::from_millis(1 + random.below(300));
        plan.push((
            at,
            match random.below(5) {
                0..=1 => SimFault::Kill { node, down },
                2..=3 => SimFault::PowerLoss { node, down },
                _ => {
                    let path_contains =
                        ["/t-0", "log-cleaner"][random.below(2) as usize].to_owned();
                    SimFault::Panic { node, path_contains, skip: random.below(20) }
                }
            },
        ));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn judge(outcome: &Outcome) -> Result<String, String> {
    let Outcome { acknowledged, produced, left, done } = outcome;
    if !done {
        return Err("the client did not come to an end".to_owned());
    }
    if !left.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(format!("offsets are not in order: {left:?}"));
    }
    let latest: BTreeMap<u64, u64> = left.iter().map(|(_, key, value)| (*key, *value)).collect();
    if &latest != acknowledged {
        return Err(format!("acknowledged {acknowledged:?}, there is {latest:?}"));
    }
    if let Some(other) = left.iter().find(|(_, key, value)| value % KEYS != *key) {
        return Err(format!("nobody wrote {other:?}"));
    }
    let count = left.len() as u64;
    if count > 60 {
        return Err(format!("{count} of {produced} left: not compacted"));
    }
    Ok(format!("{count} of {produced} records left"))
}

fn run(seed: u64, keep_lines: bool) -> (TraceLog, Result<String, String>) {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let node = world.add_node(broker::NAME, move |life| {
        let flag = flag.clone();
        async move { broker::serve_with(life, flag, &SETTINGS).await }
    });
    let shared = Shared::default();
    let told = shared.clone();
    world.add_node("client", move |life| work(life, told.clone()));
    let mut plan = plan(&mut world, seed, node).into_iter().peekable();
    while world.now() < LIMIT && !shared.with(|outcome| outcome.done) {
        while let Some((_, fault)) = plan.next_if(|(at, _)| *at <= world.now()) {
            world.inject(fault);
        }
        if ended.swap(false, Ordering::Relaxed) && world.is_up(node) {
            world.inject(SimFault::Kill { node, down: Duration::from_millis(100) });
        }
        world.run_for(Duration::from_millis(1));
    }
    (world.finish(), shared.with(|outcome| judge(outcome)))
}

/// `OTTLA_COMPACTION_SEEDS` is how many.
#[test]
fn the_last_value_of_each_key_outlives_every_end() {
    let seeds = std::env::var("OTTLA_COMPACTION_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(6) {
        let judged = RefCell::new(Err(String::new()));
        let replayed = check_replay(seed, |seed, keep_lines| {
            let (log, outcome) = run(seed, keep_lines);
            *judged.borrow_mut() = outcome;
            log
        });
        replayed.unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
        match judged.into_inner() {
            Ok(summary) => println!("seed {seed}: {summary}"),
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
    }
}

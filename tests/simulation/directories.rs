//! A node of two log directories, one of which fails.

mod hanging;
mod moves;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{Fault, FaultKind};
use model::ErrorCode;
use ottla::runtime::BoxFuture;
use ottla::runtime::sim::{
    Life, NodeIndex, START_WALL_MS, SimFault, SimOptions, Simulation, TraceLog, check_replay,
};
use wire::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::batch::batches;
use wire::describe_log_dirs_response::DescribeLogDirsResult;
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::metadata_request::MetadataRequestTopic;
use wire::metadata_response::MetadataResponsePartition;
use wire::{
    AlterReplicaLogDirsRequest, CreateTopicsRequest, DescribeLogDirsRequest, FetchRequest,
    IncrementalAlterConfigsRequest, MetadataRequest,
};

use crate::broker;
use crate::requests::{create_topic, produce_one};
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;
const SETTINGS: [(&str, &str); 3] = [
    ("log.dirs", "/a,/b"),
    ("metadata.log.dir", "/a"),
    // What was acknowledged survives the failure of the power.
    ("log.flush.interval.messages", "1"),
];
const LIMIT: Duration = Duration::from_secs(120);

/// How far the client has come, and the fault that it waits for then.
#[derive(Default)]
struct Script {
    asked: AtomicU32,
    done: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

struct Client {
    /// The topic that is spoken of.
    name: &'static str,
    wire: WireClient,
    life: Life,
    script: Arc<Script>,
}

impl Client {
    fn expect(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.script.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what());
        }
    }

    /// Asks for the next fault; what it leads to is waited for by asking the broker.
    fn next_fault(&self) {
        self.script.asked.fetch_add(1, Ordering::Relaxed);
    }

    async fn create(&mut self, validate_only: bool) -> i16 {
        let request = create_topic(self.name, PARTITIONS, &[]);
        let request = CreateTopicsRequest { validate_only, ..request };
        self.wire.ask_until_answered(&request, 7).await.topics[0].error_code
    }

    /// Sends until it is taken, or refused for good.
    async fn produce(&mut self, index: i32, value: &str) -> ErrorCode {
        let request = produce_one(TOPIC, index, START_WALL_MS, None, value.as_bytes());
        loop {
            let response = self.wire.ask_until_answered(&request, 9).await;
            let answer = &response.responses[0].partition_responses[0];
            match ErrorCode::from_code(answer.error_code) {
                error @ (ErrorCode::None | ErrorCode::KafkaStorageError) => return error,
                error => {
                    self.life.trace.note(format_args!("{value} to {index}: {error:?}"));
                    self.life.world.sleep(BACKOFF).await;
                }
            }
        }
    }

    async fn values(&mut self, index: i32) -> Vec<String> {
        self.fetch(index, 0).await
    }

    async fn fetch(&mut self, index: i32, fetch_offset: i64) -> Vec<String> {
        let partition = FetchPartition {
            partition: index,
            fetch_offset,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = FetchRequest {
            replica_id: -1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        loop {
            let response = self.wire.ask_until_answered(&request, 12).await;
            let data = &response.responses[0].partitions[0];
            if data.error_code != 0 {
                self.life.world.sleep(BACKOFF).await;
                continue;
            }
            let bytes = data.records.as_ref().and_then(|r| r.as_bytes()).cloned();
            let batches = batches(bytes.unwrap_or_default()).map(|batch| batch.expect("whole"));
            let records = batches.flat_map(|batch| {
                batch.records(1 << 20).expect("readable").map(|record| record.expect("whole"))
            });
            let text = |value: Option<bytes::Bytes>| value.unwrap_or_default().to_vec();
            return records.map(|r| String::from_utf8_lossy(&text(r.value)).into_owned()).collect();
        }
    }

    /// Sets `cordoned.log.dirs`, and waits until these are.
    async fn cordon(&mut self, value: &str, cordoned: &[&str]) {
        let config = AlterableConfig {
            name: "cordoned.log.dirs".to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".to_owned(),
            configs: vec![config],
            ..Default::default()
        };
        let resources = vec![resource];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let response = self.wire.ask_until_answered(&request, 1).await;
        let answer = &response.responses[0];
        self.expect(answer.error_code == 0, || format!("{value}: {answer:?}"));
        loop {
            let dirs = self.dirs().await;
            let found = dirs.iter().filter(|dir| dir.is_cordoned).map(|dir| dir.log_dir.as_str());
            if found.eq(cordoned.iter().copied()) {
                return;
            }
            self.life.world.sleep(BACKOFF).await;
        }
    }

    async fn cordoned_directories_take_nothing_new(mut self) {
        self.cordon("/b", &["/b"]).await;
        let made = self.create(false).await;
        self.expect(made == 0, || format!("one is left: {made}"));
        let held = self.held("/a").await;
        self.expect(held.len() == PARTITIONS as usize, || format!("{held:?}"));
        self.cordon("*", &["/a", "/b"]).await;
        // The controller hears of it with the next heartbeat.
        self.name = "other";
        while self.create(true).await != ErrorCode::InvalidReplicationFactor.code() {
            self.life.world.sleep(BACKOFF).await;
        }
        self.cordon("", &[]).await;
        while self.create(false).await != 0 {
            self.life.world.sleep(BACKOFF).await;
        }
        while self.held("/b").await.is_empty() {
            self.life.world.sleep(BACKOFF).await;
        }
    }

    async fn dirs(&mut self) -> Vec<DescribeLogDirsResult> {
        let all = DescribeLogDirsRequest { topics: None, ..Default::default() };
        self.wire.ask_until_answered(&all, 5).await.results
    }

    /// The partitions that a directory holds.
    async fn held(&mut self, dir: &str) -> Vec<i32> {
        let dirs = self.dirs().await;
        let found = dirs.into_iter().filter(|found| found.log_dir == dir);
        let topics = found.flat_map(|found| found.topics).filter(|topic| topic.name == self.name);
        topics.flat_map(|t| t.partitions).map(|partition| partition.partition_index).collect()
    }

    /// The directories that hold a partition, and which of them a copy that is to take its place.
    async fn places(&mut self, index: i32) -> Vec<(String, bool)> {
        let mut places = Vec::new();
        for dir in self.dirs().await {
            let topics = dir.topics.iter().filter(|topic| topic.name == self.name);
            let here = topics.flat_map(|topic| &topic.partitions);
            let here = here.filter(|partition| partition.partition_index == index);
            places.extend(here.map(|partition| (dir.log_dir.clone(), partition.is_future_key)));
        }
        places
    }

    async fn ask_to_move(&mut self, index: i32, path: &str) {
        let topic = AlterReplicaLogDirTopic {
            name: self.name.to_owned(),
            partitions: vec![index],
            ..Default::default()
        };
        let path = path.to_owned();
        let dir = AlterReplicaLogDir { path, topics: vec![topic], ..Default::default() };
        let request = AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() };
        self.wire.ask_until_answered(&request, 2).await;
    }

    /// Whatever ends the node meanwhile: each record that was acknowledged is there once, and the replica arrives.
    async fn a_replica_moves_through_crashes(mut self) {
        self.create(false).await;
        let mut sent: Vec<String> = Vec::new();
        for round in 0..4 {
            for n in 0..10 {
                sent.push(format!("{round}-{n}-{}", "x".repeat(20_000)));
                self.produce(0, &sent[sent.len() - 1]).await;
            }
            let from = self.places(0).await.into_iter().find(|(_, future)| !future);
            let to = if from.is_some_and(|(dir, _)| dir == "/a") { "/b" } else { "/a" };
            self.ask_to_move(0, to).await;
            let after = self.life.world.random("crashes").below(40);
            self.life.world.sleep(Duration::from_millis(after)).await;
            self.next_fault();
            loop {
                sent.push(format!("{round}-more-{}", sent.len()));
                self.produce(0, &sent[sent.len() - 1]).await;
                let places = self.places(0).await;
                match places.iter().find(|(dir, _)| dir == to) {
                    Some((_, false)) => break,
                    Some((_, true)) => {}
                    // It came to its end before the directory was there for good.
                    None => self.ask_to_move(0, to).await,
                }
            }
        }
        let mut values = self.values_from(0).await;
        // One whose answer was lost was sent again.
        values.dedup();
        self.expect(values == sent, || {
            let short = |value: &String| value.chars().take(12).collect::<String>();
            let show = |values: &[String]| values.iter().map(short).collect::<Vec<_>>();
            format!("{:?}\n{:?}", show(&values), show(&sent))
        });
    }

    /// All values of a partition.
    async fn values_from(&mut self, index: i32) -> Vec<String> {
        let (mut all, mut next) = (Vec::new(), 0);
        loop {
            let values = self.fetch(index, next).await;
            if values.is_empty() {
                return all;
            }
            next += values.len() as i64;
            all.extend(values);
        }
    }

    async fn metadata(&mut self, index: i32) -> MetadataResponsePartition {
        let name = Some(TOPIC.to_owned());
        let topic = MetadataRequestTopic { name, ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let mut response = self.wire.ask_until_answered(&request, 12).await;
        let mut partitions = response.topics.remove(0).partitions;
        let at = partitions.iter().position(|p| p.partition_index == index).expect("it is there");
        partitions.swap_remove(at)
    }

    async fn one_directory_fails(mut self) {
        self.create(false).await;
        for index in 0..PARTITIONS {
            let taken = self.produce(index, "before").await;
            self.expect(taken == ErrorCode::None, || format!("{index}: {taken:?}"));
        }
        let (first, second) = (self.held("/a").await, self.held("/b").await);
        self.expect(first.len() == 2 && second.len() == 2, || format!("{first:?} {second:?}"));
        self.next_fault();
        // The one of the write that fails learns of it only from the connection, or by asking again.
        while self.produce(second[0], "during").await == ErrorCode::None {}
        let other = self.produce(second[1], "during").await;
        self.expect(other == ErrorCode::KafkaStorageError, || format!("its neighbour: {other:?}"));
        for index in &first {
            let taken = self.produce(*index, "during").await;
            self.expect(taken == ErrorCode::None, || format!("{index}, elsewhere: {taken:?}"));
        }
        let dirs = self.dirs().await;
        let errors: Vec<_> = dirs.iter().map(|d| (d.log_dir.as_str(), d.error_code)).collect();
        self.expect(errors == [("/a", 0), ("/b", 56)], || format!("{errors:?}"));
        for index in second.clone() {
            while self.metadata(index).await.leader_id != -1 {
                self.life.world.sleep(BACKOFF).await;
            }
            let offline = self.metadata(index).await.offline_replicas;
            self.expect(offline.len() == 1, || format!("{index} is offline where? {offline:?}"));
        }
        // The device is sound again, and the node starts anew.
        self.next_fault();
        for index in second {
            // Read once it leads again: a replica that follows shows only what it knows to be committed.
            let taken = self.produce(index, "after").await;
            self.expect(taken == ErrorCode::None, || format!("{index}, again: {taken:?}"));
            let values = self.values(index).await;
            let kept = values.starts_with(&["before".to_owned()]);
            self.expect(kept, || format!("{index}: {values:?}"));
        }
        for index in first {
            let taken = self.produce(index, "after").await;
            self.expect(taken == ErrorCode::None, || format!("{index}, again: {taken:?}"));
            let values = self.values(index).await;
            self.expect(values == ["before", "during", "after"], || format!("{index}: {values:?}"));
        }
    }
}

fn fail_writes(node: NodeIndex, path_contains: &str) -> SimFault {
    let path_contains = path_contains.to_owned();
    let fault = Fault { kind: FaultKind::WriteError, path_contains, skip: 0, times: 1 };
    SimFault::Disk { node, fault }
}

type Scenario = fn(Client) -> BoxFuture<'static, ()>;

fn add_client(world: &mut Simulation, script: &Arc<Script>, scenario: Scenario) {
    let script = script.clone();
    world.add_node("client", move |life| {
        let script = script.clone();
        async move {
            let wire = WireClient::new(&life.world, "client");
            scenario(Client { name: TOPIC, wire, life, script: script.clone() }).await;
            script.done.store(true, Ordering::Relaxed);
        }
    });
}

fn run(
    seed: u64,
    keep_lines: bool,
    scenario: Scenario,
    faults: impl Fn(NodeIndex) -> Vec<SimFault>,
) -> (TraceLog, Vec<String>) {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let script = Arc::new(Script::default());
    let node = world.add_node(broker::NAME, |life| async move {
        broker::serve_with(life, Default::default(), &SETTINGS).await;
    });
    add_client(&mut world, &script, scenario);
    let mut faults = faults(node).into_iter();
    let mut injected = 0;
    while world.now() < LIMIT && !script.done.load(Ordering::Relaxed) {
        if script.asked.load(Ordering::Relaxed) > injected {
            injected += 1;
            faults.next().into_iter().for_each(|fault| world.inject(fault));
        }
        world.run_for(Duration::from_millis(1));
    }
    let mut wrong =
        std::mem::take(&mut *script.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    if !script.done.load(Ordering::Relaxed) {
        wrong.push(format!("nothing more came after fault {injected}"));
    }
    (world.finish(), wrong)
}

/// `OTTLA_SEEDS` is how many, `OTTLA_SEED` one of them alone.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(10), |one| one..one + 1)
}

fn check(scenario: Scenario, faults: fn(NodeIndex) -> Vec<SimFault>) {
    for seed in seeds() {
        let (log, wrong) = run(seed, true, scenario, faults);
        let tail = log.lines.len().saturating_sub(60);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\n{:#?}", &log.lines[tail..]);
    }
}

fn failure(node: NodeIndex) -> Vec<SimFault> {
    let down = Duration::from_millis(200);
    vec![fail_writes(node, "/b/t-"), SimFault::PowerLoss { node, down }]
}

#[test]
fn one_directory_fails_and_the_other_serves_on() {
    check(|client| Box::pin(client.one_directory_fails()), failure);
}

#[test]
fn the_failure_of_a_directory_replays() {
    check_replay(3, |seed, keep_lines| {
        run(seed, keep_lines, |client| Box::pin(client.one_directory_fails()), failure).0
    })
    .unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn cordoned_directories_take_nothing_new() {
    check(|client| Box::pin(client.cordoned_directories_take_nothing_new()), |_| Vec::new());
}

fn crashes(node: NodeIndex) -> Vec<SimFault> {
    let down = Duration::from_millis(100);
    vec![
        SimFault::PowerLoss { node, down },
        SimFault::Kill { node, down },
        SimFault::PowerLoss { node, down },
        SimFault::PowerLoss { node, down },
    ]
}

#[test]
fn a_replica_moves_through_crashes() {
    check(|client| Box::pin(client.a_replica_moves_through_crashes()), crashes);
}

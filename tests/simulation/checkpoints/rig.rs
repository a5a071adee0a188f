//! A broker that stops, dies and fails when its client says so, and what is in its log directory then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::Disk;
use log::{CLEAN_SHUTDOWN_FILE, read_offset_checkpoint};
use model::{ErrorCode, TopicPartition};
use ottla::Node;
use ottla::runtime::BoxFuture;
use ottla::runtime::sim::{
    Life, NodeIndex, START_WALL_MS, SimFault, SimOptions, Simulation, TraceLog,
};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ListOffsetsRequest,
    ProduceRequest,
};

use crate::broker;
use crate::seeds::number;
use crate::wire_client::{BACKOFF, WireClient};

pub const DIR: &str = "/a";
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LIMIT: Duration = Duration::from_secs(200);
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// What a log directory holds beside its logs.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Kept {
    pub marker: bool,
    pub files: BTreeMap<&'static str, BTreeMap<TopicPartition, i64>>,
}

impl Kept {
    pub fn of(&self, file: &str) -> Vec<(String, i64)> {
        let entries = self.files.get(file).into_iter().flatten();
        entries.map(|(partition, offset)| (partition.to_string(), *offset)).collect()
    }
}

fn look(disk: &dyn Disk) -> Kept {
    let dir = Path::new(DIR);
    let read = |file| (file, read_offset_checkpoint(disk, &dir.join(file)).expect("readable"));
    let files = [RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS];
    let marker = disk.exists(&dir.join(CLEAN_SHUTDOWN_FILE)).expect("answered");
    Kept { marker, files: files.map(read).into() }
}

/// What the client has done to the broker.
#[derive(Debug, Clone)]
pub enum Order {
    /// It stops in order, and starts again.
    Stop,
    /// It dies so, and starts again.
    Die(SimFault),
    /// It dies so; the next life is told to stop so long after its beginning, and another follows.
    DieAndStopAfter(SimFault, Duration),
    /// This happens to it while it goes on.
    Suffer(SimFault),
    /// No fault of its disk that is to come comes any more.
    SoundDisk,
    /// It has noted a failed sync for the next process, or so many milliseconds have passed.
    WhenNoted(u32),
    /// It was told to stop and has not yet.
    Ending,
}

#[derive(Default)]
struct State {
    order: Option<Order>,
    /// What the directory held when a life ended.
    ends: Vec<Kept>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Script {
    state: Mutex<State>,
    stop: AtomicBool,
    ended: AtomicBool,
    /// Of the next life; none for one that serves.
    stop_after: Mutex<Option<Duration>>,
    done: AtomicBool,
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_stop(&self) -> MutexGuard<'_, Option<Duration>> {
        self.stop_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn live(life: Life, script: Arc<Script>, set: &'static [(&'static str, &'static str)]) {
    let listen = format!("{}:{}", broker::NAME, broker::PORT);
    let builder = Node::builder_in(life.world.clone()).quick(DIR, &listen, set);
    let node = match builder.launch().await {
        Ok(node) => node,
        Err(error) => return life.trace.note(format_args!("cannot start: {error}")),
    };
    let early = script.next_stop().take();
    match early {
        Some(after) => life.world.sleep(after).await,
        None => {
            while !script.stop.load(Ordering::Relaxed) {
                life.world.sleep(Duration::from_millis(1)).await;
            }
            for actor in node.tree().await.iter().flat_map(|root| &root.children) {
                life.trace.note(format_args!("{} failed {} times", actor.name, actor.restarts));
            }
        }
    }
    let exit = node.stop().await;
    life.trace.note(format_args!("stopped: {exit:?}"));
    script.ended.store(true, Ordering::Relaxed);
}

pub struct Client {
    wire: WireClient,
    pub life: Life,
    script: Arc<Script>,
    pub broker: NodeIndex,
}

impl Client {
    pub fn expect<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: T, expected: T) {
        if found != expected {
            let wrong = format!("{what}: {found:?}, not {expected:?}");
            self.script.state().wrong.push(wrong);
        }
    }

    pub async fn order(&mut self, order: Order) {
        self.script.state().order = Some(order);
        while self.script.state().order.is_some() {
            self.life.world.sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was there when the last life ended.
    pub fn end(&self) -> Kept {
        self.script.state().ends.last().cloned().unwrap_or_default()
    }

    pub fn kill(&self) -> SimFault {
        SimFault::Kill { node: self.broker, down: Duration::from_millis(10) }
    }

    pub fn power_loss(&self) -> SimFault {
        SimFault::PowerLoss { node: self.broker, down: Duration::from_millis(10) }
    }

    pub async fn create(&mut self, name: &str, partitions: i32) {
        // What is answered outlives the power.
        let config = CreatableTopicConfig {
            name: "flush.messages".into(),
            value: Some("1".into()),
            ..Default::default()
        };
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: vec![config],
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
        loop {
            let answer = self.wire.ask_until_answered(&request, 7).await.topics.remove(0);
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None | ErrorCode::TopicAlreadyExists => return,
                _ => self.life.world.sleep(BACKOFF).await,
            }
        }
    }

    pub async fn delete(&mut self, name: &str) {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.into()],
            timeout_ms: 3000,
            ..Default::default()
        };
        let answer = self.wire.ask_until_answered(&request, 5).await;
        self.expect("deleted", answer.responses[0].error_code, 0);
    }

    /// Sends records one by one, each until it is taken.
    pub async fn produce(&mut self, name: &str, count: usize) {
        let mut batch = BatchBuilder::new(Compression::NONE);
        batch.append(START_WALL_MS, None, Some(&[7; 3000]), &[]);
        let records = Some(batch.build().expect("a batch").to_bytes().into());
        let data = PartitionProduceData { index: 0, records, ..Default::default() };
        let topic = TopicProduceData {
            name: name.into(),
            partition_data: vec![data],
            ..Default::default()
        };
        let topic_data = vec![topic];
        let request =
            ProduceRequest { acks: -1, timeout_ms: 3000, topic_data, ..Default::default() };
        let mut taken = 0;
        while taken < count {
            let answer = self.wire.ask_until_answered(&request, 9).await;
            match answer.responses[0].partition_responses[0].error_code {
                0 => taken += 1,
                _ => self.life.world.sleep(BACKOFF).await,
            }
        }
    }

    pub async fn delete_below(&mut self, name: &str, offset: i64) {
        let partition = DeleteRecordsPartition { offset, ..Default::default() };
        let topic = DeleteRecordsTopic {
            name: name.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            DeleteRecordsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
        let answer = self.wire.ask_until_answered(&request, 2).await;
        self.expect("records deleted", answer.topics[0].partitions[0].error_code, 0);
    }

    /// Where a partition begins and ends, once it is led.
    pub async fn bounds(&mut self, name: &str) -> (i64, i64) {
        (self.offset(name, EARLIEST).await, self.offset(name, LATEST).await)
    }

    async fn offset(&mut self, name: &str, timestamp: i64) -> i64 {
        let partition =
            ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topic = ListOffsetsTopic {
            name: name.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        loop {
            let answer = self.wire.ask_until_answered(&request, 7).await;
            let partition = &answer.topics[0].partitions[0];
            if partition.error_code == 0 {
                return partition.offset;
            }
            self.life.world.sleep(BACKOFF).await;
        }
    }

    /// A topic of ten records, of which the first five are deleted.
    pub async fn trimmed(&mut self, name: &str) {
        self.create(name, 1).await;
        self.produce(name, 10).await;
        self.delete_below(name, 5).await;
    }
}

/// What happens to the broker under a seed; none of it where the client has to wait for something that does not come.
pub fn run(
    seed: u64,
    keep_lines: bool,
    set: &'static [(&'static str, &'static str)],
    scenario: Scenario,
) -> (TraceLog, Vec<String>) {
    let mut world = Simulation::new(SimOptions { keep_lines, ..SimOptions::seed(seed) });
    let script = Arc::new(Script::default());
    let told = script.clone();
    let broker = world.add_node(broker::NAME, move |life| live(life, told.clone(), set));
    let told = script.clone();
    world.add_node("client", move |life| {
        let script = told.clone();
        async move {
            let wire = WireClient::new(&life.world, "client");
            scenario(Client { wire, life, script: script.clone(), broker }, seed).await;
            script.done.store(true, Ordering::Relaxed);
        }
    });
    while world.now() < LIMIT && !script.done.load(Ordering::Relaxed) {
        obey(&mut world, broker, &script);
        world.run_for(Duration::from_millis(1));
    }
    let mut wrong = std::mem::take(&mut script.state().wrong);
    if !script.done.load(Ordering::Relaxed) {
        wrong.push("the client waits in vain".to_owned());
    }
    (world.finish(), wrong)
}

fn obey(world: &mut Simulation, broker: NodeIndex, script: &Script) {
    if script.ended.swap(false, Ordering::Relaxed) {
        script.stop.store(false, Ordering::Relaxed);
        let kept = look(&*world.disk(broker).mount());
        script.state().ends.push(kept);
        world.inject(SimFault::Kill { node: broker, down: Duration::from_millis(1) });
        script.state().order = None;
        return;
    }
    let order = script.state().order.take();
    let waits = match order {
        Some(Order::Stop) => {
            script.stop.store(true, Ordering::Relaxed);
            true
        }
        Some(Order::DieAndStopAfter(fault, after)) => {
            *script.next_stop() = Some(after);
            world.inject(fault);
            true
        }
        Some(Order::Die(fault)) => {
            world.inject(fault);
            let kept = look(&*world.disk(broker).mount());
            script.state().ends.push(kept);
            false
        }
        Some(Order::Suffer(fault)) => {
            world.inject(fault);
            false
        }
        Some(Order::SoundDisk) => {
            world.disk(broker).forget_plan();
            false
        }
        Some(Order::WhenNoted(left)) => {
            let noted = Path::new(DIR).join(".ottla_unsynced");
            let waits = left > 0 && !world.disk(broker).mount().exists(&noted).unwrap_or(false);
            script.state().order = waits.then(|| Order::WhenNoted(left - 1));
            false
        }
        Some(Order::Ending) => true,
        None => false,
    };
    if waits {
        script.state().order = Some(Order::Ending);
    }
}

pub type Scenario = fn(Client, u64) -> BoxFuture<'static, ()>;

pub fn check(set: &'static [(&'static str, &'static str)], scenario: Scenario) {
    let seeds =
        number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(12), |seed| seed..seed + 1);
    for seed in seeds {
        let (log, wrong) = run(seed, true, set, scenario);
        let tail = log.lines.len().saturating_sub(60);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}\n{:#?}", &log.lines[tail..]);
    }
}

//! A replica that comes back to a leader which knows less than it, as that was elected uncleanly: it is cut, amid its
//! move to another directory or below what it compacted, and dies at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use log::read_offset_checkpoint;
use model::TopicPartition;
use ottla::client::{
    Acks, Client, ClientConfig, Connection, NewTopic, ProducerConfig, ProducerRecord,
};
use ottla::sim::{Cluster, Life, NodeIndex, ReplicaView, SimFault, SimOptions};
use wire::AlterReplicaLogDirsRequest;
use wire::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::batch::batches;

use crate::seeds::number;

const TOPIC: &str = "t";
const DIRS: [&str; 2] = ["/a", "/b"];
const LIMIT: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(2);
/// Who is held down is looked at again so often.
const DOWN: Duration = Duration::from_millis(500);
/// `delete.retention.ms` of the topic that is compacted.
const DELETIONS_STAY: Duration = Duration::from_secs(10);
/// The replica that is cut, and the one that leads uncleanly.
const CUT: i32 = 2;
const LEADER: i32 = 3;
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";

fn file(settings: &str) -> String {
    format!(
        "[settings]\n\"unclean.leader.election.enable\" = true\n\"log.cleaner.backoff.ms\" = 20\n\
         \"replica.fetch.backoff.ms\" = 100\n\
         \"replica.fetch.max.bytes\" = 700\n\"replica.fetch.response.max.bytes\" = 700\n\
         \"broker.session.timeout.ms\" = 1500\n\"broker.heartbeat.interval.ms\" = 200\n{settings}\
         [[node]]\nid = 1\nroles = [\"controller\"]\ncontroller = \"n1:9093\"\ndata = \"/data\"\n\
         [[node]]\nid = 2\nroles = [\"broker\"]\nlisten = \"n2:9092\"\ndata = [\"/a\", \"/b\"]\n\
         [[node]]\nid = 3\nroles = [\"broker\"]\nlisten = \"n3:9092\"\ndata = [\"/a\", \"/b\"]\n"
    )
}

#[derive(Debug, Clone)]
enum Order {
    Create(Vec<(&'static str, &'static str)>),
    /// Records of these keys, one after the other, each until it is taken.
    Produce(Vec<(String, Option<String>)>),
    /// The replica that is cut later moves to this directory.
    Move(&'static str),
}

#[derive(Default)]
struct Desk(Mutex<Option<Order>>);

impl Desk {
    fn order(&self) -> MutexGuard<'_, Option<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(life: Life, desk: Arc<Desk>) {
    let config = ClientConfig {
        request_timeout: ANSWER,
        operation_timeout: ANSWER,
        connect_timeout: ANSWER,
        ..ClientConfig::default()
    };
    let client = Client::with_config(&life.world, ["n2:9092", "n3:9092"], config.clone());
    let client = client.expect("addresses");
    loop {
        let order = desk.order().clone();
        match order {
            None => {}
            Some(Order::Create(configs)) => {
                let topic = NewTopic::new(TOPIC).partitions(1).replication_factor(2);
                let set =
                    |topic: NewTopic, (name, value): &(&str, &str)| topic.config(*name, *value);
                let topic = configs.iter().fold(topic, set);
                if let Err(error) = client.admin().create_topic(topic).await {
                    life.trace.note(format_args!("not created: {error}"));
                    life.world.sleep(Duration::from_millis(100)).await;
                }
                if client.admin().describe_topic(TOPIC).await.is_ok() {
                    *desk.order() = None;
                }
            }
            Some(Order::Produce(records)) => {
                produce(&client, records).await;
                *desk.order() = None;
            }
            Some(Order::Move(to)) => {
                let is_done = alter(&life, &config, to).await == Some(0);
                desk.order().take_if(|_| is_done);
            }
        }
        life.world.sleep(Duration::from_millis(10)).await;
    }
}

async fn produce(client: &Client, records: Vec<(String, Option<String>)>) {
    let config = ProducerConfig {
        acks: Acks::All,
        idempotent: false,
        linger: Duration::ZERO,
        delivery_timeout: ANSWER,
        ..ProducerConfig::default()
    };
    let producer = client.producer(config);
    for (key, value) in records {
        loop {
            let mut record = ProducerRecord::to(TOPIC).partition(0).key(key.clone());
            if let Some(value) = &value {
                record = record.value(value.clone());
            }
            if producer.send(record).await.await.is_ok() {
                break;
            }
        }
    }
}

async fn alter(life: &Life, config: &ClientConfig, to: &str) -> Option<i16> {
    let connection = Connection::open(&life.world, "n2", 9092, config).await.ok()?;
    let (name, partitions) = (TOPIC.to_owned(), vec![0]);
    let topic = AlterReplicaLogDirTopic { name, partitions, ..Default::default() };
    let path = to.to_owned();
    let dir = AlterReplicaLogDir { path, topics: vec![topic], ..Default::default() };
    let request = AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() };
    let answer = connection.request(&request, ANSWER).await.ok()?;
    Some(answer.results.first()?.partitions.first()?.error_code)
}

struct Run {
    seed: u64,
    cluster: Cluster,
    desk: Arc<Desk>,
    held: Vec<NodeIndex>,
}

impl Run {
    fn new(seed: u64, settings: &str, configs: &[(&'static str, &'static str)]) -> Run {
        let options = SimOptions { keep_lines: true, ..SimOptions::seed(seed) };
        let mut cluster = Cluster::new(options, &file(settings)).expect("a cluster's file");
        let desk = Arc::<Desk>::default();
        let told = desk.clone();
        cluster.world.add_node("client", move |life| serve(life, told.clone()));
        let mut run = Run { seed, cluster, desk, held: Vec::new() };
        run.order(Order::Create(configs.to_vec()));
        run.until("both hold it", |run| run.in_sync() == 2);
        run
    }

    fn node(&self, id: i32) -> NodeIndex {
        let members = self.cluster.members();
        members.into_iter().find(|(member, _)| *member == id).expect("a member").1
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Run) -> bool) {
        let end = self.cluster.world.now() + LIMIT;
        while !holds(self) {
            assert!(self.cluster.world.now() < end, "seed {}: {what}: {}", self.seed, self.said());
            for node in self.held.clone() {
                if self.cluster.world.is_up(node) {
                    self.cluster.world.inject(SimFault::Kill { node, down: DOWN });
                }
            }
            self.cluster.tick();
        }
    }

    fn said(&self) -> String {
        let replicas = [CUT, LEADER].map(|id| (id, self.replica(id)));
        format!("{replicas:?}, {} in sync, order {:?}", self.in_sync(), self.desk.order())
    }

    fn order(&mut self, order: Order) {
        *self.desk.order() = Some(order);
        self.until("it is done", |run| run.desk.order().is_none());
    }

    /// Values of so many records whose keys begin so.
    fn produce(&mut self, keys: &str, count: usize) {
        let record = |n| (format!("{keys}{}", n % 10), Some(format!("{n:0100}")));
        self.order(Order::Produce((0..count).map(record).collect()));
    }

    fn hold(&mut self, id: i32) {
        let node = self.node(id);
        self.held.push(node);
        self.cluster.world.inject(SimFault::Kill { node, down: DOWN });
    }

    fn release(&mut self, id: i32) {
        let node = self.node(id);
        self.held.retain(|held| *held != node);
    }

    fn replica(&self, id: i32) -> Option<ReplicaView> {
        self.cluster.view(id)?.replica(TOPIC, 0)
    }

    fn end(&self, id: i32) -> i64 {
        self.replica(id).map_or(-1, |replica| replica.log_end_offset)
    }

    /// How large the ISR is, as a broker that is up knows it.
    fn in_sync(&self) -> usize {
        let views = [CUT, LEADER].into_iter().filter_map(|id| self.cluster.view(id));
        let isr = views.filter_map(|view| {
            let image = view.metadata();
            Some(image.topics.by_name(TOPIC)?.partition(0)?.isr.len())
        });
        isr.min().unwrap_or(0)
    }

    fn disk(&self, id: i32) -> Arc<dyn Disk> {
        self.cluster.world.disk(self.node(id)).mount()
    }

    /// Of the replica that is cut, in this file of this directory.
    fn checkpoint(&self, dir: &str, file: &str) -> i64 {
        let disk = self.disk(CUT);
        let found = read_offset_checkpoint(&*disk, &Path::new(dir).join(file)).expect("readable");
        found.get(&TopicPartition::new(TOPIC, 0)).copied().unwrap_or(-1)
    }

    /// Where the replica that is cut is.
    fn dir(&self) -> &'static str {
        let disk = self.disk(CUT);
        let here = |dir: &&str| disk.exists(&Path::new(dir).join("t-0")).expect("answered");
        DIRS.into_iter().find(here).expect("it is somewhere")
    }

    /// The last value of each key that the log of the replica that is cut has now; none where it was deleted.
    fn latest(&self) -> BTreeMap<String, Option<Bytes>> {
        let (disk, dir) = (self.disk(CUT), Path::new(self.dir()).join("t-0"));
        let names = disk.list(&dir).expect("its directory").into_iter().map(|entry| entry.name);
        let mut latest = BTreeMap::new();
        for name in names.filter(|name| name.ends_with(".log")) {
            let bytes = disk.read(&dir.join(name), 1 << 20).expect("a segment");
            for batch in batches(bytes.into()).map(|batch| batch.expect("a whole batch")) {
                for record in batch.records(1 << 20).expect("readable") {
                    let record = record.expect("a whole record");
                    let key = String::from_utf8_lossy(&record.key.unwrap_or_default()).into_owned();
                    latest.insert(key, record.value);
                }
            }
        }
        latest
    }

    /// The other broker knows nothing of what the one that is cut has from now on.
    fn alone(&mut self) {
        self.hold(LEADER);
        self.until("the other one leads", |run| run.in_sync() == 1);
    }

    /// The other one leads, and the one that is cut is down.
    fn unclean(&mut self) {
        self.hold(CUT);
        self.release(LEADER);
        let leads = |run: &Run| run.replica(LEADER).is_some_and(|replica| replica.leads);
        self.until("the other one leads uncleanly", leads);
    }
}

fn seeds() -> std::ops::Range<u64> {
    number("OTTLA_SEED").map_or(0..number("OTTLA_SEEDS").unwrap_or(4), |seed| seed..seed + 1)
}

/// What was durable of the copy, and is cut, is not missed when the copy has become the replica.
fn cut_amid_a_move(seed: u64) {
    let slow = "\"replica.alter.log.dirs.io.max.bytes.per.second\" = 10000\n\
                \"log.flush.offset.checkpoint.interval.ms\" = 20\n";
    let mut run = Run::new(seed, slow, &[]);
    run.produce("a", 20);
    run.until("both have it", |run| run.in_sync() == 2 && run.end(CUT) == run.end(LEADER));
    let kept = run.end(CUT);
    run.alone();
    run.produce("b", 300);
    let from = run.dir();
    let to = if from == DIRS[0] { DIRS[1] } else { DIRS[0] };
    run.order(Order::Move(to));
    run.until("some of it is copied", |run| run.checkpoint(to, RECOVERY_POINTS) > kept + 60);
    run.unclean();
    run.produce("c", 5);
    run.release(CUT);
    let moved = Path::new(to).join("t-0");
    run.until("it has moved", |run| run.disk(CUT).exists(&moved).expect("answered"));
    let (node, down) = (run.node(CUT), DOWN);
    run.cluster.world.inject(match seed % 2 {
        0 => SimFault::Kill { node, down },
        _ => SimFault::PowerLoss { node, down },
    });
    run.until("it is down", |run| !run.cluster.world.is_up(node));
    run.until("it follows", |run| run.in_sync() == 2 && run.end(CUT) == run.end(LEADER));
    run.produce("d", 5);
    run.until("both have it", |run| run.end(CUT) == run.end(LEADER));
    assert_eq!(run.dir(), to, "seed {seed}");
}

#[test]
fn a_cut_amid_a_move_leaves_a_replica_that_opens() {
    seeds().for_each(cut_amid_a_move);
}

/// Taken for compacted, what comes in place of what is cut would not be asked for the keys that it deletes, and a deletion would
/// go while what it deleted is still there. It stays for longer than the replica is down: else no replica is safe.
/// Only the cut itself writes the checkpoint here.
fn cut_below_what_was_compacted(seed: u64) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("internal.segment.bytes", "1500"),
        ("delete.retention.ms", "10000"),
        ("file.delete.delay.ms", "100"),
    ];
    let mut run = Run::new(seed, "", &configs);
    run.produce("a", 20);
    run.until("both have it", |run| run.in_sync() == 2 && run.end(CUT) == run.end(LEADER));
    let kept = run.end(CUT);
    run.alone();
    run.produce("b", 100);
    let dir = run.dir();
    run.until("it is compacted", |run| run.checkpoint(dir, CLEANED) > kept + 60);
    run.unclean();
    run.order(Order::Produce((0..10).map(|n| (format!("a{n}"), None)).collect()));
    run.produce("c", 20);
    run.release(CUT);
    let deleted = kept + 10;
    let is_cut = |run: &Run| (deleted..deleted + 20).contains(&run.end(CUT));
    run.until("it is cut, and knows what was deleted", is_cut);
    let (node, down) = (run.node(CUT), DOWN);
    run.cluster.world.inject(SimFault::Kill { node, down });
    run.until("it is down", |run| !run.cluster.world.is_up(node));
    run.until("it follows", |run| run.in_sync() == 2 && run.end(CUT) == run.end(LEADER));
    for pause in [Duration::ZERO, DELETIONS_STAY] {
        let next = run.cluster.world.now() + pause;
        run.until("deletions may go", |run| run.cluster.world.now() > next);
        run.produce("d", 40);
        run.until("both have it", |run| run.in_sync() == 2 && run.end(CUT) == run.end(LEADER));
        let most = run.end(CUT) - 30;
        run.until("it is compacted again", |run| run.checkpoint(dir, CLEANED) > most);
    }
    run.hold(CUT);
    run.until("it is down", |run| !run.cluster.world.is_up(node));
    let latest = run.latest();
    assert!(latest.contains_key("c1") && latest.contains_key("d1"), "seed {seed}: {latest:?}");
    let back: Vec<_> = latest.iter().filter(|(key, _)| key.starts_with('a')).collect();
    assert!(back.is_empty(), "seed {seed}: deleted, and there: {back:?}");
}

#[test]
fn a_cut_below_what_was_compacted_brings_nothing_back() {
    seeds().for_each(cut_below_what_was_compacted);
}

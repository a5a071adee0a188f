//! A disk fills, and is emptied again, under a node that goes on.

mod no_room;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{Fault, FaultKind};
use model::ErrorCode;
use ottla::runtime::sim::{
    Life, NodeIndex, SimFault, SimOptions, Simulation, TraceLog, check_replay,
};
use ottla::runtime::{ActorTree, Bulkhead, World};
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::{
    DeleteRecordsRequest, FetchRequest, FindCoordinatorRequest, OffsetCommitRequest, Records,
};

use crate::broker;
use crate::requests::{create_topic, produce_one};
use crate::wire_client::{BACKOFF, WireClient};

const TOPIC: &str = "t";
const CAPACITY: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(600);
const RECORD_BYTES: usize = 200_000;

/// How far the client has come; it waits for the test where it says so.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<&'static str>>);

impl Stage {
    fn is(&self, name: &str) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == name
    }

    fn set(&self, name: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

struct Client {
    life: Life,
    wire: WireClient,
    stage: Stage,
}

impl Client {
    async fn create(&mut self) {
        self.create_with(&[]).await;
    }

    async fn create_with(&mut self, more: Settings) {
        let configs = [("segment.bytes", "1048576"), ("retention.ms", "-1")];
        let configs: Vec<_> = configs.iter().chain(more).copied().collect();
        let request = create_topic(TOPIC, 1, &configs);
        let response = self.wire.ask_until_answered(&request, 7).await;
        assert_eq!(response.topics[0].error_code, 0);
    }

    async fn produce(&mut self) -> ErrorCode {
        let now_ms = self.life.world.now().wall_ms;
        let request = produce_one(TOPIC, 0, now_ms, Some(b"key"), &[7; RECORD_BYTES]);
        let response = self.wire.ask_until_answered(&request, 9).await;
        ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
    }

    /// Produces until there is another answer than before; how often it was the same.
    async fn produce_while(&mut self, code: ErrorCode) -> (usize, ErrorCode) {
        for count in 0.. {
            let answer = self.produce().await;
            if answer != code {
                return (count, answer);
            }
            self.life.world.sleep(BACKOFF).await;
        }
        unreachable!()
    }

    /// Once its partition is there again, and leads: a replica that follows shows only what it knows to be committed.
    async fn read_at_last(&mut self, offset: i64) -> ErrorCode {
        loop {
            match self.try_read(offset).await {
                None | Some(ErrorCode::NotLeaderOrFollower) => {
                    self.life.world.sleep(BACKOFF).await;
                }
                Some(code) => return code,
            }
        }
    }

    async fn read(&mut self, offset: i64) -> ErrorCode {
        let code = self.try_read(offset).await;
        assert_eq!(code, Some(ErrorCode::None), "something to read");
        ErrorCode::None
    }

    /// Nothing where there is neither a record nor an error.
    async fn try_read(&mut self, offset: i64) -> Option<ErrorCode> {
        let partition = FetchPartition {
            fetch_offset: offset,
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
        let response = self.wire.ask_until_answered(&request, 12).await;
        let partition = &response.responses[0].partitions[0];
        let some = partition.records.as_ref().and_then(Records::as_bytes);
        let some = some.is_some_and(|bytes| bytes.len() > RECORD_BYTES);
        (some || partition.error_code != 0).then(|| ErrorCode::from_code(partition.error_code))
    }

    /// Into an internal topic, which is made at first.
    async fn commit(&mut self) {
        let find = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
        let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let commit = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        loop {
            self.wire.ask_until_answered(&find, 3).await;
            let response = self.wire.ask_until_answered(&commit, 8).await;
            if response.topics[0].partitions[0].error_code == 0 {
                return;
            }
            self.life.world.sleep(BACKOFF).await;
        }
    }

    async fn delete_below(&mut self, offset: i64) {
        let partition = DeleteRecordsPartition { offset, ..Default::default() };
        let topic = DeleteRecordsTopic {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            DeleteRecordsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
        let response = self.wire.ask_until_answered(&request, 2).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }

    async fn wait_for(&mut self, name: &'static str) {
        self.stage.set(name);
        while self.stage.is(name) {
            self.life.world.sleep(BACKOFF).await;
        }
    }
}

fn states(tree: &[ActorTree], kind: &str, into: &mut Vec<String>) {
    for actor in tree {
        if actor.kind == kind {
            into.push(actor.state.clone());
        }
        states(&actor.children, kind, into);
    }
}

/// The tree of the broker's actors, as the last look found it.
#[derive(Clone, Default)]
pub struct Tree(Arc<Mutex<Vec<ActorTree>>>);

impl Tree {
    pub fn states(&self, kind: &str) -> Vec<String> {
        let mut found = Vec::new();
        states(&self.0.lock().unwrap_or_else(PoisonError::into_inner), kind, &mut found);
        found
    }

    pub async fn follow(self, world: World) {
        loop {
            let tree = world.registry().look(&world).await;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tree;
            world.sleep(BACKOFF).await;
        }
    }
}

type Settings = &'static [(&'static str, &'static str)];

/// A broker, and a client that goes through its script.
struct Scene {
    world: Simulation,
    tree: Tree,
    ended: Arc<AtomicBool>,
    broker: NodeIndex,
    stage: Stage,
}

fn scene<F: Future<Output = ()> + Send + 'static>(
    options: SimOptions,
    settings: Settings,
    script: fn(Client) -> F,
) -> Scene {
    let mut world = Simulation::new(options);
    let (tree, stage) = (Tree::default(), Stage::default());
    let ended = Arc::new(AtomicBool::new(false));
    let (looking, told) = (tree.clone(), ended.clone());
    let broker = world.add_node(broker::NAME, move |life| {
        life.world.spawn(Bulkhead::Control, looking.clone().follow(life.world.clone()));
        broker::serve_with(life, told.clone(), settings)
    });
    let told = stage.clone();
    world.add_node("client", move |life| {
        script(Client { wire: WireClient::new(&life.world, "filler"), life, stage: told.clone() })
    });
    Scene { world, tree, ended, broker, stage }
}

fn run_until(world: &mut Simulation, stage: &Stage, name: &str) {
    assert!(world.run_until(LIMIT, || stage.is(name)), "it does not come to be {name}");
}

/// Refused with a retriable error while everything else goes on; taken again when there is room.
fn fill_and_empty(seed: u64, keep_lines: bool) -> TraceLog {
    let options =
        SimOptions { keep_lines, disk_capacity_bytes: CAPACITY, ..SimOptions::seed(seed) };
    let Scene { mut world, tree, ended, stage, .. } =
        scene(options, &[], |mut client| async move {
            client.create().await;
            client.commit().await;
            let (taken, refused) = client.produce_while(ErrorCode::None).await;
            assert_eq!(refused, ErrorCode::KafkaStorageError);
            assert!(taken > 150, "{taken} taken");
            client.wait_for("full").await;
            assert_eq!(client.read(0).await, ErrorCode::None);
            client.commit().await;
            client.delete_below(taken as i64 / 2).await;
            // Deleted files do not wait for their delay.
            let (_, taken) = client.produce_while(ErrorCode::KafkaStorageError).await;
            assert_eq!(taken, ErrorCode::None);
            client.wait_for("emptied").await;
        });
    run_until(&mut world, &stage, "full");
    let says = |what: &str| tree.states("log-dir").iter().any(|state| state.contains(what));
    assert!(world.run_until(LIMIT, || says("FULL")), "{:?}", tree.states("log-dir"));
    stage.set("going on");
    run_until(&mut world, &stage, "emptied");
    assert!(world.run_until(LIMIT, || says("enough room")), "{:?}", tree.states("log-dir"));
    assert!(!ended.load(Ordering::Relaxed), "the node goes on");
    world.finish()
}

#[test]
fn a_full_disk_refuses_producers_until_there_is_room_again() {
    for seed in 0..2 {
        check_replay(seed, fill_and_empty).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

/// Somebody else takes all the room there is, faster than it is measured.
#[test]
fn a_write_that_finds_no_room_costs_no_partition() {
    let options = SimOptions::seed(1);
    let Scene { mut world, tree, broker, stage, .. } =
        scene(options, &[], |mut client| async move {
            client.create().await;
            assert_eq!(client.produce().await, ErrorCode::None);
            client.wait_for("to be filled").await;
            for _ in 0..20 {
                assert_ne!(client.produce().await, ErrorCode::None);
                client.life.world.sleep(BACKOFF).await;
            }
            client.wait_for("refused").await;
            while client.produce().await != ErrorCode::None {
                client.life.world.sleep(BACKOFF).await;
            }
            assert_eq!(client.read(1).await, ErrorCode::None);
            client.wait_for("over").await;
        });
    run_until(&mut world, &stage, "to be filled");
    // What small writes of the metadata log need is left.
    let used = world.disk(broker).used_bytes();
    world.inject(SimFault::DiskCapacity { node: broker, bytes: used + (128 << 10) });
    stage.set("filled");
    run_until(&mut world, &stage, "refused");
    let leads = || tree.states("partition").iter().all(|state| state.starts_with("leader"));
    assert!(world.run_until(LIMIT, leads), "{:?}", tree.states("partition"));
    world.inject(SimFault::DiskCapacity { node: broker, bytes: 1 << 40 });
    stage.set("emptied");
    run_until(&mut world, &stage, "over");
}

/// The metadata log has room, as on a disk of its own.
fn no_room_in_logs(node: NodeIndex) -> SimFault {
    let path_contains = "/data/".to_owned();
    let fault = Fault { kind: FaultKind::NoRoom, path_contains, skip: 0, times: u64::MAX };
    SimFault::Disk { node, fault }
}

const APART: Settings = &[("metadata.log.dir", "/m"), ("log.dirs", "/data")];

/// It serves what it has, and takes more when there is room.
#[test]
fn a_node_that_finds_its_disk_full_when_it_starts_serves_what_it_has() {
    for power_loss in [false, true] {
        let options = SimOptions::seed(3);
        let Scene { mut world, ended, broker, stage, .. } =
            scene(options, APART, |mut client| async move {
                client.create().await;
                for _ in 0..30 {
                    assert_eq!(client.produce().await, ErrorCode::None);
                }
                client.wait_for("to be filled").await;
                for offset in [0, 7, 14] {
                    assert_eq!(client.read_at_last(offset).await, ErrorCode::None);
                }
                for _ in 0..60 {
                    assert_ne!(client.produce().await, ErrorCode::None);
                    client.life.world.sleep(BACKOFF).await;
                }
                assert_eq!(client.read_at_last(7).await, ErrorCode::None);
                client.wait_for("served").await;
                while client.produce().await != ErrorCode::None {
                    client.life.world.sleep(BACKOFF).await;
                }
                assert_eq!(client.read_at_last(7).await, ErrorCode::None);
                client.wait_for("over").await;
            });
        run_until(&mut world, &stage, "to be filled");
        let down = Duration::from_millis(100);
        world.inject(match power_loss {
            true => SimFault::PowerLoss { node: broker, down },
            false => SimFault::Kill { node: broker, down },
        });
        world.inject(no_room_in_logs(broker));
        stage.set("filled");
        run_until(&mut world, &stage, "served");
        world.disk(broker).forget_plan();
        stage.set("emptied");
        run_until(&mut world, &stage, "over");
        assert!(!ended.load(Ordering::Relaxed), "the node goes on");
    }
}

/// More often than a partition may fail.
#[test]
fn writes_that_find_no_room_while_a_log_is_compacted_cost_no_partition() {
    let settings: Settings = &[
        ("metadata.log.dir", "/m"),
        ("log.dirs", "/data"),
        ("log.cleaner.backoff.ms", "20"),
        ("log.cleaner.io.max.bytes.per.second", "100000"),
    ];
    let options = SimOptions::seed(4);
    let Scene { mut world, tree, ended, broker, stage } =
        scene(options, settings, |mut client| async move {
            client.create_with(&[("cleanup.policy", "compact")]).await;
            loop {
                for _ in 0..12 {
                    while client.produce().await != ErrorCode::None {
                        client.life.world.sleep(BACKOFF).await;
                    }
                }
                client.wait_for("dirty").await;
                assert_ne!(client.produce().await, ErrorCode::None);
                client.wait_for("refused").await;
            }
        });
    for round in 0..6 {
        run_until(&mut world, &stage, "dirty");
        let compacted = || tree.states("partition").iter().any(|s| s.contains("being compacted"));
        assert!(world.run_until(LIMIT, compacted), "round {round}: {:?}", tree.states("partition"));
        world.inject(no_room_in_logs(broker));
        stage.set("filled");
        run_until(&mut world, &stage, "refused");
        world.disk(broker).forget_plan();
        stage.set("emptied");
    }
    run_until(&mut world, &stage, "dirty");
    assert!(!ended.load(Ordering::Relaxed), "the node goes on");
}

/// Short of room, a topic keeps the share of its retention that `ottla.disk.early.retention` says.
#[test]
fn what_may_go_early_goes_where_room_is_short() {
    let kept = |settings: Settings| {
        let disk_capacity_bytes = CAPACITY;
        let options = SimOptions { disk_capacity_bytes, ..SimOptions::seed(5) };
        let Scene { mut world, broker, stage, .. } =
            scene(options, settings, |mut client| async move {
                client.create_with(&[("retention.bytes", "41943040")]).await;
                // Until it is short, and a bit more: with what goes early there is room for it.
                for _ in 0..315 {
                    assert_eq!(client.produce().await, ErrorCode::None);
                    client.life.world.sleep(BACKOFF).await;
                }
                client.wait_for("short").await;
            });
        run_until(&mut world, &stage, "short");
        world.run_for(Duration::from_secs(15));
        world.disk(broker).used_bytes() >> 20
    };
    let whole = kept(&[("ottla.disk.early.retention", "1.0")]);
    assert!((38..45).contains(&whole), "{whole} MiB");
    let early = kept(&[("ottla.disk.early.retention", "0.25")]);
    assert!((9..25).contains(&early), "{early} MiB");
}

/// Of some 4 MB: a tenth, a twentieth and a fortieth are more than each mark.
#[test]
fn room_is_judged_by_the_marks_that_are_given_as_often_as_is_asked_for() {
    const INTERVAL: Duration = Duration::from_secs(7);
    let settings: Settings = &[
        ("metadata.log.dir", "/m"),
        ("log.dirs", "/data"),
        ("ottla.disk.warn.free.bytes", "300000"),
        ("ottla.disk.retain.free.bytes", "150000"),
        ("ottla.disk.refuse.free.bytes", "60000"),
        ("ottla.disk.check.interval.ms", "7000"),
    ];
    let Scene { mut world, tree, broker, stage, .. } =
        scene(SimOptions::seed(6), settings, |mut client| async move {
            client.create().await;
            for _ in 0..20 {
                assert_eq!(client.produce().await, ErrorCode::None);
            }
            client.wait_for("to be filled").await;
        });
    run_until(&mut world, &stage, "to be filled");
    let said = || tree.states("log-dir").concat();
    let leave = |world: &mut Simulation, free: u64| {
        let bytes = world.disk(broker).used_bytes() + free;
        world.inject(SimFault::DiskCapacity { node: broker, bytes });
    };
    leave(&mut world, 330_000);
    world.run_for(INTERVAL * 2);
    assert!(said().contains("enough room"), "{}", said());
    let mut looked = None;
    for (free, expected) in [(180_000, "LOW ON ROOM"), (80_000, "SHORT OF ROOM"), (40_000, "FULL")]
    {
        leave(&mut world, free);
        assert!(world.run_until(LIMIT, || said().contains(expected)), "{free} free: {}", said());
        let now = world.now();
        if let Some(before) = looked.replace(now) {
            let took = now - before;
            assert!((INTERVAL..INTERVAL + Duration::from_secs(1)).contains(&took), "{took:?}");
        }
    }
}

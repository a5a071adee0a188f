//! What nodes of a cluster do about each other: a controller alone, and two brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{ErrorCode, coordinator_partition};
use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, NodeIndex, SimFault, SimOptions};
use wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::{
    CreateTopicsRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    OffsetCommitRequest, Request,
};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;
const OFFSETS: &str = "__consumer_offsets";
const LIMIT: Duration = Duration::from_secs(10);
const DOWN: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(300);

fn file(settings: &[(&str, &str)]) -> String {
    let settings: String =
        settings.iter().map(|(name, value)| format!("\"{name}\" = {value:?}\n")).collect();
    let brokers = (2..=3).map(|id| {
        format!("[[node]]\nid = {id}\nroles = [\"broker\"]\nlisten = \"n{id}:9092\"\ndata = [\"/a\", \"/b\"]\n")
    });
    format!(
        "[settings]\n{settings}[[node]]\nid = 1\nroles = [\"controller\"]\ncontroller = \"n1:9093\"\ndata = \"/data\"\n{}",
        brokers.collect::<String>()
    )
}

/// A cluster in which a client does something, once it is there.
struct Scene {
    cluster: Cluster,
    done: Arc<AtomicBool>,
}

fn node(id: i32) -> NodeIndex {
    NodeIndex(usize::try_from(id - 1).expect("an id"))
}

async fn ask<R: Request>(life: &Life, host: &str, request: &R) -> R::Response {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    loop {
        if let Ok(connection) = Connection::open(&life.world, host, 9092, &config).await
            && let Ok(answer) = connection.request(request, LIMIT).await
        {
            return answer;
        }
        life.world.sleep(Duration::from_millis(50)).await;
    }
}

/// All partitions are with both brokers, the second of which is the preferred leader.
async fn create(life: &Life) {
    let placed = (0..PARTITIONS).map(|partition_index| CreatableReplicaAssignment {
        partition_index,
        broker_ids: vec![3, 2],
        ..Default::default()
    });
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: placed.collect(),
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
    loop {
        let answer = ask(life, "n2", &request).await;
        match ErrorCode::from_code(answer.topics[0].error_code) {
            ErrorCode::None | ErrorCode::TopicAlreadyExists => return,
            // The other broker is not there yet.
            _ => life.world.sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Scene {
    fn start<F: Future<Output = ()> + Send + 'static>(
        settings: &[(&str, &str)],
        script: impl Fn(Life) -> F + Send + Sync + 'static,
    ) -> Scene {
        let mut cluster = Cluster::new(SimOptions::seed(5), &file(settings)).expect("a file");
        let (done, script) = (Arc::new(AtomicBool::new(false)), Arc::new(script));
        let told = done.clone();
        cluster.world.add_node("client", move |life| {
            let (told, script) = (told.clone(), script.clone());
            async move {
                script(life).await;
                told.store(true, Ordering::Relaxed);
            }
        });
        Scene { cluster, done }
    }

    fn until_done(&mut self) {
        let done = self.done.clone();
        let is_done = self.cluster.run_until(LONG, |_| done.load(Ordering::Relaxed));
        assert!(is_done, "the client waits");
    }

    /// -1 for none.
    fn leader(&self, topic: &str) -> Option<(i32, Vec<i32>)> {
        let image = self.cluster.view(1)?.metadata();
        let partition = image.topics.by_name(topic)?.partition(0)?;
        Some((partition.leader, partition.isr.clone()))
    }

    /// How long until it leads the topic.
    fn until_led(&mut self, leader: i32, limit: Duration) -> Option<Duration> {
        let begin = self.cluster.world.now();
        while self.cluster.world.now() < begin + limit {
            if self.leader(TOPIC).is_some_and(|(is, _)| is == leader) {
                return Some(self.cluster.world.now() - begin);
            }
            self.cluster.tick();
        }
        None
    }

    fn until_in_sync(&mut self, count: usize) {
        let begin = self.cluster.world.now();
        while self.leader(TOPIC).is_none_or(|(_, isr)| isr.len() != count) {
            assert!(self.cluster.world.now() < begin + LONG, "{:?}", self.leader(TOPIC));
            self.cluster.tick();
        }
    }

    fn kill(&mut self, id: i32, down: Duration) {
        self.cluster.world.inject(SimFault::Kill { node: node(id), down });
    }
}

/// A cluster in which the preferred leader has died and is back, in sync.
fn led_by_another(settings: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::start(settings, |life| async move { create(&life).await });
    scene.until_done();
    scene.until_in_sync(2);
    assert!(scene.until_led(3, LIMIT).is_some());
    scene.kill(3, DOWN);
    assert!(scene.until_led(2, LIMIT).is_some());
    scene.until_in_sync(2);
    scene
}

#[test]
fn leadership_goes_back_to_who_is_preferred_as_often_as_is_looked() {
    const INTERVAL: &str = "leader.imbalance.check.interval.seconds";
    let enabled = [("auto.leader.rebalance.enable", "true"), (INTERVAL, "40")];
    let took = led_by_another(&enabled).until_led(3, LONG).expect("it leads again");
    assert!(took < Duration::from_secs(41), "{took:?}");
    let rarely = [enabled[0], (INTERVAL, "120")];
    let took = led_by_another(&rarely).until_led(3, LONG).expect("it leads again");
    assert!(took > Duration::from_secs(60), "{took:?}");
    let disabled = [("auto.leader.rebalance.enable", "false"), (INTERVAL, "40")];
    assert_eq!(led_by_another(&disabled).until_led(3, Duration::from_secs(60)), None);
}

/// Creates the topic, and lets any replica of it lead once it is told to.
async fn allow_unclean(life: Life, told: Arc<AtomicBool>) {
    create(&life).await;
    while !told.load(Ordering::Relaxed) {
        life.world.sleep(Duration::from_millis(50)).await;
    }
    let config = AlterableConfig {
        name: "unclean.leader.election.enable".into(),
        value: Some("true".into()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: TOPIC.into(),
        configs: vec![config],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    while ask(&life, "n2", &request).await.responses[0].error_code != 0 {
        life.world.sleep(Duration::from_millis(50)).await;
    }
}

/// The only replica in sync has died, and then the other one is allowed to lead.
#[test]
fn an_unclean_leader_is_elected_where_it_is_allowed_as_often_as_is_looked() {
    for (interval_ms, expected) in [("5000", 0..6), ("250000", 60..251)] {
        let told = Arc::new(AtomicBool::new(false));
        let (tell, settings) =
            (told.clone(), [("unclean.leader.election.interval.ms", interval_ms)]);
        let mut scene = Scene::start(&settings, move |life| allow_unclean(life, told.clone()));
        scene.until_in_sync(2);
        scene.kill(2, DOWN);
        scene.until_in_sync(1);
        scene.kill(3, 2 * LONG);
        assert!(scene.until_led(-1, LIMIT).is_some(), "nobody leads");
        let is_back = |cluster: &Cluster| {
            let known = cluster.view(1).map(|view| view.metadata());
            known.is_some_and(|image| image.broker(2).is_some_and(|broker| !broker.fenced))
        };
        assert!(scene.cluster.run_until(LONG, is_back));
        assert_eq!(scene.until_led(2, LIMIT), None, "it is not in sync");
        tell.store(true, Ordering::Relaxed);
        scene.until_done();
        let took = scene.until_led(2, LONG).expect("it leads uncleanly");
        assert!(expected.contains(&took.as_secs()), "{interval_ms}: {took:?}");
    }
}

/// Its offsets are to be with both brokers, one of which does nothing.
async fn commit_in_vain(life: Life, paused: Arc<AtomicBool>) {
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let coordinator = loop {
        let found = ask(&life, "n2", &find).await.coordinators.remove(0);
        if found.error_code == 0 {
            break found.host;
        }
        life.world.sleep(Duration::from_millis(50)).await;
    };
    create(&life).await;
    let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let connection =
        Connection::open(&life.world, &coordinator, 9092, &config).await.expect("it is there");
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let commit = async || {
        let answer = connection.request_in(&request, 9, LIMIT).await.expect("an answer");
        ErrorCode::from_code(answer.topics[0].partitions[0].error_code)
    };
    while commit().await != ErrorCode::None {
        life.world.sleep(Duration::from_millis(50)).await;
    }
    paused.store(true, Ordering::Relaxed);
    life.world.sleep(Duration::from_millis(200)).await;
    let begin = life.world.mono();
    assert_eq!(commit().await, ErrorCode::CoordinatorNotAvailable);
    let took = life.world.mono() - begin;
    let expected = Duration::from_millis(1500)..Duration::from_millis(1800);
    assert!(expected.contains(&took), "{took:?}");
}

#[test]
fn a_commit_waits_for_all_in_sync_no_longer_than_it_may() {
    assert_eq!(coordinator_partition("g", 1), 0);
    let settings = [
        ("offsets.commit.timeout.ms", "1500"),
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "2"),
    ];
    let pause = Arc::new(AtomicBool::new(false));
    let told = pause.clone();
    let mut scene = Scene::start(&settings, move |life| commit_in_vain(life, told.clone()));
    assert!(scene.cluster.run_until(LONG, |_| pause.load(Ordering::Relaxed)));
    let (leader, isr) = scene.leader(OFFSETS).expect("a topic");
    let follower = isr.into_iter().find(|id| *id != leader).expect("both are in sync");
    scene.cluster.world.inject(SimFault::Pause { node: node(follower), lasting: LONG });
    scene.until_done();
}

/// `broker.session.timeout.ms`, of which some may have passed when the broker is last heard of.
#[test]
fn a_broker_that_dies_is_replaced_at_once_or_when_its_session_ends() {
    for (fast, session_ms, expected) in
        [("true", "9000", 0..1), ("false", "9000", 6..12), ("false", "20000", 17..24)]
    {
        let settings = [("ottla.failover.fast", fast), ("broker.session.timeout.ms", session_ms)];
        let mut scene = Scene::start(&settings, |life| async move { create(&life).await });
        scene.until_done();
        scene.until_in_sync(2);
        // Until the controller has greeted them.
        scene.cluster.run_for(Duration::from_secs(3));
        scene.kill(3, 2 * LONG);
        let took = scene.until_led(2, LONG).expect("another one leads");
        assert!(expected.contains(&took.as_secs()), "{fast} {session_ms}: {took:?}");
    }
}

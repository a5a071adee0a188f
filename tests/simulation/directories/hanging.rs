//! A log directory whose device hangs: what is in the other one is served, and the controller goes on.

use ottla::client::{ClientConfig, Connection};
use ottla::sim::Cluster;
use wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};

use super::*;

/// More than jobs run at a time.
const HELD: i32 = 24;
const HANGS: Duration = Duration::from_secs(40);

impl Client {
    /// One record to each partition, asked once: whether it was answered.
    async fn produce_to_all(&mut self, topic: &str, value: &str) -> bool {
        let one = |index| produce_one(topic, index, START_WALL_MS, None, value.as_bytes());
        let mut request = one(0);
        let others = (1..HELD).flat_map(|index| one(index).topic_data);
        let others: Vec<_> = others.flat_map(|topic| topic.partition_data).collect();
        request.topic_data[0].partition_data.extend(others);
        request.timeout_ms = 2000;
        while !self.wire.connect().await {}
        let answer = self.wire.ask(&request, 9).await;
        let data = answer.map(|answer| answer.responses).unwrap_or_default();
        data.iter().flat_map(|t| &t.partition_responses).filter(|p| p.error_code == 0).count()
            == HELD as usize
    }

    async fn one_directory_hangs(mut self) {
        self.cordon("/a", &["/a"]).await;
        let held = create_topic("held", HELD, &[]);
        self.wire.ask_until_answered(&held, 7).await;
        self.cordon("", &[]).await;
        while !self.produce_to_all("held", "before").await {
            self.life.world.sleep(BACKOFF).await;
        }
        let begun = self.life.world.mono();
        self.next_fault();
        self.life.world.sleep(BACKOFF).await;
        let answered = self.produce_to_all("held", "during").await;
        self.expect(!answered, || "it does not hang".to_owned());
        // The controller takes it, and its replicas are where there are fewest.
        self.create(false).await;
        for index in 0..PARTITIONS {
            let taken = self.produce(index, "during").await;
            self.expect(taken == ErrorCode::None, || format!("{index}: {taken:?}"));
            let values = self.values(index).await;
            self.expect(values.last().is_some_and(|v| v == "during"), || format!("{values:?}"));
        }
        let took = self.life.world.mono().saturating_sub(begun);
        self.expect(took < HANGS / 2, || format!("they waited for it: {took:?}"));
        while !self.produce_to_all("held", "after").await {
            self.life.world.sleep(BACKOFF).await;
        }
        let took = self.life.world.mono().saturating_sub(begun);
        self.expect(took >= HANGS, || format!("it was over after {took:?}"));
    }
}

#[test]
fn one_directory_hangs_and_the_other_serves_on() {
    let hangs = |node| {
        let path_contains = "/b".to_owned();
        vec![SimFault::HangDisk { node, path_contains, lasting: HANGS }]
    };
    check(|client| Box::pin(client.one_directory_hangs()), hangs);
}

/// A controller, and two brokers of two directories each, where what is in the log is on the disk.
const CLUSTER: &str = "[settings]\n\"log.flush.interval.messages\" = \"1\"\n\
    [[node]]\nid = 1\nroles = [\"controller\"]\ncontroller = \"n1:9093\"\ndata = \"/data\"\n\
    [[node]]\nid = 2\nroles = [\"broker\"]\nlisten = \"n2:9092\"\ndata = [\"/a\", \"/b\"]\n\
    [[node]]\nid = 3\nroles = [\"broker\"]\nlisten = \"n3:9092\"\ndata = [\"/a\", \"/b\"]\n";
const FOLLOWED: usize = 8;
/// Not long enough to fall out of the ISR.
const FOLLOWER_HANGS: Duration = Duration::from_secs(25);

/// All are led by broker 2 and followed by broker 3, in both of its directories.
fn followed() -> CreateTopicsRequest {
    let assignments = (0..FOLLOWED as i32).map(|partition_index| CreatableReplicaAssignment {
        partition_index,
        broker_ids: vec![2, 3],
        ..Default::default()
    });
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() }
}

/// Produces to one partition, record by record, and counts what all replicas have.
async fn produce_on(life: Life, index: usize, acknowledged: Arc<[AtomicU32; FOLLOWED]>) {
    let limit = Duration::from_secs(10);
    let config = ClientConfig { request_timeout: limit, ..ClientConfig::default() };
    loop {
        life.world.sleep(BACKOFF).await;
        let Ok(leader) = Connection::open(&life.world, "n2", 9092, &config).await else { continue };
        let _ = leader.request(&followed(), limit).await;
        let record = produce_one(TOPIC, index as i32, START_WALL_MS, None, b"value");
        while let Ok(answer) = leader.request_in(&record, 9, limit).await {
            match answer.responses[0].partition_responses[0].error_code {
                0 => acknowledged[index].fetch_add(1, Ordering::Relaxed),
                _ => break,
            };
        }
    }
}

#[test]
fn one_directory_of_a_follower_hangs_and_what_it_follows_in_the_other_goes_on() {
    let mut cluster = Cluster::new(SimOptions::seed(3), CLUSTER).expect("a cluster's file");
    let acknowledged: Arc<[AtomicU32; FOLLOWED]> = Arc::default();
    for index in 0..FOLLOWED {
        let told = acknowledged.clone();
        let produce = move |life| produce_on(life, index, told.clone());
        cluster.world.add_node(&format!("client-{index}"), produce);
    }
    let counts = || acknowledged.each_ref().map(|count| count.load(Ordering::Relaxed));
    let in_sync = |cluster: &Cluster| {
        let image = cluster.view(1).map(|view| view.metadata());
        let topic = image.as_ref().and_then(|image| image.topics.by_name(TOPIC));
        let all =
            |id| topic.and_then(|topic| topic.partition(id)).is_some_and(|p| p.isr.len() == 2);
        (0..FOLLOWED as i32).all(all)
    };
    let begun = |cluster: &Cluster| in_sync(cluster) && counts().iter().all(|count| *count > 10);
    assert!(cluster.run_until(LIMIT, begun), "{:?}", counts());
    let (node, path_contains) = (NodeIndex(2), "/b".to_owned());
    cluster.world.inject(SimFault::HangDisk { node, path_contains, lasting: FOLLOWER_HANGS });
    let before = counts();
    cluster.run_for(FOLLOWER_HANGS / 2);
    let more = |now: [u32; FOLLOWED]| {
        now.iter().zip(before).filter(|(now, before)| *now - before > 10).count()
    };
    assert_eq!(more(counts()), FOLLOWED / 2, "{before:?} {:?}", counts());
    assert!(in_sync(&cluster));
    assert!(cluster.run_until(LIMIT, |_| more(counts()) == FOLLOWED), "{:?}", counts());
}

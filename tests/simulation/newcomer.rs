//! A voter whose directory is lost starts on an empty one: what it had acknowledged is not lost by the help of its vote.

use std::path::Path;
use std::time::Duration;

use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, NodeIndex, SimFault, SimOptions};
use wire::CreateTopicsRequest;
use wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};

use crate::cluster::{LIMIT, file};

const TOPIC: &str = "held";
const SOON: Duration = Duration::from_secs(30);
const LAGS: NodeIndex = NodeIndex(2);
const LOSES: NodeIndex = NodeIndex(0);
const HOLDS: NodeIndex = NodeIndex(1);

/// Makes the topic as soon as `LAGS` is down.
async fn create(life: Life) {
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let replicas = CreatableReplicaAssignment { broker_ids: vec![4], ..Default::default() };
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![replicas],
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
    let reaches = async |name| Connection::open(&life.world, name, 9092, &config).await;
    loop {
        if reaches("n3").await.is_err()
            && let Ok(connection) = reaches("n4").await
        {
            let _ = connection.request(&request, LIMIT).await;
        }
        life.world.sleep(Duration::from_millis(100)).await;
    }
}

fn knows(cluster: &Cluster, id: i32) -> bool {
    cluster.view(id).is_some_and(|view| view.metadata().topics.by_name(TOPIC).is_some())
}

/// Its log has records.
fn is_led(cluster: &Cluster, id: i32) -> bool {
    cluster.view(id).is_some_and(|view| {
        let quorum = view.quorum();
        quorum.leader.is_some() && quorum.high_watermark > 0
    })
}

#[test]
fn with_who_lags_it_elects_nobody_who_lacks_what_it_had() {
    for seed in 0..3 {
        let mut cluster = Cluster::new(SimOptions::seed(seed), &file()).expect("a cluster's file");
        let begun = |cluster: &Cluster| [1, 2, 3].iter().all(|id| is_led(cluster, *id));
        assert!(cluster.run_until(SOON, begun), "seed {seed}: no leader");
        cluster.world.inject(SimFault::Kill { node: LAGS, down: SOON });
        cluster.world.add_node("client", create);
        let held = |cluster: &Cluster| knows(cluster, 1) && knows(cluster, 2);
        assert!(cluster.run_until(SOON / 2, held), "seed {seed}: no topic");
        cluster.world.inject(SimFault::Kill { node: LOSES, down: SOON });
        cluster.world.inject(SimFault::Kill { node: HOLDS, down: SOON * 3 });
        cluster.run_until(SOON, |cluster| cluster.view(1).is_none());
        let disk = cluster.world.disk(LOSES).mount();
        disk.remove_dir_all(Path::new("/data")).expect("a directory that goes");
        let back = |cluster: &Cluster| cluster.view(1).is_some() && cluster.view(3).is_some();
        assert!(cluster.run_until(SOON * 2, back), "seed {seed}: they do not start");
        let elected = |cluster: &Cluster| is_led(cluster, 1) || is_led(cluster, 3);
        cluster.run_until(SOON, elected);
        assert!(!elected(&cluster), "seed {seed}: elected by who may have lost what was committed");
        let whole = |cluster: &Cluster| [1, 2, 3].iter().all(|id| knows(cluster, *id));
        assert!(cluster.run_until(SOON * 4, whole), "seed {seed}: what was committed is lost");
    }
}

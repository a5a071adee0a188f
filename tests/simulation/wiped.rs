//! A node that comes back with an empty directory gets all again that the others hold, and takes nothing from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::Uuid;
use ottla::client::{Client, ClientConfig, ProducerConfig, ProducerRecord};
use ottla::sim::{Cluster, Life, NodeIndex, SimFault, SimOptions};

use crate::cluster::{LIMIT, file};
use crate::eligible::create;

const TOPIC: &str = "held";
const VOTERS: [i32; 3] = [1, 2, 3];
const DOWN: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(60);

/// Produces as long as it lives.
async fn work(life: Life) {
    create(life.clone(), TOPIC, VOTERS.to_vec()).await;
    let bootstrap = VOTERS.map(|id| format!("n{id}:9092"));
    let config =
        ClientConfig { connect_timeout: LIMIT, request_timeout: LIMIT, ..ClientConfig::default() };
    let client = Client::with_config(&life.world, bootstrap, config).expect("addresses");
    let producer = client.producer(ProducerConfig::default());
    loop {
        let _ = producer.send(ProducerRecord::to(TOPIC).value("held by all")).await.await;
        life.world.sleep(Duration::from_millis(20)).await;
    }
}

/// What was seen of the quorum, and must stay so.
#[derive(Default)]
struct Watched {
    leaders: BTreeMap<i32, i32>,
    /// So many records are committed.
    held: i64,
}

impl Watched {
    fn look(&mut self, cluster: &Cluster) {
        for view in VOTERS.iter().filter_map(|id| cluster.view(*id)) {
            let quorum = view.quorum();
            if let Some(leader) = quorum.leader {
                let known = *self.leaders.entry(quorum.epoch).or_insert(leader);
                assert_eq!(known, leader, "two leaders in epoch {}", quorum.epoch);
            }
            if let Some(replica) = view.replica(TOPIC, 0).filter(|replica| replica.leads) {
                let end = replica.log_end_offset;
                assert!(end >= self.held, "{end} of {} records are held", self.held);
                self.held = self.held.max(replica.high_watermark);
            }
        }
    }

    fn until(&mut self, cluster: &mut Cluster, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let end = cluster.world.now() + SOON;
        while !is_so(cluster) {
            assert!(cluster.world.now() < end, "not {what}");
            cluster.tick();
            self.look(cluster);
        }
    }
}

/// The highest end of the metadata that anybody knows to be committed, and how many records the topic holds.
fn committed(cluster: &Cluster) -> (i64, i64) {
    let views = || VOTERS.iter().filter_map(|id| cluster.view(*id));
    let metadata = views().map(|view| view.quorum().high_watermark).max();
    let records = views().filter_map(|view| view.replica(TOPIC, 0)).map(|r| r.high_watermark).max();
    (metadata.unwrap_or(-1), records.unwrap_or(-1))
}

fn in_sync(cluster: &Cluster) -> bool {
    let of = |id: &i32| {
        let image = cluster.view(*id)?.metadata();
        let isr = image.topics.by_name(TOPIC)?.partitions.get(&0)?.isr.len();
        Some(isr == VOTERS.len())
    };
    VOTERS.iter().all(|id| of(id) == Some(true))
}

fn wipe(cluster: &mut Cluster, id: i32) {
    let node = NodeIndex(id as usize - 1);
    cluster.world.inject(SimFault::Kill { node, down: DOWN });
    cluster.run_until(SOON, |cluster| cluster.view(id).is_none());
    let disk = cluster.world.disk(node).mount();
    disk.remove_dir_all(Path::new("/data")).expect("a directory that goes");
}

/// Its directory's id is another one, and it has registered with that.
fn directory(cluster: &Cluster, id: i32) -> Option<Uuid> {
    let image = cluster.view(1 + id % 3)?.metadata();
    image.broker(id).filter(|broker| !broker.fenced)?.directories.first().copied()
}

#[test]
fn a_node_whose_directory_is_gone_has_all_of_it_again() {
    let mut cluster = Cluster::new(SimOptions::seed(11), &file()).expect("a cluster's file");
    cluster.world.add_node("client", work);
    let mut watched = Watched::default();
    watched.until(&mut cluster, "in sync", |cluster| in_sync(cluster) && committed(cluster).1 > 50);
    // The leaders of the quorum and of the partition are among them.
    for victim in VOTERS {
        let (metadata, records) = committed(&cluster);
        let before = directory(&cluster, victim);
        wipe(&mut cluster, victim);
        watched.until(&mut cluster, "back", |cluster| {
            let now = directory(cluster, victim);
            now.is_some() && now != before && in_sync(cluster)
        });
        let view = cluster.view(victim).expect("a node");
        assert!(view.quorum().high_watermark >= metadata, "of the metadata, {metadata} were there");
        let again = view.replica(TOPIC, 0).expect("a replica");
        assert!(again.log_end_offset >= records && again.log_start_offset == 0, "{again:?}");
        watched.until(&mut cluster, "at work", |cluster| committed(cluster).1 > records + 50);
    }
}

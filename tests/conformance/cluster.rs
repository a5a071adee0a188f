//! Three nodes of one cluster file, each a process: one quorum, topics on all of them, and the death of each in turn, the one that
//! leads the metadata log among them: another one leads before any timeout has passed.

use crate::clients;
use crate::flights::{self, digest};
use crate::node::{self, Node};
use crate::requests;
use rdkafka::consumer::Consumer;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const NODES: usize = 3;

/// A leader that died is seen to be dead, or its followers wait for it for ten minutes.
const PATIENT: [&str; 1] = ["\"controller.quorum.fetch.timeout.ms\" = 600000"];

/// A file of nodes that listen here, for clients and as controllers, with their data in `data-0` and so on beside it.
pub fn cluster_file(
    home: &TempDir,
    addresses: &[(SocketAddr, SocketAddr)],
    settings: &[&str],
) -> PathBuf {
    let settings = settings.join("\n");
    let mut text = format!("[cluster]\nname = \"three\"\n[settings]\n{settings}\n");
    for (index, (listen, controller)) in addresses.iter().enumerate() {
        let data = home.path().join(format!("data-{index}"));
        write!(
            text,
            "[[node]]\nid = {}\nlisten = \"{listen}\"\ncontroller = \"{controller}\"\ndata = {data:?}\n",
            index + 1
        )
        .expect("text");
    }
    let file = home.path().join("cluster.toml");
    std::fs::write(&file, text).expect("a cluster's file");
    file
}

/// The nodes, and the directory that holds their file and their data.
pub fn start(settings: &[&str]) -> (Vec<Node>, TempDir) {
    start_shown(settings, None)
}

/// The same, the first with a console.
pub fn start_shown(settings: &[&str], console: Option<SocketAddr>) -> (Vec<Node>, TempDir) {
    let home = TempDir::new().expect("a temporary directory");
    let addresses: Vec<(SocketAddr, SocketAddr)> =
        (0..NODES).map(|_| (node::free_address(), node::free_address())).collect();
    let file = cluster_file(&home, &addresses, settings);
    // Each waits for a majority of the others.
    let start_one = |index: usize| {
        let id = (index + 1).to_string();
        let file = file.to_string_lossy();
        let console = console.filter(|_| index == 0).map(|address| address.to_string());
        let console = console.as_deref().unwrap_or("off");
        let args = ["start", "--config", &file, "--node", &id, "--console", console];
        let own = TempDir::new().expect("a temporary directory");
        Node::start_by(own, addresses[index].0, args.map(str::to_owned).to_vec())
    };
    let nodes = thread::scope(|scope| {
        let starting: Vec<_> =
            (0..NODES).map(|index| scope.spawn(move || start_one(index))).collect();
        starting.into_iter().map(|node| node.join().expect("a node")).collect()
    });
    (nodes, home)
}

/// Until each partition's leader is back, and known to the others.
pub fn wait_until_led(bootstrap: &str, topic: &str) {
    let begin = Instant::now();
    let client = clients::member(bootstrap, "observer", &[]);
    let one = |partition| client.fetch_watermarks(topic, partition, Duration::from_secs(10));
    while let Some(error) = (0..clients::PARTITIONS).find_map(|partition| one(partition).err()) {
        assert!(begin.elapsed() < clients::LIMIT, "{error}");
    }
}

#[test]
fn three_nodes_are_one_cluster_through_the_death_of_each() {
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        eprintln!("SKIPPED: it needs processes of its own, OTTLA_BOOTSTRAP is set");
        return;
    }
    let _turn = node::turn();
    let (mut nodes, _home) = start(&PATIENT);
    let topic = crate::unique("cluster");
    requests::create_topic_anywhere(&mut nodes[1].connect(), &topic, clients::PARTITIONS, &[]);
    let flights = flights::load(5_000);
    clients::produce(&clients::producer(&nodes[2].bootstrap(), &[]), &topic, &flights);
    for victim in 0..NODES {
        let mut other = nodes[(victim + 1) % NODES].connect();
        nodes[victim].kill_and_restart_after(|_| {
            requests::create_topic_anywhere(&mut other, &crate::unique("later"), 3, &[]);
        });
        wait_until_led(&nodes[victim].bootstrap(), &topic);
        let read = clients::read_topic(&nodes[victim].bootstrap(), &topic);
        let read = clients::in_order(read);
        assert_eq!(digest(read.iter().map(|r| &r.flight)), digest(&flights));
    }
}

//! The nodes of a cluster's file in one process, and a process of whose words nobody hears any more.

use crate::clients;
use crate::cluster::{NODES, cluster_file};
use crate::commands::{get, is_foreign, words};
use crate::flights::{self, digest};
use crate::node::{self, Node, free_address};
use crate::observed::fault;
use crate::raw::{Bytes, Connection};
use crate::requests;
use rdkafka::consumer::Consumer;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

fn addresses() -> Vec<(SocketAddr, SocketAddr)> {
    (0..NODES).map(|_| (free_address(), free_address())).collect()
}

fn start_all(file: &Path) -> Vec<String> {
    words(&["start", "--config", &file.to_string_lossy(), "--console", "off"])
}

fn assert_closed_in_order(home: &TempDir) {
    for index in 0..NODES {
        let mark = home.path().join(format!("data-{index}/.kafka_cleanshutdown"));
        assert!(mark.exists(), "{mark:?}");
    }
}

#[test]
fn without_a_number_all_nodes_of_the_file_are_in_one_process() {
    if is_foreign("without_a_number_all_nodes_of_the_file_are_in_one_process") {
        return;
    }
    let _turn = node::turn();
    let (home, addresses) = (TempDir::new().expect("a temporary directory"), addresses());
    let file = cluster_file(&home, &addresses, &[]);
    let own = TempDir::new().expect("a temporary directory");
    let mut node = Node::start_by(own, addresses[0].0, start_all(&file));
    for (index, (listen, _)) in addresses.iter().enumerate() {
        node.wait_to_hear(&format!("is ready on {listen} after "));
        let said = node.said();
        let ready = format!("ottla: node {} of cluster ", index + 1);
        let line = said.lines().find(|line| line.starts_with(&ready)).expect("a ready line");
        let took = line.rsplit_once(" after ").and_then(|(_, took)| took.strip_suffix(" ms"));
        assert!(took.is_some_and(|took| took.parse::<u64>().is_ok()), "{line}");
    }
    let topic = crate::unique("together");
    let replicas = (clients::PARTITIONS, NODES as i16);
    requests::create_replicated(&mut node.connect(), &topic, replicas, &[]);
    let flights = flights::load(2_000);
    clients::produce(&clients::producer(&addresses[1].0.to_string(), &[]), &topic, &flights);
    let read = clients::in_order(clients::read_topic(&addresses[2].0.to_string(), &topic));
    assert_eq!(digest(read.iter().map(|r| &r.flight)), digest(&flights));
    let (status, said, _) = node.terminate();
    assert!(status.success(), "{said}");
    let stopped: Vec<&str> = said.lines().filter(|line| line.ends_with(" stopped")).collect();
    assert_eq!(
        stopped,
        ["ottla: node 3 stopped", "ottla: node 2 stopped", "ottla: node 1 stopped"]
    );
    assert_closed_in_order(&home);
}

#[test]
fn a_stop_that_is_cut_short_names_all_that_were_not_waited_for() {
    if is_foreign("a_stop_that_is_cut_short_names_all_that_were_not_waited_for") {
        return;
    }
    let _turn = node::turn();
    let (home, addresses) = (TempDir::new().expect("a temporary directory"), addresses());
    let (file, console) =
        (cluster_file(&home, &addresses, &["\"ottla.faults.enable\" = true"]), free_address());
    let own = TempDir::new().expect("a temporary directory");
    let args = ["start", "--config", &file.to_string_lossy(), "--console", &console.to_string()];
    let mut node = Node::start_by(own, addresses[0].0, words(&args));
    node.wait_to_hear(&format!("is ready on {} after ", addresses[2].0));
    // The nodes stop one after the other, the last first.
    fault(console, &["pause", "node-3/partitions", "--for", "600s"]).expect("it is there");
    node.ask_to_stop();
    node.wait_to_hear("ottla: node 3 is stopping: ");
    node.ask_to_stop();
    let (status, said) = node.wait_for_its_end();
    assert!(!status.success() && said.contains("nodes 1, 2, 3 were not"), "{status}: {said}");
}

/// Node 1 would wait for a quorum for ever.
#[test]
fn nodes_that_end_before_all_serve_end_the_process() {
    if is_foreign("nodes_that_end_before_all_serve_end_the_process") {
        return;
    }
    let _turn = node::turn();
    let (home, addresses) = (TempDir::new().expect("a temporary directory"), addresses());
    let file = cluster_file(&home, &addresses, &[]);
    let own = TempDir::new().expect("a temporary directory");
    let node = Node::start_by(own, addresses[0].0, start_all(&file));
    let (status, said, own) = node.terminate();
    assert!(status.success(), "{said}");
    for index in 1..NODES {
        let state = format!("data-{index}/__cluster_metadata-0/quorum-state");
        std::fs::write(home.path().join(state), "no state").expect("written");
    }
    let mut node = Node::begin(own, addresses[0].0, start_all(&file));
    let (status, said) = node.wait_for_its_end();
    assert!(!status.success(), "{said}");
    let told = said.lines().any(|l| l.starts_with("ottla: node ") && l.contains(" ended: "));
    assert!(told && said.contains("quorum-state"), "{said}");
}

/// `ottla start | head -1`
#[test]
fn a_process_that_nobody_hears_serves_and_stops_all_the_same() {
    if is_foreign("a_process_that_nobody_hears_serves_and_stops_all_the_same") {
        return;
    }
    let _turn = node::turn();
    let (home, addresses) = (TempDir::new().expect("a temporary directory"), addresses());
    let file = cluster_file(&home, &addresses, &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(start_all(&file)).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ottla");
    drop((child.stdout.take(), child.stderr.take()));
    let begin = Instant::now();
    let bootstrap = addresses[0].0.to_string();
    let client = clients::member(&bootstrap, "observer", &[]);
    while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
        assert!(begin.elapsed() < LIMIT, "it does not serve: {:?}", child.try_wait());
    }
    node::ask_to_stop(&child);
    let status = child.wait().expect("a child");
    assert!(status.success(), "{status}");
    assert_closed_in_order(&home);
}

/// `ottla start 2>&1 | less`: more is said than a pipe holds.
#[test]
fn a_process_whose_words_nobody_reads_serves_and_stops_all_the_same() {
    const SAID: usize = 1_500;
    if is_foreign("a_process_whose_words_nobody_reads_serves_and_stops_all_the_same") {
        return;
    }
    let _turn = node::turn();
    for is_read_at_last in [false, true] {
        let (home, address) = (TempDir::new().expect("a temporary directory"), free_address());
        let mut command = node::start_command(&address.to_string(), &home.path().join("data"));
        command.args(["--set", "default.replication.factor=3"]);
        let mut child = command.spawn().expect("ottla");
        let begin = Instant::now();
        while !Connection::try_open(address).is_some_and(|mut c| c.is_served()) {
            assert!(begin.elapsed() < LIMIT, "it does not serve: {:?}", child.try_wait());
        }
        let mut client = Connection::open(address);
        for n in 0..SAID {
            // It cannot be created, which is said.
            let topic = Bytes::new().i32(1).string(&format!("unread-{n:0200}")).done();
            client.ask(requests::METADATA, 1, &topic).body();
        }
        let said = child.stderr.take().expect("a pipe");
        let reader = is_read_at_last.then(|| thread::spawn(|| std::io::read_to_string(said)));
        node::ask_to_stop(&child);
        let status = child.wait().expect("a child");
        assert!(status.success(), "{status}");
        let Some(reader) = reader else { continue };
        let said = reader.join().expect("a thread").expect("text");
        let heard = said.lines().filter(|line| line.contains("unread-")).count();
        let lost = said.lines().filter_map(|line| {
            line.strip_prefix("ottla: ")?.strip_suffix(" lines are lost here: nobody read them")
        });
        let lost: usize = lost.map(|count| count.parse::<usize>().expect("a number")).sum();
        eprintln!("MEASURED: {heard} of {SAID} lines are heard, {lost} are told as lost");
        assert!(heard < SAID && heard + lost >= SAID, "{heard} are heard, {lost} lost");
    }
}

/// One of three is no quorum: it waits, and shows what it waits for.
#[test]
fn the_console_shows_a_node_that_does_not_serve_yet() {
    if is_foreign("the_console_shows_a_node_that_does_not_serve_yet") {
        return;
    }
    let (home, addresses, console) =
        (TempDir::new().expect("a temporary directory"), addresses(), free_address());
    let file = cluster_file(&home, &addresses, &[]);
    let args = ["start", "--config", &file.to_string_lossy(), "--node", "1"];
    let args = words(&[&args[..], &["--console", &console.to_string()]].concat());
    let own = TempDir::new().expect("a temporary directory");
    let mut node = Node::begin(own, addresses[0].0, args);
    let begin = Instant::now();
    while TcpStream::connect(console).is_err() {
        assert!(begin.elapsed() < LIMIT, "no console:\n{}", node.said());
    }
    while !get(console, "/tree").body.contains("leader none, epoch 0") {
        assert!(begin.elapsed() < LIMIT, "nothing is said of the quorum");
    }
    assert!(get(console, "/metrics").body.contains("ottla_actors"));
    assert!(!node.said().contains("is ready on"), "{}", node.said());
    // Clients go to another one.
    let refused = TcpStream::connect(addresses[0].0).expect_err("a port that nobody serves");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Half requests take the place of nobody's but each other's.
    let half: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(console).expect("the console");
            stream.write_all(b"GET /tree HTTP/1.1\r\n").expect("sent");
            stream
        })
        .collect();
    let (status, drawn) = node::ended(&words(&["tree", "--console", &console.to_string()]));
    assert!(status.success() && drawn.starts_with("node-1 (node)"), "{drawn}");
    let held = std::fs::read_dir(format!("/proc/{}/fd", node.pid().expect("a process")));
    let held = held.expect("its descriptors").count();
    assert!(held < 150, "{held} descriptors, with {} half requests", half.len());
    // Nor is it an error to have seen enough of the tree.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(["tree", "--console", &console.to_string()]).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("ottla");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("a child");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let (status, said, _) = node.terminate();
    assert!(status.success(), "{said}");
}

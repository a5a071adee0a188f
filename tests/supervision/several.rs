//! Several nodes in one process, and the one console that shows them.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla::Node;
use ottla::console::Console;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_of_several_nodes_are_one_exposition() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for id in ["1", "2"] {
        let builder = Node::builder().quick(dir.path().join(id), "127.0.0.1:0", &[("node.id", id)]);
        nodes.push(builder.start().await.unwrap());
    }
    let console = Console::bind("127.0.0.1", 0).await.unwrap();
    let address = console.address().unwrap();
    let serving = tokio::spawn(console.serve(&nodes.iter().collect::<Vec<_>>()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, text) = answer.split_once("\r\n\r\n").expect("a head");

    // Prometheus' text format: a family's lines stand together, behind its one HELP and its one TYPE.
    let (mut seen, mut family) = (BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap();
            assert!(seen.insert(family), "{family} is there twice");
        } else {
            assert!(line.trim_start_matches("# TYPE ").starts_with(family), "{line} in {family}");
        }
    }
    let series: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').expect("a value").0)
        .collect();
    assert_eq!(series.len(), text.lines().filter(|line| !line.starts_with('#')).count());
    for id in ["1", "2"] {
        let raft = format!("ottla_actors{{node=\"{id}\",kind=\"raft\"}}");
        assert!(series.contains(&*raft), "{raft} in {text}");
    }
    serving.abort();
    for node in &nodes {
        let address = node.bootstrap();
        assert!(TcpStream::connect(address).await.is_ok());
        node.stop().await;
        let refused = TcpStream::connect(address).await.expect_err("a port that nobody serves");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

/// Its directories and ports are free for who tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_nobody_waits_for_any_more_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut file = String::new();
    for id in 1..=3 {
        let (listen, controller, data) = (free(), free(), dir.path().join(id.to_string()));
        file += &format!(
            "[[node]]\nid = {id}\nlisten = \"{listen}\"\ncontroller = \"{controller}\"\ndata = {data:?}\n"
        );
    }
    let path = dir.path().join("cluster.toml");
    std::fs::write(&path, file).unwrap();
    let begun = std::time::Instant::now();
    // One of three has no quorum, and does not come to serve.
    let start = |limit| tokio::time::timeout(limit, Node::builder().config(&path, 1).start());
    assert!(start(Duration::from_millis(300)).await.is_err());
    while let Ok(refused) = start(Duration::from_millis(300)).await {
        let refused = refused.err().expect("no quorum");
        assert!(begun.elapsed() < Duration::from_secs(30), "{refused}");
        tokio::task::yield_now().await;
    }
}

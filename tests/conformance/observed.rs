//! What a running node shows of each of its actors.

use crate::batch;
use crate::commands::{get, is_foreign, tree, words};
use crate::node::{Node, ended, free_address};
use crate::requests::{create_topic, produce};
use crate::starting::{assert_refused, home};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

pub fn start(settings: &[&str]) -> (Node, SocketAddr) {
    let (home, address, console) = (home(), free_address(), free_address());
    let (data, at) = (home.path().join("data"), console.to_string());
    let (data, listen) = (data.to_string_lossy().into_owned(), address.to_string());
    let mut args = words(&["start", "--data", &data, "--listen", &listen, "--console", &at]);
    args.extend(settings.iter().flat_map(|set| words(&["--set", set])));
    (Node::start_by(home, address, args), console)
}

pub fn find<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"] == name || tree["kind"] == name {
        return Some(tree);
    }
    let below = tree.as_array().or_else(|| tree["children"].as_array())?;
    below.iter().find_map(|actor| find(actor, name))
}

pub fn forest(console: SocketAddr) -> Value {
    serde_json::from_str(&get(console, "/tree").body).expect("JSON")
}

/// The first actor of this name or kind of which this holds.
pub fn until(console: SocketAddr, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let shown = forest(console);
        match find(&shown, name) {
            Some(actor) if holds(actor) => return actor.clone(),
            found => assert!(begun.elapsed() < LIMIT, "{name}: {found:?}"),
        }
    }
}

fn number(actor: &Value, name: &str) -> u64 {
    actor[name].as_u64().unwrap_or_else(|| panic!("{name} of {actor}"))
}

#[test]
fn each_actor_shows_its_age_its_work_and_what_it_holds() {
    if is_foreign("each_actor_shows_its_age_its_work_and_what_it_holds") {
        return;
    }
    let (node, console) = start(&[]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    let records = batch::of(&[b"an order"]).bytes();
    for _ in 0..20 {
        assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
    }
    let whole = until(console, "node", |_| true);
    let partition = find(&whole, "orders-0").expect("it is in the tree");
    assert!(partition["path"].as_str().is_some_and(|path| path.ends_with("/partitions/orders-0")));
    let messages = partition["messages"].as_array().expect("a list");
    let appends = messages.iter().find(|message| message["name"] == "Append").expect("its name");
    assert_eq!(number(appends, "handled"), 20);
    assert!(number(partition, "mailbox_high") >= 1 && number(partition, "max_micros") > 0);
    let lived = |actor: &Value| (number(actor, "age_ms"), number(actor, "place_age_ms"));
    assert!(lived(partition).0 <= lived(partition).1 && lived(partition).1 < lived(&whole).0);
    assert_eq!(partition["restarted"].as_array().map(Vec::len), Some(0));
    let share = partition["busy_share"].as_f64().expect("a share");
    assert!(share > 0.0 && share < 1.0, "{partition}");

    // The first half of a frame: its bytes are covered by credits until the other comes.
    assert_eq!(until(console, "connection", |_| true)["credits"], 0);
    let (length, half) = ((1i32 << 20).to_be_bytes(), vec![0; 1 << 19]);
    connection.send_bytes(&[&length[..], &half].concat());
    until(console, "connection", |one| one["credits"].as_i64().is_some_and(|held| held > 1 << 18));
    assert!(tree(console).contains(" bytes of credits"));
    drop(connection);
    until(console, "network", |network| find(network, "connection").is_none());
}

pub fn fault(console: SocketAddr, args: &[&str]) -> Result<String, String> {
    let (status, said) =
        ended(&words(&[&["fault"], args, &["--console", &console.to_string()]].concat()));
    if status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn faults_befall_the_actor_that_is_named_where_the_node_allows_it() {
    if is_foreign("faults_befall_the_actor_that_is_named_where_the_node_allows_it") {
        return;
    }
    let (node, console) = start(&[]);
    let said = fault(console, &["kill", "controller"]).expect_err("it was not asked for");
    assert_refused(&said, &["node 1", "ottla.faults.enable=true"]);
    drop(node);

    let (node, console) = start(&["ottla.faults.enable=true"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 2);
    let records = batch::of(&[b"an order"]).bytes();
    let mut write = || produce(&mut connection, "orders", 0, &records).error;
    assert_eq!(write(), 0);
    let of = |name: &str| until(console, name, |actor| actor["status"] == "running");

    assert_refused(&fault(console, &["kill", "order-0"]).unwrap_err(), &["mean", "orders-0"]);
    let below = fault(console, &["kill", "node-1/partitions/orders-1/x"]).unwrap_err();
    assert_refused(&below, &["there is no actor"]);

    assert!(fault(console, &["fail", "partitions/orders-0", "--message", "salted"]).is_ok());
    write();
    let failed = until(console, "orders-0", |actor| actor["restarts"] == 1);
    assert_eq!(failed["last_failure"], "salted");

    assert_eq!(
        fault(console, &["kill", "orders-0"]).unwrap().trim(),
        "node-1/partitions/orders-0 of node 1"
    );
    let killed = until(console, "orders-0", |actor| actor["restarts"] == 2);
    assert_refused(&killed["restarted"].to_string(), &["salted", "killed"]);
    assert_eq!(of("orders-1")["restarts"], 0);
    let begun = Instant::now();
    while write() != 0 {
        assert!(begun.elapsed() < LIMIT, "it does not come back");
    }

    assert_pauses(&node, console, &records);
    assert!(fault(console, &["delay", "orders-0", "--by", "150ms"]).is_ok());
    let begun = Instant::now();
    assert_eq!(write(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert!(fault(console, &["resume", "orders-0"]).is_ok());
}

/// What is sent to one that is paused waits, until it is resumed or the time is over.
fn assert_pauses(node: &Node, console: SocketAddr, records: &[u8]) {
    for (lasts, resumed) in [("600s", true), ("300ms", false)] {
        assert!(fault(console, &["pause", "orders-0", "--for", lasts]).is_ok());
        let mut waits = node.connect();
        let writes = std::thread::spawn({
            let records = records.to_vec();
            move || produce(&mut waits, "orders", 0, &records).error
        });
        if resumed {
            assert_refused(&tree(console), &["FAULT set: paused for"]);
            until(console, "orders-0", |actor| number(actor, "mailbox_depth") > 0);
            assert!(!writes.is_finished());
            assert!(fault(console, &["resume", "orders-0"]).is_ok());
        }
        assert_eq!(writes.join().expect("an answer"), 0);
        until(console, "orders-0", |actor| actor["fault"].is_null());
    }
}

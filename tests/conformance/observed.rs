//! What a running node shows of each of its actors.

use crate::batch;
use crate::commands::{get, is_foreign, tree, words};
use crate::node::{Node, free_address};
use crate::requests::{create_topic, produce};
use crate::starting::home;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

fn start(settings: &[&str]) -> (Node, SocketAddr) {
    let (home, address, console) = (home(), free_address(), free_address());
    let (data, at) = (home.path().join("data"), console.to_string());
    let (data, listen) = (data.to_string_lossy().into_owned(), address.to_string());
    let mut args = words(&["start", "--data", &data, "--listen", &listen, "--console", &at]);
    args.extend(settings.iter().flat_map(|set| words(&["--set", set])));
    (Node::start_by(home, address, args), console)
}

fn find<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"] == name || tree["kind"] == name {
        return Some(tree);
    }
    let below = tree.as_array().or_else(|| tree["children"].as_array())?;
    below.iter().find_map(|actor| find(actor, name))
}

/// The first actor of this name or kind of which this holds.
fn until(console: SocketAddr, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let page = get(console, "/tree").body;
        let shown: Value = serde_json::from_str(&page).expect("JSON");
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

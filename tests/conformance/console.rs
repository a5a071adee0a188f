//! The console's pages, and what they ask.

use crate::batch;
use crate::clients;
use crate::cluster;
use crate::commands::{is_foreign, words};
use crate::node::{self, Node, free_address};
use crate::observed::{self, fault};
use crate::requests::{create_topic, produce};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub fn ask(console: SocketAddr, what: &str, headers: &str, body: &str) -> Answered {
    let mut stream = TcpStream::connect(console).expect("the console");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket");
    let about = format!("Host: {console}\r\nContent-Length: {}\r\n{headers}", body.len());
    // In one piece: who is refused before the body was read could not send what is left.
    let request = format!("{what} HTTP/1.1\r\n{about}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answered { status: status.expect("a status"), head: head.to_lowercase(), body: body.to_owned() }
}

/// What is asked of the console's server, and goes well.
pub fn api(console: SocketAddr, asked: &str) -> Value {
    let answer = ask(console, &format!("GET /api/{asked}"), "", "");
    assert_eq!(answer.status, 200, "{asked}: {}", answer.body);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// And does not: what is said.
pub fn refused(console: SocketAddr, asked: &str, status: u16) -> String {
    let answer = ask(console, &format!("GET /api/{asked}"), "", "");
    assert_eq!(answer.status, status, "{asked}: {}", answer.body);
    let told: Value = serde_json::from_str(&answer.body).expect("JSON");
    told["error"].as_str().expect("why").to_owned()
}

pub fn until(console: SocketAddr, asked: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = api(console, asked);
        if holds(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "{asked}: {answer}");
    }
}

pub fn names(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let rows = answer[list].as_array().expect("a list");
    rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}

pub fn started(test: &str, settings: &[&str]) -> Option<(Node, SocketAddr)> {
    (!is_foreign(test)).then(|| observed::start(settings))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pages_come_from_the_binary_and_load_nothing_from_elsewhere() {
    let test = "pages_come_from_the_binary_and_load_nothing_from_elsewhere";
    let Some((_node, console)) = started(test, &[]) else { return };
    let page = ask(console, "GET /", "", "");
    assert_eq!(page.status, 200);
    let quoted = |text: &str| -> Vec<String> {
        let is_file = |part: &&str| {
            part.starts_with('/') && [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end))
        };
        text.split('"').filter(is_file).map(str::to_owned).collect()
    };
    let (mut left, mut seen) = (quoted(&page.body), Vec::new());
    while let Some(path) = left.pop() {
        if seen.contains(&path) {
            continue;
        }
        let file = ask(console, &format!("GET {path}"), "", "");
        assert_eq!(file.status, 200, "{path}");
        for held in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
        ] {
            assert!(file.head.contains(held), "{path}: {}", file.head);
        }
        assert!(!file.body.contains("https://") && !file.body.contains("innerHTML"), "{path}");
        if path.ends_with(".js") {
            left.extend(quoted(&file.body));
        }
        seen.push(path);
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert!(page.head.contains("frame-ancestors 'none'; require-trusted-types-for 'script'"));

    // A page of elsewhere may lead here, and load nothing.
    for site in ["cross-site", "same-site"] {
        let said = |what: &str, mode: &str| {
            let headers = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n");
            ask(console, what, &headers, "")
        };
        let by = |what: &str, mode: &str| said(what, mode).status;
        assert_eq!(by("GET /", "navigate"), 200);
        assert_eq!(by("GET /", "navigate\r\nSec-Fetch-Dest: document"), 200);
        assert_eq!(by("GET /", "navigate\r\nSec-Fetch-Dest: iframe"), 403);
        let why = said("GET /tree", "navigate").body;
        assert!(why.contains("in the browser's address bar"), "{why}");
        for path in ["/", "/console.js", "/metrics", "/tree", "/api/overview", "/api/records"] {
            assert_eq!(by(&format!("GET {path}"), "no-cors"), 403, "{path}");
        }
        assert_eq!(by("GET /api/overview", "navigate"), 403);
    }
}

#[test]
fn topics_are_paged_and_searched_where_they_are() {
    let Some((node, console)) = started("topics_are_paged_and_searched_where_they_are", &[]) else {
        return;
    };
    let mut connection = node.connect();
    for (name, partitions) in [("orders", 3), ("Orders.old", 1), ("payments", 1)] {
        create_topic(&mut connection, name, partitions);
    }
    let records = batch::of(&[b"a", b"b"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 1, &records).error, 0);
    let found = until(console, "topics", |topics| topics["total"] == 3);
    assert_eq!(names(&found, "topics", "name"), ["Orders.old", "orders", "payments"]);
    let orders = &found["topics"][1];
    assert_eq!((&orders["partitions"], &orders["records"]), (&json!(3), &json!(2)));
    let found = api(console, "topics?search=ORDER&offset=1&limit=1");
    assert_eq!(
        (names(&found, "topics", "name"), &found["total"]),
        (vec!["orders".to_owned()], &json!(2))
    );
    assert_eq!(api(console, "topics?search=%3Cscript%3E")["total"], 0);
    assert_eq!(api(console, "topics?only=trouble")["total"], 0);
    let one = api(console, "topic?name=orders&offset=1&limit=1");
    let partition = &one["partitions"][0];
    assert_eq!(
        (&one["total"], &partition["partition"], &partition["end"]),
        (&json!(3), &json!(1), &json!(2))
    );
    assert_eq!((&partition["leader"], &partition["isr"]), (&json!(1), &json!([1])));
    let configs = api(console, "topic/configs?name=orders");
    assert!(names(&configs, "configs", "name").contains(&"retention.ms".to_owned()));
    assert!(refused(console, "topic?name=order", 404).contains("no such topic"));
    assert!(refused(console, "topic", 400).contains("name"));
    assert!(refused(console, "topics?limit=many", 400).contains("limit"));
    assert!(refused(console, "topics?serach=orders", 400).contains("serach"));
    assert!(refused(console, "topics?search=%zz", 400).contains("encoded"));
    assert!(refused(console, "topics?node=7", 404).contains("node"));
}

#[test]
fn records_are_read_in_bounded_pieces() {
    let Some((node, console)) = started("records_are_read_in_bounded_pieces", &[]) else { return };
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    for begin in (0..400).step_by(100) {
        let values: Vec<String> =
            (begin..begin + 100).map(|id| format!("{{\"order\": {id}}}")).collect();
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        assert_eq!(produce(&mut connection, "orders", 0, &batch::of(&values).bytes()).error, 0);
    }
    let offsets = |answer: &Value| -> Vec<i64> {
        let records = answer["records"].as_array().expect("records");
        records.iter().filter_map(|record| record["offset"].as_i64()).collect()
    };
    let newest = api(console, "records?topic=orders&limit=3");
    assert_eq!(offsets(&newest), [397, 398, 399]);
    assert_eq!(
        (&newest["start"], &newest["end"], &newest["at_end"]),
        (&json!(0), &json!(400), &json!(true))
    );
    assert_eq!(newest["records"][0]["value"]["hex"], hex("{\"order\": 397}"));
    let some = api(console, "records?topic=orders&from=98&limit=4");
    assert_eq!((offsets(&some), &some["next"]), (vec![98, 99, 100, 101], &json!(102)));
    assert_eq!(offsets(&api(console, "records?topic=orders&from=earliest&limit=1")), [0]);
    assert_eq!(offsets(&api(console, "records?topic=orders&from=10&until=12")), [10, 11]);
    assert_eq!(offsets(&api(console, "records?topic=orders&from=time&at=0&limit=1")), [0]);
    assert_eq!(offsets(&api(console, "records?topic=orders&limit=9999")).len(), 200);
    let found = api(console, "records?topic=orders&from=earliest&search=ORDER%22:%2035&limit=20");
    assert_eq!(offsets(&found), [vec![35], (350..360).collect()].concat());
    assert_eq!((&found["scanned"], &found["at_end"]), (&json!(400), &json!(true)));
    assert!(offsets(&api(console, "records?topic=orders&from=99999")).is_empty());
    refused(console, "records?topic=orders&partition=9", 502);
    refused(console, "records?topic=nothing", 502);
    refused(console, "records?topic=orders&from=x", 400);
}

#[test]
fn a_record_is_produced_by_the_consoles_own_pages_only() {
    let test = "a_record_is_produced_by_the_consoles_own_pages_only";
    let Some((node, console)) = started(test, &[]) else { return };
    create_topic(&mut node.connect(), "orders", 2);
    let record = json!({
        "topic": "orders", "partition": 1, "key": hex("<b>key"), "value": hex("a \u{202e}value"),
        "headers": [{ "key": hex("trace"), "value": "00ff" }],
    });
    let post = |headers: &str, record: &Value| {
        ask(console, "POST /api/produce", headers, &record.to_string())
    };
    let (own, json) =
        (format!("Origin: http://{console}\r\n"), "Content-Type: application/json\r\n");
    assert_eq!(post(json, &record).status, 403);
    assert_eq!(post(&format!("Origin: http://a.example\r\n{json}"), &record).status, 403);
    assert_eq!(post(&own, &record).status, 415);
    let own = format!("{own}{json}");
    for (name, wrong) in [
        ("topic", json!("nothing")),
        ("partition", json!(7)),
        ("key", json!("xy")),
        ("partition", json!(-1)),
    ] {
        let mut record = record.clone();
        record[name] = wrong;
        let answer = post(&own, &record);
        assert!([400, 404].contains(&answer.status), "{record}: {}", answer.body);
    }
    assert_eq!(api(console, "topic?name=orders")["partitions"][1]["end"], 0);
    for offset in 0..2 {
        let answer = post(&own, &record);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(told, json!({ "partition": 1, "offset": offset }));
    }
    let read = &api(console, "records?topic=orders&partition=1&limit=1")["records"][0];
    assert_eq!(read["key"], json!({ "hex": record["key"], "bytes": 6 }));
    assert_eq!(read["headers"][0]["value"]["hex"], "00ff");
    // One byte more than is taken: nothing is left unread that would end the connection before its answer.
    let large = ask(console, "POST /api/produce", &own, &"0".repeat((2 << 20) + 1));
    assert_eq!(large.status, 413, "{}", large.body);
}

#[test]
fn groups_are_behind_in_records_and_in_seconds() {
    let test = "groups_are_behind_in_records_and_in_seconds";
    let Some((node, console)) = started(test, &[]) else { return };
    let mut connection = node.connect();
    // Who looks makes nothing: what keeps groups would be made before what comes behind it.
    for _ in 0..5 {
        assert!(refused(console, "group?group=billing", 404).contains("no such group"));
    }
    create_topic(&mut connection, "orders", 2);
    let told = until(console, "topics", |topics| topics.to_string().contains("orders"));
    assert_eq!(names(&told, "topics", "name"), ["orders"]);
    let mut batch = batch::of(&[b"a", b"b", b"c"]);
    batch.time -= 90_000;
    assert_eq!(produce(&mut connection, "orders", 0, &batch.bytes()).error, 0);
    let consumer = clients::member(&node.bootstrap(), "billing", &[]);
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in [(0, 1), (1, 0)] {
        offsets.add_partition_offset("orders", partition, Offset::Offset(offset)).expect("added");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
    let found = until(console, "groups", |groups| groups["groups"][0]["lag"] == 2);
    let group = &found["groups"][0];
    let seconds = group["seconds"].as_f64().expect("an age");
    assert!((89.0..200.0).contains(&seconds), "{group}");
    assert_eq!(
        (&group["group"], &group["state"], &group["coordinator"]),
        (&json!("billing"), &json!("Empty"), &json!(1))
    );
    let one = api(console, "group?group=billing");
    let (first, second) = (&one["partitions"][0], &one["partitions"][1]);
    assert_eq!(
        (&first["committed"], &first["end"], &first["lag"]),
        (&json!(1), &json!(3), &json!(2))
    );
    assert_eq!((&second["lag"], &second["seconds"]), (&json!(0), &json!(0.0)));
    assert_eq!(api(console, "groups?search=nobody")["total"], 0);

    // A record without a time is of no age.
    let mut batch = batch::of(&[b"d"]);
    batch.time = -1;
    assert_eq!(produce(&mut connection, "orders", 1, &batch.bytes()).error, 0);
    let one = until(console, "group?group=billing", |one| one["lag"] == 3);
    let timeless = |partition: &&Value| partition["partition"] == 1;
    let timeless = one["partitions"].as_array().expect("a list").iter().find(timeless);
    assert_eq!(timeless.map(|of| (&of["lag"], &of["seconds"])), Some((&json!(1), &Value::Null)));
}

#[test]
fn a_group_of_more_partitions_than_are_counted_is_told_of_without_its_lag() {
    let test = "a_group_of_more_partitions_than_are_counted_is_told_of_without_its_lag";
    let Some((node, console)) = started(test, &[]) else { return };
    const MANY: i32 = 2001;
    create_topic(&mut node.connect(), "wide", MANY);
    let consumer = clients::member(&node.bootstrap(), "billing", &[]);
    let mut offsets = TopicPartitionList::new();
    for partition in 0..MANY {
        offsets.add_partition_offset("wide", partition, Offset::Offset(0)).expect("added");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
    let told = until(console, "groups", |told| told["groups"][0]["partitions"] == MANY);
    assert_eq!(told["groups"][0]["lag"], Value::Null);
    let one =
        until(console, "group?group=billing&offset=2000", |one| one["partitions"][0]["lag"] == 0);
    let last = &one["partitions"][0];
    assert_eq!((&one["total"], &one["lag"]), (&json!(MANY), &Value::Null));
    assert_eq!((&last["partition"], &last["lag"]), (&json!(2000), &json!(0)));
}

#[test]
fn brokers_quorum_and_the_last_hour_are_told() {
    let Some((node, console)) = started("brokers_quorum_and_the_last_hour_are_told", &[]) else {
        return;
    };
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 2);
    let all = api(console, "overview");
    assert_eq!(
        (&all["topics"], &all["partitions"], &all["nodes"]),
        (&json!(1), &json!(2), &json!([1]))
    );
    assert_eq!((&all["without_leader"], &all["under_replicated"]), (&json!(0), &json!(0)));
    let broker = &api(console, "brokers")["brokers"][0];
    assert_eq!(
        (&broker["broker"], &broker["leaders"], &broker["state"]),
        (&json!(1), &json!(2), &json!("serving"))
    );
    let broker = api(console, "broker?broker=1");
    assert!(broker["dirs"][0]["usable_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{broker}");
    assert!(names(&broker, "configs", "name").contains(&"log.dirs".to_owned()));
    refused(console, "broker?broker=2", 404);
    let quorum = api(console, "quorum");
    assert_eq!((&quorum["leader"], &quorum["replicas"][0]["role"]), (&json!(1), &json!("leader")));

    let records = batch::of(&[b"an order"]).bytes();
    let begun = Instant::now();
    loop {
        assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
        let told = api(console, "history");
        let newest = |name: &str| {
            let series = told["series"].as_array()?.iter().find(|series| series["name"] == name)?;
            series["values"].as_array()?.last()?.as_f64()
        };
        let some = |name| newest(name).is_some_and(|value| value > 0.0);
        if [
            "Requests",
            "Bytes appended",
            "Messages handled",
            "Memory of the process",
            "CPU of the process",
        ]
        .into_iter()
        .all(some)
        {
            let at = told["at"].as_array().expect("times");
            let since = format!("history?since={}", at.last().expect("one"));
            assert!(api(console, &since)["at"].as_array().is_some_and(|new| new.len() <= 1));
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{told}");
    }
}

#[test]
fn the_tree_is_told_a_level_at_a_time() {
    let Some((node, console)) =
        started("the_tree_is_told_a_level_at_a_time", &["ottla.faults.enable=true"])
    else {
        return;
    };
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 9);
    let root = api(console, "actors");
    assert!(names(&root, "actors", "name").contains(&"partitions".to_owned()), "{root}");
    assert!(
        root["actors"]
            .as_array()
            .is_some_and(|all| all.iter().all(|actor| actor["children"].is_u64()))
    );
    let level = until(console, "actors?path=node-1/partitions&offset=2&limit=3", |level| {
        level["total"] == 9
    });
    assert_eq!(names(&level, "actors", "name"), ["orders-2", "orders-3", "orders-4"]);
    assert_eq!((&level["of"]["actors"], &level["of"]["worst"]), (&json!(10), &json!("ok")));
    assert_eq!(api(console, "actors?search=ORDERS-")["total"], 9);
    refused(console, "actors?path=node-1/nobody", 404);
    refused(console, "actors?sort=colour", 400);
    for order in ["name", "load", "health", "busy", "depth", "slow", "restarts", "handled"] {
        assert_eq!(
            api(console, &format!("actors?sort={order}"))["total"],
            root["total"],
            "{order}"
        );
    }

    assert!(fault(console, &["fail", "orders-4", "--message", "salted"]).is_ok());
    produce(&mut connection, "orders", 4, &batch::of(&[b"an order"]).bytes());
    let one = until(console, "actor?path=node-1/partitions/orders-4", |one| one["restarts"] == 1);
    assert_eq!((&one["health"], &one["last_failure"]), (&json!("troubled"), &json!("salted")));
    assert_eq!(one["restarted"][0]["cause"], "salted");
    assert!(
        one["messages"]
            .as_array()
            .is_some_and(|messages| messages.iter().any(|m| m["name"] == "Append"))
    );
    let worst = until(console, "actors?path=node-1&sort=health&limit=1", |level| {
        level["of"]["worst"] == "troubled"
    });
    assert_eq!(worst["actors"][0]["name"], "partitions");
}

#[test]
fn nodes_of_one_process_are_told_of_each_by_itself() {
    if is_foreign("nodes_of_one_process_are_told_of_each_by_itself") {
        return;
    }
    let _turn = node::turn();
    let (home, console) = (TempDir::new().expect("a temporary directory"), free_address());
    let addresses: Vec<_> = (0..cluster::NODES).map(|_| (free_address(), free_address())).collect();
    let file = cluster::cluster_file(&home, &addresses, &[]);
    let args = ["start", "--config", &file.to_string_lossy(), "--console", &console.to_string()];
    let own = TempDir::new().expect("a temporary directory");
    let _node = Node::start_by(own, addresses[0].0, words(&args));
    assert_eq!(api(console, "overview?node=3")["nodes"], json!([1, 2, 3]));
    assert_eq!(api(console, "actors?node=3")["of"]["name"], "node-3");
    assert_eq!(api(console, "actors")["of"]["name"], "node-1");
    refused(console, "overview?node=4", 404);
}

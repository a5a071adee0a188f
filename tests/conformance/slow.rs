//! What a node says of requests that take long, and by which id they are found in what its actors do.

use crate::batch;
use crate::commands::is_foreign;
use crate::observed::{fault, start, until};
use crate::raw::{Bytes, Connection};
use crate::requests::{FETCH, create_topic, fetch_body, produce};
use crate::traced::Trace;

const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const BROKER: i8 = 4;

/// Of all brokers, while they run.
fn alter(connection: &mut Connection, name: &str, value: &str) {
    let body = Bytes::new().i32(1).i8(BROKER).string("").i32(1).string(name).i8(0).string(value);
    let mut answer = connection.ask(INCREMENTAL_ALTER_CONFIGS, 0, &body.i8(0).done()).body();
    answer.take::<8>();
    assert_eq!(answer.i16(), 0);
}

/// What follows a name in a line, up to the next blank.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let at = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name}: {line}")).1;
    at.split(' ').next().unwrap_or_default()
}

fn millis(line: &str, name: &str) -> f64 {
    let text = field(line, name);
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "s" => 1e3,
        "ms" => 1.0,
        "µs" => 1e-3,
        _ => 1e-6,
    };
    number.parse::<f64>().unwrap_or_else(|_| panic!("{name}: {line}")) * factor
}

#[test]
fn a_slow_request_is_told_of_with_where_its_time_went_and_traced_by_its_id() {
    if is_foreign("a_slow_request_is_told_of_with_where_its_time_went_and_traced_by_its_id") {
        return;
    }
    let (mut node, console) = start(&["ottla.faults.enable=true", "ottla.slow.request.ms=300"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    until(console, "orders-0", |actor| actor["status"] == "running");
    let records = batch::of(&[b"an order"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);

    // It waits for records that do not come, as it is meant to.
    let waits = Bytes::new().i32(-1).i32(400).i32(1);
    let fetch = fetch_body("orders", 0, 1, 1 << 20);
    connection.ask(FETCH, 11, &waits.raw(&fetch[12..]).done());

    let mut orders = Trace::of(console, "orders-0");
    let mut slowly = || {
        assert!(fault(console, &["delay", "orders-0", "--by", "400ms", "--for", "20s"]).is_ok());
        assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
        assert!(fault(console, &["resume", "orders-0"]).is_ok());
    };
    slowly();
    node.wait_to_hear("a slow request");
    let said = node.said();
    let slow: Vec<&str> = said.lines().filter(|line| line.contains("a slow request")).collect();
    let [line] = slow[..] else { panic!("{said}") };
    assert_eq!((field(line, "api"), field(line, "listener")), ("Produce", "\"PLAINTEXT\""));
    let [total, queue, local, remote, send] =
        ["total", "queue", "local", "remote", "send"].map(|part| millis(line, part));
    assert!(remote >= 400.0 && queue + local + send < remote, "{line}");
    assert!((queue + local + remote + send - total).abs() < 0.001, "{line}");
    // The first append was that of a request before it.
    let request = field(line, "request").to_owned();
    assert!(orders.until(&format!("Append  for {request}")).len() < 20);

    alter(&mut node.connect(), "ottla.slow.request.ms", "60000");
    slowly();
    alter(&mut node.connect(), "ottla.slow.request.ms", "300");
    slowly();
    let (connection, number) = request.split_once('.').expect("two numbers");
    let number: u32 = number.parse().expect("a number");
    let later = |by: u32| format!("a slow request request={connection}.{} ", number + by);
    node.wait_to_hear(&later(2));
    assert!(!node.said().contains(&later(1)), "{}", node.said());
}

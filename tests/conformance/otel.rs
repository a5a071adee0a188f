//! Traces of requests, as a collector of OpenTelemetry's gets them: OTLP over HTTP, in JSON.

use crate::batch;
use crate::commands::{is_foreign, words};
use crate::node::ended;
use crate::observed::{start, until};
use crate::requests::{create_topic, produce};
use crate::starting::{assert_refused, home};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

/// The spans of one export: what is asked is an ExportTraceServiceRequest, and answered by `status`.
fn export(collector: &TcpListener, status: &str) -> Vec<Value> {
    let (mut stream, _) = collector.accept().expect("it is asked");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("text");
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    assert_eq!(head[0], "post /otlp/v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).expect("its length")];
    reader.read_exact(&mut body).expect("its body");
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
    stream.write_all(answer.as_bytes()).expect("the answer");

    let told: Value = serde_json::from_slice(&body).expect("JSON");
    let [resource] = told["resourceSpans"].as_array().expect("a list").as_slice() else {
        panic!("{told}")
    };
    assert_eq!(attribute(&resource["resource"], "service.name"), Some("ottla"));
    assert_eq!(attribute(&resource["resource"], "service.instance.id"), Some("1"));
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("a list");
    spans.iter().for_each(assert_span);
    spans.clone()
}

/// As OTLP's definition has it: ids in hex, 64-bit numbers as text.
fn assert_span(span: &Value) {
    let hex = |name: &str, length: usize| {
        let text = span[name].as_str().unwrap_or_else(|| panic!("{name}: {span}"));
        assert!(text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit()), "{span}");
        assert!(text.bytes().any(|b| b != b'0'), "{span}");
    };
    hex("traceId", 32);
    hex("spanId", 16);
    let is_request = span.get("parentSpanId").is_none();
    assert_eq!(span["kind"], if is_request { 2 } else { 1 });
    if !is_request {
        hex("parentSpanId", 16);
    }
    assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"), "{span}");
    assert!(span["name"].is_string() && span["attributes"].is_array(), "{span}");
}

fn nanos(span: &Value, name: &str) -> u64 {
    span[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{span}"))
}

fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    let found = of["attributes"].as_array()?.iter().find(|one| one["key"] == key)?;
    found["value"]["stringValue"].as_str()
}

#[test]
fn a_traced_request_is_told_with_its_parts_and_the_actors_that_had_a_part_in_it() {
    if is_foreign("a_traced_request_is_told_with_its_parts_and_the_actors_that_had_a_part_in_it") {
        return;
    }
    let collector = TcpListener::bind("127.0.0.1:0").expect("an address");
    let at = collector.local_addr().expect("it has one");
    let endpoint = format!("ottla.otel.endpoint=http://{at}/otlp/");
    let (mut node, console) = start(&[&endpoint, "ottla.otel.share=1"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    let records = batch::of(&[b"an order"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);

    let mut spans = Vec::new();
    let of = |spans: &[Value], name: &str| spans.iter().find(|span| span["name"] == name).cloned();
    while of(&spans, "Produce").is_none() {
        spans.extend(export(&collector, "200 OK"));
    }
    let request = of(&spans, "Produce").expect("it is there");
    assert_eq!(attribute(&request, "kafka.api.version"), Some("8"));
    let id = attribute(&request, "kafka.request.id").expect("its id");
    assert!(id.split_once('.').is_some_and(|(_, number)| number.parse::<u32>().is_ok()), "{id}");
    spans.retain(|span| span["traceId"] == request["traceId"] && *span != request);
    let (began, ended) = ("startTimeUnixNano", "endTimeUnixNano");
    for span in &spans {
        assert_eq!(span["parentSpanId"], request["spanId"]);
        assert!(nanos(span, began) >= nanos(&request, began), "{span} {request}");
    }
    let append = of(&spans, "Append").expect("its leader's");
    assert_eq!(attribute(&append, "ottla.actor"), Some("node-1/partitions/orders-0"));
    let parts = ["queue", "local", "remote", "send"].map(|part| of(&spans, part).expect(part));
    assert!(parts.windows(2).all(|two| nanos(&two[0], ended) == nanos(&two[1], began)));

    // One that takes nothing costs the traces, and nothing else.
    assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
    export(&collector, "503 Service Unavailable");
    node.wait_to_hear("traces cannot be sent");
    assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
    export(&collector, "200 OK");
    node.wait_to_hear("traces are sent again");
    let exporter = until(console, "opentelemetry", |one| one["numbers"]["spans_lost"] != 0);
    assert!(exporter["numbers"]["spans_sent"].as_u64() > Some(5), "{exporter}");
}

#[test]
fn a_collector_that_cannot_be_asked_is_refused_at_the_start() {
    if is_foreign("a_collector_that_cannot_be_asked_is_refused_at_the_start") {
        return;
    }
    let home = home();
    let data = home.path().join("data").to_string_lossy().into_owned();
    for (given, why) in [
        ("https://collector:4318", "https is not spoken"),
        ("collector:4318", "http://HOST:PORT is expected"),
        ("http://collector", "HOST:PORT is expected"),
        ("http://:4318", "a host and a port are expected"),
        ("http://collector:4318/a b", "a character"),
    ] {
        let set = format!("ottla.otel.endpoint={given}");
        let (status, said) = ended(&words(&["start", "--data", &data, "--set", &set]));
        assert!(!status.success());
        assert_refused(&said, &["ottla.otel.endpoint", given, why]);
    }
}

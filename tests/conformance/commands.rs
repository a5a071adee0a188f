//! The binary as people start it: by Kafka's server.properties, by a cluster's file, with a console.

use crate::batch;
use crate::node::{Node, ended, free_address};
use crate::raw::Connection;
use crate::requests::{create_topic, produce};
use crate::starting::{assert_refused, home};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// As Kafka 4.4.0 ships it.
const SHIPPED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/kafka/server.properties");

pub struct Page {
    pub head: String,
    pub body: String,
}

pub fn get(console: SocketAddr, path: &str) -> Page {
    get_with(console, path, &format!("Host: {console}"))
}

pub fn get_with(console: SocketAddr, path: &str, headers: &str) -> Page {
    let mut stream = TcpStream::connect(console).expect("the console");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    Page { head: head.to_owned(), body: body.to_owned() }
}

pub fn tree(console: SocketAddr) -> String {
    let (status, drawn) = ended(&words(&["tree", "--console", &console.to_string()]));
    assert!(status.success(), "{drawn}");
    drawn
}

/// What the console shows of a node that leads `orders`: drawn, as JSON and for Prometheus.
fn assert_shown(console: SocketAddr) {
    let drawn = tree(console);
    assert!(drawn.starts_with("node-1 (node)"), "{drawn}");
    assert_refused(&drawn, &["└─ storage (supervisor)", "orders-0 (partition)", "offsets 0 to 1"]);
    let page = get(console, "/tree");
    assert_refused(&page.head, &["200 OK", "content-type: application/json"]);
    assert_refused(&page.body, &[r#""name":"node-1""#, r#""name":"orders-0""#, "high watermark 1"]);
    let page = get(console, "/metrics");
    assert_refused(&page.head, &["200 OK", "content-type: text/plain; version=0.0.4"]);
    let partition = r#"{node="1",kind="partition""#;
    assert_refused(
        &page.body,
        &[
            &format!("ottla_actors{partition}}} 1\n"),
            &format!("ottla_messages_handled_total{partition},message=\"Append\"}} 1\n"),
            &format!("ottla_handling_seconds_bucket{partition},le=\"+Inf\"}}"),
        ],
    );
    assert_told_of(&page.body);
    assert!(get(console, "/nothing").head.contains("404"));
    assert_for_nobody_elses_pages(console);
}

/// A page of another site can make a browser ask, by a name that leads to this machine, but not as somebody else.
fn assert_for_nobody_elses_pages(console: SocketAddr) {
    let port = console.port();
    for own in
        [format!("Host: localhost:{port}"), format!("Host: {console}\r\nOrigin: http://{console}")]
    {
        assert!(get_with(console, "/tree", &own).head.contains("200 OK"), "{own}");
    }
    for path in ["/tree", "/metrics", "/nothing"] {
        for (header, other) in [
            ("host", format!("Host: a.example:{port}")),
            ("origin", format!("Host: {console}\r\nOrigin: http://a.example:{port}")),
            ("origin", format!("Host: {console}\r\nOrigin: null")),
        ] {
            let page = get_with(console, path, &other);
            assert_refused(&page.head, &["403 Forbidden"]);
            assert_refused(&page.body, &[&format!("{header} is foreign")]);
        }
    }
}

/// docs/METRICS.md tells of everything that is shown.
fn assert_told_of(metrics: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let told = fs::read_to_string(path).expect("docs/METRICS.md");
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let of_actor = |line: &str, of_type: &str| {
        let (of, name) = (label(line, "kind"), label(line, "name"));
        format!("| `{}` | `{}` | {of_type} |", of.unwrap_or_default(), name.unwrap_or_default())
    };
    for line in metrics.lines() {
        let row = match line.strip_prefix("# TYPE ").and_then(|family| family.split_once(' ')) {
            Some((family, kind)) => format!("| `{family}` | {kind} |"),
            None if line.starts_with("ottla_actor_number") => of_actor(line, "gauge"),
            None if line.starts_with("ottla_actor_count_total") => of_actor(line, "counter"),
            None if line.starts_with("ottla_credits_") => {
                format!("| `{}` |", label(line, ",name").unwrap_or_default())
            }
            None => continue,
        };
        assert!(told.contains(&row), "{line}: not in docs/METRICS.md");
    }
}

fn produce_to_orders(node: &Node) {
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    let records = batch::of(&[b"an order"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
}

pub fn is_foreign(test: &str) -> bool {
    let foreign = std::env::var_os("OTTLA_BOOTSTRAP").is_some();
    if foreign {
        eprintln!("SKIPPED {test}: it needs a process of its own, OTTLA_BOOTSTRAP is set");
    }
    foreign
}

pub fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[test]
fn kafkas_own_server_properties_make_a_node_with_a_console() {
    if is_foreign("kafkas_own_server_properties_make_a_node_with_a_console") {
        return;
    }
    let (home, address, console) = (home(), free_address(), free_address());
    let (port, controller) = (address.port(), address.port() + 1);
    let listeners = format!("PLAINTEXT://:{port},CONTROLLER://:{controller}");
    let told = format!("PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}");
    let data = home.path().join("data");
    // The ports and the directory are the test's own.
    let node = Node::start_by(
        home,
        address,
        words(
            &[
                &["start", "--properties", SHIPPED, "--console", &console.to_string()][..],
                &["--set", &format!("listeners={listeners}")],
                &["--set", &format!("advertised.listeners={told}")],
                &["--set", &format!("controller.quorum.bootstrap.servers=localhost:{controller}")],
                &["--set", &format!("log.dirs={}", data.display())],
            ]
            .concat(),
        ),
    );
    produce_to_orders(&node);
    // A listener without a host is one of both families, and who comes by IPv4 is seen as such.
    let mut by_ipv6 = Connection::open(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    assert!(by_ipv6.is_served());
    let listed = get(console, "/tree").body;
    assert!(listed.contains("[::1]:") && !listed.contains("::ffff:"), "{listed}");
    assert_shown(console);
    let (status, said, _home) = node.terminate();
    assert!(status.success(), "{said}");
    assert_refused(
        &said,
        &["node 1 of cluster", &format!("is ready on [::]:{port} after "), "node 1 stopped"],
    );
    assert!(data.join(".kafka_cleanshutdown").exists(), "its logs were closed");
    let (status, said) = ended(&words(&["tree", "--console", &console.to_string()]));
    assert!(!status.success());
    assert_refused(&said, &["no console answers on", &console.to_string()]);
}

#[test]
fn a_clusters_file_makes_the_node_that_is_asked_for() {
    if is_foreign("a_clusters_file_makes_the_node_that_is_asked_for") {
        return;
    }
    let (home, address, console) = (home(), free_address(), free_address());
    let controller = SocketAddr::new(address.ip(), address.port() + 1);
    let (file, data) = (home.path().join("cluster.toml"), home.path().join("data/1"));
    let text = format!(
        "[cluster]\nname = \"orders\"\n[settings]\n\"num.partitions\" = 3\n[[node]]\nid = 1\n\
         listen = \"{address}\"\ncontroller = \"{controller}\"\ndata = [{:?}]\n",
        data.to_string_lossy()
    );
    fs::write(&file, text).expect("a file");
    let (file, console_at) = (file.to_string_lossy().into_owned(), console.to_string());
    let args = ["start", "--config", &file, "--console", &console_at, "--node"];
    let (status, said) = ended(&words(&[&args[..], &["2"]].concat()));
    assert!(!status.success());
    assert_refused(&said, &["node 2", "cluster.toml", "1"]);
    let node = Node::start_by(home, address, words(&[&args[..], &["1"]].concat()));
    produce_to_orders(&node);
    assert_shown(console);
    let (status, said, _home) = node.terminate();
    assert!(status.success(), "{said}");
    assert!(data.join("orders-0").is_dir());
}

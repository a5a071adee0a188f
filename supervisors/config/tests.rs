use std::collections::BTreeMap;

use model::NodeId;
use model::node_config::Roles;

use super::*;

const CLUSTER: &str = r#"
[cluster]
name = "orders"
[settings]
"default.replication.factor" = 3
min.insync.replicas = 2
[[node]]
id = 1
listen = "127.0.0.1:9092"
controller = "127.0.0.1:9192"
data = ["data/1"]
rack = "a"
settings = { "log.retention.hours" = 24 }
[[node]]
id = 2
roles = ["broker", "controller"]
listen = "0.0.0.0:9093"
advertised = "two.example:19093"
controller = "127.0.0.1:9193"
data = "data/2"
[[node]]
id = 3
roles = ["broker"]
listen = ":9094"
"#;

fn cluster(text: &str) -> Result<Vec<NodeConfig>, String> {
    from_cluster("c.toml", text, None, &[], "machine").map_err(|errors| errors.to_string())
}

fn nothing(set: &[(&str, &str)]) -> Result<NodeConfig, String> {
    let set: Vec<_> = set.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let listen = HostPort::new("127.0.0.1", 9092);
    from_nothing(Path::new("d"), &listen, &set, "machine").map_err(|errors| errors.to_string())
}

fn properties(text: &str) -> Result<NodeConfig, String> {
    from_properties("s.properties", text, &[], "machine").map_err(|errors| errors.to_string())
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_of_nothing() {
    let node = nothing(&[]).unwrap();
    assert_eq!(node.node_id, NodeId(1));
    assert_eq!(node.roles, Roles { broker: true, controller: true });
    let listeners = ["PLAINTEXT://127.0.0.1:9092", "CONTROLLER://127.0.0.1:9093"];
    assert_eq!(strings(&node.listeners), listeners);
    assert_eq!(strings(&node.voters), ["1@127.0.0.1:9093"]);
    assert_eq!(node.log_dirs, [PathBuf::from("d")]);
    assert_eq!(node.values.int("offsets.topic.replication.factor"), 1);
    assert_eq!(node.values.int("transaction.state.log.min.isr"), 1);
}

#[test]
fn a_node_of_nothing_but_flags() {
    let node = nothing(&[
        ("node.id", "7"),
        ("listeners", "PLAINTEXT://:1,CONTROLLER://:2"),
        ("log.dirs", "/x,/y"),
        ("num.partitions", "12"),
    ])
    .unwrap();
    assert_eq!(strings(&node.voters), ["7@localhost:2"]);
    assert_eq!(strings(&node.advertised), ["PLAINTEXT://machine:1"]);
    assert_eq!((node.log_dirs.len(), node.values.int("num.partitions")), (2, 12));

    let any = from_nothing(Path::new("d"), &HostPort::new("0.0.0.0", 0), &[], "machine").unwrap();
    assert_eq!(strings(&any.advertised), ["PLAINTEXT://machine:0"]);
    let errors = nothing(&[("num.partitons", "12"), ("log.segment.bytes", "1")]).unwrap_err();
    assert_eq!(
        errors,
        "--set: Invalid value 1 for configuration log.segment.bytes: Value must be at least 1048576\n\
         --set: Unknown broker config name: num.partitons; did you mean num.partitions?"
    );
}

#[test]
fn server_properties() {
    let text = "# Kafka's own\nprocess.roles=broker,controller\nnode.id = 3\n\
        controller.quorum.bootstrap.servers: localhost:9093\n\
        listeners=PLAINTEXT://:9092,\\\n  CONTROLLER://:9093\n\
        advertised.listeners=PLAINTEXT://localhost:9092\ncontroller.listener.names=CONTROLLER\n\
        log.dirs=/tmp/kraft\nnum.partitions=4\nnum.partitions=5\n";
    let node = properties(text).unwrap();
    assert_eq!((node.node_id, node.values.int("num.partitions")), (NodeId(3), 5));
    assert_eq!(strings(&node.bootstrap_servers), ["localhost:9093"]);
    assert_eq!(node.cluster_id, ClusterId::FromDirectories);

    let set = [("num.partitions".to_owned(), "6".to_owned())];
    let node = from_properties("s.properties", text, &set, "machine").unwrap();
    assert_eq!(node.values.int("num.partitions"), 6);
}

#[test]
fn errors_in_properties_name_their_lines() {
    let errors = properties("node.id=1\n\nlog.dris=/x\nnum.partitions=many\n").unwrap_err();
    assert_eq!(
        errors,
        "s.properties:3: Unknown broker config name: log.dris; did you mean log.dirs?\n\
         s.properties:4: Invalid value many for configuration num.partitions: Not a number of type INT"
    );
    let errors = properties("process.roles=broker\n").unwrap_err();
    assert_eq!(errors, "node.id: required, and not given");
    let errors =
        properties("node.id=1\nprocess.roles=broker\ncontroller.listener.names=C\nlisteners=x\n");
    assert!(errors.unwrap_err().starts_with("s.properties:4: Invalid value x for"));
    assert!(properties("a=\\u1").unwrap_err().starts_with("s.properties:1: is malformed"));
    let secret = properties("ssl.key.password=hunter2\n").unwrap_err();
    assert!(!secret.contains("hunter2"), "{secret}");
}

#[test]
fn a_cluster() {
    let nodes = cluster(CLUSTER).unwrap();
    assert_eq!(nodes.len(), 3);
    let [one, two, three] = nodes.as_slice() else { panic!() };
    assert_eq!(strings(&one.voters), ["1@127.0.0.1:9192", "2@127.0.0.1:9193"]);
    assert_eq!(one.voters, three.voters);
    assert_eq!(one.rack.as_deref(), Some("a"));
    assert_eq!(one.topic(&Default::default()).retention_ms, 24 * 3_600_000);
    assert_eq!(two.topic(&Default::default()).retention_ms, 168 * 3_600_000);
    assert_eq!(strings(&two.advertised), ["PLAINTEXT://two.example:19093"]);
    assert_eq!(two.log_dirs, [PathBuf::from("data/2")]);
    assert_eq!(three.roles, Roles { broker: true, controller: false });
    assert_eq!(strings(&three.listeners), ["PLAINTEXT://:9094"]);
    assert_eq!(three.log_dirs, [PathBuf::from("ottla-data/3")]);
    for node in &nodes {
        assert_eq!(node.cluster_id, one.cluster_id);
        assert_eq!(node.values.int("default.replication.factor"), 3);
        assert_eq!(node.topic(&Default::default()).min_insync_replicas, 2);
        assert_eq!(node.values.int("offsets.topic.replication.factor"), 3);
        assert_eq!(node.values.int("transaction.state.log.min.isr"), 2);
    }
}

#[test]
fn the_cluster_id_is_given_or_follows_from_the_file() {
    let id = |text: &str| cluster(text).unwrap()[0].cluster_id.clone();
    let ClusterId::Derived(derived) = id(CLUSTER) else { panic!() };
    assert!(derived.parse::<model::Uuid>().is_ok());
    assert_eq!(id(CLUSTER), ClusterId::Derived(derived.clone()));
    assert_ne!(id(&CLUSTER.replace("orders", "others")), ClusterId::Derived(derived.clone()));
    let moved = |text: &str| id(&text.replace(":9193", ":9195"));
    assert_eq!(
        moved(CLUSTER),
        ClusterId::Derived(derived.clone()),
        "a node that comes later joins"
    );
    let nameless = CLUSTER.replace("name = \"orders\"", "");
    assert_ne!(id(&nameless), ClusterId::Derived(derived));
    assert_ne!(id(&nameless), moved(&nameless));
    let given = CLUSTER.replace("name = \"orders\"", "id = \"mine\"");
    assert_eq!(id(&given), ClusterId::Given("mine".into()));
}

#[test]
fn the_documented_file_works() {
    let document = include_str!("../../docs/CONFIG.md");
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let nodes = cluster(example.unwrap()).unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!(strings(&nodes[0].advertised), ["PLAINTEXT://localhost:9092"]);
    assert_eq!(nodes[1].values.int("default.replication.factor"), 3);
}

/// Its config/server.properties as Kafka 4.4 ships it, each line of it.
#[test]
fn kafkas_own_file_is_taken_as_it_is_shipped() {
    let shipped = include_str!("../../tests/conformance/kafka/server.properties");
    let node = properties(shipped).unwrap();
    assert_eq!(node.roles, Roles { broker: true, controller: true });
    assert!(node.voters.is_empty(), "its quorum is kept in its log");
    assert_eq!(strings(&node.bootstrap_servers), ["localhost:9093"]);
    assert_eq!(strings(&node.listeners), ["PLAINTEXT://:9092", "CONTROLLER://:9093"]);
    assert_eq!(strings(&node.advertised), ["PLAINTEXT://localhost:9092"]);
    assert_eq!(strings(&node.advertised_controller), ["CONTROLLER://localhost:9093"]);
    assert_eq!(node.log_dirs, [PathBuf::from("/tmp/kraft-combined-logs")]);
    assert_eq!((node.network.threads, node.network.io_threads), (Some(3), Some(8)));
    let read: BTreeMap<&str, &str> = node.values.fixed().collect();
    for property in parse_properties(shipped).unwrap() {
        assert_eq!(read.get(&*property.key), Some(&&*property.value), "{}", property.key);
    }
}

#[test]
fn one_node_of_a_cluster() {
    let one = |id| from_cluster("c.toml", CLUSTER, Some(id), &[], "machine");
    assert_eq!(strings(&one(2).unwrap().iter().map(|n| n.node_id).collect::<Vec<_>>()), ["2"]);
    assert_eq!(one(4).unwrap_err().to_string(), "c.toml: there is no node 4; there are: 1, 2, 3");
    let set = [("listeners".to_owned(), "PLAINTEXT://:1".to_owned())];
    let refused = from_cluster("c.toml", CLUSTER, None, &set, "machine").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--set: listeners: give the node's listen and controller in c.toml"
    );
}

#[test]
fn errors_in_a_cluster_name_their_lines() {
    for (from, to, expected) in [
        ("rack =", "rak =", "c.toml:12: rak: there is no such key here, did you mean rack?"),
        (
            "[cluster]",
            "[clustre]",
            "c.toml:2: clustre: there is no such key here, did you mean cluster?",
        ),
        ("name =", "nam =", "c.toml:3: nam: there is no such key here, did you mean name?"),
        (
            "min.insync.replicas",
            "min.insync.replica",
            "c.toml:6: Unknown broker config name: min.insync.replica; did you mean min.insync.replicas?",
        ),
        ("= 24 }", "= \"x\" }", "c.toml:13: Invalid value x for configuration log.retention.hours"),
        ("log.retention.hours", "node.id", "c.toml:13: node.id: give the node's id"),
        ("id = 2", "id = 1", "id=1: each node needs an id of its own"),
        ("id = 2", "id = \"2\"", "c.toml:15: id=\"2\": a whole number, 0 or more"),
        ("id = 2", "id = -2", "c.toml:15: id=-2: a whole number"),
        (
            "[\"broker\"]",
            "[\"brocker\"]",
            "c.toml:23: roles=[\"brocker\"]: broker, controller, or both",
        ),
        ("\":9094\"", "\"9094\"", "c.toml:24: listen=\"9094\": HOST:PORT is expected"),
        ("listen = \":9094\"", "", "c.toml:21: node 3: listen = \"HOST:PORT\": required"),
        ("controller = \"127.0.0.1:9193\"", "", "node 2: controller = \"HOST:PORT\": required"),
        ("name = \"orders\"", "name = ", "c.toml:3: is malformed"),
        ("two.example", "0.0.0.0", "is no address that others can connect to"),
        (
            "[\"broker\", \"controller\"]",
            "[\"controller\"]",
            "c.toml:17: listen: node 2 has not the role broker, which it is for\nc.toml:18: advertised: node 2",
        ),
        (
            "listen = \":9094\"",
            "listen = \":9094\"\ncontroller = \":1\"",
            "c.toml:25: controller: node 3 has not the role controller",
        ),
        (
            "{ \"log.retention.hours\" = 24 }",
            "{ \"log.retention.hours\" = 24, log.retention.hours = 48 }",
            "c.toml:13: log.retention.hours: it is given twice in this table",
        ),
        (
            "name = \"orders\"",
            "name = \"orders\"\nid = \"x\"",
            "c.toml:3: cluster.name: an id is made of it, and cluster.id is given",
        ),
    ] {
        let text = CLUSTER.replace(from, to);
        assert_ne!(text, CLUSTER);
        let error = cluster(&text).map(|_| "accepted").unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
    assert!(cluster("").unwrap_err().contains("[[node]]: required"));
    let brokers = "[[node]]\nid = 1\nroles = [\"broker\"]\nlisten = \":1\"";
    let error = cluster(brokers).unwrap_err();
    assert!(error.contains("a [[node]] with the role controller: required"), "{error}");
    assert!(cluster("node = 1").unwrap_err().contains("[[node]]"));
    assert!(cluster("node = [1]").unwrap_err().contains("[[node]]"));
}

#[test]
fn files_that_cannot_be_read() {
    let load = |name: &str| {
        let source = Source::Properties(name.into());
        load(&source, &[], "machine").unwrap_err().to_string()
    };
    assert!(load("/no/such.properties").starts_with("/no/such.properties: cannot be read: "));
    assert!(load("/").starts_with("/: cannot be read: "));
    assert!(load("/dev/zero").starts_with("/dev/zero: is larger than a configuration may be"));
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(
        text: String,
        toml in "(\\[\\[?(node|cluster|settings)\\]?\\]\n|(id|listen|data|a\\.b) = (1|\"h:1\"|\\[1, \"\"\\]|\\{x=1\\})\n){0,8}",
        properties in "((node.id|listeners|log.dirs)[=: ][a-zA-Z:/0-9,\\\\]{0,12}\n){0,6}",
    ) {
        for text in [&text, &toml, &properties] {
            let _ = cluster(text);
            let _ = super::tests::properties(text);
        }
    }
}

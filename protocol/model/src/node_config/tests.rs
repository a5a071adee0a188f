use std::collections::BTreeMap;

use super::*;

const COMBINED: [(&str, &str); 6] = [
    ("node.id", "1"),
    ("process.roles", "broker,controller"),
    ("listeners", "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("controller.quorum.voters", "1@127.0.0.1:9093"),
    ("log.dirs", "/data/a,/data/b"),
];

fn read(more: &[(&str, &str)]) -> Result<NodeConfig, String> {
    let mut given = BTreeMap::from(COMBINED);
    given.extend(more.iter().copied());
    given.retain(|_, text| *text != "-");
    let shown = |errors: Vec<SettingError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let values = Values::new(given).map_err(shown)?;
    NodeConfig::new(values, ClusterId::FromDirectories, "machine").map_err(shown)
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn a_combined_node() {
    let config = read(&[]).unwrap();
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.roles, Roles { broker: true, controller: true });
    assert_eq!(strings(&config.advertised), ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!(strings(&config.advertised_controller), ["CONTROLLER://127.0.0.1:9093"]);
    assert_eq!(config.inter_broker_listener_name, "PLAINTEXT");
    assert_eq!(strings(&config.voters), ["1@127.0.0.1:9093"]);
    assert_eq!(config.log_dirs, [PathBuf::from("/data/a"), PathBuf::from("/data/b")]);
    assert_eq!(config.metadata_log_dir, PathBuf::from("/data/a"));
    assert!(config.is_controller_listener("CONTROLLER"));
}

/// Every typed setting is read here, so none can be misnamed or of another type.
#[test]
fn kafkas_defaults() {
    let config = read(&[]).unwrap();
    assert_eq!(config.network.request_max_bytes, 104_857_600);
    assert_eq!((config.network.threads, config.network.io_threads), (None, None));
    assert_eq!(config.groups.max_session_timeout_ms, 1_800_000);
    assert_eq!(config.logs.producer_id_expiration_check_interval_ms, 600_000);
    assert_eq!(config.quorum.session_timeout_ms, 9_000);
    assert_eq!(config.topic(&BTreeMap::new()), TopicConfig::default());
}

#[test]
fn what_is_advertised() {
    let any = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
    let config = read(&[any]).unwrap();
    assert_eq!(strings(&config.advertised), ["PLAINTEXT://machine:9092"]);
    assert_eq!(strings(&config.advertised_controller), ["CONTROLLER://machine:9093"]);

    let config = read(&[any, ("advertised.listeners", "PLAINTEXT://there:19092")]).unwrap();
    assert_eq!(strings(&config.advertised), ["PLAINTEXT://there:19092"]);
    assert_eq!(strings(&config.advertised_controller), ["CONTROLLER://machine:9093"]);

    let everywhere = ("listeners", "PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093");
    assert!(read(&[everywhere]).unwrap_err().contains("PLAINTEXT://0.0.0.0:9092 is no address"));
    let v6 = ("listeners", "PLAINTEXT://[::1]:9092,CONTROLLER://[::1]:9093");
    assert_eq!(strings(&read(&[v6]).unwrap().advertised), ["PLAINTEXT://[::1]:9092"]);
}

#[test]
fn other_names_and_roles() {
    let named = [
        ("listeners", "inside://10.0.0.1:9092,OUTSIDE://10.0.0.1:9094,ctl://10.0.0.1:9093"),
        ("controller.listener.names", "ctl"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CTL:PLAINTEXT"),
        ("inter.broker.listener.name", "INSIDE"),
    ];
    let config = read(&named).unwrap();
    assert_eq!(config.inter_broker_listener_name, "INSIDE");
    assert_eq!(config.advertised.len(), 2);

    let broker =
        [("process.roles", "broker"), ("node.id", "4"), ("listeners", "PLAINTEXT://10.0.0.1:9092")];
    assert!(!read(&broker).unwrap().roles.controller);
    let controller = [("process.roles", "controller"), ("listeners", "CONTROLLER://10.0.0.1:9093")];
    assert_eq!(read(&controller).unwrap().advertised, []);
    let bootstrap = [
        ("controller.quorum.voters", "-"),
        ("controller.quorum.bootstrap.servers", "a:9093,[::1]:9093"),
    ];
    assert_eq!(strings(&read(&bootstrap).unwrap().bootstrap_servers), ["a:9093", "[::1]:9093"]);
}

#[test]
fn kafkas_own_replica_selector_is_taken() {
    let selector = crate::settings::RACK_AWARE_SELECTOR;
    for class in [selector, ""] {
        read(&[("replica.selector.class", class)]).unwrap();
    }
}

#[test]
fn the_one_protocol_of_groups_that_is_served_is_taken() {
    read(&[("group.coordinator.rebalance.protocols", "classic")]).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    for (given, expected) in [
        (vec![("node.id", "-")], "node.id: required"),
        (vec![("process.roles", "-")], "process.roles: required"),
        (vec![("process.roles", "")], "process.roles: required"),
        (vec![("node.id", "2")], "node 2 is a controller and must be in it"),
        (vec![("listeners", "PLAINTEXT://127.0.0.1:9092")], "a controller must have each of them"),
        (vec![("listeners", "CONTROLLER://127.0.0.1:9093")], "a broker needs one"),
        (vec![("listeners", "SSL://h:1,CONTROLLER://h:2")], "Ottla speaks PLAINTEXT only"),
        (vec![("listeners", "X://h:1,CONTROLLER://h:2")], "X has no protocol"),
        (vec![("listeners", "PLAINTEXT://h:1,CONTROLLER://h:1")], "an address of its own"),
        (vec![("listeners", "PLAINTEXT:h:1")], "there is no ://"),
        (vec![("listeners", "PLAINTEXT://h:70000")], "the port must be 0 to 65535"),
        (vec![("listeners", "PLAINTEXT://::1:9092")], "needs [brackets]"),
        (vec![("listener.security.protocol.map", "PLAINTEXT:TLS")], "must be one of: PLAINTEXT"),
        (vec![("controller.quorum.voters", "1@a:1,1@b:1")], "given twice"),
        (vec![("controller.quorum.voters", "a:1")], "there is no @"),
        (vec![("controller.quorum.voters", "1@0.0.0.0:1")], "that others can reach"),
        (vec![("controller.quorum.voters", "-")], "one of them is needed"),
        (vec![("controller.listener.names", "-")], "controller.listener.names: required"),
        (vec![("inter.broker.listener.name", "Y")], "inter.broker.listener.name=Y"),
        (vec![("advertised.listeners", "Y://h:1")], "inter.broker.listener.name=PLAINTEXT"),
        (
            vec![("group.coordinator.rebalance.protocols", "classic,consumer,streams")],
            "only classic is served yet",
        ),
        (vec![("group.coordinator.rebalance.protocols", "consumer")], "is not supported"),
        (vec![("queued.max.request.bytes", "5")], "queued.max.request.bytes=5 must be"),
        (vec![("offsets.topic.compression.codec", "5")], "must be 0 (none), 1 (gzip)"),
        (vec![("offsets.topic.segment.bytes", "1048575")], "must be 1048576 or more"),
        (
            vec![("log.retention.hours", "0")],
            "Invalid value 0 for configuration log.retention.hours: must be -1 (for ever), or 1",
        ),
        (
            vec![("log.roll.ms", "-5"), ("log.roll.hours", "7")],
            "Invalid value -5 for configuration log.roll.ms: must be 1 or more",
        ),
        (vec![("group.min.session.timeout.ms", "2000000")], "must not be more than"),
        (vec![("max.connections.per.ip", "0")], "only where max.connections.per.ip.overrides"),
        (vec![("max.connections.per.ip.overrides", "a")], "ADDRESS:COUNT"),
        (vec![("log.dirs", "/a,/a")], "must not be duplicated"),
        (vec![("replica.selector.class", "my.Selector")], "RackAwareReplicaSelector"),
    ] {
        let error = read(&given).map(|_| "accepted").unwrap_err();
        assert!(error.contains(expected), "{given:?}: {error}");
    }
    let both = [("queued.max.request.bytes", "5"), ("node.id", "2")];
    assert_eq!(read(&both).unwrap_err().lines().count(), 2);
}

proptest::proptest! {
    #[test]
    fn no_address_makes_it_panic(text in "\\PC{0,20}", likely in "[A-Z]{0,3}:?/{0,2}[\\[\\]0-9a-f.:@]{0,12},?") {
        for text in [&text, &likely] {
            for name in ["listeners", "advertised.listeners", "controller.quorum.voters",
                "controller.quorum.bootstrap.servers", "max.connections.per.ip.overrides",
                "listener.security.protocol.map", "log.dirs"]
            {
                let _ = read(&[(name, text)]);
            }
            if let Ok(address) = HostPort::parse(text) {
                proptest::prop_assert_eq!(HostPort::parse(&address.to_string()), Ok(address));
            }
        }
    }
}

#[test]
fn cordoned_directories_are_log_directories() {
    let dirs = ("log.dirs", "/a,/b");
    let read_with = |value| read(&[dirs, ("cordoned.log.dirs", value)]);
    assert!(read_with("/b").is_ok() && read_with("*").is_ok());
    let unknown = read_with("/a,/c").unwrap_err().to_string();
    assert!(unknown.contains("Missing entries : /c"), "{unknown}");
    let mixed = read_with("*,/a").unwrap_err().to_string();
    assert!(mixed.contains("must not contain other values"), "{mixed}");
}

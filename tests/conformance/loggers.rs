//! Levels of loggers, described and altered while the node runs: resource type BROKER_LOGGER (KIP-412).

use crate::node::Node;
use crate::raw::{Bytes, Connection};
use crate::starting::assert_refused;
use std::collections::BTreeMap;

const DESCRIBE_CONFIGS: i16 = 32;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const BROKER_LOGGER: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;

fn described(connection: &mut Connection) -> BTreeMap<String, String> {
    let body = Bytes::new().i32(1).i8(BROKER_LOGGER).string("1").i32(-1).i8(0).done();
    let mut answer = connection.ask(DESCRIBE_CONFIGS, 1, &body).body();
    answer.i32();
    assert_eq!((answer.i32(), answer.i16()), (1, 0));
    answer.string();
    answer.take::<1>();
    answer.string();
    let mut levels = BTreeMap::new();
    for _ in 0..answer.i32() {
        let (name, level) = (answer.string(), answer.string());
        // Not read-only, of source 6, not sensitive, without synonyms.
        assert_eq!(answer.take::<7>(), [0, 6, 0, 0, 0, 0, 0], "{name}");
        levels.insert(name, level);
    }
    levels
}

fn alter(connection: &mut Connection, ops: &[(&str, i8, &str)], only_check: bool) -> (i16, String) {
    let mut body = Bytes::new().i32(1).i8(BROKER_LOGGER).string("1").i32(ops.len() as i32);
    for (logger, op, level) in ops {
        body = body.string(logger).i8(*op).string(level);
    }
    let body = body.i8(i8::from(only_check)).done();
    let mut answer = connection.ask(INCREMENTAL_ALTER_CONFIGS, 0, &body).body();
    answer.take::<8>();
    (answer.i16(), answer.string())
}

#[test]
fn levels_are_altered_while_the_node_runs() {
    let test = "levels_are_altered_while_the_node_runs";
    let Some(mut node) = Node::start_own(test) else { return };
    let mut admin = node.connect();
    let levels = described(&mut admin);
    let level = |logger: &str| levels.get(logger).map(String::as_str);
    assert_eq!((level("root"), level("ottla_network")), (Some("INFO"), Some("INFO")));
    assert_eq!(level("ractor"), Some("WARN"), "{levels:?}");

    let mut set = |logger, op, level| alter(&mut admin, &[(logger, op, level)], false).0;
    // What is altered is told of by ottla_network itself, as a warning.
    assert_eq!(set("ottla_partitions", SET, "DEBUG"), 0);
    node.wait_to_hear("logger=\"ottla_partitions\"");
    assert_eq!(set("ottla_network", SET, "ERROR"), 0);
    assert_eq!(set("ottla_quorum", SET, "TRACE"), 0);
    assert_eq!(set("ottla_network", DELETE, ""), 0);
    node.wait_to_hear("logger=\"ottla_network\"");
    let said = node.said();
    assert!(!said.contains("ottla_quorum\""), "it was silenced:\n{said}");

    let levels = described(&mut admin);
    let level = |logger: &str| levels.get(logger).map(String::as_str);
    assert_eq!(level("ottla_quorum"), Some("TRACE"));
    assert_eq!(level("ottla_network"), Some("INFO"), "that of root again");
    assert!(levels.keys().any(|name| name.starts_with("ottla_network::")), "{levels:?}");
    let mut set = |logger, op, level| alter(&mut admin, &[(logger, op, level)], false).0;
    assert_eq!(set("root", SET, "FATAL"), 0);
    assert_eq!(described(&mut admin).get("ottla_network").map(String::as_str), Some("FATAL"));
}

#[test]
fn what_no_logger_can_be_is_refused_as_kafka_refuses_it() {
    let test = "what_no_logger_can_be_is_refused_as_kafka_refuses_it";
    let Some(node) = Node::start_own(test) else { return };
    let mut admin = node.connect();
    let before = described(&mut admin);
    for (logger, op, level, code, why) in [
        ("kafka.nothing", SET, "DEBUG", INVALID_CONFIG, "Logger kafka.nothing does not exist!"),
        ("kafka.nothing", DELETE, "", INVALID_CONFIG, "Logger kafka.nothing does not exist!"),
        (
            "ottla_network",
            SET,
            "LOUD",
            INVALID_CONFIG,
            "not a supported log level. Valid log levels",
        ),
        ("ottla_network", SET, "debug", INVALID_CONFIG, "not a supported log level"),
        ("ottla_network", SET, "OFF", INVALID_CONFIG, "not a supported log level"),
        ("ottla_network", APPEND, "DEBUG", INVALID_REQUEST, "APPEND operation is not allowed"),
        ("ottla_network", SUBTRACT, "DEBUG", INVALID_REQUEST, "SUBTRACT operation is not allowed"),
        ("ottla_network", 9, "DEBUG", INVALID_REQUEST, "Unknown operation type 9"),
        ("root", DELETE, "", INVALID_REQUEST, "Removing the log level of the root logger"),
    ] {
        // One that is wrong keeps the others from being done.
        let told = alter(&mut admin, &[("ottla_quorum", SET, "TRACE"), (logger, op, level)], false);
        assert_eq!(told.0, code, "{logger} {op} {level}: {}", told.1);
        assert_refused(&told.1, &[why]);
    }
    assert_eq!(alter(&mut admin, &[("ottla_quorum", SET, "TRACE")], true).0, 0, "only checked");
    let after = described(&mut admin);
    assert!(before.iter().all(|(name, level)| after.get(name) == Some(level)), "{after:?}");
}

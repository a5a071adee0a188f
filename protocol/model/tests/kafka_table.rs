//! The tables against what Kafka 4.4.0 itself declares: kafka-4.4.0.tsv was printed by its own ConfigDefs, one setting to
//! a line: resource, name, type, default, validator, how it can be altered, whether it is internal.

use std::collections::BTreeMap;

use ottla_model::settings::{Check, Resource, Scope, Setting};

const KAFKA: &str = include_str!("kafka-4.4.0.tsv");

/// Kafka can have these set while a broker runs, and has no place for them in a node's own configuration.
const ONLY_DYNAMIC: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

fn resource(name: &str) -> Resource {
    match name {
        "broker" => Resource::Broker,
        "topic" => Resource::Topic,
        "group" => Resource::Group,
        "client-metrics" => Resource::ClientMetrics,
        other => panic!("{other}"),
    }
}

/// A validator as Kafka prints it; lists without one have nothing to print, though they refuse repeated elements.
fn printed(check: Check) -> Vec<String> {
    let one_of = |names: &[&str]| format!("[{}]", names.join(", "));
    match check {
        // Kafka looks at the addresses when it starts to use them.
        Check::AddressCounts => vec!["-".to_owned()],
        Check::Any => ["-", "non-null string", "non-empty list"].map(str::to_owned).into(),
        Check::AtLeast(min) => vec![format!("[{min},...]")],
        Check::Between(min, max) => vec![format!("[{min},...,{max}]")],
        Check::BetweenOr(min, max, or) => vec![format!("[{min},...,{max}] or {or}")],
        Check::Fraction(min, max) => vec![format!("[{min},...,{max}]")],
        Check::OneOf(names) => vec![one_of(names)],
        Check::OneOfIgnoreCase(names) => vec![format!("(case insensitive) {}", one_of(names))],
        Check::NotEmpty => vec!["non-empty string".to_owned()],
        Check::ThrottledReplicas => {
            vec!["[partitionId]:[brokerId],[partitionId]:[brokerId],...".to_owned()]
        }
        Check::OffsetReset => vec!["[latest, earliest, by_duration:PnDTnHnMn.nS]".to_owned()],
    }
}

fn altered(scope: Scope) -> &'static str {
    match scope {
        Scope::Node => "read-only",
        Scope::Broker => "per-broker",
        Scope::Cluster => "cluster-wide",
        Scope::Topic | Scope::Group | Scope::ClientMetrics => "-",
    }
}

#[test]
fn each_setting_is_kafkas() {
    let mut ours: BTreeMap<(&str, &str), &Setting> = ["broker", "topic", "group", "client-metrics"]
        .into_iter()
        .flat_map(|name| resource(name).settings().map(move |s| ((name, s.name), s)))
        .collect();
    for line in KAFKA.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [of, name, kind, default, validator, update, internal] = columns[..] else {
            panic!("{line}")
        };
        let setting = ours.remove(&(of, name)).unwrap_or_else(|| panic!("{of} {name} is missing"));
        assert_eq!(setting.kind.name(), kind, "{name}");
        let shown = match setting.default {
            None => "null",
            Some("") => "(empty)",
            Some(text) => text,
        };
        assert_eq!(shown, default, "{name}");
        let printed = printed(setting.check);
        assert!(printed.iter().any(|text| text == validator), "{name}: {validator} {printed:?}");
        assert_eq!(altered(setting.scope), update, "{name}");
        assert_eq!(setting.internal, internal == "internal", "{name}");
    }
    let left: Vec<&str> = ours.keys().map(|(_, name)| *name).collect();
    let known = |name: &&str| ONLY_DYNAMIC.contains(name) || name.starts_with("ottla.");
    assert!(left.iter().all(known), "Kafka knows none of {left:?}");
}
